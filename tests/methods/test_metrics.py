"""Every metric equals scikit-learn's, ties, absent classes and weights included."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from pipeline.methods.metrics import METRICS, find, per_class

TASKS = {"binary": 2, "multiclass": 4, "ordinal": 5, "multilabel": 3, "regression": 2}
EXCLUSIVE = ("binary", "multiclass", "ordinal")
NAMES = [*METRICS, "map@3", "ndcg@2", "ndcg@9"]
PAIRS = [(name, task) for name in NAMES for task in find(name).tasks]
RATES = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
PLAIN = ("weighted_auc", "probabilistic_f1", "f1_micro_seen", "mrr", "map@3")  # held to plain code in their own tests
ONE_LABEL = [name for name in NAMES if "binary" in find(name).tasks]
KNOWN = [(name, task) for name, task in PAIRS if name not in PLAIN]


def draw(task: str, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and float32 predictions in exact eighths, so that ties are common and survive sums."""
    rng = np.random.default_rng(seed)
    columns = TASKS[task]
    if task == "regression":
        targets_NC = rng.integers(-8, 40, (rows, columns)) / 8
        return targets_NC.astype(np.float32), (targets_NC + rng.integers(-9, 9, (rows, columns)) / 8).astype(np.float32)
    if task == "multilabel":
        targets_NC = rng.integers(0, 2, (rows, columns)).astype(np.float32)
        return targets_NC, (rng.integers(0, 9, (rows, columns)) / 8).astype(np.float32)
    targets_NC = np.eye(columns, dtype=np.float32)[rng.integers(0, columns, rows)]
    return targets_NC, (rng.multinomial(8, np.full(columns, 1 / columns), rows) / 8).astype(np.float32)


def reference(
    name: str, task: str, targets_NC: np.ndarray, probs_NC: np.ndarray, weights_N: np.ndarray | None = None
) -> float:
    """Call scikit-learn the way its manual says, with nothing of ours."""
    columns, weighted = range(targets_NC.shape[1]), {"sample_weight": weights_N}
    cells, family, k = probs_NC.astype(float), *name.partition("@")[::2]
    if task == "regression":
        rounded = [(truth.round(), said.round()) for truth, said in zip(targets_NC.T, probs_NC.T, strict=True)]
        quadratic = {"weights": "quadratic", "labels": range(-10, 50), **weighted}
        return {
            "mae": lambda: sk.mean_absolute_error(targets_NC, cells, **weighted),
            "mse": lambda: sk.mean_squared_error(targets_NC, cells, **weighted),
            "rmse": lambda: sk.root_mean_squared_error(targets_NC, cells, **weighted),
            "r2": lambda: sk.r2_score(targets_NC, cells, **weighted),
            "quadratic_weighted_kappa": lambda: np.mean([sk.cohen_kappa_score(*pair, **quadratic) for pair in rounded]),
        }[name]()
    if family == "ndcg":
        return sk.ndcg_score(targets_NC, cells, k=int(k), **weighted)
    if task == "multilabel":
        truth, said = targets_NC.astype(int), (probs_NC >= 0.5).astype(int)
        losses = [lambda c=c: sk.log_loss(truth[:, c], cells[:, c], labels=[0, 1], **weighted) for c in columns]
        aucs = [lambda c=c: sk.roc_auc_score(truth[:, c], cells[:, c], **weighted) for c in columns]
        briers = [lambda c=c: sk.brier_score_loss(truth[:, c], cells[:, c], **weighted) for c in columns]
        return {
            **rates(truth, said, ["macro", "micro", "samples", "weighted"], weights_N),
            "log_loss": lambda: np.mean([loss() for loss in losses]),
            "brier": lambda: np.mean([brier() for brier in briers]),
            "roc_auc": lambda: sk.roc_auc_score(truth, cells, average="macro", **weighted),
            "mean_column_auc": lambda: np.mean([auc() for auc in aucs]),
            "average_precision": lambda: sk.average_precision_score(truth, cells, average="macro", **weighted),
        }[name]()
    truth, said = targets_NC.argmax(1), probs_NC.argmax(1)
    auc = (truth, cells[:, 1]) if task == "binary" else (truth, cells)
    kind = {} if task == "binary" else {"multi_class": "ovr"}
    quadratic = {"weights": "quadratic", "labels": columns, **weighted}
    binary = {one: lambda rate=rate: rate(truth, said, zero_division=0, **weighted) for one, rate in RATES.items()}
    return {
        **rates(truth, said, ["macro", "micro", "weighted"], weights_N),
        **(binary if task == "binary" else {}),
        "accuracy": lambda: sk.accuracy_score(truth, said, **weighted),
        "top1_error": lambda: sk.zero_one_loss(truth, said, **weighted),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(truth, said, **weighted),
        "mcc": lambda: sk.matthews_corrcoef(truth, said, **weighted),
        "quadratic_weighted_kappa": lambda: sk.cohen_kappa_score(truth, said, **quadratic),
        "log_loss": lambda: sk.log_loss(truth, cells, labels=list(columns), **weighted),
        "brier": lambda: sk.brier_score_loss(truth, auc[1], labels=list(columns), **weighted),
        "roc_auc": lambda: sk.roc_auc_score(*auc, **kind, **weighted),
        "mean_column_auc": lambda: np.mean([sk.roc_auc_score(truth == c, probs_NC[:, c], **weighted) for c in columns]),
        "average_precision": lambda: sk.average_precision_score(*auc, **weighted),
    }[name]()


def rates(
    truth: np.ndarray, said: np.ndarray, averages: list[str], weights_N: np.ndarray | None
) -> dict[str, Callable[[], float]]:
    """Return precision, recall and F1 of scikit-learn under each average."""
    return {
        f"{name}_{average}": lambda rate=rate, average=average: rate(
            truth, said, average=average, sample_weight=weights_N, zero_division=0
        )
        for name, rate in RATES.items()
        for average in averages
    }


@pytest.mark.parametrize(("name", "task"), KNOWN)
@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn(name: str, task: str, seed: int) -> None:
    targets_NC, probs_NC = draw(task, 80, seed)
    found = find(name).score(targets_NC, probs_NC, single_label=task in EXCLUSIVE)
    assert found == pytest.approx(reference(name, task, targets_NC, probs_NC), abs=1e-9)


@pytest.mark.parametrize(("name", "task"), KNOWN)
@pytest.mark.parametrize("kind", ["integer", "real"])
def test_equals_scikit_learn_with_sample_weight(name: str, task: str, kind: str) -> None:
    targets_NC, probs_NC = draw(task, 120, 11)
    rng = np.random.default_rng(3)
    weights_RN = rng.integers(0, 4, (6, 120)) if kind == "integer" else rng.exponential(1e-3, (6, 120))
    found = find(name).scores(targets_NC, probs_NC, task in EXCLUSIVE, weights_RN)
    expected = [reference(name, task, targets_NC, probs_NC, weights_N) for weights_N in weights_RN]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("name", "task"), PAIRS)
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10_000), rows=st.integers(30, 60))
def test_weights_repeat_rows_zero_leaves_them_out_and_scale_is_free(name: str, task: str, seed: int, rows: int) -> None:
    metric, single_label = find(name), task in EXCLUSIVE
    targets_NC, probs_NC = draw(task, rows, seed)
    weights_RN = np.random.default_rng(seed).integers(0, 3, (5, rows))
    weights_RN[:, :12] += 1  # these keep every class, with positives and negatives
    if task != "regression":
        targets_NC[:12] = np.tile(np.eye(TASKS[task]), (12, 1))[:12]
    found = metric.scores(targets_NC, probs_NC, single_label, weights_RN)
    for weights_N, score in zip(weights_RN, found, strict=True):
        order = np.repeat(np.arange(rows), weights_N)
        assert score == pytest.approx(metric.score(targets_NC[order], probs_NC[order], single_label), abs=1e-12)
    scaled = metric.scores(targets_NC, probs_NC, single_label, weights_RN * 1e-9)
    np.testing.assert_allclose(scaled, found, atol=1e-12)


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_weights_that_do_not_fit_are_refused(name: str, task: str) -> None:
    targets_NC, probs_NC = draw(task, 10, 1)
    metric, single_label = find(name), task in EXCLUSIVE
    for wrong in (np.ones(10), np.ones((2, 9))):
        with pytest.raises(ValueError, match="found weights"):
            metric.scores(targets_NC, probs_NC, single_label, wrong)
    for cell in (-1.0, np.nan, np.inf):
        weights_RN = np.ones((2, 10))
        weights_RN[1, 3] = cell
        with pytest.raises(ValueError, match="negative or not finite"):
            metric.scores(targets_NC, probs_NC, single_label, weights_RN)
    assert metric.scores(targets_NC, probs_NC, single_label, np.ones((0, 10))).shape == (0,)
    assert np.isnan(metric.scores(targets_NC, probs_NC, single_label, np.zeros((3, 10)))).all()
    assert np.isnan(metric.scores(targets_NC[:0], probs_NC[:0], single_label, np.ones((3, 0)))).tolist() == [True] * 3


@pytest.mark.parametrize("single_label", [True, False])
def test_a_weighting_that_lacks_a_class_has_no_mean_over_classes(single_label: bool) -> None:
    targets_NC, probs_NC = np.eye(3)[[0, 0, 1, 1, 2]], np.eye(3)[[0, 1, 1, 1, 2]] * 0.9 + 0.05
    weights_RN = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 0, 0, 3]])
    for name in ("balanced_accuracy", "f1_macro", "roc_auc", "mean_column_auc"):
        metric = find(name)
        if single_label or "multilabel" in metric.tasks:
            found = metric.scores(targets_NC, probs_NC, single_label, weights_RN)
            assert np.isnan(found).tolist() == [False, True, True]
    for name in ("accuracy", "f1_micro", "log_loss"):
        metric = find(name)
        if single_label or "multilabel" in metric.tasks:
            assert np.isfinite(metric.scores(targets_NC, probs_NC, single_label, weights_RN)).all()


def test_a_class_that_is_only_predicted_wrongly_counts_in_every_resample() -> None:
    targets_NC, probs_NC = np.eye(3)[[0, 1, 0, 1]], np.eye(3)[[0, 1, 0, 2]]
    found = METRICS["f1_macro"].scores(targets_NC, probs_NC, True, np.array([[1, 1, 1, 1], [1, 2, 1, 0]]))
    assert found.tolist() == pytest.approx([(1 + 2 / 3 + 0) / 3, (1 + 1 + 0) / 3])  # lost it would be 37 % of the time


def test_scores_are_quick_enough_for_a_bootstrap() -> None:
    rng = np.random.default_rng(0)
    targets_NC = np.eye(10, dtype=np.float32)[rng.integers(0, 10, 2000)]
    probs_NC = rng.dirichlet(np.ones(10), 2000).astype(np.float32)
    weights_RN = rng.integers(0, 3, (1000, 2000)).astype(np.float64)
    for name in NAMES:
        metric = find(name)
        start = time.process_time()
        metric.scores(targets_NC, probs_NC, True, weights_RN)
        assert time.process_time() - start < 3, name  # measured 0.02 to 0.25 s


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_contract_of_every_metric(name: str, task: str) -> None:
    metric, single_label = find(name), task in EXCLUSIVE
    targets_NC, probs_NC = draw(task, 60, 7)
    perfect = targets_NC * 0.98 + 0.01 if not single_label else targets_NC * 0.94 + 0.06 / targets_NC.shape[1]
    perfect = targets_NC if task == "regression" else perfect
    good = metric.score(targets_NC, perfect, single_label)
    bad = metric.score(targets_NC, probs_NC, single_label)
    assert (good > bad) == metric.greater_is_better
    order = np.random.default_rng(0).permutation(60)
    assert metric.score(targets_NC[order], probs_NC[order], single_label) == pytest.approx(bad, abs=1e-9)
    assert np.isnan(metric.score(targets_NC[:0], probs_NC[:0], single_label))
    broken = probs_NC.copy()
    broken[3, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        metric.score(targets_NC, broken, single_label)
    with pytest.raises(ValueError, match="found targets"):
        metric.score(targets_NC[:10], probs_NC, single_label)


@pytest.mark.parametrize(("name", "task"), PAIRS)
@settings(deadline=None, max_examples=15)  # the first example imports scikit-learn
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 6))
def test_absent_classes_never_raise(name: str, task: str, seed: int, rows: int) -> None:
    targets_NC, probs_NC = draw(task, rows, seed)
    found = find(name).score(targets_NC, probs_NC, single_label=task in EXCLUSIVE)
    assert np.isnan(found) or found >= (0 if name not in ("mcc", "quadratic_weighted_kappa", "r2") else -np.inf)


def test_absent_class_is_left_out_of_means() -> None:
    targets_NC = np.eye(3)[[0, 0, 1, 1]]
    probs_NC = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1]])
    assert METRICS["balanced_accuracy"].score(targets_NC, probs_NC, True) == pytest.approx(0.75)
    assert METRICS["mean_column_auc"].score(targets_NC, probs_NC, True) == pytest.approx((0.75 + 0.75) / 2)
    assert METRICS["f1_macro"].score(targets_NC, probs_NC, True) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert np.isnan(METRICS["roc_auc"].score(np.eye(2)[[1, 1]], np.full((2, 2), 0.5), True))
    assert METRICS["log_loss"].score(np.eye(2)[[1, 1]], np.full((2, 2), 0.5), True) == pytest.approx(np.log(2))


def test_empty_multilabel_column_is_left_out_of_f1() -> None:
    targets_NC = np.array([[1.0, 0.0], [0.0, 0.0]])
    probs_NC = np.array([[0.9, 0.1], [0.2, 0.1]])
    assert METRICS["f1_macro"].score(targets_NC, probs_NC, False) == 1.0
    assert METRICS["f1_macro"].score(targets_NC[:, :1], probs_NC[:, :1], False) == 1.0


def test_binary_auc_reads_the_positive_column() -> None:
    tiny = np.array([1e-12, 1e-10, 1e-11, 1e-9])
    probs_NC = np.stack([1 - tiny, tiny], axis=1).astype(np.float32)  # the first column is four times 1
    assert METRICS["roc_auc"].score(np.eye(2)[[0, 1, 0, 1]], probs_NC, True) == 1.0


def test_soft_targets_are_read_as_their_largest_class() -> None:
    soft_NC = np.array([[0.6, 0.4], [0.3, 0.7]])
    probs_NC = np.array([[0.9, 0.1], [0.4, 0.6]])
    for name in ONE_LABEL:
        hard = find(name).score(soft_NC.round(), probs_NC, True)
        assert find(name).score(soft_NC, probs_NC, True) == hard


def test_exclusive_metrics_refuse_independent_columns() -> None:
    targets_NC = np.array([[1.0, 1.0], [0.0, 0.0]])
    for name in ONE_LABEL:
        with pytest.raises(ValueError, match="do not sum to 1"):
            find(name).score(targets_NC, np.full((2, 2), 0.5), True)


def test_zero_probability_of_the_truth_is_clipped() -> None:
    found = METRICS["log_loss"].score(np.eye(2)[[0]], np.array([[0.0, 1.0]], dtype=np.float32), True)
    assert found == pytest.approx(-np.log(np.finfo(float).eps), rel=1e-6)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_per_class_equals_scikit_learn(task: str) -> None:
    targets_NC, probs_NC = draw(task, 70, 3)
    found = per_class(targets_NC, probs_NC, single_label=task in EXCLUSIVE)
    if task == "multilabel":
        truth, said = targets_NC, probs_NC >= 0.5
    else:
        truth, said = targets_NC.argmax(1), probs_NC.argmax(1)
    expected = sk.precision_recall_fscore_support(truth, said, average=None, zero_division=np.nan)
    for name, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(found[name], column)
    aucs = [sk.roc_auc_score(targets_NC[:, c], probs_NC[:, c]) for c in range(TASKS[task])]
    np.testing.assert_allclose(found["auc"], aucs)


def test_per_class_is_nan_where_undefined() -> None:
    found = per_class(np.eye(3)[[0, 1]], np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0]]), single_label=True)
    assert found["support"] == [1, 1, 0]
    np.testing.assert_equal(found["precision"], [0.5, np.nan, np.nan])
    np.testing.assert_equal(found["recall"], [1.0, 0.0, np.nan])
    np.testing.assert_equal(found["f1"], [2 / 3, 0.0, np.nan])
    np.testing.assert_equal(found["auc"], [0.5, 0.5, np.nan])

"""Every metric equals scikit-learn's, ties and absent classes included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from pipeline.parts.metrics import METRICS, per_class

TASKS = {"binary": 2, "multiclass": 4, "multilabel": 3}
PAIRS = [(name, task) for name, metric in METRICS.items() for task in metric.tasks]


def draw(task: str, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and float32 probabilities in exact eighths, so that ties are common and survive sums."""
    rng = np.random.default_rng(seed)
    columns = TASKS[task]
    if task == "multilabel":
        targets_NC = rng.integers(0, 2, (rows, columns)).astype(np.float32)
        return targets_NC, (rng.integers(0, 9, (rows, columns)) / 8).astype(np.float32)
    targets_NC = np.eye(columns, dtype=np.float32)[rng.integers(0, columns, rows)]
    return targets_NC, (rng.multinomial(8, np.full(columns, 1 / columns), rows) / 8).astype(np.float32)


def reference(name: str, task: str, targets_NC: np.ndarray, probs_NC: np.ndarray) -> float:
    """Call scikit-learn the way its manual says, with nothing of ours."""
    columns = range(targets_NC.shape[1])
    if task == "multilabel":
        truth, said = targets_NC.astype(int), (probs_NC >= 0.5).astype(int)
        cells = probs_NC.astype(float)
        return {
            "f1_macro": lambda: sk.f1_score(truth, said, average="macro"),
            "f1_micro": lambda: sk.f1_score(truth, said, average="micro"),
            "log_loss": lambda: np.mean([sk.log_loss(truth[:, c], cells[:, c], labels=[0, 1]) for c in columns]),
            "roc_auc": lambda: sk.roc_auc_score(truth, cells, average="macro"),
            "mean_column_auc": lambda: np.mean([sk.roc_auc_score(truth[:, c], cells[:, c]) for c in columns]),
        }[name]()
    truth, said = targets_NC.argmax(1), probs_NC.argmax(1)
    cells = probs_NC.astype(float)
    auc = (truth, cells[:, 1]) if task == "binary" else (truth, cells)
    return {
        "accuracy": lambda: sk.accuracy_score(truth, said),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(truth, said),
        "f1_macro": lambda: sk.f1_score(truth, said, average="macro"),
        "f1_micro": lambda: sk.f1_score(truth, said, average="micro"),
        "log_loss": lambda: sk.log_loss(truth, cells, labels=list(columns)),
        "roc_auc": lambda: sk.roc_auc_score(*auc, **({} if task == "binary" else {"multi_class": "ovr"})),
        "mean_column_auc": lambda: np.mean([sk.roc_auc_score(truth == c, probs_NC[:, c]) for c in columns]),
    }[name]()


@pytest.mark.parametrize(("name", "task"), PAIRS)
@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn(name: str, task: str, seed: int) -> None:
    targets_NC, probs_NC = draw(task, 80, seed)
    found = METRICS[name].score(targets_NC, probs_NC, exclusive=task != "multilabel")
    assert found == pytest.approx(reference(name, task, targets_NC, probs_NC), abs=1e-9)


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_contract_of_every_metric(name: str, task: str) -> None:
    metric, exclusive = METRICS[name], task != "multilabel"
    targets_NC, probs_NC = draw(task, 60, 7)
    perfect = targets_NC * 0.98 + 0.01 if not exclusive else targets_NC * 0.94 + 0.06 / targets_NC.shape[1]
    good = metric.score(targets_NC, perfect, exclusive)
    bad = metric.score(targets_NC, probs_NC, exclusive)
    assert (good > bad) == metric.greater_is_better
    order = np.random.default_rng(0).permutation(60)
    assert metric.score(targets_NC[order], probs_NC[order], exclusive) == pytest.approx(bad, abs=1e-9)
    assert np.isnan(metric.score(targets_NC[:0], probs_NC[:0], exclusive))
    broken = probs_NC.copy()
    broken[3, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        metric.score(targets_NC, broken, exclusive)
    with pytest.raises(ValueError, match="found targets"):
        metric.score(targets_NC[:10], probs_NC, exclusive)


@pytest.mark.parametrize(("name", "task"), PAIRS)
@settings(deadline=None)  # the first example imports scikit-learn
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 6))
def test_absent_classes_never_raise(name: str, task: str, seed: int, rows: int) -> None:
    targets_NC, probs_NC = draw(task, rows, seed)
    found = METRICS[name].score(targets_NC, probs_NC, exclusive=task != "multilabel")
    assert np.isnan(found) or found >= 0


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
    for name in METRICS:
        hard = METRICS[name].score(soft_NC.round(), probs_NC, True)
        assert METRICS[name].score(soft_NC, probs_NC, True) == hard


def test_exclusive_metrics_refuse_independent_columns() -> None:
    targets_NC = np.array([[1.0, 1.0], [0.0, 0.0]])
    for metric in METRICS.values():
        with pytest.raises(ValueError, match="do not sum to 1"):
            metric.score(targets_NC, np.full((2, 2), 0.5), True)


def test_zero_probability_of_the_truth_is_clipped() -> None:
    found = METRICS["log_loss"].score(np.eye(2)[[0]], np.array([[0.0, 1.0]], dtype=np.float32), True)
    assert found == pytest.approx(-np.log(np.finfo(float).eps), rel=1e-6)


@pytest.mark.parametrize("task", list(TASKS))
def test_per_class_equals_scikit_learn(task: str) -> None:
    targets_NC, probs_NC = draw(task, 70, 3)
    found = per_class(targets_NC, probs_NC, exclusive=task != "multilabel")
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
    found = per_class(np.eye(3)[[0, 1]], np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0]]), exclusive=True)
    assert found["support"] == [1, 1, 0]
    np.testing.assert_equal(found["precision"], [0.5, np.nan, np.nan])
    np.testing.assert_equal(found["recall"], [1.0, 0.0, np.nan])
    np.testing.assert_equal(found["f1"], [2 / 3, 0.0, np.nan])
    np.testing.assert_equal(found["auc"], [0.5, 0.5, np.nan])

"""Metrics that scikit-learn lacks, against the plain words of their rules; families, and a user's own metric."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from pipeline.errors import InputError
from pipeline.methods.metrics import METRICS, find
from pipeline.methods.metrics.counts import cell_sums, class_counts
from pipeline.methods.topk import OneHot, first_columns, top


def rows_of(seed: int, rows: int, columns: int, single_label: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and predictions in eighths, so that ties are common."""
    rng = np.random.default_rng(seed)
    targets_NC = np.eye(columns)[rng.integers(0, columns, rows)] if single_label else rng.random((rows, columns)) < 0.3
    return targets_NC.astype(np.float32), (rng.integers(0, 9, (rows, columns)) / 8).astype(np.float32)


def ranked(probs_C: np.ndarray) -> list[int]:
    """Return the columns as a submission lists them: the most probable first, the lower first among equals."""
    return sorted(range(len(probs_C)), key=lambda c: (-probs_C[c], c))


def average_precision_at(true: set[int], order: list[int], k: int) -> float:
    """Score one row as Kaggle's MAP@K does."""
    right, total = 0, 0.0
    for place, column in enumerate(order[:k], start=1):
        if column in true:
            right += 1
            total += right / place
    return total / min(len(true), k) if true else 0.0


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), columns=st.integers(2, 9), k=st.integers(1, 10), single_label=st.booleans())
def test_rankings_follow_the_order_of_a_submission(seed: int, columns: int, k: int, single_label: bool) -> None:
    targets_NC, probs_NC = rows_of(seed, 25, columns, single_label)
    pairs = [(set(np.flatnonzero(y)), ranked(p)) for y, p in zip(targets_NC, probs_NC, strict=True)]
    expected = np.mean([average_precision_at(true, order, k) for true, order in pairs])
    assert find(f"map@{k}").score(targets_NC, probs_NC, single_label) == pytest.approx(expected)
    first = [next((1 / place for place, c in enumerate(order, start=1) if c in true), 0.0) for true, order in pairs]
    assert METRICS["mrr"].score(targets_NC, probs_NC, single_label) == pytest.approx(np.mean(first))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), columns=st.integers(1, 60), k=st.integers(1, 8))
def test_first_columns_are_those_of_a_stable_sort(seed: int, columns: int, k: int) -> None:
    _, probs_NC = rows_of(seed, 6, columns, False)
    before = probs_NC.copy()
    assert first_columns(probs_NC, k).tolist() == [ranked(probs_C)[:k] for probs_C in probs_NC]
    np.testing.assert_array_equal(probs_NC, before)


def test_ndcg_of_the_first_places_by_hand() -> None:
    probs_NC = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]])
    found = find("ndcg@2").score(np.eye(3)[[1, 0, 0]], probs_NC, True)
    assert found == pytest.approx((1 / np.log2(3) + 0 + (1 + 1 / np.log2(3)) / 2) / 3)


def banded(truth_N: np.ndarray, said_N: np.ndarray) -> float:
    """Integrate scikit-learn's ROC curve between the bands' borders, with points added where it crosses them."""
    false, true, _ = sk.roc_curve(truth_N, said_N, drop_intermediate=False)
    total = 0.0
    for low, high, weight in ((0, 0.4, 2), (0.4, 1, 1)):
        for x0, x1, y0, y1 in zip(false[:-1], false[1:], true[:-1], true[1:], strict=True):
            grid = (
                np.linspace(0, 1, 2)
                if y0 == y1
                else np.unique(np.clip([0, 1, *((np.array([low, high]) - y0) / (y1 - y0))], 0, 1))
            )
            heights = np.clip(y0 + grid * (y1 - y0), low, high) - low
            total += weight * np.trapezoid(heights, x0 + grid * (x1 - x0))
    return total / 1.4


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), rows=st.integers(4, 40))
def test_weighted_auc_is_the_area_between_the_bands(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    truth_N = rng.integers(0, 2, rows)
    truth_N[:2] = 0, 1
    said_N = rng.integers(0, 9, rows) / 8
    found = METRICS["weighted_auc"].score(np.eye(2)[truth_N], np.stack([1 - said_N, said_N], axis=1), True)
    assert found == pytest.approx(banded(truth_N, said_N), abs=1e-9)


def test_weighted_auc_is_that_of_its_competition() -> None:
    rng = np.random.default_rng(0)
    truth_N = rng.integers(0, 2, 20_000)
    said_N = rng.normal(truth_N * 1.2)
    said_N = (said_N - said_N.min()) / np.ptp(said_N)
    false, true, _ = sk.roc_curve(truth_N, said_N)  # from here on ALASKA2's grader
    total = 0.0
    for low, high, weight in ((0.0, 0.4, 2), (0.4, 1.0, 1)):
        inside = (low < true) & (true < high)
        padding = np.linspace(false[inside][-1], 1, 100)
        heights = np.concatenate([true[inside], [high] * 100]) - low
        total += weight * sk.auc(np.concatenate([false[inside], padding]), heights)
    found = METRICS["weighted_auc"].score(np.eye(2)[truth_N], np.stack([1 - said_N, said_N], axis=1), True)
    assert found == pytest.approx(total / 1.4, abs=1e-3)
    assert METRICS["weighted_auc"].score(np.eye(2)[[0, 1, 1]], np.eye(2)[[0, 1, 1]], True) == 1.0


def test_probabilistic_f1_by_its_rule() -> None:
    truth_N, said_N = np.array([1, 0, 1, 0, 0]), np.array([0.9, 0.2, 0.4, 0.0, 1.0])
    precise, recalled = (truth_N * said_N).sum() / said_N.sum(), (truth_N * said_N).sum() / 2
    probs_NC, metric = np.stack([1 - said_N, said_N], axis=1), METRICS["probabilistic_f1"]
    expected = 2 * precise * recalled / (precise + recalled)
    assert metric.score(np.eye(2)[truth_N], probs_NC, True) == pytest.approx(expected)
    hard_NC = np.eye(2)[(said_N > 0.3).astype(int)]
    assert metric.score(np.eye(2)[truth_N], hard_NC, True) == METRICS["f1"].score(np.eye(2)[truth_N], hard_NC, True)


def test_labels_that_are_never_true_cost_nothing_in_f1_micro_seen() -> None:
    targets_NC = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]])
    probs_NC = np.array([[0.9, 0.8, 0.9], [0.9, 0.1, 0.9], [0.2, 0.7, 0.1]])
    expected = sk.f1_score(targets_NC[:, :2], probs_NC[:, :2] >= 0.5, average="micro")
    metric = METRICS["f1_micro_seen"]
    assert metric.score(targets_NC, probs_NC, False) == pytest.approx(expected)
    single_R = metric.scores(targets_NC, probs_NC, False, np.array([[1, 0, 0], [0, 0, 2]]))  # each has its own labels
    assert single_R.tolist() == [1.0, 1.0]


def test_few_true_cells_count_as_many_do() -> None:
    rng = np.random.default_rng(1)
    cells_NC, weights_RN = rng.random((300, 500)) < 0.004, rng.integers(0, 4, (7, 300)).astype(np.float64)
    np.testing.assert_array_equal(cell_sums(cells_NC, weights_RN), weights_RN @ cells_NC)
    right_RC, said_RC, true_RC, held_C, _ = class_counts(cells_NC, rng.random((300, 500)), weights_RN, False)
    np.testing.assert_array_equal(true_RC, weights_RN @ cells_NC)
    assert (right_RC <= np.minimum(said_RC, true_RC)).all() and (held_C == cells_NC.any(0)).all()


@pytest.mark.parametrize(
    "name", ["accuracy", "f1_macro", "mcc", "quadratic_weighted_kappa", "log_loss", "map@3", "mrr"]
)
def test_rows_of_many_classes_score_like_whole_ones(name: str) -> None:
    rng = np.random.default_rng(3)
    classes_N, weights_RN = rng.integers(0, 12, 200), rng.integers(0, 3, (4, 200)).astype(np.float64)
    probs_NC = rng.dirichlet(np.full(12, 0.3), 200).astype(np.float32)
    probs_NC[np.arange(200), classes_N] += 0.2
    probs_NC /= probs_NC.sum(1, keepdims=True)
    kept = OneHot(classes_N, 12), top(probs_NC, 12)
    expected = find(name).scores(np.eye(12)[classes_N], probs_NC, True, weights_RN)
    np.testing.assert_allclose(find(name).scores(*kept, True, weights_RN), expected, rtol=1e-5)
    assert class_counts(*kept, weights_RN, True).true_RC.shape == (4, 12)


def test_find_knows_tables_families_and_near_names() -> None:
    assert find("accuracy") is METRICS["accuracy"] and find("map@5") is find("map@5")
    for name, near in {"map@0": "map@5", "acuracy": "accuracy", "ndcg5": "ndcg@5", "f1_simples": "f1_samples"}.items():
        with pytest.raises(ValueError, match=f"found '{name}', expected a metric; did you mean '{near}'"):
            find(name)


OWN = """
import numpy as np

def half_right(targets_NC, probs_NC):
    if len(targets_NC) < 2:
        raise ValueError("too few rows")
    return (targets_NC.argmax(1) == probs_NC.argmax(1)).mean() / 2

def distance(targets_NC, probs_NC):
    return np.abs(targets_NC - probs_NC).mean()

distance.greater_is_better = False
distance.reads = "values"
half_right.reads = "labels"

def odd(targets_NC, probs_NC):
    return 0.0

odd.reads = "tea leaves"
"""


def test_a_metric_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    targets_NC, probs_NC = np.eye(2)[[0, 1, 1]], np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    half, distance = find(f"{file}:half_right"), find(f"{file}:distance")
    assert (half.greater_is_better, half.reads) == (True, "labels")
    assert (distance.greater_is_better, distance.reads) == (False, "values")
    assert half.score(targets_NC, probs_NC, True) == pytest.approx(1 / 3)
    found = half.scores(targets_NC, probs_NC, True, np.array([[1, 0, 3], [0, 1, 0], [0, 0, 0]]))
    np.testing.assert_array_equal(found, [0.5, np.nan, np.nan])
    with pytest.raises(InputError, match=r"raised ValueError: too few rows; .*return NaN"):
        half.score(targets_NC[:1], probs_NC[:1], True)
    with pytest.raises(ValueError, match="no whole numbers"):
        distance.scores(targets_NC, probs_NC, True, np.full((1, 3), 0.5))


def test_what_is_wrong_with_an_own_metric_is_told(tmp_path: Path) -> None:
    good, broken = tmp_path / "good.py", tmp_path / "broken.py"
    good.write_text(OWN)
    broken.write_text("import no_such_module\n")
    wrong = {
        f"{tmp_path}/absent.py:f": "there is no file",
        f"{broken}:f": "raised ModuleNotFoundError",
        f"{good}:missing": "has no function 'missing'",
        f"{good}:odd": "odd.reads is 'tea leaves', expected probabilities, labels, order, ranking or values",
    }
    for name, words in wrong.items():
        with pytest.raises(ValueError, match=words):
            find(name)

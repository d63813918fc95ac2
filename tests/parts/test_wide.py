from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parts import wide
from pipeline.parts.metrics import METRICS


def probabilities(rows: int, classes: int, seed: int, digits: int = 8) -> np.ndarray:
    """Return rows that sum to 1; few digits make ties."""
    draws = np.random.default_rng(seed).dirichlet(np.full(classes, 0.2), rows).round(digits) + 1e-9
    return (draws / draws.sum(1, keepdims=True)).astype(np.float32)


@given(st.integers(1, 12), st.integers(2, 9), st.integers(1, 9), st.integers(0, 99), st.sampled_from([1, 8]))
def test_top_orders_by_probability_then_by_class(rows: int, classes: int, count: int, seed: int, digits: int) -> None:
    probs_NC = probabilities(rows, classes, seed, digits)
    found = wide.top(probs_NC, count)
    for row, probs_C in enumerate(probs_NC.tolist()):
        wanted = sorted(range(classes), key=lambda c: (-probs_C[c], c))[: min(count, classes)]
        assert found.columns_NK[row].tolist() == wanted
        assert found.values_NK[row].tolist() == [probs_C[c] for c in wanted]


@given(st.integers(2, 9), st.integers(0, 99))
def test_cells_of_all_classes_are_the_probabilities(classes: int, seed: int) -> None:
    probs_NC = probabilities(5, classes, seed)
    assert (np.asarray(wide.top(probs_NC, classes)) == probs_NC).all()


@given(st.integers(3, 20), st.integers(1, 3), st.integers(0, 99))
def test_rows_of_few_classes_sum_to_one(classes: int, count: int, seed: int) -> None:
    assert np.asarray(wide.top(probabilities(5, classes, seed), min(count, classes - 1))).sum(1) == pytest.approx(1)


@given(st.integers(2, 4), st.integers(4, 30), st.integers(1, 4), st.integers(0, 99))
def test_mean_is_that_of_whole_rows(members: int, classes: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights_M = rng.dirichlet(np.ones(members))
    tops = [wide.top(probabilities(6, classes, seed + m), count) for m in range(members)]
    dense = sum(w * np.asarray(one, dtype=np.float64) for w, one in zip(weights_M, tops, strict=True))
    found = wide.mean(tops, weights_M)
    held_NK = np.take_along_axis(np.asarray(dense), found.columns_NK.astype(np.int64), axis=1)
    assert found.values_NK == pytest.approx(held_NK, abs=1e-6)
    left_N = np.sort(np.asarray(dense), axis=1)[:, -found.values_NK.shape[1]]
    assert (found.values_NK.min(1) >= left_N - 1e-6).all()  # nothing greater is left out


def test_of_and_place_find_a_class_also_among_the_rest() -> None:
    one = wide.Top(np.array([[3, 0]]), np.array([[0.5, 0.2]], dtype=np.float32), 5)
    assert one.of(np.array([3])) == pytest.approx([0.5])
    assert one.of(np.array([1])) == pytest.approx([0.1])  # (1 - 0.7) / 3
    assert one.place(np.array([0])).tolist() == [1]
    assert one.place(np.array([4])).tolist() == [2]


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "f1_macro", "f1_micro"])
def test_label_metrics_read_both_without_cells(name: str) -> None:
    rng = np.random.default_rng(1)
    truth_N = rng.integers(0, 9, 60)
    probs_NC = probabilities(60, 9, 2)
    metric, onehot = METRICS[name], wide.OneHot(truth_N, 9)
    weights_RN = rng.integers(0, 3, (4, 60)).astype(float)
    narrow = metric.scores(np.asarray(onehot), probs_NC, True, weights_RN)
    assert metric.scores(onehot, wide.top(probs_NC, 3), True, weights_RN) == pytest.approx(narrow, nan_ok=True)


def test_one_hot_reads_as_an_array() -> None:
    onehot = wide.OneHot(np.array([2, 0, 2]), 4)
    cells_NC = np.asarray(onehot)
    assert cells_NC.dtype == np.float32
    assert cells_NC.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    assert (np.asarray(onehot[np.array([2, 1])]) == cells_NC[[2, 1]]).all()
    assert onehot.sum(0).tolist() == cells_NC.sum(0).tolist()
    assert onehot.sum(1).tolist() == [1, 1, 1]

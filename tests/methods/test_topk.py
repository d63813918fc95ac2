from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.methods import topk
from pipeline.methods.metrics import METRICS, find, per_class


def probabilities(rows: int, classes: int, seed: int, digits: int = 8) -> np.ndarray:
    """Return rows that sum to 1; few digits make ties."""
    draws = np.random.default_rng(seed).dirichlet(np.full(classes, 0.2), rows).round(digits) + 1e-9
    return (draws / draws.sum(1, keepdims=True)).astype(np.float32)


@given(st.integers(1, 12), st.integers(2, 9), st.integers(1, 9), st.integers(0, 99), st.sampled_from([1, 8]))
def test_top_orders_by_probability_then_by_class(rows: int, classes: int, count: int, seed: int, digits: int) -> None:
    probs_NC = probabilities(rows, classes, seed, digits)
    found = topk.top(probs_NC, count)
    for row, probs_C in enumerate(probs_NC.tolist()):
        wanted = sorted(range(classes), key=lambda c: (-probs_C[c], c))[: min(count, classes)]
        assert found.columns_NK[row].tolist() == wanted
        assert found.values_NK[row].tolist() == [probs_C[c] for c in wanted]


@given(st.integers(2, 9), st.integers(0, 99))
def test_cells_of_all_classes_are_the_probabilities(classes: int, seed: int) -> None:
    probs_NC = probabilities(5, classes, seed)
    assert (np.asarray(topk.top(probs_NC, classes)) == probs_NC).all()


@given(st.integers(3, 20), st.integers(1, 3), st.integers(0, 99))
def test_rows_of_few_classes_sum_to_one(classes: int, count: int, seed: int) -> None:
    assert np.asarray(topk.top(probabilities(5, classes, seed), min(count, classes - 1))).sum(1) == pytest.approx(1)


@given(st.integers(2, 4), st.integers(4, 30), st.integers(1, 4), st.integers(0, 99))
def test_mean_is_that_of_whole_rows(members: int, classes: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights_M = rng.dirichlet(np.ones(members))
    tops = [topk.top(probabilities(6, classes, seed + m), count) for m in range(members)]
    dense = sum(w * np.asarray(one, dtype=np.float64) for w, one in zip(weights_M, tops, strict=True))
    found = topk.mean(tops, weights_M)
    held_NK = np.take_along_axis(np.asarray(dense), found.columns_NK.astype(np.int64), axis=1)
    assert found.values_NK == pytest.approx(held_NK, abs=1e-6)
    left_N = np.sort(np.asarray(dense), axis=1)[:, -found.values_NK.shape[1]]
    assert (found.values_NK.min(1) >= left_N - 1e-6).all()  # nothing greater is left out


def test_of_and_place_find_a_class_also_among_the_rest() -> None:
    one = topk.Top(np.array([[3, 0]]), np.array([[0.5, 0.2]], dtype=np.float32), 5)
    assert one.of(np.array([3])) == pytest.approx([0.5])
    assert one.of(np.array([1])) == pytest.approx([0.1])  # (1 - 0.7) / 3
    assert one.place(np.array([0])).tolist() == [1]
    assert one.place(np.array([4])).tolist() == [2]


READABLE = [
    *(name for name, metric in METRICS.items() if metric.reads == "labels" and "multiclass" in metric.tasks),
    *("map@1", "map@3", "ndcg@3", "log_loss"),
]


@pytest.mark.parametrize("name", READABLE)
def test_metrics_read_both_without_cells(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    truth_N = rng.integers(0, 9, 60)
    probs_NC = probabilities(60, 9, 2)
    metric, onehot, some = find(name), topk.OneHot(truth_N, 9), topk.top(probs_NC, 3)
    weights_RN = rng.integers(0, 3, (4, 60)).astype(float)
    cells_NC = np.asarray(some) if name == "log_loss" else probs_NC
    narrow = metric.scores(np.asarray(onehot), cells_NC, True, weights_RN)

    def spread(*_: object) -> np.ndarray:
        raise AssertionError("a cell per class was made")

    monkeypatch.setattr(topk.Top, "__array__", spread)
    monkeypatch.setattr(topk.OneHot, "__array__", spread)
    assert metric.scores(onehot, some, True, weights_RN) == pytest.approx(narrow, nan_ok=True, rel=1e-6)
    assert set(per_class(onehot, some, True)) == {"support", "precision", "recall", "f1"}


def test_a_true_class_that_is_not_held_is_never_found() -> None:
    some = topk.Top(np.array([[3, 0], [1, 4]]), np.array([[0.5, 0.2], [0.6, 0.3]], dtype=np.float32), 5)
    onehot = topk.OneHot(np.array([2, 4]), 5)
    assert find("mrr").score(onehot, some, True) == pytest.approx(0.25)
    assert find("map@2").score(onehot, some, True) == pytest.approx(0.25)


@given(st.integers(3, 9), st.integers(1, 4), st.integers(0, 99), st.floats(0, 1, width=32), st.sampled_from([1, 8]))
def test_put_replaces_one_class_by_a_constant(classes: int, count: int, seed: int, value: float, digits: int) -> None:
    probs_NC, column = probabilities(7, classes, seed, digits), seed % classes
    count = min(count, classes - 1)
    changed_NC = probs_NC.copy()
    changed_NC[:, column] = value
    found, expected = topk.top(probs_NC, count).put(column, value), topk.top(changed_NC, 1)
    known = topk.top(probs_NC, count).place(np.full(7, column)) == count  # else a class moves up that is not held
    rows = known | (count > 1)
    assert found.argmax(1)[rows].tolist() == expected.argmax(1)[rows].tolist()
    assert (np.diff(found.values_NK, axis=1) <= 0).all()


@given(st.integers(2, 4), st.integers(3, 12), st.integers(1, 5), st.integers(0, 99))
def test_covariance_is_that_of_whole_rows(members: int, classes: int, count: int, seed: int) -> None:
    tops = [topk.top(probabilities(11, classes, seed + m), min(count, classes - 1)) for m in range(members)]
    cells_MX = []
    for one in tops:
        cells_NC = np.asarray(one, dtype=np.float64)
        cells_MX.append((cells_NC - cells_NC.mean(0)).ravel())
    assert topk.covariance(tops) == pytest.approx(np.stack(cells_MX) @ np.stack(cells_MX).T, abs=1e-6)


def test_rows_are_joined_without_cells_where_every_part_can() -> None:
    one, dense = topk.OneHot(np.array([2, 0]), 3), np.eye(3, dtype=np.float32)[[1]]
    found = topk.join([one, dense])
    assert isinstance(found, topk.OneHot)
    assert found.classes_N.tolist() == [2, 0, 1]
    soft = topk.join([one, np.array([[0.5, 0.5, 0]])])
    assert soft.tolist() == [[0, 0, 1], [1, 0, 0], [0.5, 0.5, 0]]
    tops = [topk.top(probabilities(4, 6, seed), 2) for seed in range(2)]
    both = topk.join(tops)
    assert (np.asarray(both) == np.concatenate([np.asarray(top) for top in tops])).all()
    assert topk.differ(one, one[np.array([0, 0])]).tolist() == [False, True]
    assert topk.differ(dense, 1 - dense).tolist() == [True]


def test_one_hot_reads_as_an_array() -> None:
    onehot = topk.OneHot(np.array([2, 0, 2]), 4)
    cells_NC = np.asarray(onehot)
    assert cells_NC.dtype == np.float32
    assert cells_NC.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    assert (np.asarray(onehot[np.array([2, 1])]) == cells_NC[[2, 1]]).all()
    assert onehot.sum(0).tolist() == cells_NC.sum(0).tolist()
    assert onehot.sum(1).tolist() == [1, 1, 1]

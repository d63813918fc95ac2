from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.methods import topk
from pipeline.models.outputs import pool
from pipeline.prediction.topk_predictor import best, pool_tops


@given(st.integers(1, 6), st.integers(2, 9), st.integers(1, 9), st.integers(0, 99), st.sampled_from([2, 50]))
def test_best_orders_as_numpy_does_ties_included(rows: int, classes: int, count: int, seed: int, levels: int) -> None:
    count = min(count, classes)
    probs_NVC = np.random.default_rng(seed).integers(0, levels, (rows, 2, classes)).astype(np.float32) / levels
    columns, values = best(torch.from_numpy(probs_NVC), count)
    assert columns.dtype == torch.int32
    for view in range(2):
        expected = topk.top(probs_NVC[:, view], count)
        assert columns[:, view].tolist() == expected.columns_NK.tolist()
        assert values[:, view].tolist() == expected.values_NK.tolist()


@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 99))
def test_pooled_images_are_the_mean_of_whole_rows(rows: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows_I = rng.permutation(np.concatenate([np.arange(rows), rng.integers(0, rows, 4)]))
    probs_IC = rng.dirichlet(np.ones(classes), len(rows_I)).astype(np.float32)
    found = pool_tops(topk.top(probs_IC, classes), rows_I, rows)
    expected = pool(probs_IC[:, None], rows_I, rows, "mean")[:, 0]
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-6)


def test_rows_of_one_image_each_stay_as_they_are() -> None:
    found = topk.top(np.eye(3, dtype=np.float32), 2)
    assert pool_tops(found, np.arange(3), 3) is found

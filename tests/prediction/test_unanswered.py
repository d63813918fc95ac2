"""Rows that no image answers, against means worked out by hand."""

from __future__ import annotations

import numpy as np

from pipeline.methods import topk
from pipeline.prediction.unanswered import fill


def test_rows_without_an_answer_have_the_mean_of_the_others() -> None:
    probs_M = np.array([[[0.2, 0.8]], [[0.6, 0.4]]], np.float32)
    found_N = fill(probs_M, np.array([1, 3]), 4)
    assert found_N.dtype == np.float32
    np.testing.assert_allclose(found_N, [[[0.4, 0.6]], [[0.2, 0.8]], [[0.4, 0.6]], [[0.6, 0.4]]])
    assert fill(probs_M, np.array([0, 1]), 2) is probs_M


def test_of_very_many_classes_the_mean_is_that_of_whole_rows() -> None:
    probs_MC = np.array([[0.5, 0.3, 0.1, 0.1], [0.0, 0.1, 0.2, 0.7]], np.float32)
    found = fill(topk.top(probs_MC, 2), np.array([2, 0]), 3)
    assert topk.is_top(found)
    np.testing.assert_allclose(np.asarray(found)[[2, 0]], [[0.5, 0.3, 0.1, 0.1], [0.05, 0.05, 0.2, 0.7]], atol=1e-6)
    # whole rows: 0.5 0.3 0.1 0.1 and 0.05 0.05 0.2 0.7; their mean 0.275 0.175 0.15 0.4
    np.testing.assert_allclose(np.asarray(found)[1], [0.275, 0.1625, 0.1625, 0.4], atol=1e-6)

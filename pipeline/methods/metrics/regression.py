"""Metrics of a regression's values; of several columns the mean of each one's score, as in scikit-learn."""

from __future__ import annotations

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.metrics.counts import row_mean

LEAST = 1e-12  # of a sum's own size: below, what is left of a difference is rounding


def mae(targets_NC: Array, values_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return the mean absolute error."""
    return row_mean(np.abs(_errors(targets_NC, values_NC)).mean(1), weights_RN)


def mse(targets_NC: Array, values_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return the mean squared error."""
    return row_mean(np.square(_errors(targets_NC, values_NC)).mean(1), weights_RN)


def rmse(targets_NC: Array, values_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return the square root of the mean squared error of a column, the mean over columns."""
    squares_CN = np.square(_errors(targets_NC, values_NC)).T
    return np.asarray(np.sqrt([row_mean(square_N, weights_RN) for square_N in squares_CN]).mean(0))


def r2(targets_NC: Array, values_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return the share of the truth's variance that is explained, the mean over columns; NaN where it has none."""
    total_R1 = weights_RN.sum(1)[:, None]
    truth_NC = targets_NC.astype(np.float64) - targets_NC.mean(0, dtype=np.float64)
    square_RC, sum_RC = weights_RN @ truth_NC**2, weights_RN @ truth_NC
    spread_RC = square_RC - sum_RC**2 / np.where(total_R1 > 0, total_R1, 1)
    left_RC = weights_RN @ np.square(_errors(targets_NC, values_NC))
    varies_RC = spread_RC > LEAST * square_RC
    return np.asarray((1 - np.divide(left_RC, spread_RC, out=np.full_like(left_RC, np.nan), where=varies_RC)).mean(1))


def _errors(targets_NC: Array, values_NC: Array) -> Array:
    return values_NC.astype(np.float64) - targets_NC

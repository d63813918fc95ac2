from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.methods.resampling import row_interval, wilson


def test_wilson_equals_the_published_example() -> None:
    low, high = wilson(81 / 263, 263)  # Newcombe (1998), Statistics in Medicine 17, table I, method 3
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    low, high = wilson(0.0, 20)
    assert low == 0.0 and round(high, 4) == 0.1611


@given(st.integers(1, 5000), st.floats(0, 1))
def test_wilson_stays_within_0_and_1_and_holds_the_share(n: int, share: float) -> None:
    low, high = wilson(share, n)
    assert 0 <= low <= share + 1e-12 and share - 1e-12 <= high <= 1


@pytest.mark.parametrize(("share", "n"), [(1.2, 5), (-0.1, 5), (0.5, 0)])
def test_wilson_refuses_what_is_no_share(share: float, n: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to 1"):
        wilson(share, n)


def test_bootstrap_of_a_mean_is_near_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(size=400)
    low, high = row_interval(lambda rows: float(values[rows].mean()), 400, np.random.default_rng(2))
    reach = 1.96 * values.std() / 20
    assert abs(low - (values.mean() - reach)) < 0.02 and abs(high - (values.mean() + reach)) < 0.02
    assert row_interval(lambda rows: float(values[rows].mean()), 400, np.random.default_rng(2)) == (low, high)


def test_bootstrap_leaves_out_undefined_resamples() -> None:
    def only_with_row_0(rows: np.ndarray) -> float:
        return 3.0 if 0 in rows else math.nan

    assert row_interval(only_with_row_0, 5, np.random.default_rng(0)) == (3.0, 3.0)
    assert all(map(math.isnan, row_interval(lambda rows: math.nan, 5, np.random.default_rng(0), rounds=9)))

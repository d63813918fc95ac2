"""Schedules: their ends, their shapes and golden values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.methods.schedules import SCHEDULES, Options, factor

OPTIONS = Options(steps_per_epoch=10, min_factor=0.01, step_epochs=3, gamma=0.5)


def rates(name: str, total: int, warmup: int = 0, options: Options = OPTIONS) -> list[float]:
    return [factor(name, step, total, warmup, options) for step in range(total)]


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    total=st.integers(1, 300),
    warmup=st.integers(0, 320),
    min_factor=st.floats(0, 1),
    gamma=st.floats(0.01, 0.99),
    per_epoch=st.integers(1, 50),
    step_epochs=st.floats(0.1, 10),
)
def test_factors_lie_between_zero_and_one(
    name: str, total: int, warmup: int, min_factor: float, gamma: float, per_epoch: int, step_epochs: float
) -> None:
    options = Options(per_epoch, min_factor, step_epochs, gamma)
    found = rates(name, total, warmup, options)
    assert all(0 <= rate <= 1 + 1e-12 for rate in found)
    assert found[0] > 0  # the first step must not be wasted


@pytest.mark.parametrize("name", sorted(set(SCHEDULES) - {"one_cycle"}))
def test_warm_up_rises_linearly_and_hands_over_at_the_peak(name: str) -> None:
    found = rates(name, 50, warmup=9)
    assert found[:9] == pytest.approx([n / 10 for n in range(1, 10)])
    assert found[9] == 1
    assert found[9:] == rates(name, 41)


def test_one_cycle_is_its_own_warm_up() -> None:
    """Behind another warm-up the rate would reach its peak, fall to 1/25 of it and rise again."""
    assert rates("one_cycle", 100, warmup=10) == rates("one_cycle", 100)


def test_cosine_falls_from_one_to_the_minimum() -> None:
    found = rates("cosine", 100)
    assert found[0] == 1 and found[50] == pytest.approx((1 + 0.01) / 2)
    assert found == sorted(found, reverse=True)
    assert 0.01 < found[-1] < 0.0105
    assert factor("cosine", 100, 100, 0, OPTIONS) == pytest.approx(0.01)


def test_one_cycle_rises_to_one_and_falls_to_the_minimum() -> None:
    found = rates("one_cycle", 100)
    assert found[0] == pytest.approx(1 / 25) and found[30] == 1
    assert found[:31] == sorted(found[:31]) and found[30:] == sorted(found[30:], reverse=True)
    assert found[15] == pytest.approx((1 + 1 / 25) / 2)
    assert 0.01 < found[-1] < 0.0105


def test_step_drops_every_few_epochs_and_stops_at_the_minimum() -> None:
    found = rates("step", 250)
    assert found[:30] == [1.0] * 30 and found[30:60] == [0.5] * 30 and found[60] == 0.25
    assert found[-1] == 0.01
    half = rates("step", 30, options=Options(10, 0.0, 0.5, 0.1))
    assert half == pytest.approx([0.1 ** (step // 5) for step in range(30)])


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_constant_stays(name: str) -> None:
    assert set(rates(name, 30)) == {1.0}


GOLDEN = {  # 12 steps of 3 epochs, 3 of them warm-up
    "cosine": [0.25, 0.5, 0.75, 1, 0.97286168, 0.89472, 0.775, 0.62814168, 0.47185832, 0.325, 0.20528, 0.12713832],
    "step": [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1, 1, 0.5],
    "one_cycle": [
        0.04,
        0.21146,
        0.60335,
        0.93569,
        0.99497,
        0.93971,
        0.83057,
        0.68264,
        0.51637,
        0.35475,
        0.22013,
        0.13111,
    ],
    "constant": [0.25, 0.5, 0.75, *[1] * 9],
    "plateau": [0.25, 0.5, 0.75, *[1] * 9],
}


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_golden_values(name: str) -> None:
    assert rates(name, 12, 3, Options(4, 0.1, 2, 0.5)) == pytest.approx(GOLDEN[name], abs=1e-5)

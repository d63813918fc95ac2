"""The epoch rule on curves of known fate: it may miss a bad trial, and hardly ever ends one that would have won."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.methods.metrics import METRICS
from pipeline.tuning.pruning import half_width, hopeless, noise, shortfall

Array = np.ndarray
RISE = [0.40, 0.70, 0.85, 0.90, 0.92, 0.93, 0.935, 0.94]
curves = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def drawn(rng: np.random.Generator, epochs: int, final: float, slow: float, spread: float) -> Array:
    """Return a noisy curve to `final`; `slow` is the time of its exponential, the end gains by annealing."""
    at = np.arange(1, epochs + 1)
    start, anneal = 0.3, rng.uniform(0, 0.1)
    share = (1 - np.exp(-at / slow)) / (1 - np.exp(-epochs / slow))
    cosine = (1 + np.cos(np.pi * at / epochs)) / 2
    smooth = start + (final - start - anneal) * share + anneal * (1 - cosine)
    return np.asarray(np.clip(smooth + spread * (0.2 + 0.8 * cosine) * rng.normal(size=epochs), 0, 1))


def ended(curve: Array, incumbent: Array, floor: float) -> int | None:
    """Return the epoch after which the rule ends the curve, or None."""
    return next((n for n in range(1, len(curve)) if hopeless(curve[:n], incumbent, floor=floor, warmup=1)), None)


def test_it_rarely_ends_what_would_have_won_and_spares_much_of_what_could_not() -> None:
    rng = np.random.default_rng(0)
    winners = false = losers = right = 0
    spared = []
    for _ in range(1500):
        epochs, final = int(rng.choice([6, 10, 14, 30])), rng.uniform(0.8, 0.99)
        spread = 10 ** rng.uniform(-3, -1)
        incumbent = drawn(rng, epochs, final, 10 ** rng.uniform(-0.3, 0.8), spread)
        own = min(final + rng.normal(-0.03, 0.08), 0.995)
        trial = drawn(rng, epochs, own, 10 ** rng.uniform(-0.3, 1), spread * 10 ** rng.uniform(-0.3, 0.3))
        end = ended(trial, incumbent, floor=1.645 * math.sqrt(final * (1 - final) / rng.choice([100, 500, 5000])))
        if trial[-1] >= incumbent[-1]:
            winners, false = winners + 1, false + (end is not None)
        elif own < final - 0.05:
            losers, right = losers + 1, right + (end is not None)
            spared.append(0 if end is None else 1 - end / epochs)
    assert winners > 300 and false <= 0.01 * winners
    assert losers > 300 and right >= 0.4 * losers and np.mean(spared) > 0.1


@settings(deadline=None)
@given(curves, st.floats(0, 0.1), st.integers(0, 5), st.integers(1, 4))
def test_it_never_ends_the_incumbents_own_copy(curve: list[float], floor: float, warmup: int, patience: int) -> None:
    for done in range(1, len(curve) + 1):
        assert not hopeless(curve[:done], curve, floor=floor, warmup=warmup, patience=patience)


@settings(deadline=None)
@given(curves, curves, st.floats(0.0, 0.1), st.integers(0, 5))
def test_it_never_ends_a_curve_above_the_incumbent_or_in_the_warm_up(
    curve: list[float], incumbent: list[float], floor: float, warmup: int
) -> None:
    above = np.asarray(incumbent) + 0.01
    for done in range(1, len(incumbent) + 1):
        assert not hopeless(above[:done], incumbent, floor=floor, warmup=warmup)
    assert not hopeless(curve[:warmup], incumbent, floor=floor, warmup=warmup)


@settings(deadline=None)
@given(curves, curves, st.floats(0, 0.1), st.floats(0, 0.2))
def test_a_wider_floor_never_ends_more(curve: list[float], incumbent: list[float], floor: float, more: float) -> None:
    assert hopeless(curve, incumbent, floor=floor) or not hopeless(curve, incumbent, floor=floor + more)


def test_a_diverged_trial_ends_as_soon_as_its_patience_allows() -> None:
    dead = np.full(8, 0.1)
    found = [hopeless(dead[:n], RISE, floor=0.01) for n in range(1, 9)]
    assert found.index(True) == 3 and all(found[3:])  # three epochs tell a slope, two in a row must be hopeless
    assert not any(hopeless(dead[:n], RISE, floor=0.01, patience=6) for n in range(1, 8))
    assert hopeless(dead[:8], RISE, floor=0.01, patience=6)


def test_a_slow_but_rising_trial_goes_on() -> None:
    rising = np.linspace(0.1, 0.96, 8)
    assert not any(hopeless(rising[:n], RISE, floor=0.0) for n in range(1, 9))


def test_what_cannot_be_told_is_not_ended() -> None:
    dead = [0.1] * 8
    assert not hopeless(dead[:5], [*RISE[:7], math.nan], floor=0)
    assert not hopeless([*dead[:4], math.nan], RISE, floor=0)
    assert not hopeless(dead[:3], RISE[:3], floor=0)  # three epochs of the incumbent tell no noise
    assert not hopeless(dead[:5], RISE, floor=math.inf)


def test_unequal_lengths_are_compared_at_equal_shares() -> None:
    """Twice the epochs at half the pace is the same training, not a worse one."""
    twice = np.interp(np.arange(1, 17) / 2, np.arange(1, 9), RISE)
    for done in range(1, 17):
        assert not hopeless(twice[:done], RISE, floor=0, epochs=16, incumbent_epochs=8)
    assert shortfall(twice[:10], RISE, epochs=16, incumbent_epochs=8) == pytest.approx(0)
    dead = [0.1] * 10
    assert hopeless(dead, RISE, floor=0.01, epochs=16, incumbent_epochs=8)
    early = RISE[:6]  # the incumbent's own early stopping ended it
    assert hopeless(dead, early, floor=0.01, epochs=16, incumbent_epochs=8)


def test_the_shortfall_is_that_of_the_last_epochs() -> None:
    assert shortfall([0.1, 0.2, 0.8, 0.8], RISE) == pytest.approx(np.mean([0.8 - 0.85, 0.8 - 0.9]))
    assert shortfall(RISE, RISE) == 0


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(-0.1, 0.1), st.integers(3, 30))
def test_a_straight_curve_has_no_noise(start: float, slope: float, epochs: int) -> None:
    assert noise(start + slope * np.arange(epochs)) == pytest.approx(0, abs=1e-9)


def test_the_noise_of_white_noise_is_its_deviation() -> None:
    curve = np.random.default_rng(0).normal(0, 0.02, size=5000) + np.linspace(0, 1, 5000)
    assert noise(curve) == pytest.approx(0.02, rel=0.05)


def test_the_half_width_of_a_score_is_that_of_its_interval() -> None:
    rng = np.random.default_rng(0)
    truth_N = rng.integers(0, 2, 400)
    said_N = np.where(rng.random(400) < 0.8, truth_N, 1 - truth_N)
    targets, probs = np.eye(2)[truth_N], np.eye(2)[said_N]
    assert half_width(METRICS["accuracy"], targets, probs, True, None, rng) == pytest.approx(1.645 * 0.02, rel=0.15)
    groups_N = np.char.mod("%d", np.arange(400) // 2)
    assert 0.02 < half_width(METRICS["accuracy"], targets, probs, True, groups_N, rng) < 0.05
    alike = np.repeat(["a", "b"], 200)  # two groups, rows sorted so that both score the same
    order = np.argsort(said_N == truth_N, kind="stable")
    order = np.concatenate([order[::2], order[1::2]])
    assert half_width(METRICS["accuracy"], targets[order], probs[order], True, alike, rng) > 0.025
    rare = np.eye(2)[np.array([0] * 399 + [1])]
    assert math.isinf(half_width(METRICS["roc_auc"], rare, probs, True, None, rng))

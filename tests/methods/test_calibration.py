"""Calibrations: valid results, neutral numbers that change nothing, fits that find what was done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.methods.postprocessing.calibration import (
    ALPHAS,
    BOUNDS,
    CALIBRATIONS,
    best,
    clip,
    fit_temperature,
    smoothing,
    temper,
)

EVERY = {**CALIBRATIONS, "smoothing": smoothing(0.9)}


def draw(seed: int, single_label: bool, rows: int = 40, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return calibrated probabilities [N,C] and 0/1 targets drawn from them."""
    rng = np.random.default_rng(seed)
    logits_NC = 2 * rng.normal(size=(rows, classes))
    if single_label:
        probs_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(1, keepdims=True)
        true_N = (rng.random(rows)[:, None] > probs_NC.cumsum(1)).sum(1).clip(max=classes - 1)
        return np.eye(classes)[true_N], probs_NC
    probs_NC = 1 / (1 + np.exp(-logits_NC))
    return (rng.random(probs_NC.shape) < probs_NC).astype(np.float64), probs_NC


def log_score(targets_NC: np.ndarray, probs_NC: np.ndarray) -> float:
    return float((targets_NC * np.log(probs_NC.clip(1e-15, 1))).sum(1).mean())


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("single_label", [True, False])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), number=st.floats(0.001, 0.4), exact=st.booleans())
def test_every_calibration_gives_valid_probabilities(
    name: str, single_label: bool, seed: int, number: float, exact: bool
) -> None:
    calibration, (targets_NC, probs_NC) = EVERY[name], draw(seed, single_label)
    probs_NC = targets_NC if exact else probs_NC
    changed_NC = calibration.apply(probs_NC, number, single_label)
    assert ((changed_NC >= 0) & (changed_NC <= 1)).all()
    if single_label:
        np.testing.assert_allclose(changed_NC.sum(1), 1)
    np.testing.assert_array_equal(calibration.apply(probs_NC, calibration.neutral, single_label), probs_NC)


@pytest.mark.parametrize("single_label", [True, False])
@pytest.mark.parametrize("made_with", [0.5, 2.0])
def test_the_temperature_undoes_what_was_done(single_label: bool, made_with: float) -> None:
    targets_NC, probs_NC = draw(1, single_label, rows=4000)
    wrong_NC = temper(probs_NC, made_with, single_label)
    found = fit_temperature(targets_NC, wrong_NC, single_label, lambda probs_NC: 0.0)
    assert found == pytest.approx(1 / made_with, rel=0.08)
    np.testing.assert_allclose(temper(wrong_NC, 1 / made_with, single_label), probs_NC, atol=1e-9)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999))
def test_a_fit_is_never_worse_on_its_own_rows(name: str, seed: int) -> None:
    targets_NC, probs_NC = draw(seed, True)
    sharp_NC, calibration = temper(probs_NC, 0.3, True), EVERY[name]
    number = calibration.fit(targets_NC, sharp_NC, True, lambda probs_NC: log_score(targets_NC, probs_NC))
    gained = log_score(targets_NC, calibration.apply(sharp_NC, number, True)) - log_score(targets_NC, sharp_NC)
    assert gained >= -1e-12


def test_surely_wrong_rows_are_clipped_and_smoothed() -> None:
    targets_NC, probs_NC = np.eye(2)[[0] * 49 + [1]], np.eye(2)[[0] * 50]
    for calibration, choices in ((CALIBRATIONS["clip"], BOUNDS), (smoothing(0.9), ALPHAS)):
        number = calibration.fit(targets_NC, probs_NC, True, lambda probs_NC: log_score(targets_NC, probs_NC))
        assert number in choices and 0.01 <= number <= 0.05


def test_independent_cells_are_clipped_alone() -> None:
    np.testing.assert_array_equal(clip(np.array([[0.0, 1.0, 0.5]]), 0.1, False), [[0.1, 0.9, 0.5]])


def test_the_first_of_equals_and_never_an_undefined_score() -> None:
    assert best((0.0, 1.0, 2.0), lambda choice: 7.0) == 0.0
    assert best((0.0, 1.0, 2.0), lambda choice: np.nan if choice == 0 else -choice) == 1.0
    assert best((0.0, 1.0), lambda choice: np.nan) == 0.0


def test_smoothing_of_exclusive_probabilities_touches_sure_rows_alone() -> None:
    probs_NC = np.array([[0.96, 0.02, 0.02], [0.9, 0.05, 0.05], [0.5, 0.3, 0.2]])
    found_NC = smoothing(0.9).apply(probs_NC, 0.3, True)
    np.testing.assert_allclose(found_NC[0], [0.772, 0.114, 0.114])
    np.testing.assert_array_equal(found_NC[1:], probs_NC[1:])


def test_smoothing_of_independent_probabilities_touches_sure_cells_alone() -> None:
    found_NC = smoothing(0.9).apply(np.array([[0.95, 0.04, 0.9, 0.5]]), 0.1, False)
    np.testing.assert_allclose(found_NC, [[0.905, 0.086, 0.9, 0.5]])


@settings(deadline=None)
@given(seed=st.integers(0, 1000), alpha=st.floats(0, 1), threshold=st.floats(0, 1))
def test_smoothing_keeps_the_simplex_and_the_decision(seed: int, alpha: float, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    probs_NC = rng.dirichlet(np.full(4, 0.3), 8)
    found_NC = smoothing(threshold).apply(probs_NC, alpha, True)
    np.testing.assert_allclose(found_NC.sum(1), 1)
    best_N = probs_NC.argmax(1)
    assert (found_NC[np.arange(8), best_N] >= found_NC.max(1) - 1e-12).all()
    cells_NC = smoothing(threshold).apply(rng.random((8, 4)), alpha, False)
    assert ((cells_NC >= 0) & (cells_NC <= 1)).all()

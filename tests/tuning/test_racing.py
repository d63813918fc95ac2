"""The race: paired by group, turned by the metric, careful with few groups, unbiased in a pruned trial's score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.methods.metrics import METRICS
from pipeline.tuning.pruning import Race, estimate, race

Array = np.ndarray


def predictions(rng: np.random.Generator, truth_N: Array, skill: float) -> Array:
    """Return probabilities [N,3] that lean to the truth."""
    logits = rng.normal(size=(len(truth_N), 3))
    logits[np.arange(len(truth_N)), truth_N] += skill
    exp = np.exp(logits)
    return exp / exp.sum(1, keepdims=True)


def raced(
    seed: int, skill: float, incumbent: float, *, rows: int = 240, folds: int = 1, groups: int | None = None,
    metric: str = "accuracy", same: bool = False,
) -> Race:  # fmt: skip
    rng = np.random.default_rng(seed)
    truth_N, fold_N = rng.integers(0, 3, rows), np.arange(rows) % folds
    groups_N = None
    if groups is not None:
        groups_N = np.char.add(np.char.mod("f%d-", fold_N), np.char.mod("%d", rng.permutation(rows) % groups))
    best = predictions(rng, truth_N, incumbent)
    trial = best if same else predictions(rng, truth_N, skill)
    return race(METRICS[metric], np.eye(3)[truth_N], trial, best, True, fold_N, groups_N, rng, rounds=400)


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "roc_auc"])
def test_a_much_worse_trial_is_lost_after_one_fold_and_a_better_one_never(metric: str) -> None:
    worse, better = raced(0, 0.5, 3.0, metric=metric), raced(0, 3.0, 0.5, metric=metric)
    assert worse.lost and worse.high < 0 and worse.differences[0] < 0
    assert not better.lost and better.low > 0 and better.differences[0] > 0


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.sampled_from([None, 2, 6, 30]))
def test_a_trial_equal_to_the_incumbent_is_never_lost(seed: int, folds: int, groups: int | None) -> None:
    found = raced(seed, 1.0, 1.0, rows=60, folds=folds, groups=groups, same=True)
    assert found.differences == (0.0,) * folds and found.low == found.high == 0 and not found.lost


def test_one_group_to_a_fold_tells_nothing() -> None:
    found = raced(0, 0.0, 6.0, groups=1, folds=3)
    assert min(found.differences) < -0.4 and found.groups == 0 and not found.lost


@pytest.mark.parametrize("groups", [2, 3, 6])
def test_few_groups_suffice_where_the_trial_is_hopeless(groups: int) -> None:
    assert raced(0, 0.0, 9.0, groups=groups).lost


def test_groups_that_happen_to_agree_are_not_taken_for_certainty() -> None:
    """Both lose one row of thirty: no spread between groups, but rows alone could have done it."""
    truth_N = np.zeros(60, int)
    said_N = truth_N.copy()
    said_N[[0, 30]] = 1
    groups_N = np.repeat(["a", "b"], 30)
    eye, rng = np.eye(2), np.random.default_rng(0)
    found = race(METRICS["accuracy"], eye[truth_N], eye[said_N], eye[truth_N], True, np.zeros(60, int), groups_N, rng)
    assert found.differences[0] == pytest.approx(-2 / 60) and found.high > 0 and not found.lost


@pytest.mark.parametrize("groups", [2, 6, 12, 60])
def test_an_equally_good_trial_is_rarely_lost(groups: int) -> None:
    """One look at the level 90 % may lose one in twenty; groups that err together would triple it, were rows drawn."""
    lost = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        group_N = np.repeat(np.arange(groups), 600 // groups)
        truth_N = rng.integers(0, 3, len(group_N))
        right = [rng.random(groups)[group_N] * 0.4 + 0.5 > rng.random(len(group_N)) for _ in range(2)]
        said = [np.where(good, truth_N, (truth_N + 1) % 3) for good in right]
        trial, best = (np.eye(3)[one] for one in said)
        fold_N = np.zeros(len(group_N), dtype=int)
        found = race(
            METRICS["accuracy"], np.eye(3)[truth_N], trial, best, True, fold_N, group_N.astype(str), rng, rounds=200
        )
        lost += found.lost
    assert lost <= 20


def test_a_rare_class_that_resamples_lack_prunes_nothing() -> None:
    truth_N = np.array([0] * 59 + [1])
    rng = np.random.default_rng(0)
    best = np.eye(2)[truth_N] * 0.8 + 0.1
    trial = rng.permuted(best, axis=0)
    found = race(METRICS["roc_auc"], np.eye(2)[truth_N], trial, best, True, np.zeros(60, int), None, rng, rounds=200)
    assert not found.enough and not found.lost


def test_an_undefined_score_prunes_nothing() -> None:
    truth_N, rng = np.zeros(60, int), np.random.default_rng(0)
    one, other = predictions(rng, truth_N, 0.0), predictions(rng, truth_N, 3.0)
    groups_N = np.repeat(["a", "b"], 30)
    found = race(METRICS["roc_auc"], np.eye(3)[truth_N], one, other, True, np.zeros(60, int), groups_N, rng)
    assert math.isnan(found.differences[0]) and not found.lost


def test_a_pruned_trial_scores_the_incumbent_plus_its_differences() -> None:
    assert estimate(0.9, (-0.02, -0.04), 1) == pytest.approx(0.87)
    assert estimate(0.3, (-0.02, -0.04), -1) == pytest.approx(0.33)
    assert estimate(0.9, (-0.02, math.nan), 1) == pytest.approx(0.88)
    assert math.isnan(estimate(0.9, (math.nan,), 1)) and math.isnan(estimate(0.9, (), 1))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.integers(1, 3), st.floats(-0.2, 0.2))
def test_the_estimate_is_unbiased_by_which_folds_are_hard(folds: list[float], done: int, shift: float) -> None:
    """A trial that is better by the same amount on every fold is estimated so after any of them."""
    incumbent = float(np.mean(folds))
    assert estimate(incumbent, (shift,) * done, 1) == pytest.approx(incumbent + shift, abs=1e-12)

"""Intervals cover what they claim, resamples respect folds and groups, and cross-fitting never peeks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.methods.blenders import BLENDERS, Fit, Objective
from pipeline.methods.metrics import METRICS
from pipeline.methods.resampling import (
    Interval,
    Resamples,
    bootstrap,
    cross_fit,
    fold_scores,
    interval,
    mean_of_folds,
    paired,
    resample,
)

KINDS = [(name, True) for name in METRICS] + [(name, False) for name in METRICS if "multilabel" in METRICS[name].tasks]


def predictions(rows: int, classes: int, seed: int, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return one-hot targets and float32 probabilities that know the truth to some degree."""
    rng = np.random.default_rng(seed)
    targets_NC = np.eye(classes, dtype=np.float32)[rng.integers(0, classes, rows)]
    odds_NC = np.exp(skill * targets_NC + rng.normal(size=(rows, classes)))
    return targets_NC, (odds_NC / odds_NC.sum(1, keepdims=True)).astype(np.float32)


def weights_of(drawn: Resamples, rows: int, cells: int) -> np.ndarray:
    """Put the pieces for all rows together, whatever their size."""
    found = np.full((len(drawn), rows), np.nan)
    for piece, weights_RN in drawn.chunks(np.arange(rows), cells):
        assert weights_RN.dtype == np.float64 and (weights_RN.size <= cells or len(weights_RN) == 1)
        found[piece] = weights_RN
    return found


def test_sign_turns_every_metric_so_that_greater_is_better() -> None:
    assert (METRICS["roc_auc"].direction, METRICS["log_loss"].direction) == (1, -1)


def test_primary_score_is_the_mean_over_the_folds_where_it_is_defined() -> None:
    targets_NC = np.eye(2)[[0, 1, 0, 1, 1, 1]]
    probs_NC = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6], [0.1, 0.9], [0.8, 0.2]])
    fold_N = np.array([0, 0, 1, 1, 2, 2])  # fold 2 holds a single class
    found = fold_scores(METRICS["roc_auc"], targets_NC, probs_NC, True, fold_N)
    np.testing.assert_array_equal(found, [1.0, 0.0, np.nan])
    assert mean_of_folds(METRICS["roc_auc"], targets_NC, probs_NC, True, fold_N) == 0.5
    assert math.isnan(mean_of_folds(METRICS["roc_auc"], targets_NC[4:], probs_NC[4:], True, fold_N[4:]))


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 4), st.sampled_from([1, 7, 60, 10_000]))
def test_resamples_draw_whole_groups_inside_each_fold(seed: int, groups: int, folds: int, cells: int) -> None:
    rng = np.random.default_rng(seed)
    group_N = rng.integers(0, groups, 40)
    fold_N = group_N % folds
    drawn = resample(fold_N, np.char.add("g", group_N.astype(str)), np.random.default_rng(seed), rounds=9)
    weights_RN = weights_of(drawn, 40, cells)
    varying = 0
    for fold in np.unique(fold_N):
        names, first = np.unique(np.where(fold_N == fold, group_N, -1), return_index=True)
        first = first[names >= 0]
        assert (weights_RN[:, first].sum(1) == max(1, len(first) - 1)).all()
        varying += len(first) if len(first) > 1 else 0
    for group in np.unique(group_N):
        assert (np.ptp(weights_RN[:, group_N == group], axis=1) == 0).all()
    assert drawn.groups == varying and (weights_RN == np.round(weights_RN)).all()


def test_resamples_do_not_depend_on_the_order_of_rows_where_there_are_groups() -> None:
    rng = np.random.default_rng(3)
    group_N = np.sort(rng.integers(0, 30, 100)).astype(str)
    fold_N = np.char.str_len(group_N) % 2
    order = rng.permutation(100)
    first = weights_of(resample(fold_N, group_N, np.random.default_rng(1), 5), 100, 50)
    second = weights_of(resample(fold_N[order], group_N[order], np.random.default_rng(1), 5), 100, 5000)
    np.testing.assert_array_equal(first[:, order], second)


def test_blank_groups_are_rows_of_their_own() -> None:
    fold_N = np.arange(12) % 3
    blank = resample(fold_N, np.full(12, ""), np.random.default_rng(5), 20)
    rows = resample(fold_N, None, np.random.default_rng(5), 20)
    np.testing.assert_array_equal(weights_of(blank, 12, 99), weights_of(rows, 12, 99))
    mixed = resample(np.zeros(4, dtype=int), np.array(["a", "", "a", ""]), np.random.default_rng(0), 50)
    weights_RN = weights_of(mixed, 4, 99)
    assert mixed.groups == 3 and (weights_RN[:, 0] == weights_RN[:, 2]).all()
    assert (weights_RN[:, 1] != weights_RN[:, 3]).any()


def test_a_group_in_two_folds_is_refused() -> None:
    with pytest.raises(ValueError, match="group 'b' in several folds"):
        resample(np.array([0, 0, 1]), np.array(["a", "b", "b"]), np.random.default_rng(0))


def test_folds_of_one_group_show_no_spread_and_are_not_believed() -> None:
    targets_NC, probs_NC = predictions(60, 2, 0)
    fold_N = np.arange(60) // 2 % 30
    drawn = resample(fold_N, fold_N.astype(str), np.random.default_rng(0), 50)
    scores_R = bootstrap(METRICS["accuracy"], targets_NC, probs_NC, True, drawn)
    found = interval(scores_R, drawn.groups)
    assert np.ptp(scores_R) < 1e-12 and not found.reliable
    assert np.isnan(found.low) and np.isnan(found.high) and not found.excludes_zero


@pytest.mark.parametrize(("name", "single_label"), KINDS)
def test_bootstrap_equals_scoring_the_repeated_rows(name: str, single_label: bool) -> None:
    metric = METRICS[name]
    targets_NC, probs_NC = predictions(90, 3, 1)
    fold_N = np.arange(90) % 2
    drawn = resample(fold_N, (np.arange(90) // 4 * 2 + fold_N).astype(str), np.random.default_rng(2), 12)
    found = bootstrap(metric, targets_NC, probs_NC, single_label, drawn)
    for r, weights_N in enumerate(weights_of(drawn, 90, 10_000)):
        rows = np.repeat(np.arange(90), weights_N.astype(int))
        again = mean_of_folds(metric, targets_NC[rows], probs_NC[rows], single_label, fold_N[rows])
        assert found[r] == pytest.approx(again, abs=1e-12)


def test_resamples_that_lack_a_class_are_lost_and_counted() -> None:
    targets_NC, probs_NC = predictions(60, 3, 1)
    targets_NC[:] = np.eye(3)[[0, 1] * 30]
    targets_NC[[0, 31]] = [0, 0, 1]  # one row of the third class in each fold
    fold_N = np.arange(60) % 2
    drawn = resample(fold_N, None, np.random.default_rng(2), 400)
    weights_RN = weights_of(drawn, 60, 99)
    lacks_R = (weights_RN[:, 0] == 0) | (weights_RN[:, 31] == 0)
    for name in ("balanced_accuracy", "f1_macro", "mean_column_auc"):
        found = bootstrap(METRICS[name], targets_NC, probs_NC, True, drawn)
        np.testing.assert_array_equal(np.isnan(found), lacks_R)
        assert interval(found, drawn.groups).lost == lacks_R.sum() > 40
        assert not interval(found, drawn.groups).reliable
    assert interval(bootstrap(METRICS["log_loss"], targets_NC, probs_NC, True, drawn), drawn.groups).lost == 0


def test_a_fold_without_a_score_is_left_out_and_nothing_left_is_nan() -> None:
    targets_NC, probs_NC = predictions(40, 2, 1)
    fold_N = np.arange(40) // 20
    targets_NC[fold_N == 1] = [0, 1]
    drawn = resample(fold_N, None, np.random.default_rng(0), 30)
    found = bootstrap(METRICS["roc_auc"], targets_NC, probs_NC, True, drawn)
    first = [
        METRICS["roc_auc"].scores(targets_NC[:20], probs_NC[:20], True, weights_RN)
        for _, weights_RN in drawn.chunks(np.arange(20))
    ]
    np.testing.assert_array_equal(found, first[0])
    one_class = resample(fold_N[20:], None, np.random.default_rng(0), 30)
    nothing = bootstrap(METRICS["roc_auc"], targets_NC[20:], probs_NC[20:], True, one_class)
    assert np.isnan(nothing).all()
    found = interval(nothing, 100)
    assert math.isnan(found.low) and math.isnan(found.high)
    assert (found.lost, found.reliable, found.excludes_zero) == (30, False, False)


def test_interval_is_the_middle_of_the_scores() -> None:
    scores_R = np.append(np.linspace(0, 1, 101), [np.nan, np.nan])
    assert interval(scores_R, 20, 0.9) == Interval(pytest.approx(0.05), pytest.approx(0.95), 2, True)
    assert interval(scores_R, 20, 0.5) == Interval(pytest.approx(0.25), pytest.approx(0.75), 2, True)
    assert not interval(scores_R, 19, 0.9).reliable


def test_paired_is_turned_so_that_above_zero_the_first_is_better() -> None:
    low, high = np.array([0.1, 0.2, np.nan, 0.3]), np.array([0.5, 0.6, 0.9, 0.7])
    better = paired(low, high, METRICS["log_loss"], groups=50)  # of losses
    assert better.low == pytest.approx(0.4) and better.excludes_zero and better.lost == 1
    worse = paired(low, high, METRICS["accuracy"], groups=50)
    assert worse.high == pytest.approx(-0.4) and worse.excludes_zero
    assert not paired(high, high, METRICS["accuracy"], groups=50).excludes_zero


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_pair_is_antisymmetric_and_of_itself_exactly_zero(seed: int) -> None:
    targets_NC, one_NC = predictions(60, 3, seed)
    _, other_NC = predictions(60, 3, seed + 1)
    drawn = resample(np.arange(60) % 3, None, np.random.default_rng(seed), 40)
    one, other = (bootstrap(METRICS["log_loss"], targets_NC, p, True, drawn) for p in (one_NC, other_NC))
    there, back = (
        paired(one, other, METRICS["log_loss"], drawn.groups),
        paired(other, one, METRICS["log_loss"], drawn.groups),
    )
    assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))
    assert paired(one, one, METRICS["log_loss"], drawn.groups) == Interval(0.0, 0.0, 0, True)


@pytest.mark.parametrize(("groups", "size"), [(100, 1), (40, 5), (20, 10)])
def test_the_interval_covers_the_truth_as_often_as_it_says(groups: int, size: int) -> None:
    """Rows of a group are all right or all wrong: resampled rows would claim far too little spread."""
    rng, trials, share = np.random.default_rng(groups), 300, 0.7
    group_N = np.repeat(np.arange(groups), size)
    fold_N, covered, rows_cover = group_N % 5, 0, 0
    targets_NC = np.eye(2)[np.zeros(len(group_N), dtype=int)]
    for _ in range(trials):
        right = rng.random(groups) < share
        probs_NC = np.eye(2)[(~right[group_N]).astype(int)]
        for names in (group_N.astype(str), None):
            drawn = resample(fold_N, names, rng, rounds=200)
            found = interval(bootstrap(METRICS["accuracy"], targets_NC, probs_NC, True, drawn), drawn.groups, 0.9)
            if names is None:
                rows_cover += found.low <= share <= found.high
            else:
                covered += found.low <= share <= found.high
    assert 0.85 <= covered / trials <= 0.96
    assert size == 1 or rows_cover / trials < 0.7


def test_the_spread_is_unbiased_in_small_folds() -> None:
    """Eight folds of three groups: n draws of n would claim two thirds of the variance."""
    rng, fold_N = np.random.default_rng(0), np.arange(24) % 8
    targets_NC = np.eye(2)[np.zeros(24, dtype=int)]
    claimed, means = [], []
    for _ in range(300):
        probs_NC = np.eye(2)[(rng.random(24) < 0.4).astype(int)]
        drawn = resample(fold_N, None, rng, rounds=150)
        claimed.append(bootstrap(METRICS["accuracy"], targets_NC, probs_NC, True, drawn).var())
        means.append(mean_of_folds(METRICS["accuracy"], targets_NC, probs_NC, True, fold_N))
    assert np.mean(claimed) == pytest.approx(0.24 / 24, rel=0.06)
    assert np.var(means) == pytest.approx(0.24 / 24, rel=0.25)


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_cross_fitting_never_sees_the_held_out_fold(seed: int, folds: int) -> None:
    """Poison one fold's rows: its own fit stays, byte for byte, and only it."""
    rng = np.random.default_rng(seed)
    probs_NMC = rng.random((50, 3, 2))
    targets_NC = np.eye(2)[rng.integers(0, 2, 50)]
    fold_N = rng.permutation(np.arange(50) % folds)

    def run(probs_NMC: np.ndarray, targets_NC: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        def fit(rows: np.ndarray) -> np.ndarray:
            loss_M = ((probs_NMC[rows] - targets_NC[rows, None]) ** 2).mean((0, 2))
            share_M = np.exp(loss_M.min() - loss_M)
            return np.asarray(share_M / share_M.sum())

        def apply(weights_M: np.ndarray, rows: np.ndarray) -> np.ndarray:
            return np.einsum("m,nmc->nc", weights_M, probs_NMC[rows])

        return cross_fit(fit, apply, fold_N)

    clean_NC, clean = run(probs_NMC, targets_NC)
    poisoned = int(rng.integers(folds))
    held = fold_N == poisoned
    bad_NMC, bad_NC = probs_NMC.copy(), targets_NC.copy()
    bad_NC[held] = 1e6  # the labels only: the prediction of the held-out rows may not change either
    found_NC, found = run(bad_NMC, bad_NC)
    np.testing.assert_array_equal(found_NC[held], clean_NC[held])
    bad_NMC[held] = np.nan
    _, also = run(bad_NMC, bad_NC)
    for k in range(folds):
        assert np.array_equal(found[k], clean[k]) == np.array_equal(also[k], clean[k]) == (k == poisoned)


def test_every_row_is_applied_once_by_the_fit_of_the_other_folds() -> None:
    fold_N = np.array([2, 0, 2, 7, 0])
    found_N, fitted = cross_fit(lambda rows: tuple(rows.tolist()), lambda fit, rows: rows * 10 + len(fit), fold_N)
    assert fitted == [(0, 2, 3), (1, 3, 4), (0, 1, 2, 4)]
    assert found_N.tolist() == [3, 13, 23, 34, 43]
    with pytest.raises(ValueError, match="at least 2"):
        cross_fit(lambda rows: 0, lambda fit, rows: rows, np.zeros(4))


def test_a_cross_fitted_choice_among_pure_noise_stays_at_chance() -> None:
    """Fifty coin-flipping members: the best one chosen on all rows looks skilled, the cross-fitted does not."""
    rng, gains, optimistic = np.random.default_rng(0), [], []
    metric, fold_N = METRICS["accuracy"], np.arange(200) % 5
    for _ in range(40):
        targets_NC = np.eye(2)[rng.integers(0, 2, 200)]
        probs_MNC = np.eye(2)[rng.integers(0, 2, (50, 200))]

        def best(rows: np.ndarray, targets_NC: np.ndarray = targets_NC, probs_MNC: np.ndarray = probs_MNC) -> int:
            return int(np.argmax([metric.score(targets_NC[rows], probs_NC[rows], True) for probs_NC in probs_MNC]))

        def chosen(m: int, rows: np.ndarray, probs_MNC: np.ndarray = probs_MNC) -> np.ndarray:
            return np.asarray(probs_MNC[m, rows])

        made_NC, _ = cross_fit(best, chosen, fold_N)
        gains.append(mean_of_folds(metric, targets_NC, made_NC, True, fold_N) - 0.5)
        optimistic.append(metric.score(targets_NC, probs_MNC[best(np.arange(200))], True) - 0.5)
    error = np.std(gains) / np.sqrt(len(gains))
    assert abs(np.mean(gains)) < 3 * error < 0.03 < 0.06 < np.mean(optimistic)


@pytest.mark.parametrize("name", list(BLENDERS))
def test_no_blender_sees_the_held_out_fold_through_cross_fitting(name: str) -> None:
    """Poison the labels and the members of one fold: its fit stays, and its rows' blend where only labels changed."""
    blender, rng = BLENDERS[name], np.random.default_rng(1)
    targets_NC, fold_N = np.eye(3)[rng.integers(0, 3, 60)], rng.permutation(np.arange(60) % 3)
    odds_MNC = np.exp(targets_NC + rng.normal(size=(3, 60, 3)))
    probs_MNC = (odds_MNC / odds_MNC.sum(2, keepdims=True)).astype(np.float32)
    held = fold_N == 1

    def run(probs_MNC: np.ndarray, targets_NC: np.ndarray) -> tuple[np.ndarray, list[Fit]]:
        objective = Objective(targets_NC, METRICS["log_loss"], True, fold_N, seed=4)
        return cross_fit(
            lambda rows: blender.fit(probs_MNC, objective, rows),
            lambda fit, rows: blender.apply(fit, probs_MNC[:, rows], True, fold_N[rows]),
            fold_N,
        )

    clean_NC, clean = run(probs_MNC, targets_NC)
    bad_NC, bad_MNC = targets_NC.copy(), probs_MNC.copy()
    bad_NC[held] = np.roll(bad_NC[held], 1, axis=1)
    bad_MNC[:, held] = bad_MNC[:, held][..., ::-1]
    blind_NC, blind = run(probs_MNC, bad_NC)
    _, wrong = run(bad_MNC, bad_NC)
    np.testing.assert_array_equal(blind_NC[held], clean_NC[held])
    for found in (blind, wrong):
        assert found[1].params == clean[1].params and found[1].trace == clean[1].trace
        np.testing.assert_array_equal(found[1].weights_M, clean[1].weights_M)
    if blender.fitted:
        assert not np.array_equal(blind_NC[~held], clean_NC[~held])

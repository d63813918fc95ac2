"""Fitting blenders: what every one of them promises, on any members."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.methods.blenders import BLENDERS, Fit, Objective, equal_weights
from pipeline.methods.metrics import METRICS

FITTED = [name for name, blender in BLENDERS.items() if blender.fitted]
FOLDS = 3


def competition(
    seed: int, members: int, rows: int = 60, classes: int = 3, single_label: bool = True, metric: str = "log_loss"
) -> tuple[np.ndarray, Objective]:
    """Return members of falling strength, exact zeros and ones among their cells, and the objective."""
    rng = np.random.default_rng(seed)
    truth_N = rng.integers(0, classes, rows)
    truth_N[:classes] = range(classes)
    targets_NC = np.eye(classes, dtype=np.float32)[truth_N]
    if not single_label:
        targets_NC = np.maximum(targets_NC, rng.random(targets_NC.shape) < 0.2).astype(np.float32)
    strength_M11 = np.linspace(2, 0, members)[:, None, None]
    logits_MNC = rng.standard_normal((members, rows, classes)) + strength_M11 * (2 * targets_NC - 1)
    if single_label:
        probs_MNC = np.exp(logits_MNC)
        probs_MNC[rng.random((members, rows)) < 0.05] = np.eye(classes)[0]
        probs_MNC /= probs_MNC.sum(-1, keepdims=True)
    else:
        probs_MNC = 1 / (1 + np.exp(-logits_MNC))
        probs_MNC[rng.random(probs_MNC.shape) < 0.05] = rng.integers(0, 2)
    fold_N = np.arange(rows) % FOLDS
    return probs_MNC.astype(np.float32), Objective(targets_NC, METRICS[metric], single_label, fold_N, seed)


def metrics(single_label: bool) -> list[str]:
    task = "multiclass" if single_label else "multilabel"
    return [name for name, metric in METRICS.items() if task in metric.tasks]


@pytest.mark.parametrize("single_label", [True, False])
@pytest.mark.parametrize("name", list(BLENDERS))
@settings(deadline=None, max_examples=8)
@given(data=st.data(), seed=st.integers(0, 10_000), members=st.integers(1, 5), classes=st.integers(2, 4))
def test_every_fit_gives_valid_predictions(
    name: str, single_label: bool, data: st.DataObject, seed: int, members: int, classes: int
) -> None:
    metric = data.draw(st.sampled_from(metrics(single_label)))
    probs_MNC, objective = competition(seed, members, 40, classes, single_label, metric)
    blender = BLENDERS[name]
    fit = blender.fit(probs_MNC, objective)
    json.dumps([fit.weights_M.tolist(), fit.params, fit.trace], allow_nan=False)
    if blender.simplex:
        assert (fit.weights_M >= 0).all() and fit.weights_M.sum() == pytest.approx(1)
    others_MNC, _ = competition(seed + 1, members, 40, classes, single_label)
    blend_NC = blender.apply(fit, others_MNC, single_label, objective.fold_N)
    assert blend_NC.dtype == np.float64 and blend_NC.shape == others_MNC.shape[1:]
    assert (blend_NC >= 0).all() and (blend_NC <= 1).all()  # so none is NaN
    if single_label and not blender.uses_ranks:
        np.testing.assert_allclose(blend_NC.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("metric", ["log_loss", "accuracy", "mean_column_auc"])
@pytest.mark.parametrize("name", FITTED)
def test_the_members_order_does_not_matter(name: str, metric: str) -> None:
    probs_MNC, objective = competition(3, 5, metric=metric)
    probs_MNC[4] = probs_MNC[1]  # a tie of content; members with equal accuracy tie by score
    order = np.asarray([3, 0, 4, 2, 1])
    blender = BLENDERS[name]
    fit, turned = blender.fit(probs_MNC, objective), blender.fit(probs_MNC[order], objective)
    expected_NC = blender.apply(fit, probs_MNC, True)
    np.testing.assert_allclose(blender.apply(turned, probs_MNC[order], True), expected_NC, atol=1e-12)
    same = [0, 2, 3]  # the copies may change places
    np.testing.assert_array_equal(turned.weights_M[np.argsort(order)][same], fit.weights_M[same])
    assert [step["score"] for step in turned.trace] == [step["score"] for step in fit.trace]


@pytest.mark.parametrize("name", FITTED)
def test_only_the_rows_asked_for_are_seen(name: str) -> None:
    probs_MNC, objective = competition(4, 4)
    rows_N = objective.fold_N != 1
    fit = BLENDERS[name].fit(probs_MNC, objective, rows_N)
    cut_out = BLENDERS[name].fit(probs_MNC[:, rows_N], objective.of(rows_N))
    poisoned_MNC = probs_MNC.copy()
    poisoned_MNC[:, ~rows_N] = np.nan
    poisoned = Objective(
        np.where(rows_N[:, None], objective.targets_NC, np.nan),
        objective.metric,
        True,
        objective.fold_N,
        objective.seed,
    )
    for other in (cut_out, BLENDERS[name].fit(poisoned_MNC, poisoned, np.flatnonzero(rows_N))):
        np.testing.assert_array_equal(other.weights_M, fit.weights_M)
        assert (other.params, other.trace) == (fit.params, fit.trace)


@pytest.mark.parametrize("metric", ["log_loss", "accuracy", "mean_column_auc", "f1_macro"])
@pytest.mark.parametrize("single_label", [True, False])
@pytest.mark.parametrize("name", ["nelder_mead", "greedy", "greedy_negative", "power_mean"])
def test_a_fit_to_the_metric_is_no_worse_than_where_it_begins(name: str, single_label: bool, metric: str) -> None:
    metric = metric if metric in metrics(single_label) else "f1_micro"
    probs_MNC, objective = competition(5, 4, single_label=single_label, metric=metric)
    blender = BLENDERS[name]
    reached = objective.score(blender.apply(blender.fit(probs_MNC, objective), probs_MNC, single_label))
    equal_NC = BLENDERS["mean"].apply(Fit(equal_weights(4)), probs_MNC, single_label)
    begun = [equal_NC] if name in ("nelder_mead", "power_mean") else list(probs_MNC)
    assert reached >= max(objective.score(probs_NC) for probs_NC in begun) - 1e-9


@pytest.mark.parametrize("single_label", [True, False])
def test_slsqp_finds_the_least_log_loss_on_the_simplex(single_label: bool) -> None:
    probs_MNC, objective = competition(6, 3, 300, single_label=single_label)
    mean = BLENDERS["mean"]
    fit = BLENDERS["slsqp"].fit(probs_MNC, objective)
    reached = objective.score(mean.apply(fit, probs_MNC, single_label))
    grid = [np.asarray([a, b, 20 - a - b]) / 20 for a in range(21) for b in range(21 - a)]
    assert (
        reached
        >= max(objective.score(mean.apply(Fit(weights_M), probs_MNC, single_label)) for weights_M in grid) - 1e-9
    )


def test_stacking_recovers_members_that_were_tempered() -> None:
    rng = np.random.default_rng(7)
    logits_NC = 1.5 * rng.standard_normal((4000, 3))
    true_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(1, keepdims=True)
    truth_N = (rng.random((4000, 1)) > true_NC.cumsum(1)[:, :-1]).sum(1)
    flat_NC = true_NC**0.5 / (true_NC**0.5).sum(1, keepdims=True)  # a temperature of 2
    noise_NC = rng.dirichlet(np.ones(3), 4000)
    objective = Objective(np.eye(3)[truth_N], METRICS["log_loss"], True, np.arange(4000) % FOLDS)
    fit = BLENDERS["logistic"].fit(np.stack([flat_NC, noise_NC]), objective)
    np.testing.assert_allclose(fit.weights_M, [2, 0], atol=0.15)
    np.testing.assert_allclose(fit.params["offsets"], 0, atol=0.15)
    ridge = BLENDERS["ridge"].fit(np.stack([flat_NC, noise_NC]), objective)
    assert abs(ridge.weights_M[1]) < 0.05 * ridge.weights_M[0]


def test_ridge_solves_its_normal_equations() -> None:
    from pipeline.methods.blenders.stacking import logits

    probs_MNC, objective = competition(8, 3, 200)
    fit = BLENDERS["ridge"].fit(probs_MNC, objective)
    seen_NCM = np.stack([logits(probs_NC, True) for probs_NC in probs_MNC], -1).astype(np.float32).astype(np.float64)
    residual_NC = seen_NCM @ fit.weights_M + fit.params["offsets"] - objective.targets_NC
    np.testing.assert_allclose(residual_NC.sum(0), 0, atol=1e-6)
    slope_M = np.einsum("ncm,nc->m", seen_NCM, residual_NC) + fit.params["strength"] * 200 * fit.weights_M
    np.testing.assert_allclose(slope_M, 0, atol=1e-6)


def test_the_power_mean_meets_the_means_it_generalises() -> None:
    probs_MNC, _ = competition(9, 3)
    equal_M = equal_weights(3)
    for single_label in (True, False):
        near = BLENDERS["power_mean"].apply(Fit(equal_M, {"exponent": 1e-7}), probs_MNC, single_label)
        expected = BLENDERS["geometric_mean"].apply(Fit(equal_M), probs_MNC, single_label)
        np.testing.assert_allclose(near, expected, atol=1e-5)
        near = BLENDERS["power_mean"].apply(Fit(equal_M, {"exponent": 1 + 1e-9}), probs_MNC, single_label)
        np.testing.assert_allclose(near, BLENDERS["mean"].apply(Fit(equal_M), probs_MNC, single_label), atol=1e-6)


def test_members_that_do_not_fit_the_goal_are_refused() -> None:
    probs_MNC, objective = competition(1, 2)
    with pytest.raises(ValueError, match=r"found members \[\(59, 3\)\], targets \(60, 3\)"):
        BLENDERS["greedy"].fit(probs_MNC[:, 1:], objective)


def test_an_undefined_metric_leaves_equal_weights() -> None:
    probs_MNC, objective = competition(1, 3, metric="mean_column_auc")
    one_class = Objective(np.eye(3)[np.zeros(60, int)], objective.metric, True, objective.fold_N)
    for name in ("greedy", "greedy_bagged", "greedy_negative", "nelder_mead"):
        fit = BLENDERS[name].fit(probs_MNC, one_class)
        np.testing.assert_allclose(fit.weights_M, 1 / 3)
        assert fit.trace == []

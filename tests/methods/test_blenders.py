"""The mathematics of every blender of given weights, by property."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gmean, rankdata

from pipeline.methods.blenders import BLENDERS, Fit, column_ranks, equal_weights
from pipeline.methods.metrics import METRICS

SHAPES = st.tuples(st.integers(1, 5), st.integers(2, 12), st.integers(2, 5), st.integers(0, 10_000))

WEIGHTED = [name for name in BLENDERS if name not in ("logistic", "ridge")]  # those have offsets as well


def draw(shape: tuple[int, int, int, int], single_label: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return members with exact zeros and ones among them, and weights on the simplex."""
    members, rows, classes, seed = shape
    rng = np.random.default_rng(seed)
    probs_MNC = rng.random((members, rows, classes)).astype(np.float32)
    if single_label:
        sure_MN = rng.random((members, rows)) < 0.2
        probs_MNC[sure_MN] = np.eye(classes, dtype=np.float32)[rng.integers(0, classes, sure_MN.sum())]
        probs_MNC /= probs_MNC.sum(-1, keepdims=True)
    else:
        probs_MNC[rng.random(probs_MNC.shape) < 0.2] = 1
        probs_MNC[rng.random(probs_MNC.shape) < 0.2] = 0
    return probs_MNC, rng.dirichlet(np.ones(members))


@pytest.mark.parametrize("single_label", [True, False])
@pytest.mark.parametrize("name", WEIGHTED)
@settings(deadline=None, max_examples=30)  # the first example may import pandas
@given(shape=SHAPES)
def test_contract_of_every_blender(name: str, single_label: bool, shape: tuple[int, int, int, int]) -> None:
    blender = BLENDERS[name]
    probs_MNC, weights_M = draw(shape, single_label)
    blend_NC = blender.apply(Fit(weights_M), probs_MNC, single_label)
    assert blend_NC.shape == probs_MNC.shape[1:]
    assert np.isfinite(blend_NC).all() and (blend_NC >= 0).all() and (blend_NC <= 1 + 1e-12).all()
    if single_label and not blender.uses_ranks:
        np.testing.assert_allclose(blend_NC.sum(1), 1, atol=1e-6)
    order = np.random.default_rng(0).permutation(len(probs_MNC))
    np.testing.assert_allclose(
        blender.apply(Fit(weights_M[order]), probs_MNC[order], single_label), blend_NC, atol=1e-12
    )


@pytest.mark.parametrize("name", [name for name in WEIGHTED if not BLENDERS[name].uses_ranks])
@pytest.mark.parametrize("single_label", [True, False])
def test_equal_members_blend_to_themselves(name: str, single_label: bool) -> None:
    probs_MNC, _ = draw((1, 9, 4, 5), single_label)
    thrice_MNC = np.repeat(probs_MNC, 3, axis=0)
    blend_NC = BLENDERS[name].apply(Fit(equal_weights(3)), thrice_MNC, single_label)
    np.testing.assert_allclose(blend_NC, probs_MNC[0], atol=1e-6)


@pytest.mark.parametrize("members", [9, 11, 20])
def test_the_mean_of_sure_members_is_not_rounded_above_one(members: int) -> None:
    probs_MNC = np.broadcast_to(np.eye(3), (members, 3, 3))
    blend_NC = BLENDERS["mean"].apply(Fit(equal_weights(members)), probs_MNC, True)
    np.testing.assert_array_equal(blend_NC, np.eye(3))  # 1.0000000000000002 is no probability: ensemble refuses it


@settings(deadline=None)  # the first example imports scikit-learn
@given(shape=SHAPES)
def test_log_loss_of_the_mean_is_at_most_the_mean_log_loss(shape: tuple[int, int, int, int]) -> None:
    for single_label in (True, False):
        probs_MNC, weights_M = draw(shape, single_label)
        rng = np.random.default_rng(shape[3] + 1)
        _, rows, classes = probs_MNC.shape
        targets_NC = np.eye(classes)[rng.integers(0, classes, rows)]
        loss = METRICS["log_loss"]
        blend_NC = BLENDERS["mean"].apply(Fit(weights_M), probs_MNC, single_label)
        single = [loss.score(targets_NC, probs_NC, single_label) for probs_NC in probs_MNC]
        assert loss.score(targets_NC, blend_NC, single_label) <= weights_M @ single + 1e-6


def test_geometric_mean_against_scipy() -> None:
    probs_MNC = np.random.default_rng(0).dirichlet(np.ones(4), (3, 6))
    product_NC = gmean(probs_MNC, axis=0)
    expected_NC = product_NC / product_NC.sum(1, keepdims=True)
    np.testing.assert_allclose(BLENDERS["geometric_mean"].apply(Fit(equal_weights(3)), probs_MNC, True), expected_NC)
    yes_NC, no_NC = gmean(probs_MNC, axis=0), gmean(1 - probs_MNC, axis=0)
    expected_NC = yes_NC / (yes_NC + no_NC)
    np.testing.assert_allclose(BLENDERS["geometric_mean"].apply(Fit(equal_weights(3)), probs_MNC, False), expected_NC)


def test_ranks_inside_each_fold_against_scipy() -> None:
    rng = np.random.default_rng(1)
    probs_NC = rng.integers(0, 5, (40, 3)) / 4
    fold_N = rng.integers(0, 3, 40)
    found_NC = column_ranks(probs_NC, fold_N)
    for fold in range(3):
        rows = fold_N == fold
        np.testing.assert_allclose(found_NC[rows], (rankdata(probs_NC[rows], axis=0) - 0.5) / rows.sum())
    np.testing.assert_allclose(column_ranks(probs_NC), (rankdata(probs_NC, axis=0) - 0.5) / 40)


def test_rank_mean_forgets_the_scale_of_a_fold_model() -> None:
    probs_NC = np.random.default_rng(2).random((20, 2))
    fold_N = np.repeat([0, 1], 10)
    scaled_NC = np.where(fold_N[:, None] == 0, probs_NC / 10, probs_NC)
    blend = BLENDERS["rank_mean"].apply
    found_NC = blend(Fit(equal_weights(2)), np.stack([scaled_NC, probs_NC]), False, fold_N)
    np.testing.assert_allclose(found_NC, column_ranks(probs_NC, fold_N))


@pytest.mark.parametrize("weights", [[0.5, 0.6], [1.5, -0.5], [1.0], [np.nan, 1.0]])
def test_weights_off_the_simplex_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="found weights"):
        BLENDERS["mean"].apply(Fit(np.asarray(weights)), np.full((2, 3, 2), 0.5), True)

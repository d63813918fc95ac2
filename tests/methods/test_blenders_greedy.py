"""The greedy search and its quick scores, against the metrics themselves."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.methods.blenders import BLENDERS, Objective
from pipeline.methods.blenders.greedy import search
from pipeline.methods.blenders.scorers import Scorer, scorer
from pipeline.methods.metrics import METRICS

FAST = [("log_loss", True), ("log_loss", False), ("roc_auc", True), ("roc_auc", False), ("mean_column_auc", True)]


def draw(seed: int, members: int, rows: int, classes: int, steps: int, single_label: bool) -> tuple[np.ndarray, ...]:
    """Return members and targets; with few steps the cells tie often."""
    rng = np.random.default_rng(seed)
    probs_MNC = rng.integers(0, steps + 1, (members, rows, classes)) / steps
    if single_label:
        probs_MNC[..., 0] += probs_MNC.sum(-1) == 0
        probs_MNC /= probs_MNC.sum(-1, keepdims=True)
    targets_NC = np.eye(classes)[rng.integers(0, classes, rows)]
    return probs_MNC.astype(np.float32), targets_NC


@pytest.mark.parametrize(("metric", "single_label"), FAST)
@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 50),
    classes=st.integers(2, 4),
    steps=st.sampled_from([1, 4, 1000]),
)
def test_quick_scores_equal_the_metric(
    metric: str, single_label: bool, seed: int, rows: int, classes: int, steps: int
) -> None:
    probs_MNC, targets_NC = draw(seed, 3, rows, classes, steps, single_label)
    objective = Objective(targets_NC, METRICS[metric], single_label, np.zeros(rows, np.int64))
    by = scorer(objective)
    assert type(by) is not Scorer
    cells_MX = by.read_all(probs_MNC)
    for probs_NC, cells_X in zip(probs_MNC, cells_MX, strict=True):
        assert by.score(cells_X) == pytest.approx(objective.score(probs_NC), abs=1e-5, rel=1e-5)
    total_X = cells_MX[0] + cells_MX[1].astype(np.float64)
    expected = [objective.score(probs_MNC[[0, 1, m]].sum(0, dtype=np.float64) / 3) for m in range(3)]
    np.testing.assert_allclose(by.candidates(cells_MX, total_X, 3), expected, atol=2e-6, rtol=1e-5)


def test_many_rows_are_scored_in_half_the_width() -> None:
    probs_MNC, targets_NC = draw(1, 2, 30_000, 2, 1024, single_label=False)
    objective = Objective(targets_NC, METRICS["roc_auc"], True, np.zeros(30_000, np.int64))
    by = scorer(objective)
    cells_MX = by.read_all(probs_MNC)
    found = by.candidates(cells_MX, cells_MX[0].astype(np.float64), 2)
    expected = [objective.score(probs_MNC[[0, m]].sum(0, dtype=np.float64) / 2) for m in range(2)]
    np.testing.assert_allclose(found, expected, atol=1e-12)  # the cells are exact in float32


@pytest.mark.parametrize(("metric", "single_label"), [*FAST, ("accuracy", True), ("f1_macro", False)])
def test_the_search_is_carunas(metric: str, single_label: bool) -> None:
    probs_MNC, targets_NC = draw(11, 6, 80, 3, 1000, single_label)
    probs_MNC[:2] = 0.7 * probs_MNC[:2] + 0.3 * targets_NC.astype(np.float32)
    objective = Objective(targets_NC, METRICS[metric], single_label, np.zeros(80, np.int64))
    by = scorer(objective)
    counts_M, trace = search(by, by.read_all(probs_MNC), 10)
    assert [step["step"] for step in trace] == list(range(1, 11))
    chosen: list[int] = []
    for step in trace:  # as the paper has it, by nothing but the metric
        tried = [objective.score(probs_MNC[[*chosen, m]].mean(0, dtype=np.float64)) for m in range(6)]
        assert step["score"] == pytest.approx(max(tried), abs=1e-6)
        assert tried[step["member"]] == pytest.approx(max(tried), abs=1e-9)
        chosen.append(step["member"])
    scores = [step["score"] for step in trace]
    end = int(counts_M.sum())
    assert scores[end - 1] == pytest.approx(max(scores), abs=1e-9)
    assert all(score < max(scores) for score in scores[: end - 1])
    np.testing.assert_array_equal(counts_M, np.bincount(chosen[:end], minlength=6))


def test_greedy_keeps_its_weights() -> None:
    probs_MNC, targets_NC = draw(11, 4, 200, 3, 1000, True)
    for m, share in enumerate((0.2, 0.15, 0.1)):
        probs_MNC[m] = (1 - share) * probs_MNC[m] + share * targets_NC
    objective = Objective(targets_NC, METRICS["log_loss"], True, np.zeros(200, np.int64))
    fit = BLENDERS["greedy"].fit(probs_MNC, objective)
    np.testing.assert_allclose(fit.weights_M, [23 / 27, 4 / 27, 0, 0], atol=1e-12)
    blend_NC = BLENDERS["greedy"].apply(fit, probs_MNC, True)
    best = min(step["score"] for step in fit.trace)
    assert METRICS["log_loss"].score(targets_NC, blend_NC, True) == pytest.approx(best, abs=1e-6)


def test_negative_weights_cancel_what_members_share() -> None:
    rng = np.random.default_rng(5)
    truth_N = rng.integers(0, 2, 3000)
    shared_N, own_N = rng.standard_normal((2, 3000))
    good_N = 1 / (1 + np.exp(-(truth_N + 2 * shared_N + 0.3 * own_N)))
    bad_N = 1 / (1 + np.exp(-2 * shared_N))
    probs_MNC = np.stack([1 - np.stack([good_N, bad_N]), np.stack([good_N, bad_N])], -1)
    objective = Objective(np.eye(2)[truth_N], METRICS["roc_auc"], True, np.zeros(3000, np.int64))
    scores = {}
    for name in ("greedy", "greedy_negative"):
        fit = BLENDERS[name].fit(probs_MNC, objective)
        scores[name] = objective.score(BLENDERS[name].apply(fit, probs_MNC, True))
    assert fit.weights_M[1] < 0 and fit.weights_M.sum() == pytest.approx(1)
    assert scores["greedy_negative"] > scores["greedy"] + 0.02
    assert [step["score"] for step in fit.trace] == sorted(step["score"] for step in fit.trace)


def test_bagged_draws_follow_the_seed() -> None:
    probs_MNC, targets_NC = draw(12, 6, 60, 3, 1000, True)
    objectives = [Objective(targets_NC, METRICS["log_loss"], True, np.zeros(60, np.int64), seed) for seed in (1, 1, 2)]
    first, again, other = (BLENDERS["greedy_bagged"].fit(probs_MNC, objective).weights_M for objective in objectives)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(("metric", "classes"), [("log_loss", 5), ("roc_auc", 2), ("accuracy", 5)])
def test_greedy_needs_no_more_memory_than_the_members_take(metric: str, classes: int) -> None:
    members, rows = 30, 20_000
    rng = np.random.default_rng(0)
    probs_MNC = rng.dirichlet(np.ones(classes), (members, rows)).astype(np.float32)
    targets_NC = np.eye(classes, dtype=np.float32)[rng.integers(0, classes, rows)]
    objective = Objective(targets_NC, METRICS[metric], True, np.arange(rows) % 5)
    by = scorer(objective)
    tracemalloc.start()
    search(by, by.read_all(probs_MNC), 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < probs_MNC.nbytes  # beside the members themselves: twice them in all

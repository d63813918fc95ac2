"""Greedy hill climbing: add again and again the member that helps most.

Source: Caruana, Niculescu-Mizil, Crew & Ksikes (2004), Ensemble selection from libraries of models, ICML. The score
inside is the metric over all rows together, for speed; what is reported is the mean over folds, as everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.blenders.blender import Fit, Objective, equal_weights
from pipeline.methods.blenders.means import weighted_sum
from pipeline.methods.blenders.scorers import Cells, Scorer, scorer

STEPS = 50
BAGS = 10
CLOSE = 16  # candidates that quick scores cannot tell apart and that are scored again, at most
SAME = 1e-12  # scores this close differ only by rounding: fewer steps win
SHARES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01)  # that a step of greedy_negative may mix in, or take out
PROBE = 0.05  # every member is tried with this share first
FINALISTS = 5  # and the best of them with every share


def greedy(members: Sequence[Array], objective: Objective) -> Fit:
    """Return the best blend on the way of `STEPS` additions with replacement, starting from nothing."""
    scores = scorer(objective)
    counts_M, trace = search(scores, scores.read_all(members), STEPS)
    if not trace:
        return Fit(equal_weights(len(members)))
    return Fit(counts_M / counts_M.sum(), trace=trace)


def greedy_bagged(members: Sequence[Array], objective: Objective) -> Fit:
    """Return the mean weights of `BAGS` searches, each in its own random half of the members.

    A member that overfits is then missing from half of the searches, which tempers what noise can win.
    """
    scores = scorer(objective)
    cells, rng = scores.read_all(members), np.random.default_rng([objective.seed, len(members)])
    size, weights_M = max(2, -(-len(members) // 2)), np.zeros(len(members))
    for _ in range(BAGS):
        bag = sorted(rng.permutation(len(members))[:size].tolist())
        counts_B, trace = search(scores, [cells[m] for m in bag], STEPS)
        if not trace:
            return Fit(equal_weights(len(members)), {"bags": 0})
        weights_M[bag] += counts_B / counts_B.sum() / BAGS
    return Fit(weights_M, {"bags": BAGS})


def search(by: Scorer, cells: Cells, steps: int) -> tuple[Array, list[dict[str, Any]]]:
    """Return how often each member was added up to the best step [M], and the steps there were.

    Steps hold member and score (greater is better). Quick float32 scores choose the few candidates that
    are scored exactly. No step is returned where no member can be scored.
    """
    total_X, counts_M = np.zeros(len(cells[0])), np.zeros(len(cells), dtype=np.int64)
    trace: list[dict[str, Any]] = []
    for count in range(1, steps + 1):
        scores_M = by.candidates(cells, total_X, count)
        if not np.isfinite(scores_M).any():
            break
        close = np.flatnonzero(scores_M >= scores_M.max() - by.noise)
        close = np.sort(close[np.argsort(-scores_M[close], kind="stable")[:CLOSE]])
        exact = scores_M[close]
        if by.noise:
            exact = np.asarray([by.score((total_X + cells[m]) / count) for m in close.tolist()])
        tied = close[exact >= exact.max() - SAME]
        best = int(next((m for m in tied if counts_M[m]), tied[0]))  # few members are easier to keep than many
        counts_M[best] += 1
        total_X += cells[best]
        trace.append({"step": count, "member": best, "score": float(exact[close == best][0])})
    scores = [step["score"] for step in trace]
    end = next((i + 1 for i, score in enumerate(scores) if score >= max(scores) - SAME), 0)
    return np.bincount([step["member"] for step in trace[:end]], minlength=len(cells)), trace


def greedy_negative(members: Sequence[Array], objective: Objective) -> Fit:
    """Return weights that may be negative: each step mixes in the member and the share that help most.

    A member with a negative weight cancels what it has in common with others, and overfits the more easily.
    Weights sum to 1; the search ends where no share of any member helps.
    """
    by, views = scorer(objective), list(members)

    def score(blend_NC: Array) -> float:
        return by.score(by.read(valid(blend_NC, objective.single_label)))

    single = [score(probs_NC.astype(np.float64)) for probs_NC in views]
    best, reached = int(np.argmax(single)), float(np.max(single))
    if not math.isfinite(reached):
        return Fit(equal_weights(len(views)))
    weights_M = np.eye(len(views))[best]
    trace = [{"step": 1, "member": best, "share": 1.0, "score": reached}]
    blend_NC = views[best].astype(np.float64)
    for step in range(2, STEPS + 1):
        quick_NC = blend_NC.astype(np.float32)
        tried = [
            (score(np.float32(1 - probe) * quick_NC + np.float32(probe) * probs_NC), probe, m)
            for probe in (PROBE, -PROBE)
            for m, probs_NC in enumerate(views)
        ]
        tried.sort(key=lambda item: -item[0])  # stable: the first of equals stays first
        found, share, best = max(
            (
                (score((1 - share) * blend_NC + share * views[m]), share, m)
                for _, probe, m in tried[:FINALISTS]
                for share in (SHARES if probe > 0 else [-share for share in SHARES])
            ),
            key=lambda item: item[0],
        )
        if found <= reached + SAME:
            break
        reached, weights_M = found, (1 - share) * weights_M
        weights_M[best] += share
        blend_NC = (1 - share) * blend_NC + share * views[best]
        trace.append({"step": step, "member": best, "share": share, "score": found})
    return Fit(weights_M, trace=trace)


def signed_mean(fit: Fit, members: Sequence[Array], single_label: bool) -> Array:
    """Return the weighted sum, clipped to [0, 1]; rows of a single label are scaled to sum to 1."""
    return valid(weighted_sum(fit.weights_M, members), single_label)


def valid(blend_NC: Array, single_label: bool) -> Array:
    """Return the blend clipped to [0, 1]; rows of one label sum to 1, even where nothing is left."""
    blend_NC = blend_NC.clip(0, 1)
    if not single_label:
        return blend_NC
    sums_N1 = np.einsum("nc->n", blend_NC)[:, None]
    scaled_NC = blend_NC / np.where(sums_N1 > 0, sums_N1, 1)
    return np.where(sums_N1 > 0, scaled_NC.clip(0, 1), np.asarray(1 / blend_NC.shape[1], blend_NC.dtype))

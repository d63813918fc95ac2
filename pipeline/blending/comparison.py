"""Compare blenders by their cross-fitted scores, choose one, and say what each member brings."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from pipeline.blending.blend import Members, blend
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.blenders import BLENDERS, Fit, column_ranks, equal_weights
from pipeline.methods.blenders import find as find_blender
from pipeline.methods.metrics import METRICS
from pipeline.methods.resampling import defined
from pipeline.scoring.evaluation import Evaluator, Prediction

REFIT_CELLS = 300_000  # of all members: above, a member is left out without fitting the others anew
MOST_SCORED = 1e9  # cells that a search scores in all its fits: above, some minutes, it is compared only if named
QUICK = 20  # times: log loss reads a cell of a row and scores many blends together
SLOW = 10.0  # seconds after which a blender's time is printed, as `ensemble.compare` can leave it out


def compare(
    asked: str, names: Sequence[str], members: Members, evaluator: Evaluator
) -> tuple[str, dict[str, Prediction], dict[str, Any]]:
    """Return the blender to use, the blends of all, and the comparison with the mean and the best single member.

    `auto` is the best cross-fitted one if the interval of its lead over the mean excludes 0, else the mean.
    The best member was chosen on the rows that it is scored on, so its score is optimistic.
    """
    wanted = dict.fromkeys(["mean", asked, *names])
    plugins = [name for name in wanted if name not in BLENDERS and name != "auto"]
    listed = [*(name for name in BLENDERS if name in wanted), *plugins]
    blends = {name: _timed(name, members, evaluator) for name in listed}
    evaluations = {name: evaluator.evaluate(made) for name, made in blends.items()}
    best_blender, found = evaluator.compare(evaluations, "mean")
    scores = {name: evaluator.score(member.cross_NC) for name, member in members.items()}
    gains = [evaluator.metric.direction * score for score in scores.values()]
    best_member = list(members)[int(np.nanargmax(gains)) if np.isfinite(gains).any() else 0]
    single = evaluator.evaluate(replace(members[best_member], at=lambda _: members[best_member].cross_NC))
    report = {
        "best_member": best_member,
        "blenders": {
            name: {
                "fitted": find_blender(name).fitted,
                **one,
                "over_best_member": evaluator.lead(evaluations[name], single),
            }
            for name, one in found.items()
        },
        "members": {name: defined(score) for name, score in scores.items()},
    }
    if asked != "auto":
        return asked, blends, report
    return best_blender, blends, report | {"why": _why(best_blender, found)}


def search(chosen: str, blends: Mapping[str, Prediction]) -> dict[str, Any]:
    """Return the steps of the chosen blender's search, else of the greedy one if it was tried, and whose they are."""
    name = next((name for name in (chosen, "greedy") if name in blends and blends[name].fits[None].trace), chosen)
    return {"trace": blends[name].fits[None].trace, "traced": name}


def work(name: str, members: Members, evaluator: Evaluator) -> float:
    """Return about how many cells a blender scores in all its fits, in those of a metric that is not log loss."""
    fits = 1 + len(np.unique(evaluator.part_N))
    quick = QUICK if evaluator.metric is METRICS["log_loss"] else 1
    return find_blender(name).scored * _cells(members) * fits / quick


def correlation(members: Members) -> list[list[float]]:
    """Return Pearson's correlation between members' OOF [M][M], over all cells once each class is centred.

    Without centring, classes of unlike frequency alone would make all members look alike.
    """
    total_MM, shown = np.zeros((len(members), len(members))), [member.cross_NC for member in members.values()]
    if tops := topk.tops(shown):
        total_MM += topk.covariance(tops)
    for column in () if tops else range(shown[0].shape[1]):
        cells_MN = np.stack([probs_NC[:, column] for probs_NC in shown])
        cells_MN = cells_MN - cells_MN.mean(1, keepdims=True)
        total_MM += cells_MN @ cells_MN.T
    spread_M = np.sqrt(np.diag(total_MM))
    scale_MM = np.outer(spread_M, spread_M)
    found_MM = np.divide(total_MM, scale_MM, out=np.eye(len(shown)), where=scale_MM > 0)
    return [[float(value) for value in row] for row in found_MM.clip(-1, 1)]


def leave_one_out(name: str, chosen: Prediction, members: Members, evaluator: Evaluator) -> dict[str, Any]:
    """Return by how much the cross-fitted score falls without each member; below 0 it would rise.

    The others are fitted anew, or of many cells take over the weight in proportion (`refitted` says which).
    Then regressions and signed weights are left out (None): they mean nothing without one another.
    """
    blender, searched = find_blender(name), len(members) * work(name, members, evaluator)
    refit = blender.fitted and _cells(members) <= REFIT_CELLS and searched <= MOST_SCORED
    if not refit and not blender.simplex:
        return {"refitted": False, "members": dict.fromkeys(members)}
    with_all, fits, shown = evaluator.gain(chosen.cross_NC), None if refit else chosen.fits, members
    if blender.uses_ranks and not refit:  # rank once, not again without each member
        shown = {one: _ranked(member, evaluator.fold_N) for one, member in members.items()}
        blender = replace(blender, uses_ranks=False)

    def gains() -> Iterator[tuple[str, float | None]]:
        for m, left_out in enumerate(members):
            others = {one: member for one, member in shown.items() if one != left_out}
            kept = fits and {part: Fit(_without(fit.weights_M, m), fit.params) for part, fit in fits.items()}
            made = blend(blender, others, evaluator, kept)
            yield left_out, defined(with_all - evaluator.gain(made.cross_NC))

    return {"refitted": refit, "members": dict(gains())}


def _ranked(member: Prediction, fold_N: Array) -> Prediction:
    return replace(member, at=cache(lambda part: column_ranks(member.at(part), fold_N)))


def _without(weights_M: Array, m: int) -> Array:
    """Return the weights of all but one member, in proportion."""
    weights_M = np.delete(weights_M, m)
    total = weights_M.sum()
    return weights_M / total if total > 0 else equal_weights(len(weights_M))


def _cells(members: Members) -> int:
    return len(members) * math.prod(next(iter(members.values())).cross_NC.shape)


def _timed(name: str, members: Members, evaluator: Evaluator) -> Prediction:
    begin = time.perf_counter()
    found = blend(find_blender(name), members, evaluator)
    if (seconds := time.perf_counter() - begin) > SLOW:
        print(f"{name}: fitted in {seconds:.0f} s", flush=True)
    return found


def _why(chosen: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """Say why `auto` took this one."""
    leads = {name: one["over_mean"] for name, one in found.items() if name != "mean"}
    best = max(leads, key=lambda name: -math.inf if leads[name]["lead"] is None else leads[name]["lead"], default=None)
    if best is None or not (leads[best]["lead"] or 0) > 0:
        return "auto: none scores better than the mean on folds it was not fitted on"
    low, high = leads[best]["interval"]
    between = "undefined" if low is None else f"{low:.4f} to {high:.4f}"
    between += "" if leads[best]["reliable"] else " (unreliable)"
    text = f"auto: {best} leads the mean by {leads[best]['lead']:.4f}, 90 % interval {between}"
    return text if chosen == best else f"{text}, not significant: so the mean"

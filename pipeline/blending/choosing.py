"""Compare blenders honestly, choose one, and say what each member brings."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.blending.judging import LEVEL, Crossed, Judge, Scored
from pipeline.blending.stacking import Stack, blend
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.blenders import BLENDERS, Fit, equal_weights
from pipeline.methods.blenders import find as find_blender
from pipeline.methods.metrics import METRICS
from pipeline.methods.resampling import defined

REFIT_CELLS = 300_000  # of the stack: above, a member is left out without fitting the others anew
MOST_SCORED = 1e9  # cells that a search scores in all its fits: above, some minutes, it is compared only if named
QUICK = 20  # times: log loss reads a cell of a row and scores many blends together
SLOW = 10.0  # seconds after which a blender's time is printed, as `ensemble.compare` can leave it out


def compare(
    asked: str, names: Sequence[str], stack: Stack, kind: str, judge: Judge
) -> tuple[str, dict[str, Crossed[Fit]], dict[str, Any]]:
    """Return the blender to use, the fits of all, and the comparison with the mean and the best single member.

    `auto` is the best cross-fitted one if the interval of its lead over the mean excludes 0, else the mean.
    The best member was chosen on the rows that it is scored on, which flatters it against the blends.
    """
    wanted = dict.fromkeys(["mean", asked, *names])
    own = [name for name in wanted if name not in BLENDERS and name != "auto"]  # the user's, after the table's
    listed = [*(name for name in BLENDERS if name in wanted), *own]
    fits = {name: _timed(name, stack, kind, judge) for name in listed}
    scored = {name: judge.scored(crossed) for name, crossed in fits.items()}
    singles = {member.name: judge.score(stack.single(kind, member)) for member in stack.members}
    best = _best_member(stack, kind, judge)
    chosen = judge.choose(scored, "mean") if asked == "auto" else asked
    report = {
        "on": kind,
        **judge.terms,
        "best_member": best[0],
        "blenders": {
            name: {
                "fitted": find_blender(name).fitted,
                **judge.described(one),
                "over_mean": None if name == "mean" else judge.difference(one, scored["mean"]),
                "over_best_member": judge.difference(one, best[1]),
            }
            for name, one in scored.items()
        },
        "members": {name: defined(score) for name, score in singles.items()},
    }
    if asked == "auto":
        report["why"] = _why(chosen, scored, judge)
    return chosen, fits, report


def search(chosen: str, fits: Mapping[str, Crossed[Fit]]) -> dict[str, Any]:
    """Return the steps of the chosen blender's search, else of the greedy one if it was tried, and whose they are."""
    name = next((name for name in (chosen, "greedy") if name in fits and fits[name].final.trace), chosen)
    return {"trace": fits[name].final.trace, "traced": name}


def work(name: str, stack: Stack, kind: str, judge: Judge) -> float:
    """Return about how many cells a blender scores in all its fits, in those of a metric that is not log loss."""
    fits = 1 + len(np.unique(judge.part_N))
    quick = QUICK if judge.metric is METRICS["log_loss"] else 1
    return find_blender(name).scored * _cells(stack, kind) * fits / quick


def correlation(stack: Stack, kind: str) -> list[list[float]]:
    """Return Pearson's correlation between members' OOF [M][M], over all cells once each class is centred.

    Without centring, classes of unlike frequency alone would make all members look alike.
    """
    total_MM, shown = np.zeros((len(stack), len(stack))), [stack.single(kind, member) for member in stack.members]
    if tops := topk.tops(shown):
        total_MM += topk.covariance(tops)
    for column in () if tops else range(shown[0].shape[1]):
        cells_MN = np.stack([probs_NC[:, column] for probs_NC in shown])
        cells_MN = cells_MN - cells_MN.mean(1, keepdims=True)
        total_MM += cells_MN @ cells_MN.T
    spread_M = np.sqrt(np.diag(total_MM))
    scale_MM = np.outer(spread_M, spread_M)
    found_MM = np.divide(total_MM, scale_MM, out=np.eye(len(stack)), where=scale_MM > 0)
    return [[float(value) for value in row] for row in found_MM.clip(-1, 1)]


def leave_one_out(name: str, crossed: Crossed[Fit], stack: Stack, kind: str, judge: Judge) -> dict[str, Any]:
    """Return by how much the cross-fitted score falls without each member; below 0 it would rise.

    The others are fitted anew, or on a large stack take over the weight in proportion (`refitted` says which).
    Of a large stack, regressions and signed weights are left out (None): they mean nothing without one another.
    """
    blender, often = find_blender(name), len(stack) * work(name, stack, kind, judge)
    refit = blender.fitted and _cells(stack, kind) <= REFIT_CELLS and often <= MOST_SCORED
    if not refit and not blender.simplex:
        return {"refitted": False, "members": dict.fromkeys(member.name for member in stack.members)}
    with_all = judge.gain(crossed.cross_NC)
    if refit:
        less: Iterator[Array] = (
            blend(name, stack.without(member.name), kind, judge).cross_NC for member in stack.members
        )
    else:
        less = _without_each(name, crossed, stack, kind, judge)
    gains = {member.name: defined(with_all - judge.gain(one)) for member, one in zip(stack.members, less, strict=True)}
    return {"refitted": refit, "members": gains}


def _without_each(name: str, crossed: Crossed[Fit], stack: Stack, kind: str, judge: Judge) -> Iterator[Array]:
    """Yield for each member the cross-fitted blend whose weight of it goes to the others."""
    blender, rows = find_blender(name), {part: np.flatnonzero(judge.part_N == part) for part in crossed.by_part}
    if not (blender.fitted or stack.learns(kind)):  # one blend of all rows, whichever part is held out
        whole, fit = blender.shown(stack.oof(kind, None), judge.fold_N), crossed.final
        for m in range(len(stack)):
            others = whole[:m] + whole[m + 1 :]
            yield blender.function(Fit(_others(fit.weights_M, m), fit.params), others, judge.single_label)
        return
    if stack.learns(kind):
        shown = {part: blender.shown(stack.oof(kind, part), judge.fold_N, rows[part]) for part in rows}
    else:
        whole = blender.shown(stack.oof(kind, None), judge.fold_N)
        shown = {part: [probs_NC[rows[part]] for probs_NC in whole] for part in rows}
    for m in range(len(stack)):
        cross_NC = np.empty_like(crossed.cross_NC)
        for part, fit in crossed.by_part.items():
            others = shown[part][:m] + shown[part][m + 1 :]
            left = Fit(_others(fit.weights_M, m), fit.params)
            cross_NC[rows[part]] = blender.function(left, others, judge.single_label)
        yield cross_NC


def _others(weights_M: Array, m: int) -> Array:
    """Return the weights of all but one member, in proportion."""
    weights_M = np.delete(weights_M, m)
    total = weights_M.sum()
    return weights_M / total if total > 0 else equal_weights(len(weights_M))


def _cells(stack: Stack, kind: str) -> int:
    return len(stack) * math.prod(stack.single(kind, stack.members[0]).shape)


def _timed(name: str, stack: Stack, kind: str, judge: Judge) -> Crossed[Fit]:
    begin = time.perf_counter()
    found = blend(name, stack, kind, judge)
    if (seconds := time.perf_counter() - begin) > SLOW:
        print(f"{name}: fitted in {seconds:.0f} s", flush=True)
    return found


def _best_member(stack: Stack, kind: str, judge: Judge) -> tuple[str, Scored]:
    gains = [judge.gain(stack.single(kind, member)) for member in stack.members]
    member = stack.members[int(np.nanargmax(gains)) if np.isfinite(gains).any() else 0]
    cross_NC = stack.single(kind, member)
    return member.name, judge.scored_as(judge.score(cross_NC), cross_NC)


def _why(chosen: str, scored: dict[str, Scored], judge: Judge) -> str:
    """Say why `auto` took this one."""
    leads = {name: judge.lead(one, scored["mean"]) for name, one in scored.items() if name != "mean"}
    best = max(leads, key=lambda name: np.nan_to_num(leads[name], nan=-np.inf), default=None)
    if best is None or not leads[best] > 0:
        return "auto: none scores better than the mean on folds it was not fitted on"
    spread = judge.paired(scored[best], scored["mean"])
    between = "undefined" if np.isnan(spread.low) else f"{spread.low:.4f} to {spread.high:.4f}"
    between += "" if spread.reliable else " (unreliable)"
    text = f"{best} leads the mean by {leads[best]:.4f}, {100 * LEVEL:.0f} % interval {between}"
    return f"auto: {text}" + ("" if chosen == best else ", not surely better: so the mean")

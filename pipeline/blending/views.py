"""Decide with which views a member is submitted: all of `tta`, but for those that OOF speaks clearly against.

The choice is made on the rows that are scored, so it only leaves out what clearly loses: where the paired interval of a
score with views, less that without them, lies wholly below 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pipeline.methods.arrays import Array
from pipeline.scoring.evaluation import Evaluation, Evaluator, Prediction

IDENTITY = "identity"
NOISE = 1e-9  # by which sums of the same numbers in another order differ


@dataclass(frozen=True)
class Taken:
    """Hold the views that are submitted, and why, for JSON."""

    kind: str  # plain, tta, or auto where only some are left out
    views: tuple[str, ...]
    report: dict[str, Any]


def take(mean: Callable[[tuple[str, ...]], Array], tta: Sequence[str], evaluator: Evaluator) -> Taken:
    """Choose among the views of `tta`; `mean(views)` returns their mean over the OOF rows.

    A view is left out where the mean is clearly better without it, the worst one first, then the others are judged
    anew. What is left is taken unless identity alone is clearly better.
    """

    @cache
    def score(views: tuple[str, ...]) -> float:
        return evaluator.score(mean(views))

    @cache
    def evaluation(views: tuple[str, ...]) -> Evaluation:
        return Evaluation(score(views), score(views), evaluator.bootstrap(mean(views)))

    def lead(views: tuple[str, ...], others: tuple[str, ...]) -> dict[str, Any]:
        return evaluator.lead(evaluation(views), evaluation(others))

    kept, left_out = tuple(tta), dict[str, dict[str, Any]]()
    while len(kept) > 1:
        without = {view: tuple(one for one in kept if one != view) for view in kept if view != IDENTITY}
        worse = [v for v in without if evaluator.metric.direction * (score(kept) - score(without[v])) < -NOISE]
        against = {view: found for view in worse if hurts(found := lead(kept, without[view]))}
        if not against:
            break
        view = min(against, key=lambda name: against[name]["lead"])
        left_out[view], kept = against[view], without[view]
    over_plain = None if kept == (IDENTITY,) else lead(kept, (IDENTITY,))
    taken = (IDENTITY,) if over_plain is not None and hurts(over_plain) else kept
    report = {"tta": list(tta), "tried": list(kept), "over_plain": over_plain, "left_out": left_out}
    return Taken(_kind(taken, tta), taken, {**report, "views": list(taken)})


def take_whole(plain: Prediction, tta: Prediction, views: Sequence[str], evaluator: Evaluator) -> Taken:
    """Choose between plain and all views together, where they are not judged one by one."""
    found = evaluator.lead(evaluator.evaluate(tta), evaluator.evaluate(plain))
    taken = (IDENTITY,) if hurts(found) else tuple(views)
    report = {"tta": list(views), "tried": list(views), "over_plain": found, "left_out": {}}
    return Taken(_kind(taken, views), taken, {**report, "views": list(taken)})


def hurts(lead: dict[str, Any]) -> bool:
    """Tell whether the interval of a lead lies wholly below 0."""
    high = lead["interval"][1]
    return high is not None and high < -NOISE


def _kind(taken: Sequence[str], tta: Sequence[str]) -> str:
    if list(taken) == list(tta):
        return "tta"
    return "plain" if list(taken) == [IDENTITY] else "auto"

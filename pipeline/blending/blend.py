"""Blend members, fitted to all rows and without each part; weight a member's views where that is significant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.blending.member import Member
from pipeline.blending.views import Taken, take_whole
from pipeline.methods.arrays import Array
from pipeline.methods.blenders import BLENDERS, Blender, Fit
from pipeline.scoring.evaluation import Evaluator, Prediction, unfitted

VIEWS_BY = "greedy"  # the blender that weights views
Members = Mapping[str, Prediction]
Kinds = dict[str, dict[str, Prediction]]  # plain, tta, where members differ also auto -> the members


def blend(
    blender: Blender, members: Members, evaluator: Evaluator, fits: Mapping[int | None, Fit] | None = None
) -> Prediction:
    """Fit a blender to the members' OOF; with `fits`, those made on other views, only apply it."""
    several = list(members.values())

    def shown(part: int | None) -> list[Array]:
        return [one.at(part) for one in several]  # not stacked, as that would copy all of them

    def chosen(rows: Array | slice) -> Array | None:
        return None if isinstance(rows, slice) else rows

    def fit(part: int | None, rows: Array | slice) -> Fit:
        if fits is not None:
            return fits.get(part, fits[None])
        return blender.fit(shown(part), evaluator.objective, chosen(rows))

    def apply(part: int | None, found: Fit, rows: Array | slice) -> Array:
        return blender.apply(found, shown(part), evaluator.single_label, evaluator.fold_N, chosen(rows))

    def test(found: Fit) -> Array:
        return blender.apply(found, [one.test() for one in several], evaluator.single_label)

    learns = blender.fitted or any(one.learns for one in several)
    return evaluator.cross_fit(fit, apply, test, learns, keep=True)


def of_views(members: Sequence[Member], evaluator: Evaluator) -> tuple[Kinds, dict[str, Any], dict[str, Taken]]:
    """Return the members as `plain` and `tta`, what was found about their views' weights, and which views are taken.

    Views are weighted only where the interval of their lead over the plain mean excludes 0. Of members that were asked
    which views to take, and take some, there is also `auto`: each with its own.
    """
    made = {kind: {one.name: unfitted(one.oof[kind], one.test[kind]) for one in members} for kind in ("plain", "tta")}
    report, taken = {}, {one.name: one.taken for one in members if one.taken is not None}
    for member in members:
        if not member.each_view:
            continue
        views = {view: unfitted(*both) for view, both in member.each_view.items()}
        mean, weighted = made["tta"][member.name], blend(BLENDERS[VIEWS_BY], views, evaluator)
        evaluations = {"mean": evaluator.evaluate(mean), VIEWS_BY: evaluator.evaluate(weighted)}
        chosen, found = evaluator.compare(evaluations, "mean")
        if chosen == VIEWS_BY:
            made["tta"][member.name] = weighted
            if member.name in taken:
                used = [view for view, weight in zip(views, weighted.fits[None].weights_M, strict=True) if weight]
                taken[member.name] = take_whole(made["plain"][member.name], weighted, used, evaluator)
        report[member.name] = {
            "weighted": chosen == VIEWS_BY,
            "weights": dict(zip(views, weighted.fits[None].weights_M.tolist(), strict=True)),
            **found[VIEWS_BY],
        }
    if len(kinds := {one.kind for one in taken.values()}) > 1 or "auto" in kinds:
        made["auto"] = {one.name: _taken(one, taken.get(one.name), made) for one in members}
    return made, report, taken


def _taken(member: Member, taken: Taken | None, made: Kinds) -> Prediction:
    """Return a member with the views that it takes."""
    if taken is not None and taken.kind == "auto":
        return unfitted(member.oof["auto"], member.test["auto"])
    return made["tta" if taken is None else taken.kind][member.name]

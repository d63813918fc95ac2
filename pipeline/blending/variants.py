"""Carry members through views, blender, calibration, smoothing and decision to the four variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.blending.blend import Kinds, Members, blend, of_views
from pipeline.blending.comparison import MOST_SCORED, compare, correlation, leave_one_out, search, work
from pipeline.blending.member import Member, sums_to_one
from pipeline.blending.postprocessing import calibrate, decide, smooth
from pipeline.blending.views import Taken
from pipeline.config.config import Config
from pipeline.config.rules import topk_rules
from pipeline.methods import topk
from pipeline.methods.blenders import BLENDERS
from pipeline.methods.blenders import find as find_blender
from pipeline.methods.tasks import TASKS
from pipeline.scoring.evaluation import Evaluator, Prediction


@dataclass(frozen=True)
class Variant:
    """Hold one way to read the members: the blend, how it was smoothed, and what it decides."""

    blend: Prediction
    alpha: float
    decided: Prediction | None  # None: argmax, cells of at least ½, values as they are

    @property
    def scored(self) -> Prediction:
        """Return what its score is that of."""
        return self.decided or self.blend


def blend_all(
    config: Config, members: Sequence[Member], evaluator: Evaluator
) -> tuple[dict[str, Variant], dict[str, Any]]:
    """Return the variants plain, tta and both smoothed, and what was found on the way, for JSON.

    Where some views are left out there is one more, auto. Everything is chosen and weighted on the submitted one of
    plain, tta and auto, then applied to the others. Members that keep only their most probable classes are averaged,
    and neither calibrated nor smoothed.
    """
    short = topk_rules.kept_by(members[0].oof["tta"]) is not None
    views, found_views, taken = of_views(members, evaluator)
    submitted = _submitted(config, views, taken)
    on = submitted.removesuffix("_smoothed")
    name, chosen, found = _choose(config, on, views[on], evaluator)
    blender, fits = find_blender(name), chosen.fits
    blends = {kind: chosen if kind == on else blend(blender, views[kind], evaluator, fits) for kind in views}
    blends, calibration = calibrate("none" if short else config.ensemble.calibrate, blends, on, evaluator)
    if TASKS[config.data.task].regression or short:
        smoothed, alphas, smoothing = blends, dict.fromkeys(blends, 0.0), None
    else:
        smoothed, alphas, smoothing = smooth(config.ensemble, blends, on, evaluator)
    every = blends | {f"{name}_smoothed": one for name, one in smoothed.items() if name != "auto"}
    alphas = {f"{name}_smoothed": alpha for name, alpha in alphas.items()}
    decided, decision = decide(config, members[0].classes, submitted, every, evaluator)
    report = {
        "submitted": submitted,
        "blender": name,
        "asked": config.ensemble.blender,
        "members": [member.name for member in members],
        "weights": dict(zip(views[on], fits[None].weights_M.tolist(), strict=True)),
        "params": fits[None].params,
        "views": found_views,
        "calibration": calibration,
        "smoothing": smoothing,
        "decision": decision,
        **found,
    }
    if short:
        report["notes"] = _left_out(config)
    if taken:
        each = {name: one.report for name, one in taken.items()}
        report["auto"] = {"taken": submitted, **evaluator.terms, "members": each}
    return {name: Variant(one, alphas.get(name, 0.0), decided.get(name)) for name, one in every.items()}, report


def _submitted(config: Config, views: Kinds, taken: Mapping[str, Taken]) -> str:
    """Return the variant that is submitted: with `auto` the one that every member takes, else that of their own."""
    if config.submission.variant != "auto":
        return config.submission.variant
    return "auto" if "auto" in views else next((one.kind for one in taken.values()), "tta")


def _choose(config: Config, on: str, members: Members, evaluator: Evaluator) -> tuple[str, Prediction, dict[str, Any]]:
    """Return the blender, its blend, and the comparison where there is something to compare."""
    asked = "mean" if _short(members) else config.ensemble.blender
    names, left_out = _candidates(config, members, evaluator)
    if len(members) == 1 or (not names and asked != "auto"):
        name = "mean" if asked == "auto" else asked
        chosen = blend(find_blender(name), members, evaluator)
        return name, chosen, search(name, {name: chosen})
    name, blends, report = compare(asked, names, members, evaluator)
    found = {
        **search(name, blends),
        "comparison": {"on": on, **evaluator.terms, **report} | {"left_out": left_out},
        "correlation": correlation(members),
        "leave_one_out": leave_one_out(name, blends[name], members, evaluator),
    }
    return name, blends[name], found


def _candidates(config: Config, members: Members, evaluator: Evaluator) -> tuple[list[str], list[str]]:
    """Return the blenders to compare, and those left out as too slow, which none is that was asked for.

    Members that are no probabilities are compared only by ranks.
    """
    names, asked = TASKS[config.data.task].blenders(config.metric), config.ensemble.compare
    if _short(members):
        return ([] if asked == [] else ["mean"]), []
    if evaluator.single_label and not all(sums_to_one(member.cross_NC) for member in members.values()):
        names = [name for name in names if find_blender(name).uses_ranks]
    if asked is not None:
        plugins = [name for name in dict.fromkeys(asked) if name not in BLENDERS]
        return [name for name in names if name in asked] + plugins, []
    slow = [name for name in names if work(name, members, evaluator) > MOST_SCORED and name != config.ensemble.blender]
    return [name for name in names if name not in slow], slow


def _short(members: Members) -> bool:
    """Tell whether only the most probable classes of a row are kept."""
    return topk.is_top(next(iter(members.values())).cross_NC)


def _left_out(config: Config) -> list[str]:
    """Say what was asked for and is not done to members that keep only their most probable classes."""
    asked, why = config.ensemble, "only the most probable classes of a row are kept (predict.top_k)"
    found = ["smoothed variants are the others: smoothing changes neither labels nor rankings"]
    if asked.blender == "auto":
        found.append(f"blender: the mean, as {why}")
    if asked.calibrate == "auto":
        found.append(f"calibration: none, as {why}")
    return found

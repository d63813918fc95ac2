"""Carry members through views, blender, calibration, smoothing and decision to the four variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.blending import decisions, finishing, stacking
from pipeline.blending.choosing import MOST_SCORED, compare, correlation, leave_one_out, search, work
from pipeline.blending.decisions import Decided
from pipeline.blending.judging import Judge
from pipeline.blending.member import Member
from pipeline.blending.members import SUM_TOLERANCE
from pipeline.blending.stacking import Stack
from pipeline.config.config import Config
from pipeline.config.rules import topk_rules
from pipeline.methods.arrays import Array
from pipeline.methods.blenders import BLENDERS
from pipeline.methods.blenders import find as find_blender
from pipeline.methods.tasks import TASKS


@dataclass(frozen=True)
class Variant:
    """Hold one way to read the members, its OOF cross-fitted, how it was smoothed and what it decides."""

    oof_NC: Array
    test_TC: Array
    alpha: float
    decided: Decided | None  # None: argmax, cells of at least ½, values as they are


@dataclass(frozen=True)
class Blended:
    """Hold the four variants and what was found on the way, for JSON."""

    variants: dict[str, Variant]
    report: dict[str, Any]


def blend_all(config: Config, members: Sequence[Member], judge: Judge) -> Blended:
    """Return the variants plain, tta and both smoothed.

    Everything is chosen and weighted on the submitted one of plain and tta, then applied to both. Members that keep
    their most probable classes alone are averaged, and neither calibrated nor smoothed.
    """
    short = topk_rules.kept_by(members[0].oof["tta"]) is not None
    kind = config.submission.variant.removesuffix("_smoothed")
    made, views = stacking.build(members, judge)
    name, crossed, found = _choose(config, made, kind, judge)
    flows = {kind: finishing.flow(name, crossed, made, kind, judge) for kind in ("plain", "tta")}
    flows, calibrated = finishing.calibrate("none" if short else config.ensemble.calibrate, flows, kind, judge)
    if TASKS[config.data.task].regression or short:
        smoothed, alphas, smoothing = flows, dict.fromkeys(flows, 0.0), None
    else:
        smoothed, alphas, smoothing = finishing.smooth(config.ensemble, flows, kind, judge)
    four = {**flows, **{f"{name}_smoothed": one for name, one in smoothed.items()}}
    decided, decision = decisions.decide(config, members[0].classes, four, judge)
    alpha = {**dict.fromkeys(flows, 0.0), **{f"{name}_smoothed": alphas[name] for name in smoothed}}
    variants = {name: Variant(one.cross_NC, one.test_TC, alpha[name], decided.get(name)) for name, one in four.items()}
    weights = [float(weight) for weight in crossed.final.weights_M]
    report = {
        "blender": name,
        "asked": config.ensemble.blender,
        "members": [member.name for member in members],
        "weights": dict(zip((member.name for member in members), weights, strict=True)),
        "params": crossed.final.params,
        "views": views,
        "calibration": calibrated,
        "smoothing": smoothing,
        "decision": decision,
        **found,
    }
    if short:
        report["notes"] = _left_out(config)
    return Blended(variants, report)


def _choose(config: Config, made: Stack, kind: str, judge: Judge) -> tuple[str, Any, dict[str, Any]]:
    """Return the blender, its fits, and the comparison where there is something to compare."""
    short = topk_rules.kept_by(made.single(kind, made.members[0])) is not None
    asked = "mean" if short else config.ensemble.blender
    names, left_out = _compared(config, made, kind, judge)
    if len(made) == 1 or (not names and asked != "auto"):
        name = "mean" if asked == "auto" else asked
        crossed = stacking.blend(name, made, kind, judge)
        return name, crossed, search(name, {name: crossed})
    name, fits, report = compare(asked, names, made, kind, judge)
    crossed = fits[name]
    found = {
        **search(name, fits),
        "comparison": {**report, "left_out": left_out},
        "correlation": correlation(made, kind),
        "leave_one_out": leave_one_out(name, crossed, made, kind, judge),
    }
    return name, crossed, found


def _compared(config: Config, made: Stack, kind: str, judge: Judge) -> tuple[list[str], list[str]]:
    """Return the blenders to compare, and those left out as too slow, which none is that was asked for.

    Members that are no probabilities compare by ranks alone.
    """
    names = TASKS[config.data.task].blenders(config.metric)
    if topk_rules.kept_by(made.single(kind, made.members[0])) is not None:
        return ([] if config.ensemble.compare == [] else ["mean"]), []
    if made.single_label and any(_off(made.single(kind, member)) for member in made.members):
        names = [name for name in names if find_blender(name).uses_ranks]
    if config.ensemble.compare is not None:
        own = [name for name in dict.fromkeys(config.ensemble.compare) if name not in BLENDERS]
        return [name for name in names if name in config.ensemble.compare] + own, []
    slow = [name for name in names if name != config.ensemble.blender and work(name, made, kind, judge) > MOST_SCORED]
    return [name for name in names if name not in slow], slow


def _left_out(config: Config) -> list[str]:
    """Say what was asked for and is not done to members that keep their most probable classes alone."""
    asked, why = config.ensemble, "only the most probable classes of a row are kept (predict.top_k)"
    found = ["smoothed variants are the others: smoothing changes neither labels nor rankings"]
    if asked.blender == "auto":
        found.append(f"blender: the mean, as {why}")
    if asked.calibrate == "auto":
        found.append(f"calibration: none, as {why}")
    return found


def _off(probs_NC: Array) -> bool:
    return bool((np.abs(probs_NC.sum(1) - 1) > SUM_TOLERANCE).any())

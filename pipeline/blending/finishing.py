"""Calibrate and smooth a finished blend; what is chosen is chosen by its cross-fitted score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar

import numpy as np

from pipeline.blending.judging import Crossed, Judge
from pipeline.blending.stacking import Stack
from pipeline.config.sections.submit import Ensemble
from pipeline.methods.arrays import Array
from pipeline.methods.blenders import Fit
from pipeline.methods.blenders import find as find_blender
from pipeline.methods.calibration import CALIBRATIONS, Calibration, Score, smoothing

LEAST_ALPHA = 0.001  # of the smoothed variants where none is configured or chosen
Found = TypeVar("Found")


class Step(Protocol[Found]):
    """Name what a calibration and a decision have in common."""

    @property
    def fit(self) -> Callable[[Array, Array, bool, Score], Found]:
        """Return how it is fitted."""

    @property
    def apply(self) -> Callable[[Array, Found, bool], Array]:
        """Return how it is applied."""


@dataclass(frozen=True)
class Flow:
    """Hold a prediction on its way to the submission, as each part's fits and the final ones make it."""

    at: Callable[[int | None], Array]  # part left out, or None -> [N,C] of all rows
    cross_NC: Array  # each row by the fits that did not see its part
    test_TC: Array


def flow(name: str, crossed: Crossed[Fit], stack: Stack, kind: str, judge: Judge) -> Flow:
    """Blend `plain` or `tta` with these fits, whichever of the two they were fitted on."""
    blender = find_blender(name)
    learns = blender.fitted or stack.learns(kind)

    @cache
    def made(part: int | None) -> Array:
        fit = crossed.final if part is None else crossed.by_part[part]
        return blender.apply(fit, stack.oof(kind, part), judge.single_label, judge.fold_N)

    def at(part: int | None) -> Array:
        return made(part if learns else None)

    cross_NC = at(None).copy()
    for part in crossed.by_part if learns else ():
        cross_NC[judge.part_N == part] = at(part)[judge.part_N == part]
    return Flow(at, cross_NC, blender.apply(crossed.final, stack.test(kind), judge.single_label))


def fixed(made: Flow, calibration: Calibration, number: float, judge: Judge) -> Flow:
    """Apply a calibration with a number that was not fitted."""

    def change(probs_NC: Array) -> Array:
        return calibration.apply(probs_NC, number, judge.single_label)

    return Flow(lambda part: change(made.at(part)), change(made.cross_NC), change(made.test_TC))


def fitted(made: Flow, step: Step[Found], judge: Judge, most_cells: float | None = None) -> tuple[Crossed[Found], Flow]:
    """Fit a calibration or a decision to all rows and without each part, and apply it.

    Of more than `most_cells` it is fitted to a random part of the rows, so that a long search ends.
    """

    def fit(part: int | None, rows: Array | slice) -> Found:
        if most_cells is not None:
            rows = _some(np.arange(len(judge.fold_N))[rows], most_cells / made.cross_NC.shape[1], judge.seed)
        targets_NC, probs_NC = judge.targets_NC[rows], made.at(part)[rows]
        return step.fit(targets_NC, probs_NC, judge.single_label, lambda probs: judge.gain(probs, rows))

    def apply(part: int | None, found: Found, rows: Array | slice) -> Array:
        return step.apply(made.at(part)[rows], found, judge.single_label)

    def at(part: int | None) -> Array:
        return step.apply(made.at(part), crossed.final if part is None else crossed.by_part[part], judge.single_label)

    crossed = judge.cross_fit(fit, apply)
    test_TC = step.apply(made.test_TC, crossed.final, judge.single_label)
    return crossed, Flow(at, crossed.cross_NC, test_TC)


def _some(rows: Array, most: float, seed: int) -> Array:
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, max(1, int(most)), replace=False))


def calibrate(
    asked: str, flows: dict[str, Flow], kind: str, judge: Judge
) -> tuple[dict[str, Flow], dict[str, Any] | None]:
    """Return plain and tta calibrated, and what was found; `auto` decides on the submitted one of them."""
    if asked == "none":
        return flows, None
    names = list(CALIBRATIONS) if asked == "auto" else [asked]
    return _choose(asked, {name: CALIBRATIONS[name] for name in names}, flows, kind, judge)


def smooth(
    config: Ensemble, flows: dict[str, Flow], kind: str, judge: Judge
) -> tuple[dict[str, Flow], dict[str, float], dict[str, Any] | None]:
    """Return plain and tta smoothed, their alphas, and what was found where alpha is `auto`.

    Where smoothing brings nothing sure, and where none is configured, alpha is the least one: four variants
    are always written.
    """
    calibration, report = smoothing(config.smoothing.threshold), None
    alphas = dict.fromkeys(flows, LEAST_ALPHA)
    if config.smoothing.alpha == "auto":
        made, report = _choose("auto", {"smoothing": calibration}, flows, kind, judge)
        if report["chosen"] != "none":
            return made, report["numbers"], report
    elif config.smoothing.alpha:
        alphas = dict.fromkeys(flows, config.smoothing.alpha)
    return {name: fixed(one, calibration, alphas[name], judge) for name, one in flows.items()}, alphas, report


def _choose(
    asked: str, candidates: dict[str, Calibration], flows: dict[str, Flow], kind: str, judge: Judge
) -> tuple[dict[str, Flow], dict[str, Any]]:
    """Try candidates beside no calibration and apply the best; `auto` takes one only where its lead is sure."""
    made = flows[kind]
    fits = {name: fitted(made, calibration, judge) for name, calibration in candidates.items()}
    tried = {"none": judge.scored_as(judge.score(made.at(None)), made.cross_NC)}
    tried |= {name: judge.scored(crossed) for name, (crossed, _) in fits.items()}
    chosen = judge.choose(tried, "none") if asked == "auto" else asked
    report: dict[str, Any] = {
        "asked": asked,
        "chosen": chosen,
        **judge.terms,
        "candidates": {
            "none": judge.described(tried["none"]),
            **{
                name: {
                    "number": crossed.final,
                    "by_part": list(crossed.by_part.values()),
                    **judge.described(tried[name]),
                    "over_none": judge.difference(tried[name], tried["none"]),
                }
                for name, (crossed, _) in fits.items()
            },
        },
    }
    if chosen == "none":
        return flows, report
    both = {name: fits[chosen] if name == kind else fitted(flows[name], candidates[chosen], judge) for name in flows}
    report["numbers"] = {name: crossed.final for name, (crossed, _) in both.items()}
    return {name: one for name, (_, one) in both.items()}, report

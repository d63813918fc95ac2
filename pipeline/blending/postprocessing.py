"""Calibrate, smooth and decide a finished blend; each choice by its cross-fitted score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.config.config import Config
from pipeline.config.rules import decisions, topk_rules
from pipeline.config.sections.submit import Ensemble
from pipeline.methods.arrays import Array
from pipeline.methods.postprocessing.calibration import CALIBRATIONS, Calibration, smoothing
from pipeline.methods.postprocessing.decisions import DECISIONS, Decision
from pipeline.scoring.evaluation import Evaluator, Prediction

LEAST_ALPHA = 0.001  # of the smoothed variants where none is configured or chosen
MOST_CELLS = 1e7  # that one score of a decision's search reads: thresholds need no more rows

Step = Calibration | Decision
Variants = dict[str, Prediction]  # plain, tta, …


def apply_step(made: Prediction, step: Step, evaluator: Evaluator, most_cells: float | None = None) -> Prediction:
    """Fit a calibration or a decision to all rows and without each part, and apply it.

    Of more than `most_cells` it is fitted to a random part of the rows, so that a long search ends.
    """
    single_label = evaluator.single_label

    def fit(part: int | None, rows: Array | slice) -> Any:
        if most_cells is not None:
            rows = _some(np.arange(len(evaluator.fold_N))[rows], most_cells / made.cross_NC.shape[1], evaluator.seed)
        targets_NC, probs_NC = evaluator.targets_NC[rows], made.at(part)[rows]
        return step.fit(targets_NC, probs_NC, single_label, lambda probs: evaluator.gain(probs, rows))

    def apply(part: int | None, found: Any, rows: Array | slice) -> Array:
        return step.apply(made.at(part)[rows], found, single_label)

    return evaluator.cross_fit(fit, apply, lambda found: step.apply(made.test(), found, single_label))


def calibrate(asked: str, variants: Variants, on: str, evaluator: Evaluator) -> tuple[Variants, dict[str, Any] | None]:
    """Return plain and tta calibrated, and what was found; `auto` decides on the submitted one of them."""
    if asked == "none":
        return variants, None
    names = list(CALIBRATIONS) if asked == "auto" else [asked]
    return _calibrate(asked, {name: CALIBRATIONS[name] for name in names}, variants, on, evaluator)


def smooth(
    config: Ensemble, variants: Variants, on: str, evaluator: Evaluator
) -> tuple[Variants, dict[str, float], dict[str, Any] | None]:
    """Return plain and tta smoothed, their alphas, and what was found where alpha is `auto`.

    Where smoothing brings nothing significant, and where none is configured, alpha is the least one: four variants
    are always written.
    """
    calibration, report = smoothing(config.smoothing.threshold), None
    alpha = config.smoothing.alpha or LEAST_ALPHA
    if alpha == "auto":
        made, report = _calibrate("auto", {"smoothing": calibration}, variants, on, evaluator)
        if report["chosen"] != "none":
            return made, report["numbers"], report
        alpha = LEAST_ALPHA
    fixed = replace(calibration, fit=lambda *_: alpha)
    made = {name: apply_step(one, fixed, evaluator) for name, one in variants.items()}
    return made, dict.fromkeys(variants, alpha), report


def decide(
    config: Config, classes: Sequence[str], on: str, variants: Variants, evaluator: Evaluator
) -> tuple[Variants, dict[str, Any] | None]:
    """Return what each variant decides and what was found; nothing where argmax and ½ are all there is to it.

    The kind is chosen on the submitted variant, `on`; `auto` takes another than the plain one only where its
    cross-fitted lead is significant. Every variant has parameters of its own.
    """
    names, asked = decisions.candidates(config), decisions.asked(config)
    if topk_rules.kept_by(variants[on].cross_NC) is not None:
        names = [name for name in names if name == "new_class"]
    if not names and not decisions.obliges(config):
        return {}, None
    rules = decisions.rules(config, classes)
    steps = {name: DECISIONS[name](rules) for name in ("plain", *names)}
    chosen, found, made = _choose(asked, steps, "plain", "params", variants, on, evaluator, MOST_CELLS)
    report = {"asked": asked, "chosen": chosen, "on": on, **evaluator.terms, "candidates": found, "params": {}}
    if chosen == "plain" and not decisions.obliges(config):
        return {}, report
    return made, report | {"params": {name: one.fits[None] for name, one in made.items()}}


def _calibrate(
    asked: str, steps: Mapping[str, Calibration], variants: Variants, on: str, evaluator: Evaluator
) -> tuple[Variants, dict[str, Any]]:
    """Try calibrations beside none."""
    chosen, found, made = _choose(asked, steps, "none", "number", variants, on, evaluator)
    found["none"].pop("over_none")
    report = {"asked": asked, "chosen": chosen, **evaluator.terms, "candidates": found}
    if chosen != "none":
        report["numbers"] = {name: one.fits[None] for name, one in made.items()}
    return made, report


def _choose(
    asked: str,
    steps: Mapping[str, Step],
    baseline: str,
    key: str,
    variants: Variants,
    on: str,
    evaluator: Evaluator,
    most_cells: float | None = None,
) -> tuple[str, dict[str, dict[str, Any]], Variants]:
    """Try steps on one variant and apply the best to all; `auto` takes one only where its lead is significant.

    Return its name, what was found of each, with its fit as `key`, and the variants.
    """
    tried = {name: apply_step(variants[on], step, evaluator, most_cells) for name, step in steps.items()}
    evaluations = {name: evaluator.evaluate(one) for name, one in ({baseline: variants[on]} | tried).items()}
    best, found = evaluator.compare(evaluations, baseline)
    for name, one in tried.items():
        by_part = [fit for part, fit in one.fits.items() if part is not None]
        found[name] = {key: one.fits[None], "by_part": by_part, **found[name]}
    chosen = best if asked == "auto" else asked
    if chosen not in steps:
        return chosen, found, variants
    made = {
        name: tried[chosen] if name == on else apply_step(one, steps[chosen], evaluator, most_cells)
        for name, one in variants.items()
    }
    return chosen, found, made


def _some(rows: Array, most: float, seed: int) -> Array:
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, max(1, int(most)), replace=False))

"""Decide labels or final values from the finished variants; what is fitted is judged on folds it did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.blending.finishing import Flow, fitted
from pipeline.blending.judging import Crossed, Judge
from pipeline.config.config import Config
from pipeline.config.rules import decisions, topk_rules
from pipeline.methods.arrays import Array
from pipeline.methods.decisions import DECISIONS, Params

MOST_CELLS = 1e7  # that one look of a search scores: thresholds need no more rows


@dataclass(frozen=True)
class Decided:
    """Hold what a variant says, its OOF cross-fitted, in the shape of its predictions."""

    oof_NC: Array
    test_TC: Array


def decide(
    config: Config, classes: Sequence[str], flows: Mapping[str, Flow], judge: Judge
) -> tuple[dict[str, Decided], dict[str, Any] | None]:
    """Return what each variant decides and what was found; nothing where argmax and ½ are all there is to it.

    The kind is chosen on the submitted variant; `auto` takes another than the plain one only where its
    cross-fitted lead is sure. Every variant has parameters of its own.
    """
    names, asked, submitted = decisions.candidates(config), decisions.asked(config), config.submission.variant
    if topk_rules.kept_by(flows[submitted].cross_NC) is not None:
        names = [name for name in names if name == "new_class"]
    if not names and not decisions.obliges(config):
        return {}, None
    rules = decisions.rules(config, classes)
    steps = {name: DECISIONS[name](rules) for name in ("plain", *names)}
    fits = {name: fitted(flows[submitted], step, judge, MOST_CELLS) for name, step in steps.items()}
    tried = {name: judge.scored(crossed) for name, (crossed, _) in fits.items()}
    chosen = judge.choose(tried, "plain") if asked == "auto" else asked
    report: dict[str, Any] = {
        "asked": asked,
        "chosen": chosen,
        "on": submitted,
        **judge.terms,
        "candidates": {
            name: {
                "params": crossed.final,
                "by_part": list(crossed.by_part.values()),
                **judge.described(tried[name]),
                "over_plain": None if name == "plain" else judge.difference(tried[name], tried["plain"]),
            }
            for name, (crossed, _) in fits.items()
        },
        "params": {},
    }
    if chosen == "plain" and not decisions.obliges(config):
        return {}, report
    made: dict[str, tuple[Crossed[Params], Flow]] = {
        name: fits[chosen] if name == submitted else fitted(flow, steps[chosen], judge, MOST_CELLS)
        for name, flow in flows.items()
    }
    report["params"] = {name: crossed.final for name, (crossed, _) in made.items()}
    return {name: Decided(flow.cross_NC, flow.test_TC) for name, (_, flow) in made.items()}, report

"""Print what a blend is worth and why it is made as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.methods.decisions import brief

MOST = 12  # members that are listed; of more, those with the largest weights
STEPS = 8  # of a greedy search that are listed


def summary(report: dict[str, Any], path: Path) -> list[str]:
    """Return the lines for ensemble.json; few for one run, the whole comparison for several."""
    members = report["members"]
    named = ", ".join(members) if len(members) <= MOST else f"{len(members)} members"
    lines = [
        f"{report['metric']}, OOF, {report['blender']} of {named}",
        f"{'':<18}{'mean ± std':>17}{'pooled':>9}",
    ]
    for name, variant in report["variants"].items():
        spread = f"{_text(variant['mean'])} ± {_text(variant['std'])}"
        notes = [f"same file as {variant['equal_to']}"] if variant["equal_to"] else []
        notes += ["submitted"] if name == report["submitted"] else []
        lines.append(f"{name:<18}{spread:>17}{_text(variant['pooled']):>9}  {', '.join(notes)}".rstrip())
    if "comparison" in report:
        lines += _comparison(report) + _members(report) + _trace(report)
    lines += _views(report) + _numbers(report) + _decision(report) + report.get("notes", [])
    if any(" ?" in line for line in lines):
        lines.append("?: not to be relied on, as too few groups or rows vary or many resamples lack a class")
    lines += [f"warning: {text}" for text in report.get("warnings", [])]
    return [*lines, f"written: {path}"]


def _comparison(report: dict[str, Any]) -> list[str]:
    found = report["comparison"]
    percent = f"{100 * found['level']:.0f} %"
    head = f"{'blender':<18}{'in-sample':>10}{'cross-fit':>10}{'gap':>9}  {percent + ' interval':<18}"
    lines = [
        f"blenders on {found['on']}, scored on folds that their weights did not see",
        f"{head}  {'over the mean':<26}  over {found['best_member']}",
    ]
    for name, one in found["blenders"].items():
        mark = "*" if name == report["blender"] else " "
        line = f"{mark}{name:<17}{_text(one['in_sample']):>10}{_text(one['cross_fitted']):>10}{_text(one['gap']):>9}"
        leads = f"{_lead(one['over_mean']):<26}  {_lead(one['over_best_member'])}"
        lost = f"  {one['lost']} resamples lost" if one["lost"] else ""
        lines.append(f"{line}  {_interval(one):<18}  {leads}{lost}".rstrip())
    unreliable = f"; UNRELIABLE under 20: only {found['groups']} vary" if not found["enough_groups"] else ""
    lines.append(
        f"intervals: {found['rounds']:,} resamples of {found['groups']:,} {found['unit']} inside folds{unreliable}"
    )
    if slow := found["left_out"]:
        asked = ",".join([*found["blenders"], *slow])
        lines.append(f"left out, as slow on so many members and rows: {', '.join(slow)}")
        lines.append(f"  to wait for them: --set ensemble.compare=[{asked}]")
    return [*lines, found["why"]] if "why" in found else lines


def _members(report: dict[str, Any]) -> list[str]:
    alone, without = report["comparison"]["members"], report["leave_one_out"]["members"]
    close = _closest(report)
    names = sorted(report["members"], key=lambda name: -abs(report["weights"][name]))
    lines = [f"{'member':<24}{'weight':>8}{'alone':>9}{'brings':>9}  correlates most with"]
    for name in names[:MOST]:
        label = name if len(name) <= 23 else f"…{name[-22:]}"
        brings = "-" if without[name] is None else f"{without[name]:+.4f}"
        weight = f"{report['weights'][name]:.3f}"
        lines.append(f"{label:<24}{weight:>8}{_text(alone[name]):>9}{brings:>9}  {close[name]}")
    if len(names) > MOST:
        lines.append(f"… and {len(names) - MOST} more with lesser weights, in ensemble.json")
    return lines


def _closest(report: dict[str, Any]) -> dict[str, str]:
    names: Sequence[str] = report["members"]
    found = {}
    for m, row in enumerate(report["correlation"]):
        value, other = max((value, other) for other, value in zip(names, row, strict=True) if other != names[m])
        found[names[m]] = f"{value:.3f} {other}"
    return found


def _trace(report: dict[str, Any]) -> list[str]:
    steps = [
        f"{report['members'][step['member']]} {_text(step['score'])}" for step in report["trace"] if "member" in step
    ]
    if not steps:
        return []
    more = f" … {len(steps)} steps, {steps[-1]}" if len(steps) > STEPS else ""
    whose = "" if report["traced"] == report["blender"] else f" of {report['traced']}, not used"
    return [f"search{whose}: {', '.join(steps[:STEPS])}{more}"]


def _views(report: dict[str, Any]) -> list[str]:
    lines = []
    for name, one in report["views"].items():
        weights = ", ".join(f"{view} {weight:.2f}" for view, weight in one["weights"].items() if weight)
        verdict = "used" if one["weighted"] else "not surely better, so their mean"
        lines.append(f"views of {name}: {weights}; {_lead(one['over_mean'])} over their mean: {verdict}")
    return lines


def _numbers(report: dict[str, Any]) -> list[str]:
    lines = []
    for what in ("calibration", "smoothing"):
        if report[what] is None:
            continue
        for name, one in report[what]["candidates"].items():
            if name != "none":
                verdict = "used" if name == report[what]["chosen"] else "not used"
                lead = _lead(one["over_none"])
                lines.append(f"{what}: {name} {one['number']:.4g}; {lead} over none: {verdict}")
    return lines


def _decision(report: dict[str, Any]) -> list[str]:
    """Say what each decision found, its score on other folds, by how much fitting flatters, and its lead."""
    found: dict[str, Any] = report.get("decision") or {"candidates": {}}
    lines = []
    for name, one in found["candidates"].items():
        if name != "plain":
            verdict = "used" if name == found["chosen"] else "not used"
            numbers = f"cross-fit {_text(one['cross_fitted'])}, gap {_text(one['gap'])}"
            line = f"decision: {' '.join(filter(None, (name, brief(one['params']))))}; {numbers}"
            lines.append(f"{line}; {_lead(one['over_plain'])} over plain: {verdict}")
    return lines


def _lead(one: dict[str, Any] | None) -> str:
    if one is None or one["lead"] is None:
        return "-"
    return f"{round(one['lead'], 4) + 0.0:+.4f} ({_interval(one)})"


def _interval(one: dict[str, Any]) -> str:
    low, high = one["interval"]
    return "-" if low is None else f"{_text(low)} to {_text(high)}" + ("" if one["reliable"] else " ?")


def _text(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 4) + 0.0:.4f}"  # not -0.0000

"""Say what a blend is worth and why it is made as it is: printed here, and in the report's tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.methods.postprocessing.decisions import brief
from pipeline.scoring.baseline import NAME as CONSTANT
from pipeline.scoring.scores import shown

MOST = 12  # members that are listed; of more, those with the largest weights
STEPS = 8  # of a greedy search that are listed


class Choice(NamedTuple):
    """Hold one thing that was tried beside a baseline."""

    what: str
    found: str
    scores: dict[str, Any]  # in_sample, cross_fitted, gap, interval, lost, reliable
    lead: dict[str, Any]  # lead, interval, lost, reliable
    baseline: str
    used: bool


def choices(report: dict[str, Any]) -> Iterator[Choice]:
    """Yield what was tried of views, calibration, smoothing and decisions, from ensemble.json."""
    for name, one in report.get("views", {}).items():
        weights = ", ".join(f"{view} {weight:.2f}" for view, weight in one["weights"].items() if weight)
        yield Choice(f"views of {name}", weights, one, one["over_mean"], "their mean", one["weighted"])
    for what, baseline in (("calibration", "none"), ("smoothing", "none"), ("decision", "plain")):
        tried = report.get(what) or {"candidates": {}}
        for name, one in tried["candidates"].items():
            if name != baseline:
                fit = brief(one["params"]) if what == "decision" else f"{one['number']:.4g}"
                lead, used = one[f"over_{baseline}"], name == tried["chosen"]
                yield Choice(what, f"{name} {fit}".strip(), one, lead, baseline, used)


def members(report: dict[str, Any]) -> Iterator[tuple[str, float, float | None, float | None, str]]:
    """Yield each member, the largest weight first: weight, score, what it adds, and which it correlates most with."""
    names, without = report["members"], report["leave_one_out"]["members"]
    for name in sorted(names, key=lambda name: -abs(report["weights"][name])):
        row = zip(names, report["correlation"][names.index(name)], strict=True)
        value, other = max((value, other) for other, value in row if other != name)
        score = report["comparison"]["members"][name]
        yield name, report["weights"][name], score, without[name], f"{value:.3f} {other}"


def interval(one: dict[str, Any]) -> str:
    """Return an interval as text, with a question mark where it is unreliable."""
    low, high = one["interval"]
    return "-" if low is None else f"{shown(low)} to {shown(high)}" + ("" if one["reliable"] else " ?")


def summary(report: dict[str, Any], path: Path) -> list[str]:
    """Return the lines for ensemble.json; few for one run, the whole comparison for several."""
    names = report["members"]
    named = ", ".join(names) if len(names) <= MOST else f"{len(names)} members"
    lines = [
        f"{report['metric']}, OOF, {report['blender']} of {named}",
        f"{'':<18}{'mean ± std':>17}{'pooled':>9}",
    ]
    for name, variant in report["variants"].items():
        spread = f"{shown(variant['mean'])} ± {shown(variant['std'])}"
        notes = [f"same file as {variant['equal_to']}"] if variant["equal_to"] else []
        notes += ["submitted"] if name == report["submitted"] else []
        lines.append(f"{name:<18}{spread:>17}{shown(variant['pooled']):>9}  {', '.join(notes)}".rstrip())
    if constant := report.get("baseline"):  # blends of earlier versions have none
        spread = f"{shown(constant['mean'])} ± {shown(constant['std'])}"
        lines.append(f"{CONSTANT:<18}{spread:>17}{shown(constant['pooled']):>9}")
    lines += views_taken(report)
    if "comparison" in report:
        lines += _comparison(report) + _members(report) + _search(report)
    for one in choices(report):
        scores = f"cross-fit {shown(one.scores['cross_fitted'])}, gap {shown(one.scores['gap'])}"
        verdict = "used" if one.used else "not used"
        lines.append(f"{one.what}: {one.found}; {scores}; {_lead(one.lead)} over {one.baseline}: {verdict}")
    lines += report.get("notes", [])
    if any(" ?" in line for line in lines):
        lines.append("?: not to be relied on, as too few groups or rows vary or many resamples lack a class")
    lines += [f"warning: {text}" for text in report.get("warnings", [])]
    return [*lines, f"written: {path}"]


def views_taken(report: dict[str, Any]) -> list[str]:
    """Say of each member which views are submitted and why, where that was to be found (`submission.variant: auto`)."""
    lines = []
    members = report.get("auto", {"members": {}})["members"]
    for name, one in members.items():
        tried, lead = ", ".join(one["tried"]), _lead(one["over_plain"])
        if one["views"] != ["identity"]:
            said = f"{tried} submitted, {lead} over identity alone"
        else:
            said = "identity alone is submitted" + (f", as {tried} have {lead} over it" if one["over_plain"] else "")
        left_out = [f"; {view} is left out: {_lead(lead)} with it" for view, lead in one["left_out"].items()]
        lines.append(f"views of {name}: {said}{''.join(left_out)}")
    if any(one["views"] != one["tta"] for one in members.values()):
        lines.append("  views were left out by their scores on these rows, which makes the scores a little optimistic")
    return lines


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
        line = f"{mark}{name:<17}{shown(one['in_sample']):>10}{shown(one['cross_fitted']):>10}{shown(one['gap']):>9}"
        leads = f"{_lead(one['over_mean']):<26}  {_lead(one['over_best_member'])}"
        lost = f"  {one['lost']} resamples lost" if one["lost"] else ""
        lines.append(f"{line}  {interval(one):<18}  {leads}{lost}".rstrip())
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
    lines = [f"{'member':<24}{'weight':>8}{'score':>9}{'adds':>9}  correlates most with"]
    for name, weight, score, adds, closest in list(members(report))[:MOST]:
        label = name if len(name) <= 23 else f"…{name[-22:]}"
        added = "-" if adds is None else f"{adds:+.4f}"
        lines.append(f"{label:<24}{weight:>8.3f}{shown(score):>9}{added:>9}  {closest}")
    if (more := len(report["members"]) - MOST) > 0:
        lines.append(f"… and {more} more with lesser weights, in ensemble.json")
    return lines


def _search(report: dict[str, Any]) -> list[str]:
    """Say which member each step of the search added."""
    trace = [step for step in report["trace"] if "member" in step]
    steps = [f"{report['members'][step['member']]} {shown(step['score'])}" for step in trace]
    if not steps:
        return []
    more = f" … {len(steps)} steps, {steps[-1]}" if len(steps) > STEPS else ""
    whose = "" if report["traced"] == report["blender"] else f" of {report['traced']}, not used"
    return [f"search{whose}: {', '.join(steps[:STEPS])}{more}"]


def _lead(one: dict[str, Any] | None) -> str:
    return "-" if one is None or one["lead"] is None else f"{round(one['lead'], 4) + 0.0:+.4f} ({interval(one)})"

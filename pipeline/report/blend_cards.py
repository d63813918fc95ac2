"""The report's sections on a blend: what it is worth honestly, what each member brings, how it was found."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.methods.postprocessing.decisions import brief
from pipeline.report import page, plots
from pipeline.report.files import MOST, Card, Run


def blenders(run: Run) -> Card | None:
    """Every blender's in-sample and cross-fitted score, and its lead over the mean and the best member."""
    blend = run.json("ensemble.json")
    found = blend.get("comparison")
    if not found:
        return None
    shown = {name: one for name, one in found["blenders"].items() if one["cross_fitted"] is not None}
    points = [np.array([one["in_sample"]]) for one in shown.values()]
    spans = [(one["cross_fitted"], *_bounds(one)) for one in shown.values()]
    lead = (
        "Diamonds are scores on folds that the weights did not see, small dots those on the rows they were fitted on; "
        f"the bar is the {100 * found['level']:.0f} % interval of {found['rounds']:,} resamples of "
        f"{found['groups']:,} {found['unit']}."
    )
    if not found["enough_groups"]:
        lead += f" With so few {found['unit']} the intervals are unreliable."
    lead += f" {found['why'][0].upper()}{found['why'][1:]}." if "why" in found else ""
    if slow := found["left_out"]:
        lead += f" Left out, as slow on so many members and rows: {', '.join(slow)}."
    best = f"over {found['best_member']}"
    head = [
        "blender",
        "in-sample",
        "cross-fitted",
        "gap",
        "interval",
        "over the mean",
        "interval",
        best,
        "interval",
        "",
    ]
    rows = [[name, *_scores(one), _lost(one)] for name, one in found["blenders"].items()]
    chosen = list(found["blenders"]).index(blend["blender"])
    figure = plots.spreads(list(shown), points, spans, blend["metric"]) if shown else None
    note = (
        "<p>A gap above 0 is what fitting on the scored rows flatters. What cross-fitting cannot remove: members were "
        "trained on the other folds' labels, and people chose them by these scores. The best member was chosen on "
        "the same rows.</p>"
    )
    return Card("Blenders", lead, figure, page.table(head, rows, chosen) + note)


def members(run: Run) -> Card | None:
    """Each member's weight, score and contribution, and how alike the members are."""
    blend = run.json("ensemble.json")
    if "comparison" not in blend:
        return None
    names, without = blend["members"], blend["leave_one_out"]
    order = sorted(range(len(names)), key=lambda m: -abs(blend["weights"][names[m]]))
    values_MM = np.asarray(blend["correlation"], np.float64)
    alike = values_MM - 2 * np.eye(len(names))
    rows = []
    for m in order:
        name, close = names[m], int(alike[m].argmax())
        alone, brings = blend["comparison"]["members"][name], without["members"][name]
        rows.append([name, float(blend["weights"][name]), alone, brings, f"{values_MM[m, close]:.3f} {names[close]}"])
    how = "the others fitted anew" if without["refitted"] else "the others in their old proportions"
    lead = (
        f"Weights of {blend['blender']}; 'brings' is what the cross-fitted score loses without the member, {how}. "
        "The picture shows how members' OOF correlates: the less alike, the more a blend can gain."
    )
    show = order[:MOST]
    figure = plots.heat(values_MM[np.ix_(show, show)], [names[m] for m in show])
    head = ["member", "weight", "alone", "brings", "correlates most with"]
    return Card("Members", lead, figure, page.table(head, rows))


def search(run: Run) -> Card | None:
    """The greedy search, step by step."""
    blend = run.json("ensemble.json")
    steps = [step for step in blend.get("trace", []) if "member" in step]
    if not steps:
        return None
    scores = np.array([step["score"] for step in steps])
    best = int((scores if blend["greater_is_better"] else -scores).argmax())
    names = [blend["members"][step["member"]] for step in steps]
    used = "whose weights are used" if blend["traced"] == blend["blender"] else "it would use; it was not chosen"
    lead = (
        f"The search of {blend['traced']} on all rows, so flattered; each step adds the member that is named. "
        f"The diamond is the step {used}."
    )
    rows = [[step["step"], name, step["score"]] for step, name in zip(steps, names, strict=True)]
    table = page.details("All steps", page.table(["step", "added", "score"], rows))
    return Card("Search for weights", lead, plots.climb(scores, names, best, blend["metric"]), table)


def chosen(run: Run) -> Card | None:
    """What was chosen of views, calibration, smoothing and decisions, and on what evidence."""
    blend = run.json("ensemble.json")
    rows = []
    for name, one in blend.get("views", {}).items():
        weights = ", ".join(f"{view} {weight:.2f}" for view, weight in one["weights"].items() if weight)
        verdict = "weighted" if one["weighted"] else "mean of all"
        rows.append([f"views of {name}", weights, one["in_sample"], *_lead(one, "over_mean"), verdict])
    for what in ("calibration", "smoothing"):
        for name, one in ((blend.get(what) or {}).get("candidates", {})).items():
            if name != "none":
                verdict = "used" if blend[what]["chosen"] == name else "not used"
                rows.append([what, f"{name} {one['number']:.4g}", one["in_sample"], *_lead(one, "over_none"), verdict])
    for name, one in (blend.get("decision") or {"candidates": {}})["candidates"].items():
        if name != "plain":
            verdict = "used" if blend["decision"]["chosen"] == name else "not used"
            label = f"{name} {brief(one['params'])}"
            rows.append(["decision", label, one["in_sample"], *_lead(one, "over_plain"), verdict])
    if not rows:
        return None
    lead = "Each was fitted on the other folds; its lead is over changing nothing, and `auto` takes it only where sure."
    head = ["what", "found", "in-sample", "cross-fitted", "lead", "interval", ""]
    title = "Views, calibration, smoothing" + (", decision" if blend.get("decision") else "")
    return Card(title, lead, None, page.table(head, rows))


def _lead(one: dict[str, Any], over: str) -> list[Any]:
    return [one["cross_fitted"], *_difference(one[over])]


def _scores(one: dict[str, Any]) -> list[Any]:
    differences = [*_difference(one["over_mean"]), *_difference(one["over_best_member"])]
    return [one["in_sample"], one["cross_fitted"], one["gap"], _interval(one), *differences]


def _difference(one: dict[str, Any] | None) -> list[Any]:
    return [None, "–"] if one is None else [one["lead"], _interval(one)]


def _interval(one: dict[str, Any]) -> str:
    low, high = one["interval"]
    text = "–" if low is None else f"{low:.4f} to {high:.4f}{'' if one['reliable'] else ' ?'}"
    return text.replace(" ", "\N{NO-BREAK SPACE}")  # an interval on four lines cannot be read


def _bounds(one: dict[str, Any]) -> tuple[float, float]:
    low, high = one["interval"]
    return (one["cross_fitted"], one["cross_fitted"]) if low is None else (low, high)


def _lost(one: dict[str, Any]) -> str:
    return f"{one['lost']} resamples lost" if one["lost"] else ""

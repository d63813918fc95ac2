"""The report's sections on a blend: what it is worth, what each member adds, how it was found."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.blending import summary
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
    spans = [
        (one["cross_fitted"], *(one["cross_fitted"] if bound is None else bound for bound in one["interval"]))
        for one in shown.values()
    ]
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
    head = ["blender", "in-sample", "cross-fitted", "gap", "interval", "over the mean", "interval"]
    head += [f"over {found['best_member']}", "interval", ""]
    rows = []
    for name, one in found["blenders"].items():
        lost = f"{one['lost']} resamples lost" if one["lost"] else ""
        leads = [*_lead(one["over_mean"]), *_lead(one["over_best_member"])]
        rows.append([name, one["in_sample"], one["cross_fitted"], one["gap"], _interval(one), *leads, lost])
    chosen = list(found["blenders"]).index(blend["blender"])
    figure = plots.spreads(list(shown), points, spans, blend["metric"]) if shown else None
    note = (
        "<p>The gap is by how much the score on the fitted rows is optimistic. What cross-fitting cannot remove: "
        "members were trained on the other folds' labels, and people chose them by these scores. The best member was "
        "chosen on the same rows.</p>"
    )
    return Card("Blenders", lead, figure, page.table(head, rows, chosen) + note)


def members(run: Run) -> Card | None:
    """Each member's weight, score and contribution, and how alike the members are."""
    blend = run.json("ensemble.json")
    if "comparison" not in blend:
        return None
    rows = list(summary.members(blend))
    how = "the others fitted anew" if blend["leave_one_out"]["refitted"] else "the others in their old proportions"
    lead = (
        f"Weights of {blend['blender']}; 'adds' is what the cross-fitted score loses without the member, {how}. "
        "The picture shows how members' OOF correlates: the less alike, the more a blend can gain."
    )
    shown = [row[0] for row in rows[:MOST]]
    order = [blend["members"].index(name) for name in shown]
    figure = plots.heat(np.asarray(blend["correlation"], np.float64)[np.ix_(order, order)], shown)
    head = ["member", "weight", "score", "adds", "correlates most with"]
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
        f"The search of {blend['traced']} on all rows, so optimistic; each step adds the member that is named. "
        f"The diamond is the step {used}."
    )
    rows = [[step["step"], name, step["score"]] for step, name in zip(steps, names, strict=True)]
    table = page.details("All steps", page.table(["step", "added", "score"], rows))
    return Card("Search for weights", lead, plots.climb(scores, names, best, blend["metric"]), table)


def chosen(run: Run) -> Card | None:
    """What was chosen of views, calibration, smoothing and decisions, and on what evidence."""
    blend = run.json("ensemble.json")
    rows = []
    for one in summary.choices(blend):
        scores = [one.scores["in_sample"], one.scores["cross_fitted"], *_lead(one.lead)]
        rows.append([one.what, one.found, *scores, "used" if one.used else "not used"])
    if not rows:
        return None
    lead = (
        "Each was fitted on the other folds; its lead is over changing nothing, and `auto` takes it only where that is "
        "significant (90 %)."
    )
    head = ["what", "found", "in-sample", "cross-fitted", "lead", "interval", ""]
    title = "Views, calibration, smoothing" + (", decision" if blend.get("decision") else "")
    return Card(title, lead, None, page.table(head, rows))


def _lead(one: dict[str, Any] | None) -> list[Any]:
    return [None, "–"] if one is None else [one["lead"], _interval(one)]


def _interval(one: dict[str, Any]) -> str:
    text = summary.interval(one).replace(" ", "\N{NO-BREAK SPACE}")  # an interval on four lines cannot be read
    return "–" if text == "-" else text

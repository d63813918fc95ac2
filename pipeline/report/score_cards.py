"""The report's sections on scores: what the run is worth and where it errs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from pipeline.blending import summary
from pipeline.methods.arrays import Array
from pipeline.report import page, plots
from pipeline.report.files import MOST, Card, Run


def score(run: Run) -> Card | None:
    """CV per variant, and the held-back score beside it."""
    scored = dict(run.scores.get("variants", {}))
    if "last_epoch" in run.scores:  # keep: best chose another epoch on the same rows
        scored["last epoch"] = run.scores["last_epoch"]
    variants = {name: value for name, value in scored.items() if value["mean"] is not None}
    if not variants:
        return None
    names, (points, spans) = [f"CV, {name}" for name in variants], _spreads(variants.values())
    lead = "Small dots are folds, the bar is their mean ± standard deviation."
    held = run.json("held_back.json")
    if held.get("score") is not None:
        low, high = (held["score"] if bound is None else bound for bound in held["interval"])
        names.append("held back")
        points.append(np.array([]))
        spans.append((held["score"], low, high))
        lead += f" The held-back score ({held['n']:,} rows never seen; bar: its interval)"
        if held["cv_mean"] is not None:
            inside = "inside" if low <= held["cv_mean"] <= high else "outside"
            lead += f" is {held['score'] - held['cv_mean']:+.4f} from the CV, which lies {inside} its interval."
        else:
            lead += " has none beside it: the CV is undefined."
    figure = plots.spreads(names, points, spans, run.scores["metric"])
    constant = run.scores.get("baseline") or {}
    if constant:
        low, high = constant.get("interval", [None, None])
        between = "" if low is None else f" ({low:+.4f} to {high:+.4f})"
        lead += f" The best constant, chosen on the labels of the other folds, scores {page.number(constant['mean'])}"
        lead += "." if constant["lead"] is None else f": tta leads it by {constant['lead']:+.4f}{between}."
    known = constant.get("metrics", {})
    rows = [
        [name, value["mean"], value["std"], value["pooled"], known.get(name)]
        for name, value in run.scores.get("metrics", {}).items()
    ]
    html = page.table(["metric (tta)", "mean", "std", "pooled", "best constant"], rows) if rows else ""
    return Card("Score", lead, figure, html)


def variants(run: Run) -> Card | None:
    """The submission's variants with their OOF scores, and which views are submitted."""
    blend = run.json("ensemble.json")
    if not blend.get("variants"):
        return None
    rows = []
    for name, value in blend["variants"].items():
        same = f"equal to {value['equal_to']}" if value.get("equal_to") else ""
        rows.append([name, value["mean"], value["std"], value["pooled"], value.get("alpha"), same])
    chosen = list(blend["variants"]).index(blend["submitted"]) if blend.get("submitted") in blend["variants"] else None
    html = page.table(["variant", "mean", "std", "pooled", "alpha", ""], rows, chosen)
    if len(blend.get("weights", {})) > 1 and "comparison" not in blend:
        html += page.table(["member", "weight"], [[name, float(value)] for name, value in blend["weights"].items()])
    lead = f"submission.csv is {blend.get('submitted')} (bold); blender {blend.get('blender')}."
    html += "".join(f'<p class="note">{escape(text.strip())}</p>' for text in summary.views_taken(blend))
    return Card("Submission variants", lead, None, html)


def confusion(run: Run) -> Card | None:
    """What is taken for what; for independent labels, what is found, missed and falsely raised."""
    if run.oof is None or run.task.regression:
        return None
    _, truth, probs_NC = run.oof
    if not run.task.single_label:
        predicted = probs_NC >= 0.5
        parts = {
            "found": predicted & (truth == 1),
            "missed": ~predicted & (truth == 1),
            "false alarm": predicted & (truth == 0),
        }
        counts = {name: cells.sum(0) for name, cells in parts.items()}
        show = _most(counts["missed"] + counts["false alarm"])
        lead = f"Labels at the threshold ½, from OOF{_only(show, run.classes, 'with most errors')}."
        figure = plots.stacked([run.classes[c] for c in show], {name: n[show] for name, n in counts.items()})
        return Card("Errors per label", lead, figure)
    size, predicted = len(run.classes), probs_NC.argmax(1)
    wrong = truth != predicted
    show = _most(np.bincount(truth[wrong], minlength=size) + np.bincount(predicted[wrong], minlength=size))
    lead = f"OOF rows by truth and most probable class{_only(show, run.classes, 'with most errors')}."
    if wrong.any():
        pairs, rows = np.unique(truth[wrong] * size + predicted[wrong], return_counts=True)
        a, b = divmod(int(pairs[rows.argmax()]), size)
        lead += f" The commonest error: {run.classes[a]} taken for {run.classes[b]}, {rows.max():,} rows."
    place_C = np.full(size, -1)
    place_C[show] = np.arange(len(show))
    both = (place_C[truth] >= 0) & (place_C[predicted] >= 0)
    counts_CC = np.zeros((len(show), len(show)), dtype=np.int64)
    np.add.at(counts_CC, (place_C[truth[both]], place_C[predicted[both]]), 1)
    return Card("Confusion", lead, plots.matrix(counts_CC, [run.classes[c] for c in show]))


def classes(run: Run) -> Card | None:
    """Precision, recall and F1 of each class."""
    per_class = run.scores.get("per_class", {})
    if not per_class:
        return None
    names = list(per_class)
    values = {
        key: np.array([np.nan if (v := per_class[name].get(key)) is None else v for name in names], np.float64)
        for key in ("f1", "precision", "recall")
    }
    order = np.argsort(np.nan_to_num(values["f1"], nan=np.inf), kind="stable")
    show = order if len(order) <= MOST else np.concatenate([order[: MOST - 6], order[-6:]])
    lead = "Weakest first, from OOF" + (
        f"; the {MOST - 6} weakest and 6 strongest of {len(names)} classes." if len(names) > MOST else "."
    )
    figure = plots.dots([names[i] for i in show], {key: column[show] for key, column in values.items()})
    columns = ("support", "precision", "recall", "f1", "auc")
    rows = [[names[i], *(per_class[names[i]].get(key) for key in columns)] for i in order]
    table = page.details("All as a table", page.table(["class", *columns], rows))
    return Card("Scores per class", lead, figure, table)


def views(run: Run) -> Card | None:
    """Each view's own score, beside the mean over the views of `tta`."""
    per_view = {name: value for name, value in run.scores.get("views", {}).items() if value["mean"] is not None}
    if len(per_view) < 2:
        return None
    sign = -1 if run.scores.get("greater_is_better", True) else 1
    tta = run.scores.get("variants", {}).get("tta")
    shown = ({"mean of tta": tta} if tta else {}) | dict(
        sorted(per_view.items(), key=lambda item: sign * item[1]["mean"])[:MOST]
    )
    lead = "A view far below the others costs the mean more than it brings; flips may change what a label means."
    return Card("Views", lead, plots.spreads(list(shown), *_spreads(shown.values()), run.scores["metric"]))


def _spreads(scored: Iterable[dict[str, Any]]) -> tuple[list[Array], list[tuple[float, float, float]]]:
    """Return each one's scores per fold, and its mean with mean ± std."""
    points, spans = [], []
    for one in scored:
        points.append(np.array([score for score in one["per_fold"] if score is not None]))
        spans.append((one["mean"], one["mean"] - (one["std"] or 0.0), one["mean"] + (one["std"] or 0.0)))
    return points, spans


def _most(counts_C: Array) -> Array:
    """Return the classes to show, in their order: all, or those with the largest counts."""
    return np.sort(np.argsort(-counts_C, kind="stable")[:MOST])


def _only(show: Array, names: Sequence[str], which: str) -> str:
    return "" if len(show) == len(names) else f"; the {len(show)} of {len(names)} classes {which}"

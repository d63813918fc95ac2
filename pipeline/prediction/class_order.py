"""Bring what is predicted into the task's class order: by the classes' names, never by their position.

The order is that of the config and the fold table, so that it is known before a prediction is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from pipeline.competition.cells import NUMBER
from pipeline.competition.labels import class_names
from pipeline.config.config import Config
from pipeline.errors import InputError, Problem, Refused, problems_of, some
from pipeline.folds.fold_table import FoldTable
from pipeline.methods import heads
from pipeline.methods.tasks import TASKS
from pipeline.prediction.predictions import Predictions

RENAME = "call each by its class, and leave out other columns"
RETRAIN = "restore data.target and data.classes, or train anew"


def predicted(config: Config, table: FoldTable) -> tuple[str, ...]:
    """Return the classes in the order in which a network of this task predicts them; of heads side by side.

    Classes that are the sample's columns are to be in the config by now, see sample_submission.with_classes.
    """
    return tuple(class_names(TASKS[config.data.task], table.targets, config.data))


def blended(config: Config, table: FoldTable) -> tuple[str, ...]:
    """Return the classes of a blend in their order: of heads the composite ones.

    Raises InputError where `submission.composite` does not name them.
    """
    classes = predicted(config, table)
    if not (several := config.data.heads_of(classes)):
        return classes
    try:
        return heads.composite_names(classes, several, config.submission.composite)
    except ValueError as error:
        raise InputError(*(problem.below("submission.composite") for problem in problems_of(error))) from None


def form(name: str) -> str:
    """Return what a name says whatever its form: without blanks around it, and one number is one name (1, 1.0, 01)."""
    head, equals, label = name.rpartition("=")  # of heads it is HEAD=CLASS
    label = label.strip()
    if NUMBER.fullmatch(label):
        label = format(Decimal(label).normalize() + 0, "f")  # −0 is 0
    return f"{head.strip()}{equals}{label}"


def places(found: Sequence[str], classes: Sequence[str], remedy: str = RENAME) -> tuple[list[int], list[str]]:
    """Return where each class stands among the names found, and a note on those that differ in form only.

    Raises Refused where they are not the same names: one is missing, unknown, there twice or could be two.
    """
    twice = [name for name, times in Counter(found).items() if times > 1]
    place = {name: n for n, name in enumerate(found)}
    rest, wanted = [name for name in place if name not in set(classes)], [name for name in classes if name not in place]
    by_form = {form(name): name for name in rest}
    forms = Counter(map(form, found)), Counter(map(form, classes))
    near = {
        name: by_form[form(name)]
        for name in wanted
        if form(name) in by_form and all(count[form(name)] == 1 for count in forms)
    }
    missing, unknown = [name for name in wanted if name not in near], [n for n in rest if n not in near.values()]
    if missing or unknown or twice:
        parts = {"lacks": missing, "has the unknown": unknown, "has twice": twice}
        text = ", ".join(f"{what} {some(names)}" for what, names in parts.items() if names)
        expected = f"{_listed(classes)} of the config and its folds, in any order"
        raise Refused(Problem("", f"has the classes {_listed(found)}: {text}", expected, remedy))
    notes = [f"'{name}' is read as the class '{own}'" for own, name in near.items()]
    if len(notes) > 1:
        notes = [f"{notes[0]}, and {len(notes) - 1} more whose form differs alike"]
    return [place[near.get(name, name)] for name in classes], notes


def in_order(made: Predictions, classes: Sequence[str]) -> tuple[Predictions, list[str]]:
    """Return predictions in the order of these classes, and what `places` notes; raise Refused as it does."""
    if made.classes == tuple(classes):
        return made, []
    order, notes = places(made.classes, classes, RETRAIN)
    meta = made.meta
    if own := meta.get("heads"):
        turned = sorted((order.index(int(start)), str(name)) for name, start, _ in own)
        meta = {**meta, "heads": [list(head) for head in heads.split(classes, [name for _, name in turned])]}
    if made.top_NVK is None:
        return replace(made, classes=tuple(classes), probs_NVC=made.probs_NVC[..., order], meta=meta), notes
    number = np.argsort(order).astype(np.int32)
    return replace(made, classes=tuple(classes), top_NVK=number[made.top_NVK], meta=meta), notes


def _listed(names: Sequence[str]) -> str:
    return f"[{some(names, 20)}]" + f" ({len(names)})" * (len(names) > 20)

"""Say which column of a teammate's table is what: the ids, the folds, the classes, and those that are passed over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.competition.tables import text_tables
from pipeline.config.config import Config
from pipeline.errors import Problem, Refused, some
from pipeline.files import prediction_tables
from pipeline.files.tables import FIXED, texts
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS
from pipeline.prediction.class_order import form, places

ID, FOLD, TRUTH = FIXED
UNNAMED = re.compile(r"(Unnamed: \d+)?")  # what pandas calls an index
UNTOLD = {  # titles of one column of predictions that do not say of which class
    *("prediction", "predictions", "predicted", "pred", "preds", "probability", "probabilities", "prob", "probs"),
    *("proba", "score", "p", "y_pred", "value", "oof", TRUTH),
}
CERTAIN = {
    ("0", "1"),
    ("false", "true"),
    ("no", "yes"),
    ("negative", "positive"),
    ("neg", "pos"),
}  # the second is meant


@dataclass(frozen=True)
class Columns:
    """Hold a table's cells as text and which of its columns, by number, are what."""

    path: Path
    titles: tuple[str, ...]
    cells: pd.DataFrame
    lines_N: Array  # of each row
    ids: int
    folds: int | None
    classes: tuple[int, ...]  # in the task's order, or the one column of `only`
    only: int | None = None  # the class whose probability a binary task's one column holds
    untold: bool = False  # its title does not say which

    def texts(self, column: int) -> Array:
        """Return a column's cells, trimmed."""
        return np.char.strip(texts(self.cells[column]))


def read(
    path: Path, config: Config, classes: Sequence[str], known: Array | None, like: str, notes: list[str]
) -> Columns:
    """Read oof.csv, whose ids are `known`, or test.csv, whose are not (None) and which needs no folds.

    `like` is what oof.csv calls the ids. Raises Refused with all that is wrong with the columns.
    """
    cells, titles, lines_N, own = _open(path)
    titles = prediction_tables.names_of(titles, classes, FIXED)
    problems, is_oof = list[Problem](), known is not None
    ids, others = _ids(titles, cells, config, classes, known, like)
    folds = _titled(titles, FOLD, classes, needed=is_oof)
    if ids is None:
        text = f"lacks the column {' or '.join(dict.fromkeys([ID, config.data.id]))}, has {some(titles)}"
        problems.append(Problem("", text, remedy="call the ids so"))
    elif UNNAMED.fullmatch(titles[ids]):
        own.append("the ids are read from the column without a name")
    if others and ids is not None:
        own.append(f"the column {some([titles[n] for n in others])} is passed over, the ids are those of {titles[ids]}")
    if folds is None and is_oof:
        remedy = f"it shows that the member was made on the folds of {config.folds_path}"
        problems.append(Problem("", f"lacks the column {FOLD}, has {some(titles)}", remedy=remedy))
    rest = [number for number in range(len(titles)) if number not in (ids, folds, *others)]
    if any(UNNAMED.fullmatch(titles[number]) for number in rest):
        own.append("the column without a name is passed over, as an index")
        rest = [number for number in rest if not UNNAMED.fullmatch(titles[number])]
    try:
        found = _classes(titles, cells, rest, config, classes, own)
    except Refused as error:
        raise Refused(*problems, *error.problems) from None
    if problems or ids is None:
        raise Refused(*problems)
    notes += [f"{path.name}: {note}" for note in own]
    return Columns(path, tuple(titles), cells, lines_N, ids, folds if is_oof else None, *found)


def _open(path: Path) -> tuple[pd.DataFrame, list[str], Array, list[str]]:
    """Return the cells by number, the titles, each row's line, and what was taken care of."""
    try:
        cells, titles, lines_N, notes = text_tables.read_titled(path.read_bytes(), ",")
    except FileNotFoundError:
        remedy = "a member is a run's folder, or one with oof.csv and test.csv"
        raise Refused(Problem("", "missing", remedy=remedy)) from None
    cells.columns = pd.RangeIndex(cells.shape[1])
    return cells, titles, lines_N, notes


def _titled(titles: Sequence[str], name: str, classes: Sequence[str], needed: bool) -> int | None:
    """Return the first column of this title, whatever its case; None where the only one is a class called so."""
    same = [number for number, title in enumerate(titles) if title == name]
    same = same or [n for n, title in enumerate(titles) if title.lower() == name.lower() and title not in classes]
    return same[0] if same and (needed or name not in classes or len(same) > 1) else None


def _ids(
    titles: Sequence[str], cells: pd.DataFrame, config: Config, classes: Sequence[str], known: Array | None, like: str
) -> tuple[int | None, list[int]]:
    """Return the column of the ids, and others that are called so; where none is, an index that holds them.

    Of several it is the first that holds the ids which are known, or the one that is called as in oof.csv.
    """
    asked = dict.fromkeys([ID, config.data.id, config.submission.id or ID])
    found = {_titled(titles, name, classes, needed=name not in classes) for name in asked} - {None}
    found = found or {_titled(titles, name, classes, needed=True) for name in asked} - {None}
    named = sorted(number for number in found if number is not None)
    able = [*named, *(number for number, title in enumerate(titles) if UNNAMED.fullmatch(title))]
    if known is None:
        first = next((number for number in able if titles[number] == like), next(iter(able), None))
    else:
        wanted = set(known.tolist())
        holding = (number for number in able if wanted <= set(cells[number].str.strip()))
        first = next(holding, next(iter(named), None))
    return first, [number for number in named if number != first]


def _classes(
    titles: Sequence[str],
    cells: pd.DataFrame,
    rest: Sequence[int],
    config: Config,
    classes: Sequence[str],
    notes: list[str],
) -> tuple[tuple[int, ...], int | None, bool]:
    """Return the classes' columns in order, which class a single one is of, and whether its title leaves that open."""
    if prediction_tables.is_short([titles[number] for number in rest if titles[number] != TRUTH]):
        text = "holds only the first classes of a row"
        raise Refused(Problem("", text, "the run's folder with its fold<k>/valid.npz as a member"))
    try:
        return _in_order(titles, rest, classes, notes), None, False
    except Refused as error:
        refused = error
    able = [number for number in rest if titles[number] in {TRUTH, *config.data.targets}]
    names = [titles[number] for number in able]
    firsts = {titles.index(name) for name in names if names.count(name) > 1}  # the second one is a class called so
    truth = [number for number in able if titles[number] not in classes or number in firsts]
    if left := [number for number in rest if number not in truth]:
        passed = f"the column {some([titles[n] for n in truth])} is passed over: truth is the fold table's"
        said = [passed] if [titles[n] for n in truth] not in ([], [TRUTH]) else []
        try:
            return _in_order(titles, left, classes, notes), None, False
        except Refused as error:
            refused = error
        finally:
            notes += said
    column = left or truth
    if len(column) == 1 and (found := _single(titles[column[0]], cells[column[0]], config, classes, notes)):
        return (column[0],), *found
    raise refused


def _in_order(titles: Sequence[str], rest: Sequence[int], classes: Sequence[str], notes: list[str]) -> tuple[int, ...]:
    order, said = places([titles[number] for number in rest], classes)
    notes += said
    return tuple(rest[place] for place in order)


def _single(
    title: str, cells: pd.Series[str], config: Config, classes: Sequence[str], notes: list[str]
) -> tuple[int | None, bool] | None:
    """Return the class that the one column is of, and whether its title leaves that open; None where it is no such.

    Raises Refused where it may be that of either class, or holds labels.
    """
    told = [c for c, name in enumerate(classes) if form(title) == form(name)]
    untold = title.lower() in UNTOLD or title in config.data.targets
    if TASKS[config.data.task].regression and len(classes) == 1 and untold:
        notes.append(f"the column {title} is read as {classes[0]}")
        return None, True
    if config.data.task != "binary" or not (len(told) == 1 or untold):
        return None
    if not told and set(cells.str.strip()) <= set(classes):
        text = f"the column {title} holds labels, which may be the truth"
        raise Refused(Problem("", text, "the probability of each class", f"call it {' or '.join(classes)}"))
    if not told and config.data.classes is None and tuple(form(name).lower() for name in classes) not in CERTAIN:
        text = f"the column {title} does not say of which class it is the probability"
        raise Refused(Problem("", text, remedy=f"call it {' or '.join(classes)}, or write one column for each"))
    only = told[0] if told else 1
    notes.append(f"the column {title} is read as the probability of '{classes[only]}'")
    return only, not told

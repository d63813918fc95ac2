"""Read a teammate's tables as a member: oof.csv (id, fold, classes) and test.csv (id, classes), columns in any order.

What differs from our own tables in form alone is read all the same, and said; what may mean two things is refused
with the way to say it. All that is wrong with both tables is found in one go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.blending import table_columns
from pipeline.blending.member import Member
from pipeline.blending.table_columns import Columns
from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.errors import MismatchError, Problem, Refused
from pipeline.folds.fold_table import FoldTable, row_numbers
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import find
from pipeline.methods.tasks import TASKS
from pipeline.prediction.class_order import form
from pipeline.prediction.oof import id_problems
from pipeline.scoring.scores import truth

OUTSIDE, SUMS = 1e-4 + 1e-9, 1e-3 + 1e-9  # up to which cells beyond [0, 1] and sums of rows beside 1 are mended
ROUNDING = 1e-6  # up to which a sum is left as it is
SHOWN = 5  # cells that are listed
FARTHEST = 3.0  # standard errors below ½ from which on an AUC is that of the other class


def read(name: str, folder: Path, config: Config, table: FoldTable, classes: Sequence[str], sums: bool) -> Member:
    """Return the tables as a member that knows no views, its columns in the order of these classes.

    A column `target`, or called as `data.target` is, is passed over where there are others: truth is the fold table's.
    `sums`: rows must sum to 1. Raises MismatchError with all that is wrong with both tables.
    """
    fingerprints.require(folder, "oof.csv", "test.csv")  # a run's; a teammate's have no stamps
    problems, notes, found = list[Problem](), list[str](), dict[str, tuple[Array, Array]]()
    like = ""
    for part, known in (("oof", table.ids[table.fold >= 0]), ("test", None)):
        path, wrong = folder / f"{part}.csv", list[Problem]()
        try:
            columns = table_columns.read(path, config, classes, known, like, notes)
        except Refused as error:
            problems += [problem.below(str(path), ": ") for problem in error.problems]
            continue
        ids, like = columns.texts(columns.ids), columns.titles[columns.ids]
        expected, remedy = np.unique(ids) if known is None else known, f"ids are texts, and those of {table.path}"
        unlike = id_problems(path, ids, expected, "in the fold table", remedy=remedy)
        cells_NC = _cells(columns, classes, ids, TASKS[config.data.task].regression, sums, wrong, notes)
        if known is not None and not unlike:
            wrong += _partition(columns, ids, table, notes)
            if columns.untold and columns.only is not None and not wrong:
                wrong += _other_class(columns, config, table, classes, ids, cells_NC)
        problems += [*unlike, *(problem.below(str(path), ": ") for problem in wrong)]
        order = np.argsort(ids)
        found[part] = ids[order], cells_NC[order]
    if problems:
        raise MismatchError(*problems)
    (ids, oof_NC), (test_ids, test_TC) = found["oof"], found["test"]
    fold_N = table.fold[row_numbers(table.ids, ids)]
    oof, test = (dict.fromkeys(("plain", "tta"), probs) for probs in (oof_NC, test_TC))
    said = tuple(f"{name}: {note}" for note in notes)
    return Member(name, tuple(classes), ids, fold_N, test_ids, oof, test, notes=said)


def _cells(
    columns: Columns,
    classes: Sequence[str],
    ids: Array,
    values: bool,
    sums: bool,
    problems: list[Problem],
    notes: list[str],
) -> Array:
    """Return the classes' cells [N,C] as numbers; what only rounding can have made is mended and noted."""
    text, titles = columns.cells[list(columns.classes)], [columns.titles[number] for number in columns.classes]
    cells_NC = np.asarray(text.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64))

    def at(row: int, column: int) -> str:
        return f"line {columns.lines_N[row]}, column {titles[column]}"

    def first(bad_NC: Array) -> str:
        row, column = np.argwhere(bad_NC)[0].tolist()
        return f"first {at(row, column)}: {cells_NC[row, column]:g}, id '{ids[row]}'"

    missing = np.argwhere(~np.isfinite(cells_NC))
    wanted = "a number" if values else "a probability"
    for row, column in missing[:SHOWN].tolist():
        cell = columns.texts(columns.classes[column])[row]
        problems.append(Problem(at(row, column), f"'{cell}' for id '{ids[row]}'", wanted))
    if (more := len(missing) - SHOWN) > 0:
        problems.append(Problem("", f"… and {more:,} more cells that hold no number"))
    if not values:
        far_NC = np.isfinite(cells_NC) & ((cells_NC < -OUTSIDE) | (cells_NC > 1 + OUTSIDE))
        if far_NC.any():
            found = f"{far_NC.any(1).sum():,} rows hold no probabilities in [0, 1] ({first(far_NC)})"
            problems.append(Problem("", found, remedy="write probabilities, not logits or percentages"))
        near_NC = np.isfinite(cells_NC) & ((cells_NC < 0) | (cells_NC > 1)) & ~far_NC
        if near_NC.any():
            clipped = f"{near_NC.sum():,} cells beyond [0, 1] by at most {OUTSIDE:.0e} are clipped"
            notes.append(f"{columns.path.name}: {clipped}")
            cells_NC = np.where(near_NC, cells_NC.clip(0, 1), cells_NC)
        fine_N = np.isfinite(cells_NC).all(1) & ~far_NC.any(1)
        if columns.only is not None:
            cells_NC = np.hstack([1 - cells_NC, cells_NC] if columns.only == 1 else [cells_NC, 1 - cells_NC])
        elif sums:
            cells_NC = _summed(columns, ids, cells_NC, fine_N, problems, notes)
    return cells_NC


def _summed(
    columns: Columns, ids: Array, cells_NC: Array, fine_N: Array, problems: list[Problem], notes: list[str]
) -> Array:
    """Return rows that sum to 1; those that do but for rounding are scaled."""
    off_N = np.where(fine_N, np.abs(cells_NC.sum(1) - 1), 0)
    if (bad_N := off_N > SUMS).any():
        row = int(bad_N.argmax())
        first = f"first line {columns.lines_N[row]}: {cells_NC[row].sum():g}, id '{ids[row]}'"
        found = f"{bad_N.sum():,} rows do not sum to 1 ({first})"
        problems.append(Problem("", found, remedy="scale them, or blend by rank_mean"))
    if (near_N := (off_N > ROUNDING) & ~bad_N).any():
        scaled = f"{near_N.sum():,} rows off a sum of 1 by at most {off_N[near_N].max():.1g} are scaled"
        notes.append(f"{columns.path.name}: {scaled}")
        cells_NC = np.where(near_N[:, None], cells_NC / np.where(near_N, cells_NC.sum(1), 1)[:, None], cells_NC)
    return cells_NC


def _partition(columns: Columns, ids: Array, table: FoldTable, notes: list[str]) -> list[Problem]:
    """Return why the member was made on other folds than the table's; how they are numbered does not matter."""
    assert columns.folds is not None
    cells = columns.texts(columns.folds)
    if (blank_N := cells == "").any():
        row = int(blank_N.argmax())
        text = f"blank for id '{ids[row]}', as in {blank_N.sum():,} rows"
        return [Problem(f"line {columns.lines_N[row]}, column {columns.titles[columns.folds]}", text, "a fold")]
    ours_N = table.fold[row_numbers(table.ids, ids)]
    names, theirs_N = np.unique([form(cell) for cell in cells.tolist()], return_inverse=True)
    pairs = np.unique(np.stack([theirs_N, ours_N], axis=1), axis=0).tolist()
    if len(pairs) == len(names) == len(np.unique(ours_N)):
        if any(names[theirs] != str(ours) for theirs, ours in pairs):
            turned = ", ".join(f"{names[theirs]} is {ours}" for theirs, ours in pairs)
            notes.append(f"{columns.path.name}: the same folds, numbered otherwise ({turned})")
        return []

    def example(one_N: Array, other_N: Array) -> tuple[int, int] | None:
        """Return two rows that lie together in one numbering and apart in the other."""
        first: dict[int, int] = {}
        for row, (one, other) in enumerate(zip(one_N.tolist(), other_N.tolist(), strict=True)):
            if other_N[first.setdefault(one, row)] != other:
                return first[one], row
        return None

    a, b = example(theirs_N, ours_N) or example(ours_N, theirs_N) or (0, 0)
    apart = f"ids '{ids[a]}' and '{ids[b]}' are in its folds {names[theirs_N[a]]} and {names[theirs_N[b]]}"
    theirs = replace(table, ids=ids, fold=theirs_N).fold_hash[:12]
    text = f"made on folds {theirs}, the fold table is {table.fold_hash[:12]}: {apart}"
    remedy = f"make the member on the folds of {table.path}"
    return [Problem("", f"{text}, there in {ours_N[a]} and {ours_N[b]}", remedy=remedy)]


def _other_class(
    columns: Columns, config: Config, table: FoldTable, classes: Sequence[str], ids: Array, cells_NC: Array
) -> list[Problem]:
    """Return that a column which does not say of which class it is clearly ranks the other one first."""
    targets_NC = truth(config, table, ids, classes)
    positive = float(targets_NC[:, 1].sum())
    auc = find("roc_auc").score(targets_NC, cells_NC, True)
    error = np.sqrt((len(ids) + 1) / (12 * positive * (len(ids) - positive))) if 0 < positive < len(ids) else np.inf
    if not auc < 0.5 - FARTHEST * error:
        return []
    title = columns.titles[columns.classes[0]]
    text = f"the column {title}, read as the probability of '{classes[1]}', ranks '{classes[0]}' first (AUC {auc:.3f})"
    return [Problem("", text, remedy=f"call it {classes[0]} if it is the probability of that, else find the error")]

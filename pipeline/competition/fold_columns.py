"""Read `folds.column`: the table's own folds, or times by which later rows validate earlier ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition.rows.rows import Findings, Rows
from pipeline.errors import Problem, some
from pipeline.files.tables import texts
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    from pipeline.config.config import Config

NEVER = ("", "-1", "train", "training")  # cells of rows that are trained on in every fold
MOST = 100  # folds; a column with more of them names groups, or the rows themselves
WHOLE = re.compile(r"([+-]?[0-9]+)(\.0*)?")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
DATE = re.compile(r"([0-9]{4})([-/.:])([0-9]{1,2})(?:\2([0-9]{1,2})(?:[T ]+([0-9]{1,2}:[0-9]{2}.*))?)?")  # EXIF has :
DATES = "a number, or a date such as 2021-03-14 or 2021-03-14 15:09:26"


def given(cells: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    """Return the fold of each cell [N] int64 and what each fold is called, numbered in natural order.

    Fold −1, trained on in every fold, are blank cells, −1, train and training. One number is one fold: 1 and 1.0.
    """
    names = [_fold_name(cell) for cell in cells]
    folds = tuple(sorted({name for name in names if name.lower() not in NEVER}, key=_natural))
    number = {name: k for k, name in enumerate(folds)}
    return np.asarray([number.get(name, -1) for name in names], dtype=np.int64), folds


def times(cells: Sequence[str]) -> tuple[Array, list[int]]:
    """Return when each row was [N] float64, and the rows whose cell does not say it as most of the others do.

    All cells are numbers, or all are dates from the year down, with a time zone or without one.
    """
    found = {cell: _time(cell.strip()) for cell in dict.fromkeys(cells)}
    kinds = [found[cell][0] for cell in cells]
    known = [kind for kind in kinds if kind]
    common = max(dict.fromkeys(known), key=known.count) if known else "date"
    time_N = np.asarray([found[cell][1] for cell in cells], dtype=np.float64)
    return time_N, [row for row, kind in enumerate(kinds) if kind != common]


def latest(table_cells: Sequence[str], rows_I: Array, count: int) -> Array:
    """Return the cell of each prediction's last image, [N] object: by then all that it shows was known."""
    time_I, cells = times(table_cells)[0], np.asarray(table_cells, dtype=object)
    order = np.argsort(time_I, kind="stable")
    last_N = np.zeros(count, dtype=np.int64)
    last_N[rows_I[order]] = order  # a later one takes the place of an earlier one
    return np.asarray(cells[last_N])


def check(rows: Rows, config: Config, findings: Findings) -> None:
    """Find what folds cannot be made of in `folds.column`; a column that is missing is told elsewhere."""
    column, data = config.folds.column, config.data
    if column is None or column not in rows.table:
        return
    cells, place = rows.table[column].tolist(), f"{rows.path}: {column} (folds.column)"
    if config.folds.scheme == "time":
        _, wrong = times(cells)
        remedy = "write all of them alike, as by data.derive, or leave the rows out by data.where"
        problems = ((row, Problem("", f"{column} is '{cells[row]}'", DATES, remedy)) for row in wrong)
        findings.add("times that cannot be ordered", rows.problems(problems))
        return
    fold_N, names = given(cells)
    findings.add("folds", given_problems(fold_N, names, place))
    if data.group is not None and data.group in rows.table:
        groups = texts(rows.table[data.group])
        findings.add("folds", crossing(fold_N, groups, names, place, data.group))


def given_problems(fold_N: Array, names: Sequence[str], place: str) -> list[Problem]:
    """Return why a table's own folds are none."""
    if not names:
        return [Problem(place, "names no fold that is validated", "cells such as 0, 1, 2")]
    if len(names) > MOST:
        found, remedy = f"has {len(names)} different cells ({some(names)})", "a column of groups goes to data.group"
        return [Problem(place, found, f"folds, {MOST} at most", remedy)]
    if len(names) == 1 and (fold_N >= 0).all():
        found = f"has '{names[0]}' in every row, so that nothing is left to train on"
        return [Problem(place, found, "at least two folds, or rows with -1, which are always trained on")]
    return []


def crossing(fold_N: Array, groups: Array, names: Sequence[str], place: str, group: str | None) -> list[Problem]:
    """Return which groups lie in several folds; a blank one is none. Without a column equal images make them."""
    order = np.lexsort((fold_N, groups))
    order = order[groups[order] != ""]
    same = groups[order][1:] == groups[order][:-1]
    apart = order[1:][same & (fold_N[order][1:] != fold_N[order][:-1])]
    crossed = np.unique(groups[apart])
    if not len(crossed):
        return []
    called = (*names, "-1")
    examples = [
        f"'{name}' in {' and '.join(called[k] for k in sorted(set(fold_N[groups == name].tolist()), reverse=True))}"
        for name in crossed[:3].tolist()
    ]
    found = f"{len(crossed)} groups of {group or 'equal images'} lie in several folds: {', '.join(examples)}"
    remedy = "correct the column, leave folds.column out, or data.group where such rows need not be kept together"
    if group is None:
        remedy = "correct the column, or set data.duplicates_by_content: keep where that is meant"
    return [Problem(place, found, remedy=remedy)]


def _fold_name(cell: str) -> str:
    stripped = cell.strip()
    number = WHOLE.fullmatch(stripped)
    return str(int(number[1])) if number else stripped


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort fold2 before fold10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def _time(cell: str) -> tuple[str, float]:
    """Return the kind of a time, blank where it is none, and its value: of dates, the seconds."""
    if NUMBER.fullmatch(cell):
        return "number", float(cell)
    read = DATE.fullmatch(cell)
    if read is None:
        return "", np.nan
    year, _, month, day, clock = read.groups()
    text = f"{year}-{int(month):02}-{int(day or 1):02}"
    hour = re.sub(r"\s+(?=[+-])", "", f"{clock:>5}".strip().zfill(5)) if clock else "00:00"
    try:
        when = datetime.fromisoformat(f"{text}T{hour if hour[2:3] == ':' else '0' + hour}")
    except ValueError:
        return "", np.nan
    zoned = when.tzinfo is not None
    return ("date with a time zone" if zoned else "date"), (when if zoned else when.replace(tzinfo=UTC)).timestamp()

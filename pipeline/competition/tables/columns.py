"""Add columns to rows: those of a further table that shares a key, and those that come from other columns."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition.rows.rows import Findings, Rows, check_columns
from pipeline.competition.templates import fill
from pipeline.config.sections.data_items import Derived, Join
from pipeline.errors import Problem, Refused, nearest
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    import pandas as pd


def join(rows: Rows, other: Rows, key: Join, findings: Findings) -> Rows:
    """Return the rows with the other table's columns, blank where it has no row; a name that is taken gets its stem.

    A key that stands twice in the other table is a defect, as it would double rows; so is one that fits no row.
    """
    on, name = key.on, key.key or key.on
    check_columns(rows, {"data.joins: on": [on]}, findings)
    check_columns(other, {"data.joins: key": [name]}, findings)
    if on not in rows.table or name not in other.table:
        return rows
    repeated = other.table[name][other.table[name].duplicated()]
    if len(repeated):
        remedy = "a joined table has each key once"
        texts = (f"{name} '{cell}' stands above already" for cell in repeated)
        wrong = zip(repeated.index.tolist(), (Problem("", text, remedy=remedy) for text in texts), strict=True)
        problems = other.problems(wrong)
        findings.add("keys that stand twice in a joined table", problems)
        return rows
    added = other.table.drop(columns=[name]).set_axis(other.table[name], axis=0)
    taken = set(rows.table.columns)
    added.columns = [f"{other.path.stem}.{column}" if column in taken else column for column in added.columns]
    found_N = rows.table[on].isin(added.index).to_numpy()
    if not found_N.any():
        first = rows.table[on].iloc[0]
        remedy = nearest(first, other.table[name].iloc[:1000].tolist())
        found = f"{name} has none of the values of {on}, as '{first}'"
        findings.add("joins", [Problem(str(other.path), found, remedy=remedy)])
        return rows
    if not found_N.all():
        first = rows.table[on].iloc[int((~found_N).argmax())]
        text = f"{(~found_N).sum()} rows have no row in {other.path.name} ({on} '{first}', for one): left blank"
        findings.notes.append(text)
    return replace(rows, table=rows.table.join(added, on=on).fillna(dict.fromkeys(added.columns, "")))


def derive(rows: Rows, wanted: dict[str, str | Derived], findings: Findings, lenient: bool = False) -> Rows:
    """Return the rows with new columns, in the order they are named; a later one may use an earlier one.

    Lenient (test rows): a column whose origin is not there is left out, and a cell that gives nothing is blank.
    """
    if not wanted:
        return rows
    table = rows.table.copy()
    for name, how in wanted.items():
        try:
            if isinstance(how, str):
                table[name] = fill(how, table)
                continue
            if how.column not in table:
                found = f"'{how.column}' is no column"
                raise Refused(Problem("", found, remedy=nearest(how.column, list(map(str, table)))))
        except Refused as error:
            if not lenient:
                place = f"{rows.path}: data.derive.{name}"
                findings.add("derived columns", (problem.below(place) for problem in error.problems))
            continue
        cells, (table[name], wrong) = table[how.column].to_numpy(), _derived(table[how.column], how)
        if not lenient:
            what = f"in which '{how.pattern}' finds nothing" if how.pattern is not None else "expected a number"
            texts = ((row, f"{how.column} is '{cells[row]}', {what} (data.derive.{name})") for row in wrong.tolist())
            problems = rows.problems((row, Problem("", text)) for row, text in texts)
            findings.add("cells that a column cannot be derived from", problems)
    return replace(rows, table=table)


def _derived(column: pd.Series[str], how: Derived) -> tuple[Array, Array]:
    """Return the new cells and the rows whose cell gives none; every different cell is looked at once."""
    import pandas as pd

    code_N, cells = pd.factorize(column)
    found = [_value(cell, how) for cell in cells]
    wrong = np.flatnonzero([value is None for value in found])
    new = np.asarray([value or "" for value in found], dtype=object)
    return new[code_N], np.flatnonzero(np.isin(code_N, wrong))


def _value(cell: str, how: Derived) -> str | None:
    if how.values is not None:
        return how.values.get(cell, cell)
    if how.pattern is not None:
        match = re.search(how.pattern, cell)
        if match is None:
            return None
        return match[0] if not match.re.groups else match[1] or ""
    if not cell.strip():
        return ""  # unknown; where it is the target, that is told
    try:
        number = float(cell)
    except ValueError:
        return None
    code = int(np.searchsorted(np.asarray(how.edges), number, side="right"))
    return how.names[code] if how.names else str(code)

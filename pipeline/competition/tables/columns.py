"""Add columns to rows: those of a further table that shares a key, and those that come from other columns."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition.cells import one_form, recast
from pipeline.competition.rows.rows import Findings, Rows, check_columns
from pipeline.competition.templates import fill
from pipeline.config.sections.data_items import Derived, Join, Pivot
from pipeline.errors import Problem, Refused, nearest
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.sections.data import Data

MOST_CLASSES = 10_000  # of a table that is pivoted


def join(rows: Rows, other: Rows, key: Join, findings: Findings) -> Rows:
    """Return the rows with the other table's columns, blank where it has no row; a name that is taken gets its stem.

    A key that stands twice in the other table is a defect, as it would double rows; so is one that fits no row.
    """
    import pandas as pd

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
    keys = recast(rows.table[on], one_form(rows.table[on].unique(), other.table[name].tolist()))
    taken = set(rows.table.columns)
    added.columns = [f"{other.path.stem}.{column}" if column in taken else column for column in added.columns]
    found_N = keys.isin(added.index).to_numpy()
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
    joined = added.reindex(keys).fillna("").set_axis(rows.table.index, axis=0)
    return replace(rows, table=pd.concat([rows.table, joined], axis=1))


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
            if how.count_from is not None:
                table[name] = [str(number) for number in range(how.count_from, how.count_from + len(table))]
                continue
            if how.column not in table:
                found = f"'{how.column}' is no column"
                raise Refused(Problem("", found, remedy=nearest(str(how.column), list(map(str, table)))))
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


def pivot(rows: Rows, data: Data, how: Pivot, kind: str, findings: Findings) -> Rows:
    """Return one row per id with a column per class, from rows of an id and a class each; the others' cells are blank.

    Cells that differ for the same id and class are a defect. Of test rows each id is taken once.
    """
    import pandas as pd

    named = [how.columns, how.values] if kind == "train" else []
    check_columns(rows, {"data.pivot": named, "data.id": [data.id]}, findings)
    if data.id not in rows.table or any(name not in rows.table for name in named):
        return rows
    id_N, ids = pd.factorize(rows.table[data.id])
    first_U = np.unique(id_N, return_index=True)[1]
    if kind == "test":
        return rows.take(first_U) if how.columns in rows.table else rows
    class_N, classes = pd.factorize(rows.table[how.columns].str.strip(), sort=True)
    if len(classes) > MOST_CLASSES:
        found = f"{how.columns} has {len(classes):,} different cells, which would be columns"
        findings.add("columns", [Problem(f"{rows.path}: data.pivot", found, f"{MOST_CLASSES:,} at most")])
        return rows
    cells = rows.table[how.values].to_numpy(dtype=object)
    order = np.lexsort((np.arange(len(id_N)), class_N, id_N))
    again = np.flatnonzero((np.diff(id_N[order]) == 0) & (np.diff(class_N[order]) == 0))
    differ = [(int(order[n + 1]), int(order[n])) for n in again.tolist() if cells[order[n + 1]] != cells[order[n]]]
    texts = ((row, f"is '{cells[row]}', but '{cells[other]}' in {rows.called(other, row)}") for row, other in differ)
    problems = rows.problems((row, Problem("", f"{how.values} {text} of the same id and class")) for row, text in texts)
    findings.add("cells that differ inside an id and class", problems)
    made = np.full((len(ids), len(classes)), "", dtype=object)
    made[id_N[order[::-1]], class_N[order[::-1]]] = cells[order[::-1]]
    taken = rows.take(first_U)
    kept = taken.table.drop(columns=[name for name in (how.columns, how.values) if name != data.id])
    if both := [str(name) for name in classes if name in kept]:
        text = f"{how.columns} has the cell '{both[0]}', which is a column already"
        findings.add("columns", [Problem(f"{rows.path}: data.pivot", text, remedy="rename one by data.derive")])
        return rows
    new = pd.DataFrame(made, columns=list(classes), index=kept.index, dtype=kept[data.id].dtype)
    return replace(taken, table=pd.concat([kept, new], axis=1))


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

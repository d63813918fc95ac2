"""Bring cells that mean the same to one form, give groupless rows a group of their own, leave out unlabelled rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition import cells, labels
from pipeline.competition.rows.rows import Findings, Rows
from pipeline.competition.templates import fill
from pipeline.errors import Problem, Refused
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.sections.data import Data

SHOWN = 3  # forms that a note lists
OWN = "row:"  # begins the group of a row that has none


def unify(rows: Rows, data: Data, findings: Findings, classes: Sequence[str] = ()) -> Rows:
    """Return the rows with every label, value and group in one form; `classes` are those known before.

    One number is one label or group, whether 1, 1.0 or 01; in columns of 0 and 1 True and yes are 1; a decimal
    comma is a point. What was changed is noted.
    """
    table = rows.table.copy(deep=False)
    several = len(data.targets) > 1 and not data.heads
    numeric = several or TASKS[data.task].regression
    for column in (column for column in data.targets if column in table):
        own = [name.removeprefix(f"{column}=") for name in classes if not data.heads or name.startswith(f"{column}=")]
        if numeric:
            changed = cells.decimal_points(table[column])
            changed = changed or (cells.truth_values(table[column]) if several else {})
        else:
            changed = _labels(table[column], data, own or data.classes or ())
        table[column] = _changed(table[column], changed, rows, findings)
    if data.weight in table:
        table[data.weight] = _changed(table[data.weight], cells.decimal_points(table[data.weight]), rows, findings)
    if data.group in table:
        groups = table[data.group]
        groups = _changed(groups, cells.one_form(groups.unique()), rows, findings)
        table[data.group] = _own_groups(groups, table, data, rows, findings)
    return _labelled(replace(rows, table=table), data, findings)


def _labels(column: pd.Series[str], data: Data, known: Sequence[str]) -> dict[str, str]:
    """Return the cells whose labels are numbers that others write in another way."""
    if data.separator is None:
        return cells.one_form(column.unique(), known)
    parts = {cell: labels.labels(cell, data) for cell in column.unique()}
    forms = cells.one_form((part for found in parts.values() for part in found), known)
    return {
        cell: data.separator.join(forms.get(part, part) for part in found)
        for cell, found in parts.items()
        if any(part in forms for part in found)
    }


def _changed(column: pd.Series[str], forms: dict[str, str], rows: Rows, findings: Findings) -> pd.Series[str]:
    count = int(column.isin(list(forms)).sum())
    if not count:
        return column
    first = ", ".join(f"'{cell}' is read as '{form}'" for cell, form in list(forms.items())[:SHOWN])
    more = ", …" if len(forms) > SHOWN else ""
    findings.notes.append(f"{rows.path.name}: {column.name}: {first}{more} in {count} rows")
    return cells.recast(column, forms)


def _own_groups(
    groups: pd.Series[str], table: pd.DataFrame, data: Data, rows: Rows, findings: Findings
) -> pd.Series[str]:
    """Give each prediction without a group one of its own."""
    import pandas as pd

    blank_N: Array = groups.map(cells.is_nothing).to_numpy(dtype=bool)
    if not blank_N.any() or data.id not in table:
        return groups
    first, cell = int(blank_N.argmax()), groups.iloc[int(blank_N.argmax())]
    shown = f"'{cell}'" if cell else "blank"
    text = f"{int(blank_N.sum())} rows have no group, first {rows.place(first)} ({groups.name} is {shown})"
    findings.notes.append(f"{text}: each is a group of its own")
    try:
        names = fill(data.predict_id, table) if data.predict_id is not None else table[data.id].tolist()
    except Refused:  # which is told where the template is used
        names = table[data.id].tolist()
    own = [f"{OWN}{name}" if blank else group for name, blank, group in zip(names, blank_N, groups, strict=True)]
    return pd.Series(own, index=groups.index, name=groups.name, dtype=groups.dtype)


def _labelled(rows: Rows, data: Data, findings: Findings) -> Rows:
    """Leave out rows that lack a label in any target column, where `data.unlabelled` says so."""
    if data.unlabelled == "error":
        return rows
    lacking_N: Array = np.zeros(len(rows.table), bool)
    for column in (column for column in data.targets if column in rows.table):
        lacking_N |= rows.table[column].map(lambda cell: labels.lacks_label(cell, data)).to_numpy(dtype=bool)
    if lacking_N.all():
        problem = Problem(str(rows.path), f"no row has a label in {', '.join(data.targets)} (data.unlabelled: skip)")
        findings.add("unlabelled rows", [problem])
        return rows
    if lacking_N.any():
        count, first = int(lacking_N.sum()), rows.place(int(lacking_N.argmax()))
        findings.notes.append(f"{count} rows have no label and are left out, first {first}")
        rows = rows.take(np.flatnonzero(~lacking_N))
    return rows

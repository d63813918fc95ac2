"""Make one row of the rows of an id, as `data.duplicates` says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition import labels
from pipeline.competition.rows.rows import Findings, Rows
from pipeline.errors import Problem
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    from pipeline.config.sections.data import Data


def once(rows: Rows, data: Data, soft: bool, findings: Findings, alike: Sequence[str] = ()) -> Rows:
    """Return the rows with every id once, at its first place.

    Soft: its target cells become one that holds each label with its share ("7=0.5|12=0.5"), numbers their
    mean. An id whose rows differ in a column of `alike`, as the group is, is a defect.
    """
    ids = rows.table[data.id]
    repeated_N = ids.duplicated(keep=False).to_numpy()
    if not repeated_N.any():
        return rows
    later_N = ids.duplicated().to_numpy()
    at = np.flatnonzero(repeated_N)
    groups: dict[str, list[int]] = {}
    for row, name in zip(at.tolist(), ids.to_numpy()[at], strict=True):
        groups.setdefault(name, []).append(row)
    for column in alike:
        if column in rows.table:
            _check_groups(rows, column, groups.values(), findings)
    differ: set[int] = set()
    if soft:
        table = rows.table.copy()
        numbers = TASKS[data.task].regression or (len(data.targets) > 1 and not data.heads)
        for column in (column for column in data.targets if column in table):
            texts = table[column].to_numpy(dtype=object).copy()
            for first, *later in groups.values():
                cells = [texts[row] for row in (first, *later)]
                if len(set(cells)) > 1:
                    differ.add(first)
                    texts[first] = _mean(cells) if numbers else _shares(cells, data)
            table[column] = texts
        rows = replace(rows, table=table)
    what = f"their labels were averaged, {len(differ)} of them differ" if soft else "the first was kept"
    findings.notes.append(f"{len(groups)} ids of {rows.path.name} stand in {len(at)} rows; {what}")
    return rows.take(np.flatnonzero(~later_N))


def _check_groups(rows: Rows, column: str, repeated: Iterable[list[int]], findings: Findings) -> None:
    cells = rows.table[column].to_numpy()
    texts = (
        (row, f"{column} is '{cells[row]}', but '{cells[first]}' in {rows.called(first, row)} of the same id")
        for first, *later in repeated
        for row in later
        if cells[row] != cells[first]
    )
    problems = rows.problems((row, Problem("", text)) for row, text in texts)
    findings.add("groups that differ inside an id", problems)


def _mean(texts: list[str]) -> str:
    """Return the mean of numbers; a cell that is none stays, to be told as a bad label."""
    numbers = []
    for text in texts:
        try:
            numbers.append(float(text))
        except ValueError:
            return text
    return repr(float(np.mean(numbers)))


def _shares(texts: list[str], data: Data) -> str:
    """Return the mean of labels as a soft cell; a blank one stays where each row has one label, to be told."""
    total: dict[str, float] = {}
    for text in texts:
        found = labels.parts(text, data)
        if not found and data.separator is None:
            return text
        for label, share in found:
            total[label] = total.get(label, 0.0) + share / len(texts)
    order = data.classes or []
    known = {name: n for n, name in enumerate(order)}
    names = sorted(total, key=lambda name: (known.get(name, len(order)), labels.natural(name)))
    return "|".join(f"{name}={total[name]:.6g}" for name in names)

"""Make one row of the rows of an id, as `data.duplicates` says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition import labels
from pipeline.competition.rows.rows import Defects, Rows
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    from pipeline.config.sections.data import Data


def once(rows: Rows, data: Data, soft: bool, defects: Defects, notes: list[str]) -> Rows:
    """Return the rows with every id once, at its first place.

    Soft: its target cells become one that holds each label with its share ("7=0.5|12=0.5"), numbers their
    mean. An id whose rows lie in different groups is a defect.
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
    if data.group is not None and data.group in rows.table:
        _check_groups(rows, data.group, groups.values(), defects)
    differ = 0
    if soft:
        table = rows.table.copy()
        numbers = TASKS[data.task].regression or (len(data.targets) > 1 and not data.heads)
        targets = [column for column in data.targets if column in table]
        changed = set()
        for column in targets:
            texts = table[column].to_numpy(dtype=object).copy()
            for numbers_of_rows in groups.values():
                found = [texts[row] for row in numbers_of_rows]
                if len(set(found)) > 1:
                    changed.add(numbers_of_rows[0])
                    texts[numbers_of_rows[0]] = _mean(found) if numbers else _shares(found, data)
            table[column] = texts
        differ, rows = len(changed), replace(rows, table=table)
    what = f"their labels were averaged, {differ} of them differ" if soft else "the first was kept"
    notes.append(f"{len(groups)} ids of {rows.path.name} stand in {len(at)} rows; {what}")
    return rows.take(np.flatnonzero(~later_N))


def _check_groups(rows: Rows, column: str, repeated: Iterable[list[int]], defects: Defects) -> None:
    texts = rows.table[column].to_numpy()
    defects.add(
        "groups that differ inside an id",
        rows.lines(
            (row, f"{column} is '{texts[row]}', but '{texts[same[0]]}' in {rows.called(same[0], row)} of the same id")
            for same in repeated
            for row in same
            if texts[row] != texts[same[0]]
        ),
    )


def _mean(texts: list[str]) -> str:
    try:
        return repr(float(np.mean([float(text) for text in texts])))
    except ValueError:
        return next(text for text in texts if not _is_number(text))  # told as a bad label


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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

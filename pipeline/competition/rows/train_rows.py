"""Choose the training table's rows, and check what is said of each: id, group, weight, one answer per prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition.rows.reader import Found, Reader
from pipeline.competition.rows.rows import Defects, Rows, check_columns, check_ids
from pipeline.competition.tables import duplicates
from pipeline.competition.templates import nearest
from pipeline.methods import topk
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    from pipeline.config.sections.data import Data


def kept(train: Rows, reader: Reader) -> Rows | None:
    """Check what the config names of the training table and return the rows that it keeps, each id once."""
    data, defects, stratify = reader.data, reader.defects, reader.config.folds.stratify
    wanted = {
        "data.id": [data.id],
        "data.target": data.targets,
        "data.group": [data.group] if data.group else [],
        "data.weight": [data.weight] if data.weight else [],
        "data.where": list(data.where),
        "folds.stratify": [stratify] if isinstance(stratify, str) else stratify or [],
    }
    check_columns(train, wanted, defects)
    for column, cells in data.where.items():
        if column not in train.table:
            continue
        rows_M = np.flatnonzero(train.table[column].isin(cells).to_numpy())
        if not len(rows_M):
            there = nearest(cells[0] if cells else "", sorted(set(train.table[column]))[:1000])
            defects.add("rows", [f"data.where.{column}: no row of {train.path} has {', '.join(cells)}{there}"])
            return None
        train = train.take(rows_M)
    check_ids(train, data.id, defects, twice=data.duplicates == "error")
    if data.group in train.table:
        blank = np.flatnonzero(train.table[data.group].str.strip().eq("").to_numpy())
        lines = train.lines((int(row), f"{data.group} is blank, expected the row's group") for row in blank)
        defects.add("blank group cells", lines)
    if data.duplicates != "error" and data.id in train.table:
        train = duplicates.once(train, data, data.duplicates == "soft", defects, reader.notes)
    return train if data.id in train.table else None


def present(train: Rows, found: Found, reader: Reader) -> tuple[Rows, Found]:
    """Leave out training rows whose image is absent, where data.missing says so."""
    if reader.data.missing != "skip" or not found.absent or len(found.absent) == len(train.table):
        return train, found
    here_I = np.ones(len(train.table), bool)
    here_I[[row for row, _ in found.absent]] = False
    row_of = np.cumsum(here_I) - 1
    first, why = found.absent[0]
    rest = f"{len(found.absent)} training rows have no image and are left out"
    reader.notes.append(f"{rest}, first {train.place(first)}: {why}")
    images = [image for image, here in zip(found.images, here_I.tolist(), strict=True) if here]
    refused = [(int(row_of[row]), text) for row, text in found.refused if here_I[row]]
    return train.take(np.flatnonzero(here_I)), Found(images, [], refused)


def check_same(train: Rows, targets_IC: Array, first_N: Array, rows_I: Array, data: Data, defects: Defects) -> None:
    """Find images of one prediction that disagree about its target or group."""
    if len(targets_IC) != len(rows_I) or not len(rows_I):
        return
    first_I = first_N[rows_I]
    differ_I = topk.differ(targets_IC, targets_IC[first_I])
    what = ", ".join(data.targets)
    lines = _unlike(train, differ_I, first_I, what)
    defects.add("labels that disagree inside one predicted id", lines)
    if data.group is not None and data.group in train.table:
        group_I = train.table[data.group].to_numpy()
        lines = _unlike(train, group_I != group_I[first_I], first_I, data.group)
        defects.add("groups that disagree inside one predicted id", lines)


def _unlike(train: Rows, differ_I: Array, first_I: Array, what: str) -> list[str]:
    found = [(row, train.called(int(first_I[row]), row)) for row in np.flatnonzero(differ_I).tolist()]
    return train.lines((row, f"{what} differs from {place} of the same data.predict_id") for row, place in found)


def weights(rows: Rows, column: str | None, defects: Defects) -> Array | None:
    """Return the cells of a weight column, [I] float64, or None where there is none."""
    if column is None or column not in rows.table:
        return None
    import pandas as pd

    cells = rows.table[column]
    weights_I = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(weights_I) & (weights_I >= 0)))
    found = ((int(row), f"{column} is '{cells.iloc[row]}', expected a weight of at least 0") for row in wrong)
    defects.add("bad weights", rows.lines(found))
    if not len(wrong) and not weights_I.any():
        defects.add("bad weights", [f"{rows.path}: {column} (data.weight) is 0 in every row"])
    return weights_I

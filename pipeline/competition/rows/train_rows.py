"""Choose the training table's rows, and check each one's cells: id, group, weight, one answer per prediction."""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition.cells import NUMBER
from pipeline.competition.image_paths import Source
from pipeline.competition.labels import class_names, encode_targets, encode_values
from pipeline.competition.rows import forms, skipping, where
from pipeline.competition.rows.reader import NO_IMAGE, Reader
from pipeline.competition.rows.rows import Findings, Rows, check_columns
from pipeline.errors import Problem, some
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    from pipeline.config.sections.data import Data
    from pipeline.config.sections.data_items import Images


def read(reader: Reader) -> Rows | None:
    """Return the rows that the config keeps, each id once; None where there are none."""
    data, findings = reader.data, reader.findings
    stratify, column = reader.config.folds.stratify, reader.config.folds.column
    rows = reader.rows(data.tables, "data.train", "train", data.image)
    if rows is None:
        return None
    wanted = {
        "data.id": [data.id],
        "data.target": data.targets,
        "data.group": [data.group] if data.group else [],
        "data.weight": [data.weight] if data.weight else [],
        "folds.stratify": [stratify] if isinstance(stratify, str) else stratify or [],
        "folds.column": [column] if column is not None else [],
    }
    check_columns(rows, wanted, findings)
    rows = where.kept(rows, data.where, "data.where", findings)
    if rows is None:
        findings.unseen.append("the training rows")
        return None
    rows = forms.unify(rows, data, findings)
    return reader.unique(rows, data.duplicates == "soft")


def with_images(rows: Rows, images: Images, key: str, reader: Reader) -> tuple[Rows, list[Source] | None]:
    """Find the rows' images, None where the template is wrong; leave out rows without, where data.missing says so."""
    found = reader.images(rows, images, key)
    if found is None:
        return rows, None
    absent = [row for row, _ in found.absent]
    skip = reader.data.missing == "skip" and len(absent) > 0
    reader.findings.add(NO_IMAGE, rows.problems(found.wrong(skip)))
    if not skip:
        return rows, found.images
    (first,) = rows.problems(found.absent[:1])
    problems = skipping.too_many(str(rows.path), "rows", len(absent), len(rows.table), first)
    here_I = np.ones(len(rows.table), bool)
    here_I[absent] = False
    kept = rows.take(np.flatnonzero(here_I))
    if key == "data.image":
        problems += _lost_classes(rows, here_I, reader.data)
    reader.findings.add(NO_IMAGE, problems)
    reader.findings.notes.append(
        f"{len(absent)} rows of {rows.path.name} have no image and are left out, first {first}"
    )
    return kept, list(compress(found.images, here_I.tolist()))


def _lost_classes(rows: Rows, here_I: Array, data: Data) -> list[Problem]:
    """Return a problem where a class has rows without an image alone."""
    if TASKS[data.task].regression:
        return []
    classes, targets_IC = targets(rows, data, Findings())  # what else is wrong with the labels is told of those kept
    return skipping.lost_classes(str(rows.path), classes, targets_IC, targets_IC[here_I]) if classes else []


def targets(rows: Rows, data: Data, findings: Findings) -> tuple[tuple[str, ...], Array]:
    """Return the classes and soft targets, or values, [I,C] float32; no classes where a target column is missing."""
    task, there = TASKS[data.task], [column for column in data.targets if column in rows.table]
    if len(there) < len(data.targets):
        if not data.heads:  # columns of numbers; what they sum to cannot be told
            span = data.range if task.regression else (0.0, 1.0)
            findings.add("bad labels", rows.problems(encode_values(rows.table, there, span)[1]))
        findings.unseen.append(f"what depends on the classes, as {rows.path.name} lacks a target column")
        return (), np.zeros((0, 0), dtype=np.float32)
    classes = class_names(task, rows.table, data)
    findings.add("classes", [problem.below(str(rows.path)) for problem in task.class_problems(classes)])
    if task.ordered and data.classes is None and not all(NUMBER.fullmatch(name) for name in classes):
        found, wanted = f"null, but the labels of {task.name} targets are words ({some(classes)})", "their order"
        findings.add(
            "classes", [Problem("data.classes", found, wanted, f"data.classes: [{', '.join(classes)}], in order")]
        )
    targets_IC, wrong = encode_targets(task, rows.table, data, classes)
    findings.add("bad labels", rows.problems(wrong))
    return tuple(classes), targets_IC


def check_same(rows: Rows, targets_IC: Array, first_N: Array, rows_I: Array, reader: Reader) -> None:
    """Find images of one prediction that disagree about its target, group or fold."""
    data, findings = reader.data, reader.findings
    if len(targets_IC) != len(rows_I) or not len(rows_I):
        return
    first_I = first_N[rows_I]
    differ = {"labels": (", ".join(data.targets), topk.differ(targets_IC, targets_IC[first_I]))}
    for kind, name in {"groups": data.group, "folds": reader.config.folds.given}.items():
        if name is not None and name in rows.table:
            cell_I = rows.table[name].to_numpy()
            differ[kind] = (name, cell_I != cell_I[first_I])
    for kind, (column, differ_I) in differ.items():
        found = [(row, rows.called(int(first_I[row]), row)) for row in np.flatnonzero(differ_I).tolist()]
        texts = ((row, f"{column} differs from {place} of the same data.predict_id") for row, place in found)
        problems = rows.problems((row, Problem("", text)) for row, text in texts)
        findings.add(f"{kind} that disagree inside one predicted id", problems)


def weights(rows: Rows, column: str | None, findings: Findings) -> Array | None:
    """Return the cells of a weight column, [I] float64, or None where there is none."""
    if column is None or column not in rows.table:
        return None
    import pandas as pd

    cells = rows.table[column]
    weights_I = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(weights_I) & (weights_I >= 0))).tolist()
    texts = ((row, f"{column} is '{cells.iloc[row]}'") for row in wrong)
    problems = rows.problems((row, Problem("", text, "a weight of at least 0")) for row, text in texts)
    if not wrong and not weights_I.any():
        problems = [Problem(str(rows.path), f"{column} (data.weight) is 0 in every row")]
    findings.add("bad weights", problems)
    return weights_I

"""Read the sample submission and say whether it can be filled in, before anything is computed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.competition import tables
from pipeline.competition.data_root import find_root
from pipeline.competition.rows.rows import Rows, id_column
from pipeline.competition.templates import nearest
from pipeline.config.rules import decisions
from pipeline.errors import InputError, some
from pipeline.methods.heads import Heads, composite_names
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.config import Config

UNNAMED = re.compile(r"(Unnamed: \d+)?")  # what pandas calls a column without a name


def read_sample(config: Config) -> pd.DataFrame:
    """Read the sample submission, every cell as text; raise InputError where there is none."""
    root, name = find_root(config.data.root), config.data.sample_submission
    if root is None:
        raise InputError(f"{config.data.root}: data.root is no folder; the submission needs its sample")
    if (found := find_sample([root], name)) is None:
        raise InputError(f"{root / name}: data.sample_submission is missing; the submission copies its form")
    return found.table


def find_sample(folders: Sequence[Path], name: str) -> Rows | None:
    """Read the first sample of this name below the folders, None where there is none; any kind of table will do.

    Raises InputError where it cannot be read.
    """
    for folder in folders:
        try:
            return tables.read(folder, name)
        except FileNotFoundError:
            continue
        except (ValueError, OSError) as error:
            raise InputError(f"{folder / name}: {error}") from None
    return None


def id_name(sample: pd.DataFrame, config: Config) -> str:
    """Return the sample's id column: submission.id, else data.id as far as it has one, else its first named column."""
    asked, columns = config.submission.id, [str(column) for column in sample.columns]
    if asked in columns:
        return str(asked)
    named = [column for column in columns if not UNNAMED.fullmatch(column)]
    return id_column(sample, config.data) or next(iter(named), columns[0])


def check_sample(sample: pd.DataFrame, config: Config, classes: Sequence[str]) -> list[str]:
    """Return why this sample cannot be filled in, before anything is computed."""
    place, own = config.data.sample_submission, config.submission
    columns = [str(column) for column in sample.columns]
    defects = []
    if own.id is not None and own.id not in columns:
        defects.append(f"{place}: no column '{own.id}' (submission.id){nearest(own.id, columns)}")
    try:
        classes = answers(config, classes)
    except ValueError as error:
        return [*defects, f"submission.composite: {error}"]
    wanted = to_fill(sample, config)
    if sample.empty:
        defects.append(f"{place}: has no rows, expected one per test id")
    defects += decisions.class_problems(config, classes)
    for name in own.labels:
        if name not in classes:
            defects.append(f"submission.labels: unknown class '{name}'; known: {some(classes)}")
    if not wanted:
        return [*defects, f"{place}: has only the column '{columns[0]}', expected one to fill in"]
    named = own.columns or {}
    for column in named:
        if column not in wanted:
            defects.append(f"submission.columns: '{column}' is no column of {place}; it has {some(wanted)}")
    for column, name in named.items():
        if name not in classes:
            defects.append(f"submission.columns: unknown class '{name}' under '{column}'; known: {some(classes)}")
    defects += _cell_problems(wanted, config, classes)
    if len(wanted) == 1:
        return defects
    filled = [named.get(column, column) for column in wanted]
    for column, name in zip(wanted, filled, strict=True):
        if name not in classes and column not in named:
            remedy = f"name its class under submission.columns; known: {some(classes)}"
            defects.append(f"{place}: column '{column}' is no class; {remedy}")
    times = Counter(filled)
    for name in classes:
        if times[name] != 1:
            defects.append(f"{place}: class '{name}' has {times[name]} columns, expected 1; see submission.columns")
    return defects


def answers(config: Config, classes: Sequence[str]) -> Sequence[str]:
    """Return the classes that are handed in: those of several heads are their combinations."""
    heads = heads_of(config, classes)
    return composite_names(classes, heads, config.submission.composite) if heads else classes


def heads_of(config: Config, classes: Sequence[str]) -> Heads:
    """Return the heads that these classes belong to; none where they are combinations already."""
    names = config.data.targets
    side_by_side = classes[0].startswith(f"{names[0]}=") and classes[-1].startswith(f"{names[-1]}=")
    return config.data.heads_of(classes) if side_by_side else ()


def to_fill(sample: pd.DataFrame, config: Config) -> list[str]:
    """Return the columns that are filled in, in their order."""
    own = id_name(sample, config)
    return [str(name) for name in sample.columns if name != own and not UNNAMED.fullmatch(str(name))]


def _cell_problems(wanted: list[str], config: Config, classes: Sequence[str]) -> list[str]:
    """Return why `submission.cell` does not go with the task or with so many columns."""
    cell, task = config.submission.cell, TASKS[config.data.task]
    known = wanted[0] in classes or wanted[0] in (config.submission.columns or {})
    if (cell == "value") != task.regression and cell != "auto":
        fitting = "value" if task.regression else "probability, label, class_id, top"
        return [f"submission.cell: found {cell}, a {task.name} task has {fitting}"]
    if len(wanted) > 1:
        if cell in ("class_id", "top"):
            return [f"submission.cell: found {cell}, which is one column; the sample has {some(wanted)}"]
        return []
    if task.regression and len(classes) > 1 and not known:
        return [f"{config.data.sample_submission}: has one column, '{wanted[0]}', for the values {some(classes)}"]
    if cell == "probability" and len(classes) > 2 and not known:
        return [
            f"submission.cell: found probability, but '{wanted[0]}' is one column for {len(classes)} classes; "
            "use label, or name its class under submission.columns"
        ]
    return []

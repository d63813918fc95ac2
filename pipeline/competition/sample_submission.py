"""Read the sample submission and say whether it can be filled in, before anything is computed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.competition import tables
from pipeline.competition.data_root import find_root, no_root
from pipeline.competition.rows.rows import Rows, id_column
from pipeline.competition.samples import columns as sample_columns
from pipeline.competition.samples import long_rows, made, spelling
from pipeline.competition.tables.file_names import Missing
from pipeline.config.rules import decisions
from pipeline.errors import InputError, Problem, nearest, problems_of, some
from pipeline.methods.heads import Heads, composite_names
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.config import Config

NO_SAMPLE = "data.sample_submission: null where there is none"
UNNAMED = re.compile(r"(Unnamed: \d+)?")  # what pandas calls a column without a name


def read_sample(config: Config) -> pd.DataFrame:
    """Read the sample submission, every cell as text; raise InputError where there is none.

    Without rows, of the id column alone, where the config says that the competition has none.
    """
    root, name = find_root(config.data.root), config.data.sample_submission
    if name is None:
        return made.form([], config, []).iloc[:, :1]
    if root is None:
        raise InputError(no_root(config.data.root))
    if (found := find_sample([root], name)) is None:
        why = "data.sample_submission is missing"
        raise InputError(Problem(str(root / name), why, remedy=f"the submission copies its form; {NO_SAMPLE}"))
    return found.table


def find_sample(folders: Sequence[Path], name: str) -> Rows | None:
    """Read the first sample of this name below the folders, None where there is none; any kind of table will do.

    Raises InputError where it cannot be read.
    """
    for folder in folders:
        try:
            return tables.read(folder, name)
        except Missing:
            continue
        except (ValueError, OSError) as error:
            problems = problems_of(error) if isinstance(error, ValueError) else [Problem("", str(error))]
            raise InputError(*(one.below(str(folder / name)) for one in problems)) from None
    return None


def id_name(sample: pd.DataFrame, config: Config) -> str:
    """Return the sample's id column: submission.id, else data.id as far as it has one, else its first named column."""
    asked, columns = config.submission.id, [str(column) for column in sample.columns]
    if asked in columns:
        return str(asked)
    named = [column for column in columns if not UNNAMED.fullmatch(column) and column != config.submission.rows]
    return id_column(sample, config.data) or next(iter(named), columns[0])


def check_sample(sample: pd.DataFrame, config: Config, classes: Sequence[str]) -> list[Problem]:
    """Return why this sample cannot be filled in, before anything is computed."""
    place, own = config.data.sample_name, config.submission
    columns = [str(column) for column in sample.columns]
    found = []
    if own.id is not None and own.id not in columns:
        found.append(Problem(place, f"no column '{own.id}' (submission.id)", remedy=nearest(own.id, columns)))
    try:
        classes = answers(config, classes)
    except ValueError as error:
        return [*found, *(one.below("submission.composite") for one in problems_of(error))]
    wanted = to_fill(sample, config)
    if sample.empty:
        found.append(Problem(place, "has no rows", "one per test id"))
    found += decisions.class_problems(config, classes)
    unknown = [name for name in own.labels if name not in classes]
    known = f"known: {some(classes)}"
    found += [Problem("submission.labels", f"unknown class '{name}'", remedy=known) for name in unknown]
    if not wanted:
        return [*found, Problem(place, f"has only the column '{columns[0]}'", "one to fill in")]
    if own.rows is not None:
        return found + long_rows.problems(sample, id_name(sample, config), wanted, config, classes)
    found += _cell_problems(wanted, config, classes) + sample_columns.problems(wanted, config, classes)
    single = len(wanted) == 1 and TASKS[config.data.task].single_label
    if single and sample_columns.cell_kind(sample[wanted], config, classes) == "label":
        problem = spelling.mismatch(classes, sample[wanted[0]])
        found += [problem] if problem is not None and not own.labels and sample[wanted[0]].nunique() > 1 else []
    return found


def notes(sample: pd.DataFrame, config: Config, classes: Sequence[str]) -> list[str]:
    """Say where labels are numbers and the sample has one word in every cell, which may stand for no label."""
    wanted, own = to_fill(sample, config), config.submission
    if len(wanted) != 1 or own.labels or own.rows is not None or not TASKS[config.data.task].single_label:
        return []
    label = sample_columns.cell_kind(sample[wanted], config, answers(config, classes)) == "label"
    problem = spelling.mismatch(answers(config, classes), sample[wanted[0]]) if label else None
    return [] if problem is None or sample[wanted[0]].nunique() > 1 else [str(problem)]


def answers(config: Config, classes: Sequence[str]) -> Sequence[str]:
    """Return the classes that are submitted: those of several heads are their combinations."""
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
    columns = [str(name) for name in sample.columns if name not in (own, config.submission.rows)]
    return [name for name in columns if not UNNAMED.fullmatch(name)]


def asked_ids(sample: pd.DataFrame, config: Config) -> list[str]:
    """Return the id that each row asks for; blank where a row of `submission.rows` cannot be read."""
    column, rows = id_name(sample, config), config.submission.rows
    readable = rows is not None and (rows in sample or "{" in rows)
    return long_rows.asked(sample, column, config)[0] if readable else sample[column].tolist()


def with_classes(config: Config, sample: pd.DataFrame) -> Config:
    """Return the config with the sample's columns as its classes where `data.classes` says that, else as it is."""
    if config.data.classes != "sample":
        return config
    named, columns = config.submission.columns or {}, to_fill(sample, config)
    classes = list(dict.fromkeys(one for name in columns for one in sample_columns.held(named.get(name, name))[0]))
    return config.model_copy(update={"data": config.data.model_copy(update={"classes": classes})})


def _cell_problems(wanted: list[str], config: Config, classes: Sequence[str]) -> list[Problem]:
    """Return why `submission.cell` does not go with the task or with so many columns."""
    cell, task = config.submission.cell, TASKS[config.data.task]
    known = wanted[0] in classes or wanted[0] in (config.submission.columns or {})
    found, remedy = "", ""
    if (cell == "value") != task.regression and cell != "auto":
        fitting = "value" if task.regression else "probability, label, class_id, top"
        found = f"found {cell}, a {task.name} task has {fitting}"
    elif len(wanted) > 1 and cell in ("class_id", "top"):
        found = f"found {cell}, which is one column; the sample has {some(wanted)}"
    elif len(wanted) == 1 and task.regression and len(classes) > 1 and not known:
        where = config.data.sample_name
        return [Problem(where, f"has one column, '{wanted[0]}', for the values {some(classes)}")]
    elif len(wanted) == 1 and cell == "probability" and len(classes) > 2 and not known:
        found = f"found probability, but '{wanted[0]}' is one column for {len(classes)} classes"
        remedy = "use label, or name its class under submission.columns"
    return [Problem("submission.cell", found, remedy=remedy)] if found else []

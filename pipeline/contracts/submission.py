"""Turn probabilities into the table that the competition accepts: the sample submission, filled in.

Columns, ids, their order and repeats are the sample's. What stands in a cell (`submission.cell: auto`):

- one column per class, by its name or by `submission.columns` (sample column -> class): the probability;
- one column called like a class or given one: the probability of that class;
- another one, multiclass: the label as the training table writes it;
- another one, binary: the probability of the positive class, the second, where some sample cell is a decimal
  number (0.5, not 1) or the metric reads probabilities or their order; the label otherwise;
- another one, multilabel: the labels of at least ½, joined by `data.separator` or a space.

`cell: label` in one column per class gives 1 and 0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.contracts.artifacts import read_text_table
from pipeline.contracts.datafolder import find_root
from pipeline.contracts.defects import id_column
from pipeline.contracts.errors import InputError, MismatchError
from pipeline.contracts.task import TASKS
from pipeline.parts.metrics import METRICS

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.contracts.config import Config

Array = np.ndarray[Any, np.dtype[Any]]
DECIMAL = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?|[+-]?\d+[eE][+-]?\d+")
SHOWN = 5  # ids that a defect lists


def read_sample(config: Config) -> pd.DataFrame:
    """Read the sample submission, every cell as text; raise InputError where there is none."""
    root = find_root(config.data.root)
    if root is None:
        raise InputError(f"{config.data.root}: data.root is no folder; the submission needs its sample")
    path = root / config.data.sample_submission
    try:
        return read_text_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: data.sample_submission is missing; the submission copies its form") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not readable as CSV: {' '.join(str(error).split())}") from None


def check_sample(sample: pd.DataFrame, config: Config, classes: Sequence[str]) -> list[str]:
    """Return why this sample cannot be filled in, before anything is computed."""
    place = config.data.sample_submission
    columns = [str(column) for column in sample.columns]
    wanted = columns.copy()
    wanted.remove(_id(sample, config))
    defects = []
    if sample.empty:
        defects.append(f"{place}: has no rows, expected one per test id")
    if not wanted:
        return [*defects, f"{place}: has only the column '{columns[0]}', expected one to fill in"]
    named = config.submission.columns or {}
    for column in named:
        if column not in wanted:
            defects.append(f"submission.columns: '{column}' is no column of {place}; it has {_some(wanted)}")
    for column, name in named.items():
        if name not in classes:
            defects.append(f"submission.columns: unknown class '{name}' under '{column}'; known: {_some(classes)}")
    if len(wanted) == 1:
        return defects + _check_single(wanted[0], config, classes)
    filled = [named.get(column, column) for column in wanted]
    for column, name in zip(wanted, filled, strict=True):
        if name not in classes and column not in named:
            remedy = f"name its class under submission.columns; known: {_some(classes)}"
            defects.append(f"{place}: column '{column}' is no class; {remedy}")
    for name in classes:
        if (times := filled.count(name)) != 1:
            defects.append(f"{place}: class '{name}' has {times} columns, expected 1; see submission.columns")
    return defects


def build(sample: pd.DataFrame, config: Config, classes: Sequence[str], ids: Array, probs_NC: Array) -> pd.DataFrame:
    """Return the sample with its cells filled in, probabilities with all their digits.

    Raises InputError where the sample is wrong, MismatchError where our predictions are: an id missing,
    unknown or twice, a value that is NaN, infinite or outside [0, 1].
    """
    if defects := check_sample(sample, config, classes):
        raise InputError(*defects)
    id_name = _id(sample, config)
    asked = sample[id_name].tolist()
    if defects := _misfits(asked, ids, probs_NC, config.data.sample_submission):
        raise MismatchError(*defects)
    row = {name: n for n, name in enumerate(ids.tolist())}
    filled_NC = probs_NC[[row[name] for name in asked]]
    built = sample.copy()
    for column, cells in _cells(sample.drop(columns=id_name), config, classes, filled_NC).items():
        built[column] = cells
    return built


def _id(sample: pd.DataFrame, config: Config) -> str:
    """Return the sample's id column: data.id as far as it has one, else its first column."""
    return id_column(sample, config.data) or str(sample.columns[0])


def _misfits(asked: list[str], ids: Array, probs_NC: Array, place: str) -> list[str]:
    known, wanted = set(ids.tolist()), set(asked)
    kinds = {
        f"ids of {place} are not predicted": [name for name in dict.fromkeys(asked) if name not in known],
        f"predicted ids are unknown in {place}": [name for name in ids.tolist() if name not in wanted],
        "ids are predicted twice": [name for name, times in Counter(ids.tolist()).items() if times > 1],
        "ids have a NaN or infinite value": ids[~np.isfinite(probs_NC).all(1)].tolist(),
        "ids have a value outside [0, 1]": ids[((probs_NC < 0) | (probs_NC > 1)).any(1)].tolist(),
    }
    return [f"submission: {len(found)} {kind}: {_some(found)}; predict again" for kind, found in kinds.items() if found]


def _check_single(column: str, config: Config, classes: Sequence[str]) -> list[str]:
    known = column in classes or column in (config.submission.columns or {})
    if config.submission.cell == "probability" and len(classes) > 2 and not known:
        return [
            f"submission.cell: found probability, but '{column}' is one column for {len(classes)} classes; "
            "use label, or name its class under submission.columns"
        ]
    return []


def _cells(
    sample: pd.DataFrame, config: Config, classes: Sequence[str], probs_NC: Array
) -> dict[str, Array | list[str]]:
    """Return each column's cells; the module's docstring has the rule."""
    task, named = TASKS[config.data.task], config.submission.columns or {}
    columns = [str(column) for column in sample.columns]
    single, cell = len(columns) == 1, config.submission.cell
    if cell == "auto":
        cell = "probability" if not single or _is_probability(sample[columns[0]], config, classes) else "label"
    if single and cell == "label":
        joiner = config.data.separator or " "
        labels = task.labels(probs_NC)
        if task.exclusive:
            return {columns[0]: [classes[c] for c in labels]}
        return {columns[0]: [joiner.join(np.asarray(classes)[hits == 1]) for hits in labels]}
    if cell == "label":
        labels = task.labels(probs_NC)
        probs_NC = (labels[:, None] == np.arange(len(classes))).astype(int) if task.exclusive else labels
    last = classes[-1]
    return {
        column: probs_NC[:, list(classes).index(named.get(column, column if column in classes else last))]
        for column in columns
    }


def _is_probability(cells: pd.Series[str], config: Config, classes: Sequence[str]) -> bool:
    if str(cells.name) in {*classes, *(config.submission.columns or {})}:
        return True
    if len(classes) != 2 or not TASKS[config.data.task].exclusive:
        return False
    if METRICS[config.metric].reads != "labels":
        return True
    return any(DECIMAL.fullmatch(cell.strip()) for cell in cells)


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:SHOWN])) + (", …" if len(names) > SHOWN else "")

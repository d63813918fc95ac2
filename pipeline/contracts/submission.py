"""Turn predictions into the table that the competition accepts: the sample submission, filled in.

Columns, rows and their order are the sample's: an id that it repeats is answered in each of its rows, and an
index column without a name is copied. What stands in a cell (`submission.cell: auto`):

- values of a regression, as they were decided: whole ones without a decimal point;
- one column per class, by its name or by `submission.columns` (sample column -> class): the probability;
- one column called like a class or given one: the probability of that class;
- another one, where the metric reads a ranking: the most probable labels, the best first;
- another one, binary: the probability of the positive class, the second, where some sample cell is a decimal
  number (0.5, not 1) or the metric reads probabilities or their order; the label otherwise;
- another one: the label as the training table writes it, or the labels, joined; `data.empty` where there is none.

`cell: label` in one column per class gives 1 and 0. Labels are what was decided (`decision`), written as
`submission.labels` says. Where the metric reads no labels and a decision was made none the less, as a threshold
for the probabilistic F1, it stands in place of the probabilities.

Predictions that keep the most probable classes alone fill labels and rankings as all others do; one column per
class only where that is not too large, a class that is not kept with its even share of what is left of 1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.contracts import deciding
from pipeline.contracts.artifacts import read_text_table
from pipeline.contracts.datafolder import find_root
from pipeline.contracts.defects import id_column
from pipeline.contracts.errors import InputError, MismatchError
from pipeline.contracts.task import TASKS
from pipeline.contracts.templates import nearest
from pipeline.parts import wide
from pipeline.parts.heads import Heads, composite, composite_names
from pipeline.parts.metrics import find

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.contracts.config import Config

Array = np.ndarray[Any, np.dtype[Any]]
DECIMAL = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?|[+-]?\d+[eE][+-]?\d+")
UNNAMED = re.compile(r"(Unnamed: \d+)?")  # what pandas calls a column without a name
SHOWN = 5  # ids that a defect lists
TOP = 5  # labels of a list whose metric names no number
MOST_CELLS = 2**26  # of a submission from the most probable classes: 0.5 GB a variant


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
        classes = _answers(config, classes)
    except ValueError as error:
        return [*defects, f"submission.composite: {error}"]
    wanted = _wanted(sample, config)
    if sample.empty:
        defects.append(f"{place}: has no rows, expected one per test id")
    defects += deciding.class_problems(config, classes)
    for name in own.labels:
        if name not in classes:
            defects.append(f"submission.labels: unknown class '{name}'; known: {_some(classes)}")
    if not wanted:
        return [*defects, f"{place}: has only the column '{columns[0]}', expected one to fill in"]
    named = own.columns or {}
    for column in named:
        if column not in wanted:
            defects.append(f"submission.columns: '{column}' is no column of {place}; it has {_some(wanted)}")
    for column, name in named.items():
        if name not in classes:
            defects.append(f"submission.columns: unknown class '{name}' under '{column}'; known: {_some(classes)}")
    defects += _cell_problems(wanted, config, classes)
    if len(wanted) == 1:
        return defects
    filled = [named.get(column, column) for column in wanted]
    for column, name in zip(wanted, filled, strict=True):
        if name not in classes and column not in named:
            remedy = f"name its class under submission.columns; known: {_some(classes)}"
            defects.append(f"{place}: column '{column}' is no class; {remedy}")
    times = Counter(filled)
    for name in classes:
        if times[name] != 1:
            defects.append(f"{place}: class '{name}' has {times[name]} columns, expected 1; see submission.columns")
    return defects


def build(
    sample: pd.DataFrame,
    config: Config,
    classes: Sequence[str],
    ids: Array,
    probs_NC: Array,
    decided_NC: Array | None = None,
) -> pd.DataFrame:
    """Return the sample with its cells filled in, probabilities with all their digits.

    Probabilities of several heads side by side are combined. `decided_NC` are the labels or final values, see
    parts.decisions; None: by the config's rules, without a fit.
    Raises InputError where the sample is wrong, MismatchError where our predictions are: an id missing,
    unknown or twice, a value that is NaN or infinite, a probability outside [0, 1].
    """
    if defects := check_sample(sample, config, classes):
        raise InputError(*defects)
    if heads := _heads(config, classes):
        probs_NC, classes = composite(probs_NC, heads), _answers(config, classes)
    id_column_name = id_name(sample, config)
    asked = sample[id_column_name].tolist()
    if defects := _misfits(asked, ids, probs_NC, config):
        raise MismatchError(*defects)
    if decided_NC is not None and find(config.metric).reads != "labels":
        probs_NC = decided_NC
    row = {name: n for n, name in enumerate(ids.tolist())}
    rows_S = np.asarray([row[name] for name in asked])
    built = sample.copy()
    for column, cells in _cells(sample, config, classes, probs_NC, decided_NC).items():
        built[column] = cells[rows_S]
    built.columns = ["" if UNNAMED.fullmatch(str(column)) else column for column in built.columns]
    return built


def _answers(config: Config, classes: Sequence[str]) -> Sequence[str]:
    """Return the classes that are handed in: those of several heads are their combinations."""
    heads = _heads(config, classes)
    return composite_names(classes, heads, config.submission.composite) if heads else classes


def _heads(config: Config, classes: Sequence[str]) -> Heads:
    """Return the heads that these classes belong to; none where they are combinations already."""
    names = config.data.targets
    side_by_side = classes[0].startswith(f"{names[0]}=") and classes[-1].startswith(f"{names[-1]}=")
    return TASKS[config.data.task].heads(classes, config.data) if side_by_side else ()


def _wanted(sample: pd.DataFrame, config: Config) -> list[str]:
    own = id_name(sample, config)
    return [str(name) for name in sample.columns if name != own and not UNNAMED.fullmatch(str(name))]


def _misfits(asked: list[str], ids: Array, probs_NC: Array, config: Config) -> list[str]:
    place, listed = config.data.sample_submission, ids.tolist()
    known, wanted = set(listed), set(asked)
    bounds = (-np.inf, np.inf) if TASKS[config.data.task].values else (0, 1)
    held_NX = probs_NC.values_NK if isinstance(probs_NC, wide.Top) else probs_NC
    outside_N = ((held_NX < bounds[0]) | (held_NX > bounds[1])).any(1)
    kinds = {
        f"ids of {place} are not predicted": [name for name in dict.fromkeys(asked) if name not in known],
        f"predicted ids are unknown in {place}": [name for name in listed if name not in wanted],
        "ids are predicted twice": [name for name, times in Counter(listed).items() if times > 1],
        "ids have a NaN or infinite value": ids[~np.isfinite(held_NX).all(1)].tolist(),
        "ids have a value outside [0, 1]": ids[outside_N].tolist(),
    }
    return [f"submission: {len(found)} {kind}: {_some(found)}; predict again" for kind, found in kinds.items() if found]


def _cell_problems(wanted: list[str], config: Config, classes: Sequence[str]) -> list[str]:
    """Return why `submission.cell` does not go with the task or with so many columns."""
    cell, task = config.submission.cell, TASKS[config.data.task]
    known = wanted[0] in classes or wanted[0] in (config.submission.columns or {})
    if (cell == "value") != task.values and cell != "auto":
        fitting = "value" if task.values else "probability, label, class_id, top"
        return [f"submission.cell: found {cell}, a {task.name} task has {fitting}"]
    if len(wanted) > 1:
        if cell in ("class_id", "top"):
            return [f"submission.cell: found {cell}, which is one column; the sample has {_some(wanted)}"]
        return []
    if task.values and len(classes) > 1 and not known:
        return [f"{config.data.sample_submission}: has one column, '{wanted[0]}', for the values {_some(classes)}"]
    if cell == "probability" and len(classes) > 2 and not known:
        return [
            f"submission.cell: found probability, but '{wanted[0]}' is one column for {len(classes)} classes; "
            "use label, or name its class under submission.columns"
        ]
    return []


def _cells(
    sample: pd.DataFrame, config: Config, classes: Sequence[str], probs_NC: Array, decided_NC: Array | None
) -> dict[str, Array]:
    """Return each column's cells for the predicted rows; the module's docstring has the rule."""
    named, columns = config.submission.columns or {}, _wanted(sample, config)
    asked = config.submission.cell
    cell = _auto(sample[columns], config, classes) if asked == "auto" else asked
    if len(columns) == 1 and cell in ("label", "class_id", "top"):
        return {columns[0]: _texts(cell, config, classes, probs_NC, decided_NC)}
    if cell != "probability":
        probs_NC = _hard(config, classes, probs_NC, decided_NC)
    number = {name: c for c, name in enumerate(classes)}
    shown = [number[named.get(column, column if column in number else classes[-1])] for column in columns]
    if isinstance(probs_NC, wide.Top) and len(probs_NC) * len(columns) > MOST_CELLS:
        raise InputError(
            f"{config.data.sample_submission}: wants {len(probs_NC):,} × {len(columns):,} cells, more than the "
            f"{MOST_CELLS:,} that are written; submission.cell: label, class_id or top need one column"
        )
    cells = {column: _cell(probs_NC, c, cell) for column, c in zip(columns, shown, strict=True)}
    if cell == "probability":
        return cells
    return {column: _whole(cell_N) for column, cell_N in cells.items()}


def _cell(probs_NC: Array, column: int, cell: str) -> Array:
    """Return one class's cells [N]."""
    if not isinstance(probs_NC, wide.Top):
        return probs_NC[:, column]
    if cell != "probability":
        return np.asarray(probs_NC.argmax(1) == column, dtype=np.float32)
    return probs_NC.of(np.full(len(probs_NC), column))


def _auto(cells: pd.DataFrame, config: Config, classes: Sequence[str]) -> str:
    """Return what kind of cell the sample wants."""
    task, reads, column = TASKS[config.data.task], find(config.metric).reads, str(cells.columns[0])
    if task.values:
        return "value"
    if len(cells.columns) > 1 or column in {*classes, *(config.submission.columns or {})}:
        return "probability"
    if reads == "ranking":
        return "top"
    if len(classes) != 2 or not task.exclusive:
        return "label"
    decimal = any(DECIMAL.fullmatch(cell.strip()) for cell in cells[column])
    return "probability" if reads != "labels" or decimal else "label"


def _texts(cell: str, config: Config, classes: Sequence[str], probs_NC: Array, decided_NC: Array | None) -> Array:
    """Return a row's label or labels in one cell, or its most probable ones."""
    own, task = config.submission, TASKS[config.data.task]
    joiner = own.joiner if own.joiner is not None else config.data.separator or " "
    names = [str(c) if cell == "class_id" else own.labels.get(name, name) for c, name in enumerate(classes)]
    if cell == "top":
        best_NK = wide.top(probs_NC, own.top or _length(config.metric)).columns_NK
        found = [joiner.join(names[c] for c in best_K) for best_K in best_NK.tolist()]
    elif task.exclusive:
        hard_NC = probs_NC if decided_NC is None else decided_NC
        found = [names[c] for c in hard_NC.argmax(1).tolist()]
    else:
        hard_NC = _hard(config, classes, probs_NC, decided_NC)
        said = [np.flatnonzero(row_C >= 0.5).tolist() for row_C in hard_NC]
        found = [joiner.join(names[c] for c in row) or config.data.empty or "" for row in said]
    return np.asarray(found, dtype=object)


def _length(metric: str) -> int:
    """Return how many labels a ranking metric reads."""
    named = re.fullmatch(r"[a-z]+@([0-9]+)", metric)
    return int(named[1]) if named else TOP


def _hard(config: Config, classes: Sequence[str], probs_NC: Array, decided_NC: Array | None) -> Array:
    """Return what was decided, else what the config's rules decide without a fit."""
    return deciding.unfitted(config, classes, probs_NC) if decided_NC is None else decided_NC


def _whole(cell_N: Array) -> Array:
    """Return whole numbers as integers: a grader of classes refuses 3.0."""
    return cell_N.astype(np.int64) if (cell_N == np.rint(cell_N)).all() else cell_N


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:SHOWN])) + (", …" if len(names) > SHOWN else "")

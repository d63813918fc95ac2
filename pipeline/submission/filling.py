"""Turn predictions into the table that the competition accepts: the sample submission, filled in.

Without a sample (`data.sample_submission: null`) the test's ids make one (samples/made.py).
Columns, rows and their order are the sample's: an id that it repeats is answered in each of its rows, and an
index column without a name is copied. What stands in a cell (`submission.cell: auto`):

- values of a regression, as they were decided: whole ones without a decimal point;
- one column per class, by its name or by `submission.columns` (sample column -> class, or a sum of exclusive ones):
  the probability;
- one column called like a class or given one: the probability of that class;
- a row per id and class (`submission.rows`): as in one column per class;
- another one, where the metric reads a ranking: the most probable labels, the best first;
- another one, binary: the probability of the class whose name stands in the column's (prob_cat), or of the positive
  one, the second, where some sample cell is a decimal number (0.5, not 1) or the metric reads probabilities or their
  order; the label otherwise;
- another one: the label, or the labels, joined; `data.empty` where there is none.

`cell: label` in one column per class gives 1 and 0. Labels are what was decided (`decision`), written as
`submission.labels` says, or as the sample writes its own (samples/spelling.py), as are decimal commas. Where the metric
reads no labels and a decision was made none the less, as a threshold for the probabilistic F1, it stands in place of
the probabilities.

Predictions that keep only the most probable classes fill labels and rankings as all others do; one column per
class only where that is not too large, a class that is not kept with its even share of what is left of 1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition.sample_submission import UNNAMED, answers, asked_ids, check_sample, heads_of, id_name, to_fill
from pipeline.competition.samples import columns as sample_columns
from pipeline.competition.samples import long_rows, made, spelling
from pipeline.config.rules import decisions
from pipeline.errors import InputError, MismatchError, Problem, some
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.heads import composite
from pipeline.methods.metrics import find
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.config import Config

COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?")  # decimal
TOP = 5  # labels of a list whose metric names no number
MOST_CELLS = 2**26  # of a submission from the most probable classes: 0.5 GB a variant


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
    config/rules/decisions.py; None: by the config's rules, without a fit.
    Raises InputError where the sample is wrong, MismatchError where our predictions are: an id missing,
    unknown or twice, a value that is NaN or infinite, a probability outside [0, 1].
    """
    if config.data.sample_submission is None:
        sample = made.form(ids.tolist(), config, answers(config, classes))
    if problems := check_sample(sample, config, classes):
        raise InputError(*problems)
    if heads := heads_of(config, classes):
        probs_NC, classes = composite(probs_NC, heads), answers(config, classes)
    asked = asked_ids(sample, config)
    if problems := _misfits(asked, ids, probs_NC, config):
        raise MismatchError(*problems)
    if decided_NC is not None and find(config.metric).reads != "labels":
        probs_NC = decided_NC
    row = {name: n for n, name in enumerate(ids.tolist())}
    rows_S = np.asarray([row[name] for name in asked])
    built = sample.copy()
    if config.submission.rows is not None:
        built[to_fill(sample, config)[0]] = _long(sample, config, classes, probs_NC, decided_NC, rows_S)
    else:
        for column, cells in _cells(sample, config, classes, probs_NC, decided_NC).items():
            built[column] = cells[rows_S]
    built.columns = ["" if UNNAMED.fullmatch(str(column)) else column for column in built.columns]
    return built


def _long(
    sample: pd.DataFrame,
    config: Config,
    classes: Sequence[str],
    probs_NC: Array,
    decided_NC: Array | None,
    rows_S: Array,
) -> Array:
    """Return the cells [S] of a sample with a row per id and class: those of one with a column per class."""
    own = id_name(sample, config)
    (column,), (_, named) = to_fill(sample, config), long_rows.asked(sample, own, config)
    wide = sample[[own]].assign(**dict.fromkeys(classes, sample[column]))
    plain = config.submission.model_copy(update={"rows": None, "columns": None, "id": own})
    cells = _cells(wide, config.model_copy(update={"submission": plain}), classes, probs_NC, decided_NC)
    return np.asarray([cells[name][row] for name, row in zip(named, rows_S.tolist(), strict=True)], dtype=object)


def _misfits(asked: list[str], ids: Array, probs_NC: Array, config: Config) -> list[Problem]:
    place, listed = config.data.sample_name, ids.tolist()
    known, wanted = set(listed), set(asked)
    bounds = (-np.inf, np.inf) if TASKS[config.data.task].regression else (0, 1)
    held_NX = probs_NC.values_NK if isinstance(probs_NC, topk.Top) else probs_NC
    outside_N = ((held_NX < bounds[0]) | (held_NX > bounds[1])).any(1)
    kinds = {
        f"ids of {place} are not predicted": [name for name in dict.fromkeys(asked) if name not in known],
        f"predicted ids are unknown in {place}": [name for name in listed if name not in wanted],
        "ids are predicted twice": [name for name, times in Counter(listed).items() if times > 1],
        "ids have a NaN or infinite value": ids[~np.isfinite(held_NX).all(1)].tolist(),
        "ids have a value outside [0, 1]": ids[outside_N].tolist(),
    }
    texts = [f"{len(found)} {kind}: {some(found)}" for kind, found in kinds.items() if found]
    return [Problem("submission", text, remedy="predict again") for text in texts]


def _cells(
    sample: pd.DataFrame, config: Config, classes: Sequence[str], probs_NC: Array, decided_NC: Array | None
) -> dict[str, Array]:
    """Return each column's cells for the predicted rows; the module's docstring has the rule."""
    named, columns, task = config.submission.columns or {}, to_fill(sample, config), TASKS[config.data.task]
    cell = sample_columns.cell_kind(sample[columns], config, classes)
    is_text = len(columns) == 1 and cell in ("label", "class_id", "top")
    if is_text and cell == "label" and columns[0] in named:
        is_text = not sample_columns.held(named[columns[0]])[2]  # of a sum, 1 and 0
    if cell in ("probability", "top") or (is_text and task.single_label and decided_NC is None):
        shown_NC = probs_NC
    else:
        shown_NC = decisions.unfitted(config, classes, probs_NC) if decided_NC is None else decided_NC
    if is_text:
        return {columns[0]: _texts(cell, config, classes, shown_NC, sample[columns[0]])}
    if isinstance(shown_NC, topk.Top) and len(shown_NC) * len(columns) > MOST_CELLS:
        found = f"wants {len(shown_NC):,} × {len(columns):,} cells, more than the {MOST_CELLS:,} that are written"
        remedy = "submission.cell: label, class_id or top need one column"
        raise InputError(Problem(config.data.sample_name, found, remedy=remedy))
    shown = sample_columns.shown(columns, config, classes)
    cells = {column: one.of(partial(_cell, shown_NC, cell)) for column, one in shown.items()}
    if cell != "probability":  # a grader of classes refuses 3.0
        cells |= {name: cell_N.astype(np.int64) for name, cell_N in cells.items() if (cell_N == np.rint(cell_N)).all()}
    return {name: _as_written(cell_N, cell, sample[name]) for name, cell_N in cells.items()}


def _as_written(cell_N: Array, cell: str, sample: pd.Series[str]) -> Array:
    """Return numbers as the sample writes its own: with a decimal comma, or 1 and 0 as True and False."""
    if cell == "label" and cell_N.dtype == np.int64:
        word = spelling.spelled(["0", "1"], sample)
        return cell_N if word["1"] == "1" else np.asarray([word[str(one)] for one in cell_N.tolist()], dtype=object)
    decimals = [text for text in sample.unique() if re.search("[.,]", text)]
    if not decimals or not all(COMMA.fullmatch(text.strip()) for text in decimals):
        return cell_N
    return np.asarray([repr(one).replace(".", ",") for one in cell_N.tolist()], dtype=object)


def _cell(shown_NC: Array, cell: str, column: int) -> Array:
    """Return one class's cells [N]."""
    if not isinstance(shown_NC, topk.Top):
        return shown_NC[:, column]
    if cell != "probability":
        return np.asarray(shown_NC.argmax(1) == column, dtype=np.float32)
    return shown_NC.of(np.full(len(shown_NC), column))


def _texts(cell: str, config: Config, classes: Sequence[str], shown_NC: Array, sample: pd.Series[str]) -> Array:
    """Return a row's label or labels in one cell, or its most probable ones, spelt as the sample spells them."""
    own, task = config.submission, TASKS[config.data.task]
    joiner = own.joiner if own.joiner is not None else config.data.separator or " "
    held = sample.unique().tolist()
    if cell == "top" or not task.single_label:
        held = [part for text in held for part in text.split(joiner)]
    spelt = spelling.spelled(classes, held)
    names = [str(c) if cell == "class_id" else own.labels.get(name, spelt[name]) for c, name in enumerate(classes)]
    if cell == "top":
        read = re.fullmatch(r"[a-z]+@([0-9]+)", config.metric)
        best_NK = topk.top(shown_NC, own.top or (int(read[1]) if read else TOP)).columns_NK
        found = [joiner.join(names[c] for c in best_K) for best_K in best_NK.tolist()]
    elif task.single_label:
        found = [names[c] for c in shown_NC.argmax(1).tolist()]
    else:
        columns = [np.flatnonzero(row_C >= 0.5).tolist() for row_C in shown_NC]
        found = [joiner.join(names[c] for c in row) or config.data.empty or "" for row in columns]
    return np.asarray(found, dtype=object)

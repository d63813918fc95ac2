"""Assign folds by a column of the training table: its own folds, or blocks in the order of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition import fold_columns
from pipeline.errors import InputError, Problem, Refused
from pipeline.folds.rows import FoldRows
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    from pipeline.competition.competition import Competition
    from pipeline.config.config import Config

TIME = "time"  # the scheme whose folds train on earlier ones alone


def assign(config: Config, competition: Competition, rows: FoldRows) -> tuple[Array, tuple[str, ...]]:
    """Return the fold of each row, sorted by id [N] int64, and what the table calls each fold; () of times.

    Raises InputError where groups cross the table's folds, or where there are fewer times than blocks.
    """
    column = str(config.folds.column)
    place = f"folds.column {column}"
    cells = competition.table[column].to_numpy()[rows.order].tolist()
    if config.folds.scheme == TIME:
        try:
            return blocks(fold_columns.times(cells)[0], rows.unit_N, config.folds.n), ()
        except Refused as error:
            raise InputError(*(problem.below(place, ": ") for problem in error.problems)) from None
    fold_N, names = fold_columns.given(cells)
    problems = fold_columns.given_problems(fold_N, names, place)
    if rows.group_N is not None:
        groups = rows.group_names[rows.group_N]
        by_content = competition.table_groups is not None  # else the groups were told before the images were seen
        problems += fold_columns.crossing(fold_N, groups, names, place, None if by_content else config.data.group)
    if problems:
        raise InputError(*problems)
    return fold_N, names


def blocks(time_N: Array, unit_N: Array, n: int) -> Array:
    """Cut the rows in the order of time into n + 1 blocks of about one size; return each row's fold, [N] int64.

    The first block is fold −1, the others are folds 0…n−1. Rows of one time stay together. So do those of a unit (a
    group), in the block of the last of them: no fold trains on a row that is later than the block's beginning.
    Raises Refused where there are fewer different times than blocks.
    """
    time_U = np.full(int(unit_N.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(time_U, unit_N, time_N)
    times, step_N = np.unique(time_U[unit_N], return_inverse=True)
    if len(times) <= n:
        found = f"found {len(times)} different times, of whole groups, for {n} folds and a first part to train on"
        raise Refused(Problem("", found, f"at least {n + 1}", "lower folds.n"))
    end_S = np.cumsum(np.bincount(step_N))  # rows up to and with each time
    cuts = [0]
    for number in range(1, n + 1):
        open_S = np.arange(cuts[-1] + 1, len(times) - (n - number))  # a time is left for each block to come
        cuts.append(int(open_S[np.abs(end_S[open_S - 1] - number * end_S[-1] / (n + 1)).argmin()]))
    return np.searchsorted(cuts[1:], step_N, side="right").astype(np.int64) - 1


def spans(config: Config, competition: Competition, rows: FoldRows, fold_N: Array) -> dict[int, tuple[str, str]]:
    """Return the first and the last time of each fold, as the table writes them; folds are sorted by id."""
    cells = competition.table[str(config.folds.column)].to_numpy()[rows.order]
    time_N = fold_columns.times(cells.tolist())[0]
    found = {}
    for fold in np.unique(fold_N).tolist():
        own_M = np.flatnonzero(fold_N == fold)
        first, last = own_M[time_N[own_M].argmin()], own_M[time_N[own_M].argmax()]
        found[fold] = (str(cells[first]).strip(), str(cells[last]).strip())
    return found

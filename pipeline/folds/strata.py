"""Turn columns into codes to stratify by, and choose the scheme that fits the data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import Problem, Refused
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    from pipeline.config.sections.data import Data
    from pipeline.methods.tasks import Task


def strata(
    task: Task, targets_NC: Array, classes: Sequence[str], data: Data, bins: int
) -> tuple[Array, tuple[str, ...]]:
    """Return what folds balance, and its names: one code per row [N], or a 0/1 matrix [N,L].

    Values are cut into quantile bins, of each column its own; heads are balanced side by side.
    """
    if task.regression:
        coded = [column_codes(value_N.astype(np.str_), bins) for value_N in targets_NC.T]
        if len(coded) == 1:
            return coded[0]
        matrix_NL = np.hstack([code_N[:, None] == np.arange(len(names)) for code_N, names in coded])
        pairs = zip(classes, coded, strict=True)
        return matrix_NL.astype(np.int64), tuple(f"{name}={text}" for name, (_, names) in pairs for text in names)
    if blocks := data.heads_of(classes):
        hard_NC = np.zeros(targets_NC.shape, dtype=np.int64)
        for _, start, stop in blocks:
            hard_NC[np.arange(len(hard_NC)), start + targets_NC[:, start:stop].argmax(1)] = 1
        return hard_NC, tuple(classes)
    return task.labels(targets_NC), tuple(classes)


def column_codes(cells_N: Array, bins: int) -> tuple[Array, tuple[str, ...]]:
    """Return one code per row and the codes' names; numbers of more than `bins` values are binned.

    The bins are quantiles: they depend on the values, not on the row order. Blank cells are a category.
    """
    cells_N = np.asarray(cells_N, dtype=np.str_)
    blank_N = np.char.strip(cells_N) == ""
    number_N = _numbers(np.where(blank_N, "0", cells_N))
    if number_N is None or len(np.unique(number_N[~blank_N])) <= bins:
        names, code_N = np.unique(cells_N, return_inverse=True)
        return code_N.astype(np.int64), tuple(name.strip() or "(blank)" for name in names.tolist())
    edges = np.unique(np.quantile(number_N[~blank_N], np.linspace(0, 1, bins + 1)))
    code_N = np.searchsorted(edges[1:-1], number_N, side="right").astype(np.int64)
    names_ = [f"{low:.6g}..{high:.6g}" for low, high in pairwise(edges.tolist())]
    if blank_N.any():
        code_N[blank_N] = len(names_)
        names_.append("(blank)")
    return code_N, tuple(names_)


def _numbers(cells_N: Array) -> Array | None:
    try:
        number_N = cells_N.astype(np.float64)
    except ValueError:
        return None
    return number_N if np.isfinite(number_N).all() else None


def combine(columns: Sequence[Array]) -> Array:
    """Return one code per row for the combination of several codes, sorted by the first, then the next."""
    code_N = np.unique(columns[0], return_inverse=True)[1].astype(np.int64)
    for column_N in columns[1:]:
        width = int(column_N.max(initial=0)) + 1
        code_N = np.unique(code_N * width + column_N, return_inverse=True)[1].astype(np.int64)
    return code_N


def choose(
    scheme: str, group_N: Array | None, several: bool, stratify: bool, by_content: bool = False
) -> tuple[str, str]:
    """Return the scheme to use and why; `several` says that a row carries none or several labels.

    `by_content`: equal images alone make the groups, as no column does.

    Raises Refused where the scheme asked for would split groups, or has none to keep together.
    """
    shared = group_N is not None and len(np.unique(group_N)) < len(group_N)
    if scheme == "auto":
        groups = "groups have several rows" if shared else "no two rows share a group"
        if shared and by_content:
            groups = "rows share images"
        if several:
            return ("multilabel_group" if shared else "multilabel"), f"{groups}, rows carry several labels"
        return ("stratified_group" if shared else "stratified"), f"{groups}, each row carries one label"
    if scheme in ("stratified", "multilabel") and shared:
        what, instead = "of one data.group", "data.group: null"
        if by_content:
            what, instead = "with equal images", "data.duplicates_by_content: keep"
        wanted = f"{scheme}_group, or {instead}"
        found = f"found '{scheme}', which would put rows {what} into several folds"
        raise Refused(Problem("", found, wanted))
    if scheme in ("group", "stratified_group", "multilabel_group") and group_N is None:
        remedy = "name the column whose rows belong together"
        raise Refused(Problem("", f"found '{scheme}' without data.group", remedy=remedy))
    if scheme == "group" and stratify:
        found = "found 'group', which balances sizes alone, with folds.stratify"
        raise Refused(Problem("", found, "stratified_group"))
    return scheme, "asked for"

"""Find equal images under several ids by their content, and keep them on one side of every fold.

Within the training rows they unite the rows' groups; extra rows are left out where a fold validates the same image
(`fold_rows.train_numbers`); between training and test they can only be told. An image of one colour, or one that
several files hold and more rows than a fold has, stands for a missing one: it would chain everything into one group.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pipeline.competition.competition import Competition
from pipeline.config.config import Config
from pipeline.errors import Problem
from pipeline.files import parts
from pipeline.images.cache import ImageSet
from pipeline.methods import topk
from pipeline.methods.arrays import Array

FEW = 3  # rows that may share an image however small the folds are
NO_IMAGE = -1
DONE = {  # data.duplicates_by_content -> what is done about training rows, about extra rows
    "group": ("; each stays within one fold", "; left out of the fold that validates it"),
    "keep": ("; they may lie in different folds", "; every fold trains on them"),
}


class Opened(NamedTuple):
    """Hold the images of `fold_rows.sources` and of the test rows."""

    train: ImageSet
    test: ImageSet


def treat(
    config: Config, competition: Competition, opened: Opened | None
) -> tuple[Competition, list[str], list[Problem]]:
    """Return the competition with its groups united, what is to be told, and what is refused.

    Without opened images those are equal that have the same path.
    """
    how, found = config.data.duplicates_by_content, _Found(config, competition, opened)
    lines, notes = found.lines(how), found.placeholders()
    if how != "keep":
        competition = replace(competition, anywhere=found.anywhere)
    if how == "error":
        remedy = "take one of them out, or choose data.duplicates_by_content: group or keep"
        return competition, notes, [Problem("images", line, remedy=remedy) for line in lines]
    if how == "group":
        competition = _united(competition, *found.shared())
    return competition, [*lines, *notes], []


class _Found:
    """Hold the contents of all images as numbers, and which rows show them."""

    def __init__(self, config: Config, competition: Competition, opened: Opened | None) -> None:
        self.competition = competition
        extra = competition.extra
        images = [*competition.images, *(() if extra is None else extra.images)]
        count, every = len(images), [*images, *competition.test_images]
        path_S = np.asarray(pd.factorize(np.asarray([parts.picture(one) for one in every], object))[0])
        code_S, names = path_S, np.zeros(0, object)
        absent_S = np.asarray([not one for one in every], bool)
        if opened is not None:
            contents = [content for one in opened for content in one.contents_N.tolist()]
            code_S, names = pd.factorize(np.asarray(contents, object))  # numbered as they come, so that a first is
            absent_S = np.concatenate([one.absent_N for one in opened])
        content_S = np.where(absent_S, NO_IMAGE, code_S)
        code_S, part_C = _whole(content_S, path_S)
        own = len(competition.images)
        self.code_I, self.code_E, self.code_J = code_S[:own], code_S[own:count], code_S[count:]
        width = int(code_S.max(initial=-1)) + 1
        first_C = np.zeros(width + 1, np.int64)  # one more, for NO_IMAGE
        first_C[code_S[::-1]] = np.arange(len(code_S))[::-1]
        pairs = np.unique(np.stack([self.code_I, competition.rows_I], 1)[self.code_I >= 0], axis=0)
        self.content_P, self.row_P = pairs[:, 0], pairs[:, 1]  # each row's contents once, sorted by content
        rows_C = np.bincount(self.content_P, minlength=width)
        several = np.unique(np.stack([code_S, path_S], 1)[:own][self.code_I >= 0], axis=0)[:, 0]
        files_C = np.bincount(several, minlength=width)
        most = max(FEW, len(competition.ids) / config.folds.n)
        self.many_C = (files_C > 1) & (rows_C > most)
        times_C = rows_C + sum(np.bincount(part[part >= 0], minlength=width) for part in (self.code_E, self.code_J))
        self.blank_C = np.zeros(width, bool)
        if opened is not None:
            alone_C = np.bincount(part_C, minlength=width) == 1  # no boxes of one picture
            for content in np.flatnonzero((times_C > 1) & alone_C).tolist():
                number = int(first_C[content])
                shown = (opened.train, number) if number < count else (opened.test, number - count)
                self.blank_C[content] = shown[0].is_blank(shown[1])
        self.apart_C = ~(self.blank_C | self.many_C)
        self.rows_C, self.shared_C = rows_C, (rows_C > 1) & self.apart_C
        self.anywhere = frozenset[bytes](names[: len(part_C)][~self.apart_C[part_C[: len(names)]]].tolist())

    def shared(self) -> tuple[Array, Array]:
        """Return the rows that show an image of another row, and the image, a pair each."""
        chosen_P = self.shared_C[self.content_P]
        return self.row_P[chosen_P], self.content_P[chosen_P]

    def lines(self, how: str) -> list[str]:
        """Return a line for each kind of equal images, with what is done about them."""
        fold, extra = DONE.get(how, ("", ""))
        unseen = "; out-of-fold scores say nothing of such rows" if how in DONE else ""
        lines = ((self._within(), fold), (self._extra(), extra), (self._extra_test(), unseen), (self._test(), unseen))
        return [f"{line}{end}" for line, end in lines if line]

    def placeholders(self) -> list[str]:
        """Return a line for each kind of images that are equal and mean nothing."""
        lines = []
        for which_C, what in ((self.blank_C, "of one colour"), (self.many_C & ~self.blank_C, "of another file")):
            chosen_P = (which_C & (self.rows_C > 1))[self.content_P]
            rows = np.unique(self.row_P[chosen_P])
            if len(rows):
                why = "" if which_C is self.blank_C else " that more rows show than a fold has"
                remedy = "; such images are not held together: take their rows out if they stand for none"
                lines.append(f"{len(rows)} training rows show an image {what}{why}, {self._pair(chosen_P)}{remedy}")
        return lines

    def _pair(self, chosen_P: Array) -> str:
        """Name the first two rows of one content among these pairs."""
        at = np.flatnonzero(chosen_P)
        first, second = self.competition.ids[self.row_P[at[:2]]]  # sorted by content
        return f"first '{first}' and '{second}'"

    def _within(self) -> str:
        """Say what training rows share, and where labels or groups differ."""
        competition, (row_Q, content_Q) = self.competition, self.shared()
        if not len(row_Q):
            return ""
        contents, start_C, number_Q = np.unique(content_Q, return_index=True, return_inverse=True)
        first_Q = row_Q[start_C][number_Q]
        pair = f"first '{competition.ids[row_Q[0]]}' and '{competition.ids[row_Q[1]]}'"
        text = f"{len(np.unique(row_Q))} training rows show {len(contents)} images more than once, {pair}"
        differ = {"labels": topk.differ(competition.targets_NC[row_Q], competition.targets_NC[first_Q])}
        if competition.groups is not None:
            groups = competition.groups
            differ["groups"] = (groups[row_Q] != groups[first_Q]) | ((groups[row_Q] == "") & (row_Q != first_Q))
        for what, differ_Q in differ.items():
            if count := len(np.unique(content_Q[differ_Q])):
                other = int(np.flatnonzero(differ_Q)[0])
                ids = competition.ids[[first_Q[other], row_Q[other]]]
                text += f"; the {what} of {count} of them differ, first '{ids[0]}' and '{ids[1]}'"
            else:
                text += f"; their {what} agree"
        return text

    def _extra(self) -> str:
        """Say which extra rows show an image of a training row."""
        competition, extra = self.competition, self.competition.extra
        at, row_N = self._rows_of(self.code_E, self.content_P, self.row_P)
        if extra is None or not len(at):
            return ""
        pair = f"first '{extra.ids[at[0]]}' and '{competition.ids[row_N[0]]}'"
        text = f"{len(at)} extra rows show an image of a training row, {pair}"
        both = (extra.targets_EC[at], competition.targets_NC[row_N])
        if not all(isinstance(part, topk.OneHot) for part in both):  # of very many classes a cell each is too much
            both = (np.asarray(both[0]), np.asarray(both[1]))
        differ_A = topk.differ(*both)
        return f"{text}; " + (f"the labels of {differ_A.sum()} differ" if differ_A.any() else "their labels agree")

    def _extra_test(self) -> str:
        """Say which extra rows show an image of a test row."""
        competition, extra = self.competition, self.competition.extra
        at, image_A = self._rows_of(self.code_E, self.code_J, np.arange(len(self.code_J)))
        if extra is None or not len(at):
            return ""
        test = competition.test_ids[competition.test_rows_J[image_A[0]]]
        return f"{len(at)} extra rows show an image of a test row, first '{extra.ids[at[0]]}' and '{test}'"

    def _test(self) -> str:
        """Say which test rows show an image of a training row."""
        competition = self.competition
        at, row_N = self._rows_of(self.code_J, self.content_P, self.row_P)
        if not len(at):
            return ""
        rows_J = competition.test_rows_J[at]
        pair = f"first '{competition.test_ids[rows_J[0]]}' and '{competition.ids[row_N[0]]}'"
        count = f"{len(np.unique(rows_J))} of {len(competition.test_ids)} test rows"
        return f"{count} show an image of a training row, {pair}"

    def _rows_of(self, code_A: Array, content_P: Array, row_P: Array) -> tuple[Array, Array]:
        """Return which of some images others show too, and for each the first row that does."""
        row_C = np.full(len(self.apart_C) + 1, -1)  # the last one for NO_IMAGE
        row_C[content_P[::-1]] = row_P[::-1]
        row_C[:-1][~self.apart_C] = row_C[NO_IMAGE] = -1
        at = np.flatnonzero(row_C[code_A] >= 0)
        return at, row_C[code_A[at]]


def _whole(content_S: Array, path_S: Array) -> tuple[Array, Array]:
    """Give contents of one file one number, as boxes of a picture are [S]; return also that of each content."""
    count, here_S = int(content_S.max(initial=-1)) + 1, content_S >= 0
    pairs = np.unique(np.stack([content_S, path_S], 1)[here_S], axis=0)
    nodes = count + int(path_S.max(initial=-1)) + 1
    edges = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], count + pairs[:, 1])), (nodes, nodes))
    part_C = connected_components(edges, directed=False)[1][:count]
    part_C = np.unique(part_C, return_inverse=True)[1]
    return np.where(here_S, np.append(part_C, NO_IMAGE)[content_S], NO_IMAGE), part_C


def _united(competition: Competition, row_P: Array, content_P: Array) -> Competition:
    """Unite the groups of rows that show the same image; a united group has the first of its groups' names."""
    ids, groups = competition.ids, competition.groups
    if not len(row_P):
        return competition
    named = np.full(len(ids), "") if groups is None else groups
    names, unit_N = np.unique(np.where(named == "", np.char.add("equal:", ids), named), return_inverse=True)
    nodes = len(names) + int(content_P.max()) + 1
    edges = coo_matrix((np.ones(len(row_P)), (unit_N[row_P], len(names) + content_P)), (nodes, nodes))
    part_U = connected_components(edges, directed=False)[1][: len(names)]
    part_N = np.unique(part_U[unit_N], return_inverse=True)[1]
    units = np.unique(np.stack([part_N, unit_N], 1), axis=0)
    several_N = (np.bincount(units[:, 0]) > 1)[part_N]
    if not several_N.any():
        return competition
    first_P = np.unique(units[:, 0], return_index=True)[1]
    made = np.where(several_N, names[units[first_P, 1]][part_N], named)
    extra = competition.extra
    if extra is not None and extra.groups is not None and groups is not None:
        now = dict(zip(named.tolist(), made.tolist(), strict=True))
        renamed = [now.get(name, name) if name else "" for name in extra.groups.tolist()]
        extra = replace(extra, groups=np.asarray(renamed, np.str_))
    return replace(competition, groups=made, table_groups=named, extra=extra)

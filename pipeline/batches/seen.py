"""See a competition as its images tell it: without rows that have none, and with equal images held together.

Every stage that reads the training rows takes them from here, so that no second place knows about it. No torch is
imported, as `folds` needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import compress
from typing import NamedTuple

import numpy as np

from pipeline.batches import duplicates, fold_rows
from pipeline.batches.duplicates import Opened
from pipeline.competition import competition as tables
from pipeline.competition.competition import Competition
from pipeline.competition.image_paths import Source
from pipeline.competition.rows import skipping
from pipeline.config.config import Config
from pipeline.errors import InputError, Problem
from pipeline.images.cache import ImageSet, decode_config, lacking, open_config
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS

Open = Callable[[Config, Sequence[Source], str], ImageSet]
TRAIN, TEST = "training images", "test images"  # what is opened
TRIED = 64  # images that a cache lacks and that may all be damaged


class Seen(NamedTuple):
    """Hold the competition, the images of its `fold_rows.sources`, and those of its test rows."""

    competition: Competition
    train: ImageSet
    test: ImageSet


def load(config: Config) -> Competition:
    """Read the competition and see its images; raise InputError with the defects of both."""
    return see(config, tables.load(config), open_config).competition


def see(config: Config, competition: Competition, open_one: Open) -> Seen:
    """Open the images of a competition that was read, those for training and those of the test.

    Raises InputError with every image that cannot be read, or with what `data.missing` and
    `data.duplicates_by_content` do not allow.
    """
    opened: list[ImageSet] = []
    problems: list[Problem] = []
    for label, sources in ((TRAIN, fold_rows.sources(competition)), (TEST, competition.test_images)):
        try:
            opened.append(open_one(config, sources, label))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*dict.fromkeys(problems))
    train, test = opened
    made, kept, problems = _present(config, competition, train, test)
    train = train if kept is None else train.take(kept)
    made, notes, wrong = duplicates.treat(config, made, Opened(train, test))
    if problems or wrong:
        raise InputError(*problems, *wrong)
    return Seen(replace(made, notes=(*made.notes, *notes)), train, test)


def unopened(config: Config, competition: Competition) -> Competition:
    """Return the competition as its images' paths tell it; raise InputError where the config refuses equal ones."""
    made, notes, wrong = duplicates.treat(config, competition, None)
    if wrong:
        raise InputError(*wrong)
    return replace(made, notes=(*made.notes, *notes))


def cached(config: Config, competition: Competition) -> Competition | None:
    """Return the competition as its images tell it where the cache holds them all, without writing, else None."""
    every = [*fold_rows.sources(competition), *competition.test_images]
    unknown = lacking(config, every)
    if unknown and (config.data.missing != "skip" or len(unknown) > TRIED or config.data.cache.dir is None):
        return None
    for source in unknown:
        try:
            decode_config(config, source)
        except ValueError:
            continue
        return None
    return see(config, competition, lambda *asked: open_config(*asked, progress=False)).competition


def _present(
    config: Config, competition: Competition, train: ImageSet, test: ImageSet
) -> tuple[Competition, Array | None, list[Problem]]:
    """Return the competition without images that cannot be read, which of `train` are left, and what is too many."""
    notes, problems, place = [], list[Problem](), config.data.root
    made, kept, own = competition, None, len(competition.images)
    whats = ((train.absent_N[:own], "training images"), (train.absent_N[own:], "extra rows"))
    for absent_A, what in whats:
        if count := int(absent_A.sum()):
            at = int(np.flatnonzero(absent_A)[0]) + (own if what == "extra rows" else 0)
            first = _why(train, fold_rows.sources(competition)[at])
            problems += skipping.too_many(place, what, count, len(absent_A), first)
            notes.append(f"{count} {what} cannot be read and their rows are left out, first {first}")
    if train.absent_N.any():
        kept = np.flatnonzero(~train.absent_N)
        made = _without(competition, train.absent_N[:own], train.absent_N[own:])
        if not TASKS[config.data.task].regression:
            sums = (competition.targets_NC, made.targets_NC)
            problems += skipping.lost_classes(place, competition.classes, *sums)
    damaged_J = test.absent_N & np.asarray([bool(source) for source in competition.test_images], bool)
    if damaged_J.any():
        first = _why(test, competition.test_images[int(np.flatnonzero(damaged_J)[0])])
        notes.append(f"{damaged_J.sum()} test images cannot be read, first {first}")
        images = [() if absent else one for one, absent in zip(made.test_images, test.absent_N, strict=True)]
        made = replace(made, test_images=images)
    if test.absent_N.any():
        answered = np.unique(competition.test_rows_J[~test.absent_N])
        lost = np.delete(competition.test_ids, answered)
        first = Problem("", f"'{lost[0]}'") if len(lost) else Problem("", "")
        problems += skipping.too_many(place, "test rows", len(lost), len(competition.test_ids), first)
        if len(lost):
            text = f"{len(lost)} test rows have no readable image, first '{lost[0]}'"
            notes.append(f"{text}: each is answered by the mean prediction of the others")
    return replace(made, notes=(*made.notes, *notes)), kept, problems


def _why(images: ImageSet, source: Source) -> Problem:
    name = ", ".join(source)
    return Problem(name, images.skipped[name]) if name in images.skipped else Problem("", name)


def _without(competition: Competition, absent_I: Array, absent_E: Array) -> Competition:
    """Leave out images, the rows that then have none, and extra rows."""
    here_I, extra = ~absent_I, competition.extra
    has_N = np.bincount(competition.rows_I[here_I], minlength=len(competition.ids)) > 0
    groups, weights_N = competition.groups, competition.weights_N
    if extra is not None and absent_E.any():
        here_E = ~absent_E
        extra = replace(
            extra,
            ids=extra.ids[here_E],
            images=list(compress(extra.images, here_E.tolist())),
            groups=None if extra.groups is None else extra.groups[here_E],
            targets_EC=extra.targets_EC[here_E],
            weights_E=extra.weights_E[here_E],
        )
    return replace(
        competition,
        ids=competition.ids[has_N],
        images=list(compress(competition.images, here_I.tolist())),
        rows_I=(np.cumsum(has_N) - 1)[competition.rows_I[here_I]],
        image_ids=competition.image_ids[here_I],
        table=competition.table[has_N].reset_index(drop=True),
        groups=None if groups is None else groups[has_N],
        targets_NC=competition.targets_NC[has_N],
        weights_N=None if weights_N is None else weights_N[has_N],
        extra=extra,
    )

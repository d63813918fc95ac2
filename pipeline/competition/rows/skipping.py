"""Refuse what `data.missing: skip` must not pass over: half of the images, or all rows of a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.errors import Problem, some
from pipeline.methods.arrays import Array

MOST = 0.5  # of a table's rows that may lack their image


def too_many(place: str, what: str, absent: int, of: int, first: Problem) -> list[Problem]:
    """Return a problem where so many of some rows have no image that the template or the folder must be wrong."""
    if not absent or absent < MOST * of:
        return []
    found = f"{absent} of {of} {what} have no readable image, too many for data.missing: skip (first {named(first)})"
    remedy = first.remedy or "correct the template or the folder, or take these rows out of the table"
    return [Problem(place, found, remedy=remedy)]


def named(first: Problem) -> str:
    """Name the first image that is passed over, without a remedy."""
    return str(replace(first, remedy=""))


def lost_classes(place: str, classes: Sequence[str], before_NC: Array, after_NC: Array) -> list[Problem]:
    """Return a problem where classes have rows [N,C] alone that are passed over."""
    pairs = zip(classes, before_NC.sum(0).tolist(), after_NC.sum(0).tolist(), strict=True)
    lost = [name for name, before, after in pairs if before and not after]
    if not lost:
        return []
    found = f"no row of the class{'es' * (len(lost) > 1)} {some(lost)} has a readable image"
    remedy = "correct the template, replace the images, or leave these classes' rows out with data.where"
    return [Problem(place, found, remedy=remedy)]

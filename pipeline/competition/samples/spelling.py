"""Spell labels as the sample submission does: 1 where training has 1.0, 007 for 7, True for 1, Cat for cat."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from pipeline.errors import Problem, some

NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]*)?")
NOTHING = {"", "nan", "na", "n/a", "none", "null", "?", "-", "label", "class", "todo", "target"}  # says no label
TRUTH = ("false", "no", "f", "n", "0", "0.0"), ("true", "yes", "t", "y", "1", "1.0")
Form = Callable[[str], str | None]


def spelled(classes: Sequence[str], cells: Iterable[str]) -> dict[str, str]:
    """Return how each class is written: in the one form that makes the sample's cells labels, else as it is.

    The cells of a sample often hold one label alone, so that the form is found and not each class by itself.
    """
    seen, plain = labels_of(classes, cells), {name: name for name in classes}
    if not seen or seen <= set(classes):
        return plain
    for form in _forms(seen):
        made = {name: form(name) for name in classes}
        if None not in made.values() and len(set(made.values())) == len(classes) and seen <= set(made.values()):
            return {name: text for name, text in made.items() if text is not None}
    return plain


def labels_of(classes: Sequence[str], cells: Iterable[str]) -> set[str]:
    """Return the labels that cells hold, without blank ones and words that stand for none."""
    stripped = {cell.strip() for cell in cells}
    return {cell for cell in stripped if cell in classes or cell.lower() not in NOTHING}


def mismatch(classes: Sequence[str], cells: Iterable[str]) -> Problem | None:
    """Return why labels would be refused: numbers, where the sample has words."""
    seen = labels_of(classes, cells)
    words = sorted(cell for cell in seen if not NUMBER.fullmatch(cell))
    made = spelled(classes, seen)
    if not words or len(words) < len(seen) or seen & set(made.values()):
        return None
    if not all(NUMBER.fullmatch(name) for name in classes):
        return None
    found = f"the sample's cells are words ({some(words)}), the labels are numbers ({some(classes)})"
    return Problem("submission.labels", found, remedy="say what each is called: {'0': …, '1': …}")


def _forms(seen: set[str]) -> Iterator[Form]:
    """Yield ways to write a label; None where one cannot be written so."""
    digits = {len(cell.partition(".")[2]) for cell in seen if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", cell)}
    widths = {len(cell) for cell in seen}
    if len(digits) == 1:
        yield partial(_number, min(digits), 0)
        if len(widths) == 1:
            yield partial(_number, min(digits), min(widths))
    for pair in zip(*TRUTH, strict=True):
        one_number = len(seen) == 1 and pair[0][0] == "0"  # which may stand for any label
        known = ("false", "true") if one_number else (*TRUTH[0], *TRUTH[1])
        for write in (str.lower, str.capitalize, str.upper):
            yield partial(_truth, pair, write, known)
    for write in (str.lower, str.capitalize, str.title, str.upper):
        yield write
        for old, new in ("_ ", " _"):
            yield partial(_word, write, old, new)


def _number(digits: int, width: int, name: str) -> str | None:
    """Return a number with so many decimals, filled up with zeros; None where its value would be another one."""
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]*)?", name):
        return None
    text = f"{float(name):.{digits}f}"
    return text.zfill(width) if float(text) == float(name) else None


def _truth(pair: tuple[str, str], write: Callable[[str], str], known: Sequence[str], name: str) -> str | None:
    lower = name.lower()
    return next((write(pair[value]) for value, words in enumerate(TRUTH) if lower in words and lower in known), None)


def _word(write: Callable[[str], str], old: str, new: str, name: str) -> str:
    return write(name.replace(old, new))

"""Tell how the ids of two tables differ in form only, and which keys bring them together."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable

from pipeline.competition.image_folders import SUFFIXES

ALIKE: dict[str, Callable[[str], str]] = {  # how they differ -> what is the same then
    "zeros before numbers": lambda text: re.sub(r"(?<!\d)0+(?=\d)", "", text),
    "the .0 of numbers": lambda text: re.sub(r"^(\d+)\.0$", r"\1", text),
    "their ending": lambda text: _stem(text),
    "their folders": lambda text: text.replace("\\", "/").rpartition("/")[2],
    "their Unicode form": lambda text: unicodedata.normalize("NFC", text),
    "upper and lower case": str.casefold,
}


def difference(asked: Iterable[str], known: Iterable[str], column: str, own: str) -> tuple[str, str] | None:
    """Return how the ids asked for in `column` differ from those known, and the remedy; None where more than form does.

    The remedy derives them from the column `own`.
    """
    wanted, there = set(asked), set(known)
    for how, form in ALIKE.items():
        one, other = {form(text): text for text in wanted}, {form(text): text for text in there}
        if one.keys() == other.keys() and len(one) == len(wanted) and len(other) == len(there):
            pairs = [(text, other[key]) for key, text in sorted(one.items()) if text != other[key]]
            text = f"its ids differ by {how} alone: '{pairs[0][0]}' for '{pairs[0][1]}'"
            return text, _remedy(how, pairs, column, own)
    return None


def _remedy(how: str, pairs: list[tuple[str, str]], column: str, own: str) -> str:
    """Return the keys that derive the ids asked for."""
    derived = ""
    if (
        how == "zeros before numbers"
        and len({len(text) for text, _ in pairs}) == 1
        and len(pairs[0][0]) > len(pairs[0][1])
    ):
        derived = f'"{{{own}:0{len(pairs[0][0])}}}"'
    elif how in ("zeros before numbers", "the .0 of numbers") and all(text in other for text, other in pairs):
        pattern = "[1-9][0-9]*$|0$" if how.startswith("zeros") else "^[0-9]+"
        derived = f'{{column: {own}, pattern: "{pattern}"}}'
    elif how == "their ending" and all(_stem(other) == text for text, other in pairs):
        derived = f'{{column: {own}, pattern: "^(.+?)(?:[.][A-Za-z]+)?$"}}'
    elif how == "their ending" and len(endings := {os.path.splitext(text)[1] for text, _ in pairs}) == 1:
        derived = f'"{{{own}}}{endings.pop()}"'
    elif how == "their folders" and all("/" not in text for text, _ in pairs):
        derived = f'{{column: {own}, pattern: "[^/]+$"}}'
    if not derived:
        return "write them alike in both files"
    return f"data.derive: {{key: {derived}}}, data.id: key and submission.id: {column} bring them together"


def _stem(text: str) -> str:
    stem, ending = os.path.splitext(text)
    return stem if ending.lower() in SUFFIXES else text

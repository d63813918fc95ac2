"""Say when cells that differ in form mean the same: numbers, truth values, what stands for nothing."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")
NOTHING = {"nan", "<na>", "nat", "#n/a", "#na"}  # as programs write it
MAYBE_NOTHING = {"na", "n/a", "null", "none"}  # which are words, too
TRUTH = {**dict.fromkeys(("true", "yes", "t", "y"), "1"), **dict.fromkeys(("false", "no", "f", "n"), "0")}
COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+")


def is_nothing(text: str) -> bool:
    """Tell whether a cell is blank or what a program writes for a missing value."""
    return not text or text.lower() in NOTHING


def one_form(cells: Iterable[str], known: Sequence[str] = ()) -> dict[str, str]:
    """Return cells that stand for a number which others, or `known`, write in another way, each with the form taken.

    1, 1.0 and 01 are one number. The form that is known comes first, then the whole number, then the shortest.
    """
    forms: dict[Decimal, set[str]] = defaultdict(set)  # no floats, in which long ids that differ would be one
    for cell in {*cells, *known}:
        if NUMBER.fullmatch(cell):
            forms[Decimal(cell)].add(cell)
    found = {}
    for value, texts in forms.items():
        if len(texts) > 1:
            taken = min(texts, key=lambda text: (text not in known, text != f"{value:.0f}", len(text), text))
            found.update({text: taken for text in texts if text != taken and text not in known})
    return found


def recast(column: pd.Series[str], forms: dict[str, str]) -> pd.Series[str]:
    """Return a column with each cell that has another form in it."""
    return column.map(lambda cell: forms.get(cell, cell)) if forms else column


def truth_values(column: pd.Series[str]) -> dict[str, str]:
    """Return a column's words of truth with 1 or 0, or nothing where a cell is neither one nor a number."""
    words = {cell for cell in column.unique() if cell and not NUMBER.fullmatch(cell)}
    return {cell: TRUTH[cell.lower()] for cell in words} if all(cell.lower() in TRUTH for cell in words) else {}


def decimal_points(column: pd.Series[str]) -> dict[str, str]:
    """Return numbers with a decimal comma as ones with a point, or nothing where the commas may part thousands."""
    commas = [cell for cell in column.unique() if COMMA.fullmatch(cell)]
    points = any("." in cell for cell in column.unique())
    if points or all(THOUSANDS.fullmatch(cell) for cell in commas):
        return {}
    return {cell: cell.replace(",", ".") for cell in commas}


def near_names(counts: dict[str, int]) -> list[str]:
    """Return what is said of classes whose names differ by case, blanks and dashes alone, or stand for nothing."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in counts:
        alike[re.sub(r"[\W_]+", "", name.casefold()) or name].append(name)
    said = []
    for names in alike.values():
        if len(names) > 1 and not all(NUMBER.fullmatch(name) for name in names):
            rows = " and ".join(f"'{name}' ({counts[name]} rows)" for name in names)
            said.append(f"the classes {rows} differ in their spelling alone; data.derive can make one of them")
    for name in counts:
        if name.lower() in MAYBE_NOTHING:
            said.append(
                f"'{name}' is taken for a class ({counts[name]} rows); where it stands for nothing, see data.derive"
            )
    return said

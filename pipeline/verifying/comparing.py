"""Compare a table or JSON file with what it should hold, and say in which cells or keys they differ.

Numbers count as equal within a rounding of 1e-9: another machine sums in another order. What they were to the last
bit, the hash in the stage's stamp tells.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import Problem, some
from pipeline.files.tables import as_text

if TYPE_CHECKING:
    import pandas as pd

ROUNDING = 1e-9  # relative, and absolute below 1
SHOWN = 3  # differences that a message lists
LONGEST = 60  # of a cell or value that a message shows

Difference = tuple[str, str, str]  # where, what is found there, what is expected


def table_problems(path: Path, expected: pd.DataFrame, remedy: str) -> list[Problem]:
    """Return how a CSV differs from the table that it should hold: columns, rows, cells."""
    wanted, content = as_text(expected), path.read_bytes()
    if content == wanted.encode():
        return []
    try:
        found = list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        return [Problem(str(path), f"not readable as CSV ({error})", remedy=remedy)]
    return _listed(path, list(_cells(found, list(csv.reader(io.StringIO(wanted, newline=""))))), "cells", remedy)


def json_problems(path: Path, found: Any, expected: Any, remedy: str, *, whole: bool) -> list[Problem]:
    """Return how JSON differs from what it should hold; not `whole`: keys that the file lacks are no difference.

    So files of earlier versions, which say less, are compared by what they say.
    """
    plain = json.loads(json.dumps(expected))
    return _listed(path, list(_values("", found, plain, whole)), "values", remedy)


def _listed(path: Path, differences: list[Difference], what: str, remedy: str) -> list[Problem]:
    """Return one problem with the first differences and how many there are."""
    if not differences:
        return []
    shown = [f"{where} holds {_brief(found)} instead of {_brief(wanted)}" for where, found, wanted in differences]
    more = f" and {len(differences) - SHOWN:,} more {what}" if len(differences) > SHOWN else ""
    return [Problem(str(path), "; ".join(shown[:SHOWN]) + more, remedy=remedy)]


def _cells(found: list[list[str]], wanted: list[list[str]]) -> Iterator[Difference]:
    """Yield what differs: the header, which rows there are, or cells of rows in the same order."""
    header = wanted[0]
    if not found or found[0] != header:
        yield "the header", some(found[0] if found else []), some(header)
        return
    if len(found) != len(wanted):
        rows, expected = ({row[0] if row else "" for row in one[1:]} for one in (found, wanted))
        more, less = (some(sorted(one)) or "no other rows" for one in (rows - expected, expected - rows))
        yield f"the table of {len(found) - 1:,} rows", more, f"{less} of {len(wanted) - 1:,}"
        return
    if sorted(found) == sorted(wanted):
        yield "the table", "its rows in another order", "that of what it is made from"
        return
    for line, (row, other) in enumerate(zip(found, wanted, strict=True), start=1):
        if len(row) != len(other):
            yield f"line {line}", f"{len(row)} cells", f"{len(other)}"
            continue
        for column, one, two in zip(header, row, other, strict=True):
            if one != two and not _near(one, two):
                yield f"line {line} ({header[0]} '{other[0]}'), column {column}", one, two


def _values(place: str, found: Any, wanted: Any, whole: bool) -> Iterator[Difference]:
    """Yield the leaves of two trees that differ, by their dotted places."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in dict.fromkeys([*wanted, *found]):
            inside = f"{place}.{key}" if place else str(key)
            if key not in found:
                if whole:
                    yield inside, "nothing", json.dumps(wanted[key], ensure_ascii=False)
            elif key not in wanted:
                yield inside, json.dumps(found[key], ensure_ascii=False), "nothing"
            else:
                yield from _values(inside, found[key], wanted[key], whole)
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for number, (one, two) in enumerate(zip(found, wanted, strict=True)):
            yield from _values(f"{place}[{number}]", one, two, whole)
    elif type(found) is not type(wanted) or found != wanted:
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (found, wanted))
        if not (numbers and _close(float(found), float(wanted))):
            yield place or "it", json.dumps(found, ensure_ascii=False), json.dumps(wanted, ensure_ascii=False)


def _near(one: str, other: str) -> bool:
    """Tell whether two cells are the same number but for rounding."""
    try:
        return "." in one + other and _close(float(one), float(other))
    except ValueError:
        return False


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING)


def _brief(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"

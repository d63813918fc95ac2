"""Collect what is wrong with the input tables, by kind, and check what every table must hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.contracts.templates import nearest

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.contracts.config import Data

SHOWN = 20  # defects of one kind that an error lists; `check` writes all of them to a file


@dataclass
class Defects:
    """Collect defects by kind, so that one broken column does not push the others off the screen."""

    kinds: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, lines: Iterable[str]) -> None:
        """Add lines of one kind."""
        found = list(lines)
        if found:
            self.kinds.setdefault(kind, []).extend(found)

    def lines(self, most: int | None = None) -> list[str]:
        """Return all lines, or the first of each kind with a count of the rest."""
        found = []
        for kind, lines in self.kinds.items():
            found += lines[:most]
            if most is not None and len(lines) > most:
                found.append(f"… and {len(lines) - most} more: {kind}")
        return found


@dataclass(frozen=True)
class Rows:
    """Hold a table with the path it came from; the path stands in every defect."""

    path: Path
    table: pd.DataFrame

    def lines(self, found: Iterable[tuple[int, str]]) -> list[str]:
        """Return the defects of rows with the file's line; the header is line 1."""
        return [f"{self.path}: line {row + 2}: {text}" for row, text in found]


def id_column(sample: pd.DataFrame, data: Data) -> str | None:
    """Return the sample submission's id column: data.id, or the one that differs only by its case."""
    if data.id in sample:
        return data.id
    same = [str(column) for column in sample.columns if str(column).lower() == data.id.lower()]
    return same[0] if len(same) == 1 else None


def check_columns(rows: Rows, wanted: dict[str, list[str]], defects: Defects) -> None:
    """Find columns that a config key names and the table lacks."""
    have = [str(column) for column in rows.table.columns]
    missing = ((key, name) for key, names in wanted.items() for name in names if name not in have)
    defects.add("columns", [f"{rows.path}: no column '{name}' ({key}){nearest(name, have)}" for key, name in missing])


def check_ids(rows: Rows, column: str, defects: Defects) -> None:
    """Find ids that are blank or stand twice."""
    if column not in rows.table:
        return
    first: dict[str, int] = {}
    blank, twice = [], []
    for row, name in enumerate(rows.table[column]):
        if not name.strip():
            blank.append((row, f"{column} is blank, expected an id"))
        elif first.setdefault(name, row) != row:
            twice.append((row, f"id '{name}' stands in line {first[name] + 2} already; keep one of them"))
    defects.add("blank ids", rows.lines(blank))
    defects.add("ids that stand twice", rows.lines(twice))


def check_sample_ids(sample: Rows, test: Rows | None, data: Data, defects: Defects) -> None:
    """Compare the sample submission with the test table; an id that it repeats is answered in each row."""
    column = id_column(sample.table, data)
    if column is None:
        check_columns(sample, {"data.id": [data.id]}, defects)
        return
    ids = sample.table[column].tolist()
    if "" in ids:
        defects.add("blank ids", sample.lines((row, f"{column} is blank") for row, name in enumerate(ids) if not name))
    if test is None or data.id not in test.table:
        return
    asked, known = set(ids), set(test.table[data.id])
    lacking = dict.fromkeys(name for name in test.table[data.id] if name not in asked)
    unknown = dict.fromkeys(name for name in ids if name not in known)
    where = f"{sample.path}: is it the right sample? "
    defects.add(
        "test ids that the sample submission lacks",
        [f"{where}no row for test id '{name}'" for name in lacking],
    )
    defects.add("sample ids that are no test rows", [f"{where}id '{name}' is not in {test.path}" for name in unknown])

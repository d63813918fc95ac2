"""Collect what is wrong with the input tables, by kind, and check what every table must hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition.templates import nearest
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.sections.data import Data

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
class Origin:
    """Say how a file's rows are called in a message."""

    path: Path
    unit: str = "line"
    first: int = 2  # the number of the first row: the header is line 1
    names: Sequence[str] | None = None  # files below path, where a row is a file

    def place(self, row: int) -> str:
        """Return where a row stands."""
        if self.names is not None:
            return f"{self.path}/{self.names[row]}"
        return f"{self.path}: {self.unit} {row + self.first}"


@dataclass(frozen=True)
class Rows:
    """Hold a table with where its rows come from; that stands in every defect."""

    path: Path  # what is named where the table as a whole is meant
    table: pd.DataFrame
    origins: tuple[Origin, ...] = ()  # (): path, a CSV
    origin_N2: Array | None = None  # [N,2] int64: which origin, the row there; None: the first one's, in order

    def place(self, row: int) -> str:
        """Return where a row stands, by its number in the table."""
        origin, number = (0, row) if self.origin_N2 is None else map(int, self.origin_N2[row])
        return (self.origins or (Origin(self.path),))[origin].place(number)

    def called(self, row: int, beside: int) -> str:
        """Return how a row is called in a message about another one: its line alone, in the same file."""
        place, prefix = self.place(row), f"{self.path}: "
        return place.removeprefix(prefix) if self.place(beside).startswith(prefix) else place

    def lines(self, found: Iterable[tuple[int, str]]) -> list[str]:
        """Return the defects of rows, each with its place."""
        return [f"{self.place(row)}: {text}" for row, text in found]

    def take(self, rows_M: Array) -> Rows:
        """Return some of the rows, in the order asked for."""
        numbers_N2 = self._numbers() if self.origin_N2 is None else self.origin_N2
        table = self.table.iloc[rows_M].reset_index(drop=True)
        return replace(self, table=table, origin_N2=numbers_N2[rows_M])

    def _numbers(self) -> Array:
        return np.stack([np.zeros(len(self.table), np.int64), np.arange(len(self.table))], 1)

    @classmethod
    def below(cls, tables: Sequence[Rows]) -> Rows:
        """Put tables one below the other; a column that one of them lacks is blank there."""
        import pandas as pd

        if len(tables) == 1:
            return tables[0]
        origins: list[Origin] = []
        parts = []
        for rows in tables:
            numbers_N2 = (rows._numbers() if rows.origin_N2 is None else rows.origin_N2).copy()
            numbers_N2[:, 0] += len(origins)
            parts.append(numbers_N2)
            origins += rows.origins or (Origin(rows.path),)
        table = pd.concat([rows.table for rows in tables], ignore_index=True).fillna("")
        return cls(tables[0].path, table, tuple(origins), np.concatenate(parts))


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


def check_ids(rows: Rows, column: str, defects: Defects, twice: bool = True) -> None:
    """Find ids that are blank or, unless they may, stand twice."""
    if column not in rows.table:
        return
    ids = rows.table[column]
    blank_N = ids.str.strip().eq("").to_numpy()
    blank = np.flatnonzero(blank_N).tolist()
    defects.add("blank ids", rows.lines((row, f"{column} is blank, expected an id") for row in blank))
    repeated = np.flatnonzero(ids.duplicated().to_numpy() & ~blank_N & twice)
    if len(repeated):
        names = ids.to_numpy()
        wanted = set(names[repeated])
        first: dict[str, int] = {}
        for row in np.flatnonzero(ids.isin(wanted).to_numpy()).tolist():
            first.setdefault(names[row], row)
        found = [(row, names[row], rows.called(first[names[row]], row)) for row in repeated.tolist()]
        remedy = "keep one of them, or choose data.duplicates"
        lines = rows.lines((row, f"id '{name}' stands in {place} already; {remedy}") for row, name, place in found)
        defects.add("ids that stand twice", lines)


def check_sample_ids(sample: Rows, column: str, test: Rows | None, test_ids: Iterable[str], defects: Defects) -> None:
    """Compare the sample submission with the ids of the test table, None where it has none.

    An id that the sample repeats is answered in each row.
    """
    ids = sample.table[column].tolist()
    if "" in ids:
        defects.add("blank ids", sample.lines((row, f"{column} is blank") for row, name in enumerate(ids) if not name))
    if test is None:
        return
    test_ids = list(test_ids)
    asked, known = set(ids), set(test_ids)
    lacking = dict.fromkeys(name for name in test_ids if name not in asked)
    unknown = dict.fromkeys(name for name in ids if name not in known)
    where = f"{sample.path}: is it the right sample? "
    defects.add(
        "test ids that the sample submission lacks",
        [f"{where}no row for test id '{name}'" for name in lacking],
    )
    defects.add("sample ids that are no test rows", [f"{where}id '{name}' is not in {test.path}" for name in unknown])

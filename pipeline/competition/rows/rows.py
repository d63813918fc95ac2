"""Hold rows with the place that each comes from, collect what is wrong with them, check what every table must have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition.rows import id_forms
from pipeline.errors import Problem, nearest
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.sections.data import Data

SHOWN = 20  # problems of one kind that an error lists; `check` writes all of them to a file
ALIKE = 3  # of those that one remedy mends
RowProblem = tuple[int, Problem]  # row number, what is wrong there


@dataclass
class Findings:
    """Collect problems by kind, so that one broken column does not push the others off the screen, and notes."""

    kinds: dict[str, list[Problem]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)  # what a problem keeps from being looked at
    images: list[tuple[str, ...]] = field(default_factory=list)  # found on disk, whatever else is wrong

    def add(self, kind: str, problems: Iterable[Problem]) -> None:
        """Add problems of one kind."""
        if found := list(problems):
            self.kinds.setdefault(kind, []).extend(found)

    def problems(self, most: int | None = None) -> list[Problem]:
        """Return all problems, each once, or the first of each kind with a count of the rest."""
        found = []
        for kind, problems in self.kinds.items():
            once = list(dict.fromkeys(problems))
            shown = once if most is None else _few(once)[:most]
            found += shown
            if len(once) > len(shown):
                found.append(Problem("", f"… and {len(once) - len(shown)} more: {kind}"))
        return found


def _few(problems: list[Problem]) -> list[Problem]:
    """Return the problems but for those beyond the third that one and the same remedy mends."""
    times, shown = Counter[tuple[str, str]](), []
    for one in problems:
        times[one.found, one.remedy] += 1
        if not one.remedy or times[one.found, one.remedy] <= ALIKE:
            shown.append(one)
    return shown


@dataclass(frozen=True)
class Origin:
    """Say how a file's rows are called in a message."""

    path: Path
    unit: str = "line"
    first: int = 2  # the number of the first row: the header is line 1
    names: Sequence[str] | None = None  # files below path, where a row is a file

    def place(self, row: int) -> str:
        """Return where a row stands."""
        return (
            f"{self.path}: {self.unit} {row + self.first}" if self.names is None else f"{self.path}/{self.names[row]}"
        )


@dataclass(frozen=True)
class Rows:
    """Hold a table with where its rows come from; that stands in every problem."""

    path: Path  # what is named where the table as a whole is meant
    table: pd.DataFrame
    origins: tuple[Origin, ...] = ()  # (): path, a CSV
    origin_N2: Array | None = None  # [N,2] int64: which origin, the row there; None: the first one's, in order
    notes: tuple[str, ...] = ()  # what was taken care of when it was read

    def place(self, row: int) -> str:
        """Return where a row stands, by its number in the table."""
        origin, number = (0, row) if self.origin_N2 is None else map(int, self.origin_N2[row])
        return (self.origins or (Origin(self.path),))[origin].place(number)

    def called(self, row: int, beside: int) -> str:
        """Return how a row is called in a message about another one: by its line in the same file."""
        place, prefix = self.place(row), f"{self.path}: "
        return place.removeprefix(prefix) if self.place(beside).startswith(prefix) else place

    def problems(self, found: Iterable[RowProblem]) -> list[Problem]:
        """Return the problems of rows, each with its place."""
        return [problem.below(self.place(row), ": ") for row, problem in found]

    def take(self, rows_M: Array) -> Rows:
        """Return some of the rows, in the order asked for."""
        table = self.table.iloc[rows_M].reset_index(drop=True)
        return replace(self, table=table, origin_N2=self._origin_N2()[rows_M])

    def _origin_N2(self) -> Array:
        return numbered(np.arange(len(self.table))) if self.origin_N2 is None else self.origin_N2

    @classmethod
    def below(cls, tables: Sequence[Rows]) -> Rows:
        """Put tables one below the other; a column that one of them lacks is blank there."""
        import pandas as pd

        if len(tables) == 1:
            return tables[0]
        origins: list[Origin] = []
        parts = []
        for rows in tables:
            parts.append(rows._origin_N2() + np.array([len(origins), 0]))
            origins += rows.origins or (Origin(rows.path),)
        table = pd.concat([rows.table for rows in tables], ignore_index=True).fillna("")
        return cls(tables[0].path, table, tuple(origins), np.concatenate(parts), sum((one.notes for one in tables), ()))


def numbered(rows_N: Array) -> Array:
    """Return the rows' numbers as those of the first origin, [N,2] int64."""
    return np.stack([np.zeros(len(rows_N), np.int64), rows_N], 1)


def id_column(sample: pd.DataFrame, data: Data) -> str | None:
    """Return the sample submission's id column: data.id, or the one that differs only by its case."""
    if data.id in sample:
        return data.id
    same = [str(column) for column in sample.columns if str(column).lower() == data.id.lower()]
    return same[0] if len(same) == 1 else None


def check_columns(rows: Rows, wanted: dict[str, list[str]], findings: Findings) -> None:
    """Find columns that a config key names and the table lacks."""
    have = [str(column) for column in rows.table.columns]
    missing = [(key, name) for key, names in wanted.items() for name in names if name not in have]
    findings.add(
        "columns",
        (Problem(str(rows.path), f"no column '{name}' ({key})", remedy=nearest(name, have)) for key, name in missing),
    )


def check_filled(rows: Rows, column: str, what: str, kind: str, findings: Findings) -> Array:
    """Find blank cells; return which rows have them."""
    blank_N: Array = rows.table[column].str.strip().eq("").to_numpy()
    blank = Problem("", f"{column} is blank", what)
    findings.add(kind, rows.problems((row, blank) for row in np.flatnonzero(blank_N).tolist()))
    return blank_N


def check_ids(rows: Rows, column: str, findings: Findings, unique: bool) -> None:
    """Find ids that are blank or, where each must be unique, repeated."""
    blank_N = check_filled(rows, column, "an id", "blank ids", findings)
    ids = rows.table[column]
    repeated = np.flatnonzero(ids.duplicated().to_numpy() & ~blank_N & unique).tolist()
    if repeated:
        row_of = ids.drop_duplicates()
        first = dict(zip(row_of, row_of.index.tolist(), strict=True))
        texts = ((row, f"id '{ids[row]}' stands in {rows.called(first[ids[row]], row)} already") for row in repeated)
        remedy = "keep one of them, or choose data.duplicates"
        found = rows.problems((row, Problem("", text, remedy=remedy)) for row, text in texts)
        findings.add("ids that stand twice", found)


def check_sample_ids(
    sample: Rows, column: str, test: Rows | None, test_ids: Sequence[str], own: str, findings: Findings
) -> None:
    """Compare the sample submission with the ids of the test table's column `own`, None where it has none.

    An id that the sample repeats is answered in each row.
    """
    ids = sample.table[column].tolist()
    blank = Problem("", f"{column} is blank")
    findings.add("blank ids", sample.problems((row, blank) for row, name in enumerate(ids) if not name))
    if test is None:
        return
    asked, known, place = set(ids), set(test_ids), str(sample.path)
    lacking = dict.fromkeys(name for name in test_ids if name not in asked)
    unknown = dict.fromkeys(name for name in ids if name not in known)
    if lacking and (alike := id_forms.difference(asked, known, column, own)) is not None:
        findings.add("sample ids that are no test rows", [Problem(place, alike[0], remedy=alike[1])])
        return
    for kind, texts in {
        "test ids that the sample submission lacks": [f"no row for test id '{name}'" for name in lacking],
        "sample ids that are no test rows": [f"id '{name}' is not in {test.path}" for name in unknown],
    }.items():
        findings.add(kind, (Problem(place, f"is it the right sample? {text}") for text in texts))

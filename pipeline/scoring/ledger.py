"""Hold the ledger of what was submitted: RUNS_DIR/leaderboard.csv, one row per run or blend."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from pipeline.errors import LockedError, MismatchError, Problem, problems_of
from pipeline.files.locks import lock
from pipeline.files.tables import read_text_table, write_table
from pipeline.methods.metrics import find
from pipeline.plugins import file_of

NAME = "leaderboard.csv"
NUMBERS = ("cv", "std", "cross_fitted", "public", "private")
WAIT_SECONDS = 10.0  # for another process that adds a row at the same moment


@dataclass(frozen=True)
class Entry:
    """Hold one row; None is a score that is not known, or not defined."""

    date: str  # when these scores were entered, UTC
    competition: str
    run: str
    metric: str
    cv: float | None
    std: float | None
    cross_fitted: float | None
    public: float | None = None
    private: float | None = None
    note: str = ""

    @property
    def scores(self) -> tuple[float | None, ...]:
        """Return what the run's files say."""
        return self.cv, self.std, self.cross_fitted

    @property
    def primary(self) -> float | None:
        """Return the score to sort by: cross-fitted where something was fitted to the OOF rows, else CV."""
        return self.cv if self.cross_fitted is None else self.cross_fitted

    def gain(self, greater_is_better: bool) -> float:
        """Return the primary score turned so that greater is better; −inf where there is none."""
        return -math.inf if self.primary is None else self.primary * (1 if greater_is_better else -1)


COLUMNS = tuple(field.name for field in fields(Entry))


def read(runs_dir: Path) -> list[Entry]:
    """Return the rows in the file's order, none where there is no file; people may have edited it.

    Raises MismatchError listing every cell that is wrong.
    """
    path = runs_dir / NAME
    if not path.is_file():
        return []
    try:
        table = read_text_table(path)
    except ValueError as error:
        text = f"not readable as CSV ({' '.join(str(error).split())})"
        raise MismatchError(Problem(str(path), text, remedy="correct it")) from None
    if tuple(table.columns) != COLUMNS:
        found, expected = f"found the columns {', '.join(table.columns)}", ", ".join(COLUMNS)
        raise MismatchError(Problem(str(path), found, expected, "correct its header"))
    problems: list[Problem] = []
    rows = enumerate(table.itertuples(index=False, name=None), start=2)
    entries = [_entry(f"{path}: line {n}", dict(zip(COLUMNS, row, strict=True)), problems) for n, row in rows]
    for name, times in Counter(entry.run for entry in entries).items():
        if times > 1:
            problems.append(Problem(str(path), f"the run '{name}' has {times} lines", remedy="keep one"))
    if problems:
        raise MismatchError(*problems)
    return entries


def change(runs_dir: Path, run: str, make: Callable[[Entry | None], Entry]) -> tuple[Entry | None, Entry]:
    """Put `make(what is there, or None)` in the run's place, or at the end, and return the old and the new entry.

    Reading and writing happen under one lock, so that two processes lose nothing.
    """
    begin = time.monotonic()
    while True:
        try:
            with lock(runs_dir, sweep=False):
                return _change(runs_dir, run, make)
        except LockedError:
            if time.monotonic() - begin > WAIT_SECONDS:
                raise
            time.sleep(0.02)


def _change(runs_dir: Path, run: str, make: Callable[[Entry | None], Entry]) -> tuple[Entry | None, Entry]:
    import pandas as pd

    entries = {entry.run: entry for entry in read(runs_dir)}
    old = entries.get(run)
    made = entries[run] = make(old)
    rows = [["" if cell is None else cell for cell in astuple(entry)] for entry in entries.values()]
    write_table(runs_dir / NAME, pd.DataFrame(rows, columns=list(COLUMNS), dtype=object))
    return old, made


def _entry(place: str, row: dict[str, str], problems: list[Problem]) -> Entry:
    numbers = {name: _number(place, name, row[name], problems) for name in NUMBERS}
    try:
        if file_of(row["metric"]) is None:  # a user's own is never executed for a table
            find(row["metric"])
    except ValueError as error:
        problems += [one.below("metric").below(place, ": ") for one in problems_of(error)]
    if not row["run"]:
        problems.append(Problem(place, "run is blank", "a run's name"))
    return Entry(**{**row, **numbers})  # type: ignore[arg-type]


def _number(place: str, name: str, cell: str, problems: list[Problem]) -> float | None:
    if not cell.strip():
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    problems.append(Problem(place, f"{name} is '{cell}'", "a number or nothing"))
    return None

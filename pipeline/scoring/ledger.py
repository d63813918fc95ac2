"""Hold the ledger of what was submitted: RUNS_DIR/leaderboard.csv, one row per run or blend."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import LockedError, MismatchError
from pipeline.files.locks import lock
from pipeline.files.tables import read_text_table, write_table
from pipeline.methods.metrics import find

if TYPE_CHECKING:
    import pandas as pd

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
    public: float | None
    private: float | None
    note: str

    @property
    def primary(self) -> float | None:
        """Return the score to sort by: cross-fitted where something was fitted to the OOF rows, else CV."""
        return self.cv if self.cross_fitted is None else self.cross_fitted

    @property
    def gain(self) -> float:
        """Return the primary score turned so that greater is better; −inf where there is none."""
        if self.primary is None:
            return -math.inf
        return self.primary if find(self.metric).greater_is_better else -self.primary


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
        raise MismatchError(f"{path}: not readable as CSV ({' '.join(str(error).split())}); correct it") from None
    if tuple(table.columns) != COLUMNS:
        raise MismatchError(
            f"{path}: found the columns {', '.join(table.columns)}, expected {', '.join(COLUMNS)}; correct its header"
        )
    defects: list[str] = []
    found = [_entry(f"{path}: line {n + 2}", row, defects) for n, row in enumerate(_rows(table))]
    names = [entry.run for entry in found]
    defects += [
        f"{path}: the run '{name}' stands {names.count(name)} times; keep one line"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if defects:
        raise MismatchError(*defects)
    return found


def change(runs_dir: Path, run: str, make: Callable[[Entry | None], Entry]) -> Entry:
    """Put `make(what is there, or None)` in the run's place, or at the end, and return it.

    Reading and writing happen under one lock, so that two processes lose nothing.
    """
    begin = time.monotonic()
    while True:
        try:
            with lock(runs_dir):
                return _change(runs_dir, run, make)
        except LockedError:
            if time.monotonic() - begin > WAIT_SECONDS:
                raise
            time.sleep(0.02)


def _change(runs_dir: Path, run: str, make: Callable[[Entry | None], Entry]) -> Entry:
    import pandas as pd

    entries = {entry.run: entry for entry in read(runs_dir)}
    made = entries[run] = make(entries.get(run))
    rows = [["" if cell is None else cell for cell in astuple(entry)] for entry in entries.values()]
    write_table(runs_dir / NAME, pd.DataFrame(rows, columns=list(COLUMNS), dtype=object))
    return made


def _rows(table: pd.DataFrame) -> list[dict[str, str]]:
    return [dict(zip(COLUMNS, cells, strict=True)) for cells in table.itertuples(index=False, name=None)]


def _entry(place: str, row: dict[str, str], defects: list[str]) -> Entry:
    cells: dict[str, Any] = {**row, **{name: _number(place, name, row[name], defects) for name in NUMBERS}}
    try:
        find(row["metric"])
    except ValueError as error:
        defects.append(f"{place}: metric: {error}")
    if not row["run"]:
        defects.append(f"{place}: run is blank, expected a run's name")
    return Entry(**cells)


def _number(place: str, name: str, cell: str, defects: list[str]) -> float | None:
    if not cell.strip():
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        defects.append(f"{place}: {name} is '{cell}', expected a number or nothing")
        return None
    return value

"""Hold who validates whom: `folds/NAME.csv` and `.json`, frozen once made."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import MismatchError
from pipeline.files.atomic import read_json, write_json
from pipeline.files.tables import read_text_table, texts, write_table
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.competition.competition import Competition
    from pipeline.config.config import Config

REMEDY = "remake them with: foldline folds --force"


@dataclass(frozen=True)
class FoldTable:
    """Hold one fold per training id, sorted by id; fold −1 is trained on in every fold, never validated."""

    ids: Array  # [N] str, sorted
    groups: Array  # [N] str, '' where the competition has no groups
    targets: pd.DataFrame  # [N] rows, text as in the training table
    fold: Array  # [N] int64
    path: Path = Path("folds")  # named in messages

    @property
    def n(self) -> int:
        """Return the number of folds that are validated."""
        return int(self.fold.max()) + 1

    @property
    def table_hash(self) -> str:
        """Return the SHA-256 over the sorted (id, targets, group)."""
        columns = [
            self.ids.tolist(),
            *(self.targets[name].tolist() for name in self.targets),
            self.groups.tolist(),
        ]
        return _hash(zip(*columns, strict=True))

    @property
    def fold_hash(self) -> str:
        """Return the SHA-256 over the sorted (id, fold) with fold ≥ 0."""
        valid = self.fold >= 0
        return _hash(zip(self.ids[valid].tolist(), self.fold[valid].tolist(), strict=True))

    def valid_ids(self, k: int) -> Array:
        """Return the ids that fold k validates."""
        return np.compress(self.fold == k, self.ids)

    def train_ids(self, k: int, subset: float = 1.0, seed: int = 0) -> Array:
        """Return the ids that fold k trains on: all others, fold −1 included.

        `subset` below 1 leaves that share of all groups (ids, where there are none), the same in every fold; a
        larger share holds every smaller one of the same seed.
        """
        wanted = self.fold != k
        if subset < 1:
            units = np.where(self.groups == "", self.ids, self.groups)
            names = np.unique(units)
            names = names[np.argsort([hashlib.sha256(f"{seed}\x1f{name}".encode()).digest() for name in names])]
            wanted &= np.isin(units, names[: math.ceil(subset * len(names))])
        return np.compress(wanted, self.ids)


def row_numbers(ids: Array, wanted: Array) -> Array:
    """Return where each wanted id stands among `ids`, which are in any order, [W] int64.

    Tables are joined by this and never by position. Raises KeyError on an id that is not there.
    """
    number = {name: n for n, name in enumerate(ids.tolist())}
    return np.asarray([number[name] for name in wanted.tolist()], dtype=np.int64)


def of_competition(competition: Competition, targets: list[str], fold_N: Array, path: Path) -> FoldTable:
    """Make the table from folds in the training table's row order."""
    order = np.argsort(competition.ids, kind="stable")
    groups = np.full(len(order), "") if competition.groups is None else competition.groups
    cells = competition.table[targets].iloc[order].reset_index(drop=True)
    return FoldTable(competition.ids[order], groups[order], cells, fold_N[order].astype(np.int64), path)


def read(config: Config) -> FoldTable:
    """Read the fold table; raise MismatchError where it is missing, damaged or not as its report says."""
    path = config.folds_path
    if not path.is_file():
        raise MismatchError(f"{path}: not found; make it with: foldline folds")
    try:
        cells = read_text_table(path)
        with path.open(encoding="utf-8-sig", newline="") as stream:
            names = next(csv.reader(stream))  # pandas renames a target that is called group
    except ValueError as error:
        raise MismatchError(f"{path}: not readable as CSV ({' '.join(str(error).split())}); {REMEDY}") from None
    if names[:2] != ["id", "group"] or len(names) < 4 or names[-1] != "fold":
        raise MismatchError(
            f"{path}: found the columns {', '.join(names)}, expected id, group, target…, fold; {REMEDY}"
        )
    if absent := [name for name in config.data.targets if name not in names[2:-1]]:
        raise MismatchError(
            f"{path}: made for the target {', '.join(names[2:-1])}, data.target asks for {', '.join(absent)}; "
            f"restore data.target, or {REMEDY}"
        )
    cells = cells.sort_values("id", kind="stable", ignore_index=True)
    ids, numbers = texts(cells["id"]), texts(cells.iloc[:, -1])
    defects = []
    if len(twice := ids[1:][ids[1:] == ids[:-1]]):
        defects.append(f"{path}: {_some(twice)} twice; {REMEDY}")
    if len(wrong := ids[~np.isin(numbers, np.arange(-1, len(ids)).astype(np.str_))]):
        raise MismatchError(*defects, f"{path}: {_some(wrong)} without a fold number of −1 or more; {REMEDY}")
    fold_N = numbers.astype(np.int64)
    present = np.unique(fold_N[fold_N >= 0])
    if len(present) == 0 or present[-1] != len(present) - 1:
        defects.append(f"{path}: found the folds {present.tolist()}, expected 0, 1, … without a gap; {REMEDY}")
    groups = texts(cells["group"])
    if len(split := _split_groups(groups, fold_N)):
        defects.append(f"{path}: {len(split)} groups lie in several folds (first '{split[0]}'); {REMEDY}")
    if defects:
        raise MismatchError(*defects)
    targets = cells.iloc[:, 2:-1].set_axis(names[2:-1], axis=1)
    table = FoldTable(ids, groups, targets, fold_N, path)
    report = read_report(config)
    if report is not None and report.get("fold_hash") != table.fold_hash:
        raise MismatchError(
            f"{path}: fold hash {table.fold_hash[:12]}, but {path.with_suffix('.json')} says "
            f"{str(report.get('fold_hash'))[:12]}: one of them was changed; restore it, or {REMEDY}"
        )
    return table


def read_report(config: Config) -> dict[str, Any] | None:
    """Return what `folds/NAME.json` says, or None where there is none, as with a teammate's bare CSV."""
    path = config.folds_path.with_suffix(".json")
    if not path.is_file():
        return None
    report = read_json(path)
    if not isinstance(report, dict):
        raise MismatchError(f"{path}: found {type(report).__name__}, expected keys and values; {REMEDY}")
    return report


def write(config: Config, table: FoldTable, report: dict[str, Any]) -> Path:
    """Write the table, then its report; return the table's path."""
    path = config.folds_path
    cells = table.targets.copy()
    cells.insert(0, "id", table.ids, allow_duplicates=True)
    cells.insert(1, "group", table.groups, allow_duplicates=True)
    cells.insert(cells.shape[1], "fold", table.fold, allow_duplicates=True)
    write_table(path, cells)
    write_json(path.with_suffix(".json"), report)
    return path


def verify(table: FoldTable, competition: Competition) -> None:
    """Raise MismatchError with the ids that are missing, unknown or changed against the training table.

    The order of the training table does not matter, nor do columns that are neither id, target nor group.
    """
    defects = []
    if len(missing := np.setdiff1d(competition.ids, table.ids)):
        defects.append(f"{table.path}: {_some(missing)} of the training table not in it; {REMEDY}")
    if len(unknown := np.setdiff1d(table.ids, competition.ids)):
        defects.append(f"{table.path}: {_some(unknown)} not in the training table; {REMEDY}")
    targets = [str(name) for name in table.targets]
    absent = [name for name in targets if name not in competition.table]
    if absent:
        defects.append(f"{table.path}: target {', '.join(absent)} is no column of the training table; {REMEDY}")
    both, here, there = np.intersect1d(table.ids, competition.ids, return_indices=True)
    groups = np.full(len(competition.ids), "") if competition.groups is None else competition.groups
    pairs = {name: (table.targets[name], competition.table[name]) for name in targets if name not in absent}
    olds_news = {name: (texts(old), texts(new)) for name, (old, new) in pairs.items()}
    for name, (old, new) in {**olds_news, "group": (table.groups, groups)}.items():
        if len(changed := np.flatnonzero(old[here] != new[there])):
            first = changed[0]
            defects.append(
                f"{table.path}: {_some(both[changed])} changed in {name} "
                f"('{old[here][first]}' here, '{new[there][first]}' in the training table); {REMEDY}"
            )
    if defects:
        raise MismatchError(*defects)


def _split_groups(groups: Array, fold_N: Array) -> list[str]:
    """Return the groups that lie in more than one fold."""
    names, code_N = np.unique(groups, return_inverse=True)
    pairs = np.unique(np.stack([code_N, fold_N]), axis=1)
    folds_G = np.bincount(pairs[0], minlength=len(names))
    return [name for name in names[folds_G > 1].tolist() if name]


def _hash(rows: Iterable[tuple[Any, ...]]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def _some(ids: Array) -> str:
    return f"{len(ids)} ids (first '{ids[0]}')"

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
import pandas as pd

from pipeline.errors import MismatchError, Problem
from pipeline.files import checksums
from pipeline.files.atomic import read_json, write_json
from pipeline.files.tables import read_text_table, texts, write_table
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
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
    forward: bool = False  # scheme time: fold k trains on fold −1 and on the folds before it alone

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
        """Return the SHA-256 over the sorted (id, fold) with fold ≥ 0, and the rule of scheme time."""
        valid = self.fold >= 0
        pairs = zip(self.ids[valid].tolist(), self.fold[valid].tolist(), strict=True)
        return _hash((*pairs, ("forward",)) if self.forward else pairs)  # other models than those of all other folds

    def valid_ids(self, k: int) -> Array:
        """Return the ids that fold k validates."""
        return np.compress(self.fold == k, self.ids)

    def trains(self, k: int) -> Array:
        """Return which ids fold k trains on, [N] bool: all others, or the earlier ones; fold −1 always."""
        return self.fold < k if self.forward else self.fold != k

    def train_ids(self, k: int, subset: float = 1.0, seed: int = 0) -> Array:
        """Return the ids that fold k trains on.

        `subset` below 1 leaves that share of all groups (ids, where there are none), the same in every fold; a
        larger share holds every smaller one of the same seed.
        """
        wanted = self.trains(k)
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


def of_competition(
    competition: Competition, targets: list[str], fold_N: Array, path: Path, forward: bool = False
) -> FoldTable:
    """Make the table from folds in the training table's row order."""
    order = np.argsort(competition.ids, kind="stable")
    groups = np.full(len(order), "") if competition.groups is None else competition.groups
    cells = competition.table[targets].iloc[order].reset_index(drop=True)
    return FoldTable(competition.ids[order], groups[order], cells, fold_N[order].astype(np.int64), path, forward)


def read(config: Config) -> FoldTable:
    """Read the fold table; raise MismatchError where it is missing, damaged or not as its report says."""
    path = config.folds_path
    if not path.is_file():
        raise MismatchError(Problem(str(path), "not found", remedy="make it with: foldline folds"))
    try:
        cells = read_text_table(path)
        with path.open(encoding="utf-8-sig", newline="") as stream:
            names = next(csv.reader(stream))  # pandas renames a target that is called group
    except (ValueError, csv.Error) as error:
        raise MismatchError(_problem(path, f"not readable as CSV ({' '.join(str(error).split())})")) from None
    if names[:2] != ["id", "group"] or len(names) < 4 or names[-1] != "fold":
        raise MismatchError(_problem(path, f"found the columns {', '.join(names)}", "id, group, target…, fold"))
    if absent := [name for name in config.data.targets if name not in names[2:-1]]:
        found = f"made for the target {', '.join(names[2:-1])}, data.target asks for {', '.join(absent)}"
        raise MismatchError(Problem(str(path), found, remedy=f"restore data.target, or {REMEDY}"))
    cells = cells.sort_values("id", kind="stable", ignore_index=True)
    ids, numbers, groups = texts(cells["id"]), texts(cells.iloc[:, -1]), texts(cells["group"])
    problems = []
    if len(repeated := ids[1:][ids[1:] == ids[:-1]]):
        problems.append(_problem(path, f"{_some(repeated)} twice"))
    if len(wrong := ids[~np.isin(numbers, np.arange(-1, len(ids)).astype(np.str_))]):
        raise MismatchError(*problems, _problem(path, f"{_some(wrong)} without a fold number of −1 or more"))
    fold_N = numbers.astype(np.int64)
    present = np.unique(fold_N[fold_N >= 0])
    if len(present) == 0 or present[-1] != len(present) - 1:
        problems.append(_problem(path, f"found the folds {present.tolist()}", "0, 1, … without a gap"))
    folds = pd.Series(fold_N[groups != ""]).groupby(groups[groups != ""]).nunique()
    if len(split := folds.index[folds > 1]):
        problems.append(_problem(path, f"{len(split)} groups lie in several folds (first '{split[0]}')"))
    if problems:
        raise MismatchError(*problems)
    report, made = read_report(config), scheme(config)
    forward = "time" in (made, config.folds.scheme if made == "given" else made)
    table = FoldTable(ids, groups, cells.iloc[:, 2:-1].set_axis(names[2:-1], axis=1), fold_N, path, forward)
    if report is not None:
        hashes = {"fold hash": (table.fold_hash, report.get("fold_hash"))}
        if "table_hash" in report:  # of ids, targets and groups
            hashes["table hash"] = table.table_hash, report["table_hash"]
        for what, (ours, theirs) in hashes.items():
            if ours != theirs:
                said = f"{path.with_suffix('.json')} says {str(theirs)[:12]}: one of them was changed"
                found = f"{what} {ours[:12]}, but {said}"
                raise MismatchError(Problem(str(path), found, remedy=f"restore it, or {REMEDY}"))
    return table


def read_report(config: Config) -> dict[str, Any] | None:
    """Return what `folds/NAME.json` says, or None where there is none, as with a teammate's bare CSV.

    Raises MismatchError where it is damaged; those of earlier versions have no checksum of their own.
    """
    path = config.folds_path.with_suffix(".json")
    if not path.is_file():
        return None
    report = read_json(path)
    if not isinstance(report, dict):
        raise MismatchError(_problem(path, f"found {type(report).__name__}", "keys and values"))
    if not checksums.unsealed(report):
        raise MismatchError(Problem(str(path), "damaged (its SHA-256 differs)", remedy=f"restore it, or {REMEDY}"))
    return report


def scheme(config: Config) -> str:
    """Return the scheme that the stored table was made by; given: another one, which its report does not say."""
    return str((read_report(config) or {}).get("scheme", "given"))


def write(config: Config, table: FoldTable, report: dict[str, Any]) -> Path:
    """Write the table, then its report; return the table's path."""
    path = config.folds_path
    cells = table.targets.copy()
    cells.insert(0, "id", table.ids, allow_duplicates=True)
    cells.insert(1, "group", table.groups, allow_duplicates=True)
    cells.insert(cells.shape[1], "fold", table.fold, allow_duplicates=True)
    write_table(path, cells)
    write_json(path.with_suffix(".json"), checksums.sealed(report))
    return path


def verify(table: FoldTable, competition: Competition) -> None:
    """Raise MismatchError with the ids that are missing, unknown or changed against the training table.

    The order of the training table does not matter, nor do columns that are neither id, target nor group.
    """
    path, problems = table.path, []
    for what, ids in {
        "of the training table not in it": np.setdiff1d(competition.ids, table.ids),
        "not in the training table": np.setdiff1d(table.ids, competition.ids),
    }.items():
        if len(ids):
            problems.append(_problem(path, f"{_some(ids)} {what}"))
    there = [str(name) for name in table.targets if name in competition.table]
    if absent := [str(name) for name in table.targets if name not in there]:
        problems.append(_problem(path, f"target {', '.join(absent)} is no column of the training table"))
    pairs = [(name, texts(table.targets[name]), texts(competition.table[name])) for name in there]
    groups = np.full(len(competition.ids), "") if competition.groups is None else competition.groups
    both, old_B, new_B = np.intersect1d(table.ids, competition.ids, return_indices=True)
    named = competition.table_groups
    if named is not None and (table.groups[old_B] == named[new_B]).all():  # made before equal images united groups
        problems += _crossing(table, both, table.fold[old_B], groups[new_B])
        groups = named
    for name, old, new in [*pairs, ("group", table.groups, groups)]:
        if len(changed := np.flatnonzero(old[old_B] != new[new_B])):
            cells = f"'{old[old_B][changed[0]]}' here, '{new[new_B][changed[0]]}' in the training table"
            problems.append(_problem(path, f"{_some(both[changed])} changed in {name} ({cells})"))
    if problems:
        raise MismatchError(*problems)


def _crossing(table: FoldTable, ids: Array, fold_B: Array, group_B: Array) -> list[Problem]:
    """Return a problem where rows that equal images unite lie in several folds."""
    order_B = np.lexsort((ids, group_B))
    order_B = order_B[group_B[order_B] != ""]
    _, start_G, number_B = np.unique(group_B[order_B], return_index=True, return_inverse=True)
    first_B = order_B[start_G][number_B]
    cross_B = np.flatnonzero(fold_B[order_B] != fold_B[first_B])
    if not len(cross_B):
        return []
    one, other = first_B[cross_B[0]], order_B[cross_B[0]]
    pair = f"'{ids[one]}' in fold {fold_B[one]}, '{ids[other]}' in fold {fold_B[other]}"
    groups = len(np.unique(group_B[order_B[cross_B]]))
    found = f"equal images lie in several folds, {groups} times (first the group of {pair})"
    return [Problem(str(table.path), found, remedy=f"{REMEDY}, or set data.duplicates_by_content: keep")]


def _hash(rows: Iterable[tuple[Any, ...]]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def _problem(path: Path, found: str, expected: str = "") -> Problem:
    return Problem(str(path), found, expected, REMEDY)


def _some(ids: Array) -> str:
    return f"{len(ids)} ids (first '{ids[0]}')"

"""Tell the tables of a competition's folder apart: sample submission, training, test."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.competition.tables import read_table
from pipeline.errors import InputError
from pipeline.starting import pictures
from pipeline.starting.folder import Folder, class_folder, labels_in_names, words
from pipeline.starting.pictures import Found
from pipeline.starting.targets import Guess

if TYPE_CHECKING:
    import pandas as pd

VALID = {"val", "valid", "validation"}
RECORDS = 500  # of which the range of arrays is taken


@dataclass(frozen=True)
class Train:
    """Hold the training rows and where their pictures are."""

    table: pd.DataFrame
    found: Found | None  # None: arrays in records
    guesses: list[Guess]


def sample(folder: Folder) -> tuple[str, pd.DataFrame, list[str]]:
    """Return the sample submission's path, its columns without an index, and the names of all its columns."""
    named = [path for path in folder.tables if "submission" in path.lower() or "sample" in words(path)]
    for path in sorted(named, key=lambda path: ("sample" not in path.lower(), path.count("/"), path)):
        table = read_table(folder.root, path)
        kept = [name for name in table.columns if name.strip() and not name.startswith("Unnamed: ")]
        if len(kept) > 1:
            return path, table[kept], list(table.columns)
    raise InputError(
        f"{folder.root}: no table is called like sample_submission.csv, expected one with an id column and what is to "
        "be filled in; write one with a row per test id"
    )


def train(folder: Folder, taken: str, sample_id: str) -> Train:
    """Return the training rows: of a table, else of folders that are classes, else of file names."""
    tables = [path for path in folder.tables if path != taken and "test" not in words(path.rpartition("/")[2])]
    tables = [path for path in tables if "test" not in words(os.path.dirname(path))]
    for path in sorted(tables, key=_likely):
        try:
            table = read_table(folder.root, path)
        except (ValueError, OSError):
            continue
        prefer = [name for name in table.columns if name.lower() == sample_id.lower()]
        if (found := pictures.find(table, folder, "train", prefer)) is not None:
            return _with_others(folder, [other for other in tables if other != path], path, table, found)
        if path.endswith(".json") and (arrays := _arrays(folder, path)):
            return Train(table, None, [("data.train", path, "records that hold their images"), *arrays])
    if (top := class_folder(folder)) is not None:
        table = read_table(folder.root, top)
        why = f"no table leads to pictures; its {table['label'].nunique()} sub-folders are the labels"
        found = Found("{path}", "file" if table["file"].is_unique else "path", len(table), len(table))
        return Train(table, found, [("data.train", top, why), ("data.image", found.template, "the files found")])
    if (named := labels_in_names(folder)) is not None:
        table = read_table(folder.root, named[0])
        why = f"no table leads to pictures; their names begin with the labels {', '.join(named[1][:4])}"
        found = Found("{path}", "id", len(table), len(table))
        return Train(table, found, [("data.train", named[0], why), ("data.image", found.template, "the files found")])
    listed = ", ".join(tables[:6]) or "there is none"
    raise InputError(
        f"{folder.root}: no training rows found, expected a table whose cells lead to pictures (tables: {listed}; "
        f"{len(folder.pictures)} pictures), a folder per class, or labels in file names; {_packed(folder)}"
    )


def _packed(folder: Folder) -> str:
    return "; ".join(folder.notes) or "write the config by hand, as those in configs/competitions"


def _likely(path: str) -> tuple[int, int, str]:
    """Order tables by how much their name says that they are for training."""
    stem, said = os.path.splitext(path.rpartition("/")[2])[0].lower(), words(path)
    rank = 0 if stem == "train" else 1 if "train" in said else 2 if {"training", "labels"} & {*said} else 3
    return rank, path.count("/"), path


def _with_others(folder: Folder, others: list[str], path: str, table: pd.DataFrame, found: Found) -> Train:
    """Add validation tables of the same columns, and say how the pictures were found."""
    import pandas as pd

    joined, hits, paths = [table], found.hits, [path]
    for other in others:
        if not VALID & set(words(other.rpartition("/")[2])):
            continue
        try:
            more = read_table(folder.root, other)
        except (ValueError, OSError):
            continue
        reached = pictures.count(more, folder, found.template)
        if list(more.columns) == list(table.columns) and reached:
            joined, hits, paths = [*joined, more], hits + reached, [*paths, other]
    table = pd.concat(joined, ignore_index=True) if len(joined) > 1 else table
    found = Found(found.template, found.column, hits, len(table))
    guesses: list[Guess] = [("data.train", paths if len(paths) > 1 else path, "its cells lead to pictures")]
    if hits < len(table):
        guesses.append(("data.missing", "skip", f"{len(table) - hits} training rows have no picture"))
    guesses.append(("data.image", found.template, f"reaches {hits} pictures of {len(table)} rows"))
    return Train(table, found, guesses)


def _arrays(folder: Folder, path: str) -> list[Guess]:
    """Return the columns of a JSON file's records that hold flat square images, and the range of their values."""
    records = json.loads((folder.root / path).read_text(encoding="utf-8"))
    if not isinstance(records, list) or not records or not isinstance(records[0], dict):
        return []
    lengths = {name: len(value) for name, value in records[0].items() if isinstance(value, list)}
    side = round(max(lengths.values(), default=0) ** 0.5)
    columns = [name for name, length in lengths.items() if side > 1 and length == side**2]
    if not columns:
        return []
    seen = [number for record in records[:RECORDS] for name in columns for number in record[name]]
    low, high = min(seen), max(seen)
    room = 0.1 * (high - low)
    arrays = {"columns": columns, "shape": [side, side]}
    return [
        ("data.image", arrays, f"lists of {side}·{side} numbers in the records"),
        (
            "data.window",
            [round(low - room), round(high + room)],
            f"values from {low:g} to {high:g} occur, and some room",
        ),
    ]

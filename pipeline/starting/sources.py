"""Tell the tables of a competition's folder apart: sample submission, training, test."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.competition.tables import read_table
from pipeline.errors import InputError, Problem, problems_of
from pipeline.files import archives, parts
from pipeline.starting import class_folders, long_rows, pictures
from pipeline.starting.class_folders import TEST, VALID
from pipeline.starting.folder import Folder, words
from pipeline.starting.kinds import Guess
from pipeline.starting.pictures import Found
from pipeline.starting.targets import NAMES

if TYPE_CHECKING:
    import pandas as pd

FEWEST_PIXELS = 49  # of an image
RECORDS = 500  # of which the range of arrays is taken


@dataclass(frozen=True)
class Train:
    """Hold the training rows and where their pictures are."""

    table: pd.DataFrame
    found: Found | None  # None: arrays in records
    guesses: list[Guess]
    paired: bool = False  # the same file names stand in every class
    numbered: bool = False  # the rows' numbers are their ids
    sample: pd.DataFrame | None = None  # with a row per id, where the sample has one per id and class


@dataclass(frozen=True)
class Sample:
    """Hold the sample submission: its path, None where it is made of the test's ids, and its table without an index."""

    path: str | None
    table: pd.DataFrame
    columns: list[str]  # all of them
    test: str | None = None  # what holds the test rows where there is no sample


def sample(folder: Folder) -> Sample:
    """Return the sample submission, or one of the test's ids; an index column is the id where nothing else can be."""
    named = [path for path in folder.tables if "submission" in path.lower() or "sample" in words(path)]
    why = [f"no table is called like sample_submission.csv among {', '.join(folder.tables[:6]) or 'none'}"]
    for path in sorted(named, key=lambda path: ("sample" not in path.lower(), path.count("/"), path)):
        try:
            table = read_table(folder.root, path)
        except (ValueError, OSError) as error:
            why.append(f"{path} {_reason(error)}")
            continue
        kept = [name for name in table.columns if name.strip() and not name.startswith("Unnamed: ")]
        if len(kept) > 1 or len(table.columns) == 2:
            return Sample(path, table[kept] if len(kept) > 1 else table, list(table.columns))
    if len(why) == 1 and (made := _made(folder)) is not None:
        return made
    wanted = "one with an id column and what is to be filled in"
    raise InputError(Problem(str(folder.root), why[-1], wanted, "write one with a row per test id"))


def _made(folder: Folder) -> Sample | None:
    """Return a sample of the test's ids and the one target that training has more; None where that is in doubt."""
    import pandas as pd

    trained = [path for path in folder.tables if not TEST & {*words(path)}]
    tests = [path for path in folder.tables if TEST & {*words(path)}]
    tops = [path.rpartition("/")[0] for path in folder.pictures if TEST & {*words(path.rpartition("/")[0])}]
    specs = [*tests, *(f"{top}/{{file}}" for top in dict.fromkeys(tops) if not tests)]
    if len(specs) != 1:
        return None
    try:
        test = read_table(folder.root, specs[0])
        known = [read_table(folder.root, path) for path in sorted(trained, key=_likely)[:1]]
    except (ValueError, OSError):
        return None
    more = [name for name in known[0].columns if name not in test.columns] if known else ["label"]
    named = [name for name in more if name.lower() in NAMES] or more
    id_ = next((str(name) for name in test.columns if test[name].is_unique and name != "path"), None)
    if len(named) != 1 or id_ is None:
        return None
    table = pd.DataFrame({id_: test[id_], named[0]: ""})
    return Sample(None, table, list(table.columns), specs[0])


def train(folder: Folder, taken: str | None, sample: pd.DataFrame) -> Train:
    """Return the training rows: of a table, else of folders that are classes, else of file names."""
    tables = [path for path in folder.tables if path != taken and not TEST & {*words(path)}]
    tables = [path for path in tables if "submission" not in path.lower()]
    unread = []
    for path in sorted(tables, key=_likely):
        try:
            table = read_table(folder.root, path)
        except (ValueError, OSError) as error:
            unread.append(f"{path} {_reason(error)}")
            continue
        for long in long_rows.of_sample(sample):
            if (wide := long_rows.of_train(table, long)) is not None:
                found = pictures.find(wide[0], folder, "train", ["image"])
                if found is not None:
                    return _long(path, wide, found, long)
        prefer = [name for name in table.columns if name.lower() == str(sample.columns[0]).lower()]
        if (found := pictures.find(table, folder, "train", prefer)) is not None:
            return _with_others(folder, [other for other in tables if other != path], path, table, found)
        if path.endswith(".json") and (arrays := _arrays(folder, path)):
            return Train(table, None, [("data.train", path, "records that hold their images"), *arrays])
        if (numbers := _numbers(folder, path, table, sample)) is not None:
            return numbers
    asked = {str(name) for name in sample.columns[1:]} | set(sample.iloc[:1000, 1])
    if (listed := class_folders.classes(folder, asked)) is not None:
        return _of_classes(folder, listed)
    if (named := class_folders.labels_in_names(folder)) is not None:
        why = f"no table leads to pictures; their names begin with the labels {', '.join(named[1][:4])}"
        return _of_files(read_table(folder.root, named[0]), named[0], "id", why)
    there = f"tables: {', '.join(tables[:6]) or 'there is none'}; {len(folder.pictures)} pictures"
    wanted = f"a table whose cells lead to pictures ({there}), a folder per class, or labels in file names"
    remedy = "; ".join([*unread[:3], *folder.notes]) or "write the config by hand, as those in configs/competitions"
    raise InputError(Problem(str(folder.root), "no training rows found", wanted, remedy))


def _long(path: str, wide: tuple[pd.DataFrame, list[Guess]], found: Found, long: long_rows.Long) -> Train:
    """Return training rows of which each class has a row in the sample, and perhaps in the table."""
    table, guesses = wide
    rows: Guess = ("submission.rows", "{id}_{class}", "the sample has a row per id and class")
    image: Guess = ("data.image", found.template, f"reaches {found.count} pictures of {found.rows} rows")
    train: Guess = ("data.train", path, "its cells lead to pictures")
    return Train(table, found, [train, *guesses, *explained(found), image, rows], sample=long.sample)


def _reason(error: Exception) -> str:
    return "; ".join(map(str, problems_of(error))) if isinstance(error, ValueError) else str(error)


def _of_classes(folder: Folder, listed: class_folders.Found) -> Train:
    """Return training rows of a folder per class, of training and validation pictures."""
    import pandas as pd

    table = pd.concat([read_table(folder.root, spec) for spec in listed.specs], ignore_index=True).fillna("")
    spec = listed.specs[0] if len(listed.specs) == 1 else listed.specs
    column = "file" if table["file"].is_unique else "path"
    return replace(_of_files(table, spec, column, listed.why), paired=listed.paired)


def _of_files(table: pd.DataFrame, spec: str | list[str], column: str, why: str) -> Train:
    """Return training rows that are files."""
    found = Found("{path}", column, len(table), len(table))
    return Train(table, found, [("data.train", spec, why), ("data.image", found.template, "the files found")])


def _likely(path: str) -> tuple[int, int, str]:
    """Order tables by how clearly their names say that they are for training."""
    stem, found = os.path.splitext(path.rpartition("/")[2])[0].lower(), words(path)
    rank = 0 if stem == "train" else 1 if "train" in found else 2 if {"training", "labels"} & {*found} else 3
    return rank, path.count("/"), path


def _with_others(folder: Folder, others: Sequence[str], path: str, table: pd.DataFrame, found: Found) -> Train:
    """Add validation tables of the same columns, and say how the pictures were found."""
    import pandas as pd

    joined, count, paths = [table], found.count, [path]
    for other in others:
        if not VALID & set(words(other.rpartition("/")[2])) or found.derive:
            continue
        try:
            more = read_table(folder.root, other)
        except (ValueError, OSError):
            continue
        if list(more.columns) == list(table.columns) and (reached := folder.count(more, found.template)):
            joined, count, paths = [*joined, more], count + reached, [*paths, other]
    table = pd.concat(joined, ignore_index=True) if len(joined) > 1 else table
    found = Found(found.template, found.column, count, len(table), found.derive)
    guesses: list[Guess] = [("data.train", paths if len(paths) > 1 else path, "its cells lead to pictures")]
    guesses += explained(found)
    guesses.append(("data.image", found.template, f"reaches {count} pictures of {len(table)} rows"))
    return Train(table, found, guesses)


def explained(found: Found) -> list[Guess]:
    """Return the derived column that a template needs, with the reason."""
    why = f"column '{found.column}' does not name the files as they are called"
    return [("data.derive", found.derive, why)] if found.derive else []


def _numbers(folder: Folder, path: str, table: pd.DataFrame, sample: pd.DataFrame) -> Train | None:
    """Return training rows whose images are numbers: in the table's own cells, or rows of one array for all."""
    guesses: list[Guess] = [("data.train", path, "rows that hold their images")]
    if not folder.pictures and (image := _pixels(table)) is not None:
        counted = _numbered(table, sample)
        guesses += [("data.image", image, "a number for each pixel"), *counted]
        own = table.assign(**{str(sample.columns[0]): [str(n) for n in range(len(table))]}) if counted else table
        return Train(own, None, guesses, numbered=bool(counted))
    stacks = {name: length for name in folder.pictures if (length := _length(folder, name)) is not None}
    mine = [name for name, length in stacks.items() if length == len(table) and not TEST & set(words(name))]
    tests = [name for name, length in stacks.items() if length == len(sample) and TEST & set(words(name))]
    if len(mine) != 1 or len(tests) != 1:
        return None
    derive = {"row": {"count_from": 0}}
    guesses += [
        ("data.image", f"{mine[0]}[{{row}}]", f"an array of {len(table)} images, as many as rows"),
        ("data.test_image", f"{tests[0]}[{{row}}]", f"an array of {len(sample)} images"),
        ("data.derive", derive, "the rows' numbers"),
    ]
    return Train(table, None, guesses)


def _pixels(table: pd.DataFrame) -> dict[str, Any] | None:
    """Return the columns of a table's pixels with the images' shape: one for each, or one with all of them."""
    named: dict[str, int] = Counter(match[1] for name in table.columns if (match := re.fullmatch(r"(.*?)\d+", name)))
    for name, count in named.items():
        if count >= FEWEST_PIXELS and (shape := _shape(count)) is not None:
            return {"columns": f"{name}*", "shape": shape}
    for name in map(str, table.columns):
        counts = {len(cell.split()) for cell in table[name].iloc[:20]}
        if len(counts) == 1 and (count := counts.pop()) >= FEWEST_PIXELS and (shape := _shape(count)) is not None:
            return {"columns": name, "shape": shape}
    return None


def _shape(count: int) -> list[int] | None:
    """Return height, width and, where that alone gives a square, three channels for so many numbers."""
    for channels in (1, 3):
        side = round((count / channels) ** 0.5)
        if side * side * channels == count:
            return [side, side] if channels == 1 else [side, side, 3]
    return None


def _numbered(table: pd.DataFrame, sample: pd.DataFrame) -> list[Guess]:
    """Return what numbers rows that have no id but the sample submission's, which counts them."""
    column, cells = str(sample.columns[0]), sample.iloc[:, 0].tolist()
    if column in table or not cells[0].isdigit() or cells != [str(int(cells[0]) + n) for n in range(len(cells))]:
        return []
    return [("data.derive", {column: {"count_from": int(cells[0])}}, "the sample submission counts the rows")]


def _length(folder: Folder, path: str) -> int | None:
    """Return how many images an npy file holds, None where it holds one."""
    if not path.endswith(".npy") or archives.split(f"{folder.root}/{path}") is not None:
        return None
    try:
        shape = np.load(folder.root / path, mmap_mode="r", allow_pickle=False).shape
    except (OSError, ValueError, *parts.DAMAGED):
        return None
    return int(shape[0]) if (len(shape) > 2 and shape[0] > 16) or len(shape) == 4 else None


def _arrays(folder: Folder, path: str) -> list[Guess]:
    """Return the columns of a JSON file's records that hold flat square images, and the range of their values."""
    try:
        records = json.loads((folder.root / path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
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
    arrays, window = {"columns": columns, "shape": [side, side]}, [round(low - room), round(high + room)]
    return [
        ("data.image", arrays, f"lists of {side}·{side} numbers in the records"),
        ("data.window", window, f"values from {low:g} to {high:g} occur, and some room"),
    ]

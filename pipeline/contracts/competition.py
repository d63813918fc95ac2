"""Read the competition's own files as one table of ids, images and soft targets, with every defect at once."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.contracts.artifacts import read_text_table
from pipeline.contracts.errors import InputError
from pipeline.contracts.task import TASKS

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.contracts.config import Config, Data

Array = np.ndarray[Any, np.dtype[Any]]
KAGGLE_INPUT = Path("/kaggle/input")
SHOWN = 20  # defects of one kind that are printed; the rest is counted


@dataclass(frozen=True)
class Competition:
    """Hold the input: rows of the training table in file order, the test's ids and the sample submission."""

    ids: Array  # [N] str
    images: list[Path]  # [N] absolute
    table: pd.DataFrame  # the training table, every cell as text, [N] rows
    groups: Array | None  # [N] str
    classes: tuple[str, ...]
    targets_NC: Array  # float32
    test_ids: Array  # [T] str, each once
    test_images: list[Path]  # [T] absolute
    sample: pd.DataFrame  # the sample submission, every cell as text
    notes: tuple[str, ...] = ()  # what is no defect but worth a look


@dataclass
class Defects:
    """Collect defects by kind, so that one broken column does not hide the others."""

    kinds: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, *lines: str) -> None:
        """Add lines of one kind."""
        if lines:
            self.kinds.setdefault(kind, []).extend(lines)

    def lines(self, most: int | None = None) -> list[str]:
        """Return all lines, or the first of each kind with a count of the rest."""
        found = []
        for kind, lines in self.kinds.items():
            found += lines[:most]
            if most is not None and len(lines) > most:
                found.append(f"… and {len(lines) - most} more: {kind}")
        return found


def load(config: Config) -> Competition:
    """Read the competition; raise InputError with every defect of tables, labels and paths.

    The images' contents are not read here: that is what filling the cache does.
    """
    competition, defects = survey(config)
    if competition is None:
        raise InputError(*defects.lines(SHOWN))
    return competition


def survey(config: Config) -> tuple[Competition | None, Defects]:
    """Read the competition and collect its defects; it is None where there are any."""
    data, defects, notes = config.data, Defects(), list[str]()
    root = find_root(data.root)
    if root is None:
        slug = Path(data.root).name
        hint = f"make it with: foldline example {slug}" if slug in {"digits", "elpv"} else "correct data.root"
        defects.add("folders", f"{data.root}: data.root is no folder, here or under {KAGGLE_INPUT}; {hint}")
        return None, defects
    train = _read(root / data.train, "data.train", defects)
    sample = _read(root / data.sample_submission, "data.sample_submission", defects)
    test = _read(root / data.test, "data.test", defects) if data.test is not None else None
    sample_id = None
    if sample is not None:
        sample_id = id_column(sample, data)
        if sample_id is None:
            _need_columns(root / data.sample_submission, sample, {"data.id": [data.id]}, defects)
        elif len(sample.columns) < 2:
            defects.add("columns", f"{root / data.sample_submission}: has only the id column, expected one to fill")
    test_path = root / (data.test if data.test is not None else data.sample_submission)
    if data.test is None and sample is not None and sample_id is not None:
        test = sample.drop_duplicates(sample_id).rename(columns={sample_id: data.id}).reset_index(drop=True)
    lists = _PathLists(root)
    train_images = test_images = None
    classes: list[str] = []
    targets_NC: Array = np.zeros((0, 0), dtype=np.float32)
    if train is not None:
        path = root / data.train
        stratify = config.folds.stratify
        wanted = {
            "data.id": [data.id],
            "data.target": data.targets,
            "data.group": [data.group] if data.group else [],
            "folds.stratify": [stratify] if isinstance(stratify, str) else stratify or [],
        }
        _need_columns(path, train, wanted, defects)
        if data.id in train:
            _check_ids(path, train[data.id].tolist(), defects)
        if data.group and data.group in train:
            blank = np.flatnonzero((train[data.group].str.strip() == "").to_numpy())
            defects.add(
                "blank group cells",
                *(f"{path}: line {i + 2}: {data.group} is blank, expected a group; name one for every row" for i in blank),
            )
        if all(column in train for column in data.targets):
            task = TASKS[data.task]
            classes = task.classes(train, data)
            targets_NC, wrong = task.encode(train, data, classes)
            defects.add("bad labels", *(f"{path}: line {row + 2}: {text}" for row, text in wrong))
        train_images = lists.resolve(path, train, data.image, "data.image", defects)
    if test is not None:
        if data.test is not None:
            _need_columns(test_path, test, {"data.id": [data.id]}, defects)
            if data.id in test:
                _check_ids(test_path, test[data.id].tolist(), defects)
        key = "data.test_image" if data.test_image else "data.image"
        test_images = lists.resolve(test_path, test, data.test_image or data.image, key, defects)
    if data.test is not None and test is not None and data.id in test and sample is not None and sample_id:
        _check_sample(root / data.sample_submission, sample[sample_id].tolist(), test[data.id].tolist(), defects)
    if defects.kinds or train is None or test is None or sample is None or not train_images or not test_images:
        return None, defects
    shared = set(train_images) & set(test_images)
    if shared:
        notes.append(f"{len(shared)} images are training and test rows at once (first {min(shared)})")
    return (
        Competition(
            ids=_texts(train[data.id]),
            images=[Path(path) for path in train_images],
            table=train,
            groups=_texts(train[data.group]) if data.group else None,
            classes=tuple(classes),
            targets_NC=targets_NC,
            test_ids=_texts(test[data.id]),
            test_images=[Path(path) for path in test_images],
            sample=sample,
            notes=tuple(notes),
        ),
        defects,
    )


def find_root(root: str) -> Path | None:
    """Return the data folder: as given, or where Kaggle mounts it; None where there is none."""
    slug = Path(root).name
    for folder in (Path(root), KAGGLE_INPUT / slug, KAGGLE_INPUT / "competitions" / slug):
        if folder.is_dir():
            return folder.absolute()
    return None


def id_column(sample: pd.DataFrame, data: Data) -> str | None:
    """Return the sample submission's id column: data.id, or the one that differs by case only."""
    if data.id in sample:
        return data.id
    same = [str(column) for column in sample.columns if str(column).lower() == data.id.lower()]
    return same[0] if len(same) == 1 else None


def _read(path: Path, key: str, defects: Defects) -> pd.DataFrame | None:
    if not path.is_file():
        names = [entry.name for entry in os.scandir(path.parent)] if path.parent.is_dir() else []
        defects.add("files", f"{path}: {key} is missing{_near(path.name, names)}")
        return None
    try:
        table = read_text_table(path)
    except ValueError as error:  # pandas' parser and decoding errors are ValueErrors
        defects.add("files", f"{path}: not readable as CSV ({' '.join(str(error).split())}); save it as UTF-8 CSV")
        return None
    if table.empty:
        defects.add("files", f"{path}: has no rows")
        return None
    return table


def _need_columns(path: Path, table: pd.DataFrame, wanted: dict[str, list[str]], defects: Defects) -> None:
    have = [str(column) for column in table.columns]
    defects.add(
        "columns",
        *(
            f"{path}: no column '{column}' ({key}){_near(column, have)}"
            for key, columns in wanted.items()
            for column in columns
            if column not in have
        ),
    )


def _check_ids(path: Path, ids: Sequence[str], defects: Defects) -> None:
    first: dict[str, int] = {}
    for line, name in enumerate(ids, start=2):
        if not name.strip():
            defects.add("blank ids", f"{path}: line {line}: the id is blank; give every row one")
        elif name in first:
            defects.add("ids twice", f"{path}: line {line}: id '{name}' stands in line {first[name]} already; keep one")
        else:
            first[name] = line


def _check_sample(path: Path, sample_ids: Sequence[str], test_ids: Sequence[str], defects: Defects) -> None:
    in_sample, in_test = set(sample_ids), set(test_ids)
    defects.add(
        "test ids that the sample submission lacks",
        *(f"{path}: no row for test id '{name}'; is it the right file?" for name in test_ids if name not in in_sample),
    )
    defects.add(
        "ids of the sample submission that are no test rows",
        *(f"{path}: id '{name}' is not in the test table" for name in dict.fromkeys(sample_ids) if name not in in_test),
    )


class _PathLists:
    """Turn image templates into paths below root, listing each folder once."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.real = os.path.realpath(root)
        self.folders: dict[str, dict[str, bool] | str] = {}  # name -> is a link; or why it is refused

    def resolve(
        self, table_path: Path, table: pd.DataFrame, template: str, key: str, defects: Defects
    ) -> list[str] | None:
        """Return the absolute path of each row's image, or None with the defects recorded."""
        columns = re.findall(r"\{([^{}]*)\}", template)
        have = [str(column) for column in table.columns]
        unknown = [column for column in dict.fromkeys(columns) if column not in have]
        defects.add(
            "templates",
            *(f"{key}: '{{{name}}}' is no column of {table_path}{_near(name, have)}" for name in unknown),
        )
        if unknown:
            return None
        parts = re.split(r"\{[^{}]*\}", template)
        cells = [table[column].tolist() for column in columns]
        found = []
        for row in range(len(table)):
            name = parts[0] + "".join(cell[row] + part for cell, part in zip(cells, parts[1:], strict=True))
            why = self._refuse(name)
            if why:
                defects.add("images", f"{table_path}: line {row + 2}: {name}: {why}")
            found.append(f"{self.root}/{name}")
        return found

    def _refuse(self, name: str) -> str | None:
        folder, _, file = name.rpartition("/")
        if folder not in self.folders:
            self.folders[folder] = self._list(folder) if not name.startswith("/") else "absolute"
        listing = self.folders[folder]
        if isinstance(listing, str):
            return listing
        if file not in listing:
            return "missing"
        return None

    def _list(self, folder: str) -> dict[str, bool] | str:
        if ".." in folder.split("/"):
            return "leaves data.root"
        try:
            return {entry.name: entry.is_symlink() for entry in os.scandir(f"{self.root}/{folder}")}
        except OSError:
            return "missing"


def _texts(column: pd.Series[str]) -> Array:
    return np.asarray(column.tolist(), dtype=np.str_)


def _near(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; there are: {', '.join(names[:12]) or 'none'}"

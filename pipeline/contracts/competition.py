"""Read the competition's own files as ids, images and soft targets, and find every defect at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.contracts.artifacts import read_text_table
from pipeline.contracts.config import Arrays
from pipeline.contracts.datafolder import KAGGLE_INPUT, find_root
from pipeline.contracts.defects import (
    SHOWN,
    Defects,
    Rows,
    check_columns,
    check_ids,
    check_sample_ids,
    id_column,
)
from pipeline.contracts.errors import InputError
from pipeline.contracts.imagepaths import ImagePaths, Source
from pipeline.contracts.submission import check_sample
from pipeline.contracts.task import TASKS
from pipeline.contracts.templates import nearest

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.contracts.config import Config, Data, Images

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Extra:
    """Hold rows that are trained on and never validated."""

    ids: Array  # [E] str, each once, beginning with `extra:` (or `test:`)
    images: list[Source]  # [E]
    groups: Array | None  # [E] str, '' where the table has none; None where the competition has none
    targets_EC: Array  # float32
    weights_E: Array  # float32


@dataclass(frozen=True)
class Competition:
    """Hold the input: what is predicted, in the order of the training table, its images, and the test's."""

    ids: Array  # [N] str, each once: what is predicted
    images: list[Source]  # [I] absolute paths, one per plane
    rows_I: Array  # [I] int64: the row of `ids` that an image belongs to
    image_ids: Array  # [I] str, each once: data.id's values; `ids` where each has one image
    table: pd.DataFrame  # the training table, every cell as text, [N] rows
    groups: Array | None  # [N] str
    classes: tuple[str, ...]
    targets_NC: Array  # float32
    weights_N: Array | None  # float32, of each row in the loss
    test_ids: Array  # [T] str, each once
    test_images: list[Source]  # [J] absolute; () where data.missing=skip finds none
    test_rows_J: Array  # [J] int64
    test_image_ids: Array  # [J] str, each once
    extra: Extra | None
    sample: pd.DataFrame  # the sample submission, every cell as text
    notes: tuple[str, ...] = ()  # no defects, but worth a look


def load(config: Config) -> Competition:
    """Read the competition; raise InputError with the defects of tables, labels and paths.

    The contents of the images are not read here: that is what filling the cache does.
    """
    competition, defects = survey(config)
    if competition is None:
        raise InputError(*defects.lines(SHOWN))
    return competition


def survey(config: Config) -> tuple[Competition | None, Defects]:
    """Read the competition and collect its defects; it is None where there are any."""
    data, defects = config.data, Defects()
    root = find_root(data.root)
    if root is None:
        defects.add("folders", [_no_root(data.root)])
        return None, defects
    train = _read(root / data.tables[0], "data.train", defects)
    sample = _read(root / data.sample_submission, "data.sample_submission", defects)
    test = _read(root / data.test, "data.test", defects) if data.test is not None else _test_of(sample, data)
    if train is not None:
        _check_train(train, config, defects)
    if test is not None and data.test is not None:
        check_columns(test, {"data.id": [data.id]}, defects)
        check_ids(test, data.id, defects)
    if sample is not None:
        check_sample_ids(sample, test if data.test is not None else None, data, defects)
    classes, targets_NC = _targets(train, data, defects)
    if sample is not None and classes:
        defects.add("columns of the sample submission", check_sample(sample.table, config, classes))
    paths = ImagePaths(root)
    images = _images(paths, train, data.image, "data.image", defects)
    key = "data.image" if data.test_image is None else "data.test_image"
    test_images = _images(paths, test, data.test_image or data.image, key, defects)
    if defects.kinds or train is None or test is None or sample is None:
        return None, defects
    ids, test_ids = _texts(train.table[data.id]), _texts(test.table[data.id])
    return (
        Competition(
            ids=ids,
            images=images,
            rows_I=np.arange(len(ids)),
            image_ids=ids,
            table=train.table,
            groups=_texts(train.table[data.group]) if data.group else None,
            classes=classes,
            targets_NC=targets_NC,
            weights_N=None,
            test_ids=test_ids,
            test_images=test_images,
            test_rows_J=np.arange(len(test_ids)),
            test_image_ids=test_ids,
            extra=None,
            sample=sample.table,
            notes=tuple(_notes(images, test_images, classes, targets_NC)),
        ),
        defects,
    )


def _read_csv(path: Path) -> pd.DataFrame:
    table = read_text_table(path)
    if table.empty:
        raise ValueError("it has no rows")
    return table


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {".csv": _read_csv}  # by the file's ending


def _read(path: Path, key: str, defects: Defects) -> Rows | None:
    if not path.is_file():
        names = sorted(entry.name for entry in os.scandir(path.parent)) if path.parent.is_dir() else []
        defects.add("files", [f"{path}: {key} is missing{nearest(path.name, names)}"])
        return None
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        defects.add("files", [f"{path}: {key} is a {path.suffix or 'bare'} file, expected {', '.join(READERS)}"])
        return None
    try:
        return Rows(path, reader(path))
    except (OSError, ValueError) as error:  # pandas' parser and decoding errors are ValueErrors
        defects.add("files", [f"{path}: not readable: {' '.join(str(error).split())}; expected UTF-8 CSV"])
        return None


def _test_of(sample: Rows | None, data: Data) -> Rows | None:
    """Take the test rows from the sample submission, each id once."""
    column = None if sample is None else id_column(sample.table, data)
    if sample is None or column is None:
        return None
    once = sample.table.drop_duplicates(column).reset_index(drop=True)
    return Rows(sample.path, once.rename(columns={column: data.id}))


def _check_train(train: Rows, config: Config, defects: Defects) -> None:
    data, stratify = config.data, config.folds.stratify
    wanted = {
        "data.id": [data.id],
        "data.target": data.targets,
        "data.group": [data.group] if data.group else [],
        "folds.stratify": [stratify] if isinstance(stratify, str) else stratify or [],
    }
    check_columns(train, wanted, defects)
    check_ids(train, data.id, defects)
    if data.group in train.table:
        blank = np.flatnonzero((train.table[data.group].str.strip() == "").to_numpy())
        lines = train.lines((int(row), f"{data.group} is blank, expected the row's group") for row in blank)
        defects.add("blank group cells", lines)


def _targets(train: Rows | None, data: Data, defects: Defects) -> tuple[tuple[str, ...], Array]:
    if train is None or any(column not in train.table for column in data.targets):
        return (), np.zeros((0, 0), dtype=np.float32)
    task = TASKS[data.task]
    classes = task.classes(train.table, data)
    if (problem := task.class_problem(classes)) is not None:
        defects.add("classes", [f"{train.path}: {problem}"])
    targets_NC, wrong = task.encode(train.table, data, classes)
    defects.add("bad labels", train.lines(wrong))
    return tuple(classes), targets_NC


def _images(paths: ImagePaths, rows: Rows | None, template: Images, key: str, defects: Defects) -> list[Source]:
    if rows is None or isinstance(template, Arrays):
        return []
    try:
        found = paths.resolve(rows.table, [template] if isinstance(template, str) else template)
    except ValueError as error:
        defects.add("templates", [f"{key}: {error}, in {rows.path}"])
        return []
    defects.add("missing or refused images", rows.lines(sorted([*found.absent, *found.refused])))
    return found.images


def _notes(images: list[Source], test_images: list[Source], classes: Sequence[str], targets_NC: Array) -> list[str]:
    notes = []
    if shared := set(images) & set(test_images):
        first = " + ".join(min(shared))
        notes.append(f"{len(shared)} images belong to training and to test rows, first {first}")
    if repeated := len(images) - len(set(images)):
        notes.append(f"{repeated} training rows show an image of another row; name a group to keep them in one fold")
    if empty := [name for name, total in zip(classes, targets_NC.sum(0), strict=True) if total == 0]:
        notes.append(f"no training row has the class {', '.join(empty[:8])}")
    return notes


def _no_root(root: str) -> str:
    slug = Path(root).name
    remedy = f"make it with: foldline example {slug}" if slug in {"digits", "elpv"} else "correct data.root"
    return f"{root}: data.root is no folder, neither here nor under {KAGGLE_INPUT}; {remedy}"


def _texts(column: pd.Series[str]) -> Array:
    return np.asarray(column.tolist(), dtype=np.str_)

"""Find new images to predict and name them: a folder, a table, or the run's own test."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.contracts.artifacts import read_text_table
from pipeline.contracts.config import Arrays
from pipeline.contracts.datafolder import KAGGLE_INPUT, find_root
from pipeline.contracts.defects import SHOWN, Defects, Rows, check_columns, check_ids, id_column
from pipeline.contracts.errors import InputError
from pipeline.contracts.imagepaths import SUFFIXES, ImagePaths, Source

if TYPE_CHECKING:
    from pipeline.contracts.config import Config

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class NewImages:
    """Hold what is to be predicted and the sample submission that asks for it, if any."""

    ids: Array  # [N] str, each once
    images: list[Source]  # [J] absolute paths, one per plane; () where data.missing=skip finds none
    rows_J: Array  # [J] int64: the row of `ids` that an image belongs to
    image_ids: Array  # [J] str, each once
    sample: Path | None
    sample_is_its_own: bool  # it lies beside these images
    notes: tuple[str, ...] = ()


def find(config: Config, test: str | None) -> NewImages:
    """Return the images that `test` names; raise InputError with every defect of ids and paths."""
    if test is None:
        return _own_test(config)
    path = Path(test)
    if path.is_dir():
        return _folder(path, config)
    if path.is_file():
        return _table(path, config)
    raise InputError(f"--test {path}: not found, expected a folder of images or a CSV with the column {config.data.id}")


def id_pattern(template: str, column: str) -> re.Pattern[str] | None:
    """Return what finds the id in a file's path: the template's last parts, down to the one that holds `{column}`.

    Other columns match anything within one name. None where the template does not hold the id.
    """
    parts = template.split("/")
    first = max((n for n, part in enumerate(parts) if f"{{{column}}}" in part), default=None)
    if first is None:
        return None
    text, seen = "", False
    for piece in re.split(r"(\{[^{}]*\})", "/".join(parts[first:])):
        if piece == f"{{{column}}}":
            text += "(?P=id)" if seen else "(?P<id>[^/]+)"
            seen = True
        else:
            text += "[^/]*" if re.fullmatch(r"\{[^{}]*\}", piece) else re.escape(piece)
    return re.compile(f"(?:^|/){text}$")


def _folder(folder: Path, config: Config) -> NewImages:
    """Take every image below a folder; other files are counted in a note."""
    pattern = id_pattern(_templates(config)[0], config.data.id)
    ids, images, other = [], [], 0
    for path in _files(folder):
        match = pattern.search(path.as_posix()) if pattern else None
        if match is not None:
            ids.append(match["id"])
        elif path.suffix.lower() in SUFFIXES:
            ids.append(path.stem)
        else:
            other += 1
            continue
        images.append(path)
    if not images:
        raise InputError(f"--test {folder}: holds no image, expected files such as .jpg or .png")
    first: dict[str, Path] = {}
    twice = [
        f"{path}: has the id '{name}' of {first[name]}; rename one of them, or pass a CSV"
        for name, path in zip(ids, images, strict=True)
        if first.setdefault(name, path) is not path
    ]
    if twice:
        raise _all(Defects({"ids that stand twice": twice}))
    notes = (f"{other} files are no images and were left out",) if other else ()
    return _with_sample(ids, [(str(path.absolute()),) for path in images], folder, config, notes)


def _files(folder: Path) -> list[Path]:
    """Return every file below the folder, sorted, without hidden ones."""
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(where, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _table(path: Path, config: Config) -> NewImages:
    """Take the rows of a CSV; its images lie beside it or below data.root, wherever more of them are."""
    defects = Defects()
    rows = _read(path)
    column = id_column(rows.table, config.data)
    if column is None:
        check_columns(rows, {"data.id": [config.data.id]}, defects)
        raise _all(defects)
    check_ids(rows, column, defects)
    rows = Rows(path, rows.table.rename(columns={column: config.data.id}))
    roots = [folder for folder in (path.parent.absolute(), find_root(config.data.root)) if folder is not None]
    images = _images(rows, roots, config, defects)
    if defects.kinds:
        raise _all(defects)
    return _with_sample(rows.table[config.data.id].tolist(), images, path.parent, config)


def _own_test(config: Config) -> NewImages:
    """Take the run's test table, or the ids of its sample submission where it has none."""
    data = config.data
    root = find_root(data.root)
    if root is None:
        raise InputError(
            f"{data.root}: data.root is no folder, neither here nor under {KAGGLE_INPUT}; "
            "name the images with --test, or the folder with --set data.root=…"
        )
    path = root / (data.test or data.sample_submission)
    if not path.is_file():
        raise InputError(f"{path}: not found; name the images with --test")
    rows, defects = _read(path), Defects()
    column = id_column(rows.table, data)
    if column is None:
        check_columns(rows, {"data.id": [data.id]}, defects)
        raise _all(defects)
    table = rows.table.rename(columns={column: data.id})
    if data.test is None:
        table = table.drop_duplicates(data.id, ignore_index=True)  # a sample may ask for an id in several rows
    rows = Rows(path, table)
    check_ids(rows, data.id, defects)
    images = _images(rows, [root], config, defects)
    if defects.kinds:
        raise _all(defects)
    return _with_sample(table[data.id].tolist(), images, root, config)


def _read(path: Path) -> Rows:
    try:
        table = read_text_table(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not readable as CSV: {' '.join(str(error).split())}") from None
    if table.empty:
        raise InputError(f"{path}: has no rows")
    return Rows(path, table)


def _images(rows: Rows, roots: Sequence[Path], config: Config, defects: Defects) -> list[Source]:
    """Resolve the template below the root where the fewest images are missing."""
    try:
        found = [ImagePaths(root).resolve(rows.table, _templates(config)) for root in roots]
    except ValueError as error:
        defects.add("templates", [f"data.test_image or data.image: {error}, in {rows.path}"])
        return []
    best = min(found, key=lambda one: len(one.absent) + len(one.refused))
    defects.add("missing or refused images", rows.lines(sorted([*best.absent, *best.refused])))
    return best.images


def _templates(config: Config) -> list[str]:
    images = config.data.test_image or config.data.image
    return [images] if isinstance(images, str) else images.columns if isinstance(images, Arrays) else images


def _with_sample(
    ids: Sequence[str], images: list[Source], folder: Path, config: Config, notes: tuple[str, ...] = ()
) -> NewImages:
    root, name = find_root(config.data.root), config.data.sample_submission
    own = folder / name
    candidates = [own, *([root / name] if root is not None else [])]
    sample = next((path for path in candidates if path.is_file()), None)
    names = np.asarray(ids, dtype=np.str_)
    return NewImages(names, images, np.arange(len(names)), names, sample, sample == own, notes)


def _all(defects: Defects) -> InputError:
    return InputError(*defects.lines(SHOWN))

"""Find new images to predict and name them: a folder or archive, a table of any kind, or the run's own test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.competition.data_root import KAGGLE_INPUT, find_root
from pipeline.competition.image_paths import Source
from pipeline.competition.rows import new_files, test_rows
from pipeline.competition.rows.reader import Found, Reader, predicted, sample_column
from pipeline.competition.rows.rows import SHOWN, Defects, Rows, check_columns, check_ids
from pipeline.competition.sample_submission import find_sample
from pipeline.competition.tables import columns, duplicates
from pipeline.errors import InputError
from pipeline.files.archives import NAMED
from pipeline.files.tables import texts
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    from pipeline.config.config import Config


@dataclass(frozen=True)
class NewImages:
    """Hold what is to be predicted and the sample submission that asks for it, if any."""

    ids: Array  # [N] str, each once
    images: list[Source]  # [J] absolute paths, one per plane; () where data.missing=skip finds none
    rows_J: Array  # [J] int64: the row of `ids` that an image belongs to
    image_ids: Array  # [J] str, each once
    sample: Rows | None
    sample_is_its_own: bool  # it lies beside these images
    notes: tuple[str, ...] = ()


def find(config: Config, test: str | None) -> NewImages:
    """Return the images that `test` names; raise InputError with every defect of ids and paths.

    `test` is a folder or an archive of images, a table of data.test's kinds, or None: the run's own test.
    """
    if test is None:
        return _own_test(config)
    path, defects = Path(test).absolute(), Defects()
    if path.is_dir() or (path.is_file() and NAMED.search(path.name)):
        return _folder(path, config, defects)
    if path.is_file():
        return _table(path, config, defects)
    raise InputError(f"--test {test}: not found, expected a folder of images or a CSV with the column {config.data.id}")


def _folder(folder: Path, config: Config, defects: Defects) -> NewImages:
    """Take every image below a folder; other files are counted in a note."""
    rows, images, notes = new_files.read(folder, config, defects)
    return _named(rows, images, folder if folder.is_dir() else folder.parent, config, defects, notes)


def _table(path: Path, config: Config, defects: Defects) -> NewImages:
    """Take the rows of a table; its images lie beside it or below data.root, wherever more of them are."""
    data, root = config.data, find_root(config.data.root)
    beside = Reader(config, path.parent, defects)
    images = data.test_image or data.image
    rows = beside.table(path.name, "--test", images)
    column = None if rows is None else sample_column(rows.table, config)
    if rows is None or column is None:
        if rows is not None:
            check_columns(rows, {"data.id": [data.id]}, defects)
        raise _all(defects)
    if column != data.id and data.id not in rows.table:
        rows = replace(rows, table=rows.table.rename(columns={column: data.id}))
    may_repeat = data.duplicates != "error" or path.name == Path(data.sample_submission).name
    check_ids(rows, data.id, defects, twice=not may_repeat)
    if may_repeat:
        rows = duplicates.once(rows, data, False, defects, beside.notes)
    readers = [beside] if root is None else [beside, Reader(config, root, defects)]
    rows = readers[-1].complete(rows, "test") if root is not None else columns.derive(rows, data.derive, defects, True)
    found = [one for reader in readers if (one := reader.images(rows, images, "data.test_image or data.image"))]
    if len(found) < len(readers):
        raise _all(Defects({kind: list(dict.fromkeys(lines)) for kind, lines in defects.kinds.items()}))
    notes = [note for reader in readers for note in reader.notes]
    best = min(found, key=lambda one: len(one.absent) + len(one.refused))
    return _named(rows, _checked(rows, best, config, defects, notes), path.parent, config, defects, notes)


def _own_test(config: Config) -> NewImages:
    """Take the run's test table, or the ids of its sample submission where it has none."""
    data, defects = config.data, Defects()
    root = find_root(data.root)
    if root is None:
        raise InputError(
            f"{data.root}: data.root is no folder, neither here nor under {KAGGLE_INPUT}; "
            "name the images with --test, or the folder with --set data.root=…"
        )
    reader = Reader(config, root, defects)
    sample = reader.table(data.sample_submission, "data.sample_submission") if data.test is None else None
    rows = test_rows.read(reader, sample)
    if sample is not None and rows is None:
        check_columns(sample, {"data.id": [config.submission.id or data.id]}, defects)
    found = (
        None if rows is None else reader.images(rows, data.test_image or data.image, "data.test_image or data.image")
    )
    if rows is None or found is None:
        raise InputError(*defects.lines(SHOWN), "correct this, or name the images with --test")
    return _named(rows, _checked(rows, found, config, defects, reader.notes), root, config, defects, reader.notes)


def _checked(rows: Rows, found: Found, config: Config, defects: Defects, notes: list[str]) -> list[Source]:
    skip = config.data.missing == "skip"
    defects.add("missing or refused images", rows.lines(found.refused if skip else found.wrong))
    return test_rows.with_gray(found, notes, rows.path.name) if skip else found.images


def _named(
    rows: Rows, images: list[Source], folder: Path, config: Config, defects: Defects, notes: Sequence[str]
) -> NewImages:
    """Say what the rows are predicted as, and find the sample that asks for them."""
    ids, _, rows_J = predicted(rows, config, defects)
    if defects.kinds:
        raise _all(defects)
    root, name = find_root(config.data.root), config.data.sample_submission
    sample = find_sample([folder, *([root] if root is not None else [])], name)
    its_own = sample is not None and sample.path == folder / name
    image_ids = texts(rows.table[config.data.id])
    return NewImages(ids, images, rows_J, image_ids, sample, its_own, tuple(notes))


def _all(defects: Defects) -> InputError:
    return InputError(*defects.lines(SHOWN))

"""Find new images to predict and name them: a folder or archive, a table of any kind, or the run's own test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.competition.data_root import find_root, no_root
from pipeline.competition.image_paths import Source
from pipeline.competition.rows import new_files
from pipeline.competition.rows.reader import Reader, predicted, sample_column
from pipeline.competition.rows.rows import SHOWN, Findings, Rows, check_columns
from pipeline.competition.sample_submission import asked_ids, find_sample
from pipeline.competition.tables import columns
from pipeline.errors import InputError, Problem
from pipeline.files.archives import NAMED
from pipeline.files.tables import texts
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    from pipeline.config.config import Config

KEY = "data.test_image or data.image"


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

    `test` is a folder, an archive or an npy stack of images, a table of data.test's kinds, or None: the run's own test.
    """
    findings = Findings()
    if test is None:
        return _own_test(config, findings)
    path = Path(test).absolute()
    if path.is_dir() or (path.is_file() and NAMED.search(path.name)):
        rows, images = new_files.read(path, config, findings)
        return _named(rows, images, path if path.is_dir() else path.parent, config, findings)
    if path.suffix.lower() == ".npy" and path.is_file():
        rows, images = new_files.read_stack(path, config, findings)
        return _named(rows, images, path.parent, config, findings)
    if path.is_file():
        return _table(path, config, findings)
    wanted = f"a folder of images or a CSV with the column {config.data.id}"
    raise InputError(Problem(f"--test {test}", "not found", wanted))


def _table(path: Path, config: Config, findings: Findings) -> NewImages:
    """Take the rows of a table; its images lie beside it or below data.root, wherever more of them are."""
    data, root = config.data, find_root(config.data.root)
    readers = [Reader(config, path.parent, findings)]
    images = data.test_image or data.image
    rows = readers[0].table(path.name, "--test", images)
    if rows is None:
        raise InputError(*findings.problems(SHOWN))
    column = sample_column(rows.table, config)
    if column is not None and column != data.id and data.id not in rows.table:
        names = asked_ids(rows.table, config) if config.submission.rows is not None else rows.table[column]
        rows = replace(rows, table=rows.table.assign(**{data.id: names}))
    if data.id in data.derive and data.id not in rows.table:
        rows = columns.derive(rows, data.derive, findings, lenient=True)
    check_columns(rows, {"data.id": [data.id]}, findings)
    repeats = data.duplicates != "error" or path.name == Path(data.sample_name).name
    repeats |= config.submission.rows is not None
    rows = readers[0].unique(rows, soft=False, repeats=repeats)
    if data.id not in rows.table:
        raise InputError(*findings.problems(SHOWN))
    if root is None:
        rows = columns.derive(rows, data.derive, findings, lenient=True)
    else:
        readers.append(Reader(config, root, findings))
        rows = readers[1].complete(rows, "test")
    found = [one for reader in readers if (one := reader.images(rows, images, KEY))]
    if len(found) < len(readers):
        raise InputError(*findings.problems(SHOWN))
    best = min(found, key=lambda one: len(one.absent) + len(one.refused))
    return _named(rows, readers[0].test_images(rows, best), path.parent, config, findings)


def _own_test(config: Config, findings: Findings) -> NewImages:
    """Take the run's test table, or the ids of its sample submission where it has none."""
    data, root = config.data, find_root(config.data.root)
    if root is None:
        remedy = "name the images with --test, or the folder with --set data.root=…"
        raise InputError(replace(no_root(data.root), remedy=remedy))
    reader = Reader(config, root, findings)
    asks = data.test is None and data.sample_submission is not None
    sample = reader.table(data.sample_name, "data.sample_submission") if asks else None
    rows = reader.test(sample)
    if sample is not None and rows is None:
        check_columns(sample, {"data.id": [config.submission.id or data.id]}, findings)
    found = None if rows is None else reader.images(rows, data.test_image or data.image, KEY)
    if rows is None or found is None:
        instead = Problem("", "correct this, or name the images with --test")
        raise InputError(*findings.problems(SHOWN), instead)
    return _named(rows, reader.test_images(rows, found), root, config, findings)


def _named(rows: Rows, images: list[Source], folder: Path, config: Config, findings: Findings) -> NewImages:
    """Say what the rows are predicted as, and find the sample that asks for them."""
    ids, _, rows_J = predicted(rows, config, findings)
    if findings.kinds:
        raise InputError(*findings.problems(SHOWN))
    root, name = find_root(config.data.root), config.data.sample_submission
    folders = [folder, *([root] if root is not None else [])]
    sample = find_sample(folders, name) if name is not None else None
    is_own = sample is not None and name is not None and sample.path == folder / name
    return NewImages(ids, images, rows_J, texts(rows.table[config.data.id]), sample, is_own, tuple(findings.notes))

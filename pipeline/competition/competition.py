"""Read the competition's own files as ids, images and soft targets, and find every defect at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition import fold_columns
from pipeline.competition.cells import near_names
from pipeline.competition.data_root import find_root, no_root
from pipeline.competition.image_paths import Source
from pipeline.competition.rows import external_rows, train_rows
from pipeline.competition.rows.external_rows import Extra
from pipeline.competition.rows.reader import Reader, predicted, sample_column
from pipeline.competition.rows.rows import SHOWN, Findings, Rows, check_columns, check_sample_ids
from pipeline.competition.sample_submission import answers, asked_ids, check_sample, notes, to_fill, with_classes
from pipeline.competition.samples import made
from pipeline.config.rules import topk_rules
from pipeline.errors import InputError, Problem, some
from pipeline.files.tables import texts
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.config import Config


@dataclass(frozen=True)
class Competition:
    """Hold the input: what is predicted, in the order of the training table, its images, and the test's."""

    ids: Array  # [N] str, each once: what is predicted
    images: list[Source]  # [I] absolute paths, one per plane
    rows_I: Array  # [I] int64: the row of `ids` that an image belongs to
    image_ids: Array  # [I] str, each once: data.id's values; `ids` where each has one image
    table: pd.DataFrame  # the training table, every cell as text, [N] rows
    groups: Array | None  # [N] str, '' where a row is a group of its own
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
    table_groups: Array | None = None  # [N] str: groups as the table names them, where equal images unite them
    anywhere: frozenset[bytes] | None = None  # contents that may lie in any fold; None: every content may


def load(config: Config) -> Competition:
    """Read the competition; raise InputError with the defects of tables, labels and paths.

    The contents of the images are not read here: that is what filling the cache does.
    """
    competition, findings = survey(config)
    if competition is None:
        raise InputError(*findings.problems(SHOWN))
    return competition


def class_problems(config: Config, classes: Sequence[str]) -> list[Problem]:
    """Return what the config asks that these classes, or so many of them, do not allow."""
    kept = topk_rules.kept(config, len(classes))
    return [*config.loss.class_problems(classes), *topk_rules.problems(config, kept)]


def survey(config: Config) -> tuple[Competition | None, Findings]:
    """Read the competition and collect its problems; it is None where there are any."""
    data, findings = config.data, Findings()
    root = find_root(data.root)
    if root is None:
        findings.add("folders", [no_root(data.root)])
        findings.unseen.append(f"tables and images, which lie in {data.root}")
        return None, findings
    reader, sample, unnamed = Reader(config, root, findings), None, False
    if data.classes == "sample":
        sample = reader.table(data.sample_name, "data.sample_submission")
        unnamed = sample is None
        if sample is not None:
            config = _named_by(sample, config, findings)
        else:
            findings.unseen.append(f"what depends on the classes, which are the columns of {data.sample_name}")
            config = config.model_copy(update={"data": data.model_copy(update={"classes": None})})
        data, reader = config.data, Reader(config, root, findings)
    train, images, extra = train_rows.read(reader), None, None
    classes: tuple[str, ...] = ()
    targets_IC: Array = np.zeros((0, 0), dtype=np.float32)
    weights_I = None
    if train is not None:
        train, images = train_rows.with_images(train, data.image, "data.image", reader)
        classes, targets_IC = train_rows.targets(train, data, findings)
        if unnamed or len(train.origins or "x") < len(data.tables):  # not all labels are known
            classes = ()
        weights_I = train_rows.weights(train, data.weight, findings)
    ids, first_N, rows_I = predicted(train, config, findings)
    if train is not None and data.predict_id is not None:
        train_rows.check_same(train, targets_IC, first_N, rows_I, reader)
    if train is not None:
        fold_columns.check(train, config, findings)
    if data.sample_submission is not None and not unnamed:
        sample = sample or reader.table(data.sample_submission, "data.sample_submission")
    test, test_images = reader.test(sample), None
    if test is not None:
        key = "data.image" if data.test_image is None else "data.test_image"
        found = reader.images(test, data.test_image or data.image, key)
        test_images = None if found is None else reader.test_images(test, found)
        findings.add("test images that are training images", _shared(images or [], test_images or [], key))
    test_ids, _, test_rows_J = predicted(test, config, findings)
    if data.sample_submission is None and test is not None and classes:
        sample = Rows(test.path, made.form(test_ids.tolist(), config, answers(config, classes)))
        columns = some([str(column) for column in sample.table.columns])
        findings.notes.append(f"there is no sample submission: submission.csv is to have the columns {columns}")
    elif sample is not None:
        _check_sample_ids(sample, test, test_ids, config, findings)
    extra = external_rows.read(reader, classes)
    if classes:
        if extra is not None and config.folds.scheme == "time":
            findings.notes.append("rows of data.extra are trained on in every fold, whatever their time")
        findings.add("settings", class_problems(config, classes))
        if sample is not None:
            findings.add("columns of the sample submission", wrong := check_sample(sample.table, config, classes))
            findings.notes += [] if wrong else notes(sample.table, config, classes)
    if findings.kinds or train is None or test is None or sample is None or images is None or test_images is None:
        return None, findings
    image_ids, single = texts(train.table[data.id]), len(ids) == len(rows_I)
    kept = train if single else train.take(first_N)
    targets_NC = targets_IC if single else targets_IC[first_N]
    if config.folds.scheme == "time" and not single:
        column = config.folds.column
        cells = fold_columns.latest(train.table[column].tolist(), rows_I, len(ids))
        kept = replace(kept, table=kept.table.assign(**{str(column): cells}))
    named = () if TASKS[data.task].regression else classes  # values are in no row by being 0
    competition = Competition(
        ids=ids,
        images=images,
        rows_I=rows_I,
        image_ids=image_ids,
        table=kept.table,
        groups=texts(kept.table[data.group]) if data.group else None,
        classes=classes,
        targets_NC=targets_NC,
        weights_N=None if weights_I is None else _mean(weights_I, rows_I, len(ids)),
        test_ids=test_ids,
        test_images=test_images,
        test_rows_J=test_rows_J,
        test_image_ids=texts(test.table[data.id]),
        extra=extra,
        sample=sample.table,
        notes=(*findings.notes, *_notes(named, targets_NC)),
    )
    return competition, findings


def _named_by(sample: Rows, config: Config, findings: Findings) -> Config:
    """Return the config with the classes that the sample submission's columns are."""
    columns = to_fill(sample.table, config)
    if len(columns) < 2:
        found = f"{sample.path.name} has {len(columns)} column to fill in"
        findings.add("classes", [Problem("data.classes: sample", found, "a column for each class")])
    return with_classes(config, sample.table)


def _check_sample_ids(sample: Rows, test: Rows | None, ids: Array, config: Config, findings: Findings) -> None:
    column = sample_column(sample.table, config)
    if column is None:
        key = "data.id" if config.submission.id is None else "submission.id"
        check_columns(sample, {key: [config.submission.id or config.data.id]}, findings)
    else:
        named = test if config.data.test is not None and test is not None and config.data.id in test.table else None
        if config.submission.rows is not None:
            sample = replace(sample, table=sample.table.assign(**{column: asked_ids(sample.table, config)}))
            sample = sample.take(np.flatnonzero(sample.table[column].ne("").to_numpy()))  # the others are told
        check_sample_ids(sample, column, named, ids.tolist(), config.data.id, findings)


def _shared(images: list[Source], test_images: list[Source], key: str) -> list[Problem]:
    """Say that the test would be predicted from pictures that were trained on."""
    if not (shared := (set(images) & set(test_images)) - {()}):
        return []
    found = f"{len(shared)} of {len(set(test_images))} test images are training images, first {' + '.join(min(shared))}"
    return [Problem(key, found, remedy="name the test's own images with data.test_image")]


def _mean(weights_I: Array, rows_I: Array, count: int) -> Array:
    """Return the mean over each prediction's images, [N] float32."""
    total_N = np.bincount(rows_I, weights=weights_I, minlength=count)
    return (total_N / np.bincount(rows_I, minlength=count)).astype(np.float32)


def _notes(classes: Sequence[str], targets_NC: Array) -> list[str]:
    totals = dict(zip(classes, targets_NC.sum(0).round().astype(int).tolist(), strict=False))
    notes = near_names({name: total for name, total in totals.items() if total})
    if empty := [name for name, total in zip(classes, targets_NC.sum(0).tolist(), strict=False) if not total]:
        notes.append(f"no training row has the class {', '.join(empty[:8])}")
    return notes

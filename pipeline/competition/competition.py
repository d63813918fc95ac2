"""Read the competition's own files as ids, images and soft targets, and find every defect at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition.data_root import KAGGLE_INPUT, find_root
from pipeline.competition.image_paths import Source
from pipeline.competition.labels import class_names, encode_targets
from pipeline.competition.rows import external_rows, test_rows, train_rows
from pipeline.competition.rows.external_rows import Extra
from pipeline.competition.rows.reader import Reader, predicted, sample_column
from pipeline.competition.rows.rows import SHOWN, Defects, Rows, check_columns, check_sample_ids
from pipeline.competition.sample_submission import check_sample
from pipeline.config.rules import topk_rules
from pipeline.errors import InputError
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
    reader = Reader(config, root, defects)
    train = reader.rows(data.tables, "data.train", "train", data.image)
    sample = reader.table(data.sample_submission, "data.sample_submission")
    test = test_rows.read(reader, sample)
    train = None if train is None else train_rows.kept(train, reader)
    found = None if train is None else reader.images(train, data.image, "data.image")
    if train is not None and found is not None:
        train, found = train_rows.present(train, found, reader)
    key = "data.image" if data.test_image is None else "data.test_image"
    test_found = None if test is None else reader.images(test, data.test_image or data.image, key)
    test_ids, _, test_rows_J = _predicted(test, config, defects)
    _check_sample_ids(sample, test, test_ids, config, defects)
    classes, targets_IC = _targets(train, config, defects)
    ids, first_N, rows_I = _predicted(train, config, defects)
    if train is not None and data.predict_id is not None:
        train_rows.check_same(train, targets_IC, first_N, rows_I, data, defects)
    weights_I = None if train is None else train_rows.weights(train, data.weight, defects)
    extra = external_rows.read(reader, classes) if train is not None and classes else None
    if classes:
        defects.add("settings", config.loss.class_problems(classes))
    if sample is not None and classes:
        defects.add("columns of the sample submission", check_sample(sample.table, config, classes))
        defects.add("settings", topk_rules.problems(config, topk_rules.kept(config, len(classes))))
    for rows, images, skip in ((train, found, False), (test, test_found, data.missing == "skip")):
        if rows is not None and images is not None:
            wrong = images.refused if skip else images.wrong
            defects.add("missing or refused images", rows.lines(wrong))
    if defects.kinds or train is None or test is None or sample is None or found is None or test_found is None:
        return None, defects
    named = () if TASKS[data.task].regression else classes  # values are in no row by being 0
    single = len(ids) == len(rows_I)
    kept = train if single else train.take(first_N)
    targets_NC = targets_IC if single else targets_IC[first_N]
    test_images = (
        test_rows.with_gray(test_found, reader.notes, test.path.name) if data.missing == "skip" else test_found.images
    )
    return (
        Competition(
            ids=ids,
            images=found.images,
            rows_I=rows_I,
            image_ids=texts(train.table[data.id]),
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
            notes=(
                *reader.notes,
                *_notes(found.images, test_images, named, targets_NC),
            ),
        ),
        defects,
    )


def _predicted(rows: Rows | None, config: Config, defects: Defects) -> tuple[Array, Array, Array]:
    if rows is None:
        return np.zeros(0, np.str_), np.zeros(0, np.int64), np.zeros(0, np.int64)
    return predicted(rows, config, defects)


def _check_sample_ids(sample: Rows | None, test: Rows | None, ids: Array, config: Config, defects: Defects) -> None:
    if sample is None:
        return
    column = sample_column(sample.table, config)
    if column is None:
        key = "data.id" if config.submission.id is None else "submission.id"
        check_columns(sample, {key: [config.submission.id or config.data.id]}, defects)
        return
    named = test if config.data.test is not None else None
    check_sample_ids(sample, column, named, ids.tolist(), defects)


def _targets(train: Rows | None, config: Config, defects: Defects) -> tuple[tuple[str, ...], Array]:
    data = config.data
    if train is None or any(column not in train.table for column in data.targets):
        return (), np.zeros((0, 0), dtype=np.float32)
    task = TASKS[data.task]
    classes = class_names(task, train.table, data)
    if (problem := task.class_problem(classes)) is not None:
        defects.add("classes", [f"{train.path}: {problem}"])
    targets_IC, wrong = encode_targets(task, train.table, data, classes)
    defects.add("bad labels", train.lines(wrong))
    return tuple(classes), targets_IC


def _mean(weights_I: Array, rows_I: Array, count: int) -> Array:
    """Return the mean over each prediction's images, [N] float32."""
    total_N = np.bincount(rows_I, weights=weights_I, minlength=count)
    return (total_N / np.bincount(rows_I, minlength=count)).astype(np.float32)


def _notes(images: list[Source], test_images: list[Source], classes: Sequence[str], targets_NC: Array) -> list[str]:
    notes = []
    if shared := (set(images) & set(test_images)) - {()}:
        first = " + ".join(min(shared))
        notes.append(f"{len(shared)} images belong to training and to test rows, first {first}")
    if repeated := len(images) - len(set(images)):
        notes.append(f"{repeated} training rows show an image of another row; name a group to keep them in one fold")
    if empty := [name for name, total in zip(classes, targets_NC.sum(0).tolist(), strict=False) if not total]:
        notes.append(f"no training row has the class {', '.join(empty[:8])}")
    return notes


def _no_root(root: str) -> str:
    slug = Path(root).name
    remedy = f"make it with: foldline example {slug}" if slug in {"digits", "elpv"} else "correct data.root"
    return f"{root}: data.root is no folder, neither here nor under {KAGGLE_INPUT}; {remedy}"

"""Train one model per fold: runs/RUN/fold<k>/model.safetensors with its curves and log."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.batches import augmentation, fold_rows, progressive_resizing
from pipeline.batches.inputs import Inputs
from pipeline.batches.rows import subset
from pipeline.competition.competition import Competition
from pipeline.config import fingerprints, plugin_files
from pipeline.config.config import Config
from pipeline.config.keys import affecting
from pipeline.config.loading import dump
from pipeline.config.sections.section import Affects
from pipeline.errors import InputError, MismatchError
from pipeline.files import checksums
from pipeline.files.atomic import write_json, write_text
from pipeline.files.locks import lock
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.images.cache import ImageSet, size_for
from pipeline.images.decoding import DECODE_VERSION
from pipeline.machine import devices, parallel_folds, processes
from pipeline.models.network import Setting
from pipeline.training.distillation import Teachers
from pipeline.training.fold import Fold
from pipeline.training.joining import accelerator
from pipeline.training.trainer import Watch, fit

if TYPE_CHECKING:
    from accelerate import Accelerator


def run(
    config: Config,
    folds: Sequence[int] | None = None,
    force: bool = False,
    watch: Watch | None = None,
    inputs: Inputs | None = None,
) -> Path:
    """Train the folds that are not finished and return the run's folder.

    `watch(fold, epochs)` is called after every epoch's checkpoint; what it raises ends the training there. With
    `train.seeds` each seed's run is trained in turn.
    Raises MismatchError where a fold was trained with other settings or data, unless `force` replaces it.
    """
    inputs = inputs or Inputs()
    if config.train.seeds is not None:
        for one in config.per_seed:
            if processes.is_main():
                print(f"{one.run_dir}: seed {one.train.seed}", flush=True)
            run(one, folds, force, watch, inputs)
        return config.run_dir
    table, teachers, images = _open(config, inputs)
    wanted = _wanted(folds, table.n)
    together = (
        parallel_folds.count(config.train.parallel_folds, len(wanted), len(devices.gpus())) if watch is None else 1
    )
    threads = devices.prepare(config.train, max(together, processes.count()))
    with lock(config.run_dir) if processes.is_main() else contextlib.nullcontext():
        todo = processes.agree(
            _unfinished(
                config, table, images.digest(fold_rows.names(teachers.competition)), wanted, force, teachers.hashes
            )
            if processes.is_main()
            else None
        )
        if processes.is_main():
            write_text(config.run_dir / "config.yaml", dump(config))
            if todo:
                plugin_files.keep(config, trained=False)
                write_json(
                    config.run_dir / "env.json",
                    {
                        **devices.describe(),
                        "threads": threads,
                        "processes": processes.count(),
                        "setting": str(Setting.of(config)),
                    },
                )
        if together > 1 and len(todo) > 1:
            train = config.train.model_copy(update={"threads": threads})
            apart = partial(_train_apart, config.model_copy(update={"train": train}))
            parallel_folds.run(apart, todo, together, devices.gpus())
        else:
            joined = accelerator(Setting.of(config))
            for fold in todo:
                _train(config, fold, table, teachers, images, joined, watch)
    return config.run_dir


def _open(config: Config, inputs: Inputs) -> tuple[FoldTable, Teachers, ImageSet]:
    """Read the competition, its folds and its images."""
    competition, table = inputs.competition(config), fold_table.read(config)
    fold_table.verify(table, competition)
    teachers = Teachers(config, competition, table)
    if teachers.competition is competition:
        return table, teachers, inputs.training_images(config, sizes=True)
    further = fold_rows.sources(teachers.competition)  # with unlabelled images that a teacher labels
    return table, teachers, progressive_resizing.open_all(config, further, "training images")


def _train(
    config: Config,
    fold: int,
    table: FoldTable,
    teachers: Teachers,
    images: ImageSet,
    joined: Accelerator,
    watch: Watch | None,
) -> None:
    """Train one fold."""
    begin, data = time.perf_counter(), teachers.fold(fold, images)
    if data.note is not None and processes.is_main():
        print(f"fold {fold}: {data.note}", flush=True)
    history = fit(
        config,
        _fold(config, table, data.competition, data.images, fold),
        augmentation.of(config),
        joined,
        {"fold_hash": table.fold_hash, "folds": table.n, "task": config.data.task},
        watch,
    )
    history.say(f"  fold {fold} done in {time.perf_counter() - begin:.0f} s")


def _train_apart(config: Config, fold: int, stop: parallel_folds.Stop) -> None:
    """Train one fold in a process that has nothing yet."""
    devices.prepare(config.train)
    _train(config, fold, *_open(config, Inputs()), accelerator(Setting.of(config)), lambda *_: stop())


def _wanted(folds: Sequence[int] | None, count: int) -> list[int]:
    unknown = [fold for fold in folds or [] if not 0 <= fold < count]
    if unknown:
        raise InputError(f"--fold: found {', '.join(map(str, unknown))}, expected numbers from 0 to {count - 1}")
    return list(folds) if folds else list(range(count))


def _fold(config: Config, table: FoldTable, competition: Competition, images: ImageSet, number: int) -> Fold:
    """Select one fold's rows, in the fold table's order so that the input file's order changes nothing."""
    held = fold_rows.of(competition, images)
    wanted = table.train_ids(number, config.train.subset, config.train.seed)
    train = fold_rows.present(held, images, fold_rows.train_numbers(competition, table, number, wanted))
    validated = fold_table.row_numbers(competition.ids, table.valid_ids(number))
    valid = fold_rows.image_numbers(competition.rows_I, competition.image_ids, validated)
    if len(train) < 2:
        raise InputError(f"fold {number}: {len(train)} rows are left to train on, expected at least 2")
    several = len(competition.images) != len(competition.ids)
    return Fold(
        number,
        train,
        subset(held, valid),
        competition.classes,
        config.run_dir / f"fold{number}",
        competition.rows_I[valid] if several else None,
        progressive_resizing.of(config, train.images),
    )


def _unfinished(
    config: Config,
    table: FoldTable,
    images: str,
    wanted: Sequence[int],
    force: bool,
    further: Mapping[str, str] | None = None,
) -> list[int]:
    """Return the folds to train; stamp each with what it is trained from.

    The stamp is written at the start and model.safetensors at the end, so that a fold is finished when both
    are there, and an interrupted one knows whether it may go on. `force` replaces the folds that differ, no others.
    """
    found = fields(config, table, images, further)
    todo, defects = [], []
    for fold in wanted:
        differs = difference(config, fold, found)
        if differs is not None and not force:
            defects.append(differs)
        elif differs is not None:
            _remove(config, fold)
            todo.append(fold)
        elif (config.run_dir / f"fold{fold}" / "model.safetensors").is_file():
            print(f"fold {fold}: trained already")
        else:
            todo.append(fold)
    if defects:
        raise MismatchError(*defects)
    for fold in todo:
        fingerprints.stamp(config.run_dir, f"train-fold{fold}", found)
    return todo


def difference(config: Config, fold: int, found: fingerprints.Fields) -> str | None:
    """Return why what lies in the fold's folder cannot be kept or go on with these fields, or None where it can."""
    folder = config.run_dir / f"fold{fold}"
    old = fingerprints.read_stamp(config.run_dir, f"train-fold{fold}")
    if old is None and ((folder / "model.safetensors").exists() or (folder / "state").exists()):
        return (
            f"{folder}: nothing says what it was trained from (stamps/train-fold{fold}.json is missing); "
            "--force replaces it, another `run` keeps it"
        )
    if old is None or old == found or not folder.is_dir():
        return None
    changes = "\n".join(f"  {line}" for line in fingerprints.differences(old, found))
    return f"{folder}: was trained with other settings; --force replaces it, another `run` keeps it:\n{changes}"


def _remove(config: Config, fold: int) -> None:
    """Remove a fold's files, also the last epoch's that `keep: best` left: predict takes up what lies there."""
    for base in (config.run_dir, config.run_dir / "last"):
        shutil.rmtree(base / f"fold{fold}", ignore_errors=True)


def fields(
    config: Config, table: FoldTable, images: str, further: Mapping[str, str] | None = None
) -> fingerprints.Fields:
    """Return what the weights depend on: settings, folds, images, initial weights; no names, no paths.

    `further` are the hashes of what the fold table does not hold, see training/distillation.py. Keys that affect
    the choice of an epoch count where validated rows choose it.
    """
    chooses = config.train.keep == "best" or config.train.patience is not None
    found = fingerprints.fields(
        config,
        affecting(Affects.TRAINING | Affects.EPOCH if chooses else Affects.TRAINING),
        fold_hash=table.fold_hash,
        table_hash=table.table_hash,
        images=images,
        image_size=str(size_for(config)),
        decode=str(DECODE_VERSION),
    )
    if isinstance(config.model.pretrained, str):
        found["model.pretrained"] = checksums.file_hash(Path(config.model.pretrained))
    return found | dict(further or {})

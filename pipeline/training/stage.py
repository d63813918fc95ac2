"""Train one model per fold: runs/RUN/fold<k>/model.safetensors with its curves and log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.batches import augmentation, fold_rows, progressive_resizing
from pipeline.batches.inputs import Inputs
from pipeline.config import fingerprints, plugin_files
from pipeline.config.config import Config
from pipeline.config.keys import affecting
from pipeline.config.loading import dump
from pipeline.config.sections.section import Affects
from pipeline.errors import InputError, Problem
from pipeline.files import checksums
from pipeline.files.atomic import write_json, write_text
from pipeline.files.locks import lock
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.images.cache import ImageSet, size_for
from pipeline.images.decoding import DECODE_VERSION
from pipeline.machine import devices, parallel_folds, processes
from pipeline.methods.losses import find as find_loss
from pipeline.models.network import Setting
from pipeline.training import kept_folds
from pipeline.training.circumstances import circumstances
from pipeline.training.fold import Fold
from pipeline.training.teaching.distillation import Teachers
from pipeline.training.trainer import Watch, accelerator, fit

if TYPE_CHECKING:
    from accelerate import Accelerator

Data = tuple[FoldTable, Teachers, ImageSet]


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
    table, teachers, images = data = _open(config, inputs)
    wanted = _wanted(folds, table.n)
    parallel = 1
    if watch is None:
        parallel = parallel_folds.count(config.train.parallel_folds, len(wanted), len(devices.gpus()))
    threads, main = devices.prepare(config.train, max(parallel, processes.count())), processes.is_main()
    with lock(config.run_dir) if main else contextlib.nullcontext():
        todo: list[int] = []
        if main:
            found = fields(config, table, *teachers.hashed(table, images))
            todo = kept_folds.unfinished(config, wanted, found, circumstances(config, threads), force)
            write_text(config.run_dir / "config.yaml", dump(config))
        copies: list[Path] = []
        if main and todo:
            copies = plugin_files.keep(config, trained=False)
            about = {"threads": threads, "processes": processes.count(), "setting": str(Setting.of(config))}
            write_json(config.run_dir / "env.json", devices.describe() | about)
            copies.append(config.run_dir / "env.json")
        if main:
            fingerprints.record(config.run_dir, [config.run_dir / "config.yaml", *copies])
        todo = processes.agree(todo)
        if parallel > 1 and len(todo) > 1:
            train = config.train.model_copy(update={"threads": threads})
            work = partial(_train_in_its_own_process, config.model_copy(update={"train": train}))
            parallel_folds.run(work, todo, parallel, devices.gpus())
        else:
            joined = accelerator(Setting.of(config))
            for fold in todo:
                _train(config, fold, data, joined, watch)
    return config.run_dir


def _open(config: Config, inputs: Inputs) -> Data:
    """Read the competition's folds, what teachers make of it, and its images."""
    competition, table = inputs.competition(config), fold_table.read(config)
    fold_table.verify(table, competition)
    teachers = Teachers(config, competition, table)
    if teachers.competition is competition:
        return table, teachers, inputs.training_images(config, sizes=True)
    further = fold_rows.sources(teachers.competition)  # with unlabelled images that a teacher labels
    return table, teachers, progressive_resizing.open_all(config, further, "training images", inputs.open_further)


def _train(config: Config, number: int, data: Data, joined: Accelerator, watch: Watch | None = None) -> None:
    """Train one fold."""
    begin, stage, (table, teachers, images) = time.perf_counter(), f"train-fold{number}", data
    stamp = fingerprints.read_stamp(config.run_dir, stage)  # in several processes the main one has written it
    assert stamp is not None
    learnt = teachers.fold(number, images)
    if learnt.note is not None and processes.is_main():
        print(f"fold {number}: {learnt.note}", flush=True)
    fold = Fold.of(config, table, learnt.competition, learnt.images, number)
    meta = {"fold_hash": table.fold_hash, "folds": table.n, "task": config.data.task, "stamp": stamp.fields}
    history = fit(config, fold, augmentation.of(config), joined, meta, watch, stamp.under)
    if processes.is_main():
        _stamp_files(config.run_dir, number)
    history.say(f"  fold {number} done in {time.perf_counter() - begin:.0f} s")


def _stamp_files(run_dir: Path, fold: int) -> None:
    """Add the hashes of what a finished fold wrote to its stamp."""
    stage, folders = f"train-fold{fold}", [run_dir / f"fold{fold}", run_dir / "last" / f"fold{fold}"]
    files = [folder / name for folder in folders for name in ("model.safetensors", "epochs.csv", "batch.npz")]
    if (old := fingerprints.read_stamp(run_dir, stage)) is not None:
        fingerprints.stamp(run_dir, stage, old.fields, [path for path in files if path.is_file()], old.under)


def _train_in_its_own_process(config: Config, fold: int) -> None:
    """Train one fold in a process that has nothing yet."""
    devices.prepare(config.train)
    _train(config, fold, _open(config, Inputs(verified=True)), accelerator(Setting.of(config)))


def _wanted(folds: Sequence[int] | None, count: int) -> list[int]:
    if unknown := [fold for fold in folds or [] if not 0 <= fold < count]:
        found = f"found {', '.join(map(str, unknown))}"
        raise InputError(Problem("--fold", found, f"numbers from 0 to {count - 1}"))
    return list(folds) if folds else list(range(count))


def fields(
    config: Config, table: FoldTable, images: str, further: Mapping[str, str] | None = None
) -> fingerprints.Fields:
    """Return what the weights depend on: settings, folds, images, initial weights; no names, no paths.

    `further` are the hashes of what the fold table does not hold, see training/teaching/. Keys that affect the choice
    of an epoch count where validated rows choose it.
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
    if config.loss.options != find_loss(config.loss.name).options:
        found["loss options"] = "as set"  # runs of 0.1.0 were stamped with the options and trained by their defaults
    return found | dict(further or {})

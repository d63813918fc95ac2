"""Read what another run, the teacher, predicts of training rows, and of rows without a label."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config import run_configs
from pipeline.errors import FoldlineError, InputError, MismatchError, Problem
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.arrays import Array
from pipeline.methods.topk import Top
from pipeline.prediction.oof import find_run, id_problems, other_classes, other_folds, prediction_files
from pipeline.prediction.predictions import Predictions

if TYPE_CHECKING:
    from pipeline.competition.competition import Competition
    from pipeline.config.config import Config


def teachers(config: Config) -> dict[str, str]:
    """Return the teachers that a config names by the section that does."""
    found = {"distill": config.distill.teacher, "pseudo": config.pseudo.teacher}
    return {key: name for key, name in found.items() if name is not None}


def folder_of(config: Config, key: str) -> Path:
    """Return the folder of the teacher in a section; raise InputError where there is none, or it is no run."""
    place = f"{key}.teacher"
    folder = find_run(teachers(config)[key], Path(config.runs_dir), place)
    if not (folder / "config.yaml").is_file():
        raise InputError(Problem(place, f"{folder} has no config.yaml", "a trained run's folder"))
    if folder.resolve() == config.run_dir.resolve():
        remedy = "name another one, or set another `run`"
        raise InputError(Problem(place, f"{folder} is this run itself", remedy=remedy))
    return folder


def config_of(folder: Path) -> Config:
    """Return the config that a teacher was predicted with."""
    return run_configs.of_run(folder)


def to_predict(config: Config, folder: Path) -> Config:
    """Return the config with which a teacher predicts further images, which are cached where this run's own are.

    Raises InputError where it names code and is not trusted.
    """
    theirs, cache = run_configs.to_predict(folder), config.data.cache
    ours = theirs.data.cache.model_copy(update={"dir": cache.dir, "max_gb": cache.max_gb})
    return theirs.model_copy(update={"data": theirs.data.model_copy(update={"cache": ours})})


def problems(config: Config) -> list[Problem]:
    """Return what can be said against the teachers that a config names before any fold is read."""
    found: list[Problem] = []
    for key, name in teachers(config).items():
        try:
            folder = folder_of(config, key)
            own = to_predict(config, folder) if key == "pseudo" and config.pseudo.images else config_of(folder)
        except FoldlineError as error:
            found += error.problems
            continue
        if own.data.task != config.data.task:
            learns = f"'{name}' learns {own.data.task} targets"
            found.append(Problem(f"{key}.teacher", learns, f"{config.data.task} as here"))
        if own.train.seeds is not None:
            runs = ", ".join(f"'{one.run_dir.name}'" for one in own.per_seed)
            several = f"'{name}' is a run for each of several seeds"
            found.append(Problem(f"{key}.teacher", several, remedy=f"name one of {runs}"))
    return found


def oof(config: Config, competition: Competition, table: FoldTable) -> tuple[Array, Array]:
    """Return what distill.teacher predicts of each row out of fold, [N,C] float64, and each row's fold, [N].

    Rows that it never validated have zeros and the fold −1. Raises MismatchError with every defect of its files.
    """
    wanted = {fold: table.valid_ids(fold) for fold in range(table.n)}
    found = _read(folder_of(config, "distill"), "valid", table, competition, wanted)
    probs_NC = np.zeros(competition.targets_NC.shape)
    fold_N = np.full(len(probs_NC), -1)
    for fold, (ids, own_NC) in found.items():
        rows = fold_table.row_numbers(competition.ids, ids)
        probs_NC[rows], fold_N[rows] = own_NC, fold
    return probs_NC, fold_N


def of_test(config: Config, competition: Competition, table: FoldTable) -> list[Array]:
    """Return what each fold's model of pseudo.teacher predicts of the test, [T,C] float64 in the test's order."""
    wanted = dict.fromkeys(range(table.n), competition.test_ids)
    found = _read(folder_of(config, "pseudo"), "test", table, competition, wanted)
    return [own_TC[fold_table.row_numbers(ids, competition.test_ids)] for ids, own_TC in found.values()]


def digest(names: Sequence[str], *arrays: Array) -> str:
    """Return the SHA-256 over texts and the bytes of arrays of numbers."""
    total = hashlib.sha256("\n".join(names).encode())
    for array in arrays:
        total.update(f"\n{array.dtype} {array.shape}\n".encode() + array.tobytes())
    return total.hexdigest()


def _read(
    folder: Path, part: str, table: FoldTable, competition: Competition, wanted: dict[int, Array]
) -> dict[int, tuple[Array, Array]]:
    """Return by fold the ids of its file and the mean over the teacher's views; heads stay side by side."""
    views, problems = config_of(folder).tta, list[Problem]()
    found: dict[int, tuple[Array, Array]] = {}
    for fold, path in enumerate(prediction_files(folder, range(table.n), [part])):
        try:
            made = Predictions.load(path)
            mean_NC = made.mean(views)
        except FoldlineError as error:
            problems += [one if one.place else one.below(str(path)) for one in error.problems]
            continue
        if (other := str(made.meta.get("fold_hash"))) != table.fold_hash:
            problems.append(other_folds(path, other, table.fold_hash))
            continue
        if made.classes != competition.classes:
            problems.append(other_classes(path, made.classes, "the training table", competition.classes))
            continue
        if isinstance(mean_NC, Top):
            remedy = "predict with predict.top_k: null to teach"
            problems.append(Problem(str(path), f"keeps {made.kept} classes of a row", remedy=remedy))
        problems += id_problems(path, made.ids, wanted[fold], "to be learnt from", known=table.ids)
        found[fold] = made.ids, mean_NC
    if problems:
        raise MismatchError(*problems)
    return found

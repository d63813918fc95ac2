"""Verify each fold's weights and predictions: what they were made from, and that every id is predicted once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config import fingerprints, run_configs
from pipeline.config.config import Config
from pipeline.config.sections.section import Affects
from pipeline.errors import Problem
from pipeline.folds.fold_table import FoldTable
from pipeline.prediction.oof import id_problems, other_classes, other_folds
from pipeline.prediction.predictions import Predictions
from pipeline.verifying.run_files import Run, files_of_code, is_key, plain, renamed, to_read, with_code

if TYPE_CHECKING:
    from pipeline.competition.competition import Competition

REPREDICT = "restore it, or delete it and run: foldline predict"
DEVICES, PRECISIONS = ("cpu", "cuda", "mps"), ("fp32", "bf16", "fp16")


def verify(run: Run, config: Config, table: FoldTable) -> None:
    """Verify the weights and prediction files of every fold, and of its last epoch where another one is kept."""
    _trained(run, table)
    for base in (run.folder, run.place("last")):
        for fold in range(table.n):
            folder = base / f"fold{fold}"
            if not folder.is_dir():
                if base == run.folder:
                    run.findings.not_there(folder, "not trained")
                continue
            meta = _weights(run, config, table, fold, folder / "model.safetensors")
            for part in ("valid", "test") if base == run.folder else ("valid",):
                if (path := folder / f"{part}.npz").is_file():
                    _predictions(run, config, table, fold, path, meta)
                elif meta is not None:
                    run.findings.not_there(path, "not predicted")


def _trained(run: Run, table: FoldTable) -> None:
    """Compare what each fold was trained from with what config, fold table and images are now."""
    from pipeline.training import stage as train

    config, changed = run.trained, dict[tuple[str, str], list[int]]()
    assert config is not None
    for fold in range(table.n):
        path = fingerprints.stamp_path(run.folder, f"train-fold{fold}")
        stamp = run.stamp(path.stem)
        if stamp is None:
            if run.place(f"fold{fold}/model.safetensors").is_file() and not path.is_file():
                text = "missing: nothing says what the fold was trained from"
                remedy = f"restore it, or run: foldline train --fold {fold}"
                run.findings.differs(path, [Problem(str(path), text, remedy=remedy)])
            continue
        with run.findings.reading(path):
            asked, names = with_code(run, config)
            known = run.inputs is not None
            learnt = _learnt(run, to_read(config), table) if known else (str(stamp.fields.get("images")), {})
            found = plain(renamed(train.fields(asked, table, *learnt), names))
            own = files_of_code(run, config, Affects.TRAINING | Affects.EPOCH)
            found |= {key: value for key, value in own.items() if key in found}
            wrong = 0
            for key in dict.fromkeys([*stamp.fields, *found]):
                of_config = is_key(key)
                if stamp.fields.get(key) != found.get(key) and (known or of_config or key in found):
                    wrong += 1
                    was = f"{key}: {stamp.fields.get(key, 'absent')}" if of_config else ""
                    said = f", {found.get(key, 'absent')} here" if of_config else ""
                    changed.setdefault((_origin(run, config, key), f"{was}{said}"), []).append(fold)
            if not wrong:
                what = "" if known else ", but for images and labels"
                run.findings.ok(path, f"trained from config, folds and images as they are{what}")
    for (place, said), folds in changed.items():
        named = f"fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}"
        what = f"{named} trained with {said}" if said else f"not what {named} learnt from{_first_changed(run)}"
        run.findings.differs(place, [Problem(place, what, remedy="restore it, or run: foldline train --force")])


def _origin(run: Run, config: Config, key: str) -> str:
    """Return the place that a field of a train stamp tells of."""
    if key == "fold_hash":
        return str(config.folds_path)
    if key == "table_hash":
        return f"{config.folds_path}, its labels or groups"
    if key in ("distill.teacher", "pseudo.teacher") or key.startswith("pseudo"):
        return f"{key} of {run.folder}"
    if is_key(key):
        return str(run.place(run_configs.TRAINED))
    what = {"images": "training images", "weights": "weights of rows", "extra": "extra rows"}.get(key, key)
    return f"{config.data.root}, {what}"


def _first_changed(run: Run) -> str:
    """Name files that are not what the cache saw when it decoded them."""
    changed = run.reader.changed if run.reader is not None else []
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f" (changed: {changed[0]}{more})" if changed else ""


def _learnt(run: Run, config: Config, table: FoldTable) -> tuple[str, dict[str, str]]:
    """Return the digest of the images that are learnt from, and the hashes of what no fold table holds."""
    from pipeline.batches import fold_rows
    from pipeline.batches.seen import TRAIN
    from pipeline.training.teaching.distillation import Teachers

    assert run.inputs is not None and run.reader is not None
    competition = run.inputs.competition(config)
    teachers = Teachers(config, competition, table)
    if teachers.competition is competition:
        return teachers.hashed(table, run.inputs.training_images(config))
    return teachers.hashed(table, run.reader.open(config, fold_rows.sources(teachers.competition), TRAIN))


def _weights(run: Run, config: Config, table: FoldTable, fold: int, path: Path) -> dict[str, Any] | None:
    """Verify a fold's weights; return what is written with them, None where they are not there or damaged."""
    from pipeline.models.network import load_tensors

    if not path.is_file():
        state = "unfinished" if (path.parent / "state").is_dir() else "no weights"
        run.findings.not_there(path, state)
        return None
    with run.findings.reading(path):
        _, meta = load_tensors(path)
        problems = _belongs(path, meta, fold, table, config)
        if meta.get("folds", table.n) != table.n:
            problems.append(Problem(str(path), f"one of {meta['folds']} folds", f"{table.n}"))
        stamp, own = run.stamp(f"train-fold{fold}"), meta.get("stamp")  # weights of earlier versions have none
        if stamp is not None and own is not None and (changes := fingerprints.differences(own, stamp.fields)):
            found = f"trained from what its stamp does not say ({'; '.join(changes)})"
            problems.append(Problem(str(path), found, remedy="restore the one that was changed"))
        run.findings.judge(path, problems, "checksum, fold, folds' hash, task, classes")
        return meta
    return None


def _belongs(path: Path, meta: Mapping[str, Any], fold: int, table: FoldTable, config: Config) -> list[Problem]:
    """Return why what a file says of itself is not what its place says."""
    problems = []
    if meta.get("fold") != fold:
        problems.append(
            Problem(str(path), f"made by fold {meta.get('fold')}", f"fold {fold}", "restore each to its place")
        )
    if meta.get("fold_hash") != table.fold_hash:
        problems.append(other_folds(path, str(meta.get("fold_hash")), table.fold_hash))
    if meta.get("task") != config.data.task:
        problems.append(Problem(str(path), f"of the task {meta.get('task')}", config.data.task))
    return problems


def _predictions(
    run: Run, config: Config, table: FoldTable, fold: int, path: Path, weights: Mapping[str, Any] | None
) -> None:
    """Verify one prediction file: itself, its ids, its classes, its views, and what it was predicted from."""
    part = path.stem
    with run.findings.reading(path):
        made = Predictions.load(path)
        problems = _belongs(path, made.meta, fold, table, config)
        if weights is not None and list(made.classes) != list(weights["classes"]):
            other = path.with_name("model.safetensors")
            problems.append(other_classes(path, made.classes, other, tuple(weights["classes"])))
        if missing := [view for view in config.views if view not in made.views]:
            problems.append(Problem(str(path), f"lacks the views {', '.join(missing)}", remedy="run: foldline predict"))
        if part == "valid":
            problems += id_problems(path, made.ids, table.valid_ids(fold), f"in fold {fold}", known=table.ids)
        elif run.inputs is not None:
            expected = np.unique(run.inputs.competition(to_read(config)).test_ids)
            problems += id_problems(path, made.ids, expected, "in the test")
        what = "checksum, ids, classes, views"
        if not problems and weights is not None and run.inputs is not None:
            problems, how = _fingerprint(run, config, table, fold, path, made)
            what += f", made from these weights and images{how}"
        run.findings.judge(path, problems, what)


def _fingerprint(
    run: Run, config: Config, table: FoldTable, fold: int, path: Path, made: Predictions
) -> tuple[list[Problem], str]:
    """Return whether a file was predicted by its fold's weights from the images there are, under which setting.

    Which device, precision and layout it was is no part of the file, so each there is comes into question.
    """
    import torch

    from pipeline.models.network import Setting
    from pipeline.prediction import stage as predict

    assert run.inputs is not None
    config = to_read(config)
    competition: Competition = run.inputs.competition(config)
    if path.stem == "valid":
        images = run.inputs.training_images(config).take(range(len(competition.images)))
        rows, owners_I = predict.valid_rows(competition, table, fold, images)
    else:
        rows, owners_I = predict.test_rows(competition, run.inputs.test_images(config))
    digest, weights = predict.image_digest(rows.images, rows.ids, owners_I), predict.weights_hash(path.parent)
    for device, precision, last in itertools.product(DEVICES, PRECISIONS, (False, True)):
        setting = Setting(torch.device(device), precision, last)
        if predict.fingerprint_of(config, setting, weights, digest, run.folder) == made.meta["fingerprint"]:
            return [], f" ({setting})"
    changed = _first_changed(run)
    found = f"not predicted from the weights, images and settings that are there{changed}"
    return [Problem(str(path), found, remedy=f"restore what was changed, or {REPREDICT}")], ""

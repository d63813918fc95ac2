"""Predict validation and test rows with all fold models and views, in one pass over the images."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from pipeline.batches import fold_rows
from pipeline.batches.inputs import Inputs
from pipeline.batches.rows import Images, Rows, subset
from pipeline.competition.competition import Competition
from pipeline.config import fingerprints, plugin_files, run_configs
from pipeline.config.config import Config
from pipeline.config.keys import affecting
from pipeline.config.rules import topk_rules
from pipeline.config.sections.section import Affects
from pipeline.errors import MismatchError, Problem
from pipeline.files import checksums
from pipeline.files.locks import lock
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.images.cache import ImageSet, size_for
from pipeline.images.decoding import DECODE_VERSION
from pipeline.machine import devices, processes
from pipeline.methods.arrays import Array
from pipeline.models import network, trained_from
from pipeline.models.network import Setting
from pipeline.models.outputs import pool
from pipeline.prediction import trained_alike
from pipeline.prediction.predictions import Predictions, load_kept
from pipeline.prediction.predictor import Predictor
from pipeline.prediction.topk_predictor import pool_tops, predict_tops
from pipeline.prediction.unanswered import fill


def run(
    config: Config,
    folds: Sequence[int] | None = None,
    parts: Sequence[str] = ("valid", "test"),
    inputs: Inputs | None = None,
) -> Path:
    """Write the parts of fold<k>/{valid,test}.npz for every trained fold and return the run's folder.

    Views that an earlier call predicted with the same weights and images are kept, only missing ones are
    computed. With `train.seeds` each seed's run is predicted in turn.
    """
    inputs = inputs or Inputs()
    if config.train.seeds is not None:
        for one in config.per_seed:
            if processes.is_main():
                print(f"{one.run_dir}: seed {one.train.seed}", flush=True)
            run(one, folds, parts, inputs)
        return config.run_dir
    competition, table = inputs.competition(config), fold_table.read(config)
    fold_table.verify(table, competition)
    images = inputs.training_images(config).take(range(len(competition.images)))
    test_images = inputs.test_images(config) if "test" in parts else None
    devices.prepare(config.train, processes.count())
    models = _FoldModels(config, table)
    with lock(config.run_dir) if processes.is_main() else contextlib.nullcontext():
        trained = _trained(config, table.n, folds)
        if processes.is_main():
            for note in run_configs.keep_predicted(config):
                print(f"note: {note}", flush=True)
            for warning in trained_alike.mixed(config.run_dir, trained):
                print(f"warning: {warning}", flush=True)
            copies = plugin_files.keep(config, trained=True)
            fingerprints.record(config.run_dir, [config.run_dir / run_configs.PREDICTED, *copies])
        for base in (config.run_dir, config.run_dir / "last"):
            for fold in trained if "valid" in parts else []:
                if (base / f"fold{fold}" / "model.safetensors").is_file():
                    models.predict([base / f"fold{fold}"], "valid", *valid_rows(competition, table, fold, images))
        if test_images is not None:
            folders = [config.run_dir / f"fold{fold}" for fold in trained]
            models.predict(folders, "test", *test_rows(competition, test_images))
    return config.run_dir


def valid_rows(competition: Competition, table: FoldTable, fold: int, images: Images) -> tuple[Rows, Array]:
    """Return the images that a fold validates, of all the competition's, and the id that each belongs to."""
    numbers = fold_table.row_numbers(competition.ids, table.valid_ids(fold))
    chosen = fold_rows.image_numbers(competition.rows_I, competition.image_ids, numbers)
    owners_I = competition.ids[competition.rows_I[chosen]]
    return subset(Rows(images, competition.image_ids), chosen), owners_I


def test_rows(competition: Competition, images: Images) -> tuple[Rows, Array]:
    """Return the images of the test, and the id that each belongs to."""
    return Rows(images, competition.test_image_ids), competition.test_ids[competition.test_rows_J]


def _trained(config: Config, count: int, folds: Sequence[int] | None) -> list[int]:
    """Return the wanted folds that are trained; raise MismatchError where one is not, or with other settings."""
    wanted = list(folds) if folds else list(range(count))
    there = [fold for fold in wanted if (config.run_dir / f"fold{fold}" / "model.safetensors").is_file()]
    if not there or (folds and there != wanted):
        found = f"trained folds are {there}, wanted {wanted}"
        raise MismatchError(Problem(str(config.run_dir), found, remedy="run: foldline train"))
    asked = fingerprints.fields(config, affecting(Affects.NETWORK))
    asked.pop("model's file", None)  # the run keeps a copy of what it was trained with
    del asked["engine"]  # a later version may predict with earlier weights
    for fold in there:
        stamp, note = trained_from.mend(config.run_dir, fold, write=processes.is_main())  # none where it was copied
        if note and processes.is_main():
            print(note, flush=True)
        if stamp and (changes := fingerprints.differences({key: stamp.fields.get(key) for key in asked}, asked)):
            found, remedy = f"was trained with other settings ({'; '.join(changes)})", "run: foldline train --force"
            raise MismatchError(Problem(f"{config.run_dir}/fold{fold}", found, remedy=f"restore them, or {remedy}"))
    return there


class _FoldModels:
    """Predict rows with the networks of some folds, writing one file beside each; all is read once."""

    def __init__(self, config: Config, table: FoldTable) -> None:
        self.config, self.table, self.setting = config, table, Setting.of(config)
        self.weights_hash, self.load = cache(weights_hash), cache(self._load)

    def predict(self, folders: Sequence[Path], part: str, rows: Rows, owners_I: Array) -> None:
        """Complete the files `part`.npz of these folders with one pass over the images; `owners_I` are their ids."""
        ids, rows_I = owned(owners_I)
        digest = image_digest(rows.images, rows.ids, owners_I)
        prints = {
            folder: fingerprint_of(self.config, self.setting, self.weights_hash(folder), digest) for folder in folders
        }
        say = print if processes.is_main() else _silent
        kept = {folder: kept_views(folder / f"{part}.npz", prints[folder], ids, say) for folder in folders}
        lacking = {folder: [view for view in self.config.views if view not in kept[folder]] for folder in folders}
        missing = processes.agree(
            [view for view in self.config.views if any(view in some for some in lacking.values())]
        )
        todo = processes.agree([folder for folder in folders if lacking[folder]])
        found = self._predicted(todo, rows, rows_I, len(ids), missing, f"{part}, {len(missing)} views") if todo else []
        if processes.is_main():
            for folder, views in zip(todo, found, strict=True):
                self._save(folder, part, ids, {**kept[folder], **views}, prints[folder])
            computed = f"{', '.join(folder.name for folder in todo)} under {', '.join(missing)}"
            lost = len(ids) - len(np.unique(rows_I[~_absent(rows.images)]))
            mean = f", {lost} of them without an image by the mean of the others" if lost else ""
            print(f"{part}: {len(ids)} rows{mean}, computed {computed if todo else 'nothing, all views are there'}")
        processes.barrier()

    def _predicted(
        self, folders: Sequence[Path], rows: Rows, rows_I: Array, count: int, views: Sequence[str], progress: str
    ) -> list[dict[str, Array]]:
        """Return each network's probabilities [N,C] under each view, or Tops where not all classes are kept."""
        config, loaded = self.config, [self.load(folder) for folder in folders]
        here_I = np.flatnonzero(~_absent(rows.images))
        answered, owned_I = np.unique(rows_I[here_I], return_inverse=True)
        if len(here_I) < len(rows_I):
            rows = subset(rows, here_I)
        predictor, width = Predictor.of(config, self.setting, loaded), len(loaded[0][1]["classes"])
        if (most := topk_rules.kept(config, width)) is not None:
            tops = predict_tops(predictor, rows, views, width, most, progress)
            return [
                {view: fill(pool_tops(one, owned_I, len(answered)), answered, count) for view, one in found.items()}
                for found in tops
            ]
        pooled = [
            fill(pool(probs_IVC, owned_I, len(answered), config.data.pool, output.blocks), answered, count)
            for probs_IVC, output in zip(
                predictor.predict(rows, views, progress=progress), predictor.outputs, strict=True
            )
        ]
        return [{view: probs_NVC[:, v] for v, view in enumerate(views)} for probs_NVC in pooled]

    def _save(self, folder: Path, part: str, ids: Array, views: dict[str, Array], fingerprint: str) -> None:
        meta = self.load(folder)[1]
        ordered = {view: views[view] for view in [*self.config.views, *views]}  # those of an earlier `tta` stay
        about = {
            "run": self.config.run_dir.name,
            "fold": meta["fold"],
            "fold_hash": meta["fold_hash"],
            "fingerprint": fingerprint,
            "task": self.config.data.task,
            "heads": meta.get("heads"),
            "versions": devices.versions(),
        }
        Predictions.of_views(ids, ordered, meta["classes"], about).save(folder / f"{part}.npz")

    def _load(self, folder: Path) -> tuple[nn.Module, dict[str, Any]]:
        model, meta = network.load(folder / "model.safetensors", self.config, self.setting)
        if meta["fold_hash"] != self.table.fold_hash:
            hashes = f"{meta['fold_hash'][:12]}, {self.config.folds_path} holds {self.table.fold_hash[:12]}"
            remedy = "train again, or restore the folds"
            raise MismatchError(Problem(str(folder), f"trained on folds {hashes}", remedy=remedy))
        return model, meta


def owned(owners_I: Array) -> tuple[Array, Array]:
    """Return the ids that images belong to, each once as they first come, and each image's number among them."""
    rows_I, ids = pd.factorize(owners_I)
    return np.asarray(ids, dtype=owners_I.dtype), rows_I


def image_digest(images: Images, image_ids: Array, owners_I: Array) -> str:
    """Return the digest of images by their ids and, where these differ, the ids that they belong to."""
    names = image_ids
    if not np.array_equal(image_ids, owners_I):
        names = np.asarray([f"{owner}\x1f{name}" for owner, name in zip(owners_I, image_ids, strict=True)])
    absent = " mean for absent ones" if _absent(images).any() else ""  # they were predicted from gray once
    return images.digest(names) + absent


def _absent(images: Images) -> Array:
    """Return which images are not there, [N] bool."""
    return images.absent_N if isinstance(images, ImageSet) else np.zeros(len(images), bool)


def weights_hash(folder: Path) -> str:
    """Return the SHA-256 of a fold's weights."""
    return checksums.file_hash(folder / "model.safetensors")


def fingerprint_of(config: Config, setting: Setting, weights: str, images: str, of: Path | None = None) -> str:
    """Return what the predictions of weights of this hash for images of this digest depend on, hashed.

    `of`: the folder of a run whose config this is, as `run_configs.of_run` reads it.
    """
    files = {"weights": weights, "images": images, "image_size": str(size_for(config)), "decode": str(DECODE_VERSION)}
    if held := plugin_files.files({"tta": config.views}, of).get("tta", []):
        files["views' files"] = checksums.array_hash([checksums.file_hash(file) for file in held])
    return checksums.digest(
        fingerprints.fields(config, affecting(Affects.PREDICTION), of, setting=str(setting), **files)
    )


def kept_views(path: Path, fingerprint: str, ids: Array, say: Callable[[str], None]) -> dict[str, Array]:
    """Return the views that are already there for these rows, weights and images; `say` is told of a damaged file."""
    old = load_kept(path, fingerprint, ids, say)
    return {} if old is None else {view: old.view(view) for view in old.views}


def _silent(text: str) -> None:
    """Say nothing, where the main process does."""

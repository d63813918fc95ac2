"""Predict validation and test rows with all fold models and views, in one pass over the images."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pipeline.batches import augmentation, fold_rows
from pipeline.batches.inputs import Inputs
from pipeline.batches.rows import Images, Rows, subset
from pipeline.config import fingerprints, plugin_files
from pipeline.config.config import Config
from pipeline.config.keys import affecting
from pipeline.config.loading import dump
from pipeline.config.rules import topk_rules
from pipeline.config.sections.section import Affects
from pipeline.errors import MismatchError
from pipeline.files import checksums
from pipeline.files.atomic import write_text
from pipeline.files.locks import lock
from pipeline.folds import fold_table
from pipeline.images.cache import size_for
from pipeline.images.decoding import DECODE_VERSION
from pipeline.machine import devices, processes
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.models import network
from pipeline.models.network import Setting
from pipeline.models.outputs import Output, pool
from pipeline.prediction.predictions import Predictions
from pipeline.prediction.predictor import Options, predict
from pipeline.prediction.topk_predictor import pool_tops, predict_tops


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
    if "test" in parts:
        test_images = inputs.test_images(config)
    devices.prepare(config.train, processes.count())
    jobs = _Jobs(config, table.fold_hash)
    with lock(config.run_dir) if processes.is_main() else contextlib.nullcontext():
        trained = _trained(config, table.n, folds)
        if processes.is_main():
            write_text(config.run_dir / "config.yaml", dump(config))
            plugin_files.keep(config, trained=True)
        held = Rows(images, competition.image_ids)
        for base in (config.run_dir, config.run_dir / "last"):
            for fold in trained if "valid" in parts else []:
                if (base / f"fold{fold}" / "model.safetensors").is_file():
                    numbers = fold_table.row_numbers(competition.ids, table.valid_ids(fold))
                    chosen = fold_rows.image_numbers(competition.rows_I, competition.image_ids, numbers)
                    owners_I = competition.ids[competition.rows_I[chosen]]
                    jobs.predict([base / f"fold{fold}"], "valid", subset(held, chosen), owners_I)
        if "test" in parts:
            test = Rows(test_images, competition.test_image_ids)
            owners_J = competition.test_ids[competition.test_rows_J]
            jobs.predict([config.run_dir / f"fold{fold}" for fold in trained], "test", test, owners_J)
    return config.run_dir


def _trained(config: Config, count: int, folds: Sequence[int] | None) -> list[int]:
    wanted = list(folds) if folds else list(range(count))
    there = [fold for fold in wanted if (config.run_dir / f"fold{fold}" / "model.safetensors").is_file()]
    if not there or (folds and there != wanted):
        raise MismatchError(f"{config.run_dir}: trained folds are {there}, wanted {wanted}; run: foldline train")
    asked = fingerprints.fields(config, affecting(Affects.NETWORK))
    asked.pop("model's file", None)  # the run keeps a copy of what it was trained with
    del asked["engine"]  # a later version may predict with earlier weights
    for fold in there:
        stamp = fingerprints.read_stamp(config.run_dir, f"train-fold{fold}") or asked  # none where it was copied
        if changes := fingerprints.differences({key: stamp.get(key) for key in asked}, asked):
            raise MismatchError(
                f"{config.run_dir}/fold{fold}: was trained with other settings ({'; '.join(changes)}); "
                "restore them, or run: foldline train --force"
            )
    return there


class _Jobs:
    """Predict a set of rows with the networks of some folds, writing one file beside each."""

    def __init__(self, config: Config, fold_hash: str) -> None:
        self.config, self.fold_hash = config, fold_hash
        self.setting = Setting.of(config)
        self.loaded: dict[Path, tuple[nn.Module, dict[str, Any]]] = {}
        self.hashes: dict[Path, str] = {}  # of each folder's weights, read once for all its files

    def predict(self, folders: Sequence[Path], kind: str, rows: Rows, owners_I: Array) -> None:
        """Complete the files `kind`.npz of these folders with one pass over the images; `owners_I` are their ids."""
        wanted = self.config.views
        ids, rows_I = owned(owners_I)
        digest = image_digest(rows.images, rows.ids, owners_I)
        prints = {folder: self._fingerprint(folder, digest) for folder in folders}
        kept = {folder: kept_views(folder / f"{kind}.npz", prints[folder], ids) for folder in folders}
        todo = [folder for folder in folders if any(view not in kept[folder] for view in wanted)]
        missing = [view for view in wanted if any(view not in kept[folder] for folder in todo)]
        missing = processes.agree(missing)
        todo = processes.agree(todo)
        if todo:
            found = self._made(todo, rows, rows_I, len(ids), missing, f"{kind}, {len(missing)} views")
            if processes.is_main():
                for folder, views in zip(todo, found, strict=True):
                    self._save(folder, kind, ids, {**kept[folder], **views}, prints[folder])
        if processes.is_main():
            names = ", ".join(folder.name for folder in todo) or "nothing"
            print(
                f"{kind}: {len(ids)} rows, computed {names}"
                + (f" under {', '.join(missing)}" if todo else ", all views are there")
            )
        processes.barrier()

    def _made(
        self, folders: Sequence[Path], rows: Rows, rows_I: Array, count: int, views: Sequence[str], progress: str
    ) -> list[dict[str, Array]]:
        """Return each network's probabilities [N,C] under each view, or Tops where not all classes are kept."""
        config, setting = self.config, self.setting
        networks, metas = zip(*(self._network(folder) for folder in folders), strict=True)
        outputs = [Output.of(config, meta) for meta in metas]
        normalize = network.normalize(networks[0], setting, config.data.in_chans)
        width = len(metas[0]["classes"])
        options = Options(augment=augmentation.of(config), outputs=outputs, progress=progress)
        if (most := topk_rules.kept(config, width)) is not None:
            tops = predict_tops(networks, rows, views, config, setting, normalize, width, most, **options)
            return [{view: pool_tops(one, rows_I, count) for view, one in found.items()} for found in tops]
        made = []
        found = predict(networks, rows, views, config, setting, normalize, **options)
        for output, probs_IVC in zip(outputs, found, strict=True):
            probs_NVC = pool(probs_IVC, rows_I, count, config.data.pool, output.blocks)
            made.append({view: probs_NVC[:, v] for v, view in enumerate(views)})
        return made

    def _save(self, folder: Path, kind: str, ids: Array, views: dict[str, Array], print_: str) -> None:
        meta = self._network(folder)[1]
        if (most := topk_rules.kept(self.config, len(meta["classes"]))) is not None:
            views = {view: topk.top(probs_NC, most) for view, probs_NC in views.items()}
        ordered = list(dict.fromkeys([*self.config.views, *views]))  # those of an earlier `tta` stay
        tops = topk.tops([views[view] for view in ordered])
        shown = [one.values_NK for one in tops] or [views[view] for view in ordered]
        Predictions(
            ids=ids,
            views=tuple(ordered),
            classes=tuple(meta["classes"]),
            probs_NVC=np.stack(shown, axis=1),
            meta={
                "run": self.config.run_dir.name,
                "fold": meta["fold"],
                "fold_hash": meta["fold_hash"],
                "fingerprint": print_,
                "task": self.config.data.task,
                "heads": meta.get("heads"),
                "versions": devices.versions(),
            },
            top_NVK=np.stack([one.columns_NK for one in tops], axis=1) if tops else None,
        ).save(folder / f"{kind}.npz")

    def _fingerprint(self, folder: Path, images: str) -> str:
        if folder not in self.hashes:
            self.hashes[folder] = weights_hash(folder)
        return fingerprint_of(self.config, self.setting, self.hashes[folder], images)

    def _network(self, folder: Path) -> tuple[nn.Module, dict[str, Any]]:
        if folder not in self.loaded:
            loaded = network.load(folder / "model.safetensors", self.config, self.setting)
            if loaded[1]["fold_hash"] != self.fold_hash:
                raise MismatchError(
                    f"{folder}: trained on folds {loaded[1]['fold_hash'][:12]}, {self.config.folds_path} holds "
                    f"{self.fold_hash[:12]}; train again, or restore the folds"
                )
            self.loaded[folder] = loaded
        return self.loaded[folder]


def owned(owners_I: Array) -> tuple[Array, Array]:
    """Return the ids that images belong to, each once as they first come, and each image's number among them."""
    ids, first, inverse = np.unique(owners_I, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(ids), dtype=np.int64)
    place[order] = np.arange(len(ids))
    return ids[order], place[inverse]


def image_digest(images: Images, image_ids: Array, owners_I: Array) -> str:
    """Return the digest of images by their ids and, where these differ, the ids that they belong to."""
    if np.array_equal(image_ids, owners_I):
        return images.digest(image_ids)
    return images.digest([f"{owner}\x1f{name}" for owner, name in zip(owners_I, image_ids, strict=True)])


def weights_hash(folder: Path) -> str:
    """Return the SHA-256 of a fold's weights."""
    return checksums.file_hash(folder / "model.safetensors")


def fingerprint_of(config: Config, setting: Setting, weights: str, images: str) -> str:
    """Return what the predictions of weights of this hash for images of this digest depend on, hashed."""
    found = fingerprints.fields(
        config,
        affecting(Affects.PREDICTION),
        weights=weights,
        images=images,
        image_size=str(size_for(config)),
        decode=str(DECODE_VERSION),
        setting=str(setting),
        **_view_files(config),
    )
    return checksums.digest(found)


def _view_files(config: Config) -> dict[str, str]:
    """Return the hash of the files that the user's own views come from, where there are such."""
    held = plugin_files.files({"tta": config.views}).get("tta", [])
    return {"views' files": checksums.array_hash([checksums.file_hash(file) for file in held])} if held else {}


def kept_views(path: Path, fingerprint_: str, ids: Array) -> dict[str, Array]:
    """Return the views that are already there for these rows and weights."""
    if not path.is_file():
        return {}
    with contextlib.suppress(MismatchError):
        old = Predictions.load(path)
        if old.meta["fingerprint"] == fingerprint_ and np.array_equal(old.ids, ids):
            return {view: old.view(view) for view in old.views}
    return {}

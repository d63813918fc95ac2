"""Ask each fold's model of a teacher for images without a label, once; what it says lies beside the student's fold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pipeline.batches import augmentation
from pipeline.batches.rows import Rows
from pipeline.competition.rows.new_images import NewImages
from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.keys import affecting
from pipeline.config.rules import topk_rules
from pipeline.config.sections.section import Affects
from pipeline.errors import InputError, MismatchError
from pipeline.files import checksums
from pipeline.folds.fold_table import FoldTable
from pipeline.images.cache import open_config, size_for
from pipeline.machine import devices, processes
from pipeline.methods.arrays import Array
from pipeline.models import network
from pipeline.models.network import Setting
from pipeline.models.outputs import Output, pool
from pipeline.prediction.oof import other_classes, other_folds
from pipeline.prediction.predictions import Predictions
from pipeline.prediction.predictor import predict
from pipeline.training import teacher


def answers(config: Config, new: NewImages, fold: int, table: FoldTable, classes: Sequence[str]) -> Array:
    """Return the mean over the teacher's views of what its model of this fold says, [N,C] float64.

    Kept as fold<k>/pseudo.npz of the student. Raises MismatchError where the model is of other folds or classes.
    """
    assert config.pseudo.teacher is not None
    folder = teacher.folder_of(config, "pseudo", config.pseudo.teacher)
    own, path = teacher.config_of(folder), config.run_dir / f"fold{fold}" / "pseudo.npz"
    if topk_rules.kept(own, len(classes)) is not None:
        raise InputError("pseudo.images: needs a teacher that keeps all classes of a row; set its predict.top_k: null")
    images = open_config(own, new.images, "unlabelled images")
    shown = images.digest([f"{new.ids[row]}\x1f{name}" for row, name in zip(new.rows_J, new.image_ids, strict=True)])
    print_ = checksums.digest({"teacher": fingerprint_of(config, [fold]), "images": shown, "size": size_for(own)})
    kept = Predictions.load(path) if processes.is_main() and path.is_file() else None
    if kept is not None and kept.meta["fingerprint"] != print_:
        kept = None
    if (mean_NC := processes.agree(None if kept is None else kept.mean(own.tta))) is not None:
        return np.asarray(mean_NC)
    devices.prepare(config.train, processes.count())
    setting = Setting.of(own)
    model, meta = network.load(folder / f"fold{fold}" / "model.safetensors", own, setting)
    if meta["fold_hash"] != table.fold_hash:
        raise MismatchError(other_folds(folder, meta["fold_hash"], table.fold_hash))
    if tuple(meta["classes"]) != tuple(classes):
        raise MismatchError(other_classes(folder, meta["classes"], "the training table", classes))
    output, rows = Output.of(own, meta), Rows(images, new.image_ids)
    normalize, more = network.normalize(model, setting, own.data.in_chans), augmentation.of(own)
    label = f"unlabelled, fold {fold}"
    found_JVC = predict(
        [model], rows, own.tta, own, setting, normalize, augment=more, outputs=[output], progress=label
    )[0]
    probs_NVC = pool(found_JVC, new.rows_J, len(new.ids), own.data.pool, output.blocks)
    made_meta = {"fold": fold, "fold_hash": table.fold_hash, "fingerprint": print_, "heads": meta.get("heads")}
    made = Predictions(new.ids, tuple(own.tta), tuple(classes), probs_NVC, made_meta)
    if processes.is_main():
        made.save(path)
    processes.barrier()
    return made.mean(own.tta)


def fingerprint_of(config: Config, folds: Iterable[int]) -> str:
    """Return the hash of what the teacher's answers depend on beside the images: weights and how it predicts."""
    assert config.pseudo.teacher is not None
    folder = teacher.folder_of(config, "pseudo", config.pseudo.teacher)
    own = teacher.config_of(folder)
    paths: list[Path] = [folder / f"fold{fold}" / "model.safetensors" for fold in folds]
    if missing := [path for path in paths if not path.is_file()]:
        raise MismatchError(*(f"{path}: missing; train the teacher with: foldline train" for path in missing))
    files = {path.parent.name: checksums.file_hash(path) for path in paths}
    return checksums.digest(
        fingerprints.fields(own, [*affecting(Affects.PREDICTION), "tta"], **files, setting=str(Setting.of(own)))
    )

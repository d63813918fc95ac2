"""Label further rows by what each fold's model of a teacher predicts of them, where it is confident."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.batches.rows import Rows
from pipeline.competition.competition import Competition
from pipeline.competition.rows.external_rows import TEST, Extra
from pipeline.competition.rows.new_images import NewImages, find
from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.keys import affecting
from pipeline.config.rules import topk_rules
from pipeline.config.sections.section import Affects
from pipeline.errors import InputError, MismatchError, Problem
from pipeline.files import checksums
from pipeline.folds.fold_table import FoldTable
from pipeline.images.cache import size_for
from pipeline.images.verifying import open_verified
from pipeline.machine import devices, processes
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS
from pipeline.models import network
from pipeline.models.network import Setting
from pipeline.models.outputs import pool
from pipeline.prediction.oof import other_classes, other_folds
from pipeline.prediction.predictions import Predictions, load_kept
from pipeline.prediction.predictor import Predictor
from pipeline.training.teaching import teacher

Spans = Sequence[tuple[int, int]]  # columns that sum to 1 each; none: every column is a question of its own


def certainty(probs_NC: Array, spans: Spans) -> Array:
    """Return the probability of the least sure of a row's answers, [N]: of a head's label, or of a cell's yes or no.

    One unsure cell makes a row unsure, as all cells are learnt.
    """
    if not spans:
        return np.asarray(np.maximum(probs_NC, 1 - probs_NC).min(1))
    return np.asarray(np.min([probs_NC[:, start:stop].max(1) for start, stop in spans], axis=0))


def labels(probs_NC: Array, spans: Spans) -> Array:
    """Return the label of each head as 0 and 1, or each cell's, [N,C] float32; the first of equals."""
    if not spans:
        return (probs_NC >= 0.5).astype(np.float32)
    hard_NC = np.zeros(probs_NC.shape, dtype=np.float32)
    for start, stop in spans:
        hard_NC[np.arange(len(hard_NC)), start + probs_NC[:, start:stop].argmax(1)] = 1
    return hard_NC


class PseudoLabels:
    """Hold the rows that `pseudo.teacher` may label: the run's own test, or `pseudo.images`."""

    def __init__(self, config: Config, competition: Competition, table: FoldTable) -> None:
        """Read what there is; raise InputError or MismatchError where the teacher does not fit."""
        self.config, self.labelled, self.table = config, competition, table
        self.task, asked = TASKS[config.data.task], config.pseudo
        heads = config.data.heads_of(competition.classes) or [("", 0, len(competition.classes))]
        self.spans = [(start, stop) for _, start, stop in heads] if self.task.single_label else []
        self.of_test: list[Array] | None = None  # each fold's model's predictions of the test
        if asked.images is None:
            places = (competition.test_images, competition.test_rows_J, competition.test_image_ids)
            self.new = NewImages(competition.test_ids, *places, None, False)
            self.of_test = teacher.of_test(config, competition, table)
            order = np.argsort(competition.test_ids, kind="stable")
            found = [probs_TC[order].astype(np.float32) for probs_TC in self.of_test]
            hashed = teacher.digest(competition.test_ids[order].tolist(), *found)
            if not any(self._sure(probs_TC).any() for probs_TC in self.of_test):
                most = max(certainty(probs_TC, self.spans).max(initial=0) for probs_TC in self.of_test)
                lacks = f"no row of the test reaches {asked.threshold:g}, the surest has {most:.3f}"
                raise InputError(Problem("pseudo.threshold", lacks, remedy="lower it"))
        else:
            self.new = find(config, asked.images)
            hashed = fingerprint_of(config, range(table.n))
        self.hashes = {"pseudo.teacher": hashed, "pseudo.threshold": repr(asked.threshold)}
        self.hashes |= {"pseudo.weight": repr(asked.weight), "pseudo.soft": repr(asked.soft)}

    @property
    def all_rows(self) -> Extra:
        """Return the competition's extra rows and, below them, every row that may be labelled."""
        every = np.arange(len(self.new.images))
        return self._extra(every, np.zeros((len(every), len(self.labelled.classes)), dtype=np.float32))

    def fold(self, number: int) -> tuple[Extra, Array, str]:
        """Return a fold's extra rows with those that its teacher labels, which images these are, and a note."""
        probs_NC = self._predicted(number) if self.of_test is None else self.of_test[number]
        hard = not (self.task.regression or self.config.pseudo.soft)
        targets_NC = labels(probs_NC, self.spans) if hard else probs_NC.astype(np.float32)
        sure_N = self._sure(probs_NC)
        chosen_J = np.flatnonzero(sure_N[self.new.rows_J])
        note = f"{sure_N.sum()} of {len(sure_N)} rows labelled by {self.config.pseudo.teacher}"
        return self._extra(chosen_J, targets_NC[self.new.rows_J[chosen_J]]), chosen_J, note

    def _sure(self, probs_NC: Array) -> Array:
        if self.task.regression:
            return np.ones(len(probs_NC), dtype=bool)
        return np.asarray(certainty(probs_NC, self.spans) >= self.config.pseudo.threshold)

    def _extra(self, chosen_J: Array, targets_JC: Array) -> Extra:
        """Return the competition's extra rows and, below them, some of the unlabelled images.

        These have no group, as their labels come from a model that saw nothing of what the fold validates.
        """
        ids = np.asarray([f"{TEST}{name}" for name in self.new.image_ids[chosen_J].tolist()], dtype=np.str_)
        images = [self.new.images[number] for number in chosen_J.tolist()]
        weights_J = np.full(len(ids), self.config.pseudo.weight, dtype=np.float32)
        held = self.labelled.extra
        if held is None:
            return Extra(ids, images, None, targets_JC, weights_J)
        if twice := sorted(set(ids.tolist()) & set(held.ids.tolist())):
            found = f"'{twice[0]}' stands in data.extra already"
            raise InputError(Problem("pseudo", found, remedy="take it out of that table"))
        return Extra(
            np.concatenate([held.ids, ids]),
            [*held.images, *images],
            None if held.groups is None else np.concatenate([held.groups, np.full(len(ids), "")]),
            topk.join([held.targets_EC, targets_JC]),
            np.concatenate([held.weights_E, weights_J]),
        )

    def _predicted(self, fold: int) -> Array:
        """Return the mean over the teacher's views of what its model of this fold predicts, [N,C] float64.

        Kept as fold<k>/pseudo.npz of the student. Raises MismatchError where the model is of other folds or classes.
        """
        config, new, classes = self.config, self.new, self.labelled.classes
        folder = teacher.folder_of(config, "pseudo")
        teachers, path = teacher.to_predict(config, folder), config.run_dir / f"fold{fold}" / "pseudo.npz"
        views = teacher.config_of(folder).tta  # as its predictions call them
        if topk_rules.kept(teachers, len(classes)) is not None:
            found = "needs a teacher that keeps all classes of a row"
            raise InputError(Problem("pseudo.images", found, remedy="set its predict.top_k: null"))
        images = open_verified(teachers, new.images, "unlabelled images")
        names = zip(new.ids[new.rows_J], new.image_ids, strict=True)
        shown = images.digest([f"{owner}\x1f{name}" for owner, name in names])
        depends = {"teacher": fingerprint_of(config, [fold]), "images": shown, "size": size_for(teachers)}
        fingerprint = checksums.digest(depends)
        kept = load_kept(path, fingerprint, new.ids, print) if processes.is_main() else None
        if (mean_NC := processes.agree(None if kept is None else kept.mean(views))) is not None:
            return np.asarray(mean_NC)
        devices.prepare(config.train, processes.count())
        setting = Setting.of(teachers)
        model, meta = network.load(folder / f"fold{fold}" / "model.safetensors", teachers, setting)
        if meta["fold_hash"] != self.table.fold_hash:
            raise MismatchError(other_folds(folder, meta["fold_hash"], self.table.fold_hash))
        if tuple(meta["classes"]) != classes:
            raise MismatchError(other_classes(folder, meta["classes"], "the training table", classes))
        predictor, rows = Predictor.of(teachers, setting, [(model, meta)]), Rows(images, new.image_ids)
        probs_JVC = predictor.predict(rows, teachers.tta, progress=f"unlabelled, fold {fold}")[0]
        probs_NVC = pool(probs_JVC, new.rows_J, len(new.ids), teachers.data.pool, predictor.outputs[0].blocks)
        about = {
            "fold": fold,
            "fold_hash": self.table.fold_hash,
            "fingerprint": fingerprint,
            "heads": meta.get("heads"),
        }
        made = Predictions(new.ids, tuple(views), classes, probs_NVC, about)
        if processes.is_main():
            made.save(path)
        processes.barrier()
        return made.mean(views)


def fingerprint_of(config: Config, folds: Iterable[int]) -> str:
    """Return the hash of what the teacher's predictions depend on beside the images: weights and how it predicts."""
    folder = teacher.folder_of(config, "pseudo")
    teachers = teacher.config_of(folder)
    paths = [folder / f"fold{fold}" / "model.safetensors" for fold in folds]
    remedy = "train the teacher with: foldline train"
    if problems := [Problem(str(path), "missing", remedy=remedy) for path in paths if not path.is_file()]:
        raise MismatchError(*problems)
    files = {path.parent.name: checksums.file_hash(path) for path in paths}
    keys = [*affecting(Affects.PREDICTION), "tta"]
    return checksums.digest(fingerprints.fields(teachers, keys, folder, **files, setting=str(Setting.of(teachers))))

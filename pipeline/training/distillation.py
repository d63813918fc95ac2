"""Teach each fold what another run knows: targets drawn to its predictions, and further rows that it labels.

Targets of a row that fold k trains on are drawn to what the teacher predicted of it out of fold. Rows without a label
have that of the teacher's model k alone, which saw none of the labels that fold k validates. Validated rows keep the
truth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.batches import fold_rows
from pipeline.competition.competition import Competition
from pipeline.competition.rows.external_rows import TEST, Extra
from pipeline.competition.rows.new_images import NewImages, find
from pipeline.config.config import Config
from pipeline.errors import InputError
from pipeline.folds.fold_table import FoldTable
from pipeline.images.cache import ImageSet
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS
from pipeline.training import confident_labels, pseudo_labels, teacher


@dataclass(frozen=True)
class FoldData:
    """Hold the competition as one fold learns it, the images of its `rows.sources`, and what to say about it."""

    competition: Competition
    images: ImageSet
    note: str | None


class Teachers:
    """Hold what the config's teachers say about a competition; without any everything stays as it is."""

    def __init__(self, config: Config, competition: Competition, table: FoldTable) -> None:
        """Read the teachers; raise InputError or MismatchError where one does not fit the folds and classes."""
        if defects := teacher.problems(config):
            raise InputError(*defects)
        if teacher.teachers(config) and isinstance(competition.targets_NC, topk.OneHot):
            raise InputError("distill, pseudo: predictions of so many classes do not fit into memory; leave them out")
        self.config, self.own, self.table, self.task = config, competition, table, TASKS[config.data.task]
        self.competition = competition  # with every row that may be labelled: all their images are to be opened
        self.hashes = fold_rows.hashes(competition)  # of what no fold table holds
        self.drawn: tuple[Array, Array] | None = None  # OOF predictions [N,C] and each row's fold [N], −1 for none
        self.new: NewImages | None = None  # rows to be labelled
        self.answers: list[Array] | None = None  # to them by each fold's model, where known beforehand
        if config.distill.teacher is not None:
            self._read_oof()
        if config.pseudo.teacher is not None:
            self._read_unlabelled()

    def fold(self, number: int, images: ImageSet) -> FoldData:
        """Return what a fold learns, with the images chosen from those of `competition`."""
        made, notes = self.own, []
        if self.drawn is not None:
            other_N = self._known(number)
            made = replace(made, targets_NC=self._mixed(other_N))
            notes.append(f"{other_N.sum()} targets drawn to {self.config.distill.teacher}")
        if self.new is not None:
            probs_NC = self._asked(number)
            sure_N = self._sure(probs_NC)
            chosen_J = np.flatnonzero(sure_N[self.new.rows_J])
            made = replace(made, extra=self._with(chosen_J, self._labels(probs_NC)[self.new.rows_J[chosen_J]]))
            before = len(images) - len(self.new.images)
            images = images.take(np.concatenate([np.arange(before), before + chosen_J]))
            notes.append(f"{sure_N.sum()} of {len(sure_N)} rows labelled by {self.config.pseudo.teacher}")
        return FoldData(made, images, ", ".join(notes) or None)

    def _read_oof(self) -> None:
        probs_NC, fold_N = self.drawn = teacher.oof(self.config, self.own, self.table)
        for fold in range(self.table.n):
            if not self._known(fold).any():
                raise InputError(
                    f"distill: no row that fold {fold} trains on is predicted out of fold, as nothing else is "
                    "validated; choose folds.scheme with several folds"
                )
        order = np.argsort(self.own.ids, kind="stable")
        self.hashes["distill.teacher"] = teacher.digest(
            self.own.ids[order].tolist(), fold_N[order], probs_NC[order].astype(np.float32)
        )
        self.hashes["distill.weight"] = repr(self.config.distill.weight)

    def _read_unlabelled(self) -> None:
        own, asked = self.own, self.config.pseudo
        if asked.images is None:
            self.new = NewImages(own.test_ids, own.test_images, own.test_rows_J, own.test_image_ids, None, False)
            self.answers = teacher.of_test(self.config, own, self.table)
            order = np.argsort(own.test_ids, kind="stable")
            found = [answers_TC[order].astype(np.float32) for answers_TC in self.answers]
            hashed = teacher.digest(own.test_ids[order].tolist(), *found)
            if not any(self._sure(answers_TC).any() for answers_TC in self.answers):
                most = max(
                    confident_labels.certainty(answers_TC, self._spans).max(initial=0) for answers_TC in self.answers
                )
                raise InputError(
                    f"pseudo.threshold: no row of the test reaches {asked.threshold:g}, the surest has {most:.3f}; "
                    "lower it"
                )
        else:
            self.new = find(self.config, asked.images)
            hashed = pseudo_labels.fingerprint_of(self.config, range(self.table.n))
        self.hashes |= {"pseudo.teacher": hashed, "pseudo.threshold": repr(asked.threshold)}
        self.hashes |= {"pseudo.weight": repr(asked.weight), "pseudo.soft": repr(asked.soft)}
        everything = np.arange(len(self.new.images))
        none_JC = np.zeros((len(everything), len(own.classes)), dtype=np.float32)
        self.competition = replace(own, extra=self._with(everything, none_JC))

    def _known(self, fold: int) -> Array:
        """Return which rows a fold trains on that another fold's model of the teacher predicted, [N] bool."""
        assert self.drawn is not None
        fold_N = self.drawn[1]
        return np.asarray((fold_N >= 0) & (fold_N != fold))

    def _mixed(self, other_N: Array) -> Array:
        """Return (1 − weight)·truth + weight·prediction for these rows, the truth for the others, [N,C] float32."""
        assert self.drawn is not None
        weight, targets_NC = self.config.distill.weight, self.own.targets_NC.copy()
        truth_MC = targets_NC[other_N].astype(np.float64)
        targets_NC[other_N] = (1 - weight) * truth_MC + weight * self.drawn[0][other_N]
        return targets_NC

    def _asked(self, fold: int) -> Array:
        """Return what the teacher's model of this fold says of the unlabelled rows, [N,C]."""
        assert self.new is not None
        if self.answers is not None:
            return self.answers[fold]
        return pseudo_labels.answers(self.config, self.new, fold, self.table, self.own.classes)

    @property
    def _spans(self) -> list[tuple[int, int]]:
        """Return the columns of which one is true, of each head; none where each is a question of its own."""
        if not self.task.single_label:
            return []
        heads = self.config.data.heads_of(self.own.classes)
        return [(start, stop) for _, start, stop in heads] or [(0, len(self.own.classes))]

    def _sure(self, probs_NC: Array) -> Array:
        if self.task.regression:
            return np.ones(len(probs_NC), dtype=bool)
        return np.asarray(confident_labels.certainty(probs_NC, self._spans) >= self.config.pseudo.threshold)

    def _labels(self, probs_NC: Array) -> Array:
        if self.task.regression or self.config.pseudo.soft:
            return probs_NC.astype(np.float32)
        return confident_labels.labels(probs_NC, self._spans)

    def _with(self, chosen_J: Array, targets_JC: Array) -> Extra:
        """Return the competition's extra rows and, below them, some of the unlabelled images.

        These have no group, as their labels come from a model that saw nothing of what the fold validates.
        """
        assert self.new is not None
        ids = np.asarray([f"{TEST}{name}" for name in self.new.image_ids[chosen_J].tolist()], dtype=np.str_)
        images = [self.new.images[number] for number in chosen_J.tolist()]
        weights_J = np.full(len(ids), self.config.pseudo.weight, dtype=np.float32)
        held = self.own.extra
        if held is None:
            return Extra(ids, images, None, targets_JC, weights_J)
        if twice := sorted(set(ids.tolist()) & set(held.ids.tolist())):
            raise InputError(f"pseudo: '{twice[0]}' stands in data.extra already; take it out of that table")
        return Extra(
            np.concatenate([held.ids, ids]),
            [*held.images, *images],
            None if held.groups is None else np.concatenate([held.groups, np.full(len(ids), "")]),
            topk.join([held.targets_EC, targets_JC]),
            np.concatenate([held.weights_E, weights_J]),
        )

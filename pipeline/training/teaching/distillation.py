"""Teach each fold what another run knows: targets mixed with its predictions, and further rows that it labels.

Targets of a row that fold k trains on are mixed with what the teacher predicted of it out of fold. Rows without a label
have that of the teacher's model k alone, which saw none of the labels that fold k validates. Validated rows keep the
truth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.batches import fold_rows
from pipeline.competition.competition import Competition
from pipeline.config.config import Config
from pipeline.errors import InputError, Problem
from pipeline.folds.fold_table import FoldTable
from pipeline.images.cache import ImageSet
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.training.teaching import teacher
from pipeline.training.teaching.pseudo_labels import PseudoLabels


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
        if problems := teacher.problems(config):
            raise InputError(*problems)
        if teacher.teachers(config) and isinstance(competition.targets_NC, topk.OneHot):
            found = "predictions of so many classes do not fit into memory"
            raise InputError(Problem("distill, pseudo", found, remedy="leave them out"))
        self.config, self.labelled = config, competition
        self.hashes = fold_rows.hashes(competition)  # of what no fold table holds
        self.forward = table.forward
        self.oof: tuple[Array, Array] | None = None  # predictions [N,C] and each row's fold [N], −1 for none
        self.pseudo: PseudoLabels | None = None
        if config.distill.teacher is not None:
            self.oof = self._read_oof(table)
        if config.pseudo.teacher is not None:
            self.pseudo = PseudoLabels(config, competition, table)
            self.hashes |= self.pseudo.hashes
        # with every row that may be labelled: all their images are to be opened
        self.competition = competition if self.pseudo is None else replace(competition, extra=self.pseudo.all_rows)

    def fold(self, number: int, images: ImageSet) -> FoldData:
        """Return what a fold learns, with the images chosen from those of `competition`."""
        made, notes = self.labelled, []
        if self.oof is not None:
            probs_NC, fold_N = self.oof
            other_N = _by_other_folds(fold_N, number, self.forward)
            weight, targets_NC = self.config.distill.weight, made.targets_NC.copy()
            truth_MC = targets_NC[other_N].astype(np.float64)
            targets_NC[other_N] = (1 - weight) * truth_MC + weight * probs_NC[other_N]
            made = replace(made, targets_NC=targets_NC)
            notes.append(f"{other_N.sum()} targets mixed with predictions of {self.config.distill.teacher}")
        if self.pseudo is not None:
            extra, chosen_J, note = self.pseudo.fold(number)
            made, before = replace(made, extra=extra), len(images) - len(self.pseudo.new.images)
            images = images.take(np.concatenate([np.arange(before), before + chosen_J]))
            notes.append(note)
        return FoldData(made, images, ", ".join(notes) or None)

    def hashed(self, table: FoldTable, images: ImageSet) -> tuple[str, dict[str, str]]:
        """Return the digest of the images of `competition`, and the hashes of what no fold table holds."""
        left_out = fold_rows.equal_extra(self.competition, table, images)
        return images.digest(fold_rows.names(self.competition)), self.hashes | left_out

    def _read_oof(self, table: FoldTable) -> tuple[Array, Array]:
        probs_NC, fold_N = teacher.oof(self.config, self.labelled, table)
        for fold in range(table.forward, table.n):  # nothing before a forward table's first fold is validated
            if not _by_other_folds(fold_N, fold, table.forward).any():
                rows = f"no row that fold {fold} trains on is predicted out of fold"
                found, remedy = f"{rows}, as nothing else is validated", "choose folds.scheme with several folds"
                raise InputError(Problem("distill", found, remedy=remedy))
        order = np.argsort(self.labelled.ids, kind="stable")
        ids, floats_NC = self.labelled.ids[order].tolist(), probs_NC[order].astype(np.float32)
        self.hashes["distill.teacher"] = teacher.digest(ids, fold_N[order], floats_NC)
        self.hashes["distill.weight"] = repr(self.config.distill.weight)
        return probs_NC, fold_N


def _by_other_folds(fold_N: Array, fold: int, forward: bool) -> Array:
    """Return which rows a fold trains on that another fold's model of the teacher predicted, [N] bool."""
    return np.asarray((fold_N >= 0) & ((fold_N < fold) if forward else (fold_N != fold)))

"""Lay out the images of a competition as the engine's rows: those of each fold, and the extra ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.batches.rows import Rows, subset
from pipeline.competition.competition import Competition
from pipeline.competition.image_paths import Source
from pipeline.files import checksums, parts
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.images.cache import ImageSet
from pipeline.methods import topk
from pipeline.methods.arrays import Array


def sources(competition: Competition) -> list[Source]:
    """Return the images that are trained on: the competition's, then the extra rows'."""
    extra = competition.extra
    return [*competition.images, *(extra.images if extra is not None else [])]


def names(competition: Competition) -> Array:
    """Return the image ids in the order of `sources`."""
    extra = competition.extra
    return competition.image_ids if extra is None else np.concatenate([competition.image_ids, extra.ids])


def of(competition: Competition, images: ImageSet) -> Rows:
    """Return a row per image of `sources`, with its row's target and weight."""
    targets_IC, weights_I = competition.targets_NC[competition.rows_I], None
    extra = competition.extra
    if competition.weights_N is not None or extra is not None:
        weights_N = competition.weights_N
        weights_I = np.ones(len(targets_IC), np.float32) if weights_N is None else weights_N[competition.rows_I]
    if extra is not None:
        assert weights_I is not None
        targets_IC = topk.join([targets_IC, extra.targets_EC])
        weights_I = np.concatenate([weights_I, extra.weights_E])
    return Rows(images, names(competition), targets_IC, weights_I)


def train_numbers(
    competition: Competition, table: FoldTable, fold: int, wanted: Array, images: ImageSet | None
) -> Array:
    """Return the numbers of the images that a fold trains on: of the wanted ids, then the extra ones.

    Extra rows whose group or picture the fold validates are left out; where the images of `sources` are not known
    (None), their groups alone tell. The order is the fold table's, then that of the image ids: the order of the
    input file changes nothing.
    """
    numbers = image_numbers(competition.rows_I, competition.image_ids, fold_table.row_numbers(competition.ids, wanted))
    extra = competition.extra
    if extra is None:
        return numbers
    held_N = _held(competition, table.ids[table.fold == fold])
    left_E = np.zeros(len(extra.ids), bool) if images is None else _shown(competition, held_N, images)
    if extra.groups is not None and competition.groups is not None:
        left_E |= (extra.groups != "") & np.isin(extra.groups, competition.groups[held_N])
    order_E = np.argsort(extra.ids, kind="stable")
    return np.concatenate([numbers, len(competition.images) + order_E[~left_E[order_E]]])


def _held(competition: Competition, ids: Array) -> Array:
    """Return which of the competition's rows have these ids, [N] bool."""
    held_N = np.zeros(len(competition.ids), bool)
    held_N[fold_table.row_numbers(competition.ids, ids)] = True
    return held_N


def _shown(competition: Competition, held_N: Array, images: ImageSet) -> Array:
    """Return which extra rows show an image of these rows, [E] bool; none where equal images are only told."""
    contents, count = images.contents_N, len(competition.images)
    if competition.anywhere is None:
        return np.zeros(len(images) - count, bool)
    held_I = held_N[competition.rows_I] & ~images.absent_N[:count]
    held = np.setdiff1d(contents[:count][held_I], np.asarray(sorted(competition.anywhere), "S32"))
    shown_E = np.isin(contents[count:], held)
    if any(parts.BOX in path for source in sources(competition) for path in source):
        names = np.asarray([parts.picture(source) for source in sources(competition)], object)
        shown_E |= np.isin(names[count:], names[:count][held_I])
    return shown_E


def image_numbers(rows_I: Array, image_ids: Array, rows: Array) -> Array:
    """Return the numbers of the images of these rows, row by row, sorted by image id within one."""
    rank_N = np.full(int(max(rows_I.max(initial=-1), rows.max(initial=-1))) + 1, -1)
    rank_N[rows] = np.arange(len(rows))
    chosen = np.flatnonzero(rank_N[rows_I] >= 0)
    return chosen[np.lexsort((image_ids[chosen], rank_N[rows_I[chosen]]))]


def present(rows: Rows, images: ImageSet, numbers: Array) -> Rows:
    """Select rows to train on, without those whose image is absent: mid-gray teaches nothing.

    Their weights have the mean 1, so that they shift no learning rate, and are None where they are equal.
    """
    chosen = subset(rows, numbers[~images.absent_N[numbers]])
    if chosen.weights_N is None:
        return chosen
    mean = float(chosen.weights_N.mean(dtype=np.float64))
    equal = mean == 0 or (chosen.weights_N == chosen.weights_N[0]).all()
    return replace(chosen, weights_N=None if equal else (chosen.weights_N / mean).astype(np.float32))


def equal_extra(competition: Competition, table: FoldTable, images: ImageSet) -> dict[str, str]:
    """Return the hash of the extra rows that some fold leaves out as it validates their picture; none, if none."""
    if competition.extra is None:
        return {}
    left_E = _shown(competition, _held(competition, table.ids[table.fold >= 0]), images)
    return {"equal_extra": checksums.array_hash(np.sort(competition.extra.ids[left_E]))} if left_E.any() else {}


def hashes(competition: Competition) -> dict[str, str]:
    """Return hashes of what no fold table holds: weights, extra rows, which row an image belongs to; none, if none."""
    order_N = np.argsort(competition.ids, kind="stable")
    found: dict[str, str] = {}
    if competition.weights_N is not None:
        found["weights"] = checksums.array_hash(competition.weights_N[order_N])
    if len(competition.images) != len(competition.ids):
        order_I = np.argsort(competition.image_ids, kind="stable")
        owners = competition.ids[competition.rows_I[order_I]]
        found["image_rows"] = checksums.array_hash(competition.image_ids[order_I], owners)
    if (extra := competition.extra) is not None:
        order_E = np.argsort(extra.ids, kind="stable")
        targets_EC = extra.targets_EC
        targets = targets_EC.classes_N if isinstance(targets_EC, topk.OneHot) else targets_EC
        columns = [extra.ids, targets, extra.weights_E, *([] if extra.groups is None else [extra.groups])]
        found["extra"] = checksums.array_hash(*(column[order_E] for column in columns))
    return found

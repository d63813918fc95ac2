"""Summarize a competition for a reader: its rows, targets, groups, the kinds of its images."""

from __future__ import annotations

import io
import os
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.competition.image_paths import Source
from pipeline.competition.metric_warnings import misleading
from pipeline.competition.sample_submission import to_fill
from pipeline.competition.samples.columns import positive
from pipeline.config.rules import recipe_rules
from pipeline.files import archives, parts
from pipeline.folds.strata import strata
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    from pipeline.competition.competition import Competition
    from pipeline.config.config import Config

PEEKED = 64  # images whose headers tell the sizes and modes
CHUNK = 1 << 14  # rows looked at together: a copy of all may not fit into memory


def all_images(competition: Competition) -> list[Source]:
    """Return the images of training, test and extra rows; () where one is absent."""
    extra = [] if competition.extra is None else competition.extra.images
    return [*competition.images, *competition.test_images, *extra]


def summarize(config: Config, competition: Competition, peek: bool) -> dict[str, Any]:
    """Return what check.json holds; the headers of some images are read where `peek`."""
    targets_NC, task, names = competition.targets_NC, TASKS[config.data.task], competition.classes
    count_C = None if task.regression else _counts(config, competition)
    images, extra, groups = all_images(competition), competition.extra, None
    if competition.groups is not None:
        shared = competition.groups[competition.groups != ""]
        alone_N = np.ones(len(competition.groups) - len(shared), np.int64)
        sizes = np.concatenate([np.unique(shared, return_counts=True)[1], alone_N])
        groups = {"count": len(sizes), "smallest": int(sizes.min()), "largest": int(sizes.max())}
    return {
        "rows": len(competition.ids),
        "test_rows": len(competition.test_ids),
        "images": len(competition.images),
        "test_images": len(competition.test_images),
        "extra_rows": 0 if extra is None else len(extra.ids),
        # rows by their decided class
        "classes": {} if count_C is None else dict(zip(names, count_C.tolist(), strict=True)),
        "rare": 0 if count_C is None else int((count_C < config.folds.n).sum()),
        "positive": positive(competition.sample[to_fill(competition.sample, config)], config, names),
        "values": _values(targets_NC, names) if task.regression else None,
        "soft_sums": _sums(targets_NC, names) if not task.regression and _is_soft(targets_NC) else None,
        "groups": groups,
        "endings": dict(Counter(_ending(path) for path in chain.from_iterable(images)).most_common()),
        "sizes": _peek([source for source in images if source]) if peek else None,
        "notes": [
            *competition.notes,
            *([] if config.data.heads else misleading(config, targets_NC, names)),
            *recipe_rules.shortened(config),
        ],
    }


def _counts(config: Config, competition: Competition) -> Array:
    """Return the rows of each class, [C]; of heads side by side."""
    data, task, targets_NC = config.data, TASKS[config.data.task], competition.targets_NC
    if data.heads:
        matrix_NC, _ = strata(task, targets_NC, competition.classes, data, config.folds.bins)
        return np.asarray(matrix_NC.sum(0))
    labels = task.labels(targets_NC)
    return np.asarray(np.bincount(labels, minlength=targets_NC.shape[1]) if task.single_label else labels.sum(0))


def _is_soft(targets_NC: Array) -> bool:
    if isinstance(targets_NC, topk.OneHot):
        return False
    chunks = (targets_NC[start : start + CHUNK] for start in range(0, len(targets_NC), CHUNK))
    return any(bool(((chunk_NC != 0) & (chunk_NC != 1)).any()) for chunk_NC in chunks)


def _sums(targets_NC: Array, classes: tuple[str, ...]) -> dict[str, float]:
    totals_C = targets_NC.sum(0, dtype=np.float64)
    return {name: round(float(total), 3) for name, total in zip(classes, totals_C, strict=True)}


def _values(targets_NC: Array, classes: tuple[str, ...]) -> dict[str, dict[str, float]]:
    values_NC = targets_NC.astype(np.float64)
    measures = {"smallest": values_NC.min(0), "largest": values_NC.max(0), "mean": values_NC.mean(0)}
    measures["std"] = values_NC.std(0)
    return {name: {what: float(found_C[c]) for what, found_C in measures.items()} for c, name in enumerate(classes)}


def _ending(path: str) -> str:
    return os.path.splitext(parts.file_of(path))[1]


def _peek(images: list[Source]) -> dict[str, int]:
    """Read the headers of a few images, evenly spread, and count widths × heights and modes."""
    found = Counter(_header(source[0]) for source in images[:: max(1, len(images) // PEEKED)])
    return dict(found.most_common(8))


def _header(path: str) -> str:
    from PIL import Image

    stacked = parts.row_of(path)
    path = parts.file_of(path)
    inside = archives.split(path)
    try:
        if stacked is not None:
            array = parts.stack(stacked[0])
            return f"{'×'.join(map(str, array.shape[1:]))} {array.dtype}"
        if path.lower().endswith(".npy") and inside is None:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            return f"{'×'.join(map(str, array.shape))} {array.dtype}"
        with Image.open(path if inside is None else io.BytesIO(archives.read(*inside))) as image:
            count = getattr(image, "n_frames", 1)
            several = f" of {count} {'pages' if image.format == 'TIFF' else 'frames'}" if count > 1 else ""
            return f"{image.width}×{image.height} {image.mode}{several}"
    except (OSError, ValueError, *parts.DAMAGED):
        return f"{_ending(path)} of unknown size"  # what the engine reads and Pillow does not, or passes over

"""The report's sections of images: what is read, what is trained on, what is mistaken."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.files import parts
from pipeline.folds.strata import strata
from pipeline.methods.arrays import Array
from pipeline.report.files import Card, Run
from pipeline.report.mosaic import mosaic
from pipeline.report.plots import shorten

FEW = 12  # classes with samples; of more, the largest and the smallest
EACH = 8  # samples of a class
SEED = 0  # of the choice of samples


def wrong(run: Run) -> Card | None:
    """The OOF images whose wrong answer is given with the highest probability."""
    if run.oof is None:
        return None
    ids, truth, probs_NC = run.oof
    if run.task.single_label:
        shown = probs_NC.argmax(1)
        error_N = np.where(shown != truth, probs_NC.max(1), -1.0)
    else:
        scale = np.maximum(truth.std(0), 1e-12) if run.task.regression else 1.0
        error_NC = np.abs(probs_NC - truth) / scale
        shown, least = error_NC.argmax(1), 0.0 if run.task.regression else 0.5
        error_N = np.where(error_NC.max(1) > least, error_NC.max(1), -1.0)
    row_of = {name: row for row, name in enumerate(run.competition.ids.tolist())}
    top = [int(i) for i in np.argsort(-error_N, kind="stable")[:20] if error_N[i] >= 0 and ids[i] in row_of]
    if not top:
        return None
    captions = []
    for i in top:
        name = shorten(run.classes[shown[i]], 12)
        if run.task.single_label:
            text = f"truth {shorten(run.classes[truth[i]], 12)}\npred {name}  {error_N[i]:.3f}"
        elif run.task.regression:
            text = f"{name}: {truth[i, shown[i]]:.5g}\npred {probs_NC[i, shown[i]]:.5g}"
        else:
            text = f"{name}: {'yes' if truth[i, shown[i]] else 'no'}\npred {probs_NC[i, shown[i]]:.3f}"
        captions.append(f"{shorten(ids[i], 18)}\n{text}")
    lead = "Wrong label, ambiguous image, or a weakness of the model? Errors of the OOF, the most confident first."
    return Card("Confidently wrong", lead, mosaic(run.images([row_of[ids[i]] for i in top]), captions, 5))


def batch(run: Run) -> Card | None:
    """One training batch as the model saw it, with its soft labels."""
    if (found := run.read("fold0/batch.npz", _kept)) is None:
        return None
    images, targets_BC, names = found
    captions = []
    for target_C in targets_BC:
        top = [c for c in np.argsort(-target_C, kind="stable")[:3] if target_C[c] >= 0.01]
        captions.append("\n".join(f"{shorten(names[c], 16)}  {target_C[c]:.2f}" for c in top) or "no label")
    lead = "After augmentation and mixing, each with its soft label. Is each label still right for what is left?"
    return Card("A training batch", lead, mosaic(images, captions, 6))


def _kept(path: Path) -> tuple[list[Array], Array, list[str]]:
    """Return the images of the batch that training kept, their soft labels and the classes."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            images, targets_BC, classes = file["images"], file["targets"], file["classes"]
    except (*parts.DAMAGED, MemoryError) as error:
        raise ValueError(str(error) or type(error).__name__) from None
    shapes = (len(images), len(classes)), (images.ndim, images.dtype.kind), (classes.ndim, classes.dtype.kind)
    if shapes != (targets_BC.shape, (4, "u"), (1, "U")) or targets_BC.dtype.kind != "f":
        raise ValueError("its images, soft labels and classes do not fit together")
    return list(images), targets_BC, classes.tolist()


def samples(run: Run) -> Card | None:
    """Some images of each class, as they are read."""
    made, config = run.competition, run.config
    labels, named = strata(run.task, made.targets_NC, made.classes, config.data, config.folds.bins)
    names = list(named)
    counts = np.bincount(labels, minlength=len(names)) if labels.ndim == 1 else (labels == 1).sum(0)
    order = np.argsort(-counts, kind="stable")
    show = np.arange(len(names)) if len(names) <= FEW else np.concatenate([order[: FEW // 2], order[-FEW // 2 :]])
    rng, rows, tiles = np.random.default_rng(SEED), list[int](), list[int]()
    for line, c in enumerate(show):
        found = np.flatnonzero(labels == c if labels.ndim == 1 else labels[:, c] == 1)
        picked = rng.choice(found, min(EACH, len(found)), replace=False)
        rows += picked.tolist()
        tiles += [line * EACH + i for i in range(len(picked))]
    images: list[Array] = [np.zeros((0, 0, 3), np.uint8)] * (len(show) * EACH)
    for tile, image in zip(tiles, run.images(rows), strict=True):
        images[tile] = image
    lead = "Drawn at random, before augmentation" + (
        f"; the {FEW // 2} largest and {FEW // 2} smallest of {len(names)} classes." if len(names) > FEW else "."
    )
    return Card("Samples per class", lead, mosaic(images, [], EACH, [names[c] for c in show]))

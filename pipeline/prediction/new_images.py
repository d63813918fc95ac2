"""Predict new images from a run's folder alone: its config, its fold weights and their class list.

Nothing else is needed: no training data, no fold table, no network. Every image is decoded once, ahead of the
networks, however many folds and views there are; batches are those of the stage `predict`, so the same images
give the same numbers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from pipeline.batches.rows import Decoded, Rows
from pipeline.competition.image_paths import Source
from pipeline.competition.rows.new_images import NewImages, find
from pipeline.competition.rows.rows import SHOWN
from pipeline.competition.sample_submission import id_name
from pipeline.config.config import Config
from pipeline.config.loading import load
from pipeline.config.rules import decisions, topk_rules
from pipeline.errors import InputError, MismatchError
from pipeline.files.tables import write_table
from pipeline.images.cache import decode_config, size_for
from pipeline.images.decoding import blank
from pipeline.machine import devices, processes
from pipeline.machine.processes import cores
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.heads import composite, composite_names
from pipeline.methods.tta import is_augment
from pipeline.models import network
from pipeline.models.network import Setting
from pipeline.models.outputs import Output, pool
from pipeline.prediction.predictor import predict
from pipeline.prediction.topk_predictor import pool_tops
from pipeline.submission import filling

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

AHEAD = 3  # batches decoded while the networks work


def predict_new(source: Path, test: str | None, out: Path, settings: list[str]) -> Path:
    """Write the mean over the run's folds and the views of `tta`: id and one column per class; return the path.

    Of a run of several seeds these are the mean over all of them, which must lie beside it; random views are drawn
    by `train.seed`.
    `test` is a folder of images or a table of ids; None means the run's own test below data.root. Where a
    sample submission lies beside the test or below data.root, submission.csv is written beside `out`.
    Raises InputError listing every unreadable image, MismatchError where folds, ids or values do not fit.
    """
    begin = time.perf_counter()
    config = load([_config_path(source)], settings, kept=True)
    if out.name == "submission.csv" or out.is_dir():
        raise InputError(f"--out {out}: expected a file for the table of probabilities, such as predictions.csv")
    new = find(config, test)
    devices.prepare(config.train, processes.count())
    setting = Setting.of(config)
    networks, metas, count = _networks(source, config, setting)
    outputs = [Output.of(config, meta) for meta in metas]
    classes = tuple(metas[0]["classes"])
    if outputs[0].heads:
        classes = composite_names(classes, outputs[0].heads, config.submission.composite)
    probs_NC = _average(networks, outputs, new, config, setting, len(metas[0]["classes"]))
    if not topk.finite(probs_NC):
        raise MismatchError(f"{source}: its predictions hold NaN or infinity; use --set train.precision=fp32")
    decided_NC = decisions.of_run(_config_path(source).parent, config, classes, probs_NC)
    filled, why_not = _submission(config, new, classes, probs_NC, decided_NC)
    if processes.is_main():
        write_table(out, topk_rules.table([new.ids], ["id"], probs_NC, classes))
        notes = [*new.notes, f"written: {out}", f"no submission.csv: {why_not}"]
        if filled is not None:
            write_table(out.with_name("submission.csv"), filled)
            notes[-1] = f"written: {out.with_name('submission.csv')}"
        seconds = time.perf_counter() - begin
        print(f"{len(new.ids)} images, {count}, views {', '.join(config.tta)}, {seconds:.1f} s")
        print("\n".join(notes))
    return out


def _config_path(source: Path) -> Path:
    path = source / "config.yaml"
    if not path.is_file():
        raise InputError(f"--from {source}: has no config.yaml, expected a run's folder such as runs/NAME")
    return path


def _networks(source: Path, config: Config, setting: Setting) -> tuple[list[nn.Module], list[dict[str, Any]], str]:
    """Load every fold's network, what lies beside its weights, and how many there are, as text.

    Raises MismatchError where the networks do not belong together.
    """
    seeds = config.train.seeds or ()
    paths = [
        path
        for folder in (source, *(source.with_name(f"{source.resolve().name}-s{seed}") for seed in seeds))
        for path in sorted(folder.glob("fold*/model.safetensors"), key=lambda path: (len(path.parent.name), path))
    ]
    if not paths:
        raise InputError(f"--from {source}: holds no fold<k>/model.safetensors; train it, or copy the whole folder")
    loaded = [network.load(path, config, setting) for path in paths]
    first = loaded[0][1]
    defects = [
        f"{path}: its {key} differ from those of {paths[0]}; put one run's folds into the folder"
        for path, (_, meta) in zip(paths, loaded, strict=True)
        for key in ("classes", "fold_hash")
        if meta[key] != first[key]
    ]
    if defects:
        raise MismatchError(*defects)
    whole = max(len(seeds), 1) * first["folds"] if "folds" in first else len(paths)  # older weights do not know it
    count = f"{len(paths)} fold models" if len(paths) == whole else f"{len(paths)} of {whole} fold models"
    return [model for model, _ in loaded], [meta for _, meta in loaded], count


def _average(
    networks: Sequence[nn.Module],
    outputs: Sequence[Output],
    new: NewImages,
    config: Config,
    setting: Setting,
    width: int,
) -> Array:
    """Return the mean over networks, then views, [N,C] float64; tell all unreadable images together.

    Of very many classes the most probable ones, a Top, taken from the mean over networks and views of each image.
    """
    count = topk_rules.kept(config, width)
    augment = None
    if any(is_augment(view) for view in config.tta):
        from pipeline.batches.augmentation import of

        augment = of(config)
    here = config.model_copy(update={"train": config.train.model_copy(update={"workers": 0})})  # decoded already
    normalize, size = network.normalize(networks[0], setting, config.data.in_chans), config.predict.batch_size
    several = not np.array_equal(new.rows_J, np.arange(len(new.ids)))  # then a row's images need not come together
    means: list[Array] = []
    kept: list[list[Array]] = []
    defects: list[str] = []
    skipped: list[str] = []
    hidden = None if processes.is_main() else True  # None: shown on a terminal only
    with tqdm(total=len(new.images), desc="predict", unit="image", disable=hidden, leave=False) as bar:
        batch: list[Array] = []
        for n, image in enumerate(_decoded(config, new.images, AHEAD * size)):
            if isinstance(image, str) and config.data.missing == "skip":
                skipped.append(f"{', '.join(new.images[n])}: {image}")
                image = blank(size_for(config), config.data.in_chans)
            if isinstance(image, str):
                defects.append(f"{', '.join(new.images[n])}: {image}; replace the file or leave it out")
            elif not defects:  # with one damaged image there is nothing to predict, only others to find
                batch.append(image)
            if batch and not defects and (len(batch) == size or n == len(new.images) - 1):
                rows = Rows(Decoded(batch), new.image_ids[n + 1 - len(batch) : n + 1])
                found = predict(networks, rows, config.tta, here, setting, normalize, augment=augment, outputs=outputs)
                if count is not None:
                    means.append(topk.top(_mean(found, outputs), count))
                elif several:
                    kept.append(found)
                else:
                    means.append(_mean(found, outputs))
                batch = []
            bar.update()
    if defects:
        rest = [f"… and {len(defects) - SHOWN} more unreadable images"] if len(defects) > SHOWN else []
        raise InputError(*defects[:SHOWN], *rest)
    if skipped and processes.is_main():
        print(f"{len(skipped)} unreadable images are predicted as mid-gray, first {skipped[0]}")
    if count is not None:
        images = topk.tops([topk.join(means)])[0]
        return pool_tops(images, new.rows_J, len(new.ids))
    if not several:
        return np.concatenate(means)
    whole = [np.concatenate(parts) for parts in zip(*kept, strict=True)]
    pooled = [
        pool(probs_IVC, new.rows_J, len(new.ids), config.data.pool, output.blocks)
        for probs_IVC, output in zip(whole, outputs, strict=True)
    ]
    return _mean(pooled, outputs)


def _mean(found: Sequence[Array], outputs: Sequence[Output]) -> Array:
    """Return the mean over the networks, then the views, [N,C] float64; of heads, of their composite classes."""
    made = [
        composite(probs_NVC, output.heads) if output.heads else probs_NVC
        for probs_NVC, output in zip(found, outputs, strict=True)
    ]
    folds_NVC = sum(probs_NVC.astype(np.float64) for probs_NVC in made) / len(made)
    return np.asarray(np.asarray(folds_NVC).mean(axis=1))


def _decoded(config: Config, sources: Sequence[Source], ahead: int) -> Iterator[Array | str]:
    """Yield each image, or why it cannot be read, in order; threads decode some of them in advance."""

    def one(source: Source) -> Array | str:
        try:
            return decode_config(config, source)
        except ValueError as error:
            return decode_config(config, ()) if config.data.missing == "skip" else str(error)

    with ThreadPoolExecutor(cores(), "decode") as pool:
        pending: deque[Future[Array | str]] = deque()
        try:
            for source in sources:
                pending.append(pool.submit(one, source))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _submission(
    config: Config, new: NewImages, classes: Sequence[str], probs_NC: Array, decided_NC: Array | None
) -> tuple[pd.DataFrame | None, str]:
    """Return the sample submission filled in, or None and why.

    A sample beside the images that asks for some of them must fit all of them; others belong to other tests.
    """
    if new.sample is None:
        return None, "there is no sample submission beside the test or below data.root"
    sample = new.sample.table
    try:
        return filling.build(sample, config, classes, new.ids, probs_NC, decided_NC), ""
    except MismatchError as error:
        if new.sample_is_its_own and set(new.ids.tolist()) & set(sample[id_name(sample, config)]):
            raise
        return None, f"{new.sample.path} asks for other ids: {error.lines[0]}"

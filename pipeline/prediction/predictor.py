"""Predict rows with several networks under several views; every image is read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.batches.loader import Augmentation, Normalize, PredictionBatches, prediction_loader, stack
from pipeline.batches.rows import Rows
from pipeline.config.config import Config
from pipeline.machine import devices, processes
from pipeline.methods import tta as views_table
from pipeline.methods.arrays import Array
from pipeline.methods.seeding import rng
from pipeline.models.network import Setting
from pipeline.models.outputs import Output

Keep = Callable[[Tensor, Array], tuple[Tensor, ...]]  # outputs [B,V,C] of some rows, their numbers -> what is kept


class Options(TypedDict, total=False):
    """Name what a prediction may be told beside its networks and rows."""

    augment: Augmentation | None  # makes the views `augment.N`, with draws keyed by (seed, view, id)
    outputs: Sequence[Output]  # what each network's columns mean; else neither heads nor a scale
    as_logits: bool
    progress: str  # what its bar is called; else there is none


def predict(
    networks: Sequence[nn.Module],
    rows: Rows,
    views: Sequence[str],
    config: Config,
    setting: Setting,
    normalize: Normalize,
    **options: Unpack[Options],
) -> list[Array]:
    """Return one array [N,V,C] float32 per network: probabilities or values, or logits.

    Rows are read in their order; with several processes each reads every P-th run of rows, and all get the whole
    result.
    """

    def whole(probs_BVC: Tensor, _: Array) -> tuple[Tensor, ...]:
        return (probs_BVC,)

    found = collect(networks, rows, views, config, setting, normalize, whole, **options)
    return [one for (one,) in found]


def collect(
    networks: Sequence[nn.Module],
    rows: Rows,
    views: Sequence[str],
    config: Config,
    setting: Setting,
    normalize: Normalize,
    keep: Keep,
    **options: Unpack[Options],
) -> list[tuple[Array, ...]]:
    """Return what `keep` makes of every batch, put together, for each network: arrays [N,…].

    All columns of all rows need not fit in memory then.
    """
    batch_size = config.predict.batch_size
    augment, as_logits = options.get("augment"), options.get("as_logits", False)
    progress = options.get("progress")
    means = options.get("outputs") or [Output.of(config, {})] * len(networks)
    own = np.arange(len(rows))[processes.rank() :: processes.count()]
    for network in networks:
        network.eval()
    stream = prediction_loader(
        PredictionBatches(rows, own, batch_size, config.model.size_hw),
        devices.workers(config.train.workers, setting.device),
        pin=setting.device.type == "cuda",
    )
    parts: list[list[tuple[Array, ...]]] = [[] for _ in networks]
    from tqdm import tqdm

    shown = None if progress and processes.is_main() else True
    with (
        torch.inference_mode(),
        tqdm(total=len(own), desc=progress, disable=shown, leave=False, unit="image") as bar,
    ):
        for batch in stream:
            images = normalize(batch.images_BHWC)
            seen: list[list[Tensor]] = [[] for _ in networks]
            for view in views:
                if views_table.is_augment(view):
                    assert augment is not None
                    changed = normalize(_augmented(batch.images_BHWC, rows.ids[batch.rows], view, config, augment))
                else:
                    changed = views_table.apply(view, images)
                for n, network in enumerate(networks):
                    with setting.autocast():
                        logits = network(changed).float()
                    seen[n].append(logits if as_logits else means[n].activate(logits))
            for n in range(len(networks)):
                kept = keep(torch.stack(seen[n], dim=1), batch.rows)
                parts[n].append(tuple(one.cpu().numpy() for one in kept))
            bar.update(len(batch.rows))
    return [_assemble(part, own, len(rows)) for part in parts]


def _augmented(images_BHWC: Tensor, ids: Array, view: str, config: Config, augment: Augmentation) -> Tensor:
    images = images_BHWC.numpy()
    return stack(
        [augment(image, rng(config.train.seed, view, str(name))) for image, name in zip(images, ids, strict=True)]
    )


def _assemble(parts: list[tuple[Array, ...]], own: Array, rows: int) -> tuple[Array, ...]:
    """Put every process's rows back in table order; each row must have come exactly once."""
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    gathered = [(numbers, found) for numbers, found in processes.gather((own, joined)) if found]
    result = tuple(np.empty((rows, *found.shape[1:]), dtype=found.dtype) for found in gathered[0][1])
    seen = np.zeros(rows, dtype=np.int64)
    for numbers, found in gathered:
        for whole, part in zip(result, found, strict=True):
            whole[numbers] = part
        seen[numbers] += 1
    assert (seen == 1).all(), "a row was predicted twice or never"
    return result

"""Predict rows with several networks under several views; every image is read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipeline.batches import augmentation
from pipeline.batches.loader import Augmentation, Normalize, PredictionBatches, prediction_loader, stack
from pipeline.batches.rows import Rows
from pipeline.config.config import Config
from pipeline.machine import devices, processes
from pipeline.methods import tta
from pipeline.methods.arrays import Array
from pipeline.methods.seeding import rng
from pipeline.models import network
from pipeline.models.network import Setting
from pipeline.models.outputs import Output
from pipeline.plugins import call, file_of

Keep = Callable[[list[Tensor], Array], Sequence[Tensor]]  # each network's [B,V,C], row numbers -> what is kept [B,…]


@dataclass(frozen=True)
class Predictor:
    """Hold networks that see the same images, and how they compute."""

    networks: Sequence[nn.Module]
    config: Config
    setting: Setting
    normalize: Normalize
    outputs: Sequence[Output] = ()  # what each network's columns mean; none: neither heads nor a scale
    augment: Augmentation | None = None  # makes the views `augment.N`, with draws keyed by (seed, view, id)

    @classmethod
    def of(cls, config: Config, setting: Setting, loaded: Sequence[tuple[nn.Module, dict[str, Any]]]) -> Predictor:
        """Predict with networks and their meta as `network.load` returns them."""
        networks, metas = zip(*loaded, strict=True)
        return cls(
            networks,
            config,
            setting,
            network.normalize(networks[0], setting, config.data.in_chans),
            [Output.of(config, meta) for meta in metas],
            augmentation.of(config) if any(map(tta.is_augment, config.views)) else None,
        )

    def predict(self, rows: Rows, views: Sequence[str], *, as_logits: bool = False, progress: str = "") -> list[Array]:
        """Return one array [N,V,C] float32 per network: probabilities or values, or logits."""
        return self.collect(rows, views, lambda found, _: found, as_logits=as_logits, progress=progress)

    def collect(
        self, rows: Rows, views: Sequence[str], keep: Keep, *, as_logits: bool = False, progress: str = ""
    ) -> list[Array]:
        """Return what `keep` makes of every batch, put together: arrays [N,…].

        All columns of all rows need not fit in memory then. Rows are read in their order; with several processes each
        reads every P-th of them, and all get the whole result. `progress` is what the bar is called; blank: none.
        """
        config, setting = self.config, self.setting
        outputs = self.outputs or [Output.of(config, {})] * len(self.networks)
        own = np.arange(len(rows))[processes.rank() :: processes.count()]
        for model in self.networks:
            model.eval()
        batches = PredictionBatches(rows, own, config.predict.batch_size, config.model.size_hw)
        workers = devices.workers(config.train.workers, setting.device)
        parts: list[list[Array]] = []
        hidden = None if progress and processes.is_main() else True  # None: shown on a terminal only
        with (
            torch.inference_mode(),
            tqdm(total=len(own), desc=progress, disable=hidden, leave=False, unit="image") as bar,
        ):
            for batch in prediction_loader(batches, workers, pin=setting.device.type == "cuda"):
                images = self.normalize(batch.images_BHWC)
                found: list[list[Tensor]] = [[] for _ in self.networks]
                for view in views:
                    if tta.is_augment(view):
                        changed = self.normalize(self._augmented(batch.images_BHWC, rows.ids[batch.rows], view))
                    else:
                        changed = tta.apply(view, images)
                    for model, output, seen in zip(self.networks, outputs, found, strict=True):
                        with setting.autocast():
                            logits = _logits(model, view, changed, images)
                        seen.append(logits if as_logits else output.activate(logits))
                kept = keep([torch.stack(seen, dim=1) for seen in found], batch.rows)
                parts.append([one.cpu().numpy() for one in kept])
                bar.update(len(batch.rows))
        return _assemble(parts, own, len(rows))

    def _augmented(self, images_BHWC: Tensor, ids: Array, view: str) -> Tensor:
        assert self.augment is not None
        draws = (rng(self.config.train.seed, view, str(name)) for name in ids)
        return stack([self.augment(image, one) for image, one in zip(images_BHWC.numpy(), draws, strict=True)])


def _logits(model: nn.Module, view: str, changed: Tensor, images: Tensor) -> Tensor:
    """Return a network's logits; raise InputError where a user's view gives it images that it does not take."""
    if file_of(view) is None or changed.shape == images.shape:
        return model(changed).float()  # type: ignore[no-any-return]
    return call(f"{view}, images {tuple(changed.shape)}", "view(images_BCHW)", lambda: model(changed).float())  # type: ignore[no-any-return]


def _assemble(parts: list[list[Array]], own: Array, rows: int) -> list[Array]:
    """Put every process's rows back in table order; each row must have come exactly once."""
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    gathered = [(numbers, found) for numbers, found in processes.gather((own, joined)) if found]
    result = [np.empty((rows, *found.shape[1:]), dtype=found.dtype) for found in gathered[0][1]]
    times_N = np.zeros(rows, dtype=np.int64)
    for numbers, found in gathered:
        for whole, part in zip(result, found, strict=True):
            whole[numbers] = part
        times_N[numbers] += 1
    assert (times_N == 1).all(), "a row was predicted twice or never"
    return result

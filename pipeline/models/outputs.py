"""Turn what a network gives into probabilities or values, and targets into what its loss compares them with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.config.config import Config
from pipeline.methods.arrays import Array
from pipeline.methods.heads import Heads, composite
from pipeline.methods.losses import find, weighed
from pipeline.methods.tasks import TASKS, Scale, Task


@dataclass(frozen=True)
class Output:
    """Hold what the columns of one network mean; its weights' meta carries the heads and the scale."""

    task: Task
    loss: str
    heads: Heads = ()
    scale: Scale | None = None  # center and spread of each value
    options: Mapping[str, float] = field(default_factory=dict)  # what the loss function takes beside its defaults

    @classmethod
    def of(cls, config: Config, meta: dict[str, Any]) -> Output:
        """Read heads and scale from what lies beside the weights."""
        heads = tuple((str(name), int(start), int(stop)) for name, start, stop in meta.get("heads") or ())
        scale = meta.get("scale")
        pairs = None if scale is None else tuple((float(center), float(spread)) for center, spread in scale)
        return cls(TASKS[config.data.task], config.loss.name, heads, pairs, config.loss.options)

    @property
    def meta(self) -> dict[str, Any]:
        """Return what `of` reads; nothing where there are neither heads nor a scale."""
        found: dict[str, Any] = {"heads": [list(head) for head in self.heads]} if self.heads else {}
        return found | ({} if self.scale is None else {"scale": [list(pair) for pair in self.scale]})

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """Return the spans of columns that sum to 1 each; none where columns are independent; (0, −1) is all."""
        if not self.task.single_label:
            return []
        return [(start, stop) for _, start, stop in self.heads] or [(0, -1)]

    def activate(self, logits_BC: Tensor) -> Tensor:
        """Return probabilities, of each head on its own, or values in the target's unit."""
        if self.heads:
            parts = [self.task.activate(logits_BC[..., a:b], self.loss) for _, a, b in self.heads]
            return torch.cat(parts, -1)
        probs_BC = self.task.activate(logits_BC, self.loss)
        return probs_BC if self.scale is None else self.restore(probs_BC)

    def learned(self, targets_BC: Tensor, smoothing: float = 0.0, over: str = "all") -> Tensor:
        """Return targets as the loss reads them: values by center and spread, probabilities smoothed in each head.

        Where the outputs lie in [0, 1], values outside the observed bounds count as the bound.
        """
        if self.scale is not None:
            center_C, spread_C = self._scales(targets_BC)
            unit_BC = (targets_BC - center_C) / spread_C
            return unit_BC.clamp(0, 1) if find(self.loss).activation == "sigmoid" else unit_BC
        if self.heads:
            parts = [self.task.smooth_targets(targets_BC[:, a:b], smoothing, over) for _, a, b in self.heads]
            return torch.cat(parts, -1)
        return self.task.smooth_targets(targets_BC, smoothing, over)

    def restore(self, values_BC: Tensor) -> Tensor:
        """Return values in the target's unit; probabilities stay as they are."""
        if self.scale is None:
            return values_BC
        center_C, spread_C = self._scales(values_BC)
        return values_BC * spread_C + center_C

    def losses(
        self,
        logits_BC: Tensor,
        targets_BC: Tensor,
        weights_B: Tensor | None = None,
        class_weights_2C: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of each row against what `learned` made, [B], times its weight; the mean over the heads."""
        logits, targets = [logits_BC], [targets_BC]
        weights: list[Tensor | None] = [class_weights_2C]
        if self.heads:
            spans = [slice(start, stop) for _, start, stop in self.heads]
            logits, targets = ([part[:, span] for span in spans] for part in (logits_BC, targets_BC))
            weights = [None if class_weights_2C is None else class_weights_2C[:, span] for span in spans]
        parts = [self._loss(*part, weights_B) for part in zip(logits, targets, weights, strict=True)]
        losses_B = parts[0] if len(parts) == 1 else torch.stack(parts).mean(0)
        return losses_B if weights_B is None else losses_B * weights_B

    def _loss(
        self, logits_BC: Tensor, targets_BC: Tensor, class_weights_2C: Tensor | None, weights_B: Tensor | None
    ) -> Tensor:
        loss = self.task.loss(self.loss)
        options = {**loss.options, **self.options}
        if loss.batch:
            return loss.function(logits_BC, targets_BC, weights_B=weights_B, **options)
        function = partial(loss.function, **options)
        if class_weights_2C is None:
            return function(logits_BC, targets_BC)
        return weighed(function, logits_BC, targets_BC, class_weights_2C, self.task.single_label)

    def score(self, metric: str, targets_NC: Array, probs_NC: Array) -> float:
        """Return a metric, of the composite classes where there are heads."""
        if self.heads:
            targets_NC, probs_NC = (composite(array_NC, self.heads) for array_NC in (targets_NC, probs_NC))
        return self.task.score(metric, targets_NC, probs_NC)

    def _scales(self, like: Tensor) -> tuple[Tensor, Tensor]:
        assert self.scale is not None
        scales_C2 = like.new_tensor(self.scale)
        return scales_C2[:, 0], scales_C2[:, 1]


def pool(probs_IVC: Array, rows_I: Array, count: int, how: str, blocks: list[tuple[int, int]] | None = None) -> Array:
    """Return the mean or the largest over the images of each row, [N,V,C] float32; `rows_I` are 0 … count−1.

    The largest of exclusive classes are scaled to sum to 1 again; of two of them the second's largest counts, as
    the positive class is there. Rows of one image each, in order, come back as they are.
    """
    if np.array_equal(rows_I, np.arange(count)):
        return probs_IVC
    assert (np.bincount(rows_I, minlength=count) > 0).all(), "a row without images cannot be predicted"
    shape = (count, *probs_IVC.shape[1:])
    if how == "mean":
        sums_NVC = np.zeros(shape)
        np.add.at(sums_NVC, rows_I, probs_IVC)
        return (sums_NVC / np.bincount(rows_I, minlength=count)[:, None, None]).astype(np.float32)
    most_NVC = np.full(shape, -np.inf)
    np.maximum.at(most_NVC, rows_I, probs_IVC)
    for start, stop in blocks or []:
        part = most_NVC[..., start : stop if stop >= 0 else None]
        if part.shape[-1] == 2:
            part[..., 0] = 1 - part[..., 1]
        part /= part.sum(-1, keepdims=True)
    return most_NVC.astype(np.float32)

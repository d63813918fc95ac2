"""Turn what a network gives into probabilities or values, and targets into what its loss compares them with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
        found = {"heads": self.heads or None, "scale": self.scale}
        return {key: [list(one) for one in value] for key, value in found.items() if value is not None}

    @property
    def spans(self) -> list[slice]:
        """Return the columns of each head; all of them where there are no heads."""
        return [slice(start, stop) for _, start, stop in self.heads] or [slice(None)]

    @property
    def blocks(self) -> list[slice]:
        """Return the columns that sum to 1, of each head; none where columns are independent."""
        return self.spans if self.task.single_label else []

    def activate(self, logits_BC: Tensor) -> Tensor:
        """Return probabilities, of each head on its own, or values in the target's unit."""
        return self.restore(self._per_head(lambda part_BC: self.task.activate(part_BC, self.loss), logits_BC))

    def learned(self, targets_BC: Tensor, smoothing: float = 0.0, over: str = "all") -> Tensor:
        """Return targets as the loss reads them: values by center and spread, probabilities smoothed in each head.

        Where the outputs lie in [0, 1], values outside the observed bounds count as the bound.
        """
        if self.scale is None:
            return self._per_head(lambda part_BC: self.task.smooth_targets(part_BC, smoothing, over), targets_BC)
        center_C, spread_C = targets_BC.new_tensor(self.scale).T
        unit_BC: Tensor = (targets_BC - center_C) / spread_C
        return unit_BC.clamp(0, 1) if find(self.loss).activation == "sigmoid" else unit_BC

    def restore(self, values_BC: Tensor) -> Tensor:
        """Return values in the target's unit; probabilities stay as they are."""
        if self.scale is None:
            return values_BC
        center_C, spread_C = values_BC.new_tensor(self.scale).T
        restored_BC: Tensor = values_BC * spread_C + center_C
        return restored_BC

    def losses(
        self,
        logits_BC: Tensor,
        targets_BC: Tensor,
        weights_B: Tensor | None = None,
        class_weights_2C: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of each row against what `learned` made, [B], times its weight; the mean over the heads."""
        loss = self.task.loss(self.loss)
        function = partial(loss.function, **{**loss.options, **self.options})
        parts = []
        for span in self.spans:
            pair = logits_BC[:, span], targets_BC[:, span]
            if loss.batch:
                parts.append(function(*pair, weights_B=weights_B))
            elif class_weights_2C is None:
                parts.append(function(*pair))
            else:
                parts.append(weighed(function, *pair, class_weights_2C[:, span], self.task.single_label))
        losses_B = parts[0] if len(parts) == 1 else torch.stack(parts).mean(0)
        return losses_B if weights_B is None else losses_B * weights_B

    def score(self, metric: str, targets_NC: Array, probs_NC: Array) -> float:
        """Return a metric, of the composite classes where there are heads."""
        if self.heads:
            targets_NC, probs_NC = (composite(array_NC, self.heads) for array_NC in (targets_NC, probs_NC))
        return self.task.score(metric, targets_NC, probs_NC)

    def _per_head(self, function: Callable[[Tensor], Tensor], columns_BC: Tensor) -> Tensor:
        parts = [function(columns_BC[..., span]) for span in self.spans]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def pool(probs_IVC: Array, rows_I: Array, count: int, how: str, blocks: Sequence[slice] = ()) -> Array:
    """Return the mean or the largest over the images of each row, [N,V,C] float32; `rows_I` are 0 … count−1.

    The largest of exclusive classes are scaled to sum to 1 again; of two of them the second's largest counts, as
    the positive class is there. Rows of one image each, in order, come back as they are.
    """
    if np.array_equal(rows_I, np.arange(count)):
        return probs_IVC
    images_N = np.bincount(rows_I, minlength=count)
    assert (images_N > 0).all(), "a row without images cannot be predicted"
    shape = (count, *probs_IVC.shape[1:])
    if how == "mean":
        sums_NVC = np.zeros(shape)
        np.add.at(sums_NVC, rows_I, probs_IVC)
        return (sums_NVC / images_N[:, None, None]).astype(np.float32)
    most_NVC = np.full(shape, -np.inf)
    np.maximum.at(most_NVC, rows_I, probs_IVC)
    for block in blocks:
        part = most_NVC[..., block]
        if part.shape[-1] == 2:
            part[..., 0] = 1 - part[..., 1]
        part /= part.sum(-1, keepdims=True)
    return most_NVC.astype(np.float32)

"""Weigh or draw classes by how frequent they are, and draw some targets anew, as a regularizer.

`blocks` are the spans of columns whose classes exclude each other, one for each head; none where columns are
independent, each a choice between absent and there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.methods.arrays import Array

Blocks = Sequence[tuple[int, int]]


def class_weights(targets_NC: Array, how: str | Mapping[str, float], classes: Sequence[str], blocks: Blocks) -> Array:
    """Return weights of each class absent and there, [2,C] float32, that weigh these rows 1 on average.

    balanced: N/(K·n_c), or of an independent column absent ÷ there (torch's pos_weight); sqrt: the root of it. Of
    exclusive classes only the second row counts. Soft targets count by their shares, and a class without rows
    weighs as others do.
    """
    rows, count_C = len(targets_NC), targets_NC.sum(0, dtype=np.float64)
    weights_2C = np.ones((2, len(count_C)))
    if isinstance(how, Mapping):
        weights_2C[1] = [how.get(name, 1.0) for name in classes]
    else:
        even_C = np.ones(len(count_C))
        for start, stop in blocks:
            even_C[start:stop] = rows / (stop - start)
        there_C = even_C if blocks else rows - count_C
        known_C = (count_C > 0) & (there_C > 0)
        weights_2C[1, known_C] = (there_C[known_C] / count_C[known_C]) ** _power(how)
    if not blocks:
        weights_2C /= (weights_2C * np.stack([rows - count_C, count_C])).sum() / (rows * len(count_C))
    for start, stop in blocks:
        weights_2C[:, start:stop] /= (weights_2C[1, start:stop] * count_C[start:stop]).sum() / rows
    return weights_2C.astype(np.float32)


def row_shares(targets_NC: Array, how: str, blocks: Blocks) -> Array:
    """Return how probably each row is drawn, [N] float64, sums to 1: by 1/n of its class, or the root of it.

    Of several heads it is their mean; of independent columns the rarest label of a row counts, and rows without any
    are a class of their own.
    """
    inverse_C = np.zeros(targets_NC.shape[1])
    count_C = targets_NC.sum(0, dtype=np.float64)
    np.divide(1, count_C, out=inverse_C, where=count_C > 0)
    inverse_C **= _power(how)
    if blocks:
        found_N = targets_NC @ inverse_C
    else:
        found_N = (inverse_C * (targets_NC >= 0.5)).max(1)
        none_N = found_N == 0
        found_N[none_N] = (1 / max(1, none_N.sum())) ** _power(how)
    return np.asarray(found_N / found_N.sum())


def _power(how: str) -> float:
    return 0.5 if how == "sqrt" else 1.0


@dataclass(frozen=True)
class DisturbLabels:
    """Draw some labels anew: DisturbLabel, Xie et al. 2016 (arXiv 1605.00055).

    With the probability percent/100 a row's class is drawn from all C, its own included: it stays with
    1 − (C−1)/C·percent/100 and becomes each other with a (C−1)-th of the rest. Heads and independent columns, each a
    choice between two, are drawn one by one.
    """

    percent: float
    blocks: Blocks

    def __call__(self, targets_C: Array, draws: np.random.Generator) -> Array:
        """Return a row's targets, those drawn anew as 0 and 1."""
        changed_C = targets_C.copy()
        if not self.blocks:
            anew_C = draws.random(len(targets_C)) < self.percent / 100
            drawn_C = draws.integers(0, 2, len(targets_C))
            changed_C[anew_C] = drawn_C[anew_C]
        for start, stop in self.blocks:
            anew, chosen = draws.random() < self.percent / 100, start + int(draws.integers(stop - start))
            if anew:
                changed_C[start:stop] = 0
                changed_C[chosen] = 1
        return changed_C


@dataclass(frozen=True)
class DisturbValues:
    """Add normal noise to the values of a share of the rows; its deviation is in units of each column's spread."""

    share: float
    std: float
    spread_C: Array

    def __call__(self, values_C: Array, draws: np.random.Generator) -> Array:
        """Return a row's values, with noise or as they are."""
        anew, noise_C = draws.random() < self.share, draws.normal(0, self.std, len(values_C))
        return (values_C + noise_C * self.spread_C).astype(values_C.dtype) if anew else values_C

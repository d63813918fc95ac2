"""Take labels from predictions: how sure they are of a row, and which label they give it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.methods.arrays import Array

Spans = Sequence[tuple[int, int]]  # columns that sum to 1 each; none: every column is a question of its own


def certainty(probs_NC: Array, spans: Spans) -> Array:
    """Return the probability of the least sure of a row's answers, [N]: of a head's label, or of a cell's yes or no.

    One unsure cell makes a row unsure, as all cells are learnt.
    """
    if not spans:
        return np.asarray(np.maximum(probs_NC, 1 - probs_NC).min(1))
    return np.asarray(np.min([probs_NC[:, start:stop].max(1) for start, stop in spans], axis=0))


def labels(probs_NC: Array, spans: Spans) -> Array:
    """Return the label of each head as 0 and 1, or each cell's, [N,C] float32; the first of equals."""
    if not spans:
        return (probs_NC >= 0.5).astype(np.float32)
    hard_NC = np.zeros(probs_NC.shape, dtype=np.float32)
    for start, stop in spans:
        hard_NC[np.arange(len(hard_NC)), start + probs_NC[:, start:stop].argmax(1)] = 1
    return hard_NC

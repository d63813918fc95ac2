"""The one type of numpy arrays in signatures, whose names say what their axes are: probs_NC, fold_N."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def softmax(logits_NC: Array) -> Array:
    """Return rows that sum to 1, in the type given."""
    odds_NC = np.exp(logits_NC - logits_NC.max(1, keepdims=True))
    return np.asarray(odds_NC / odds_NC.sum(1, keepdims=True))

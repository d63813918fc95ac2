"""Blenders of members: `blend(probs_MNC) -> probs_NC`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def mean(probs_MNC: Array) -> Array:
    """Return the plain mean over the members."""
    return probs_MNC.mean(axis=0)


BLENDERS: dict[str, Callable[[Array], Array]] = {"mean": mean}

"""Write speeds so that a slow one can be read."""

from __future__ import annotations

import math


def rate(speed: float) -> str:
    """Return a number of images/s with at least two figures, however small: 1,250, 96, 7.4, 0.031."""
    if speed >= 10 or not speed > 0:  # NaN too
        return f"{speed:,.0f}"
    return f"{speed:.{max(1, 1 - math.floor(math.log10(speed)))}f}"

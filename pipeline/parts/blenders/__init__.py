"""Blenders of members, each one function and one table line; those with a fitter learn from the truth.

A blender is fitted on some rows and applied to others, so that cross-fitting needs nothing of its own.
"""

from __future__ import annotations

from pipeline.parts.blenders import means
from pipeline.parts.blenders.blender import Blender, Fit, Goal, column_ranks, equal_weights

__all__ = ["BLENDERS", "Blender", "Fit", "Goal", "column_ranks", "equal_weights"]

BLENDERS: dict[str, Blender] = {
    "mean": Blender(means.mean),
    "rank_mean": Blender(means.mean, uses_ranks=True),
    "geometric_mean": Blender(means.geometric_mean),
    "power_mean": Blender(means.power_mean, means.fit_power),
}

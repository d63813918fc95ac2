"""Blenders of members, each one function and one table line; those with a fitter learn from the truth.

A blender is fitted on some rows and applied to others, so that cross-fitting needs nothing of its own.
"""

from __future__ import annotations

from pipeline import plugins
from pipeline.methods.blenders import greedy, means, simplex, stacking
from pipeline.methods.blenders.blender import Blender, Fit, Many, Objective, column_ranks, equal_weights, plugin

__all__ = ["BLENDERS", "Blender", "Fit", "Many", "Objective", "column_ranks", "equal_weights", "find"]

BLENDERS: dict[str, Blender] = {
    "mean": Blender(means.mean, regression=True),
    "rank_mean": Blender(means.mean, uses_ranks=True),
    "geometric_mean": Blender(means.geometric_mean),
    "power_mean": Blender(means.power_mean, means.fit_power),
    "slsqp": Blender(means.mean, simplex.slsqp),
    "nelder_mead": Blender(means.mean, simplex.nelder_mead, scored=simplex.TRIALS, regression=True),
    "greedy": Blender(means.mean, greedy.greedy, scored=greedy.STEPS, regression=True),
    "greedy_bagged": Blender(means.mean, greedy.greedy_bagged, scored=greedy.BAGS * greedy.STEPS // 2, regression=True),
    "greedy_negative": Blender(greedy.signed_mean, greedy.greedy_negative, simplex=False, scored=2 * greedy.STEPS),
    "logistic": Blender(stacking.logistic_probs, stacking.fit_logistic, simplex=False),
    "ridge": Blender(stacking.ridge_probs, stacking.fit_ridge, simplex=False),
}


def find(name: str) -> Blender:
    """Return the blender of this name, or a plugin's (FILE.py:function); raise ValueError where there is none."""
    return plugins.find(BLENDERS, name, "blender", plugin)

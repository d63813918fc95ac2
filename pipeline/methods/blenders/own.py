"""Load a blender of the user's: FILE.py:function, called as function(members, weights_M, single_label) -> probs_NC.

Attributes of the function say the rest: `fit(members, goal) -> weights_M` where it learns from the truth, whose
`goal.score(probs_NC)` is better the greater; `uses_ranks`, `simplex` and `values` as a `Blender` has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.blenders.blender import Blender, Fit, Goal
from pipeline.plugins import function_of

FLAGS = {"uses_ranks": False, "simplex": True, "values": False}


@cache
def load(name: str) -> Blender:
    """Return the user's blender; raise ValueError that says what is wrong with the file or the attributes."""
    found, function = function_of(name), name.rpartition(":")[2]
    flags = {flag: getattr(found, flag, default) for flag, default in FLAGS.items()}
    for flag, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"found '{name}', {function}.{flag} is {value!r}, expected True or False")
    fit = getattr(found, "fit", None)
    if fit is not None and not callable(fit):
        raise ValueError(f"found '{name}', {function}.fit is {fit!r}, expected a function (members, goal) -> weights_M")
    return Blender(partial(_apply, found, name), None if fit is None else partial(_fit, fit, name), **flags)


def _apply(function: Callable[..., Any], name: str, fit: Fit, members: Sequence[Array], single_label: bool) -> Array:
    made = np.asarray(function(members, fit.weights_M, single_label), dtype=np.float64)
    if made.shape != members[0].shape or not np.isfinite(made).all():
        what = "NaN or infinity" if made.shape == members[0].shape else f"the shape {made.shape}"
        raise ValueError(f"{name}: returned {what}, expected finite numbers of the shape {members[0].shape}")
    return made


def _fit(fit: Callable[..., Any], name: str, members: Sequence[Array], goal: Goal) -> Fit:
    weights_M = np.asarray(fit(members, goal), dtype=np.float64)
    if weights_M.shape != (len(members),):
        raise ValueError(f"{name}: fit returned the shape {weights_M.shape}, expected {len(members)} weights")
    return Fit(weights_M)

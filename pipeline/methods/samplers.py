"""Name Optuna's samplers and pruners as a config does; Optuna is imported when one is made.

A sampler's state is in no storage: a resumed worker must come with another seed than before, or it repeats itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.errors import lookup

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

# name -> Optuna's class and its options. What only some branches have is modelled by TPE thanks to `group`, by the
# others drawn at random. The grid is Optuna's exhaustive search, which follows branches; GridSampler multiplies them.
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "tpe": ("TPESampler", {"multivariate": True, "group": True, "constant_liar": True}),
    "gp": ("GPSampler", {"warn_independent_sampling": False}),
    "cmaes": ("CmaEsSampler", {"warn_independent_sampling": False}),
    "random": ("RandomSampler", {}),
    "grid": ("BruteForceSampler", {}),
}
# name -> Optuna's class and its options by the number of folds, as trials report once per fold; `race` is ours.
PRUNERS: dict[str, tuple[str, Callable[[int], dict[str, Any]]] | None] = {
    "race": None,
    "none": None,
    # A level that the test can reach: with m pairs its smallest p-value is 2⁻ᵐ, so 0.1 never prunes three folds.
    "wilcoxon": ("WilcoxonPruner", lambda folds: {"p_threshold": 0.2 if folds >= 4 else 0.3, "n_startup_steps": 2}),
    "median": ("MedianPruner", lambda _: {"n_startup_trials": 5}),
    "percentile": ("PercentilePruner", lambda _: {"percentile": 25.0, "n_startup_trials": 5}),  # keeps the best quarter
    "successive_halving": ("SuccessiveHalvingPruner", lambda _: {"min_resource": 1, "reduction_factor": 2}),
    "hyperband": (
        "HyperbandPruner",
        lambda folds: {"min_resource": 1, "max_resource": folds, "reduction_factor": 2},
    ),
}


def sampler(name: str, seed: int) -> BaseSampler:
    """Make a sampler of SAMPLERS; `grid` needs a space without ranges, as `space.grid` returns."""
    import optuna

    kind, options = lookup(SAMPLERS, name, "sampler")
    found: BaseSampler = _made(optuna.samplers, kind, {"seed": seed, **options})
    return found


def pruner(name: str, folds: int) -> BasePruner:
    """Make a pruner of PRUNERS for trials that report once per fold; Optuna's that never prunes for `race`, `none`."""
    import optuna

    kind, options = lookup(PRUNERS, name, "pruner") or ("NopPruner", lambda _: {})
    found: BasePruner = _made(optuna.pruners, kind, options(folds))
    return found


def _made(module: Any, kind: str, options: dict[str, Any]) -> Any:
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return getattr(module, kind)(**options)

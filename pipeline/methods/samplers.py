"""Name Optuna's samplers and pruners as a config does; Optuna is imported when one is made.

A sampler's state is in no storage: a resumed worker must come with another seed than before, or it repeats itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.errors import lookup

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler


def sampler(name: str, seed: int) -> BaseSampler:
    """Make a sampler of SAMPLERS; `grid` needs a space without ranges, as `space.grid` returns."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return lookup(SAMPLERS, name, "sampler")(seed)


def pruner(name: str, folds: int) -> BasePruner | None:
    """Make a pruner of PRUNERS for trials that report once per fold; None for `race`, which is ours, and `none`."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return lookup(PRUNERS, name, "pruner")(folds)


def _tpe(seed: int) -> BaseSampler:
    """Model values that only some branches have too: without `group` TPE models what all trials share."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def _gp(seed: int) -> BaseSampler:
    """What only some branches have is drawn at random, as the process models one space."""
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, warn_independent_sampling=False)


def _cmaes(seed: int) -> BaseSampler:
    """Choices and conditional values are drawn at random, as CMA-ES knows numbers alone."""
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(seed=seed, warn_independent_sampling=False)


def _random(seed: int) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def _grid(seed: int) -> BaseSampler:
    """Take Optuna's exhaustive search, which follows branches, not GridSampler, which multiplies them out.

    The order is drawn from the seed; the study stops by itself when every point is finished or running.
    """
    from optuna.samplers import BruteForceSampler

    return BruteForceSampler(seed=seed)


def _median(folds: int) -> BasePruner:
    from optuna.pruners import MedianPruner

    return MedianPruner(n_startup_trials=5)


def _percentile(folds: int) -> BasePruner:
    """Keep the best quarter at each fold."""
    from optuna.pruners import PercentilePruner

    return PercentilePruner(25.0, n_startup_trials=5)


def _wilcoxon(folds: int) -> BasePruner:
    """Give the test a level that it can reach: with m pairs its smallest p-value is 2⁻ᵐ.

    At 0.1 it could prune after the fourth fold only, with three folds never.
    """
    from optuna.pruners import WilcoxonPruner

    return WilcoxonPruner(p_threshold=0.2 if folds >= 4 else 0.3, n_startup_steps=2)


def _halving(folds: int) -> BasePruner:
    from optuna.pruners import SuccessiveHalvingPruner

    return SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)


def _hyperband(folds: int) -> BasePruner:
    from optuna.pruners import HyperbandPruner

    return HyperbandPruner(min_resource=1, max_resource=folds, reduction_factor=2)


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
    "random": _random,
    "grid": _grid,
}
PRUNERS: dict[str, Callable[[int], BasePruner | None]] = {
    "race": lambda folds: None,
    "none": lambda folds: None,
    "wilcoxon": _wilcoxon,
    "median": _median,
    "percentile": _percentile,
    "successive_halving": _halving,
    "hyperband": _hyperband,
}

"""Learning-rate schedules as factors of the base rate, counted in optimizer steps.

A schedule is `factor(step, total, options) -> float in [0, 1]` over the steps that follow the warm-up.
To add one, write a function and one line in `SCHEDULES`. Only `plateau` depends on the validation loss
and is applied by the engine at epoch ends on top of a constant factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Hold what schedules need beside the step: steps per epoch and the shape's parameters."""

    steps_per_epoch: int
    min_factor: float  # the lowest factor, train.min_lr / train.lr
    step_epochs: float  # `step`: epochs between drops
    gamma: float  # `step`, `plateau`: factor of a drop


def constant(step: int, total: int, options: Options) -> float:
    """Keep the base rate."""
    return 1.0


def cosine(step: int, total: int, options: Options) -> float:
    """Fall from 1 to min_factor along half a cosine."""
    return options.min_factor + (1 - options.min_factor) * 0.5 * (1 + math.cos(math.pi * step / max(1, total)))


def step_decay(step: int, total: int, options: Options) -> float:
    """Multiply by gamma every `step_epochs` epochs."""
    drops = math.floor(step / (options.step_epochs * options.steps_per_epoch))
    return max(options.min_factor, options.gamma**drops)


def one_cycle(step: int, total: int, options: Options) -> float:
    """Rise from 1/25 to 1 over the first 30 % of the steps, then fall to min_factor, both as half cosines.

    Smith and Topin 2018 with fast.ai's cosine form; the momentum does not change.
    """
    peak = 0.3 * total
    if step < peak:
        low, high, share = 1.0, 1 / 25, step / peak
        return low + (high - low) * 0.5 * (1 + math.cos(math.pi * share))
    share = (step - peak) / max(1.0, total - peak)
    return options.min_factor + (1 - options.min_factor) * 0.5 * (1 + math.cos(math.pi * share))


SCHEDULES: dict[str, Callable[[int, int, Options], float]] = {
    "cosine": cosine,
    "step": step_decay,
    "one_cycle": one_cycle,
    "constant": constant,
    "plateau": constant,
}


WITH_WARMUP = frozenset({"one_cycle"})


def factor(name: str, step: int, total: int, warmup: int, options: Options) -> float:
    """Return the factor of optimizer step `step` (from 0): a linear warm-up, then the named schedule.

    One cycle begins with its own: behind a second one the rate would peak, fall to 1/25 and rise again.
    """
    if name in WITH_WARMUP:
        warmup = 0
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return SCHEDULES[name](step - warmup, max(1, total - warmup), options)

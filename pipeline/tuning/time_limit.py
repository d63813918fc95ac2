"""Keep a study within its time: what the winner's confirmation costs, and when no further trial may begin."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pipeline.tuning.study import Setup

SHARE = 0.5  # of the time that is the search's in any case


@dataclass(frozen=True)
class Limit:
    """Hold when a study is to be over, its winner's confirmation included."""

    until: float  # seconds since 1970
    seconds: float  # from its beginning

    @classmethod
    def of(cls, seconds: float | None) -> Limit | None:
        """Return the limit of a study that begins now; None where it has none."""
        return None if seconds is None else cls(time.time() + seconds, seconds)

    def ends_trials(self, setup: Setup) -> bool:
        """Tell whether a trial that begins now would leave too little time for the confirmation.

        In the first half of the time it may begin nevertheless, and while none is finished: then nothing is known.
        """
        now = time.time()
        if now >= self.until or now < self.until - (1 - SHARE) * self.seconds or not setup.ranked:
            return now >= self.until
        return now + (len(setup.folds) + confirmed_folds(setup)) * fold_seconds(setup) > self.until

    def leaves(self, seconds: float) -> bool:
        """Tell whether there is time for what takes about so long; an estimate may err by a quarter."""
        return time.time() + 0.75 * seconds <= self.until


def confirmed_folds(setup: Setup) -> int:
    """Return how many folds the winner is trained on again."""
    tune = setup.config.tune
    return (tune.fresh_seeds + (tune.fresh_folds is not None)) * setup.table.n


def fold_seconds(setup: Setup) -> float:
    """Return how long a fold of the best trial took, all included; 0 where none is finished."""
    if not setup.ranked:
        return 0.0
    best = setup.ranked[0]
    spent = best.duration.total_seconds() if best.duration is not None else 0.0
    return max(spent, float(best.user_attrs.get("seconds", 0.0))) / len(setup.folds)


def said(setup: Setup, seconds: float | None) -> list[str]:
    """Say beforehand what the confirmation costs."""
    tune, n, count = setup.config.tune, setup.table.n, confirmed_folds(setup)
    if not count:
        return []
    parts = [f"{tune.fresh_seeds} fresh seeds × {n} folds"] * (tune.fresh_seeds > 0)
    parts += [f"{n} fresh folds"] * (tune.fresh_folds is not None)
    known = f", about {count * fold_seconds(setup):.0f} s" if setup.ranked else ""
    within = "" if seconds is None else f"; --timeout includes it, and leaves the trials {SHARE:.0%} at least"
    cost = f"as long as {count / len(setup.folds):.3g} trials{known}"
    return [f"  then the winner again: {' and '.join(parts)}, {cost} (tune.fresh_seeds){within}"]

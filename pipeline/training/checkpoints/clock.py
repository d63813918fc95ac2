"""Tell when a checkpoint inside an epoch is due: by the clock, and by a signal, which ends the training there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from pipeline.machine import interruption, processes

APART = 0.5  # seconds between points at which several processes agree


class Wish(NamedTuple):
    """Say whether a checkpoint is due, and the signal that ends the training with it."""

    due: bool
    signal: int | None


class Clock:
    """Look at the time, and for signals, after every optimizer step.

    Several processes write at the same step, though each has a clock of its own and a signal reaches one before the
    other. They ask each other every few steps, as asking costs: after about half a second, at most twice as many steps
    as before.
    """

    def __init__(self, minutes: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self.seconds = math.inf if minutes is None else 60 * minutes
        self.now, self.written, self.asked = now, now(), now()
        self.steps = self.left = 1  # until the processes agree again

    def start(self) -> None:
        """Count from now, as a checkpoint has just been written."""
        self.written = self.now()

    def look(self) -> Wish:
        """Return what the step that was just made ends with."""
        self.left -= 1
        if processes.count() > 1 and self.left > 0:
            return Wish(False, None)
        now = self.now()
        own = (now - self.written >= self.seconds, interruption.pending(), now - self.asked)
        if processes.count() == 1:
            return Wish(*own[:2])
        found = processes.gather(own)
        due, _, seconds = found[0]
        most = min(APART, self.seconds) * self.steps / max(seconds, 1e-9)
        self.steps = self.left = max(1, min(2 * self.steps, int(most)))
        self.asked = now
        return Wish(due, max((signal for _, signal, _ in found if signal is not None), default=None))

"""Work on several folds at once, each in a process of its own.

A small network leaves most of its time to what one core does alone, and several GPUs would wait for one another's
folds. Processes are started afresh, as a GPU cannot be shared with a fork. They end with the process that started
them, also where that one is killed, so that a second run never meets them.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr, redirect_stdout
from io import TextIOBase
from multiprocessing import connection
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event
from typing import Literal, TextIO

from pipeline.errors import InputError, TrainingError
from pipeline.machine import processes
from pipeline.machine.cores import cores

Stop = Callable[[], None]  # raises where the work is to end
Work = Callable[[int, Stop], object]  # a fold's number -> done

_stopped: Event | None = None  # of the process that started this one


class Ended(Exception):
    """Ends a fold at an epoch's end, since another one failed."""


def at_once(wanted: int | Literal["auto"], folds: int, gpus: int) -> int:
    """Return how many folds are worked on at once; auto: one per GPU, without any one per core."""
    if processes.count() > 1:
        if wanted in ("auto", 1):
            return 1
        raise InputError(
            f"train.parallel_folds: found {wanted} in {processes.count()} processes of accelerate launch, which train "
            "each fold together; set one of the two"
        )
    return min(folds, (gpus or cores()) if wanted == "auto" else wanted)


def each(work: Work, folds: Sequence[int], together: int, gpus: Sequence[str]) -> None:
    """Do the work for every fold, `together` of them at a time; process i sees GPU i, in turn.

    Where one fails, the others end at their next chance and its error is raised. Raises TrainingError where
    a process dies.
    """
    context = multiprocessing.get_context("spawn")
    stop, seats = context.Event(), context.SimpleQueue()
    for number in range(together):
        seats.put(gpus[number % len(gpus)] if gpus else None)
    with ProcessPoolExecutor(together, context, _begin, (stop, seats)) as pool:
        running = [pool.submit(_one, work, fold) for fold in folds]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()  # of an interrupt too; where all is done nobody listens
            pool.shutdown(cancel_futures=True)
    failed = [error for one in running if not one.cancelled() and (error := one.exception()) is not None]
    for error in sorted(failed, key=lambda error: isinstance(error, Ended)):
        if isinstance(error, BrokenProcessPool):
            raise TrainingError(
                "a fold's process died, as when memory runs out; lower train.parallel_folds or train.batch_size, "
                "the same command continues"
            ) from error
        raise error


def _begin(stop: Event, seats: SimpleQueue[str | None]) -> None:
    """Prepare a process: its GPU, and that it ends with its parent."""
    global _stopped
    _stopped = stop
    if (gpu := seats.get()) is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _one(work: Work, fold: int) -> None:
    _check()  # a fold may be on its way to this process when another one fails
    with redirect_stdout(_Lines(sys.stdout, fold)), redirect_stderr(_Lines(sys.stderr, fold)):
        work(fold, _check)


def _check() -> None:
    if _stopped is not None and _stopped.is_set():
        raise Ended


class _Lines(TextIOBase):
    """Write whole lines, each with its fold's number before it; no terminal, so that no bars are drawn."""

    def __init__(self, stream: TextIO, fold: int) -> None:
        self.stream, self.mark, self.rest = stream, f"[{fold}] ", ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        if lines:
            self.stream.write("".join(f"{self.mark}{line}\n" for line in lines))
            self.stream.flush()
        return len(text)

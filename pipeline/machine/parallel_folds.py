"""Work on several folds in parallel, each in a process of its own.

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

from pipeline.errors import InputError, Problem, TrainingError
from pipeline.machine import processes

Stop = Callable[[], None]  # raises where the work is to end
Work = Callable[[int, Stop], object]  # a fold's number -> done

_failed: Event | None = None  # in a worker process: set where another fold failed


class Ended(Exception):
    """Ends a fold at an epoch's end, since another one failed."""


def count(wanted: int | Literal["auto"], folds: int, gpus: int) -> int:
    """Return how many folds are worked on in parallel; auto: one per GPU, without any one per core."""
    if processes.count() > 1:
        if wanted in ("auto", 1):
            return 1
        found = f"found {wanted} in {processes.count()} processes, which train each fold together"
        raise InputError(Problem("train.parallel_folds", found, remedy="set one of the two"))
    return min(folds, (gpus or processes.cores()) if wanted == "auto" else wanted)


def run(work: Work, folds: Sequence[int], parallel: int, gpus: Sequence[str]) -> None:
    """Do the work for every fold, `parallel` of them at a time; process i sees GPU i, in turn.

    Where one fails, the others end at their next chance and its error is raised. Raises TrainingError where
    a process dies.
    """
    context = multiprocessing.get_context("spawn")
    failed, free_gpus = context.Event(), context.SimpleQueue()
    for number in range(parallel):
        free_gpus.put(gpus[number % len(gpus)] if gpus else None)
    with ProcessPoolExecutor(parallel, context, _start, (failed, free_gpus)) as pool:
        running = [pool.submit(_one, work, fold) for fold in folds]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            failed.set()  # of an interrupt too; where all is done nobody listens
            pool.shutdown(cancel_futures=True)
    errors = [error for one in running if not one.cancelled() and (error := one.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, Ended)):
        if isinstance(error, BrokenProcessPool):
            remedy = "lower train.parallel_folds or train.batch_size, the same command continues"
            raise TrainingError(Problem("", "a fold's process died, as when memory runs out", remedy=remedy)) from error
        raise error


def _start(failed: Event, free_gpus: SimpleQueue[str | None]) -> None:
    """Prepare a process: its GPU, and that it ends with its parent."""
    global _failed
    _failed = failed
    if (gpu := free_gpus.get()) is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _one(work: Work, fold: int) -> None:
    _stop()  # a fold may be on its way to this process when another one fails
    with redirect_stdout(PrefixedStream(sys.stdout, fold)), redirect_stderr(PrefixedStream(sys.stderr, fold)):
        work(fold, _stop)


def _stop() -> None:
    if _failed is not None and _failed.is_set():
        raise Ended


class PrefixedStream(TextIOBase):
    """Write whole lines, each with its fold's number before it; no terminal, so that no bars are drawn."""

    def __init__(self, stream: TextIO, fold: int) -> None:
        self.stream, self.prefix, self.rest = stream, f"[{fold}] ", ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        if lines:
            self.stream.write("".join(f"{self.prefix}{line}\n" for line in lines))
            self.stream.flush()
        return len(text)

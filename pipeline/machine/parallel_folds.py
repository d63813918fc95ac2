"""Work on several folds in parallel, each in a process of its own.

A small network leaves most of its time to what one core does alone, and several GPUs would wait for one another's
folds. Processes are started afresh, as a GPU cannot be shared with a fork. They end with the process that started
them, also where that one is killed, so that a second run never meets them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, MutableSequence, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr, redirect_stdout
from io import TextIOBase
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from typing import Literal, TextIO

from pipeline.errors import InputError, Problem, TrainingError
from pipeline.files import streams
from pipeline.machine import interruption, processes

Work = Callable[[int], object]  # a fold's number -> done
Slot = tuple[int, str | None]  # a process's number, and the name of its GPU

GRACE = 1.5  # seconds for a fold to end where it is in no optimizer step and writes no checkpoint
POLL = 0.02

_busy: MutableSequence[int] = []  # in a fold's process: by slot, which process is at work; 0: none
_slot = 0


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

    Where one fails, or this process is interrupted, each of the others ends as by SIGTERM: after a checkpoint. Raises
    the error of the first that fails, TrainingError where a process dies.
    """
    context = multiprocessing.get_context("spawn")
    told, tell = context.Pipe(duplex=False)
    slots, busy = context.SimpleQueue(), context.RawArray("l", parallel)
    for number in range(parallel):
        slots.put((number, gpus[number % len(gpus)] if gpus else None))
    pool = ProcessPoolExecutor(parallel, context, _start, (told, slots, busy))
    errors: list[BaseException] = []
    try:
        with interruption.held_back():  # until the processes know what to do with a signal
            running = [pool.submit(_one, work, fold) for fold in folds]
        done, _ = wait(running, return_when=FIRST_EXCEPTION)
        errors = [error for one in done if (error := one.exception()) is not None]
    except BaseException:
        _end(pool, tell, busy)
        raise
    if not errors:
        pool.shutdown()
        return
    _end(pool, tell, busy)
    error = min(errors, key=lambda error: isinstance(error, KeyboardInterrupt))
    if isinstance(error, BrokenProcessPool):
        remedy = "lower train.parallel_folds or train.batch_size, the same command continues"
        raise TrainingError(Problem("", "a fold's process died, as when memory runs out", remedy=remedy)) from error
    raise error


def _end(pool: ProcessPoolExecutor, tell: Connection, busy: Sequence[int]) -> None:
    """Let the folds at work end by themselves, then kill the processes; those without a fold have nothing to lose."""
    started: list[BaseProcess] = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    tell.send_bytes(b"end")  # which none reads: all see that there is something
    while any(one.pid in list(busy) and one.is_alive() for one in started):
        time.sleep(POLL)
    for one in started:
        one.kill()
    for one in started:
        one.join()


def _start(told: Connection, slots: SimpleQueue[Slot], busy: MutableSequence[int]) -> None:
    """Prepare a process: its signals, its GPU, and that it ends with its parent or as that one tells."""
    global _busy, _slot
    interruption.in_fold_process()
    streams.prepare()
    (_slot, gpu), _busy = slots.get(), busy
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_end_as_told, args=(told,), daemon=True).start()


def _end_as_told(told: Connection) -> None:
    """End at once with the parent, and where it says so by what a signal does, in a bounded time."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel, told])
    time.sleep(POLL)  # of a parent that dies both may tell, one after the other
    if connection.wait([parent.sentinel], timeout=0):
        os._exit(1)
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)
    if connection.wait([parent.sentinel], timeout=GRACE):
        os._exit(1)
    while interruption.is_deferring() and not connection.wait([parent.sentinel], timeout=POLL):
        pass
    os._exit(128 + signal.SIGTERM)


def _one(work: Work, fold: int) -> None:
    with (
        interruption.raised(),
        redirect_stdout(PrefixedStream(sys.stdout, fold)),
        redirect_stderr(PrefixedStream(sys.stderr, fold)),
    ):
        _busy[_slot] = os.getpid()
        try:
            work(fold)
        finally:
            _busy[_slot] = 0


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

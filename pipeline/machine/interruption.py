"""End a command in order on Ctrl-C and SIGTERM: at once, or where training can go on; a second signal ends it anyhow.

A signal raises KeyboardInterrupt, or Terminated, which is one too. Inside `deferred` it waits until it is asked for:
an optimizer step is not left half way. Only the command line handles signals so, see `handled`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
CODES = tuple(128 + number for number in SIGNALS)
SAME = 0.1  # seconds in which a further signal is the first one again: schedulers signal a process and its group


class Terminated(KeyboardInterrupt):
    """Is raised on SIGTERM."""


class _State:
    """Hold what has arrived in this process, and what to do with it."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.pending: int | None = None  # the signal
        self.since = 0.0
        self.deferring = 0
        self.once = False  # further signals are ignored


_state = _State()


def exit_code(error: KeyboardInterrupt) -> int:
    """Return 143 for SIGTERM, 130 for Ctrl-C."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


def leave(code: int) -> NoReturn:
    """End the process now: to take all libraries down in order lasts seconds."""
    if "multiprocessing" in sys.modules:
        import multiprocessing

        for child in multiprocessing.active_children():
            child.kill()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)


def error(number: int) -> KeyboardInterrupt:
    """Return what a signal raises."""
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Handle signals in this way while the block runs; what is ignored stays so, as in a background job."""
    if threading.current_thread() is not threading.main_thread():  # no other may set handlers
        yield
        return
    global _state
    kept, _state, hook = _state, _State(), sys.unraisablehook
    before = {number: signal.getsignal(number) for number in (*SIGNALS, *_child_signals())}
    try:
        sys.unraisablehook = _raise_again
        _listen([number for number in SIGNALS if before[number] != signal.SIG_IGN])
        yield
    finally:
        sys.unraisablehook = hook
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        _state = kept


def in_fold_process() -> None:
    """Handle SIGTERM alone, and once, and only while a fold is worked on: Ctrl-C is the parent's, which tells us."""
    global _state
    _state = _State()
    _state.once, _state.deferring = True, 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _listen([signal.SIGTERM])


def in_loader_process() -> None:
    """Leave signals to the process that reads the batches; it ends this one, with a SIGTERM where it must."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def end_with_parent() -> None:
    """Let this process be terminated when the one that started it dies, where the system can.

    That one passes signals on, and may do so again when it ends itself: further ones are ignored.
    """
    _state.once = True
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Block signals in this thread; what is started meanwhile has them blocked until it listens."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let signals wait while the block runs, which asks `pending` for them."""
    _state.deferring += 1
    try:
        yield
    finally:
        _state.deferring -= 1


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Let signals raise in the block, one that waits already too."""
    _state.deferring -= 1
    try:
        check()
        yield
    finally:
        _state.deferring += 1


def is_deferring() -> bool:
    """Tell whether what goes on is to be completed."""
    return _state.deferring > 0


def pending() -> int | None:
    """Return the signal that has arrived, or None."""
    return _state.pending


def check() -> None:
    """Raise where a signal has arrived."""
    if _state.pending is not None:
        raise error(_state.pending)


def _listen(numbers: list[signal.Signals]) -> None:
    for number in numbers:
        signal.signal(number, _take)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _child_signals() -> tuple[signal.Signals, ...]:
    return (signal.SIGCHLD,) if hasattr(signal, "SIGCHLD") else ()


def _take(number: int, _: Any) -> None:
    """Handle a signal between two instructions of the main thread."""
    state = _state
    if os.getpid() != state.process:  # a fork, such as a loader process that is about to begin
        return
    if state.pending is not None:
        if not state.once and time.monotonic() - state.since > SAME:
            os._exit(128 + number)
        return
    state.pending, state.since = number, time.monotonic()
    for one in _child_signals():  # torch's handler would raise for loader processes that were signalled too
        signal.signal(one, signal.SIG_DFL)
    if not state.once:
        _end_on_second()
    if not state.deferring:
        raise error(number)


def _raise_again(lost: sys.UnraisableHookArgs) -> None:
    """Raise what was raised where Python ignores it, such as in a destructor or while it forks, right after that."""
    if isinstance(lost.exc_value, KeyboardInterrupt):
        set_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        given = ctypes.c_ulong(threading.main_thread().ident or 0), ctypes.py_object(type(lost.exc_value))
        threading.Timer(0.01, set_in, given).start()  # not in here, where it would be lost again
    else:
        sys.__unraisablehook__(lost)


def _end_on_second() -> None:
    """Let a second signal end the process also while the main thread is in a long computation."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    begin = time.monotonic()

    def wait() -> None:
        while found := os.read(reading, 1):
            if found[0] in SIGNALS and time.monotonic() - begin > SAME:
                os._exit(128 + found[0])

    threading.Thread(target=wait, daemon=True).start()

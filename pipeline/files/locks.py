"""Hold a folder for one process at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import LockedError, Problem, SpaceError
from pipeline.files.atomic import remove_parts
from pipeline.files.failures import unwritable


@contextlib.contextmanager
def lock(folder: Path, sweep: bool = True) -> Iterator[None]:
    """Hold the folder for this process; raise LockedError where another one holds it.

    The lock is the kernel's (flock): it goes with the process, also after a kill. Taking it twice in one
    process fails too. With `sweep`, what killed processes left half written in it or below is removed. Raises
    SpaceError where the folder cannot be written.
    """
    held = None
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
            _take(held, folder)
        except OSError as error:
            raise SpaceError(unwritable(folder, error)) from error
        if sweep:
            remove_parts(folder, below=True)
        yield
    finally:
        if held is not None:
            os.close(held)


def _take(held: int, folder: Path) -> None:
    import fcntl

    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(held, 100, 0).decode("ascii", "replace").strip() or "unknown"
        remedy = "wait for it, or choose another `run`"
        raise LockedError(Problem(str(folder), f"locked by process {holder}", remedy=remedy)) from None
    with contextlib.suppress(OSError):  # a full disk: what is written next says so, by name
        os.truncate(held, 0)
        os.pwrite(held, str(os.getpid()).encode(), 0)


@contextlib.contextmanager
def waiting(path: Path) -> Iterator[None]:
    """Wait for this machine's lock, a file, and hold it; the kernel lets go of it with the process.

    Raises SpaceError where the file cannot be written.
    """
    import fcntl

    held = None
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
            fcntl.flock(held, fcntl.LOCK_EX)
        except OSError as error:
            raise SpaceError(unwritable(path, error)) from error
        yield
    finally:
        if held is not None:
            os.close(held)

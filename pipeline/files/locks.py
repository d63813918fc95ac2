"""Hold a folder for one process at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import LockedError, Problem, SpaceError
from pipeline.files.atomic import unwritable


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; raise LockedError where another one holds it.

    The lock is the kernel's (flock): it goes with the process, also after a kill. Taking it twice in one
    process fails too. Raises SpaceError where the folder cannot be written.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = (folder / ".lock").open("a+")
    except OSError as error:
        raise SpaceError(unwritable(folder, error)) from error
    with held as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            remedy = "wait for it, or choose another `run`"
            raise LockedError(Problem(str(folder), f"locked by process {holder}", remedy=remedy)) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield

"""Hold what the processes of one machine hold of a study; the kernel lets go of it with the process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import LockedError
from pipeline.files.locks import lock


def sweep(folder: Path) -> None:
    """Remove what workers of this machine left that are gone; their trials are in line again by then."""
    with turn(folder):
        for path in sorted((folder / "workers").glob("*")):
            with contextlib.suppress(LockedError, OSError), lock(path):
                (path / ".lock").unlink()
                path.rmdir()


@contextlib.contextmanager
def turn(folder: Path, name: str = ".turn") -> Iterator[None]:
    """Wait for this machine's lock of the study, and hold it."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield

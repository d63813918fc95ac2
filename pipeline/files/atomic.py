"""Write files whole or not at all: text, JSON, and whatever a caller writes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import MismatchError, Problem, SpaceError
from pipeline.files.failures import errno_of, reading, scarce, unwritable

UNWRITABLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EACCES,
    errno.EROFS,
    errno.EPERM,
    errno.EEXIST,  # a file stands where a folder is wanted
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}
PART = re.compile(r"\..*\.[0-9a-f]+\.part")
LONGEST = 200  # characters of a name that its part keeps: names end at 255 bytes

_swept: set[tuple[int, Path]] = set()  # by process and folder


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; flush it and rename it when the block ends well.

    Whoever is killed meanwhile leaves that part; it is locked while its writer lives, so that the first who writes to
    the folder later can tell, and removes it. Raises SpaceError where the disk is full or the folder cannot be
    written.
    """
    beside = path.with_name(f".{_shortened(path.name)}.{os.urandom(4).hex()}.part")
    held = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if (here := (os.getpid(), path.parent.absolute())) not in _swept:
            _swept.add(here)
            remove_parts(path.parent)
        held = os.open(beside, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        _lock(held)
        yield beside
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())
        beside.replace(path)
    except Exception as error:
        raised_by = getattr(error, "filename", None)
        if errno_of(error) is None or raised_by not in (None, *map(str, (beside, path, *path.parents))):
            raise  # not about this file
        raise scarce(error, str(path)) or SpaceError(unwritable(path, error)) from error
    finally:
        with contextlib.suppress(OSError):  # the reason it cannot be removed is the one being raised
            beside.unlink()
        if held is not None:
            os.close(held)


def remove_parts(folder: Path, below: bool = False) -> None:
    """Remove the parts of files that killed processes left in a folder, and in those below it."""
    for path in folder.rglob(".*.part") if below else folder.glob(".*.part"):
        if PART.fullmatch(path.name):
            with contextlib.suppress(OSError):  # another process was quicker, or the folder cannot be written
                held = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
                try:
                    if _lock(held):
                        path.unlink()
                finally:
                    os.close(held)


def _lock(held: int) -> bool:
    """Lock an open file for as long as it is open; tell whether that is so: some shared disks know no locks."""
    import fcntl

    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _shortened(name: str) -> str:
    return name if len(os.fsencode(name)) <= LONGEST else name[: LONGEST // 4]


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN is refused."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON of ours; raise MismatchError where it is not, or cannot be read."""
    remedy = "delete it and run the stage again"
    with reading(path, MismatchError, "JSON", remedy):
        text = path.read_text(encoding="utf-8")
        try:
            return json.loads(text)
        except ValueError as error:  # also of numbers with too many digits
            raise MismatchError(Problem(str(path), f"not readable as JSON ({error})", remedy=remedy)) from None

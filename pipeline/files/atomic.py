"""Write files whole or not at all: text, JSON, and whatever a caller writes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import MismatchError, Problem, SpaceError

UNWRITABLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EROFS,
    errno.EPERM,
    errno.EEXIST,  # a file stands where a folder is wanted
    errno.ENOTDIR,
}


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; flush it and rename it when the block ends well.

    Raises SpaceError where the disk is full or the folder cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        if error.errno in UNWRITABLE:
            raise SpaceError(unwritable(path, error)) from error
        raise
    finally:
        with contextlib.suppress(OSError):  # the reason it cannot be removed is the one being raised
            beside.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN is refused."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; raise MismatchError where it is not."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MismatchError(
            Problem(str(path), f"not readable as JSON ({error})", remedy="delete it and run the stage again")
        ) from None


def unwritable(path: Path, error: OSError) -> Problem:
    """Return the problem of a file or folder that cannot be written."""
    return Problem(str(path), f"cannot be written: {error.strerror}", remedy="free space or choose another folder")

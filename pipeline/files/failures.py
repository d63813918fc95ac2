"""Say what a failure of the system is: whose file it concerns, what could not be done with it, the exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import FoldlineError, InputError, LockedError, MismatchError, Problem, SpaceError, TrainingError
from pipeline.files import memory

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
SCARCE = {errno.ENOMEM: "memory", errno.EMFILE: "open files", errno.ENFILE: "open files", errno.EAGAIN: "processes"}
DENIED = {errno.EACCES, errno.EPERM}
RUST = re.compile(r"\(os error (\d+)\)")  # how safetensors tells an errno
OTHERWISE = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
SQLITE: dict[int, type[FoldlineError]] = {  # by primary result code
    sqlite3.SQLITE_FULL: SpaceError,
    sqlite3.SQLITE_READONLY: SpaceError,
    sqlite3.SQLITE_CANTOPEN: SpaceError,
    sqlite3.SQLITE_PERM: SpaceError,
    sqlite3.SQLITE_IOERR: SpaceError,
    sqlite3.SQLITE_CORRUPT: MismatchError,
    sqlite3.SQLITE_NOTADB: MismatchError,
    sqlite3.SQLITE_BUSY: LockedError,
    sqlite3.SQLITE_LOCKED: LockedError,
    sqlite3.SQLITE_NOMEM: TrainingError,
}


def errno_of(error: BaseException) -> int | None:
    """Return the system's number of an error, also of one from a library in Rust."""
    if isinstance(error, OSError):
        return error.errno
    found = RUST.search(str(error))
    return int(found[1]) if found else None


def why(error: BaseException) -> str:
    """Return the reason without the path, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    number = errno_of(error)
    return os.strerror(number) if number else " ".join(str(error).split())[:300] or type(error).__name__


def not_a_file(path: Path) -> str | None:
    """Return what stands where a file is to be read, None where that is a file; reading a pipe would wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if os.path.islink(path):
            return f"is a link to {os.readlink(path)}, which is not there"
        raise
    return None if stat.S_ISREG(mode) else f"is {OTHERWISE.get(stat.S_IFMT(mode), 'a device')}"


def require_file(path: Path | str) -> None:
    """Raise OSError where what is to be read is no file, as `not_a_file` tells."""
    if found := not_a_file(Path(path)):
        number = errno.EISDIR if os.path.isdir(path) else errno.EINVAL
        raise OSError(number, os.strerror(number) if os.path.isdir(path) else found, str(path))


@contextlib.contextmanager
def reading(path: Path, kind: type[FoldlineError], form: str, remedy: str = "") -> Iterator[None]:
    """Raise `kind` where a file cannot be read in the block, or is none of this form: permissions, pipes, nesting.

    What runs out meanwhile, memory or open files, is TrainingError. Errors of the form's own parser pass.
    """
    try:
        if found := not_a_file(path):
            raise kind(Problem(str(path), found, "a file"))
        yield
    except RecursionError:
        raise kind(Problem(str(path), f"not readable as {form}: nested too deep", remedy=remedy)) from None
    except UnicodeDecodeError as error:
        raise kind(Problem(str(path), f"not readable as {form} ({error})", remedy=remedy)) from None
    except MemoryError:
        raise TrainingError(Problem(str(path), "memory ran out while it was read")) from None
    except OSError as error:
        if (known := scarce(error, str(path))) is not None:
            raise known from None
        kind = InputError if error.errno == errno.ENAMETOOLONG else kind
        raise kind(_unreadable(str(path), error)) from None


def explained(error: BaseException, ours: Sequence[Path] = ()) -> FoldlineError | None:
    """Return what to say of an error that nobody awaited, by its kind; None where it is none of the system's.

    `ours`: the folders that Foldline itself writes to; what cannot be read elsewhere is the user's input.
    """
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        if isinstance(following, FoldlineError):
            return following
        if (found := _explained(following, ours)) is not None:
            return found
        seen.append(following)
        following = following.__cause__ or following.__context__
    return None


def _explained(error: BaseException, ours: Sequence[Path]) -> FoldlineError | None:
    if (gone := memory.ran_out(error)) is not None:
        return gone
    if isinstance(error, RecursionError):
        return InputError(Problem("", "what is read is nested too deep"))
    if isinstance(error, sqlite3.Error):
        kind = SQLITE.get(getattr(error, "sqlite_errorcode", -1) & 0xFF)
        return None if kind is None else kind(Problem("", f"a database failed: {why(error)}"))
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        shown = error.object[:200].encode("utf-8", "backslashreplace").decode()
        return InputError(Problem("", f"found '{shown}'", "text in UTF-8", "rename what is called so"))
    if isinstance(error, ValueError) and "embedded null byte" in str(error):
        return InputError(Problem("", "found a path that holds a NUL byte", remedy="look for \\0 in the config"))
    if errno_of(error) is None:
        return None
    name = getattr(error, "filename", None)
    place = os.fsdecode(name) if isinstance(name, str | bytes) else ""
    if (known := scarce(error, place)) is not None:
        return known
    if errno_of(error) == errno.ENAMETOOLONG:
        return InputError(Problem(place, why(error), remedy="choose a shorter name"))
    if not place or _was_written(Path(place), errno_of(error)):
        return SpaceError(unwritable(place, error))
    inside = any(Path(place).absolute().is_relative_to(folder.absolute()) for folder in ours)
    return (MismatchError if inside else InputError)(_unreadable(place, error))


def unwritable(path: Path | str, error: BaseException) -> Problem:
    """Return the problem of a file or folder that cannot be written."""
    return Problem(str(path), f"cannot be written: {why(error)}", remedy="free space or choose another folder")


def scarce(error: BaseException, place: str) -> TrainingError | None:
    """Return what to raise where memory, open files or processes ran out; None where something else failed."""
    what = SCARCE.get(errno_of(error) or 0)
    return None if what is None else TrainingError(Problem(place, f"the machine ran out of {what} ({why(error)})"))


def _unreadable(place: str, error: BaseException) -> Problem:
    remedy = "let this user read it" if errno_of(error) in DENIED else ""
    return Problem(place, f"cannot be read: {why(error)}", remedy=remedy)


def _was_written(path: Path, number: int | None) -> bool:
    """Tell whether a failure came of writing, as far as the file and its folder tell."""
    if number in FULL:
        return True
    with contextlib.suppress(OSError):
        if number in DENIED:
            there = os.path.lexists(path)
            return os.access(path, os.R_OK) if there else os.access(path.parent, os.X_OK)
    return False

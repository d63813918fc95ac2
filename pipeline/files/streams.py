"""Print whatever a name holds, wherever it goes: a terminal without Unicode, a pipe that is closed, a full disk."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

OUTPUT = "standard output"  # the file that an error of printing names
CLOSED = 141  # 128 + SIGPIPE, as a shell says of other programs whose output nobody reads any more


class _Output(io.TextIOWrapper):
    """Name itself in what it raises, so that a message can."""

    def write(self, text: str) -> int:
        with self._named():
            return super().write(text)

    def flush(self) -> None:
        with self._named():
            super().flush()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = OUTPUT
            raise


class _Messages(io.TextIOWrapper):
    """Go on where they cannot be written: the exit code tells, too."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def prepare() -> None:
    """Let standard output and error take every text: what their encoding lacks is replaced.

    One that is closed becomes the null device, as the next file opened would have its number, and get its text.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free
    sys.stdout = _wrapped(sys.stdout, _Output, "replace")
    sys.stderr = _wrapped(sys.stderr, _Messages, "backslashreplace")


def _wrapped(stream: Any, kind: type[io.TextIOWrapper], errors: str) -> Any:
    if type(stream) is not io.TextIOWrapper or stream.closed:  # a notebook's, a test's, or none
        return stream
    about = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
    made: Any = kind(stream.buffer, encoding=stream.encoding, errors=errors, newline="\n", **about)
    made.before = stream  # which would close the buffer when nobody holds it
    return made


def flush() -> None:
    """Write out what was printed, before Python does so at its end with a traceback; raise OSError."""
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()


def silence() -> None:
    """Let what is still to be printed go nowhere: Python would try again at its end, and complain."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def is_unread(error: BaseException) -> bool:
    """Tell whether an error says that nobody reads the output any more, as in `foldline … | head`."""
    return isinstance(error, BrokenPipeError) and error.filename == OUTPUT

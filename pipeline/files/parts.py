"""Name a part of a file by its path: `X.npy[5]`, a row of a stack of arrays; `a.jpg#xywh=1,2,30,40`, a box.

So an image is a path wherever it is one: in the cache's index, in messages, in `predict --from`.
"""

from __future__ import annotations

import io
import os
import re
import threading
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.files import archives, bounds
from pipeline.files.checksums import identity
from pipeline.methods.arrays import Array

BOX = "#xywh="  # as W3C's media fragments write it; nothing behind it means the whole picture
ROW = re.compile(r"(?P<file>.+\.np[yz](?:/[^/\[\]]+)?)\[(?P<row>-?\d+)\]", re.DOTALL | re.IGNORECASE)
MEMBER = re.compile(r"(?P<file>.+\.npz)/(?P<name>[^/]+)", re.DOTALL | re.IGNORECASE)

_guard = threading.Lock()


def without_box(path: str) -> tuple[str, str]:
    """Return a path and the box behind it, '' where there is none."""
    file, mark, box = path.rpartition(BOX)
    return (file, box) if mark else (path, "")


def picture(paths: Sequence[str]) -> str:
    """Name the file or files of an image, whatever box of them it shows."""
    return "\0".join(without_box(path)[0] for path in paths)


def row_of(path: str) -> tuple[str, int] | None:
    """Return the stack and the row that a path names, or None; `x.npz/name[5]` names an array of several."""
    match = ROW.fullmatch(without_box(path)[0])
    return None if match is None else (match["file"], int(match["row"]))


def file_of(path: str) -> str:
    """Return the file that a path, or a part of one, lies in."""
    path = without_box(path)[0]
    if (found := row_of(path)) is None:
        return path
    member = MEMBER.fullmatch(found[0])
    return found[0] if member is None else member["file"]


def stack(name: str) -> Array:
    """Return a file's array: an npy file's is mapped, not read; an npz's, or an archive's, is held in memory.

    Raises ValueError with the reason where there is none, OSError where the file is not there.
    """
    member = MEMBER.fullmatch(name)
    file = name if member is None else member["file"]
    inside = archives.split(file)
    status = os.stat(file if inside is None else inside[0])
    with _guard:  # two threads need not unpack it twice
        return _stack(file, member["name"] if member is not None else "", identity(status))


# What numpy raises beside OSError and ValueError where an npy or npz file is damaged: it parses headers as Python.
PARSING = (SyntaxError, tokenize.TokenError, RecursionError)
DAMAGED = (EOFError, KeyError, *PARSING, zipfile.BadZipFile, zlib.error, NotImplementedError)


@lru_cache(maxsize=8)
def _stack(file: str, name: str, status: tuple[int, ...]) -> Array:
    inside = archives.split(file)
    source: Any = file if inside is None else io.BytesIO(archives.read(*inside))
    mapped = inside is None and file.lower().endswith(".npy")
    try:
        found: Any = np.load(source, mmap_mode="r" if mapped else None, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            names = found.files
            wanted = name.removesuffix(".npy") or (names[0] if len(names) == 1 else "")
            if wanted not in names:
                what = f"has no array '{name}'" if name else "holds several arrays"
                example = f"{os.path.basename(file)}/{names[0]}[…]"
                raise ValueError(f"{what}: {', '.join(names[:8])}; name one as in {example}")
            check_npz(found, wanted)
            array: Array = found[wanted]
            return array
    except MemoryError as error:
        raise ValueError(f"an array that does not fit into memory: {error}") from None
    except DAMAGED as error:
        raise ValueError(f"damaged or truncated: {error}") from None


def check_npz(file: Any, name: str) -> None:
    """Raise ValueError where an array of an npz file would unpack to more than is sensible."""
    infos = {info.filename.removesuffix(".npy"): info for info in file.zip.infolist()}
    if (info := infos.get(name)) is not None:
        bounds.check(info.file_size, info.compress_size, "unpacks to", "store it with numpy.save")


def read_row(name: str, row: int) -> bytes:
    """Return a row of a stack as the npy file that it would be alone; raise ValueError where there is none."""
    try:
        values = stack(name)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None
    if values.ndim < 2 or not 0 <= row < len(values):
        raise ValueError(f"an array of shape {values.shape}, which has no image {row}")
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(values[row]), allow_pickle=False)
    return stream.getvalue()

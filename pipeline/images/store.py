"""Keep decoded images of one size on disk: data files that only grow, and an SQLite index of their slots.

A folder holds images of one height, width and number of channels: `index.sqlite` and, per kind of pixels,
`<kind>-<token>.bin`, where slot i begins at i times the slot's bytes. Pixels are flushed before the index names
their slot, so a kill leaves at most bytes that nobody refers to and that the next writer overwrites. The token,
made with the index, keeps an open set from reading the slots of a store that was remade in the meantime.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.methods.arrays import Array

File = tuple[str, int, int]  # absolute paths, joined by JOIN; their size, the newest mtime_ns
Shape = tuple[int, int, int]  # height, width, channels of a store's images

JOIN = "\0"  # no path holds it
KINDS = (("uint8", False), ("uint8", True), ("uint16", False), ("uint16", True))  # with all channels, or gray
SCHEMA = """
CREATE TABLE about (token TEXT NOT NULL);
CREATE TABLE slots (pixels BLOB PRIMARY KEY, kind INTEGER NOT NULL, slot INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE contents (hash BLOB PRIMARY KEY, kind INTEGER NOT NULL, slot INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE files (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, hash BLOB NOT NULL) WITHOUT ROWID;
"""
WAIT_SECONDS = 60  # for another process's commit


def slot_shape(kind: int, shape_HWC: Shape) -> tuple[int, ...]:
    """Return the shape of one stored image: HxW for gray, else HxWxC."""
    return shape_HWC if KINDS[kind][1] else shape_HWC[:2]


def slot_bytes(kind: int, shape_HWC: Shape) -> int:
    """Return the bytes of one stored image."""
    return np.dtype(KINDS[kind][0]).itemsize * math.prod(slot_shape(kind, shape_HWC))


def data_path(folder: Path, kind: int, token: str, shape_HWC: Shape) -> Path:
    """Return the data file of a kind of pixels."""
    name, whole = KINDS[kind]
    return folder / f"{name}x{shape_HWC[2] if whole else 1}-{token}.bin"


def map_slots(folder: Path, kind: int, token: str, shape_HWC: Shape) -> Array:
    """Map a data file read-only as an array of images."""
    path = data_path(folder, kind, token, shape_HWC)
    count = path.stat().st_size // slot_bytes(kind, shape_HWC)
    return np.memmap(path, dtype=KINDS[kind][0], mode="r", shape=(count, *slot_shape(kind, shape_HWC)))


class Found:
    """Hold what the index knows about a list of files: `kinds_N` (-1: unknown), `slots_N`, `hashes_N32`."""

    def __init__(self, count: int, token: str = "") -> None:
        self.token = token
        self.kinds_N = np.full(count, -1, dtype=np.int8)
        self.slots_N = np.zeros(count, dtype=np.int64)
        self.hashes_N32 = np.zeros((count, 32), dtype=np.uint8)


def lookup_files(folder: Path, shape_HWC: Shape, files: Sequence[File]) -> Found:
    """Find files by (path, size, mtime_ns) with one query, without a lock and without writing.

    A store that is missing or damaged knows nothing. Slots beyond the end of a data file are unknown.
    """
    found = Found(len(files))
    path = folder / "index.sqlite"
    if not path.is_file():
        return found
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", WAIT_SECONDS, uri=True)) as index:
            token = index.execute("SELECT token FROM about").fetchone()[0]
            index.execute("PRAGMA temp_store=MEMORY")
            index.execute("CREATE TEMP TABLE wanted (n INTEGER PRIMARY KEY, path TEXT, size INTEGER, mtime_ns INTEGER)")
            index.executemany("INSERT INTO wanted VALUES (?,?,?,?)", ((n, *file) for n, file in enumerate(files)))
            rows = index.execute(
                "SELECT n, kind, slot, hash FROM wanted CROSS JOIN files USING (path, size, mtime_ns) "
                "CROSS JOIN contents USING (hash)"
            )
            while block := rows.fetchmany(10_000):
                numbers, kinds, slots, hashes = zip(*block, strict=True)
                at = np.array(numbers)
                found.kinds_N[at], found.slots_N[at] = kinds, slots
                found.hashes_N32[at] = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32)
    except (sqlite3.Error, TypeError, ValueError):
        return Found(len(files))
    found.token = token
    for kind in range(len(KINDS)):
        rows_of_kind = found.kinds_N == kind
        if rows_of_kind.any():
            data = data_path(folder, kind, token, shape_HWC)
            count = data.stat().st_size // slot_bytes(kind, shape_HWC) if data.is_file() else 0
            found.kinds_N[rows_of_kind & (found.slots_N >= count)] = -1
    return found


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the store for writing; wait for another process that does. The kernel frees it after a kill."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: another process fills this cache; waiting for it", file=sys.stderr)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


class Writer:
    """Add images to a store whose lock is held; nothing is visible before `commit`."""

    def __init__(self, folder: Path, shape_HWC: Shape) -> None:
        self._folder, self._shape_HWC = folder, shape_HWC
        self._index = self._open()
        self.token: str = self._index.execute("SELECT token FROM about").fetchone()[0]
        self.appended_bytes = 0
        self._data: dict[int, Any] = {}
        self._next: dict[int, int] = {}
        self._written_at = time.monotonic()

    def _open(self) -> sqlite3.Connection:
        """Open the index; one that is missing, damaged or at odds with the data files is made anew."""
        path = self._folder / "index.sqlite"
        index = sqlite3.connect(path, WAIT_SECONDS)
        try:
            token = index.execute("SELECT token FROM about").fetchone()[0]
            if index.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("damaged")
            for kind, last in index.execute("SELECT kind, max(slot) FROM slots GROUP BY kind").fetchall():
                if len(map_slots(self._folder, kind, token, self._shape_HWC)) <= last:
                    raise sqlite3.DatabaseError("a data file was cut")
            return index
        except (sqlite3.Error, TypeError, OSError, ValueError, IndexError):
            index.close()
        for old in [path, *self._folder.glob("index.sqlite-*"), *self._folder.glob("*.bin")]:
            old.unlink(missing_ok=True)  # sets that are open keep their mapping of the old file
        index = sqlite3.connect(path, WAIT_SECONDS)
        index.executescript(SCHEMA)
        index.execute("INSERT INTO about VALUES (?)", (secrets.token_hex(8),))
        index.commit()
        return index

    def hashes(self) -> set[bytes]:
        """Return the hashes of all contents that are stored."""
        return {row[0] for row in self._index.execute("SELECT hash FROM contents")}

    def known(self, content_hash: bytes) -> tuple[int, int] | None:
        """Return kind and slot of a content that is stored or was added."""
        row = self._index.execute("SELECT kind, slot FROM contents WHERE hash = ?", (content_hash,)).fetchone()
        return None if row is None else (int(row[0]), int(row[1]))

    def add(self, content_hash: bytes, image: Array) -> tuple[int, int]:
        """Store the image of a content, unless its pixels are there already; return kind and slot."""
        kind = KINDS.index((image.dtype.name, image.ndim == 3))
        pixels = hashlib.sha256(image.data).digest() + bytes([kind])
        row = self._index.execute("SELECT slot FROM slots WHERE pixels = ?", (pixels,)).fetchone()
        slot = int(row[0]) if row else self._append(kind, image)
        if row is None:
            self._index.execute("INSERT INTO slots VALUES (?,?,?)", (pixels, kind, slot))
        self._index.execute("INSERT OR REPLACE INTO contents VALUES (?,?,?)", (content_hash, kind, slot))
        return kind, slot

    def name(self, file: File, content_hash: bytes) -> None:
        """Remember what a file holds."""
        self._index.execute("INSERT OR REPLACE INTO files VALUES (?,?,?,?)", (*file, content_hash))

    def _append(self, kind: int, image: Array) -> int:
        if kind not in self._data:
            path = data_path(self._folder, kind, self.token, self._shape_HWC)
            self._data[kind] = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
            last = self._index.execute("SELECT max(slot) FROM slots WHERE kind = ?", (kind,)).fetchone()[0]
            self._next[kind] = 0 if last is None else int(last) + 1
            self._data[kind].seek(self._next[kind] * image.nbytes)
        self._data[kind].write(image.data)
        self._next[kind] += 1
        self.appended_bytes += image.nbytes
        return self._next[kind] - 1

    def commit(self, every_seconds: float = 0.0) -> None:
        """Flush the pixels, then let the index name them, unless less than `every_seconds` have passed."""
        if time.monotonic() - self._written_at < every_seconds:
            return
        for stream in self._data.values():
            stream.flush()
            os.fdatasync(stream.fileno())
        self._index.commit()
        self._written_at = time.monotonic()

    def close(self) -> None:
        """Close the files; what was not committed is forgotten."""
        for stream in self._data.values():
            with contextlib.suppress(OSError):  # a full disk was reported by the write before
                stream.close()
        self._index.close()

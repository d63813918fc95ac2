"""Keep decoded images of one size on disk: data files that only grow, and an SQLite index of their slots.

A folder holds images of one size that are read in one way (`ReadAs`): `index.sqlite` and, per kind of pixels,
`<kind>-<token>.bin`, where slot i begins at i times the slot's bytes. Pixels are flushed before the index names
their slot, so a kill leaves at most bytes that nobody refers to and that the next writer overwrites. The token,
made with the index, keeps an open set from reading the slots of a store that was remade in the meantime. Each row's
proof ties a file's content to the bytes of its slot; `verifying` compares them. A slot that is damaged is never
written again, since another process may have it mapped: its images get new ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files.failures import require_file
from pipeline.images import index as sql
from pipeline.images.read_as import USUAL, ReadAs
from pipeline.images.remarks import Remark
from pipeline.methods.arrays import Array

File = tuple[str, int, int, int, int]  # absolute paths, joined by JOIN; size, mtime_ns, ctime_ns and inode of all
Shape = tuple[int, int, int]  # height, width, channels of a store's images

JOIN = "\0"  # no path holds it
VERSION = 2  # of the folder: its index, and the pixels that decoding gives; an older folder is left as it is
KINDS = (("uint8", False), ("uint8", True), ("uint16", False), ("uint16", True))  # with all channels, or gray
PLACE = np.dtype(  # kind −1: unknown; SHA-256 of the content; what decoding took for granted; see `proof`
    [("kind", np.int8), ("slot", np.int64), ("hash", "V32"), ("remark", np.uint8), ("proof", "V16")]
)
ROW = np.dtype([("number", np.int64), *PLACE.descr])
DAMAGE = (
    sqlite3.Error,
    TypeError,
    ValueError,
    OverflowError,
    IndexError,
    OSError,
)  # what reading a damaged or missing store raises


@dataclass(frozen=True)
class Store:
    """Say where images of one size, read in one way, are kept; without a folder only which could be decoded is."""

    folder: Path | None
    size_hw: tuple[int, int]
    how: ReadAs = USUAL

    @classmethod
    def at(cls, cache_dir: str | None, size_hw: tuple[int, int], how: ReadAs = USUAL) -> Store:
        """Return the store of one size and way of reading below a cache's folder."""
        store = cls(None, (int(size_hw[0]), int(size_hw[1])), how)
        name = "-".join(filter(None, [f"{size_hw[0]}x{size_hw[1]}-v{VERSION}", how.name]))
        return store if cache_dir is None else replace(store, folder=Path(cache_dir).absolute() / name)

    @property
    def shape_HWC(self) -> Shape:
        """Return height, width and channels of each image."""
        return (*self.size_hw, self.how.channels)

    @property
    def refused(self) -> int:
        """Return the remarks of what is there by another way of reading and is an error by this one."""
        return 0 if self.how.truncated else int(Remark.TRUNCATED)

    def map(self, kind: int, token: str) -> Array:
        """Map a data file read-only as an array of images; raise OSError or ValueError where there is none."""
        dtype, whole = KINDS[kind]
        shape = self.shape_HWC if whole else self.shape_HWC[:2]
        path = self.data_path(kind, token)
        require_file(path)
        return np.memmap(path, dtype=dtype, mode="r", shape=(path.stat().st_size // self.slot_bytes(kind), *shape))

    def slot_bytes(self, kind: int) -> int:
        """Return the bytes of one slot of a kind of pixels."""
        dtype, whole = KINDS[kind]
        return np.dtype(dtype).itemsize * math.prod(self.shape_HWC if whole else self.shape_HWC[:2])

    def data_path(self, kind: int, token: str) -> Path:
        """Return the data file of a kind of pixels."""
        assert self.folder is not None
        name, whole = KINDS[kind]
        return self.folder / f"{name}x{self.shape_HWC[2] if whole else 1}-{token}.bin"

    def lookup(self, files: Sequence[File]) -> tuple[str, Array]:
        """Return the token and each file's PLACE, found by its path and status without a lock and without writing.

        A store that is missing or damaged knows nothing.
        """
        rows = ((n, *file) for n, file in enumerate(files))
        return self._looked_up(len(files), sql.WANTED, "INSERT INTO wanted VALUES (?,?,?,?,?,?)", rows, sql.FOUND)

    def lookup_contents(self, hashes: Sequence[bytes]) -> tuple[str, Array]:
        """Return the token and the PLACE of each content by its SHA-256, wherever its files lie now."""
        insert = "INSERT INTO wanted_contents VALUES (?,?)"
        return self._looked_up(len(hashes), sql.WANTED_CONTENTS, insert, enumerate(hashes), sql.FOUND_CONTENTS)

    def _looked_up(
        self, count: int, make: str, insert: str, wanted: Iterable[tuple[Any, ...]], find: str
    ) -> tuple[str, Array]:
        places_N = unknown(count)
        try:
            with self._reading() as index:
                token = sql.token(index)
                index.executescript(make)
                index.executemany(insert, wanted)
                rows = np.fromiter(index.execute(find, (self.refused,)), ROW)
            for kind in np.unique(rows["kind"]).tolist() if self.folder else ():
                self.map(kind, token)[rows["slot"][rows["kind"] == kind].max()]  # IndexError where the file was cut
        except DAMAGE:
            return "", places_N
        for name in PLACE.names or ():
            places_N[name][rows["number"]] = rows[name]
        return token, places_N

    def remembered(self) -> tuple[dict[str, bytes], dict[bytes, int]]:
        """Return what every path held when it was last read, whatever it is now, and each content's remark."""
        if self.folder is None:
            return {}, {}
        try:
            with self._reading() as index:
                files = dict(index.execute("SELECT path, hash FROM files").fetchall())
                return files, dict(index.execute("SELECT hash, remark FROM contents").fetchall())
        except DAMAGE:
            return {}, {}

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if self.folder is None:
            yield sql.memory(self.how.name)
            return
        require_file(self.folder / "index.sqlite")
        address = f"{(self.folder / 'index.sqlite').resolve().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, sql.WAIT_SECONDS, uri=True)) as index:
            index.execute("PRAGMA temp_store=MEMORY")
            yield index


def unknown(count: int) -> Array:
    """Return the PLACE of files that a store does not hold."""
    places_N = np.zeros(count, PLACE)
    places_N["kind"] = -1
    return places_N


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a store for writing; wait for another process that does. The kernel frees it after a kill."""
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

    def __init__(self, store: Store) -> None:
        self.appended_bytes = 0
        self._store, self._data, self._written_at = store, dict[int, Any](), time.monotonic()
        self._index = sql.memory(store.how.name) if store.folder is None else _open(store, store.folder)
        self._token = sql.token(self._index)

    def hashes(self) -> set[bytes]:
        """Return the hashes of all contents that are stored."""
        wanted = "SELECT hash FROM contents WHERE remark & ? = 0"
        return {row[0] for row in self._index.execute(wanted, (self._store.refused,))}

    def name(self, file: File, content_hash: bytes) -> None:
        """Remember what a file holds, whether or not its content can be decoded."""
        columns = "(path, size, mtime_ns, ctime_ns, inode, hash)"
        self._index.execute(f"INSERT OR REPLACE INTO files {columns} VALUES (?,?,?,?,?,?)", (*file, content_hash))

    def add(self, content_hash: bytes, image: Array, remark: int) -> None:
        """Store the image of a content, unless its pixels are there already."""
        kind = KINDS.index((image.dtype.name, image.ndim == 3))
        pixels = hashlib.sha256(image.data).digest()
        slot = 0 if self._store.folder is None else self._slot(kind, image, pixels + bytes([kind]))
        row = (content_hash, kind, slot, remark, sql.proof(content_hash, pixels, kind, remark))
        self._index.execute("INSERT OR REPLACE INTO contents VALUES (?,?,?,?,?)", row)

    def forget(self, token: str, places_N: Array, pixels_N: Sequence[bytes]) -> bool:
        """Take back rows whose slots hold other pixels, of these hashes; tell whether nobody else has done so."""
        if token != self._token:
            return False
        self._index.execute("CREATE TEMP TABLE gone (hash BLOB, kind INTEGER, slot INTEGER, pixels BLOB)")
        places = zip(places_N["hash"], places_N["kind"].tolist(), places_N["slot"].tolist(), pixels_N, strict=True)
        rows = ((content.tobytes(), kind, slot, pixels + bytes([kind])) for content, kind, slot, pixels in places)
        self._index.executemany("INSERT INTO gone VALUES (?,?,?,?)", rows)
        count = self._index.execute(sql.FORGET).rowcount
        self._index.execute(sql.SET_ASIDE)
        self._index.execute("DROP TABLE temp.gone")
        self._index.commit()
        return count > 0

    def _slot(self, kind: int, image: Array, pixels: bytes) -> int:
        if kind not in self._data:
            path = self._store.data_path(kind, self._token)
            path.touch()
            self._data[kind] = path.open("r+b")
            last = self._index.execute("SELECT coalesce(max(slot), -1) FROM slots WHERE kind = ?", (kind,)).fetchone()
            self._data[kind].seek((last[0] + 1) * image.nbytes)
        if row := self._index.execute("SELECT slot FROM slots WHERE pixels = ?", (pixels,)).fetchone():
            self._data[kind].flush()
            if os.pread(self._data[kind].fileno(), image.nbytes, row[0] * image.nbytes) == image.tobytes():
                return int(row[0])
            # its key goes to the new slot, and another row keeps the damaged one from being written again
            self._index.execute(
                "INSERT OR IGNORE INTO slots VALUES (?,?,?)", (b"damaged %d/%d" % (kind, row[0]), kind, row[0])
            )
        slot: int = self._data[kind].tell() // image.nbytes
        self._data[kind].write(image.data)
        self._index.execute("INSERT OR REPLACE INTO slots VALUES (?,?,?)", (pixels, kind, slot))
        self.appended_bytes += image.nbytes
        return slot

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
        if self._store.folder is not None:
            self._index.close()


def _open(store: Store, folder: Path) -> sqlite3.Connection:
    """Open an index; one that is missing, damaged or at odds with its data files is made anew, which is said."""
    path = folder / "index.sqlite"
    there = [path, *folder.glob("index.sqlite-*"), *folder.glob("*.bin")]
    is_new = not any(map(os.path.lexists, there))
    index = None
    try:
        require_file(path)  # opening a pipe would wait for ever
        index = sqlite3.connect(path, sql.WAIT_SECONDS)
        token = sql.token(index)
        if index.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("damaged")
        for kind, last in index.execute("SELECT kind, max(slot) FROM slots GROUP BY kind").fetchall():
            store.map(kind, token)[last]  # IndexError where the file was cut
        sql.tidy(index)
        return index
    except DAMAGE:
        if index is not None:
            index.close()
    for old in there:
        old.unlink(missing_ok=True)  # sets that are open keep their mapping of the old file
    if not is_new:
        print(f"{folder}: this image cache is damaged or cut; it is made anew from the images", file=sys.stderr)
    return sql.created(path)

"""Decode the images that a cache lacks, in parallel, with an estimate first and a progress bar."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sqlite3
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.errors import SpaceError
from pipeline.images.arrays import Window
from pipeline.images.decoding import decode_planes, read_bytes, stored_bytes
from pipeline.images.store import JOIN, File, Found, Shape, Writer, locked, lookup_files
from pipeline.methods.arrays import Array

GB = 1e9
RESERVE_GB = 1.0  # left free on the disk, or a twentieth of a small one
SAMPLE = 48  # files looked at for the estimate
COMMIT_SECONDS = 2.0  # what a kill loses at most
CHUNK = 4  # files per task
NOT_WRITABLE = {"ENOSPC", "EDQUOT", "EACCES", "EROFS", "EPERM", "ENOENT", "ENOTDIR", "EEXIST"}

# without a cache: contents that this process decoded without a defect, for so many channels and this window
_checked: dict[tuple[int, Window | None], dict[File, bytes]] = {}


@dataclass(frozen=True)
class Progress:
    """Say whether a bar is drawn and what stands before it; of several processes only the main one draws."""

    wanted: bool
    label: str

    @property
    def shown(self) -> bool:
        """Tell whether this process draws: launchers number the processes by RANK."""
        return self.wanted and os.environ.get("RANK", "0") == "0"

    def bar(self, total: int) -> tqdm[Any]:
        """Return a bar over images, which also estimates the time left."""
        interval = 0.2 if sys.stderr.isatty() else 10.0
        return tqdm(total=total, desc=self.label, unit=" images", disable=not self.shown, mininterval=interval)

    def say(self, text: str) -> None:
        """Print a line on stderr."""
        if self.shown:
            print(f"{self.label}: {text}", file=sys.stderr)


@dataclass(frozen=True)
class Decoded:
    """Hold one file's result: an image, or nothing where its content is known already, or a reason."""

    number: int
    content_hash: bytes
    image: Array | None
    reason: str


def fill(
    folder: Path,
    max_gb: float | None,
    files: Sequence[File],
    shape_HWC: Shape,
    window: Window | None,
    workers: int,
    progress: Progress,
    defects: dict[int, str],
) -> tuple[Found, int]:
    """Add the files that a store lacks; return what it knows then and how many images were decoded.

    Unreadable files are added to `defects` by number. Raises SpaceError.
    """
    try:
        with locked(folder), contextlib.closing(Writer(folder, shape_HWC)) as writer:
            found = lookup_files(folder, shape_HWC, files)
            missing = [n for n in np.flatnonzero(found.kinds_N < 0).tolist() if n not in defects]
            if not missing:
                return found, 0
            known = writer.hashes()
            allowed = _check_space(folder, max_gb, [files[n] for n in missing], shape_HWC, known, progress)
            decoded = 0
            try:
                with progress.bar(len(missing)) as bar:
                    for one in _decode_all(files, missing, shape_HWC, window, workers, known):
                        decoded += _keep(one, writer, files[one.number], found, defects)
                        if writer.appended_bytes > allowed:
                            raise _too_large(folder, writer.appended_bytes, allowed, len(missing), shape_HWC)
                        writer.commit(COMMIT_SECONDS)
                        bar.update()
                _settle_copies(writer, files, missing, found, defects)
            finally:
                writer.commit()
            found.token = writer.token
            return found, decoded
    except (OSError, sqlite3.Error) as error:
        full = isinstance(error, sqlite3.Error) and "full" in str(error)
        if full or (isinstance(error, OSError) and errno.errorcode.get(error.errno or 0) in NOT_WRITABLE):
            raise SpaceError(
                f"{folder}: cannot be written: {error}; free space, set data.cache.dir to another disk, "
                "or data.cache.dir=null to do without"
            ) from error
        raise


def check_files(
    files: Sequence[File],
    shape_HWC: Shape,
    window: Window | None,
    workers: int,
    progress: Progress,
    defects: dict[int, str],
) -> tuple[Found, int]:
    """Decode all files once without storing them, so that a damaged one is met here and not in an epoch.

    This process does not repeat it for files that did not change.
    """
    checked = _checked.setdefault((shape_HWC[2], window), {})
    missing = [n for n, file in enumerate(files) if n not in defects and file not in checked]
    reasons: dict[bytes, str] = {}
    decoded = 0
    if missing:
        with progress.bar(len(missing)) as bar:
            for one in _decode_all(files, missing, shape_HWC, window, workers, set()):
                decoded += one.image is not None
                if one.reason:
                    defects[one.number] = one.reason
                    reasons[one.content_hash] = one.reason
                else:
                    checked[files[one.number]] = one.content_hash
                bar.update()
    found = Found(len(files))
    for n, file in enumerate(files):
        content_hash = checked.get(file)
        if content_hash is None or n in defects:
            continue
        if content_hash in reasons:
            defects[n] = reasons[content_hash]
            del checked[file]
        else:
            found.hashes_N32[n] = np.frombuffer(content_hash, np.uint8)
    return found, decoded


def _keep(one: Decoded, writer: Writer, file: File, found: Found, defects: dict[int, str]) -> int:
    """Store one result; return how many images it took decoding."""
    found.hashes_N32[one.number] = np.frombuffer(one.content_hash or bytes(32), np.uint8)
    if one.reason:
        defects[one.number] = one.reason
        return 0
    if one.image is None:
        return 0
    found.kinds_N[one.number], found.slots_N[one.number] = writer.add(one.content_hash, one.image)
    writer.name(file, one.content_hash)
    return 1


def _settle_copies(
    writer: Writer, files: Sequence[File], missing: Sequence[int], found: Found, defects: dict[int, str]
) -> None:
    """Point files whose content was met elsewhere to its slot, or give them its defect."""
    reasons = {found.hashes_N32[n].tobytes(): reason for n, reason in defects.items()}
    for n in missing:
        if found.kinds_N[n] < 0 and n not in defects:
            content_hash = found.hashes_N32[n].tobytes()
            place = writer.known(content_hash)
            if place is None:
                defects[n] = reasons[content_hash]
            else:
                found.kinds_N[n], found.slots_N[n] = place
                writer.name(files[n], content_hash)


def _decode_all(
    files: Sequence[File],
    numbers: Sequence[int],
    shape_HWC: Shape,
    window: Window | None,
    workers: int,
    known: set[bytes],
) -> Iterator[Decoded]:
    """Yield results in the order of `numbers`; each content is decoded once, those in `known` never."""
    guard = threading.Lock()

    def one(number: int) -> Decoded:
        content_hash = b""
        try:
            contents = read_planes(files[number])
            content_hash = hash_of(contents)
            with guard:
                new = content_hash not in known
                known.add(content_hash)
            image = _slim(decode_planes(contents, shape_HWC[:2], shape_HWC[2], window)) if new else None
            return Decoded(number, content_hash, image, "")
        except ValueError as error:
            return Decoded(number, content_hash, None, str(error))

    with ThreadPoolExecutor(workers, "decode") as pool:
        pending: deque[Future[list[Decoded]]] = deque()
        work: Callable[[Sequence[int]], list[Decoded]] = lambda chunk: [one(number) for number in chunk]  # noqa: E731
        try:
            for start in range(0, len(numbers), CHUNK):
                pending.append(pool.submit(work, numbers[start : start + CHUNK]))
                if len(pending) > 3 * workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def read_planes(file: File) -> list[bytes]:
    """Return the contents of an image's files; raise ValueError with the reason where there is none."""
    return [read_bytes(path) for path in file[0].split(JOIN)]


def hash_of(contents: Sequence[bytes]) -> bytes:
    """Return the SHA-256 of a file's content; of several files, that of their hashes in order."""
    hashes = [hashlib.sha256(content).digest() for content in contents]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(b"".join(hashes)).digest()


def _slim(image: Array) -> Array:
    """Return one channel where all are equal, in one piece of memory."""
    if image.ndim == 3:
        first = image[..., 0]
        middle = image.shape[0] // 2  # a look at one row spares most colour images the rest
        if (image[middle] == first[middle, :, None]).all() and (image == first[..., None]).all():
            image = first
    return np.ascontiguousarray(image)


def _check_space(
    folder: Path,
    max_gb: float | None,
    files: Sequence[File],
    shape_HWC: Shape,
    known: set[bytes],
    progress: Progress,
) -> float:
    """Return the bytes that may be added; raise SpaceError where a sample says that the files need more."""
    height, width, channels = shape_HWC
    sampled = [files[n] for n in np.linspace(0, len(files) - 1, min(SAMPLE, len(files))).astype(int)]
    needed = float(np.mean([_pixel_bytes(file, channels, known) for file in sampled])) * height * width * len(files)
    disk = shutil.disk_usage(folder)
    allowed = disk.free - min(RESERVE_GB * GB, disk.total / 20)
    if max_gb is not None:
        used = sum(path.stat().st_size for path in folder.parent.rglob("*") if path.is_file())
        allowed = min(allowed, max_gb * GB - used)
    if needed > allowed:
        raise _too_large(folder, needed, allowed, len(files), shape_HWC)
    progress.say(f"{len(files):,} files at {height}x{width}, about {needed / GB:.3f} GB in {folder.parent}")
    return allowed


def _pixel_bytes(file: File, channels: int, known: set[bytes]) -> int:
    """Return the bytes per pixel that a file will add to the store."""
    try:
        contents = read_planes(file)
    except ValueError:
        return 0
    return 0 if hash_of(contents) in known else stored_bytes(contents, channels)


def _too_large(folder: Path, needed: float, allowed: float, count: int, shape_HWC: Shape) -> SpaceError:
    return SpaceError(
        f"{folder.parent}: {count:,} images at {shape_HWC[0]}x{shape_HWC[1]} need about {needed / GB:.3f} GB, "
        f"{max(0.0, allowed) / GB:.3f} GB may be added; raise data.cache.max_gb, "
        "set data.cache.dir to another disk, lower data.cache.size, or data.cache.dir=null to do without"
    )

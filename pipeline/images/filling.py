"""Decode the images that a store lacks, in parallel, with an estimate first and a progress bar."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import shutil
import sqlite3
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from pipeline.competition.image_paths import Source
from pipeline.errors import Problem, SpaceError
from pipeline.files.atomic import UNWRITABLE
from pipeline.images.decoding import boxes, decode_files, memory_for, read_bytes, stored_bytes
from pipeline.images.read_as import ReadAs
from pipeline.images.remarks import Remark
from pipeline.images.store import JOIN, File, Store, Writer, locked
from pipeline.methods.arrays import Array

GB = 1e9
RESERVE_GB = 1.0  # left free on the disk, or a twentieth of a small one
SAMPLE = 48  # files looked at for the estimate
COMMIT_SECONDS = 2.0  # what a kill loses at most


class Decoded(NamedTuple):
    """Hold one file's result: an image, or nothing where its content was met before, or why there is none."""

    number: int
    content_hash: bytes
    image: Array | None
    remark: Remark
    reason: str


def fill(
    store: Store, files: Sequence[File], defects: dict[int, str], max_gb: float | None, workers: int, label: str | None
) -> tuple[int, str, Array]:
    """Add the files that a store lacks; return how many images were decoded, and what `lookup` finds then.

    Unreadable files are added to `defects` by number. Without a label no bar is drawn. Raises SpaceError.
    """
    if (known_already := _by_content(store, files, defects, workers)) is not None:
        return 0, *known_already
    decoded, reasons = 0, dict[bytes, str]()
    copies: dict[int, bytes] = {}  # files whose content was met before, and may turn out unreadable
    with _held(store.folder), contextlib.closing(Writer(store)) as writer:
        missing = lacking(store.lookup(files)[1], defects)
        known = writer.hashes()
        allowed = _check_space(store, max_gb, [files[n] for n in missing], known, label) if missing else math.inf
        interval = 0.2 if sys.stderr.isatty() else 10.0
        hidden = label is None or not missing
        try:
            with tqdm(total=len(missing), desc=label, unit=" images", disable=hidden, mininterval=interval) as bar:
                for number, content_hash, image, remark, reason in _decode_all(store, files, missing, known, workers):
                    if reason:
                        defects[number] = reasons[content_hash] = reason
                    else:
                        writer.name(files[number], content_hash)
                    if image is not None:
                        writer.add(content_hash, image, int(remark))
                        decoded += 1
                    elif not reason:
                        copies[number] = content_hash
                    if writer.appended_bytes > allowed:
                        raise _too_large(store, writer.appended_bytes, allowed, len(missing))
                    writer.commit(COMMIT_SECONDS)
                    bar.update()
        finally:
            writer.commit()
        defects |= {number: reasons[content] for number, content in copies.items() if content in reasons}
        return decoded, *store.lookup(files)


def _by_content(store: Store, files: Sequence[File], defects: dict[int, str], workers: int) -> tuple[str, Array] | None:
    """Return what `lookup` would find of a read-only store if it could note the files' new paths, ctimes and inodes.

    A cache that is mounted as a data set was filled elsewhere. None where it can be written, or lacks an image.
    """
    if store.folder is None or not store.folder.is_dir() or os.access(store.folder, os.W_OK):
        return None
    token, places_N = store.lookup(files)
    missing = lacking(places_N, defects)
    with ThreadPoolExecutor(workers, "hash") as pool:
        hashes = list(pool.map(lambda number: _content_hash(_source(files[number])), missing))
    token, places_N[missing] = store.lookup_contents(hashes)
    return None if lacking(places_N, defects) else (token, places_N)


def _content_hash(source: Source) -> bytes:
    try:
        return hash_of([read_bytes(path) for path in source], source)
    except ValueError:
        return b""  # known to no store


def forget(store: Store, token: str, places_A: Array, pixels_A: Sequence[bytes]) -> bool:
    """Take back what a store says of images whose slots hold other pixels, so that they are decoded again.

    Returns whether another process has not done so already. Raises SpaceError.
    """
    with _held(store.folder), contextlib.closing(Writer(store)) as writer:
        return writer.forget(token, places_A, pixels_A)


@contextlib.contextmanager
def _held(folder: Path | None) -> Iterator[None]:
    """Hold the store for writing; raise SpaceError where that cannot be."""
    try:
        with locked(folder) if folder else contextlib.nullcontext():
            yield
    except (OSError, sqlite3.Error) as error:
        if getattr(error, "errno", None) in UNWRITABLE | {errno.ENOENT} or "disk is full" in str(error):
            remedy = "free space, set data.cache.dir to another disk, or data.cache.dir=null to do without"
            raise SpaceError(
                Problem(str(folder), f"cannot be written: {getattr(error, 'strerror', None) or error}", remedy=remedy)
            ) from error
        raise


def lacking(places_N: Array, defects: dict[int, str]) -> list[int]:
    """Return the numbers of the files that a store does not know, but for those that cannot be read."""
    return [n for n in np.flatnonzero(places_N["kind"] < 0).tolist() if n not in defects]


def _decode_all(
    store: Store, files: Sequence[File], numbers: Sequence[int], known: set[bytes], workers: int
) -> Iterator[Decoded]:
    """Yield results in the order of `numbers`; each content is decoded once, those in `known` never."""
    guard = threading.Lock()

    def one(number: int) -> Decoded:
        content_hash = b""
        try:
            source = _source(files[number])
            with memory_for(source):
                contents = [read_bytes(path) for path in source]
            content_hash = hash_of(contents, source)
            with guard:
                new = content_hash not in known
                known.add(content_hash)
            if not new:
                return Decoded(number, content_hash, None, Remark.NONE, "")
            with memory_for(source):
                image, remark = decode_files(contents, boxes(source), store.size_hw, store.how)
                return Decoded(number, content_hash, _slim(image), remark, "")
        except ValueError as error:
            return Decoded(number, content_hash, None, Remark.NONE, str(error))

    with ThreadPoolExecutor(workers, "decode") as pool:
        pending: deque[Future[Decoded]] = deque()
        try:
            for number in numbers:
                pending.append(pool.submit(one, number))
                if len(pending) > 12 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _source(file: File) -> Source:
    """Return the paths of an image."""
    return tuple(file[0].split(JOIN))


def hash_of(contents: Sequence[bytes], source: Source) -> bytes:
    """Return the SHA-256 of a file's content; of several files, or of boxes in them, that of their hashes in order."""
    hashes = [hashlib.sha256(content).digest() for content in contents]
    texts = [f"{box}".encode() for box in boxes(source) if box is not None]
    return hashes[0] if len(hashes) == 1 and not texts else hashlib.sha256(b"".join([*hashes, *texts])).digest()


def _slim(image: Array) -> Array:
    """Return one channel where all are equal, in one piece of memory."""
    if image.ndim == 3:
        first = image[..., 0]
        middle = image.shape[0] // 2  # a look at one row spares most colour images the rest
        if (image[middle] == first[middle, :, None]).all() and (image == first[..., None]).all():
            image = first
    return np.ascontiguousarray(image)


def _check_space(
    store: Store, max_gb: float | None, files: Sequence[File], known: set[bytes], label: str | None
) -> float:
    """Return the bytes that may be added; raise SpaceError where a sample says that the files need more."""
    if store.folder is None:
        return math.inf
    height, width = store.size_hw
    sampled = [files[n] for n in np.linspace(0, len(files) - 1, min(SAMPLE, len(files))).astype(int)]
    needed = float(np.mean([_pixel_bytes(file, store.how, known) for file in sampled])) * height * width * len(files)
    disk, cache = shutil.disk_usage(store.folder), store.folder.parent
    allowed = disk.free - min(RESERVE_GB * GB, disk.total / 20)
    if max_gb is not None:
        allowed = min(allowed, max_gb * GB - sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()))
    if needed > allowed:
        raise _too_large(store, needed, allowed, len(files))
    if label is not None:
        text = f"{label}: {len(files):,} files at {height}x{width}, about {needed / GB:.3f} GB in {cache}"
        print(text, file=sys.stderr)
    return allowed


def _pixel_bytes(file: File, how: ReadAs, known: set[bytes]) -> int:
    """Return the bytes per pixel that a file will add to the store."""
    source = _source(file)
    try:
        contents = [read_bytes(path) for path in source]
    except ValueError:
        return 0
    return 0 if hash_of(contents, source) in known else stored_bytes(contents, how)


def _too_large(store: Store, needed: float, allowed: float, count: int) -> SpaceError:
    (height, width), folder = store.size_hw, store.folder or Path()
    found = (
        f"{count:,} images at {height}x{width} need about {needed / GB:.3f} GB, {max(0.0, allowed) / GB:.3f} GB may "
        "be added"
    )
    remedy = (
        "raise data.cache.max_gb, set data.cache.dir to another disk, lower data.cache.size, "
        "or data.cache.dir=null to do without"
    )
    return SpaceError(Problem(str(folder.parent), found, remedy=remedy))

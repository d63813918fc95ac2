"""Compare what a cache holds with the hashes kept when it was decoded, and have what differs decoded again.

A job does so once, when it opens images to train on or to predict. Each row's proof is taken from a file's content,
its pixels, their kind and its remark, so that neither damaged pixels nor a row that points elsewhere are believed.
Pixels are read here, not mapped: a block that the disk cannot read is an error then, and no signal that kills.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.competition.image_paths import Source
from pipeline.config.config import Config
from pipeline.errors import MismatchError, Problem
from pipeline.images import filling
from pipeline.images.cache import ImageSet, open_config
from pipeline.images.index import proof
from pipeline.images.store import Store
from pipeline.machine.processes import cores, is_main
from pipeline.methods.arrays import Array

BLOCK = 4 << 20  # bytes that are read at once
TRIES = 3
QUICK_SECONDS = 3.0  # within which no bar is drawn


def open_verified(config: Config, sources: Sequence[Source], label: str = "") -> ImageSet:
    """Open images as `open_config` does, and verify them."""
    return verified(open_config(config, sources, label), config, sources, label)


def verified(images: ImageSet, config: Config, sources: Sequence[Source], label: str = "") -> ImageSet:
    """Return the images that were opened of `sources` as they were decoded: those that differ are decoded again.

    That is said. Raises MismatchError where the disk gives back other bytes than were written, and as `open_config`.
    """
    for _ in range(TRIES):
        wrong_A, pixels_A = differing(images, label)
        if not len(wrong_A):
            return images
        if filling.forget(images.store, images.token, images.places_N[wrong_A], pixels_A):
            first = ", ".join(sources[int(wrong_A[0])])
            found = f"{len(wrong_A)} of {len(images)} images are not as they were decoded"
            print(f"{images.store.folder}: {found}; they are decoded again, first {first}", file=sys.stderr)
        again = open_config(config, sources, label)
        again.decoded += images.decoded
        again.skipped = images.skipped
        images = again
    remedy = "check disk and memory, or set data.cache.dir to another disk"
    raise MismatchError(Problem(str(images.store.folder), "it gives back other bytes than were written", remedy=remedy))


def differing(images: ImageSet, label: str = "") -> tuple[Array, list[bytes]]:
    """Return the numbers of the images that are not as they were decoded, [A], and the hashes of what is there."""
    if images.store.folder is None:
        return np.empty(0, np.int64), []
    places_N, found = images.places_N, dict[int, bytes]()
    there = np.flatnonzero(~images.absent_N)
    shown = label and is_main()
    with tqdm(total=len(there), desc=f"verify {label}", unit=" images", disable=not shown, delay=QUICK_SECONDS) as bar:
        for kind in np.unique(places_N["kind"][there]).tolist():
            numbers = there[places_N["kind"][there] == kind]
            slots, which = np.unique(places_N["slot"][numbers], return_inverse=True)
            hashes = [one for some in _hashes(images.store, kind, images.token, slots, bar) for one in some]
            for number, place, slot in zip(numbers.tolist(), places_N[numbers], which.tolist(), strict=True):
                told = proof(place["hash"].tobytes(), hashes[slot], kind, int(place["remark"]))
                if told != place["proof"].tobytes():
                    found[number] = hashes[slot]
    wrong = sorted(found)
    return np.asarray(wrong, np.int64), [found[number] for number in wrong]


def _hashes(store: Store, kind: int, token: str, slots: Array, bar: tqdm[Any]) -> Iterator[list[bytes]]:
    """Yield the SHA-256 of the slots, which are sorted, in their order; of what is not there, that of nothing."""
    size = store.slot_bytes(kind)
    ends = np.flatnonzero(np.diff(slots // max(1, BLOCK // size))) + 1

    def read(part: Array) -> list[bytes]:
        first = int(part[0])
        try:
            block = memoryview(os.pread(stream, (int(part[-1]) - first + 1) * size, first * size))
        except OSError:  # a bad block, a slot below zero
            block = memoryview(b"")
        return [hashlib.sha256(block[at : at + size]).digest() for at in ((part - first) * size).tolist()]

    try:
        stream = os.open(store.data_path(kind, token), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield [hashlib.sha256().digest()] * len(slots)
        return
    with ThreadPoolExecutor(cores(), "verify") as pool:
        try:
            for part in pool.map(read, np.split(slots, ends)):
                bar.update(len(part))
                yield part
        finally:
            pool.shutdown(cancel_futures=True)
            os.close(stream)

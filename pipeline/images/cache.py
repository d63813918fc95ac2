"""Open images through a cache of decoded, resized pixels, shared by folds, epochs, views, runs and trials.

`open_images` looks every file up by path, size, mtime, ctime and inode, so that a second open reads no file. What
is not known is read, and decoded unless its content (SHA-256) is; threads do it, since Pillow, OpenCV and the hash
work outside the interpreter's lock and threads leave no orphans behind when the job is killed. Gray images
are stored with one channel. Without a folder (`cache.dir: null`) every access decodes.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.competition.image_paths import Source
from pipeline.config.config import Config
from pipeline.config.sections.data_items import Cache
from pipeline.errors import InputError, MismatchError, Problem
from pipeline.files import archives, parts
from pipeline.files.checksums import identity
from pipeline.images import filling, remarks
from pipeline.images.decoding import as_source, blank, decode, decode_source, spread
from pipeline.images.read_as import USUAL, ReadAs
from pipeline.images.remarks import READ_ANEW, Remark
from pipeline.images.store import JOIN, File, Store, unknown
from pipeline.machine.processes import cores, is_main
from pipeline.methods.arrays import Array


def size_for(config: Config) -> tuple[int, int]:
    """Return the (height, width) to cache: `data.cache.size`, where `auto` is the model's size."""
    size = config.data.cache.size
    if size == "auto":
        return config.model.size_hw
    return (size, size) if isinstance(size, int) else size


def open_config(config: Config, sources: Sequence[Source], label: str = "", *, progress: bool = True) -> ImageSet:
    """Open images as a config asks for them: their size, how they are read, and what `data.missing` says."""
    data = config.data
    return open_images(
        sources,
        size_for(config),
        data.cache,
        how=ReadAs.of(data),
        skip=data.missing == "skip",
        progress=progress,
        label=label,
    )


def decode_config(config: Config, source: Source) -> tuple[Array, Remark]:
    """Decode one image as `open_config` would, past the cache; raise ValueError where it cannot be read."""
    return decode_source(source, size_for(config), ReadAs.of(config.data))


class ImageSet:
    """Hold images of one size: `len(images)`, `images[i] -> HxWxC` uint8 or uint16, a fresh array each time.

    Images that are not there, or that `skip` passed over, are mid-gray; `absent_N` tells which, `skipped` why.
    `notes` say what decoding took for granted, a line for each kind. Small when pickled: arrays, no pixels; another
    process maps the cache itself.
    """

    def __init__(self, store: Store, token: str, places_N: Array, sources: Sequence[Source]) -> None:
        self.store, self.absent_N = store, places_N["kind"] < 0
        self.decoded = 0  # by opening them
        self.skipped: dict[str, str] = {}  # path -> why it cannot be read
        self.notes: list[str] = []
        self.others: tuple[ImageSet, ...] = ()  # the same images at the sizes that training begins with
        self.token, self.places_N = token, places_N
        self._sources = sources if store.folder is None else ()
        self._maps: dict[int, Array] = {}

    def __len__(self) -> int:
        return len(self.places_N)

    def __getitem__(self, number: int) -> Array:
        height, width, channels = self.store.shape_HWC
        if self.absent_N[number]:
            return blank((height, width), channels)
        image = self._pixels(number)
        return spread(np.asarray(image), channels) if image.ndim == 2 else np.array(image)

    def _pixels(self, number: int) -> Array:
        """Return an image that is there as the store holds it, gray ones [H,W]."""
        if self.store.folder is None:
            height, width = self.store.size_hw
            source = self._sources[number]
            try:
                return decode(source, (height, width), self.store.how)
            except ValueError as error:
                found = f"{error}; it was readable when the job began"
                raise InputError(Problem(", ".join(source), found)) from None
        kind, slot = (int(self.places_N[name][number]) for name in ("kind", "slot"))
        if kind not in self._maps:
            try:
                self._maps[kind] = self.store.map(kind, self.token)
            except (OSError, ValueError):
                raise _remade(self.store) from None
        image: Array = self._maps[kind][slot]
        return image

    def is_blank(self, number: int) -> bool:
        """Tell whether an image is there and shows one colour alone."""
        if self.absent_N[number]:
            return False
        image = self._pixels(number)
        return bool((image[0] == image[0, 0]).all() and (image == image[0, 0]).all())  # one row tells of most

    @property
    def contents_N(self) -> Array:
        """Return the SHA-256 of each image's content, all planes of it, [N] S32; zeros where there is none."""
        return np.ascontiguousarray(self.places_N["hash"]).view("S32")

    def take(self, indices: Sequence[int] | Array) -> ImageSet:
        """Return the images at `indices` as a set of their own, without copying pixels."""
        at, taken = np.asarray(indices, dtype=np.int64), copy.copy(self)
        taken.places_N, taken.absent_N = self.places_N[at], self.absent_N[at]
        taken._sources = [self._sources[number] for number in at.tolist()] if self._sources else ()
        taken.others = tuple(other.take(at) for other in self.others)
        return taken

    def digest(self, ids: Iterable[str]) -> str:
        """Return the SHA-256 over the sorted (id, hash of its file's content) and how they are read.

        Neither the order of the rows nor the files' names matter; two ids that swap their images do. Files that an
        earlier version read otherwise are told apart.
        """
        anew_N = self.places_N["remark"] & int(READ_ANEW)
        rows = zip(map(str, ids), self.places_N["hash"], anew_N.tolist(), strict=True)
        lines = sorted(
            json.dumps([name, hash_.tobytes().hex(), *([anew] if anew else [])]) for name, hash_, anew in rows
        )
        read_as = self.store.how.name
        return hashlib.sha256("\n".join([read_as, *lines] if read_as else lines).encode()).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}


def open_images(
    sources: Sequence[Source | Path | str],
    size_hw: tuple[int, int],
    cache: Cache,
    *,
    how: ReadAs = USUAL,
    skip: bool = False,
    workers: int | None = None,
    progress: bool = True,
    label: str = "",
) -> ImageSet:
    """Open images at `size_hw`, decoding what the cache does not hold, with a progress bar on stderr.

    A source without a path is mid-gray, and with `skip` so are the unreadable ones, listed in `skipped`; without
    it they raise InputError, all of them after all were tried. Raises SpaceError before anything is decoded where
    the result would not fit. A kill loses at most the last seconds; a second process that fills the same cache
    waits for the first and then finds its images.
    """
    every = [as_source(source) for source in sources]
    there = np.flatnonzero([bool(source) for source in every])
    files, defects = _stat([every[n] for n in there])
    store = Store.at(cache.dir, size_hw, how)
    token, found = store.lookup(files)
    decoded = 0
    if filling.lacking(found, defects):
        label = label or ("check images" if store.folder is None else "cache images")
        shown = label if progress and is_main() else None
        decoded, token, found = filling.fill(store, files, defects, cache.max_gb, workers or cores(), shown)
        if filling.lacking(found, defects):
            raise _remade(store)
    reasons = {", ".join(every[there[n]]): reason for n, reason in sorted(defects.items())}
    if reasons and not skip:
        raise InputError(*(Problem(path, reason, remedy=_remedy(reason)) for path, reason in reasons.items()))
    places_N = unknown(len(every))
    places_N[there] = found
    images = ImageSet(store, token, places_N, every)
    images.decoded, images.skipped = decoded, reasons
    images.notes = remarks.notes(places_N["remark"], every, label or "images")
    return images


def lacking(config: Config, sources: Sequence[Source | Path | str]) -> list[Source]:
    """Return the images that opening them would decode, without reading, locking or writing anything."""
    data = config.data
    there = [source for source in map(as_source, sources) if source]
    if data.cache.dir is None:
        return there
    store = Store.at(data.cache.dir, size_for(config), ReadAs.of(data))
    _, found = store.lookup(_stat(there)[0])
    return [source for source, kind in zip(there, found["kind"].tolist(), strict=True) if kind < 0]


def _remedy(reason: str) -> str:
    remedy = "replace the file or take its row out of the table"
    return f"{remedy}; data.truncated=decode reads it as far as it goes" if "is truncated" in reason else remedy


def _remade(store: Store) -> MismatchError:
    found = "the image cache was deleted or remade meanwhile"
    return MismatchError(Problem(str(store.folder), found, remedy="run again"))


def _stat(sources: Sequence[Source]) -> tuple[list[File], dict[int, str]]:
    """Return paths and status of every image's files together, and what is wrong by number.

    A file that was replaced by one of the same size and time has another inode or ctime, which nobody can set.
    """
    files: list[File] = []
    defects: dict[int, str] = {}
    for number, source in enumerate(sources):
        names = [path if path.startswith("/") else os.path.abspath(path) for path in source]
        size = mtime = ctime = inode = -1
        try:
            found = [identity(_status(parts.file_of(name))) for name in names]
            sizes, mtimes, ctimes, inodes = zip(*found, strict=True)
            size, mtime, ctime, inode = sum(sizes), max(mtimes), max(ctimes), sum(inodes) % 2**63
        except OSError as error:
            defects[number] = f"cannot be read: {error.strerror}"
        files.append((JOIN.join(names), size, mtime, ctime, inode))
    return files, defects


def _status(name: str) -> os.stat_result:
    """Return a file's status, or that of the archive it lies in."""
    try:
        return os.stat(name)
    except NotADirectoryError:
        if inside := archives.split(name):
            return os.stat(inside[0])
        raise

"""Open images through a cache of decoded, resized pixels, shared by folds, epochs, views, runs and trials.

`open_images` looks every file up by path, size and mtime, so that a second open reads no file. What is not
known is read, and decoded unless its content (SHA-256) is; threads do it, since Pillow, OpenCV and the hash
work outside the interpreter's lock and threads leave no orphans behind when the job is killed. Gray images
are stored with one channel. Without a folder (`cache.dir: null`) every access decodes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.competition.image_paths import Source
from pipeline.config.config import Config
from pipeline.config.sections.data import Cache
from pipeline.errors import InputError, MismatchError
from pipeline.files import archives
from pipeline.images.arrays import Window
from pipeline.images.decoding import DECODE_VERSION, as_source, blank, decode, spread
from pipeline.images.filling import Progress, check_files, fill
from pipeline.images.store import JOIN, File, Found, Shape, lookup_files, map_slots
from pipeline.machine.processes import cores
from pipeline.methods.arrays import Array


def size_for(config: Config) -> tuple[int, int]:
    """Return the (height, width) to cache: `data.cache.size`, where `auto` is the model's size."""
    size = config.data.cache.size
    if size == "auto":
        return config.model.size_hw
    return (size, size) if isinstance(size, int) else size


def open_config(config: Config, sources: Sequence[Source], label: str = "", *, progress: bool = True) -> ImageSet:
    """Open images as a config asks for them: its size, channels, window, and what `data.missing` says."""
    data = config.data
    return open_images(
        sources,
        size_for(config),
        data.cache,
        channels=data.in_chans,
        window=data.window,
        skip=data.missing == "skip",
        progress=progress,
        label=label,
    )


def decode_config(config: Config, source: Source) -> Array:
    """Decode one image as `open_config` would, past the cache; raise ValueError where it cannot be read."""
    return decode(source, size_for(config), config.data.in_chans, config.data.window)


class ImageSet:
    """Hold images of one size: `len(images)`, `images[i] -> HxWxC` uint8 or uint16, a fresh array each time.

    Images that are not there, or that `skip` passed over, are mid-gray; `absent_N` tells which, `skipped` why.
    Small when pickled: arrays, no pixels; another process maps the cache itself.
    """

    def __init__(
        self,
        folder: Path | None,
        shape_HWC: Shape,
        window: Window | None,
        found: Found,
        sources: Sequence[Source],
        absent_N: Array,
    ) -> None:
        self.folder, self.shape_HWC, self.window = folder, shape_HWC, window
        self.absent_N = absent_N
        self.decoded = 0  # by opening them
        self.skipped: dict[str, str] = {}  # path -> why it cannot be read
        self.others: tuple[ImageSet, ...] = ()  # the same images at the sizes that training begins with
        self._found, self._sources = found, sources  # sources: only where every access decodes
        self._maps: dict[int, Array] = {}

    def __len__(self) -> int:
        return len(self._found.kinds_N)

    def __getitem__(self, number: int) -> Array:
        height, width, channels = self.shape_HWC
        if self.absent_N[number]:
            return blank((height, width), channels)
        if self.folder is None:
            source = self._sources[number]
            try:
                return decode(source, (height, width), channels, self.window)
            except ValueError as error:
                raise InputError(f"{', '.join(source)}: {error}; it was readable when the job began") from None
        kind = int(self._found.kinds_N[number])
        if kind not in self._maps:
            self._maps[kind] = self._map(kind)
        image = self._maps[kind][self._found.slots_N[number]]
        return spread(np.asarray(image), channels) if image.ndim == 2 else np.array(image)

    def _map(self, kind: int) -> Array:
        assert self.folder is not None
        try:
            return map_slots(self.folder, kind, self._found.token, self.shape_HWC)
        except (OSError, ValueError):
            raise MismatchError(f"{self.folder}: the image cache was deleted or remade meanwhile; run again") from None

    def take(self, indices: Sequence[int] | Array) -> ImageSet:
        """Return the images at `indices` as a set of their own, without copying pixels."""
        at = np.asarray(indices, dtype=np.int64)
        found = Found(len(at), self._found.token)
        found.kinds_N, found.slots_N = self._found.kinds_N[at], self._found.slots_N[at]
        found.hashes_N32 = self._found.hashes_N32[at]
        sources = [self._sources[number] for number in at.tolist()] if self.folder is None else ()
        taken = ImageSet(self.folder, self.shape_HWC, self.window, found, sources, self.absent_N[at])
        taken.skipped = self.skipped
        taken.others = tuple(other.take(at) for other in self.others)
        return taken

    def digest(self, ids: Iterable[str]) -> str:
        """Return the SHA-256 over the sorted (id, hash of its file's content), channels and window.

        Neither the order of the rows nor the files' names matter; two ids that swap their images do.
        """
        pairs = zip(map(str, ids), self._found.hashes_N32, strict=True)
        lines = sorted(json.dumps([name, content.tobytes().hex()]) for name, content in pairs)
        read_as = _read_as(self.shape_HWC[2], self.window)
        return hashlib.sha256("\n".join([read_as, *lines] if read_as else lines).encode()).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}


def open_images(
    sources: Sequence[Source | Path | str],
    size_hw: tuple[int, int],
    cache: Cache,
    *,
    channels: int = 3,
    window: Window | None = None,
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
    shape_HWC = (int(size_hw[0]), int(size_hw[1]), channels)
    every = [as_source(source) for source in sources]
    there = np.flatnonzero([bool(source) for source in every])
    files, defects = _stat([every[n] for n in there])
    folder = None if cache.dir is None else store_folder(cache.dir, size_hw, channels, window)
    jobs = workers or cores()
    if folder is None:
        bar = Progress(progress, label or "check images")
        known, decoded = check_files(files, shape_HWC, window, jobs, bar, defects)
    else:
        known, decoded = lookup_files(folder, shape_HWC, files), 0
        if any(n not in defects for n in np.flatnonzero(known.kinds_N < 0).tolist()):
            bar = Progress(progress, label or "cache images")
            known, decoded = fill(folder, cache.max_gb, files, shape_HWC, window, jobs, bar, defects)
    reasons = {", ".join(every[there[n]]): reason for n, reason in sorted(defects.items())}
    if reasons and not skip:
        raise InputError(
            *(f"{path}: {why}; replace the file or take its row out of the table" for path, why in reasons.items())
        )
    damaged = np.array(sorted(defects), dtype=np.int64)
    known.hashes_N32[damaged] = 0
    absent_N = np.ones(len(every), dtype=bool)
    absent_N[np.delete(there, damaged)] = False
    found = Found(len(every), known.token)
    found.kinds_N[there], found.slots_N[there] = known.kinds_N, known.slots_N
    found.hashes_N32[there] = known.hashes_N32
    images = ImageSet(folder, shape_HWC, window, found, every if folder is None else (), absent_N)
    images.decoded, images.skipped = decoded, reasons
    return images


def lacking(config: Config, sources: Sequence[Source | Path | str]) -> list[Source]:
    """Return the images that opening them would decode, without reading, locking or writing anything."""
    cache, (height, width), channels = config.data.cache, size_for(config), config.data.in_chans
    there = [source for source in map(as_source, sources) if source]
    if cache.dir is None:
        return there
    folder = store_folder(cache.dir, (height, width), channels, config.data.window)
    found = lookup_files(folder, (height, width, channels), _stat(there)[0])
    return [source for source, kind in zip(there, found.kinds_N.tolist(), strict=True) if kind < 0]


def store_folder(cache_dir: str, size_hw: tuple[int, int], channels: int = 3, window: Window | None = None) -> Path:
    """Return the folder that holds the images of one size, number of channels and window."""
    read_as = _read_as(channels, window)
    return Path(cache_dir).absolute() / f"{size_hw[0]}x{size_hw[1]}-v{DECODE_VERSION}{read_as and '-'}{read_as}"


def _read_as(channels: int, window: Window | None) -> str:
    """Name channels and window where they are not the usual ones, which old caches and digests do not name."""
    names = [f"c{channels}"] if channels != 3 else []
    return "-".join([*names, f"w{window[0]:g}_{window[1]:g}"] if window is not None else names)


def _stat(sources: Sequence[Source]) -> tuple[list[File], dict[int, str]]:
    """Return (paths, size, mtime_ns) of every image's files together, and what is wrong by number."""
    files: list[File] = []
    defects: dict[int, str] = {}
    known: dict[str, os.stat_result] = {}  # of archives
    for number, source in enumerate(sources):
        names = [path if path.startswith("/") else os.path.abspath(path) for path in source]
        try:
            found = [_status(name, known) for name in names]
        except OSError as error:
            defects[number] = f"cannot be read: {error.strerror}"
            files.append((JOIN.join(names), -1, -1))
        else:
            newest = max(status.st_mtime_ns for status in found)
            files.append((JOIN.join(names), sum(status.st_size for status in found), newest))
    return files, defects


def _status(name: str, known: dict[str, os.stat_result]) -> os.stat_result:
    """Return a file's status, or that of the archive it lies in."""
    try:
        return os.stat(name)
    except NotADirectoryError:
        inside = archives.split(name)
        if inside is None:
            raise
    if inside[0] not in known:
        known[inside[0]] = os.stat(inside[0])
    return known[inside[0]]

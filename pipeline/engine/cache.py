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

from pipeline.contracts.config import Cache, Config
from pipeline.contracts.errors import InputError, MismatchError
from pipeline.engine.cores import cores
from pipeline.engine.fill import Progress, check_files, fill
from pipeline.engine.images import DECODE_VERSION, decode, rgb
from pipeline.engine.store import File, Found, lookup_files, map_slots

Array = np.ndarray[Any, np.dtype[Any]]


def size_for(config: Config) -> tuple[int, int]:
    """Return the (height, width) to cache: `data.cache.size`, where `auto` is the model's size."""
    size = config.data.cache.size
    if size == "auto":
        return config.model.size_hw
    return (size, size) if isinstance(size, int) else size


class ImageSet:
    """Hold images of one size: `len(images)`, `images[i] -> HxWx3` uint8 or uint16, a fresh array each time.

    Small when pickled: arrays, no pixels; another process maps the cache itself.
    """

    def __init__(
        self, folder: Path | None, size_hw: tuple[int, int], found: Found, paths: Sequence[str], decoded: int
    ) -> None:
        self.folder, self.size_hw, self.decoded = folder, size_hw, decoded
        self._found, self._paths = found, paths  # paths: only where every access decodes
        self._maps: dict[int, Array] = {}

    def __len__(self) -> int:
        return len(self._found.kinds_N)

    def __getitem__(self, number: int) -> Array:
        if self.folder is None:
            try:
                return decode(Path(self._paths[number]), self.size_hw)
            except ValueError as error:
                raise InputError(f"{self._paths[number]}: {error}; it was readable when the job began") from None
        kind = int(self._found.kinds_N[number])
        if kind not in self._maps:
            self._maps[kind] = self._map(kind)
        image = self._maps[kind][self._found.slots_N[number]]
        return rgb(np.asarray(image)) if image.ndim == 2 else np.array(image)

    def _map(self, kind: int) -> Array:
        assert self.folder is not None
        try:
            return map_slots(self.folder, kind, self._found.token, self.size_hw)
        except (OSError, ValueError):
            raise MismatchError(f"{self.folder}: the image cache was deleted or remade meanwhile; run again") from None

    def take(self, indices: Sequence[int] | Array) -> ImageSet:
        """Return the images at `indices` as a set of their own, without copying pixels."""
        at = np.asarray(indices, dtype=np.int64)
        found = Found(len(at), self._found.token)
        found.kinds_N, found.slots_N = self._found.kinds_N[at], self._found.slots_N[at]
        found.hashes_N32 = self._found.hashes_N32[at]
        paths = [self._paths[number] for number in at.tolist()] if self.folder is None else ()
        return ImageSet(self.folder, self.size_hw, found, paths, 0)

    def digest(self, ids: Iterable[str]) -> str:
        """Return the SHA-256 over the sorted (id, hash of its file's content).

        Neither the order of the rows nor the files' names matter; two ids that swap their images do.
        """
        pairs = zip(map(str, ids), self._found.hashes_N32, strict=True)
        lines = sorted(json.dumps([name, content.tobytes().hex()]) for name, content in pairs)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}


def open_images(
    paths: Sequence[Path],
    size_hw: tuple[int, int],
    cache: Cache,
    *,
    workers: int | None = None,
    progress: bool = True,
    label: str = "",
) -> ImageSet:
    """Open images at `size_hw`, decoding what the cache does not hold, with a progress bar on stderr.

    Raises InputError listing every unreadable image after all were tried, and SpaceError before anything is
    decoded where the result would not fit. A kill loses at most the last seconds; a second process that
    fills the same cache waits for the first and then finds its images.
    """
    size_hw = (int(size_hw[0]), int(size_hw[1]))
    files, defects = _stat(paths)
    folder = None if cache.dir is None else store_folder(cache.dir, size_hw)
    jobs = workers or cores()
    if folder is None:
        found, decoded = check_files(files, size_hw, jobs, Progress(progress, label or "check images"), defects)
    else:
        found, decoded = lookup_files(folder, size_hw, files), 0
        if any(found.kinds_N[n] < 0 and n not in defects for n in np.flatnonzero(found.kinds_N < 0).tolist()):
            bar = Progress(progress, label or "cache images")
            found, decoded = fill(folder, cache.max_gb, files, size_hw, jobs, bar, defects)
    if defects:
        raise InputError(
            *dict.fromkeys(
                f"{files[n][0]}: {reason}; replace the file or take its row out of the table"
                for n, reason in sorted(defects.items())
            )
        )
    return ImageSet(folder, size_hw, found, [path for path, _, _ in files] if folder is None else (), decoded)


def lacking(paths: Sequence[Path], size_hw: tuple[int, int], cache: Cache) -> list[Path]:
    """Return the files that opening them would decode, without reading, locking or writing anything."""
    if cache.dir is None:
        return list(paths)
    found = lookup_files(store_folder(cache.dir, size_hw), size_hw, _stat(paths)[0])
    return [path for path, kind in zip(paths, found.kinds_N.tolist(), strict=True) if kind < 0]


def store_folder(cache_dir: str, size_hw: tuple[int, int]) -> Path:
    """Return the folder that holds the images of one size."""
    return Path(cache_dir).absolute() / f"{size_hw[0]}x{size_hw[1]}-v{DECODE_VERSION}"


def _stat(paths: Sequence[Path]) -> tuple[list[File], dict[int, str]]:
    """Return (path, size, mtime_ns) of every file, and what is wrong by number."""
    files: list[File] = []
    defects: dict[int, str] = {}
    for number, path in enumerate(paths):
        name = os.fspath(path)
        name = name if name.startswith("/") else os.path.abspath(name)
        try:
            status = os.stat(name)
        except OSError as error:
            defects[number] = f"cannot be read: {error.strerror}"
            files.append((name, -1, -1))
        else:
            files.append((name, status.st_size, status.st_mtime_ns))
    return files, defects

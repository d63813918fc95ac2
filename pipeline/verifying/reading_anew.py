"""Read every image file anew, whatever the cache remembers of it by its size, times and inode.

Only the hash of the content is needed, so an image is decoded only where the cache does not know what decoding it
takes for granted. Nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pipeline.competition.image_paths import Source
from pipeline.config.config import Config
from pipeline.errors import InputError, Problem
from pipeline.files import parts
from pipeline.images import filling
from pipeline.images.cache import ImageSet, size_for
from pipeline.images.decoding import boxes, decode_files, read_bytes
from pipeline.images.read_as import ReadAs
from pipeline.images.remarks import Remark
from pipeline.images.store import JOIN, Store, unknown
from pipeline.machine.processes import cores


class _Read(NamedTuple):
    """Hold the hash of an image's content, what decoding it takes for granted, and why it cannot be read, if so."""

    content: bytes
    remark: int
    reason: str


class Reader:
    """Open images as `open_config` does, but by reading each file; keep which are not what the cache saw there."""

    def __init__(self) -> None:
        self.changed: list[Path] = []
        self.count = 0

    def open(self, config: Config, sources: Sequence[Source], label: str) -> ImageSet:
        """Return the images with the hashes of their contents as these are now.

        Raises InputError as `open_images` does where some cannot be read and `data.missing` does not pass them over.
        """
        store = Store.at(config.data.cache.dir, size_for(config), ReadAs.of(config.data))
        seen, remarks = store.remembered()

        def read(source: Source) -> _Read:
            try:
                contents = [read_bytes(path) for path in source]
                content = filling.hash_of(contents, source)
                remark = remarks.get(content)
                if remark is None:
                    remark = int(decode_files(contents, boxes(source), store.size_hw, store.how)[1])
                refused = remark & store.refused
                return _Read(content, remark, "is truncated" if refused else "")
            except ValueError as error:
                return _Read(b"", int(Remark.NONE), str(error))

        there = [number for number, source in enumerate(sources) if source]
        with ThreadPoolExecutor(cores(), "read") as pool:
            found = list(pool.map(read, (sources[number] for number in there)))
        places_N, skipped = unknown(len(sources)), dict[str, str]()
        for number, one in zip(there, found, strict=True):
            source = sources[number]
            known = seen.get(JOIN.join(map(os.path.abspath, source)))
            if known is not None and known != one.content:
                self.changed += [path for path in map(Path, map(parts.file_of, source)) if path not in self.changed]
            if one.reason:
                skipped[", ".join(source)] = one.reason
                continue
            places_N["kind"][number], places_N["remark"][number] = 0, one.remark
            places_N["hash"][number] = one.content
        if skipped and config.data.missing != "skip":
            raise InputError(*(Problem(path, reason) for path, reason in skipped.items()))
        self.count += len(there)
        images = ImageSet(Store(None, store.size_hw, store.how), "", places_N, sources)
        images.skipped = skipped
        return images

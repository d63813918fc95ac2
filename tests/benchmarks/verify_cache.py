"""Measure what it costs to verify the image cache, and to open images that it holds.

    python tests/benchmarks/verify_cache.py [--count 60000] [--mb 600] [--json]

For images of 32x32 and 224x224 it writes --mb megabytes of random pixels into a cache in a temporary folder and
verifies them (warm: the files lie in memory), with the threads that a job uses. Then it opens --count small files
again that the cache knows. Prints images and megabytes per second, and the seconds of that second open.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from pipeline.config.sections.data_items import Cache
from pipeline.images.cache import ImageSet, open_images
from pipeline.images.read_as import USUAL
from pipeline.images.store import Store, Writer, locked
from pipeline.images.verifying import differing


def fill(folder: Path, size: int, megabytes: int) -> ImageSet:
    """Write random images into a store as if they had been decoded, and open them."""
    store = Store.at(str(folder / "cache"), (size, size), USUAL)
    assert store.folder is not None
    count, rng = megabytes * 10**6 // (size * size * 3), np.random.default_rng(0)
    files = [(f"/none/{n}.png", n, 0, 0, 0) for n in range(count)]
    with locked(store.folder):
        writer = Writer(store)
        for n, file in enumerate(files):
            content = n.to_bytes(32)
            writer.name(file, content)
            writer.add(content, rng.integers(0, 256, (size, size, 3), dtype=np.uint8), 0)
        writer.commit()
        writer.close()
    token, places_N = store.lookup(files)
    return ImageSet(store, token, places_N, [(file[0],) for file in files])


def verify(folder: Path, size: int, megabytes: int, rounds: int = 3) -> dict[str, float]:
    """Return how many images and megabytes are verified in a second: the median of the rounds."""
    images, seconds = fill(folder, size, megabytes), []
    for _ in range(rounds):
        begin = time.perf_counter()
        assert not len(differing(images)[0])
        seconds.append(time.perf_counter() - begin)
    taken = float(np.median(seconds))
    return {"images_per_second": len(images) / taken, "mb_per_second": len(images) * size * size * 3 / 1e6 / taken}


def reopen(folder: Path, count: int, rounds: int = 3) -> float:
    """Return the seconds in which files are opened that the cache knows: the median of the rounds."""
    (folder / "files").mkdir()
    header, rng = b"P6 8 8 255\n", np.random.default_rng(0)
    paths = [folder / f"files/{n:06d}.ppm" for n in range(count)]
    for path in paths:
        path.write_bytes(header + rng.bytes(8 * 8 * 3))
    cache, seconds = Cache(dir=str(folder / "cache")), []
    open_images(paths, (8, 8), cache, progress=False)
    for _ in range(rounds):
        begin = time.perf_counter()
        assert open_images(paths, (8, 8), cache, progress=False).decoded == 0
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds))


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=60000)
    parser.add_argument("--mb", type=int, default=600)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {f"{size}x{size}": verify(Path(folder), size, given.mb) for size in (32, 224)}
        seconds = reopen(Path(folder), given.count)
    if given.json:
        print(json.dumps({**found, "reopen_files": given.count, "reopen_seconds": seconds}))
        return
    for size, one in found.items():
        print(f"verify {size:>8s}: {one['images_per_second']:>9,.0f} images/s, {one['mb_per_second']:>6,.0f} MB/s")
    print(f"open {given.count:,} known files: {seconds:.2f} s")


if __name__ == "__main__":
    main()

"""Compare reading large JPEGs through the cache with decoding them by Pillow in every epoch.

    python tests/benchmarks/input.py [--count 64] [--size 256x384] [--json]

Makes photographs of 2048x1365 in a temporary folder and alternates, in one run: Pillow (open, convert and
resize; one process), the first pass (a new cache is filled) and later epochs (every image from the cache).
Prints each one's milliseconds per image and the ratios to Pillow. Wanted: first pass 2, later epochs 20.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipeline.config.sections.data_items import Cache
from pipeline.images.cache import open_images


def make_photographs(folder: Path, count: int, size_hw: tuple[int, int] = (1365, 2048)) -> list[Path]:
    """Write JPEGs (quality 90) of smooth shapes under fine noise, each of about a megabyte."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        coarse = rng.integers(0, 256, (14, 20, 3), dtype=np.uint8)
        pixels = cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC).astype(np.int16)
        pixels += rng.integers(-12, 13, (*size_hw, 1), dtype=np.int16)
        paths.append(folder / f"{number:03d}.jpg")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def decode_by_pillow(paths: list[Path], size_hw: tuple[int, int]) -> None:
    """Decode and resize every image as a plain data set does in every epoch."""
    for path in paths:
        with Image.open(path) as image:
            np.asarray(image.convert("RGB").resize(size_hw[::-1], Image.Resampling.BILINEAR))


def compare(folder: Path, count: int, size_hw: tuple[int, int], rounds: int = 3) -> dict[str, float]:
    """Return milliseconds per image (the median of the rounds) and the ratios to Pillow."""
    paths = make_photographs(folder, count)
    seconds: dict[str, list[float]] = {"pillow": [], "first_pass": [], "later_epoch": []}
    for _ in range(rounds):
        cache = Cache(dir=str(folder / "cache"))
        seconds["pillow"].append(_time(lambda: decode_by_pillow(paths, size_hw)))
        seconds["first_pass"].append(_time(lambda c=cache: open_images(paths, size_hw, c, progress=False)))
        images = open_images(paths, size_hw, cache, progress=False)
        assert images.decoded == 0
        seconds["later_epoch"].append(_time(lambda i=images: [i[n] for n in range(len(i))]))
        shutil.rmtree(folder / "cache")
    found = {f"{name}_ms": 1000 * float(np.median(times)) / count for name, times in seconds.items()}
    found["first_pass_ratio"] = found["pillow_ms"] / found["first_pass_ms"]
    found["later_epoch_ratio"] = found["pillow_ms"] / found["later_epoch_ms"]
    return found


def _time(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--size", default="256x384", help="height x width")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        found = compare(Path(folder), arguments.count, (height, width))
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{'':14s}{'ms/image':>10s}{'faster':>9s}{'wanted':>9s}")
    print(f"{'Pillow':14s}{found['pillow_ms']:10.2f}")
    for name, label, wanted in (("first_pass", "first pass", 2), ("later_epoch", "later epochs", 20)):
        print(f"{label:14s}{found[name + '_ms']:10.3f}{found[name + '_ratio']:8.1f}x{wanted:8d}x")


if __name__ == "__main__":
    main()

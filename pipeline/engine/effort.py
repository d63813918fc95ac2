"""Count the images that a job puts through its networks; say how long that takes and how large its files are."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.contracts.config import Config
from pipeline.contracts.imagepaths import Source
from pipeline.engine.cache import size_for
from pipeline.engine.images import read_bytes, stored_bytes

HEADERS = 16  # files whose headers tell the depth of the pixels


@dataclass(frozen=True)
class Speeds:
    """Hold images per second."""

    decode: float  # originals, all cores
    train: float  # through the training loop
    forward: float  # one network, one view, from the cache


@dataclass(frozen=True)
class Effort:
    """Hold how many images each kind of work passes, over all folds."""

    decode: int
    train: int
    validate: int  # after each epoch, one view
    predict: int  # images × networks × views

    def seconds(self, speeds: Speeds) -> dict[str, float]:
        """Return the time of each kind of work and of all of them."""
        parts = {
            "check": self.decode / speeds.decode,
            "train": self.train / speeds.train + self.validate / speeds.forward,
            "predict": self.predict / speeds.forward,
        }
        return {**parts, "total": sum(parts.values())}


def fold_sizes(config: Config, rows: int) -> list[tuple[int, int]]:
    """Return (training rows, validation rows) per fold as they will be, before the folds are made."""
    if config.folds.scheme == "holdout":
        valid = round(rows * config.folds.valid_share)
        return [(rows - valid, valid)]
    return [(rows - rows // config.folds.n, rows // config.folds.n)] * config.folds.n


def training(config: Config, sizes: Sequence[tuple[int, int]], epochs: int) -> Effort:
    """Return the effort of so many epochs on each of these folds."""
    return Effort(0, epochs * sum(train for train, _ in sizes), epochs * sum(valid for _, valid in sizes), 0)


def whole(config: Config, sizes: Sequence[tuple[int, int]], test_rows: int, decode: int) -> Effort:
    """Return the effort of the whole job: all folds and epochs, then all views of valid and test rows."""
    made = training(config, sizes, config.train.epochs)
    valid = sum(valid for _, valid in sizes) * (2 if config.train.keep == "best" else 1)  # the last epoch's too
    predict = (valid + test_rows * len(sizes)) * len(config.views)
    return Effort(decode, made.train, made.validate, predict)


def duration(seconds: float) -> str:
    """Return a time as people say it: 40 s, 12 min, 3 h 05 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def disk(config: Config, missing: Sequence[Source], weight_bytes: int, folds: int, cells: int) -> str:
    """Say what will be written: images that the cache lacks, `folds` sets of weights, `cells` probabilities."""
    height, width = size_for(config)
    cached = 0.0
    if missing and config.data.cache.dir is not None:
        some = missing[:: -(-len(missing) // HEADERS)]
        depth = sum(_pixel_bytes(source, config.data.in_chans) for source in some) / len(some)
        cached = depth * height * width * len(missing)
    copies = 2 if config.train.keep == "best" else 1  # the last epoch's too
    parts = {
        "cache": cached,
        "weights": float(folds * copies * weight_bytes),
        "predictions": 4.0 * cells * copies * len(config.views),
    }
    passing = (3 + config.train.ema) * weight_bytes if folds else 0  # the fold's state, with two moments as Adam's
    where = next(path for path in (config.run_dir.absolute(), *config.run_dir.absolute().parents) if path.exists())
    text = ", ".join(f"{name} {_size(size)}" for name, size in parts.items())
    held = f", {_size(passing)} more while it trains" if passing else ""
    return f"about {_size(sum(parts.values()))}: {text}{held}; {_size(shutil.disk_usage(where).free)} free at {where}"


def _pixel_bytes(source: Source, channels: int) -> int:
    try:
        return stored_bytes([read_bytes(path) for path in source], channels)
    except ValueError:  # check will say what is wrong with it
        return 0


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"

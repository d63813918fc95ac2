"""Count the images that a job puts through its networks; say how long that takes and how large its files are."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.batches import progressive_resizing
from pipeline.competition.image_paths import Source
from pipeline.config.config import Config
from pipeline.images.cache import size_for
from pipeline.images.decoding import read_bytes, stored_bytes

Lack = tuple[Config, Sequence[Source]]  # at this config's size the cache lacks these images

HEADERS = 16  # files whose headers tell the depth of the pixels


@dataclass(frozen=True)
class Speeds:
    """Hold images per second."""

    decode: float  # originals, all cores
    train: float  # through the training loop
    forward: float  # one network, one view, from the cache


@dataclass(frozen=True)
class Effort:
    """Hold how many images each kind of work passes, over all folds: of an id that has several, all of them."""

    decode: int
    train: float  # those of other sizes counted by their pixels: half the side, a quarter of an image
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


def fold_sizes(config: Config, count: int, extra: int = 0) -> list[tuple[int, int]]:
    """Return about how many of `count` ids or images each fold will train on and validate, before folds are made.

    Of the `extra` ones, which are trained on alone, every fold has all but those that share a group with its own.
    """
    if config.folds.scheme == "holdout":
        valid, number = round(count * config.folds.valid_share), 1
    else:
        valid, number = count // config.folds.n, config.folds.n
    return [(round((count - valid) * config.train.subset) + extra, valid)] * number


def epochs(config: Config, first: int = 0) -> float:
    """Return how many epochs of the model's size the epochs from `first` on cost."""
    return sum(progressive_resizing.share(config, epoch) for epoch in range(first, config.train.epochs))


def whole(config: Config, sizes: Sequence[tuple[int, int]], test_images: int, decode: int) -> Effort:
    """Return the effort of the whole job: all folds and epochs, then all views of valid and test images."""
    train, valid = (sum(counts) for counts in zip(*sizes, strict=True))
    kept = 2 if config.train.keep == "best" else 1  # the last epoch's too
    predict = (valid * kept + test_images * len(sizes)) * len(config.views)
    return Effort(decode, epochs(config) * train, config.train.epochs * valid, predict)


def duration(seconds: float) -> str:
    """Return a time as people say it: 40 s, 12 min, 3 h 05 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def disk(config: Config, missing: Sequence[Lack], weight_bytes: int, folds: int, cells: int) -> str:
    """Say what will be written: images that the cache lacks, `folds` sets of weights, `cells` probabilities."""
    copies = 2 if config.train.keep == "best" else 1  # the last epoch's too
    parts = {
        "cache": sum(_cached_bytes(one, sources) for one, sources in missing),
        "weights": float(folds * copies * weight_bytes),
        "predictions": 4.0 * cells * copies * len(config.views),
    }
    passing = (3 + config.train.ema) * weight_bytes if folds else 0  # the fold's state, with two moments as Adam's
    where = next(path for path in (config.run_dir.absolute(), *config.run_dir.absolute().parents) if path.exists())
    text = ", ".join(f"{name} {_size(size)}" for name, size in parts.items())
    held = f", {_size(passing)} more while it trains" if passing else ""
    return f"about {_size(sum(parts.values()))}: {text}{held}; {_size(shutil.disk_usage(where).free)} free at {where}"


def _cached_bytes(config: Config, sources: Sequence[Source]) -> float:
    """Return the bytes of images that the cache of the config's size lacks; some headers tell their depth."""
    if not sources or config.data.cache.dir is None:
        return 0.0
    some = sources[:: -(-len(sources) // HEADERS)]
    depth = sum(_pixel_bytes(source, config.data.in_chans) for source in some) / len(some)
    height, width = size_for(config)
    return depth * height * width * len(sources)


def _pixel_bytes(source: Source, channels: int) -> int:
    try:
        return stored_bytes([read_bytes(path) for path in source], channels)
    except ValueError:  # check will say what is wrong with it
        return 0


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"

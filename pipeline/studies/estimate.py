"""Count the images that a job puts through its networks; say how long that takes and how large its files are."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.batches import progressive_resizing
from pipeline.competition.image_paths import Source
from pipeline.config.config import Config
from pipeline.folds.fold_table import FoldTable
from pipeline.images.cache import size_for
from pipeline.images.decoding import read_bytes, stored_bytes
from pipeline.images.read_as import ReadAs

Uncached = tuple[Config, Sequence[Source]]  # at this config's size the cache lacks these images

HEADERS = 16  # files whose headers tell the depth of the pixels


@dataclass(frozen=True)
class FoldWork:
    """Hold how much of a fold is left to do."""

    train_images: int  # of an id that has several, all of them
    valid_images: int
    epochs: int  # the last so many of them
    valid_views: int
    test_views: int


@dataclass(frozen=True)
class Work:
    """Hold how many images each kind of work passes, over all folds."""

    decode: int
    train: float  # those of other sizes counted by their pixels: half the side, a quarter of an image
    validate: int  # after each epoch, one view
    predict: int  # images × networks × views

    def seconds(self, decode: float, train: float, forward: float) -> dict[str, float]:
        """Return the time of each kind of work and of all, by images/s of decoding, training and one network's view."""
        parts = {
            "check": self.decode / decode,
            "train": self.train / train + self.validate / forward,
            "predict": self.predict / forward,
        }
        return {**parts, "total": sum(parts.values())}


def work(config: Config, folds: Sequence[FoldWork], test_images: int, decode: int = 0) -> Work:
    """Return what is left to do for all folds."""
    return Work(
        decode,
        train=sum(epochs(config, config.train.epochs - fold.epochs) * fold.train_images for fold in folds),
        validate=sum(fold.epochs * fold.valid_images for fold in folds),
        predict=sum(
            fold.valid_views * fold.valid_images * _copies(config) + fold.test_views * test_images for fold in folds
        ),
    )


def epochs(config: Config, first: int = 0) -> float:
    """Return how many epochs of the model's size the epochs from `first` on cost."""
    return sum(progressive_resizing.share(config, epoch) for epoch in range(first, config.train.epochs))


def fold_sizes(config: Config, count: int, extra: int = 0, table: FoldTable | None = None) -> list[tuple[int, int]]:
    """Return about how many of `count` ids or images each fold will train on and validate, before folds are made.

    `table` are folds of a column, which are known beforehand. Of the `extra` ones, which are never validated, every
    fold has all but those that share a group with its own.
    """
    if table is not None:
        share = count / len(table.ids)
        trained = [len(table.train_ids(k, config.train.subset, config.train.seed)) for k in range(table.n)]
        valid_K = [len(table.valid_ids(k)) for k in range(table.n)]
        return [(round(one * share) + extra, round(other * share)) for one, other in zip(trained, valid_K, strict=True)]
    holdout = config.folds.scheme == "holdout"
    valid = round(count * config.folds.valid_share) if holdout else count // config.folds.n
    return [(round((count - valid) * config.train.subset) + extra, valid)] * (1 if holdout else config.folds.n)


def duration(seconds: float) -> str:
    """Return a time as people say it: 40 s, 12 min, 3 h 05 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def disk(config: Config, uncached: Sequence[Uncached], weight_bytes: int, folds: int, cells: int) -> str:
    """Say what will be written: images that the cache lacks, `folds` sets of weights, `cells` probabilities."""
    parts = {
        "cache": sum(_cached_bytes(one, sources) for one, sources in uncached),
        "weights": float(folds * _copies(config) * weight_bytes),
        "predictions": 4.0 * cells * _copies(config) * len(config.views),
    }
    state = (3 + config.train.ema) * weight_bytes if folds else 0  # of the fold in training, with two moments as Adam's
    where = next(path for path in (config.run_dir.absolute(), *config.run_dir.absolute().parents) if path.exists())
    text = ", ".join(f"{name} {_size(size)}" for name, size in parts.items())
    more = f", {_size(state)} more while it trains" if state else ""
    return f"about {_size(sum(parts.values()))}: {text}{more}; {_size(shutil.disk_usage(where).free)} free at {where}"


def _copies(config: Config) -> int:
    """Return how many weights a fold keeps: `best` keeps the last epoch's too, and predicts with both."""
    return 2 if config.train.keep == "best" else 1


def _cached_bytes(config: Config, sources: Sequence[Source]) -> float:
    """Return the bytes of images in the cache of the config's size; some headers tell their depth."""
    if not sources or config.data.cache.dir is None:
        return 0.0
    some, depth = sources[:: -(-len(sources) // HEADERS)], 0
    for source in some:
        try:
            depth += stored_bytes([read_bytes(path) for path in source], ReadAs.of(config.data))
        except ValueError:  # check will say what is wrong with it
            continue
    height, width = size_for(config)
    return depth / len(some) * height * width * len(sources)


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"

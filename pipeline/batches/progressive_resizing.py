"""Train at other image sizes before that of the model: the first epochs cost less, and see larger things first."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

from pipeline.batches import augmentation
from pipeline.batches.loader import EarlySize
from pipeline.batches.rows import Images
from pipeline.competition.image_paths import Source
from pipeline.config.config import Config
from pipeline.images.cache import ImageSet, open_config, size_for

Open = Callable[[Config, Sequence[Source], str], ImageSet]


def plan(config: Config) -> list[tuple[int, Config]]:
    """Return the epoch before which each size of `train.sizes` serves, and the config as that size has it."""
    train, model = config.train, config.model
    ends = [math.ceil(one.until * train.epochs - 1e-9) for one in train.early_sizes]
    sizes = [model.model_copy(update={"size": one.size}) for one in train.early_sizes]
    return [(until, config.model_copy(update={"model": one})) for until, one in zip(ends, sizes, strict=True)]


def open_all(config: Config, sources: Sequence[Source], label: str = "", open_one: Open = open_config) -> ImageSet:
    """Open images at the model's size and, as their `others`, at those of `train.sizes`."""
    images = copy.copy(open_one(config, sources, label))
    images.others = tuple(open_one(one, sources, f"{label}, {text(one)}") for _, one in plan(config))
    return images


def smaller(config: Config) -> list[Config]:
    """Return the config at each size of `train.sizes` whose cache is not the one of the model's size, each once."""
    if config.data.cache.dir is None:  # one decoding tells of every size that the files can be read
        return []
    apart = {size_for(one): one for _, one in plan(config)}
    apart.pop(size_for(config), None)
    return list(apart.values())


def share(config: Config, epoch: int) -> float:
    """Return the pixels of an epoch's images by those of the model's size: what the epoch costs by a full one."""
    now = next((one for until, one in plan(config) if epoch < until), config)
    return math.prod(now.model.size_hw) / math.prod(config.model.size_hw)


def of(config: Config, images: Images) -> tuple[EarlySize, ...]:
    """Return what takes the place of full-sized images in a training on some of the images that `open_all` opened."""
    others = images.others if isinstance(images, ImageSet) else ()
    return tuple(
        EarlySize(until, other, augmentation.of(one)) for (until, one), other in zip(plan(config), others, strict=True)
    )


def described(config: Config) -> str:
    """Say which sizes are trained at, nothing where there is one."""
    listed = [f"{text(one)} until epoch {until}" for until, one in plan(config)]
    return f"; {', '.join([*listed, f'then {text(config)}'])}" if listed else ""


def text(config: Config) -> str:
    """Return the model's size as people write it."""
    height, width = config.model.size_hw
    return f"{height}×{width} px"

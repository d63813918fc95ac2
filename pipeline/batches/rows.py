"""Hold what the engine sees of a table: images with their ids, targets and weights."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from pipeline.methods.arrays import Array


class Images(Protocol):
    """Hold images: index -> H×W×C uint8 or uint16.

    `take` and `digest` written here serve a subclass that decodes or holds them; the cache's set has others.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int, /) -> Array: ...

    def take(self, indices: Array, /) -> Images:
        """Return the images at `indices` as a set of their own."""
        return Decoded([self[int(n)] for n in indices])

    def digest(self, ids: Iterable[str], /) -> str:
        """Return a hash over which id shows what; the order of the rows does not matter."""
        pairs = []
        for n, name in enumerate(ids):
            image = self[n]
            content = f"{image.dtype} {image.shape}".encode() + image.tobytes()
            pairs.append([str(name), hashlib.sha256(content).hexdigest()])
        return hashlib.sha256(json.dumps(sorted(pairs)).encode()).hexdigest()


class Decoded(Images):
    """Hold images in memory."""

    def __init__(self, images: Sequence[Array]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int, /) -> Array:
        return self._images[index]


@dataclass(frozen=True)
class Rows:
    """Hold what the engine sees of a table: an image, its id and, in training, a soft target and a weight per row."""

    images: Images
    ids: Array  # [N] str, of the images
    targets_NC: Array | None = None  # float32
    weights_N: Array | None = None  # float32, mean 1; None: all the same

    def __len__(self) -> int:
        return len(self.ids)


def subset(rows: Rows, numbers: Array) -> Rows:
    """Return some of the rows, without copying images."""
    targets_NC = None if rows.targets_NC is None else rows.targets_NC[numbers]
    weights_N = None if rows.weights_N is None else rows.weights_N[numbers]
    images, ids = rows.images.take(numbers), rows.ids[numbers]
    return replace(rows, images=images, ids=ids, targets_NC=targets_NC, weights_N=weights_N)


def as_trained(image_HWC: Array) -> Array:
    """Return uint8 as it is and deeper images as float32 in [0, 1], which is what transforms accept."""
    return image_HWC.astype(np.float32) / 65535 if image_HWC.dtype == np.uint16 else image_HWC

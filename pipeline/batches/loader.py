"""Turn rows into batches: the same order, augmentation and bytes whatever the number of workers.

A batch is assembled whole where its images are read, and travels as uint8 in the order of the pixels;
normalisation happens on the device.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from pipeline.images.decoding import resize
from pipeline.methods.arrays import Array
from pipeline.methods.seeding import rng


class Images(Protocol):
    """Hold images: index -> H×W×C uint8 or uint16.

    `take` and `digest` written here serve a subclass that decodes or holds them; the cache's set has its own.
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


class Augmentation(Protocol):
    """Anything that changes one image at random, all draws from the generator."""

    def __call__(self, image_HWC: Array, draws: np.random.Generator, /) -> Array: ...


Disturb = Callable[[Array, np.random.Generator], Array]  # changes one row's targets at random


@dataclass(frozen=True)
class Rows:
    """Hold what the engine sees of a table: an image, its id and, in training, a soft target and a weight per row."""

    images: Images
    ids: Array  # [N] str, of the images
    targets_NC: Array | None = None  # float32
    weights_N: Array | None = None  # float32, mean 1; None: all the same

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Batch:
    """Hold some rows: images as stored (uint8, or float32 in [0, 1]), targets, row numbers."""

    images_BHWC: Tensor
    targets_BC: Tensor | None
    rows: Array
    total: int  # rows of this step over all processes
    of: tuple[int, int]  # epoch, step
    weights_B: Tensor | None = None

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory, from which copies to a GPU overlap with its work."""
        targets_BC = None if self.targets_BC is None else self.targets_BC.pin_memory()
        weights_B = None if self.weights_B is None else self.weights_B.pin_memory()
        return replace(self, images_BHWC=self.images_BHWC.pin_memory(), targets_BC=targets_BC, weights_B=weights_B)


def split_steps(rows: int, batch_size: int, processes: int = 1) -> int:
    """Return how many steps an epoch has: the rows are dealt evenly, so no step is much smaller than the others.

    Every process must get at least one row of every step, two where there are enough (BatchNorm).
    """
    return max(1, min(-(-rows // batch_size), rows // (2 * processes)))


@dataclass(frozen=True)
class Phase:
    """Hold what takes the place of the rows' images and of the augmentation before epoch `until`."""

    until: int
    images: Images
    augment: Augmentation


@dataclass(frozen=True)
class Plan:
    """Say which rows form step s of epoch e for one of several processes; a pure function of its fields."""

    rows: int
    batch_size: int  # global
    seed: int
    fold: int
    rank: int = 0
    processes: int = 1
    shares_N: Array | None = field(default=None, compare=False)  # how probably a row is drawn; None: each comes once

    @property
    def steps(self) -> int:
        """Return the number of steps in an epoch."""
        return split_steps(self.rows, self.batch_size, self.processes)

    def order(self, epoch: int) -> Array:
        """Return the rows of this epoch in their order: a permutation, or as many drawn with replacement."""
        if self.shares_N is not None:
            return rng(self.seed, self.fold, epoch, "sampling").choice(self.rows, self.rows, p=self.shares_N)
        return rng(self.seed, self.fold, epoch, "order").permutation(self.rows)

    def step(self, order: Array, step: int) -> tuple[Array, int]:
        """Return this process's row numbers of a step, and the step's rows over all processes."""
        start, stop = (self.rows * s // self.steps for s in (step, step + 1))
        return order[start:stop][self.rank :: self.processes], stop - start


class TrainingBatches(Dataset[Batch]):
    """Assemble the batch of (epoch, step), changed by draws keyed by (seed, fold, epoch, image id).

    A row that an epoch draws again is drawn for anew: its number of earlier times joins the key.
    """

    def __init__(
        self,
        rows: Rows,
        plan: Plan,
        augment: Augmentation,
        disturb: Disturb | None = None,
        phases: Sequence[Phase] = (),
    ) -> None:
        self.rows, self.plan, self.augment, self.disturb, self.phases = rows, plan, augment, disturb, phases
        self._epoch, self._order, self._earlier = -1, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)

    def __getitem__(self, of: tuple[int, int]) -> Batch:
        epoch, step = of
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self.plan.order(epoch)
            self._earlier = earlier(self._order)
        numbers, total = self.plan.step(self._order, step)
        draws = self._draws(of, "augment", numbers)
        phase = next((phase for phase in self.phases if epoch < phase.until), None)
        stored, augment = (self.rows.images, self.augment) if phase is None else (phase.images, phase.augment)
        images = [augment(stored[int(n)], one) for n, one in zip(numbers, draws, strict=True)]
        weights_N = self.rows.weights_N
        weights_B = None if weights_N is None else torch.from_numpy(weights_N[numbers])
        return Batch(stack(images), self._targets(of, numbers), numbers, total, of, weights_B)

    def _targets(self, of: tuple[int, int], numbers: Array) -> Tensor:
        assert self.rows.targets_NC is not None
        targets_BC = np.asarray(self.rows.targets_NC[numbers])
        if self.disturb is not None:
            draws = self._draws(of, "disturb", numbers)
            targets_BC = np.stack([self.disturb(row_C, one) for row_C, one in zip(targets_BC, draws, strict=True)])
        return torch.from_numpy(targets_BC)

    def _draws(self, of: tuple[int, int], what: str, numbers: Array) -> Iterator[np.random.Generator]:
        """Yield each row's generator, in the order of the batch."""
        times, _ = self.plan.step(self._earlier, of[1])
        for n, time in zip(numbers, times.tolist(), strict=True):
            again = (time,) if time else ()
            yield rng(self.plan.seed, self.plan.fold, of[0], what, self.rows.ids[n], *again)


def earlier(order: Array) -> Array:
    """Return how often each number has come before, [N]."""
    sorted_N = np.argsort(order, kind="stable")
    _, starts, counts = np.unique(order[sorted_N], return_index=True, return_counts=True)
    found = np.empty(len(order), dtype=np.int64)
    found[sorted_N] = np.arange(len(order)) - np.repeat(starts, counts)
    return found


class PredictionBatches(Dataset[Batch]):
    """Assemble the n-th run of `batch_size` rows in table order, as stored or under one random augmentation."""

    def __init__(self, rows: Rows, numbers: Array, batch_size: int, size_hw: tuple[int, int]) -> None:
        self.rows, self.numbers, self.batch_size, self.size_hw = rows, numbers, batch_size, size_hw

    def __len__(self) -> int:
        return -(-len(self.numbers) // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        numbers = self.numbers[index * self.batch_size : (index + 1) * self.batch_size]
        images = [as_trained(resize(self.rows.images[int(n)], self.size_hw)) for n in numbers]
        return Batch(stack(images), None, numbers, len(numbers), (0, index))


def as_trained(image_HWC: Array) -> Array:
    """Return uint8 as it is and deeper images as float32 in [0, 1], which is what transforms accept."""
    if image_HWC.dtype == np.uint16:
        return image_HWC.astype(np.float32) / 65535
    return image_HWC


def stack(images: list[Array]) -> Tensor:
    """Stack images into one tensor [B,H,W,C]; float32 as soon as one of them is."""
    if all(image.dtype == np.uint8 for image in images):
        return torch.from_numpy(np.stack(images))
    scaled = [image.astype(np.float32) / 255 if image.dtype == np.uint8 else image for image in images]
    return torch.from_numpy(np.stack(scaled))


def training_loader(batches: TrainingBatches, epochs: range, workers: int, pin: bool) -> Iterator[Batch]:
    """Yield every batch of the given epochs in order, from one set of workers that lives through them all."""
    wanted = [(epoch, step) for epoch in epochs for step in range(batches.plan.steps)]
    return _load(batches, wanted, workers, pin)


def prediction_loader(batches: PredictionBatches, workers: int, pin: bool) -> Iterator[Batch]:
    """Yield the batches in order."""
    return _load(batches, list(range(len(batches))), workers, pin)


def _load(batches: Dataset[Batch], wanted: list[Any], workers: int, pin: bool) -> Iterator[Batch]:
    if workers == 0:
        return (batches[of] for of in wanted)
    return iter(
        DataLoader(
            batches,
            sampler=wanted,
            batch_size=None,
            num_workers=workers,
            worker_init_fn=_calm_worker,
            prefetch_factor=4,
            pin_memory=pin,
            collate_fn=_same,
        )
    )


def _same(batch: Any) -> Any:
    return batch


def _calm_worker(worker: int) -> None:
    """Keep a worker to one thread: the model's threads need the cores."""
    assert get_worker_info() is not None
    torch.set_num_threads(1)


class Normalize:
    """Turn a batch as stored into normalised float32 images [B,C,H,W] on the device."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device, last: bool) -> None:
        self.device = device
        self.format = torch.channels_last if last else torch.contiguous_format
        self.mean = torch.tensor(mean, device=device)
        self.std = torch.tensor(std, device=device)

    def __call__(self, images_BHWC: Tensor) -> Tensor:
        images = images_BHWC.to(self.device, non_blocking=True)
        scale = 255.0 if images.dtype == torch.uint8 else 1.0
        # float() returns the batch itself where it is float32 already, and random views need it unchanged
        images = images.to(torch.float32, copy=True).sub_(self.mean * scale).div_(self.std * scale)
        return images.permute(0, 3, 1, 2).contiguous(memory_format=self.format)

    def undo(self, images_BCHW: Tensor) -> Array:
        """Return uint8 images [B,H,W,C] to look at."""
        images = images_BCHW.float().permute(0, 2, 3, 1) * self.std + self.mean
        return (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def subset(rows: Rows, numbers: Array) -> Rows:
    """Return some of the rows, without copying images."""
    targets_NC = None if rows.targets_NC is None else rows.targets_NC[numbers]
    weights_N = None if rows.weights_N is None else rows.weights_N[numbers]
    images, ids = rows.images.take(numbers), rows.ids[numbers]
    return replace(rows, images=images, ids=ids, targets_NC=targets_NC, weights_N=weights_N)

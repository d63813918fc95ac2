"""Turn rows into batches: the same order, augmentation and bytes whatever the number of workers.

A batch is assembled whole where its images are read, and travels as uint8 in the order of the pixels;
normalisation happens on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.batches.rows import Images, Rows, as_trained
from pipeline.errors import FoldlineError
from pipeline.files import memory
from pipeline.images.decoding import resize
from pipeline.machine import interruption
from pipeline.methods.arrays import Array
from pipeline.methods.seeding import rng

Augmentation = Callable[[Array, np.random.Generator], Array]  # changes one image HxWxC at random
Disturb = Callable[[Array, np.random.Generator], Array]  # changes one row's targets at random


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
        tensors: dict[str, Any] = {name: one for name, one in vars(self).items() if isinstance(one, Tensor)}
        return replace(self, **{name: one.pin_memory() for name, one in tensors.items()})


@dataclass(frozen=True)
class EarlySize:
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
        """Return the steps of an epoch: its rows are dealt evenly, so no step is much smaller than the others.

        Every process must get at least one row of every step, two where there are enough (BatchNorm).
        """
        return max(1, min(-(-self.rows // self.batch_size), self.rows // (2 * self.processes)))

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
    """Assemble the batch of (epoch, step), changed by draws that depend on (seed, fold, epoch, image id).

    A row that an epoch draws again is drawn for anew: its number of earlier times counts too.
    """

    def __init__(
        self,
        rows: Rows,
        plan: Plan,
        augment: Augmentation,
        disturb: Disturb | None = None,
        early_sizes: Sequence[EarlySize] = (),
    ) -> None:
        self.rows, self.plan, self.augment, self.disturb = rows, plan, augment, disturb
        self.early_sizes = early_sizes
        self._epoch, self._order, self._earlier = -1, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)

    def __getitem__(self, of: tuple[int, int]) -> Batch:
        epoch, step = of
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self.plan.order(epoch)
            self._earlier = earlier(self._order)
        numbers, total = self.plan.step(self._order, step)
        draws = self._draws(of, "augment", numbers)
        size = next((early for early in self.early_sizes if epoch < early.until), None)
        stored, augment = (self.rows.images, self.augment) if size is None else (size.images, size.augment)
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


def stack(images: list[Array]) -> Tensor:
    """Stack images into one tensor [B,H,W,C]; float32 as soon as one of them is."""
    if all(image.dtype == np.uint8 for image in images):
        return torch.from_numpy(np.stack(images))
    scaled = [image.astype(np.float32) / 255 if image.dtype == np.uint8 else image for image in images]
    return torch.from_numpy(np.stack(scaled))


def training_loader(
    batches: TrainingBatches, epochs: range, workers: int, pin: bool, first: int = 0
) -> Iterator[Batch]:
    """Yield every batch of the given epochs in order, from one set of workers that lives through them all.

    It begins with step `first` of the first epoch, without reading those before it.
    """
    wanted = [(epoch, step) for epoch in epochs for step in range(batches.plan.steps)]
    return _load(batches, wanted[first:], workers, pin)


def prediction_loader(batches: PredictionBatches, workers: int, pin: bool) -> Iterator[Batch]:
    """Yield the batches in order."""
    return _load(batches, range(len(batches)), workers, pin)


def _load(batches: Dataset[Batch], wanted: Sequence[Any], workers: int, pin: bool) -> Iterator[Batch]:
    if workers == 0:
        return (batches[of] for of in wanted)
    # one whole batch per item: nothing to collate; one thread per worker: the model's threads need the cores
    options: dict[str, Any] = {
        "batch_size": None,
        "collate_fn": _as_it_is,
        "worker_init_fn": _begin,
        "prefetch_factor": 4,
    }
    return _told(iter(DataLoader(_Telling(batches), sampler=wanted, num_workers=workers, pin_memory=pin, **options)))


class _Telling(Dataset[Any]):
    """Hand over what a worker has to say, which torch would raise as the text of a traceback.

    Batches go into shared memory here: where a queue's own thread finds it full, torch prints that and waits for ever.
    """

    def __init__(self, batches: Dataset[Batch]) -> None:
        self.batches = batches

    def __getitem__(self, of: Any) -> Batch | FoldlineError:
        try:
            batch = self.batches[of]
            for one in vars(batch).values():
                if isinstance(one, Tensor):
                    one.share_memory_()  # type: ignore[no-untyped-call]
            return batch
        except FoldlineError as error:
            return error
        except Exception as error:
            if (gone := memory.ran_out(error, in_worker=True)) is None:
                raise
            return gone


def _told(loader: Iterator[Any]) -> Iterator[Batch]:
    try:
        for batch in loader:
            if isinstance(batch, FoldlineError):
                raise batch
            yield batch
    finally:
        del loader  # ends the workers: an error's traceback would hold them until Python's end, which waits for them


def _as_it_is(batch: Batch) -> Batch:
    return batch


def _begin(worker: int) -> None:
    interruption.in_loader_process()
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

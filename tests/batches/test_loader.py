"""The loader: every row once per epoch, even steps, the same bytes whatever the number of workers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.batches import augmentation
from pipeline.batches.loader import (
    Batch,
    Plan,
    PredictionBatches,
    TrainingBatches,
    prediction_loader,
    stack,
    training_loader,
)
from pipeline.batches.rows import Decoded, Images, Rows, as_trained
from pipeline.methods.arrays import Array

SIDE = 12


def rows(count: int = 13, dtype: type = np.uint8, seed: int = 0) -> Rows:
    draws = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    images = [draws.integers(0, top, (SIDE, SIDE + 4, 3), endpoint=True).astype(dtype) for _ in range(count)]
    targets_NC = np.eye(3, dtype=np.float32)[np.arange(count) % 3]
    return Rows(Decoded(images), np.array([f"{n:03d}" for n in range(count)]), targets_NC)


def batches(table: Rows, batch_size: int = 4, seed: int = 1, spec: str = "medium") -> TrainingBatches:
    plan = Plan(len(table), batch_size, seed, fold=0)
    return TrainingBatches(table, plan, augmentation.build(spec, (SIDE, SIDE + 4)))


def content(found: list[Batch]) -> list[tuple[object, ...]]:
    """Return what must be equal, byte for byte."""

    def raw(tensor: torch.Tensor | None) -> bytes | None:
        return None if tensor is None else tensor.numpy().tobytes()

    return [(b.of, b.total, b.rows.tolist(), raw(b.images_BHWC), raw(b.targets_BC)) for b in found]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    count=st.integers(2, 200),
    batch_size=st.integers(1, 70),
    processes=st.integers(1, 4),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 9),
)
def test_every_row_comes_once_per_epoch_in_even_steps(
    count: int, batch_size: int, processes: int, epoch: int, seed: int
) -> None:
    count = max(count, processes)
    plans = [Plan(count, batch_size, seed, 2, rank, processes) for rank in range(processes)]
    orders = [plan.order(epoch) for plan in plans]
    seen: list[int] = []
    totals = []
    for step in range(plans[0].steps):
        parts = [plan.step(order, step) for plan, order in zip(plans, orders, strict=True)]
        sizes = [len(numbers) for numbers, _ in parts]
        assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
        assert {total for _, total in parts} == {sum(sizes)}
        totals.append(sum(sizes))
        seen += [int(n) for numbers, _ in parts for n in numbers]
    assert sorted(seen) == list(range(count))
    assert max(totals) - min(totals) <= 1
    if count >= 2 * processes:
        assert min(totals) >= 2 * processes  # BatchNorm needs two rows per process
    if batch_size >= 4 * processes:
        assert max(totals) <= batch_size


@pytest.mark.parametrize(
    ("count", "batch_size", "processes", "steps"),
    [(32, 32, 1, 1), (33, 32, 1, 2), (64, 32, 1, 2), (100, 32, 1, 4), (100, 32, 2, 4), (3, 1, 1, 1), (2, 32, 2, 1)],
)
def test_steps_are_as_many_as_the_batch_size_asks(count: int, batch_size: int, processes: int, steps: int) -> None:
    assert Plan(count, batch_size, 0, 0, processes=processes).steps == steps


def test_orders_differ_between_epochs_folds_and_seeds_and_nothing_else() -> None:
    orders = [
        Plan(50, 8, seed, fold).order(epoch).tolist()
        for seed, fold, epoch in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    ]
    assert len({tuple(order) for order in orders}) == 4
    assert orders[0] == Plan(50, 16, 0, 0, rank=1, processes=2).order(0).tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_batches_are_the_same_whatever_the_number_of_workers(dtype: type) -> None:
    table = rows(13, dtype)
    found = [content(list(training_loader(batches(table), range(2), workers, pin=False))) for workers in (0, 1, 2)]
    assert [of for of, *_ in found[0]] == [(epoch, step) for epoch in range(2) for step in range(4)]
    assert found[0] == found[1] == found[2]


def test_a_resumed_epoch_is_the_same_epoch() -> None:
    whole = content(list(training_loader(batches(rows()), range(4), 0, pin=False)))
    rest = content(list(training_loader(batches(rows()), range(2, 4), 0, pin=False)))
    assert whole[-len(rest) :] == rest and len(rest) == len(whole) // 2


def test_augmentation_goes_with_the_id_not_with_the_place() -> None:
    """A row is drawn alike whichever rows it stands between, and anew in every epoch."""
    table = rows(12)
    few, many = batches(table, 2), batches(table, 12)

    def images(made: TrainingBatches, epoch: int) -> dict[int, bytes]:
        found = {}
        for step in range(made.plan.steps):
            batch = made[epoch, step]
            assert batch.targets_BC is not None and table.targets_NC is not None
            assert np.array_equal(batch.targets_BC.numpy(), table.targets_NC[batch.rows])
            found |= {int(n): image.numpy().tobytes() for n, image in zip(batch.rows, batch.images_BHWC, strict=True)}
        return found

    assert images(few, 0) == images(many, 0)
    assert sum(images(many, 1)[n] != images(many, 0)[n] for n in range(12)) >= 10


def test_images_are_not_changed() -> None:
    table = rows(6)
    before = [image.copy() for image in table.images]  # type: ignore[attr-defined]
    list(training_loader(batches(table), range(1), 0, pin=False))
    assert all(np.array_equal(one, two) for one, two in zip(table.images, before, strict=True))  # type: ignore[call-overload]


def test_sixteen_bits_become_floats_between_zero_and_one() -> None:
    deep = np.array([[[0, 32768, 65535]]], dtype=np.uint16)
    found = as_trained(deep)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[[0, 32768 / 65535, 1]]], rtol=1e-7)
    plain = np.array([[[0, 1, 255]]], dtype=np.uint8)
    assert as_trained(plain) is plain
    mixed = stack([plain, found])
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed[0], torch.tensor([[[0.0, 1 / 255, 1.0]]]))
    assert stack([plain, plain]).dtype == torch.uint8
    (batch,) = training_loader(batches(rows(2, np.uint16), 2, spec="none"), range(1), 0, pin=False)
    assert batch.images_BHWC.dtype == torch.float32 and 0.9 < batch.images_BHWC.max() <= 1


@settings(max_examples=30, deadline=None, derandomize=True)
@given(count=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_prediction_reads_the_rows_in_order(count: int, batch_size: int) -> None:
    numbers = np.arange(count)[::-1]
    found = list(prediction_loader(PredictionBatches(rows(count), numbers, batch_size, (SIDE, SIDE + 4)), 0, False))
    assert np.concatenate([batch.rows for batch in found]).tolist() == numbers.tolist()
    assert max(len(batch.rows) for batch in found) <= batch_size


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_prediction_is_the_same_with_workers_and_resizes(dtype: type) -> None:
    made = PredictionBatches(rows(9, dtype), np.arange(9), 4, (SIDE // 2, SIDE))
    alone, helped = (list(prediction_loader(made, workers, False)) for workers in (0, 2))
    assert content(alone) == content(helped)
    assert alone[0].images_BHWC.shape == (4, SIDE // 2, SIDE, 3)


def test_a_failing_image_ends_the_training() -> None:
    class Broken(Images):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int, /) -> Array:
            raise ValueError("torn file")

    table = Rows(Broken(), np.array(list("abcd")), np.eye(4, dtype=np.float32))
    for workers in (0, 1):
        with pytest.raises(ValueError, match="torn file"):
            list(training_loader(batches(table), range(1), workers, pin=False))

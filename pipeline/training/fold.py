"""Hold what one fold's training takes: its rows, and where its files go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.batches.loader import EarlySize
from pipeline.batches.rows import Rows
from pipeline.methods.arrays import Array


@dataclass(frozen=True)
class Fold:
    """Hold one fold's rows and where its files go."""

    number: int
    train: Rows
    valid: Rows
    classes: tuple[str, ...]
    folder: Path
    pool_I: Array | None = None  # number of the validated row that each image of `valid` belongs to; None: its own
    early_sizes: tuple[EarlySize, ...] = ()  # other sizes of the images of `train`, for the first epochs

"""Select what one fold's training takes: its rows, and where its files go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.batches import fold_rows, progressive_resizing
from pipeline.batches.loader import EarlySize
from pipeline.batches.rows import Rows, subset
from pipeline.competition.competition import Competition
from pipeline.config.config import Config
from pipeline.errors import InputError, Problem
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.images.cache import ImageSet
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

    @classmethod
    def of(cls, config: Config, table: FoldTable, competition: Competition, images: ImageSet, number: int) -> Fold:
        """Select one fold's rows, in the fold table's order so that the input file's order changes nothing."""
        every = fold_rows.of(competition, images)
        wanted = table.train_ids(number, config.train.subset, config.train.seed)
        train = fold_rows.present(every, images, fold_rows.train_numbers(competition, table, number, wanted, images))
        validated = fold_table.row_numbers(competition.ids, table.valid_ids(number))
        valid = fold_rows.image_numbers(competition.rows_I, competition.image_ids, validated)
        if len(train) < 2:
            raise InputError(Problem(f"fold {number}", f"{len(train)} rows are left to train on", "at least 2"))
        several = len(competition.images) != len(competition.ids)
        return cls(
            number,
            train,
            subset(every, valid),
            competition.classes,
            config.run_dir / f"fold{number}",
            competition.rows_I[valid] if several else None,
            progressive_resizing.of(config, train.images),
        )

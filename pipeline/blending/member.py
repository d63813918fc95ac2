"""Hold one member of a blend in memory, wherever its predictions come from."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.methods.arrays import Array


@dataclass(frozen=True)
class Member:
    """Hold one member's probabilities as `plain` (identity alone) and `tta`, rows sorted by id."""

    name: str
    classes: tuple[str, ...]
    ids: Array  # [N] str
    fold_N: Array
    test_ids: Array  # [T] str
    oof: dict[str, Array]  # plain, tta -> [N,C] float64, or a Top where not all classes are kept
    test: dict[str, Array]  # plain, tta -> [T,C], the same
    views: tuple[str, ...] = ()  # those that tta is the mean of; none where only that mean is known
    oof_VNC: Array | None = None  # of these views; read where ensemble.views is select
    test_VTC: Array | None = None

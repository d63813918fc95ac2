"""Hold rows of many exclusive classes without a cell per class.

100,000 rows of 20,000 classes are 8 GB as float32. The truth is one number per row (`OneHot`), and of a prediction
only the most probable classes (`Top`) matter to labels, rankings and the true class's probability; what they leave
of 1 is spread evenly over the other classes. To the type checker both are arrays [N,C], and they have the few methods
of one that code of exclusive classes uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.methods.arrays import Array

FIELDS = ("columns_NK", "values_NK")
BLOCK = 2**24  # cells of a temporary: 128 MB of float64

if TYPE_CHECKING:
    _ArrayLike = Array
else:
    _ArrayLike = object


@dataclass(frozen=True, eq=False)
class OneHot(_ArrayLike):
    """Hold one true class per row; reads as an array [N,C] of zeros and ones."""

    classes_N: Array
    width: int

    @property  # type: ignore[misc]
    def shape(self) -> tuple[int, int]:
        """Return (N, C)."""
        return len(self.classes_N), self.width

    def __len__(self) -> int:
        return len(self.classes_N)

    def __getitem__(self, rows: Any) -> OneHot:
        return OneHot(self.classes_N[rows], self.width)

    def __matmul__(self, values_C: Any) -> Any:
        """Return the true class's value [N]."""
        return np.asarray(values_C[self.classes_N])

    def argmax(self, axis: Any = 1) -> Any:  # type: ignore[override]
        """Return the true class [N]."""
        return self.classes_N

    def sum(self, axis: Any = None, dtype: Any = None) -> Any:  # type: ignore[override]
        """Return the rows of each class [C], or how many classes a row has [N]."""
        found = np.bincount(self.classes_N, minlength=self.width) if axis == 0 else np.ones(len(self.classes_N))
        return found.astype(dtype or found.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # type: ignore[override]
        """Return the cells, for some rows at a time."""
        cells_NC = np.zeros(self.shape, dtype=dtype or np.float32)
        cells_NC[np.arange(len(self)), self.classes_N] = 1
        return cells_NC


@dataclass(frozen=True, eq=False)
class Top(_ArrayLike):
    """Hold the K most probable classes of each row, the most probable first; reads as probabilities [N,C]."""

    columns_NK: Array  # int32
    values_NK: Array  # float32
    width: int

    @property  # type: ignore[misc]
    def shape(self) -> tuple[int, int]:
        """Return (N, C)."""
        return len(self.columns_NK), self.width

    def __len__(self) -> int:
        return len(self.columns_NK)

    def __getitem__(self, rows: Any) -> Top:
        return Top(self.columns_NK[rows], self.values_NK[rows], self.width)

    def argmax(self, axis: Any = 1) -> Any:  # type: ignore[override]
        """Return the most probable class [N]."""
        return self.columns_NK[:, 0].astype(np.int64)

    def max(self, axis: Any = 1) -> Any:  # type: ignore[override]
        """Return the greatest probability [N]."""
        return self.values_NK[:, 0]

    def astype(self, dtype: Any) -> Any:  # type: ignore[override]
        """Return itself: its type stays."""
        return self

    def copy(self) -> Any:  # type: ignore[override]
        """Return itself: its arrays are never written to."""
        return self

    @property
    def rest_N(self) -> Array:
        """Return the probability of each class that is not held, [N] float64."""
        others = max(1, self.width - self.values_NK.shape[1])
        return np.asarray((1 - self.values_NK.sum(1, dtype=np.float64)).clip(0, None) / others)

    def of(self, classes_N: Array) -> Array:
        """Return each row's probability of one class, [N] float64."""
        held_NK = self.columns_NK == classes_N[:, None]
        found_N = (self.values_NK * held_NK).sum(1, dtype=np.float64)
        return np.where(held_NK.any(1), found_N, self.rest_N)

    def place(self, classes_N: Array) -> Array:
        """Return each row's place of one class, from 0; K where it is not held."""
        held_NK = self.columns_NK == classes_N[:, None]
        return np.asarray(np.where(held_NK.any(1), held_NK.argmax(1), held_NK.shape[1]))

    def first(self, count: int) -> Top:
        """Return fewer of the most probable classes."""
        return Top(self.columns_NK[:, :count], self.values_NK[:, :count], self.width)

    def put(self, column: int, value: float) -> Top:  # type: ignore[override]
        """Return the same with one class of this probability in every row, the others as they are."""
        columns_NK = np.pad(self.columns_NK, ((0, 0), (0, 1)), constant_values=column)
        values_NK = np.pad(self.values_NK, ((0, 0), (0, 1)), constant_values=value)
        values_NK[:, :-1][self.columns_NK == column] = -1
        order_NK = np.lexsort((columns_NK, -values_NK), axis=1)[:, : self.values_NK.shape[1]]
        columns_NK, values_NK = (np.take_along_axis(one, order_NK, axis=1) for one in (columns_NK, values_NK))
        return Top(columns_NK, values_NK, self.width)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # type: ignore[override]
        """Return the cells, for some rows at a time."""
        cells_NC = np.repeat(self.rest_N[:, None], self.width, axis=1).astype(dtype or np.float32)
        np.put_along_axis(cells_NC, self.columns_NK.astype(np.int64), self.values_NK.astype(cells_NC.dtype), axis=1)
        return cells_NC


def is_top(probs_NC: Array) -> bool:
    """Tell whether these are rows of which only the most probable classes are held."""
    return isinstance(probs_NC, Top)


def kept(probs_NC: Array) -> int:
    """Return how many classes of each row are held."""
    return int((probs_NC.values_NK if isinstance(probs_NC, Top) else probs_NC).shape[1])


def finite(probs_NC: Array) -> bool:
    """Tell whether no value that is held is NaN or infinite."""
    held = probs_NC.values_NK if isinstance(probs_NC, Top) else probs_NC
    return bool(np.isfinite(held.sum(dtype=np.float64)))


def hard(targets_NC: Array) -> OneHot | None:
    """Return targets that name one class in every row as their numbers, None where some do not."""
    if isinstance(targets_NC, OneHot):
        return targets_NC
    one = ((targets_NC == 0) | (targets_NC == 1)).all() and (targets_NC.sum(1) == 1).all()
    return OneHot(targets_NC.argmax(1), targets_NC.shape[1]) if one else None


def differ(targets_NC: Array, others_NC: Array) -> Array:
    """Return which rows differ, [N] bool."""
    one, other = (part.classes_N if isinstance(part, OneHot) else part for part in (targets_NC, others_NC))
    return np.asarray(one != other if one.ndim == 1 else (one != other).any(1))


def join(parts: Sequence[Array]) -> Array:
    """Return rows below one another; a cell per class is made only where some part has them."""
    if len(held := tops(parts)) == len(parts) > 0:
        return _concatenate(held)
    if any(isinstance(part, OneHot) for part in parts):
        known = [named for part in parts if (named := hard(part)) is not None]
        if len(known) == len(parts):
            return OneHot(np.concatenate([one.classes_N for one in known]), known[0].width)
    return np.concatenate([np.asarray(part) for part in parts])


def tops(parts: Sequence[Array]) -> list[Top]:
    """Return those that hold only their most probable classes."""
    return [part for part in parts if isinstance(part, Top)]


def first_columns(probs_NC: Array, count: int) -> Array:
    """Return the `count` most probable columns of each row, the most probable first, the lower first among equals."""
    count = min(count, probs_NC.shape[1])
    columns_NK = np.sort(np.argpartition(probs_NC, -count, axis=1)[:, -count:], axis=1)
    edge_N1 = np.take_along_axis(probs_NC, columns_NK, axis=1).min(1, keepdims=True)
    tied = np.flatnonzero((probs_NC >= edge_N1).sum(1) > count)  # numpy leaves open which of these are taken
    columns_NK[tied] = np.sort(np.argsort(-probs_NC[tied], axis=1, kind="stable")[:, :count], axis=1)
    order_NK = np.argsort(-np.take_along_axis(probs_NC, columns_NK, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns_NK, order_NK, axis=1)


def top(probs_NC: Array, count: int) -> Top:
    """Return the `count` most probable classes of each row; the lower number first where two are equal."""
    if isinstance(probs_NC, Top):
        return probs_NC.first(count)
    probs_NC = probs_NC.astype(np.float32, copy=False)
    columns_NK = first_columns(probs_NC, count)
    return Top(columns_NK.astype(np.int32), np.take_along_axis(probs_NC, columns_NK, axis=1), probs_NC.shape[1])


def mean(members: Sequence[Top], weights_M: Array | None = None) -> Top:
    """Return the weighted mean of several predictions of the same rows, as many classes of each as members hold.

    It is that of whole rows: a class that a member does not hold has its even share of that member's rest.
    """
    count = max(map(kept, members))
    if len(members) == 1:
        return members[0]
    weights = np.full(len(members), 1 / len(members)) if weights_M is None else weights_M
    step = max(1, BLOCK // (8 * len(members) * count))
    blocks = [slice(start, start + step) for start in range(0, max(1, len(members[0])), step)]
    parts = [_mean([member[rows] for member in members], weights, count) for rows in blocks]
    return _concatenate(parts)


def covariance(members: Sequence[Top]) -> Array:
    """Return the sums over all cells of members' products [M,M], each class centred first, as of whole rows.

    A row is its rest in every class and what some classes have beyond it, so that only those are multiplied.
    """
    from scipy import sparse

    rests_MN = np.stack([member.rest_N for member in members])
    rows, width = members[0].shape
    beyond = []
    for member, rest_N in zip(members, rests_MN, strict=True):
        starts = np.arange(rows + 1) * kept(member)
        more_NK = member.values_NK - rest_N[:, None]
        beyond.append(sparse.csr_array((more_NK.ravel(), member.columns_NK.ravel(), starts), shape=(rows, width)))
    extra_MN = np.stack([one.sum(1) for one in beyond])
    means_MC = np.stack([one.sum(0) for one in beyond]) / rows + rests_MN.mean(1)[:, None]
    shared_MM = rests_MN @ extra_MN.T
    total_MM = width * rests_MN @ rests_MN.T + shared_MM + shared_MM.T - rows * means_MC @ means_MC.T
    for m, one in enumerate(beyond):
        total_MM[m] += [one.multiply(other).sum() for other in beyond]
    return np.asarray(total_MM)


def _concatenate(parts: Sequence[Top]) -> Top:
    columns_NK, values_NK = (np.concatenate([getattr(one, name) for one in parts]) for name in FIELDS)
    return Top(columns_NK, values_NK, parts[0].width)


def _mean(members: Sequence[Top], weights_M: Array, count: int) -> Top:
    """Sum what each member gives a class beyond its rest over runs of equal columns."""
    columns_NE = np.hstack([member.columns_NK for member in members])
    beyond = [w * (m.values_NK - m.rest_N[:, None]) for w, m in zip(weights_M.tolist(), members, strict=True)]
    order_NE = np.argsort(columns_NE, axis=1, kind="stable")
    columns_NE = np.take_along_axis(columns_NE, order_NE, axis=1)
    beyond_NE = np.take_along_axis(np.hstack(beyond), order_NE, axis=1)
    starts_NE = np.diff(columns_NE, axis=1, prepend=-1) != 0
    rest_N = sum(w * m.rest_N for w, m in zip(weights_M.tolist(), members, strict=True))
    sums_NE = np.full(columns_NE.shape, -np.inf)
    sums_NE[starts_NE] = np.add.reduceat(beyond_NE.reshape(-1), np.flatnonzero(starts_NE.reshape(-1)))
    values_NE = sums_NE + np.reshape(rest_N, (-1, 1))
    order_NK = np.argsort(-values_NE, axis=1, kind="stable")[:, :count]
    columns_NK, values_NK = (np.take_along_axis(one_NE, order_NK, axis=1) for one_NE in (columns_NE, values_NE))
    return Top(columns_NK, values_NK.astype(np.float32), members[0].width)

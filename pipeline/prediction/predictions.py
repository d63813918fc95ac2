"""Hold, write and read predictions by id, view and class: never pickled, refused where they are no numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import MismatchError, Problem
from pipeline.files import checksums
from pipeline.files.atomic import atomic
from pipeline.files.failures import require_file
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.topk import Top

KINDS = {"ids": ("U", 1), "views": ("U", 1), "classes": ("U", 1), "probs": ("f", 3)}  # kind of dtype, axes


@dataclass(frozen=True)
class Predictions:
    """Hold the probabilities of some ids under some views: `fold<k>/{valid,test}.npz`.

    Of many exclusive classes only the most probable are kept: `top_NVK` are their numbers, the most probable
    first, `probs_NVC` theirs alone, and what they leave of 1 is spread evenly over the others.
    """

    ids: Array  # [N] str
    views: tuple[str, ...]
    classes: tuple[str, ...]  # all of them
    probs_NVC: Array  # float32
    meta: dict[str, Any]  # run, fold, fold_hash, fingerprint, task, heads, versions
    top_NVK: Array | None = None  # int32

    def save(self, path: Path) -> None:
        """Write the file atomically; raise MismatchError on NaN, infinity, an id twice or a wrong shape."""
        self._verify(path)
        arrays: dict[str, Array] = {
            "ids": np.asarray(self.ids, dtype=np.str_),
            "views": np.asarray(self.views, dtype=np.str_),
            "classes": np.asarray(self.classes, dtype=np.str_),
            "probs": np.ascontiguousarray(self.probs_NVC, dtype=np.float32),
        }
        if self.top_NVK is not None:
            arrays["top"] = np.ascontiguousarray(self.top_NVK, dtype=np.int32)
        meta = json.dumps({**self.meta, checksums.DIGEST: _digest(arrays, self.meta)}, sort_keys=True)
        with atomic(path) as beside, beside.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays, meta=np.asarray(meta))

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read the file; raise MismatchError where it is missing or damaged.

        What was written with a checksum must have it still; files of earlier versions have none.
        """
        try:
            require_file(path)  # reading a pipe would wait for ever
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays = {name: np.asarray(file[name]) for name in (*KINDS, *(["top"] if "top" in file else []))}
                meta = json.loads(str(file["meta"]))
            damage = _damage(arrays, meta)
        except FileNotFoundError:
            raise MismatchError(Problem(str(path), "missing", remedy="make it with: foldline predict")) from None
        except Exception as error:  # zip, header and JSON damage have many types
            if isinstance(error, MemoryError) and not _impossible(error, path):
                raise
            damage = str(error).partition("\n")[0]
        if damage:
            raise MismatchError(
                Problem(str(path), f"damaged ({damage})", remedy="predict again with: foldline predict")
            )
        views, classes = (tuple(arrays[name].tolist()) for name in ("views", "classes"))
        found = cls(arrays["ids"], views, classes, arrays["probs"], meta, arrays.get("top"))
        found._verify(path)
        return found

    @classmethod
    def of_views(
        cls, ids: Array, views: Mapping[str, Array], classes: Sequence[str], meta: dict[str, Any]
    ) -> Predictions:
        """Put arrays [N,C] of several views together; of Tops what they hold."""
        tops = topk.tops(list(views.values()))
        probs_NVC = np.stack([one.values_NK for one in tops] or list(views.values()), axis=1)
        top_NVK = np.stack([one.columns_NK for one in tops], axis=1) if tops else None
        return cls(ids, tuple(views), tuple(classes), probs_NVC, meta, top_NVK)

    def _verify(self, path: Path) -> None:
        top_NVK, width = self.top_NVK, len(self.classes)
        count = width if top_NVK is None else self.probs_NVC.shape[-1]
        found = remedy = ""
        if self.probs_NVC.shape != (len(self.ids), len(self.views), count) or count > width:
            found = f"shape {self.probs_NVC.shape} does not fit its ids, views and classes"
        elif top_NVK is not None and (
            top_NVK.shape != self.probs_NVC.shape or top_NVK.min(initial=0) < 0 or top_NVK.max(initial=0) >= width
        ):
            found, remedy = "the numbers of its classes do not fit its probabilities", "predict again"
        elif not np.isfinite(self.probs_NVC).all():
            found, remedy = self._not_finite(), "train with a lower lr or precision fp32"
        elif len(set(self.ids.tolist())) != len(self.ids):
            found, remedy = "an id is predicted twice", "predict again"
        if found:
            raise MismatchError(Problem(str(path), found, remedy=remedy))

    def _not_finite(self) -> str:
        """Say where the first NaN or infinite value stands, and how many there are."""
        bad_NVC = ~np.isfinite(self.probs_NVC)
        row, view, column = (int(axis) for axis in np.argwhere(bad_NVC)[0])
        number = column if self.top_NVK is None else int(self.top_NVK[row, view, column])
        first = f"id '{self.ids[row]}', view {self.views[view]}, class {self.classes[number]}"
        text = f"predictions hold NaN or infinity in {bad_NVC.sum():,} cells of {bad_NVC.any((1, 2)).sum():,} ids"
        return f"{text} (first: {first})"

    @property
    def kept(self) -> int | None:
        """Return how many classes of each row are kept, None where it is all of them."""
        return None if self.top_NVK is None else self.probs_NVC.shape[2]

    def view(self, name: str) -> Array:
        """Return one view's probabilities [N,C] float32; a Top where not all classes are kept."""
        found = self.tops([name])
        return found[0] if found else self.probs_NVC[:, self.views.index(name)]

    def tops(self, views: Sequence[str]) -> list[Top]:
        """Return the most probable classes under each of these views; none where all classes are kept."""
        if self.top_NVK is None:
            return []
        chosen, width = [self.views.index(view) for view in views], len(self.classes)
        return [Top(self.top_NVK[:, v], self.probs_NVC[:, v], width) for v in chosen]

    def mean(self, views: Sequence[str]) -> Array:
        """Return the mean over the named views, [N,C] float64; a Top where not all classes are kept."""
        if missing := [view for view in views if view not in self.views]:
            found = f"views {', '.join(missing)} are not predicted"
            raise MismatchError(Problem("", found, remedy="run: foldline predict"))
        if self.top_NVK is not None:
            return topk.mean(self.tops(views))
        wanted = [self.views.index(view) for view in views]
        return np.asarray(self.probs_NVC[:, wanted].mean(axis=1, dtype=np.float64))


def load_kept(path: Path, fingerprint: str, ids: Array, say: Callable[[str], None]) -> Predictions | None:
    """Return what a file holds of these rows, weights and images; None where that is nothing.

    `say` is told of a damaged file, which is then predicted again.
    """
    if (found := load_whole(path, say)) is None:
        return None
    return found if found.meta.get("fingerprint") == fingerprint and np.array_equal(found.ids, ids) else None


def load_whole(path: Path, say: Callable[[str], None]) -> Predictions | None:
    """Return what a file holds; None where there is none, or a damaged one, which `say` is told of."""
    if not path.exists():
        return None
    try:
        return Predictions.load(path)
    except MismatchError as error:
        say(str(replace(error.problems[0], remedy="predicted again")))
        return None


def _digest(arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> str:
    """Return the SHA-256 over types, shapes and bytes of the arrays and the meta beside them."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return checksums.content_hash(
        meta, {name: (one.dtype.str, one.shape, one.data.cast("B") if one.size else b"") for name, one in whole.items()}
    )


def _damage(arrays: Mapping[str, Array], meta: Any) -> str:
    """Return what is wrong with a file's parts, blank where nothing is; takes the checksum out of its meta."""
    for name, array in arrays.items():
        kind, axes = KINDS.get(name, ("i", 3))
        if array.dtype.kind != kind or array.ndim != axes:
            return f"{name} are {array.dtype} of {array.ndim} axes"
    if not isinstance(meta, dict):
        return "meta is no JSON object"
    if (digest := meta.pop(checksums.DIGEST, None)) is not None and digest != _digest(arrays, meta):
        return "its SHA-256 differs"
    for head in meta.get("heads") or ():
        name, start, stop = head
        if not (isinstance(name, str) and 0 <= start < stop <= len(arrays["classes"])):
            return f"a head {head}"
    return ""


def _impossible(error: MemoryError, path: Path) -> bool:
    """Tell whether more was asked for than a file of this size can hold, compressed as far as zip goes."""
    shape = getattr(error, "shape", None)  # numpy's own error
    return shape is not None and math.prod(shape) > 1032 * path.stat().st_size

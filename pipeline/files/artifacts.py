"""Write and read our own files: whole or not at all, never pickled, joined by id."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from pipeline.errors import LockedError, MismatchError, SpaceError
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.topk import Top

FIXED = ["id", "fold", "target"]  # the first columns of oof.csv; test.csv has id alone
UNWRITABLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EROFS,
    errno.EPERM,
    errno.EEXIST,  # a file stands where a folder is wanted
    errno.ENOTDIR,
}


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; flush it and rename it when the block ends well.

    Raises SpaceError where the disk is full or the folder cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        if error.errno in UNWRITABLE:
            raise SpaceError(_unwritable(path, error)) from error
        raise
    finally:
        with contextlib.suppress(OSError):  # the reason it cannot be removed is the one being raised
            beside.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN is refused."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; raise MismatchError where it is not."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MismatchError(f"{path}: not readable as JSON ({error}); delete it and run the stage again") from None


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV atomically; floats with as many digits as restore them."""
    with atomic(path) as beside:
        table.to_csv(beside, index=False, lineterminator="\n")


def read_text_table(path: Path | IO[bytes], separator: str = ",") -> pd.DataFrame:
    """Read a CSV with every cell as text: 007 stays 007, an empty cell is ''.

    Raises ValueError where it is no CSV. Lines longer than the header are refused too, as pandas would
    take their first cell for an index and shift all columns.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(
                path,
                sep=separator,
                dtype=str,
                keep_default_na=False,
                na_filter=False,
                encoding="utf-8-sig",
                index_col=False,
            )
        except pd.errors.ParserWarning:
            raise ValueError("its lines have more cells than its header") from None


def texts(column: pd.Series[str]) -> Array:
    """Return a column as an array of text."""
    return np.asarray(column.tolist(), dtype=np.str_)


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; raise LockedError where another one holds it.

    The lock is the kernel's (flock): it goes with the process, also after a kill. Taking it twice in one
    process fails too. Raises SpaceError where the folder cannot be written.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = (folder / ".lock").open("a+")
    except OSError as error:
        raise SpaceError(_unwritable(folder, error)) from error
    with held as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            remedy = "wait for it, or choose another `run`"
            raise LockedError(f"{folder}: locked by process {holder}; {remedy}") from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


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
        top: dict[str, Any] = {}
        if self.top_NVK is not None:
            top["top"] = np.ascontiguousarray(self.top_NVK, dtype=np.int32)
        with atomic(path) as beside, beside.open("wb") as stream:
            np.savez(
                stream,
                ids=np.asarray(self.ids, dtype=np.str_),
                views=np.asarray(self.views, dtype=np.str_),
                classes=np.asarray(self.classes, dtype=np.str_),
                probs=np.ascontiguousarray(self.probs_NVC, dtype=np.float32),
                meta=np.asarray(json.dumps(self.meta, sort_keys=True)),
                **top,
            )

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read the file; raise MismatchError where it is missing or damaged."""
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                found = cls(
                    ids=file["ids"],
                    views=tuple(file["views"].tolist()),
                    classes=tuple(file["classes"].tolist()),
                    probs_NVC=file["probs"],
                    meta=json.loads(str(file["meta"])),
                    top_NVK=file.get("top"),
                )
        except FileNotFoundError:
            raise MismatchError(f"{path}: missing; make it with: foldline predict") from None
        except MemoryError:
            raise
        except Exception as error:  # zip, header and JSON damage have many types
            raise MismatchError(f"{path}: damaged ({error}); delete it and predict again") from None
        found._verify(path)
        return found

    def _verify(self, path: Path) -> None:
        top_NVK, width = self.top_NVK, len(self.classes)
        count = width if top_NVK is None else self.probs_NVC.shape[-1]
        if self.probs_NVC.shape != (len(self.ids), len(self.views), count) or count > width:
            raise MismatchError(f"{path}: shape {self.probs_NVC.shape} does not fit its ids, views and classes")
        if top_NVK is not None and (
            top_NVK.shape != self.probs_NVC.shape or top_NVK.min(initial=0) < 0 or top_NVK.max(initial=0) >= width
        ):
            raise MismatchError(f"{path}: the numbers of its classes do not fit its probabilities; predict again")
        if not np.isfinite(self.probs_NVC).all():
            raise MismatchError(f"{path}: predictions hold NaN or infinity; train with a lower lr or precision fp32")
        if len(set(self.ids.tolist())) != len(self.ids):
            raise MismatchError(f"{path}: an id is predicted twice; predict again")

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
        missing = [view for view in views if view not in self.views]
        if missing:
            raise MismatchError(f"views {', '.join(missing)} are not predicted; run: foldline predict")
        if self.top_NVK is not None:
            return topk.mean(self.tops(views))
        wanted = [self.views.index(view) for view in views]
        return np.asarray(self.probs_NVC[:, wanted].mean(axis=1, dtype=np.float64))


def _unwritable(path: Path, error: OSError) -> str:
    return f"{path}: cannot be written: {error.strerror}; free space or choose another folder"

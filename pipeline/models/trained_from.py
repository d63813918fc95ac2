"""Tell what a fold was trained from: its stamp, or where that is lost, what its weights or its checkpoint say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.config import fingerprints
from pipeline.config.fingerprints import Stamp
from pipeline.errors import MismatchError
from pipeline.models.network import load_tensors


def mend(run_dir: Path, fold: int, write: bool = True) -> tuple[Stamp | None, str]:
    """Return the fold's stamp, written anew where it was lost or damaged, and what to say of that.

    Raises MismatchError where it is damaged and nothing else tells.
    """
    stage, damaged = f"train-fold{fold}", None
    try:
        if (stamp := fingerprints.read_stamp(run_dir, stage)) is not None:
            return stamp, ""
    except MismatchError as error:
        damaged = error
    for path in _tellers(run_dir / f"fold{fold}"):
        try:
            _, meta = load_tensors(path)
        except MismatchError:
            continue
        if isinstance(fields := meta.get("stamp"), dict):  # files of earlier versions have none
            stamp = Stamp(fields, {}, meta.get("under") or {})
            if write:
                fingerprints.stamp(run_dir, stage, stamp.fields, under=stamp.under)
            place = fingerprints.stamp_path(run_dir, stage)
            return stamp, f"{place}: {'damaged' if damaged else 'missing'}, rebuilt from {path}"
    if damaged is not None:
        raise damaged
    return None, ""


def _tellers(folder: Path) -> Iterator[Path]:
    names = ("model.safetensors", "state/last.safetensors", "state/previous.safetensors", "state/best.safetensors")
    yield from (path for name in names if (path := folder / name).is_file())

"""Tell by their stamps whether a run's folds were trained on this fold table, and all with the same settings."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import fingerprints
from pipeline.config.fingerprints import Fields
from pipeline.errors import MismatchError, Problem, some
from pipeline.folds.fold_table import FoldTable


def other_tables(run_dir: Path, folds: Sequence[int], table: FoldTable) -> list[Problem]:
    """Return a problem where folds were trained on other targets or groups than the fold table holds now.

    Predictions say themselves on which folds they were made; a table that was edited together with its report is
    told by this alone. A run that was copied without its stamps says nothing.
    """
    hashes = {fold: str(held.get("table_hash", table.table_hash)) for fold, held in _stamped(run_dir, folds).items()}
    if not (differ := [fold for fold, its in hashes.items() if its != table.table_hash]):
        return []
    found = f"{_were(differ)} trained on the table {hashes[differ[0]][:12]}, {table.path} is {table.table_hash[:12]}"
    remedy = "its targets or groups were changed: restore them, or train again with: foldline train --force"
    return [Problem(str(run_dir), found, remedy=remedy)]


def mixed(run_dir: Path, folds: Sequence[int]) -> list[str]:
    """Return a line where folds of one run were trained with different settings."""
    held = _stamped(run_dir, folds)
    if not held:
        return []
    changes = {fold: fingerprints.differences(next(iter(held.values())), its) for fold, its in held.items()}
    if not (differ := [fold for fold in held if changes[fold]]):
        return []
    what = some([*dict.fromkeys(line for fold in differ for line in changes[fold])])
    than = ", ".join(str(fold) for fold in held if fold not in differ)
    return [f"mixed run: {_were(differ)} trained with other settings than {than}: {what}"]


def apart(run_dir: Path, wanted: Sequence[int], found: Fields) -> Problem | None:
    """Return why training these folds with these fields would mix a run, None where all its other folds have them."""
    names = [path.name for path in run_dir.glob("fold*") if path.name[4:].isdigit() and _begun(path)]
    others, now = sorted({int(name[4:]) for name in names} - {*wanted}), json.loads(json.dumps(found))
    changes = {
        fold: fingerprints.differences(its, now) for fold, its in _stamped(run_dir, others).items() if its != now
    }
    if not changes:
        return None
    text = f"{_were([*changes])} trained with other settings than fold {', '.join(map(str, wanted))} would be"
    remedy = "another `run` keeps them apart, --force mixes them in one run:\n"
    lines = dict.fromkeys(f"  {line}" for several in changes.values() for line in several)
    return Problem(str(run_dir), text, remedy=remedy + "\n".join(lines))


def _stamped(run_dir: Path, folds: Sequence[int]) -> dict[int, Fields]:
    """Return what the folds that have a stamp were trained from; a damaged one says nothing here, see `train`."""
    held = dict[int, Fields]()
    for fold in folds:
        with contextlib.suppress(MismatchError):
            if (stamp := fingerprints.read_stamp(run_dir, f"train-fold{fold}")) is not None:
                held[fold] = stamp.fields
    return held


def _begun(folder: Path) -> bool:
    return (folder / "model.safetensors").exists() or (folder / "state").exists()


def _were(folds: Sequence[int]) -> str:
    """Return folds as the subject of a sentence."""
    return f"fold {folds[0]} was" if len(folds) == 1 else f"folds {', '.join(map(str, folds))} were"

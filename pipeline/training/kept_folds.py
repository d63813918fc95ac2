"""Decide for each fold whether it is kept, continues, begins anew, or is refused as it differs or is damaged."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.fingerprints import Stamp
from pipeline.errors import MismatchError, Problem
from pipeline.models import network, trained_from
from pipeline.prediction import trained_alike
from pipeline.training import circumstances

REPLACES = "--force replaces it, another `run` keeps it"


def unfinished(
    config: Config, wanted: Sequence[int], found: fingerprints.Fields, under: Mapping[str, Any], force: bool
) -> list[int]:
    """Return the folds to train; stamp each with what it is trained from and under which circumstances.

    The stamp is written at the start and model.safetensors at the end, so that a fold is finished when both
    are there, and an interrupted one knows whether it may go on. `force` replaces the folds that differ or are damaged,
    no others. Raises MismatchError with all of these otherwise.
    """
    wrong: dict[int, Problem] = {}
    for fold in wanted:
        problem = difference(config, fold, found) or _damage(config, fold) or _elsewhere(config, fold, under)
        if problem is not None:
            wrong[fold] = problem
    kept = [fold for fold in wanted if fold not in wrong and _weights(config, fold).is_file()]
    mixing = trained_alike.apart(config.run_dir, wanted, found) if len(kept) < len(wanted) else None
    if (wrong or mixing) and not force:
        raise MismatchError(*wrong.values(), *([mixing] if mixing else []))
    if mixing:
        print(f"warning: this makes a mixed run: {mixing.place}: {mixing.found}")
    todo = []
    for fold in wanted:
        folder = config.run_dir / f"fold{fold}"
        if fold in wrong:
            for base in (config.run_dir, config.run_dir / "last"):  # predict takes up what lies there
                shutil.rmtree(base / folder.name, ignore_errors=True)
        elif note := trained_from.mend(config.run_dir, fold)[1]:
            print(note)
        if (folder / "model.safetensors").is_file():
            print(f"fold {fold}: trained already")
            shutil.rmtree(folder / "state", ignore_errors=True)  # killed between the two
        else:
            fingerprints.stamp(config.run_dir, f"train-fold{fold}", found, under=under)
            todo.append(fold)
    return todo


def _weights(config: Config, fold: int) -> Path:
    return config.run_dir / f"fold{fold}" / "model.safetensors"


def stamp_of(config: Config, fold: int) -> Stamp | None:
    """Return what a fold was trained from and under, None where nothing tells."""
    try:
        return trained_from.mend(config.run_dir, fold, write=False)[0]
    except MismatchError:
        return None


def difference(config: Config, fold: int, found: fingerprints.Fields) -> Problem | None:
    """Return why what lies in the fold's folder cannot be kept or go on with these fields, or None where it can."""
    folder, old = config.run_dir / f"fold{fold}", stamp_of(config, fold)
    if old is None and ((folder / "model.safetensors").exists() or (folder / "state").exists()):
        unknown = f"nothing says what it was trained from (stamps/train-fold{fold}.json is missing or damaged)"
        return Problem(str(folder), unknown, remedy=REPLACES)
    if old is None or old.fields == found or not folder.is_dir():
        return None
    changes = "\n".join(f"  {line}" for line in fingerprints.differences(old.fields, found))
    return Problem(str(folder), "was trained with other settings", remedy=f"{REPLACES}:\n{changes}")


def _damage(config: Config, fold: int) -> Problem | None:
    """Return what is wrong with a finished fold's weights, those of its last epoch too."""
    for base in (config.run_dir, config.run_dir / "last"):
        path = base / f"fold{fold}" / "model.safetensors"
        if path.is_file() and (found := network.damage(path)) is not None:
            return Problem(str(path), found, remedy="--force trains the fold anew")
    return None


def _elsewhere(config: Config, fold: int, under: Mapping[str, Any]) -> Problem | None:
    """Return how the circumstances differ under which an unfinished fold was begun, None where they may."""
    folder = config.run_dir / f"fold{fold}"
    if (folder / "model.safetensors").is_file() or not (folder / "state").is_dir():
        return None
    old = stamp_of(config, fold)
    if old is None or not old.under:  # begun by an earlier version, which did not tell
        return None
    changes = "\n".join(f"  {line}" for line in fingerprints.differences(old.under, dict(under)))
    if changes and not config.train.deterministic:
        print(
            f"{folder}: continues under other circumstances, with other bytes (train.deterministic: false):\n{changes}"
        )
    if not changes or not config.train.deterministic:
        return None
    found = "was begun under other circumstances, so that other bytes would come of it"
    return Problem(str(folder), found, remedy=f"{circumstances.remedy(old.under, under)}:\n{changes}")

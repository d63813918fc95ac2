"""Say what became of each trial of a study: which count, which died, which are tried again."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import MismatchError, Problem
from pipeline.files.tables import read_text_table

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

GIVEN_BACK = "interrupted"  # by its worker, which ended in order
RETRIES = 4  # of a trial whose process dies; each goes on at the last finished epoch
COUNTED = ("complete", "pruned", "failed", "lost")  # what a study's number of trials means
DIED = f"its process died {RETRIES + 1} times, most often for want of memory: lower train.batch_size or model.size"


def kinds(trials: Sequence[FrozenTrial]) -> dict[int, str]:
    """Return trial number -> what became of it: running, waiting, complete, or one of these.

    `failed` has a reason (memory, a loss that is not finite) and counts. `skipped` was never trained, as its settings
    were tried already, and does not count. `died` has neither, or was given back by its worker, and is due for another
    try; `retried` has got it; `lost` has died in all of them and counts.
    `pruned` is COMPLETE for Optuna, with the value that it would have had: as PRUNED, TPE would rank it below every
    complete one and by its last fold, which may be an easy one, and GP and CMA-ES would learn nothing from it.
    """
    again = {number for trial in trials for number in history(trial)}
    given_back = {trial.number for trial in trials if trial.user_attrs.get("skipped") == GIVEN_BACK}

    def kind(trial: FrozenTrial) -> str:
        state, marks = trial.state.name, trial.user_attrs
        if state == "COMPLETE":
            return "pruned" if "pruned" in marks else "complete"
        if state != "FAIL":
            return state.lower()
        if "skipped" in marks and trial.number not in given_back:
            return "skipped"
        if "reason" in marks:
            return "failed"
        if trial.number in again:
            return "retried"
        return "lost" if len({*history(trial), trial.number} - given_back) > RETRIES else "died"

    return {trial.number: kind(trial) for trial in trials}


def history(trial: FrozenTrial) -> list[int]:
    """Return the numbers of the trials that this one tries again, the first one first."""
    return list(trial.system_attrs.get("retry_history", []))


def first_number(trial: FrozenTrial) -> int:
    """Return the number under which the trial's settings were first tried."""
    return (history(trial) or [trial.number])[0]


def reason(trial: FrozenTrial) -> str:
    """Return why a trial failed, was pruned or skipped, or '' where it did not."""
    return next((str(trial.user_attrs[key]) for key in ("reason", "pruned", "skipped") if key in trial.user_attrs), "")


def ranked(trials: Sequence[FrozenTrial], direction: int) -> list[FrozenTrial]:
    """Return the trials that were scored on all their folds, the best first, the earlier one of equals."""
    known = kinds(trials)
    whole = [trial for trial in trials if known[trial.number] == "complete"]
    return sorted(whole, key=lambda trial: (-direction * trial.values[0], first_number(trial)))


def tried(trials: Sequence[FrozenTrial]) -> int:
    """Return how many trials the best one was chosen from: those that were pruned took part."""
    return sum(kind in ("complete", "pruned") for kind in kinds(trials).values())


def check_known(folder: Path, trials: Sequence[FrozenTrial]) -> None:
    """Raise MismatchError where a study's folder holds trials that its database does not know.

    So one that was emptied, replaced or restored from an old copy does not begin anew over what was found.
    """
    found: list[str] = []
    with contextlib.suppress(OSError, ValueError, KeyError):  # a damaged table is written anew from the database
        found = [run for run in read_text_table(folder / "trials.csv")["run"] if run]
    if not trials:
        found += [path.parents[1].name for path in folder.glob("trial-*/fold*/valid.npz")]
    if missing := sorted(set(found) - {str(trial.user_attrs.get("settings")) for trial in trials}):
        what = f"holds {len(missing)} trials that the study's database does not know (first '{missing[0]}')"
        remedy = "restore the database, name another study with tune.name, or move this folder away"
        raise MismatchError(Problem(str(folder), what, remedy=remedy))

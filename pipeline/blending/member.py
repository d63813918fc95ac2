"""Read a run of ours as a member of a blend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.blending import views
from pipeline.blending.views import Taken
from pipeline.config.config import Config
from pipeline.config.run_configs import of_run
from pipeline.errors import InputError, MismatchError, Problem
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.arrays import Array
from pipeline.prediction import class_order, trained_alike
from pipeline.prediction.oof import RunPredictions, find_run, read_run
from pipeline.scoring.evaluation import Evaluator

SUM_TOLERANCE = 1e-3  # of a row of probabilities written with few decimals


@dataclass(frozen=True)
class Member:
    """Hold one member's probabilities as `plain` (identity only) and `tta`, rows sorted by id."""

    name: str
    classes: tuple[str, ...]
    ids: Array  # [N] str
    fold_N: Array
    test_ids: Array  # [T] str
    oof: Mapping[str, Array]  # plain, tta, of some also auto -> [N,C] float64, or a Top where not all classes are kept
    test: Mapping[str, Array]  # the same -> [T,C]
    each_view: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)  # OOF and test; where views are chosen
    taken: Taken | None = None  # which views are submitted, where that is to be found and there are any
    notes: tuple[str, ...] = ()  # what differs from our own files in form alone


def find_runs(names: Sequence[str], config: Config, place: str, problems: list[Problem]) -> dict[str, Path]:
    """Return the folders of runs by name; add those that are missing or named twice to the problems."""
    found: dict[str, Path] = {}
    for name in names:
        try:
            folder = find_run(name, Path(config.runs_dir), place)
        except InputError as error:
            problems += error.problems
            continue
        same = next((other for other in found if found[other].resolve() == folder.resolve()), None)
        if same is not None:
            text = f"'{name}' is " + ("named twice" if name == same else f"the folder of '{same}'")
            problems.append(Problem(place, text, remedy="name it once"))
        found[name] = folder
    return found


def views_of(made: RunPredictions, tta: Sequence[str]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return a run's OOF and test as `plain` and `tta`."""
    kinds = {"plain": [views.IDENTITY], "tta": tta}
    return {kind: made.oof(named) for kind, named in kinds.items()}, {k: made.test(named) for k, named in kinds.items()}


def run_member(name: str, folder: Path, config: Config, table: FoldTable, evaluator: Evaluator) -> Member:
    """Read a run with the views of its own config; this run's, and that of its seeds, is the one at hand.

    Its classes are brought into the task's order; those of heads before they are combined.
    """
    classes = class_order.predicted(config, table)
    made = read_run(folder, table, classes=classes, composite=config.submission.composite)
    here = [config.run_dir, *(one.run_dir for one in config.per_seed)]
    if folder in here and (problems := trained_alike.other_tables(folder, made.folds, table)):
        raise MismatchError(*problems)
    theirs = config if folder in here else of_run(folder)
    if theirs.data.task != config.data.task:
        text, expected = f"a {theirs.data.task} run", f"{config.data.task} as in this config"
        raise MismatchError(Problem(str(folder), text, expected))
    each = theirs.tta if config.ensemble.views == "select" and len(theirs.tta) > 1 and made.kept is None else []
    each_view = {view: (made.oof([view]), made.test([view])) for view in each}
    oof, test = views_of(made, theirs.tta)
    taken = None
    if config.submission.variant == "auto" and theirs.tta != [views.IDENTITY]:
        taken = views.take(made.oof, theirs.tta, evaluator)
        if taken.kind == "auto":
            oof, test = oof | {"auto": made.oof(taken.views)}, test | {"auto": made.test(taken.views)}
    notes = tuple(f"{name}: {note}" for note in (*made.notes, *trained_alike.mixed(folder, made.folds)))
    return Member(name, made.classes, made.ids, made.fold_N, made.test_ids, oof, test, each_view, taken, notes)


def sums_to_one(probs_NC: Array) -> bool:
    """Tell whether every row sums to 1, as written with few decimals."""
    return bool((np.abs(probs_NC.sum(1) - 1) <= SUM_TOLERANCE).all())


def is_run(folder: Path) -> bool:
    """Tell whether a folder holds a run's prediction files, or should; otherwise tables."""
    return any(folder.glob("fold*/valid.npz")) or not (folder / "oof.csv").is_file()

"""Read one member of a blend: a run of ours, or a teammate's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import loading as configs
from pipeline.config.config import Config
from pipeline.errors import InputError, MismatchError, Problem
from pipeline.files import prediction_tables
from pipeline.files.tables import FIXED, read_text_table, texts
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.arrays import Array
from pipeline.prediction.oof import RunPredictions, find_run, id_problems, other_classes, other_folds, read_run

SUM_TOLERANCE = 1e-3  # of a row of probabilities written with few decimals


@dataclass(frozen=True)
class Member:
    """Hold one member's probabilities as `plain` (identity only) and `tta`, rows sorted by id."""

    name: str
    classes: tuple[str, ...]
    ids: Array  # [N] str
    fold_N: Array
    test_ids: Array  # [T] str
    oof: Mapping[str, Array]  # plain, tta -> [N,C] float64, or a Top where not all classes are kept
    test: Mapping[str, Array]  # plain, tta -> [T,C], the same
    each_view: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)  # OOF and test; where views are chosen


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
    kinds = {"plain": ["identity"], "tta": tta}
    return {kind: made.oof(views) for kind, views in kinds.items()}, {k: made.test(views) for k, views in kinds.items()}


def run_member(name: str, folder: Path, config: Config, table: FoldTable) -> Member:
    """Read a run with the views of its own config; this run's, and that of its seeds, is the one at hand."""
    made = read_run(folder, table, composite=config.submission.composite)
    here = [config.run_dir, *(one.run_dir for one in config.per_seed)]
    theirs = config if folder in here else configs.load([folder / "config.yaml"])
    if theirs.data.task != config.data.task:
        text, expected = f"a {theirs.data.task} run", f"{config.data.task} as in this config"
        raise MismatchError(Problem(str(folder), text, expected))
    each = theirs.tta if config.ensemble.views == "select" and len(theirs.tta) > 1 and made.kept is None else []
    each_view = {view: (made.oof([view]), made.test([view])) for view in each}
    oof, test = views_of(made, theirs.tta)
    return Member(name, made.classes, made.ids, made.fold_N, made.test_ids, oof, test, each_view)


def tables_member(name: str, folder: Path, table: FoldTable, sums: bool, values: bool) -> Member:
    """Read `oof.csv` (id, fold, one column per class) and `test.csv` (id, classes); they know no views.

    A column `target` is passed over: truth is the fold table's. `sums`: rows must sum to 1; `values`: cells are no
    probabilities.
    """
    problems: list[Problem] = []
    paths = folder / "oof.csv", folder / "test.csv"
    oof, test = (_read_csv(path, need, problems) for path, need in zip(paths, (["id", "fold"], ["id"]), strict=True))
    if oof is None or test is None:
        raise MismatchError(*problems)
    classes, test_classes = (tuple(str(name) for name in one.columns if name not in FIXED) for one in (oof, test))
    if prediction_tables.is_short(classes):
        text = "holds only the first classes of a row"
        raise MismatchError(Problem(str(paths[0]), text, "the run's folder with its fold<k>/valid.npz as a member"))
    if classes != test_classes:
        problems.append(other_classes(paths[1], test_classes, "oof.csv", classes))
    ids, test_ids = texts(oof["id"]), texts(test["id"])
    fold_N = pd.to_numeric(oof["fold"], errors="coerce").fillna(-1).to_numpy(np.int64)
    problems += id_problems(paths[0], ids, table.ids[table.fold >= 0], "in the fold table")
    problems += id_problems(paths[1], test_ids, np.unique(test_ids), "there")
    if not problems:
        theirs = FoldTable(ids=ids, groups=ids, targets=pd.DataFrame(index=range(len(ids))), fold=fold_N)
        if theirs.fold_hash != table.fold_hash:
            problems.append(other_folds(paths[0], theirs.fold_hash, table.fold_hash))
    oof_NC = _cells(paths[0], oof, classes, sums, values, problems)
    test_TC = _cells(paths[1], test, test_classes, sums, values, problems)
    if problems:
        raise MismatchError(*problems)
    kinds = ("plain", "tta")
    return Member(name, classes, ids, fold_N, test_ids, dict.fromkeys(kinds, oof_NC), dict.fromkeys(kinds, test_TC))


def _read_csv(path: Path, wanted: Sequence[str], problems: list[Problem]) -> pd.DataFrame | None:
    try:
        table = read_text_table(path)
    except FileNotFoundError:
        remedy = "a member is a run's folder, or one with oof.csv and test.csv"
        problems.append(Problem(str(path), "missing", remedy=remedy))
        return None
    except ValueError as error:
        problems.append(Problem(str(path), f"not readable as CSV: {' '.join(str(error).split())}"))
        return None
    if missing := [column for column in wanted if column not in table]:
        remedy = f"it needs {', '.join(wanted)} and the classes"
        problems.append(Problem(str(path), f"lacks the column {', '.join(missing)}", remedy=remedy))
        return None
    return table.sort_values("id", key=texts, ignore_index=True)


def _cells(
    path: Path, table: pd.DataFrame, classes: Sequence[str], sums: bool, values: bool, problems: list[Problem]
) -> Array:
    """Return a table's numbers; of the first rule that rows break, their count and the first id are a problem."""
    probs_NC = np.asarray(table[list(classes)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64))
    rules = (
        (values, ~np.isfinite(probs_NC), "hold no numbers", ""),
        (
            not values,
            ~((probs_NC >= 0) & (probs_NC <= 1)),
            "hold no probabilities in [0, 1]",
            "write probabilities, not logits",
        ),
        (
            not values and sums,
            np.abs(probs_NC.sum(1, keepdims=True) - 1) > SUM_TOLERANCE,
            "do not sum to 1",
            "scale them, or blend by rank_mean",
        ),
    )
    for asked, bad_NC, what, remedy in rules:
        if asked and (bad_N := bad_NC.any(axis=1)).any():
            text = f"{bad_N.sum()} rows {what} (first id '{table['id'][bad_N.argmax()]}')"
            problems.append(Problem(str(path), text, remedy=remedy))
            break
    return probs_NC


def sums_to_one(probs_NC: Array) -> bool:
    """Tell whether every row sums to 1, as written with few decimals."""
    return bool((np.abs(probs_NC.sum(1) - 1) <= SUM_TOLERANCE).all())


def is_run(folder: Path) -> bool:
    """Tell whether a folder holds a run's prediction files, or should; otherwise tables."""
    return any(folder.glob("fold*/valid.npz")) or not (folder / "oof.csv").is_file()

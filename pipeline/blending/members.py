"""Find and read the members of a blend: runs of ours, or a teammate's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.blending import composing
from pipeline.blending.member import Member
from pipeline.config import loading as configs
from pipeline.config.config import Config
from pipeline.config.rules import topk_rules
from pipeline.errors import FoldlineError, InputError, MismatchError
from pipeline.files.tables import FIXED, read_text_table, texts
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS
from pipeline.prediction import runs

SUM_TOLERANCE = 1e-3  # of a row of probabilities written with few decimals


def folders(config: Config) -> dict[str, Path]:
    """Return the members' folders by name; raise InputError listing those that are missing or named twice.

    A member composed of several runs is none of them, see composing.folders.
    """
    names = config.ensemble.members
    if names is None:
        return {} if config.ensemble.compose else {one.run_dir.name: one.run_dir for one in config.per_seed}
    defects: list[str] = []
    found: dict[str, Path] = {}
    for name in names:
        choices = [Path(config.runs_dir) / name, Path(name)]
        folder = next((choice for choice in choices if choice.is_dir()), None)
        if folder is None:
            defects.append(f"ensemble.members: '{name}' is no folder under {config.runs_dir}; train it, or give a path")
        elif name in found:
            defects.append(f"ensemble.members: '{name}' is named twice; name it once")
        elif (same := next((other for other in found if found[other].resolve() == folder.resolve()), None)) is not None:
            defects.append(f"ensemble.members: '{name}' is the folder of '{same}'; name it once")
        else:
            found[name] = folder
    if not names:
        defects.append("ensemble.members: found an empty list, expected runs; null blends this run alone")
    if defects:
        raise InputError(*defects)
    return found


def files(config: Config, table: FoldTable) -> dict[str, Path]:
    """Return the files that `read_all` reads, by the member's name and the path in its folder."""
    found = dict(folders(config))
    for several in composing.folders(config).values():
        found |= several
    return {
        f"{name}/{path.relative_to(folder)}": path
        for name, folder in found.items()
        for path in (
            [*runs.prediction_files(folder, range(table.n)), folder / "config.yaml"]
            if _is_run(folder)
            else [folder / "oof.csv", folder / "test.csv"]
        )
    }


def read_all(config: Config, table: FoldTable, single_label: bool, uses_ranks: bool) -> list[Member]:
    """Read every member; raise MismatchError with the defects of all of them together.

    All must have the fold table's fold hash, and one class list, one task and the same test ids. Rows of a
    teammate's tables must sum to 1 where classes exclude each other, unless ranks are blended.
    """
    defects: list[str] = []
    members = []
    values = TASKS[config.data.task].regression
    for name, folder in folders(config).items():
        try:
            if _is_run(folder):
                members.append(_read_run(name, folder, config, table))
            else:
                members.append(_read_tables(name, folder, table, single_label and not uses_ranks, values))
        except FoldlineError as error:
            defects += error.lines
    if config.ensemble.compose:
        try:
            members.append(composing.read(config, table))
        except FoldlineError as error:
            defects += error.lines
    for member in members[1:]:
        first = members[0]
        if member.classes != first.classes:
            defects.append(runs.other_classes(Path(member.name), member.classes, first.name, first.classes))
        counts = [topk_rules.kept_by(one.oof["tta"]) for one in (member, first)]
        if counts[0] != counts[1]:
            defects.append(runs.other_count(member.name, counts[0], first.name, counts[1]))
        where = f"among the test ids of {first.name}"
        defects += runs.id_defects(Path(member.name), member.test_ids, first.test_ids, where)
    if defects:
        raise MismatchError(*defects)
    return members


def _is_run(folder: Path) -> bool:
    return any(folder.glob("fold*/valid.npz")) or not (folder / "oof.csv").is_file()


def _read_run(name: str, folder: Path, config: Config, table: FoldTable) -> Member:
    """Read a run with the views of its own config; this run's, and that of its seeds, is the one at hand."""
    made = runs.read(folder, table, composite=config.submission.composite)
    here = [config.run_dir, *(one.run_dir for one in config.per_seed)]
    own = config if folder in here else configs.load([folder / "config.yaml"])
    if own.data.task != config.data.task:
        raise MismatchError(f"{folder}: a {own.data.task} run, expected {config.data.task} as in this config")
    variants = {"plain": ["identity"], "tta": own.tta}
    several = config.ensemble.views == "select" and len(own.tta) > 1 and made.files is None
    return Member(
        name=name,
        classes=made.classes,
        ids=made.ids,
        fold_N=made.fold_N,
        test_ids=made.test_ids,
        oof={variant: made.oof(views) for variant, views in variants.items()},
        test={variant: made.test(views) for variant, views in variants.items()},
        views=tuple(own.tta),
        oof_VNC=np.stack([made.oof([view]) for view in own.tta]) if several else None,
        test_VTC=np.stack([made.test([view]) for view in own.tta]) if several else None,
    )


def _read_tables(name: str, folder: Path, table: FoldTable, sums: bool, values: bool) -> Member:
    """Read `oof.csv` (id, fold, one column per class) and `test.csv` (id, classes); they know no views.

    A column `target` is passed over: truth is the fold table's.
    """
    defects: list[str] = []
    oof, test = (
        _read_csv(folder / "oof.csv", ["id", "fold"], defects),
        _read_csv(folder / "test.csv", ["id"], defects),
    )
    if oof is None or test is None:
        raise MismatchError(*defects)
    classes, test_classes = _classes(oof), _classes(test)
    if topk_rules.is_short(classes):
        text = "holds the first classes of a row alone; a member needs the run's folder with its fold<k>/valid.npz"
        raise MismatchError(f"{folder / 'oof.csv'}: {text}")
    if classes != test_classes:
        defects.append(runs.other_classes(folder / "test.csv", test_classes, "oof.csv", classes))
    ids, test_ids = texts(oof["id"]), texts(test["id"])
    fold_N = pd.to_numeric(oof["fold"], errors="coerce").fillna(-1).to_numpy(np.int64)
    defects += runs.id_defects(folder / "oof.csv", ids, table.ids[table.fold >= 0], "in the fold table")
    defects += runs.id_defects(folder / "test.csv", test_ids, np.unique(test_ids), "there")
    if not defects:
        theirs = FoldTable(ids=ids, groups=ids, targets=pd.DataFrame(index=range(len(ids))), fold=fold_N)
        if theirs.fold_hash != table.fold_hash:
            defects.append(runs.other_folds(folder / "oof.csv", theirs.fold_hash, table.fold_hash))
    oof_NC = _numbers(folder / "oof.csv", oof, classes, sums, values, defects)
    test_TC = _numbers(folder / "test.csv", test, test_classes, sums, values, defects)
    if defects:
        raise MismatchError(*defects)
    return Member(
        name=name,
        classes=classes,
        ids=ids,
        fold_N=fold_N,
        test_ids=test_ids,
        oof={"plain": oof_NC, "tta": oof_NC},
        test={"plain": test_TC, "tta": test_TC},
    )


def _read_csv(path: Path, wanted: Sequence[str], defects: list[str]) -> pd.DataFrame | None:
    try:
        table = read_text_table(path)
    except FileNotFoundError:
        defects.append(f"{path}: missing; a member is a run's folder, or one with oof.csv and test.csv")
        return None
    except ValueError as error:
        defects.append(f"{path}: not readable as CSV: {' '.join(str(error).split())}")
        return None
    missing = [column for column in wanted if column not in table]
    if missing:
        defects.append(f"{path}: lacks the column {', '.join(missing)}; it needs {', '.join(wanted)} and the classes")
        return None
    return table.sort_values("id", key=texts, ignore_index=True)


def _classes(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(str(name) for name in table.columns if name not in FIXED)


def _numbers(
    path: Path, table: pd.DataFrame, classes: Sequence[str], sums: bool, values: bool, defects: list[str]
) -> Array:
    probs_NC = table[list(classes)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    if values:
        if (bad := ~np.isfinite(probs_NC).all(axis=1)).any():
            defects.append(f"{path}: {bad.sum()} rows hold no numbers (first id '{table['id'][bad.argmax()]}')")
        return np.asarray(probs_NC)
    bad = ~((probs_NC >= 0) & (probs_NC <= 1)).all(axis=1)
    if bad.any():
        what = f"{bad.sum()} rows hold no probabilities in [0, 1] (first id '{table['id'][bad.argmax()]}')"
        defects.append(f"{path}: {what}; write probabilities, not logits")
    elif sums and (off := np.abs(probs_NC.sum(1) - 1) > SUM_TOLERANCE).any():
        what = f"{off.sum()} rows do not sum to 1 (first id '{table['id'][off.argmax()]}')"
        defects.append(f"{path}: {what}; scale them, or blend by rank_mean")
    return np.asarray(probs_NC)

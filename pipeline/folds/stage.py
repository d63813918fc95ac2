"""Assign each training row to a fold, once, and freeze the assignment; verify it ever after."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.competition.competition import load
from pipeline.errors import FoldlineError, InputError, MismatchError, Problem, Refused, some
from pipeline.folds import by_column, fold_table
from pipeline.folds.balance import Labels, count_units, deviation, fold_counts, lower_bound
from pipeline.folds.rows import FoldRows
from pipeline.folds.schemes import assign
from pipeline.folds.strata import choose
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    from pipeline.competition.competition import Competition
    from pipeline.config.config import Config

Report = dict[str, Any]
LIBRARIES = ("numpy", "pandas", "scikit-learn", "iterative-stratification")
SHOWN = 10  # labels printed per fold


def run(config: Config, force: bool = False, competition: Competition | None = None) -> Path:
    """Return the fold table's path, made where there is none (or with `force`), verified where there is one.

    An existing table is never remade on its own: teammates' models validate by it. Raises MismatchError
    where it does not fit the data or the config, InputError where no assignment exists.
    """
    competition, path = competition or load(config), config.folds_path
    rows = FoldRows(config, competition)
    exists = path.is_file()
    if exists and not force:
        table, done = fold_table.read(config), "fits the data and the config, reused"
        report = fold_table.read_report(config)
        fold_table.verify(table, competition)
        if report is None:
            report = _report(config, rows, table, {"scheme": "given", "reason": "the table came without a report"})
            fold_table.write(config, table, report)
        _check_made(config, competition, rows, table, report)
    else:
        table, report = make(config, competition, rows)
        fold_table.write(config, table, report)
        done = "remade" if exists else "made"
    print(f"folds: {path} {done}")
    _show(report)
    return path


def _asked(config: Config, rows: FoldRows) -> Report:
    """Return the scheme that the config means for these data, and the other wishes that matter for it."""
    folds = config.folds
    asked: Report
    if folds.column is not None:
        scheme: str = by_column.TIME if folds.scheme == by_column.TIME else "column"
        asked = {"scheme": scheme, "reason": "asked for", "column": folds.column}
        asked |= {"n": folds.n} if scheme == by_column.TIME else {}
        return asked | {"target": config.data.targets, "group": config.data.group}
    try:
        by_content = config.data.group is None and rows.group_N is not None
        scheme, reason = choose(folds.scheme, rows.group_N, rows.several, bool(rows.columns), by_content)
    except Refused as error:
        raise InputError(*(problem.below("folds.scheme") for problem in error.problems)) from None
    asked = {"scheme": scheme, "reason": reason, "n": folds.n, "seed": folds.seed}
    asked |= {"stratify": list(rows.columns), "target": config.data.targets, "group": config.data.group}
    if scheme == "holdout":
        asked |= {"n": 1, "valid_share": folds.valid_share}
    if rows.columns or TASKS[config.data.task].regression:
        asked["bins"] = folds.bins
    if folds.rare == "train":
        asked |= {"rare": "train", "rare_below": folds.rare_below or folds.n}
    return asked


def problems(config: Config, competition: Competition | None) -> list[Problem]:
    """Return what is wrong with an existing table, by itself and, where they are known, beside the training rows."""
    if not config.folds_path.is_file():
        return []
    try:
        table, report = fold_table.read(config), fold_table.read_report(config)
        if competition is not None:
            fold_table.verify(table, competition)
            _check_made(config, competition, FoldRows(config, competition), table, report)
    except FoldlineError as error:
        return list(error.problems)
    return []


def _check_made(
    config: Config, competition: Competition, rows: FoldRows, table: fold_table.FoldTable, report: Report | None
) -> None:
    """Raise MismatchError where a stored table was made otherwise than the config means."""
    path = config.folds_path
    if report is not None and (differs := differences(config, rows, report)):
        remedy = f"restore the config, or {fold_table.REMEDY}"
        raise MismatchError(*(Problem(str(path), f"made with {line}", remedy=remedy) for line in differs))
    if report is not None and (problem := _moved(config, competition, rows, table)) is not None:
        raise MismatchError(problem)


def differences(config: Config, rows: FoldRows, report: Report) -> list[str]:
    """Return how the report of a stored table differs from what the config means, one line per key.

    A table that was made for more target columns serves each of them: models of one column can then be composed.
    """
    asked = {"rare": None, "rare_below": None, "column": None, **_asked(config, rows)}
    if report.get("scheme") == "given":
        return []
    if set(config.data.targets) < set(report.get("target") or ()):
        balanced = ("target", "bins", *(["scheme"] if config.folds.scheme == "auto" else []))
        asked = {key: wish for key, wish in asked.items() if key not in balanced}
    section = {"target": "data", "group": "data"}
    return [
        f"{section.get(key, 'folds')}.{key} {report.get(key)!r}, the config means {wish!r}"
        for key, wish in asked.items()
        if key != "reason" and report.get(key) != wish
    ]


def of_column(config: Config, competition: Competition) -> fold_table.FoldTable | None:
    """Return the folds of `folds.column`, which need no search; None where it names no column."""
    return make(config, competition, FoldRows(config, competition))[0] if config.folds.column is not None else None


def _moved(config: Config, competition: Competition, rows: FoldRows, table: fold_table.FoldTable) -> Problem | None:
    """Return why a stored table is not what its column gives now, if so."""
    if config.folds.column is None or fold_table.scheme(config) == "given":
        return None
    now_N, _ = by_column.assign(config, competition, rows)
    moved = table.ids[now_N != table.fold]
    if not len(moved):
        return None
    found = f"{len(moved)} ids (first '{moved[0]}') have another fold by {config.folds.column} (folds.column) now"
    return Problem(str(table.path), found, remedy=f"restore the column, or {fold_table.REMEDY}")


def make(config: Config, competition: Competition, rows: FoldRows) -> tuple[fold_table.FoldTable, Report]:
    """Return a new table and its report; raise InputError where no assignment exists."""
    asked = _asked(config, rows)
    if config.folds.column is not None:
        return _by_column(config, competition, rows, asked)
    folds, scheme = config.folds, asked["scheme"]
    labels, cell_N = rows.balanced(scheme)
    group_N = None if scheme in ("stratified", "multilabel") else rows.group_N  # there, a group is one row
    dealt = np.ones(rows.n, dtype=bool)
    if "rare" in asked:
        dealt = ~rows.rare(asked["rare_below"])[0]
    class_N, cell_N = (np.unique(code_N[dealt], return_inverse=True)[1] for code_N in (rows.class_N, cell_N))
    units = None if group_N is None else np.unique(group_N[dealt], return_inverse=True)[1]
    try:
        found = assign(scheme, labels.of_rows(dealt), class_N, cell_N, units, folds.n, folds.seed, folds.valid_share)
    except Refused as error:
        raise InputError(*(problem.below("folds.n") for problem in error.problems)) from None
    sorted_N = np.full(rows.n, -1, dtype=np.int64)
    sorted_N[dealt] = found.fold_N
    fold_N = np.empty(rows.n, dtype=np.int64)
    fold_N[rows.order] = sorted_N
    table = fold_table.of_competition(competition, config.data.targets, fold_N, config.folds_path)
    report = _report(config, rows, table, asked)
    report |= {"deviation": found.deviation, "lower_bound": found.lower_bound, "others": found.others}
    return table, report


def _by_column(
    config: Config, competition: Competition, rows: FoldRows, asked: Report
) -> tuple[fold_table.FoldTable, Report]:
    sorted_N, names = by_column.assign(config, competition, rows)
    fold_N = np.empty(rows.n, dtype=np.int64)
    fold_N[rows.order] = sorted_N
    forward = asked["scheme"] == by_column.TIME
    table = fold_table.of_competition(competition, config.data.targets, fold_N, config.folds_path, forward)
    if forward:
        reason = f"by {asked['column']}; fold k trains on the rows before it alone"
        report = _report(config, rows, table, asked | {"reason": reason})
        spans = by_column.spans(config, competition, rows, sorted_N)
        for fold in report["folds"]:
            fold["from"], fold["to"] = spans[fold["fold"]]
        return table, report
    numbered = ", ".join(f"{name} → {k}" for k, name in enumerate(names) if name != str(k))
    reason = f"the folds of {asked['column']}{f', numbered {numbered}' if numbered else ', as they stand'}"
    report = _report(config, rows, table, asked | {"reason": reason})
    return table, report | {"cells": list(names)}


def _report(config: Config, rows: FoldRows, table: fold_table.FoldTable, asked: Report) -> Report:
    counts_KL = fold_counts(np.where(table.fold < 0, table.n, table.fold), rows.labels, table.n + 1)
    names = [*range(table.n), -1] if counts_KL[-1, -1] else [*range(table.n)]
    names_K = [dict(zip(rows.labels.names, row[:-1].tolist(), strict=True)) for row in counts_KL]
    report = {
        "name": config.name,
        **asked,
        "versions": {name: version(name) for name in LIBRARIES},
        "table_hash": table.table_hash,
        "fold_hash": table.fold_hash,
        "folds": [{"fold": k, "size": int(counts_KL[k, -1]), "labels": names_K[k]} for k in names],
        "warnings": [*_warnings(rows, table.n if table.n > 1 else 2, asked), *_of_column(table, rows.labels, asked)],
    }
    if asked["scheme"] in ("given", "column", by_column.TIME) and table.n > 1:
        share_K, valid_N = np.full(table.n, 1 / table.n), table.fold >= 0
        labels, (units, unit_M) = rows.labels.of_rows(valid_N), np.unique(rows.unit_N[valid_N], return_inverse=True)
        bound = lower_bound(count_units(labels, unit_M, len(units)), share_K)
        achieved = deviation(table.fold[valid_N], labels, share_K)
        report |= {"deviation": achieved, "lower_bound": min(achieved, bound), "others": {}}
    return report


def _warnings(rows: FoldRows, n: int, asked: Report) -> list[str]:
    """Say what no assignment can mend: labels in too few rows or groups, a group larger than a fold."""
    unit_N, what = rows.unit_N, "row" if rows.group_N is None else "group"
    n_labels = len(rows.labels.names)
    held = np.unique(unit_N[rows.labels.row_P] * n_labels + rows.labels.label_P) % n_labels
    holders_L = np.bincount(held, minlength=n_labels)
    found = []
    if "rare" in asked:
        never, kept = (int(chosen.sum()) for chosen in rows.rare(asked["rare_below"]))
        rule = f"classes of fewer than {asked['rare_below']} rows"
        found.append(f"{never} rows of {rule} are trained on in every fold and never validated")
        if kept:
            found.append(f"{kept} rows of {rule} are validated all the same: their groups hold other classes too")
    for name, holders in zip(rows.labels.names, holders_L.tolist(), strict=True):
        if holders == 1:
            found.append(f"label '{name}' lies in one {what}: no model that trained on it can be validated on it")
        elif 1 < holders < n:
            found.append(f"label '{name}' lies in {holders} {what}s, fewer than {n} folds: some validate none of it")
    size_G = np.bincount(unit_N)
    if size_G.max() > 1.5 * rows.n / n and "column" not in asked:
        name, share = rows.group_names[size_G.argmax()], size_G.max() / rows.n
        found.append(f"group '{name}' holds {share:.0%} of the rows: folds cannot be of one size")
    return found


def _of_column(table: fold_table.FoldTable, labels: Labels, asked: Report) -> list[str]:
    """Say what a column's folds leave out: labels that a fold validates and never trains on, folds of unequal size."""
    if "column" not in asked:
        return []
    found = []
    for fold in range(table.n):
        counts = [
            np.bincount(labels.label_P[held_N[labels.row_P]], minlength=len(labels.names))
            for held_N in (table.fold == fold, table.trains(fold))
        ]
        if unseen := [labels.names[c] for c in np.flatnonzero((counts[0] > 0) & (counts[1] == 0)).tolist()]:
            found.append(f"fold {fold} validates labels that it trains on no row of: {some(unseen)}")
    sizes = np.bincount(table.fold[table.fold >= 0], minlength=table.n).tolist()
    if max(sizes) > 2 * min(sizes):
        least, most = sizes.index(min(sizes)), sizes.index(max(sizes))
        text = f"fold {most} validates {max(sizes)} rows, fold {least} {min(sizes)}"
        found.append(f"{text}: scores of small folds swing more, and the mean over folds counts each alike")
    return found


def _show(report: Report) -> None:
    seed = f", seed {report.get('seed', 'unknown')}" if "column" not in report else ""
    print(f"  scheme {report['scheme']} ({report['reason']}){seed}")
    for fold in report["folds"]:
        text = some([f"{name} {count}" for name, count in fold["labels"].items()], SHOWN)
        name = f"fold {fold['fold']}" if fold["fold"] >= 0 else "never validated"
        if "from" in fold:
            name = f"{name}, {fold['from']} to {fold['to']}"
        print(f"  {name}: {fold['size']} rows: {text}")
    if "deviation" in report:
        print(f"  deviation {report['deviation']:.6f}, no assignment is below {report['lower_bound']:.6f}")
    for splitter, answers in report.get("others", {}).items():
        print(f"  {splitter}: " + ", ".join(f"{value:.6f} ({how})" for how, value in answers.items()))
    for warning in report["warnings"]:
        print(f"  warning: {warning}")
    print(f"  table {report['table_hash'][:12]}, folds {report['fold_hash'][:12]}")

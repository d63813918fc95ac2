"""Compare two runs on the same folds: what was set differently, and whether the scores differ significantly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.config import fingerprints, run_configs
from pipeline.config.config import Config
from pipeline.config.keys import KEYS
from pipeline.config.rules import topk_rules
from pipeline.errors import FoldlineError, InputError, MismatchError, Problem, problems_of
from pipeline.files import checksums, prediction_tables
from pipeline.files.atomic import read_json
from pipeline.files.tables import read_text_table, texts
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import find
from pipeline.methods.resampling import Interval
from pipeline.plugins import file_of
from pipeline.prediction import class_order
from pipeline.prediction.oof import find_run, id_problems, other_classes, read_run
from pipeline.prediction.predictions import Predictions
from pipeline.scoring.evaluation import LEVEL, ROUNDS, Evaluator

NAMES = ("run", "runs_dir")  # differ by themselves


@dataclass(frozen=True)
class Side:
    """Hold one run's OOF predictions, rows sorted by id."""

    name: str
    classes: tuple[str, ...]
    ids: Array
    fold_N: Array
    probs_NC: Array


@dataclass(frozen=True)
class Found:
    """Hold the scores of both runs on the folds that both have, and the second's lead: above 0 it is better."""

    folds: list[int]
    scores_2K: Array
    leads_K: Array
    lead: float
    interval: Interval | None  # None: scores as they were written, whose metric cannot be computed
    groups: int
    greater_is_better: bool


def run(names: Sequence[str], runs_dir: Path, settings: Sequence[str] = ()) -> Found:
    """Print the comparison of two runs, or blends, and return it.

    The settings change how both are scored (metric, tta), not what is listed as different between them. The
    metric is the first run's, or the second's where that of the first is code in a run's folder, which never runs here;
    where both are, the scores are those that the runs' files hold. Raises MismatchError where they lie on other folds
    or have other classes.
    """
    folders = [find_run(name, runs_dir, "diff") for name in names]
    scored, changes = [run_configs.of_run(one, settings) for one in folders], _changes(folders)
    print(f"{names[0]} -> {names[1]}\nconfig: {'no differences' if not changes else ''}".rstrip())
    print("".join(f"  {line}\n" for line in changes), end="")
    ours = any(setting.partition("=")[0].strip() == "metric" for setting in settings)
    by = next((one for one in scored if ours or file_of(one.metric) is None), None)
    found, lines = _as_written(folders, scored[0]) if by is None else _compared(folders, scored, _known(by))
    print("\n".join(lines))
    return found


def between(folders: Sequence[Path], config: Config) -> list[str]:
    """Return the comparison of two runs of a config's competition by its metric, each by its own views, as lines."""
    return _compared(folders, [run_configs.of_run(folder) for folder in folders], config)[1]


def _compared(folders: Sequence[Path], scored: Sequence[Config], by: Config) -> tuple[Found, list[str]]:
    _same_folds(folders)
    table, sides, problems = fold_table.read(by), list[Side](), list[Problem]()
    order = class_order.predicted(by, table) if by.data.heads else None
    for folder, config in zip(folders, scored, strict=True):
        try:
            sides.append(_read(folder, config, table, order))
        except FoldlineError as error:
            problems += error.problems
    if problems:
        raise MismatchError(*problems)
    found = compare(by, table, *sides)
    return found, _lines(by.metric, [side.name for side in sides], found, table.n)


def _known(config: Config) -> Config:
    """Return the config; raise InputError where its metric, which the command line names, is none."""
    try:
        find(config.metric)
    except ValueError as error:
        raise InputError(*(problem.below("--set metric", ": ") for problem in problems_of(error))) from None
    return config


def _as_written(folders: Sequence[Path], by: Config) -> tuple[Found, list[str]]:
    """Return the comparison of the scores that both runs' files hold, without resamples."""
    _same_folds(folders)
    table, problems, scores, directions = fold_table.read(by), list[Problem](), list[dict[int, float]](), set[bool]()
    for folder in folders:
        path = folder / ("scores.json" if any(folder.glob("fold*/valid.npz")) else "ensemble.json")
        fingerprints.require(folder, path.name)
        try:
            report = read_json(path)
            if report["metric"] != by.metric:
                problems.append(Problem(str(path), f"scored by {report['metric']}", by.metric))
            values = report["variants"][report.get("submitted", "tta")]["per_fold"]
            folds = report.get("folds", list(range(len(values))))
            scores.append({int(k): np.nan if v is None else float(v) for k, v in zip(folds, values, strict=True)})
            directions.add(bool(report["greater_is_better"]))
        except FileNotFoundError:
            problems.append(Problem(str(path), "missing", remedy="make it with: foldline score, or ensemble"))
        except (KeyError, TypeError, AttributeError, ValueError):
            problems.append(Problem(str(path), "holds no scores by fold", remedy="make it again"))
    if len(directions) == 2:
        problems.append(Problem("diff", f"the two runs turn {by.metric} in different directions"))
    folds = sorted(set.intersection(*map(set, scores))) if len(scores) == 2 else []
    if not problems and not folds:
        problems.append(Problem(str(folders[1]), "has no fold of the first run", remedy="score one that both have"))
    if problems:
        remedy = "or compare by a metric of Foldline's, as with --set metric=log_loss"
        raise MismatchError(*(replace(one, remedy=", ".join(filter(None, [one.remedy, remedy]))) for one in problems))
    scores_2K, (greater,) = np.array([[one[fold] for fold in folds] for one in scores]), directions
    leads_K = (scores_2K[1] - scores_2K[0]) * (1 if greater else -1)
    found = Found(folds, scores_2K, leads_K, _mean(leads_K), None, 0, greater)
    return found, _lines(by.metric, [folder.name for folder in folders], found, table.n)


def compare(config: Config, table: FoldTable, first: Side, second: Side) -> Found:
    """Score both on the rows of the folds that both have; raises MismatchError where classes or folds differ."""
    sides, problems = (first, second), list[Problem]()
    folds = np.intersect1d(first.fold_N, second.fold_N)
    if first.classes != second.classes:
        problems.append(other_classes(second.name, second.classes, first.name, first.classes))
    if not len(folds):
        theirs, others = (np.unique(side.fold_N).tolist() for side in sides)
        text = f"has the folds {others}, {first.name} {theirs}"
        problems.append(Problem(second.name, text, remedy="predict one that both have"))
    if problems:
        raise MismatchError(*problems)
    for side in sides:
        topk_rules.check_metric(config.metric, side.probs_NC)
    rows, others = (np.isin(side.fold_N, folds) for side in sides)
    evaluator = Evaluator.of(config, table, first.ids[rows], first.fold_N[rows], first.classes)
    both = first.probs_NC[rows], second.probs_NC[others]
    scores_2K = np.stack([evaluator.fold_scores(probs_NC) for probs_NC in both])
    leads_K = evaluator.metric.direction * (scores_2K[1] - scores_2K[0])
    one_R, other_R = map(evaluator.bootstrap, both)
    interval = evaluator.interval_of_lead(other_R, one_R)
    return Found(
        folds.tolist(),
        scores_2K,
        leads_K,
        _mean(leads_K),
        interval,
        evaluator.resamples.groups,
        evaluator.metric.greater_is_better,
    )


def _changes(folders: Sequence[Path]) -> list[str]:
    """Return what was set differently: what was learnt with as it was trained, all else as it was predicted with."""
    learnt, again = run_configs.LEARNT, [name for name in run_configs.LEARNT if name in run_configs.LATER]
    others = [name for name in KEYS if name not in (*learnt, *NAMES)]
    trained = [fingerprints.fields(run_configs.trained(one), learnt, one) for one in folders]
    predicted = [run_configs.of_run(one) for one in folders]
    both = zip(trained, predicted, folders, strict=True)
    found = fingerprints.differences(*(fields | fingerprints.fields(own, others, one) for fields, own, one in both))
    later = fingerprints.differences(
        *(fingerprints.fields(own, again, one) for own, one in zip(predicted, folders, strict=True))
    )
    return [*found, *(f"{line} (in prediction)" for line in later if line not in found)]


def _same_folds(folders: Sequence[Path]) -> None:
    """Raise MismatchError where the runs themselves say that they lie on different folds."""
    hashes = []
    for folder in folders:
        files = sorted(folder.glob("fold*/valid.npz"))
        hashes.append(str(Predictions.load(files[0]).meta.get("fold_hash")) if files else None)
    if None not in hashes and hashes[0] != hashes[1]:
        one, other = (f"{folder} on {str(text)[:12]}" for folder, text in zip(folders, hashes, strict=True))
        remedy = "only rows of the same folds can be paired"
        raise MismatchError(Problem("different folds", f"{one}, {other}", remedy=remedy))


def _read(folder: Path, config: Config, table: FoldTable, order: Sequence[str] | None) -> Side:
    """Read a run's folds, those it has, with heads in this order, or a blend's OOF rows."""
    if any(folder.glob("fold*/valid.npz")):
        names = config.submission.composite
        made = read_run(folder, table, classes=order, composite=names, partial=True, test=False)
        return Side(folder.name, made.classes, made.ids, made.fold_N, made.oof(config.tta))
    path = folder / "blend_oof.csv"
    if not path.is_file():
        text = "has neither fold<k>/valid.npz nor blend_oof.csv"
        raise MismatchError(Problem(str(folder), text, remedy="run: foldline predict"))
    stamp = fingerprints.read_stamp(folder, "ensemble")
    if stamp is None or stamp.fields.get("folds") != checksums.file_hash(table.path):
        text = f"not blended on {table.path} as it is now"
        raise MismatchError(Problem(str(folder), text, remedy="run again: foldline ensemble"))
    fingerprints.require(folder, path.name, "ensemble.json")
    try:
        cells = read_text_table(path).sort_values("id", ignore_index=True)
        classes = tuple(str(name) for name in cells.columns[1:])
        if prediction_tables.is_short(classes):
            text = "holds only the first classes of a row"
            raise MismatchError(Problem(str(path), text, remedy="compare the runs that were blended"))
        probs_NC = cells.iloc[:, 1:].to_numpy(np.float64)
    except (ValueError, KeyError) as error:
        found = f"damaged ({' '.join(str(error).split())})"
        raise MismatchError(Problem(str(path), found, remedy="run again: foldline ensemble")) from None
    ids = texts(cells["id"])
    if problems := id_problems(path, ids, table.ids[table.fold >= 0], "in the fold table"):
        raise MismatchError(*problems)
    fold_N = table.fold[fold_table.row_numbers(table.ids, ids)]
    classes = tuple(read_json(folder / "ensemble.json").get("classes", classes))  # a column may be called otherwise
    return Side(folder.name, classes, ids, fold_N, probs_NC)


def _lines(metric: str, names: Sequence[str], found: Found, whole: int) -> list[str]:
    direction = "greater" if found.greater_is_better else "lower"
    partial = "" if len(found.folds) == whole else f", PARTIAL: {len(found.folds)} of {whole} folds"
    width = max(len("lead"), *map(len, names))
    lines = [
        f"{metric} ({direction} is better), OOF{partial}",
        f"{'fold':<{width}}{'mean':>10}" + "".join(f"{fold:>10}" for fold in found.folds),
    ]
    for name, scores_K in zip(names, found.scores_2K, strict=True):
        lines.append(f"{name:<{width}}" + "".join(map(_text, [_mean(scores_K), *scores_K])))
    lines.append(f"{'lead':<{width}}" + "".join(_text(lead, "+") for lead in [found.lead, *found.leads_K]))
    leader = f"{names[1]} leads {names[0]} by {found.lead:+.4f}"
    if found.interval is None:
        why = f"as the runs' files say: {metric} is code, which diff runs only where --set metric= names it"
        return [*lines, f"{leader}, {why}; without it there is no interval"]
    low, high = found.interval.low, found.interval.high
    percent = f"{100 * LEVEL:.0f} %"
    verdict = f"{'' if found.interval.excludes_zero else 'not '}significant ({percent})"
    if not found.interval.reliable:
        verdict += f", UNRELIABLE: {found.groups} groups vary"
    lost = f", {found.interval.lost} lost" if found.interval.lost else ""
    between = "undefined" if np.isnan(low) else f"{low:+.4f} to {high:+.4f}"
    return [
        *lines,
        f"{leader}, {percent} interval {between} ({ROUNDS:,} resamples of {found.groups:,} groups{lost}): {verdict}",
    ]


def _mean(scores_K: Array) -> float:
    defined = scores_K[np.isfinite(scores_K)]
    return float(defined.mean()) if len(defined) else float("nan")


def _text(value: float, sign: str = "-") -> str:
    return f"{'-':>10}" if np.isnan(value) else f"{value:>{'+' if sign == '+' else ''}10.4f}"

"""Score a run's out-of-fold predictions and write them as tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.competition.metric_warnings import misleading, score_warnings
from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.keys import affecting
from pipeline.config.rules import topk_rules
from pipeline.config.sections.section import Affects
from pipeline.errors import MismatchError
from pipeline.files import checksums, prediction_tables
from pipeline.files.atomic import read_json, write_json
from pipeline.files.tables import FIXED, write_table
from pipeline.folds import fold_table
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import METRICS, find, per_class
from pipeline.methods.tasks import TASKS
from pipeline.prediction import class_order, trained_alike
from pipeline.prediction.oof import RunPredictions, predicted_folds, prediction_files, read_run
from pipeline.scoring import baseline
from pipeline.scoring.evaluation import Evaluator
from pipeline.scoring.scores import scores, shown, truth


def run(config: Config, partial: bool = False) -> Path:
    """Write oof.csv, test.csv and scores.json of the run; return the path of scores.json.

    The primary score is the mean over folds: a pooled score also depends on how the folds' scales agree.
    `partial` scores the folds there are and says so in the file. With `train.seeds` each seed's run has its own
    files, and the last one's path is returned. Raises MismatchError where predictions and fold table do not fit,
    see oof.read_run.
    """
    if config.train.seeds is not None:
        paths = [run(one, partial) for one in config.per_seed]
        print(_over_seeds(config.train.seeds, [read_json(path) for path in paths]))
        return paths[-1]
    folder, table = config.run_dir, fold_table.read(config)
    path = folder / "scores.json"
    folds = predicted_folds(folder, table) if partial else list(range(table.n))
    found = fields(config, folds)
    if problems := trained_alike.other_tables(folder, folds, table):
        raise MismatchError(*problems)
    written = [path, folder / "oof.csv", folder / "test.csv"]
    if not fingerprints.is_done(folder, "score", found, written):
        report, oof, test = compute(config, table, partial)
        write_table(written[1], oof)
        write_table(written[2], test)
        write_json(path, report)
        fingerprints.stamp(folder, "score", found, written)
    print("\n".join(_summary(read_json(path), path)))
    return path


def fields(config: Config, folds: Sequence[int]) -> fingerprints.Fields:
    """Return what the scores of these folds depend on."""
    folder = config.run_dir
    files = prediction_files(folder, folds) + prediction_files(folder / "last", folds, ["valid"])
    return fingerprints.fields(
        config,
        affecting(Affects.SCORE),
        folds=checksums.file_hash(config.folds_path),
        **{str(file.relative_to(folder)): checksums.file_hash(file) for file in files},
    )


def compute(
    config: Config, table: fold_table.FoldTable, partial: bool
) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """Return what scores.json, oof.csv and test.csv hold, from the prediction files; write nothing."""
    made = _read(config, config.run_dir, table, partial)
    task, metric = TASKS[config.data.task], find(config.metric)
    evaluator = Evaluator.of(config, table, made.ids, made.fold_N, made.classes)
    targets_NC, tta_NC = evaluator.targets_NC, made.oof(config.tta)
    kept, usual = topk_rules.kept_by(tta_NC), [name for name, one in METRICS.items() if task.name in one.usual]
    usual = usual if config.metric in usual else [config.metric, *usual]
    admitted = [name for name in usual if topk_rules.admits(name, kept)]

    columns = {} if task.regression else per_class(targets_NC, tta_NC, task.single_label)

    def of(probs_NC: Array, name: str = config.metric) -> dict[str, Any]:
        return scores(task, name, targets_NC, probs_NC, made.fold_N)

    report = {
        "metric": config.metric,
        "greater_is_better": metric.greater_is_better,
        "task": task.name,
        "classes": list(made.classes),
        "fold_hash": table.fold_hash,
        "partial": len(made.folds) < table.n,
        "folds": list(made.folds),
        "selected_on_valid": config.train.keep == "best" or config.train.patience is not None,
        "variants": {"plain": of(made.oof(["identity"])), "tta": of(tta_NC)},
        "views": {view: of(made.oof([view])) for view in made.views},
        "metrics": {name: of(tta_NC, name) for name in admitted},
        "per_class": {
            name: {what: None if np.isnan(value) else value for what, value in zip(columns, values, strict=True)}
            for name, *values in zip(made.classes if columns else (), *columns.values(), strict=True)
        },
    }
    if kept is not None:
        report["left_out"] = topk_rules.left_out([name for name in usual if name not in admitted], kept)
    if config.train.keep == "best":
        report["last_epoch"] = _last_epoch(config, table, partial)
    constant = baseline.beside(config, table, evaluator, made.classes, tta_NC, admitted)
    report["baseline"] = constant
    report["warnings"] = [
        *trained_alike.mixed(config.run_dir, made.folds),
        *baseline.learnt_nothing(config, evaluator.score(tta_NC), constant),
        *baseline.never_predicted(config, targets_NC, tta_NC, made.classes),
        *misleading(config, targets_NC, made.classes),
        *score_warnings(config, targets_NC, tta_NC, made.fold_N, evaluator.groups_N),
    ]
    labels = task.label_text(targets_NC, made.classes)
    first = [made.ids, made.fold_N, np.asarray(labels, dtype=object)]
    oof = prediction_tables.table(first, FIXED, tta_NC, made.classes)
    return report, oof, prediction_tables.table([made.test_ids], FIXED[:1], made.test(config.tta), made.classes)


def _read(
    config: Config, folder: Path, table: fold_table.FoldTable, partial: bool, test: bool = True
) -> RunPredictions:
    """Read a run; heads in the order of the truth, as combinations called 0, 1, … do not say which they are."""
    classes = class_order.predicted(config, table) if config.data.heads else None
    names = config.submission.composite
    return read_run(folder, table, classes=classes, composite=names, partial=partial, test=test)


def _last_epoch(config: Config, table: fold_table.FoldTable, partial: bool) -> dict[str, Any]:
    """Score the last epoch, which was not chosen on these rows, on the views it was predicted with."""
    made = _read(config, config.run_dir / "last", table, partial, test=False)
    views = config.tta if set(config.tta) <= set(made.views) else ["identity"]
    targets_NC = truth(config, table, made.ids, made.classes)
    task = TASKS[config.data.task]
    return {"views": views, **scores(task, config.metric, targets_NC, made.oof(views), made.fold_N)}


def _summary(report: dict[str, Any], path: Path) -> list[str]:
    metric, folds = report["metric"], len(report["folds"])
    direction = "greater" if report["greater_is_better"] else "lower"
    kind = f"PARTIAL, folds {', '.join(map(str, report['folds']))} only" if report["partial"] else f"{folds} folds"
    lines = [
        f"{metric} ({direction} is better), OOF, {kind}",
        f"{'':<18}{'mean ± std':>17}{'pooled':>9}  per fold",
    ]
    lines += [_line(name, scored) for name, scored in report["variants"].items()]
    if constant := report.get("baseline"):  # runs of earlier versions have none
        lines.append(_line(baseline.NAME, constant))
    lines += [_line(f"view {view}", scored) for view, scored in report["views"].items()]
    if "last_epoch" in report:
        lines.append(_line("last epoch", report["last_epoch"]))
    if report["selected_on_valid"]:
        lines.append("the epoch was chosen on these rows: the scores are optimistic")
    known = {name: f" ({shown(mean)})" for name, mean in (constant or {"metrics": {}})["metrics"].items()}
    means = {name: of["mean"] for name, of in report["metrics"].items() if name != metric}
    others = [f"{name} {shown(mean)}{known.get(name, '')}" for name, mean in means.items()]
    warned = [f"warning: {text}" for text in report.get("warnings", [])]
    missing = [report["left_out"]] if "left_out" in report else []
    beside = f" (of a {baseline.NAME})" if known else ""
    return [*lines, f"tta{beside}: {', '.join(others)}", *missing, *warned, f"written: {path}"]


def _over_seeds(seeds: Sequence[int], reports: Sequence[dict[str, Any]]) -> str:
    """Say how far the score moves with the seed alone: a smaller lead of another config may be luck."""
    means = [report["variants"]["tta"]["mean"] for report in reports]
    listed = ", ".join(f"{seed}: {shown(mean)}" for seed, mean in zip(seeds, means, strict=True))
    known = [mean for mean in means if mean is not None]
    spread = f", ± {np.std(known, ddof=1):.4f} from seed to seed" if len(known) > 1 else ""
    return f"seeds, {reports[0]['metric']} of tta: {listed}" + (f"; mean {np.mean(known):.4f}{spread}" if known else "")


def _line(name: str, scored: dict[str, Any]) -> str:
    spread = f"{shown(scored['mean'])} ± {shown(scored['std'])}"
    return f"{name:<18}{spread:>17}{shown(scored['pooled']):>9}  {' '.join(map(shown, scored['per_fold']))}"

"""Blend members and write the submission in four variants, each with its OOF score."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.contracts import fingerprint, foldtable, members, submission
from pipeline.contracts.artifacts import read_json, write_json, write_table
from pipeline.contracts.config import Config
from pipeline.contracts.members import Member
from pipeline.contracts.scoring import scores, truth
from pipeline.contracts.task import TASKS
from pipeline.parts.blenders import BLENDERS, Fit, Goal
from pipeline.parts.metrics import METRICS

Array = np.ndarray[Any, np.dtype[Any]]
LEAST_ALPHA = 0.001  # of the smoothed variants where none is configured
KEYS = (
    *("metric", "tta", "ensemble", "submission"),
    *("data.task", "data.target", "data.separator", "data.id"),
)


@dataclass(frozen=True)
class Variant:
    """Hold one way to read the members: its probabilities and how they were smoothed."""

    oof_NC: Array
    test_TC: Array
    alpha: float


def run(config: Config) -> Path:
    """Write submission.csv, its variants, blend.csv, blend_oof.csv, weights.json and ensemble.json.

    Nothing is written unless every variant can be. Returns the path of submission.csv. Raises InputError on a
    wrong sample or missing members, MismatchError where members do not fit together or to the sample.
    """
    folder, table, sample = config.run_dir, foldtable.read(config), submission.read_sample(config)
    found = fields(config, table, sample)
    variants = [
        folder / "submissions" / f"{name}{smoothed}.csv" for smoothed in ("", "_smoothed") for name in ("plain", "tta")
    ]
    names = ("submission.csv", "ensemble.json", "weights.json", "blend.csv", "blend_oof.csv")
    written = [*variants, *(folder / name for name in names)]
    if not (fingerprint.is_done(folder, "ensemble", found) and all(path.is_file() for path in written)):
        _blend(config, table, sample)
        fingerprint.stamp(folder, "ensemble", found)
    print("\n".join(_summary(read_json(folder / "ensemble.json"), folder / "submission.csv")))
    return folder / "submission.csv"


def main(arguments: argparse.Namespace) -> None:
    """Run the command `ensemble`."""
    from pipeline.cli import read_config

    run(read_config(arguments))


def fields(config: Config, table: foldtable.FoldTable, sample: pd.DataFrame) -> fingerprint.Fields:
    """Return what the blend depends on."""
    inputs = {
        f"{name}/{path.relative_to(folder)}": fingerprint.file_hash(path)
        for name, folder in members.folders(config).items()
        for path in members.files(folder, table)
    }
    return fingerprint.fields(
        config,
        KEYS,
        folds=fingerprint.file_hash(config.folds_path),
        sample=fingerprint.digest({"csv": sample.to_csv(index=False)}),
        **inputs,
    )


def _blend(config: Config, table: foldtable.FoldTable, sample: pd.DataFrame) -> None:
    folder, task = config.run_dir, TASKS[config.data.task]
    blender = BLENDERS[config.ensemble.blender]
    read = members.read_all(config, table, task.exclusive, blender.uses_ranks)
    first = read[0]
    targets_NC = truth(config, table, first.ids, first.classes)
    kind = config.submission.variant.removesuffix("_smoothed")
    oof_MNC = np.stack([member.oof[kind] for member in read])
    seed = config.ensemble.seed
    fit = blender.fit(oof_MNC, Goal(targets_NC, METRICS[config.metric], task.exclusive, first.fold_N, seed))
    variants = _variants(config, read, fit)
    filled = {
        name: submission.build(sample, config, first.classes, first.test_ids, variant.test_TC)
        for name, variant in variants.items()
    }
    weights = {member.name: float(weight) for member, weight in zip(read, fit.weights_M, strict=True)}
    chosen = config.submission.variant
    report = {
        "metric": config.metric,
        "blender": config.ensemble.blender,
        "members": list(weights),
        "weights": weights,
        "variants": {
            name: {
                "alpha": variant.alpha,
                "threshold": config.ensemble.smoothing.threshold,
                **scores(task, config.metric, targets_NC, variant.oof_NC, first.fold_N),
                "equal_to": next(
                    (other for other in _before(filled, name) if filled[other].equals(filled[name])), None
                ),
            }
            for name, variant in variants.items()
        },
        "submitted": chosen,
    }
    for name, rows in filled.items():
        write_table(folder / "submissions" / f"{name}.csv", rows)
    write_table(folder / "blend.csv", _table(first.test_ids, variants[chosen].test_TC, first.classes))
    write_table(folder / "blend_oof.csv", _table(first.ids, variants[chosen].oof_NC, first.classes))
    write_json(folder / "weights.json", weights)
    write_json(folder / "ensemble.json", report)
    write_table(folder / "submission.csv", filled[chosen])


def _variants(config: Config, read: list[Member], fit: Fit) -> dict[str, Variant]:
    """Blend plain and tta, then smooth the blends."""
    task, blender, smoothing = (
        TASKS[config.data.task],
        BLENDERS[config.ensemble.blender],
        config.ensemble.smoothing,
    )
    made = {}
    for name in ("plain", "tta"):
        oof_MNC = np.stack([member.oof[name] for member in read])
        test_MTC = np.stack([member.test[name] for member in read])
        made[name] = Variant(
            blender.apply(fit, oof_MNC, task.exclusive, read[0].fold_N),
            blender.apply(fit, test_MTC, task.exclusive),
            0.0,
        )
    alpha = smoothing.alpha or LEAST_ALPHA
    for name in ("plain", "tta"):
        oof_NC, test_TC = (
            task.smooth_probs(probs_NC, alpha, smoothing.threshold)
            for probs_NC in (made[name].oof_NC, made[name].test_TC)
        )
        made[f"{name}_smoothed"] = Variant(oof_NC, test_TC, alpha)
    return made


def _before(names: dict[str, Any], name: str) -> list[str]:
    listed = list(names)
    return listed[: listed.index(name)]


def _table(ids: Array, probs_NC: Array, classes: tuple[str, ...]) -> pd.DataFrame:
    table = pd.DataFrame(dict(enumerate([ids, *probs_NC.T])))
    table.columns = ["id", *classes]
    return table


def _summary(report: dict[str, Any], path: Path) -> list[str]:
    lines = [
        f"{report['metric']}, OOF, {report['blender']} of {', '.join(report['members'])}",
        f"{'':<18}{'mean ± std':>17}{'pooled':>9}",
    ]
    for name, variant in report["variants"].items():
        spread = f"{_text(variant['mean'])} ± {_text(variant['std'])}"
        notes = [f"same file as {variant['equal_to']}"] if variant["equal_to"] else []
        notes += ["submitted"] if name == report["submitted"] else []
        lines.append(f"{name:<18}{spread:>17}{_text(variant['pooled']):>9}  {', '.join(notes)}".rstrip())
    return [*lines, f"written: {path}"]


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"

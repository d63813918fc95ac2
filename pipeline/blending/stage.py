"""Blend members and write the submission in four variants, each with its cross-fitted OOF score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.blending import composing, members
from pipeline.blending.judging import Judge
from pipeline.blending.member import Member
from pipeline.blending.printing import summary
from pipeline.blending.variants import Blended, blend_all
from pipeline.competition.metric_warnings import cautions, misleading
from pipeline.competition.sample_submission import read_sample
from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.keys import affecting
from pipeline.config.loading import dump
from pipeline.config.rules import topk_rules
from pipeline.config.sections.section import Affects
from pipeline.errors import InputError
from pipeline.files import checksums
from pipeline.files.atomic import read_json, write_json, write_text
from pipeline.files.tables import write_table
from pipeline.folds import fold_table
from pipeline.methods.blenders import find as find_blender
from pipeline.methods.metrics import find
from pipeline.methods.tasks import TASKS
from pipeline.scoring.scores import scores, truth
from pipeline.submission import filling


def run(config: Config) -> Path:
    """Write submission.csv, its variants, blend.csv, blend_oof.csv, weights.json and ensemble.json.

    A folder that holds a blend alone gets its config.yaml too.
    blend_oof.csv and every score of a fitted blend are cross-fitted: each fold by weights of the other folds.
    Nothing is written unless every variant can be. Returns the path of submission.csv. Raises InputError on a
    wrong sample or missing members, MismatchError where members do not fit together or to the sample.
    """
    folder, table, sample = config.run_dir, fold_table.read(config), read_sample(config)
    found = fields(config, table, sample)
    variants = [
        folder / "submissions" / f"{name}{smoothed}.csv" for smoothed in ("", "_smoothed") for name in ("plain", "tta")
    ]
    names = ("submission.csv", "ensemble.json", "weights.json", "blend.csv", "blend_oof.csv")
    written = [*variants, *(folder / name for name in names)]
    if not (fingerprints.is_done(folder, "ensemble", found) and all(path.is_file() for path in written)):
        _blend(config, table, sample)
        fingerprints.stamp(folder, "ensemble", found)
    if not any(folder.glob("fold*")):  # a blend alone; beside trained folds it says how they were trained
        write_text(folder / "config.yaml", dump(config))
    print("\n".join(summary(read_json(folder / "ensemble.json"), folder / "submission.csv")))
    return folder / "submission.csv"


def fields(config: Config, table: fold_table.FoldTable, sample: pd.DataFrame) -> fingerprints.Fields:
    """Return what the blend depends on."""
    inputs = {name: checksums.file_hash(path) for name, path in members.files(config, table).items()}
    return fingerprints.fields(
        config,
        affecting(Affects.SUBMISSION),
        folds=checksums.file_hash(config.folds_path),
        sample=checksums.digest({"csv": sample.to_csv(index=False)}),
        **inputs,
    )


def _blend(config: Config, table: fold_table.FoldTable, sample: pd.DataFrame) -> None:
    folder, task, chosen = config.run_dir, TASKS[config.data.task], config.submission.variant
    asked = config.ensemble.blender
    read = members.read_all(config, table, task.single_label, asked != "auto" and find_blender(asked).uses_ranks)
    first = read[0]
    if problems := topk_rules.problems(config, topk_rules.kept_by(first.oof["tta"])):
        raise InputError(*problems)
    judge = _judge(config, table, first)
    made = blend_all(config, read, judge)
    notes = [*made.report.get("notes", []), *_origin(config)]
    filled = _fill(config, sample, first, made)
    report = _report(config, judge, made, filled) | {"warnings": _warnings(config, judge, made, first.classes)}
    report |= {"notes": notes} if notes else {}
    for name, rows in filled.items():
        write_table(folder / "submissions" / f"{name}.csv", rows)
    one = made.variants[chosen]
    write_table(folder / "blend.csv", topk_rules.table([first.test_ids], ["id"], one.test_TC, first.classes))
    write_table(folder / "blend_oof.csv", topk_rules.table([first.ids], ["id"], one.oof_NC, first.classes))
    write_json(folder / "weights.json", made.report["weights"])
    write_json(folder / "ensemble.json", report)
    write_table(folder / "submission.csv", filled[chosen])


def _fill(config: Config, sample: pd.DataFrame, first: Member, made: Blended) -> dict[str, pd.DataFrame]:
    """Return each variant's submission; those that are one prediction are one table."""
    filled: dict[tuple[int, int], pd.DataFrame] = {}
    of = {}
    for name, variant in made.variants.items():
        decided_TC = None if variant.decided is None else variant.decided.test_TC
        of[name] = (id(variant.test_TC), id(decided_TC))
        if of[name] not in filled:
            shown = (first.classes, first.test_ids, variant.test_TC, decided_TC)
            filled[of[name]] = filling.build(sample, config, *shown)
    return {name: filled[key] for name, key in of.items()}


def _judge(config: Config, table: fold_table.FoldTable, first: Member) -> Judge:
    targets_NC = truth(config, table, first.ids, first.classes)
    if topk_rules.kept_by(first.oof["tta"]) is None:
        targets_NC = np.asarray(targets_NC)  # as large as a member: blenders read cells
    return Judge(
        find(config.metric),
        TASKS[config.data.task].single_label,
        targets_NC,
        first.fold_N,
        table.groups[fold_table.row_numbers(table.ids, first.ids)],
        config.ensemble.seed,
    )


def _report(config: Config, judge: Judge, made: Blended, filled: dict[str, pd.DataFrame]) -> dict[str, Any]:
    task = TASKS[config.data.task]
    variants = {
        name: {
            "alpha": variant.alpha,
            "threshold": config.ensemble.smoothing.threshold,
            **scores(
                task,
                config.metric,
                judge.targets_NC,
                variant.oof_NC if variant.decided is None else variant.decided.oof_NC,
                judge.fold_N,
            ),
            "equal_to": next((other for other in _before(filled, name) if filled[other].equals(filled[name])), None),
        }
        for name, variant in made.variants.items()
    }
    return {
        "metric": config.metric,
        "greater_is_better": judge.metric.greater_is_better,
        **made.report,
        "variants": variants,
        "submitted": config.submission.variant,
    }


def _warnings(config: Config, judge: Judge, made: Blended, classes: tuple[str, ...]) -> list[str]:
    submitted = made.variants[config.submission.variant]
    scored_NC = submitted.oof_NC if submitted.decided is None else submitted.decided.oof_NC
    return [
        *misleading(config, judge.targets_NC, classes),
        *cautions(config, judge.targets_NC, scored_NC, judge.fold_N, judge.groups_N),
    ]


def _origin(config: Config) -> list[str]:
    """Say what the members are that the config does not name."""
    seeds = config.train.seeds
    if seeds is None or config.ensemble.members is not None or config.ensemble.compose:
        return composing.described(config)
    return [f"members: this config with the seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"]


def _before(names: dict[str, Any], name: str) -> list[str]:
    listed = list(names)
    return listed[: listed.index(name)]

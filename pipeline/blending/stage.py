"""Blend members and write the submission in its variants, each with its cross-fitted OOF score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.blending import composite, members
from pipeline.blending.member import Member
from pipeline.blending.summary import summary
from pipeline.blending.variants import Variant, blend_all
from pipeline.competition.metric_warnings import misleading, score_warnings
from pipeline.competition.sample_submission import read_sample, with_classes
from pipeline.config import fingerprints, plugin_files
from pipeline.config.config import Config
from pipeline.config.keys import affecting
from pipeline.config.loading import dump
from pipeline.config.rules import topk_rules
from pipeline.config.sections.section import Affects
from pipeline.errors import InputError
from pipeline.files import checksums, prediction_tables
from pipeline.files.atomic import read_json, write_json, write_text
from pipeline.files.tables import write_table
from pipeline.folds import fold_table
from pipeline.methods.arrays import Array
from pipeline.methods.blenders import find as find_blender
from pipeline.methods.tasks import TASKS
from pipeline.prediction import class_order
from pipeline.scoring import baseline
from pipeline.scoring.evaluation import Evaluator
from pipeline.scoring.scores import scores
from pipeline.submission import filling


def run(config: Config) -> Path:
    """Write submission.csv, its variants, blend.csv, blend_oof.csv, weights.json and ensemble.json.

    A folder that holds only a blend gets its config.yaml too.
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
    if not fingerprints.is_done(folder, "ensemble", found, written):
        tables, texts = compute(config, table, sample)
        if "submissions/auto.csv" not in tables:  # of an earlier blend
            (folder / "submissions" / "auto.csv").unlink(missing_ok=True)
        for name, value in texts.items():
            write_json(folder / name, value)
        for name, rows in tables.items():  # submission.csv comes last
            write_table(folder / name, rows)
        fingerprints.stamp(folder, "ensemble", found, [folder / name for name in (*texts, *tables)])
    if not any(folder.glob("fold*")):  # only a blend; beside trained folds it says how they were trained
        write_text(folder / "config.yaml", dump(config))
        fingerprints.record(folder, [folder / "config.yaml", *plugin_files.keep(config, trained=False)])
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


def compute(
    config: Config, table: fold_table.FoldTable, sample: pd.DataFrame
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Return the tables and the JSON of a blend by their paths in the folder of the run; write nothing."""
    config = with_classes(config, sample)
    task, asked = TASKS[config.data.task], config.ensemble.blender
    classes, valid = class_order.blended(config, table), table.fold >= 0
    evaluator = Evaluator.of(config, table, table.ids[valid], table.fold[valid], classes)
    uses_ranks = asked != "auto" and find_blender(asked).uses_ranks
    read = members.read_all(config, table, evaluator, classes, uses_ranks)
    first = read[0]
    kept = topk_rules.kept_by(first.oof["tta"])
    if problems := topk_rules.problems(config, kept):
        raise InputError(*problems)
    if kept is None and not isinstance(evaluator.targets_NC, np.ndarray):  # as large as a member: blenders read cells
        evaluator = replace(evaluator, targets_NC=np.asarray(evaluator.targets_NC))
    variants, found = blend_all(config, read, evaluator)
    submitted = found["submitted"]
    filled = _fill(config, sample, first, variants)
    targets_NC, fold_N, one = evaluator.targets_NC, evaluator.fold_N, variants[submitted]
    constant = baseline.beside(config, table, evaluator, first.classes, one.scored.cross_NC)
    report = {
        "metric": config.metric,
        "greater_is_better": evaluator.metric.greater_is_better,
        "classes": list(first.classes),
        **found,
        "variants": {
            name: {
                "alpha": variant.alpha,
                "threshold": config.ensemble.smoothing.threshold,
                **scores(task, config.metric, targets_NC, variant.scored.cross_NC, fold_N),
                "equal_to": _equal_to(name, filled),
            }
            for name, variant in variants.items()
        },
        "baseline": constant,
        "warnings": [
            *baseline.learnt_nothing(config, evaluator.score(one.scored.cross_NC), constant),
            *baseline.never_predicted(config, targets_NC, one.scored.cross_NC, first.classes),
            *misleading(config, targets_NC, first.classes),
            *score_warnings(config, targets_NC, one.scored.cross_NC, fold_N, evaluator.groups_N),
        ],
    }
    if notes := [*found.get("notes", []), *_origin(config), *(note for member in read for note in member.notes)]:
        report["notes"] = notes
    tables = {
        **{f"submissions/{name}.csv": rows for name, rows in filled.items()},
        "blend.csv": prediction_tables.table([first.test_ids], ["id"], one.blend.test(), first.classes),
        "blend_oof.csv": prediction_tables.table([first.ids], ["id"], one.blend.cross_NC, first.classes),
        "submission.csv": filled[submitted],
    }
    return tables, {"weights.json": found["weights"], "ensemble.json": report}


def _fill(config: Config, sample: pd.DataFrame, first: Member, variants: dict[str, Variant]) -> dict[str, pd.DataFrame]:
    """Return each variant's submission; those that are one prediction are one table."""

    @cache
    def build(blend: Callable[[], Array], decided: Callable[[], Array] | None) -> pd.DataFrame:
        return filling.build(sample, config, first.classes, first.test_ids, blend(), decided and decided())

    return {name: build(one.blend.test, one.decided and one.decided.test) for name, one in variants.items()}


def _equal_to(name: str, filled: dict[str, pd.DataFrame]) -> str | None:
    """Return the first variant whose submission is the same."""
    return next((other for other in takewhile(name.__ne__, filled) if filled[other].equals(filled[name])), None)


def _origin(config: Config) -> list[str]:
    """Say what the members are that the config does not name."""
    seeds = config.train.seeds
    if seeds is None or config.ensemble.members is not None or config.ensemble.compose:
        return composite.described(config)
    return [f"members: this config with the seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"]

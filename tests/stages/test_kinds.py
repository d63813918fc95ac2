"""Every kind of target and row from the tables to a scored submission: values, heads, order, several images, extras."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import SHAPES

from pipeline.contracts import foldtable
from pipeline.contracts.artifacts import Predictions
from pipeline.contracts.config import Config, load
from pipeline.stages import ensemble, folds, predict, score, train

Row = dict[str, str]


def rewrite(root: Path, name: str, change: Callable[[int, Row], Row]) -> None:
    """Change every row of one of the tables."""
    path = root / name
    with path.open() as stream:
        rows = [change(number, row) for number, row in enumerate(csv.DictReader(stream))]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def config(root: Path, **sections: Any) -> Config:
    """Read the competition's config with sections laid over it."""
    overlay = root / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(sections))
    return load([root / "config.yaml", overlay])


def run(made: Config) -> dict[str, Any]:
    """Run the stages and return scores.json."""
    for stage in (folds.run, train.run, predict.run, score.run, ensemble.run):
        stage(made)
    found: dict[str, Any] = json.loads((made.run_dir / "scores.json").read_text())
    return found


def submitted(made: Config) -> list[Row]:
    with (made.run_dir / "submission.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_values_come_back_in_the_unit_of_the_target(competition: Path) -> None:
    size = {"cross": 1000.0, "disk": 2000.0, "square": 3000.0}
    rewrite(competition, "train.csv", lambda n, row: {**row, "label": f"{size[row['label']] + n}"})
    rewrite(competition, "sample_submission.csv", lambda _, row: {**row, "label": "2000.0"})
    made = config(
        competition,
        data={"task": "regression", "range": [0, 4000]},
        loss={"name": "mse"},
        train={"epochs": 8},
        metric="rmse",
    )
    found = run(made)
    assert found["variants"]["tta"]["mean"] < 800, "the spread of the target is 816"
    answers = [float(row["label"]) for row in submitted(made)]
    assert len(answers) == 12 and all(0 <= answer <= 4000 for answer in answers) and np.std(answers) > 1
    sizes = [fold["size"] for fold in json.loads(made.folds_path.with_suffix(".json").read_text())["folds"]]
    assert sum(sizes) == 48

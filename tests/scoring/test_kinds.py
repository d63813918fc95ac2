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

from pipeline.blending import stage as ensemble
from pipeline.config.config import Config
from pipeline.config.loading import load
from pipeline.folds import fold_table
from pipeline.folds import stage as folds
from pipeline.prediction import stage as predict
from pipeline.prediction.predictions import Predictions
from pipeline.report import stage as report
from pipeline.scoring import stage as score
from pipeline.training import stage as train

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
    for stage in (folds.run, train.run, predict.run, score.run, ensemble.run, report.run):
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


def test_heads_are_trained_side_by_side_and_handed_in_as_composite_classes(competition: Path) -> None:
    bright = {"cross": "no", "disk": "yes", "square": "no"}
    rewrite(competition, "train.csv", lambda _, row: {**row, "shape": row["label"], "round": bright[row["label"]]})
    made = config(
        competition,
        data={"task": "multiclass", "target": ["shape", "round"], "heads": True},
        train={"epochs": 6},
        mix={"kind": "cutmix"},
        submission={"composite": "{shape}:{round}"},
        metric="accuracy",
    )
    found = run(made)
    stored = Predictions.load(made.run_dir / "fold0" / "valid.npz")
    assert stored.classes == ("shape=cross", "shape=disk", "shape=square", "round=no", "round=yes")
    assert stored.meta["heads"] == [["shape", 0, 3], ["round", 3, 5]]
    np.testing.assert_allclose(stored.probs_NVC[..., :3].sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(stored.probs_NVC[..., 3:].sum(-1), 1, atol=1e-5)
    with (made.run_dir / "oof.csv").open() as stream:
        header = next(csv.reader(stream))
    names = [f"{shape}:{answer}" for shape in SHAPES for answer in ("no", "yes")]
    assert header == ["id", "fold", "target", *names]
    assert found["variants"]["tta"]["mean"] > 1 / 3, "always one class has a third"
    assert {row["label"] for row in submitted(made)} <= set(names)


def test_several_images_of_one_id_are_pooled_and_extra_rows_are_never_validated(competition: Path) -> None:
    rewrite(competition, "train.csv", lambda n, row: {**row, "patient": f"p{n % 3}{n // 6}", "weight": f"{1 + n % 2}"})
    rewrite(competition, "test.csv", lambda n, row: {**row, "patient": f"t{n % 3}{n // 6}"})
    asked = [f"t{shape}{half}" for half in range(2) for shape in range(3)]
    (competition / "sample_submission.csv").write_text("patient,label\n" + "".join(f"{name},cross\n" for name in asked))
    with (competition / "train.csv").open() as stream:
        rows = list(csv.reader(stream))
    (competition / "more.csv").write_text("\n".join(map(",".join, rows[:13])) + "\n")
    (competition / "train.csv").write_text("\n".join(map(",".join, [rows[0], *rows[7:]])) + "\n")
    made = config(
        competition,
        data={
            "predict_id": "{patient}",
            "pool": "max",
            "group": "patient",
            "weight": "weight",
            "extra": [{"table": "more.csv", "weight": 0.5}],
        },
        submission={"id": "patient"},
        train={"epochs": 6},
        mix={"kind": "mixup", "prob": 1.0},
    )
    found = run(made)
    table = fold_table.read(made)
    assert len(table.ids) == 21 and not any(name.startswith("extra:") for name in table.ids)
    stored = Predictions.load(made.run_dir / "fold0" / "valid.npz")
    assert sorted(stored.ids.tolist()) == table.valid_ids(0).tolist()
    np.testing.assert_allclose(stored.probs_NVC.sum(-1), 1, atol=1e-5)
    assert found["variants"]["tta"]["mean"] > 1 / 3
    assert [row["patient"] for row in submitted(made)] == asked


def test_rare_classes_are_trained_on_in_every_fold(competition: Path) -> None:
    rewrite(competition, "train.csv", lambda n, row: {**row, "label": "odd" if n in (0, 7) else row["label"]})
    made = config(competition, data={"group": None}, folds={"rare": "train"})
    folds.run(made)
    table = fold_table.read(made)
    odd = table.targets["label"].to_numpy() == "odd"
    assert (table.fold[odd] == -1).all() and (table.fold[~odd] >= 0).all()
    assert all(set(table.ids[odd]) <= set(table.train_ids(k)) for k in range(table.n))
    assert [fold["size"] for fold in json.loads(made.folds_path.with_suffix(".json").read_text())["folds"]] == [
        16,
        15,
        15,
        2,
    ]
    with pytest.raises(Exception, match=r"folds.rare 'train', the config means None"):
        folds.run(config(competition, data={"group": None}))


def test_a_rare_row_stays_with_its_group(competition: Path) -> None:
    rewrite(competition, "train.csv", lambda n, row: {**row, "label": "odd" if n in (0, 7) else row["label"]})
    made = config(competition, folds={"rare": "train"})
    folds.run(made)
    assert (fold_table.read(made).fold >= 0).all()
    warnings = json.loads(made.folds_path.with_suffix(".json").read_text())["warnings"]
    assert any("2 rows of classes of fewer than 3 rows are validated all the same" in line for line in warnings)

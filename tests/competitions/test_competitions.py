"""Each listed competition, fabricated in its layout and run from check to submission with its ready config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from competitions.layouts import LAYOUTS, fabricate
from competitions.rules import validate
from competitions.scores import beats, score

from pipeline.blending import stage as ensemble
from pipeline.checking import stage as check
from pipeline.config import loading as configs
from pipeline.config import trees
from pipeline.config.config import Config
from pipeline.folds import stage as folds
from pipeline.prediction import stage as predict
from pipeline.scoring import stage as scoring
from pipeline.training import stage as train

# The quickest of each kind: grades, labels in file names, two annotated JSON files, repeated ids and an index column,
# values, several labels, several images of one prediction, numbers in records.
QUICK = {
    "aptos2019-blindness-detection",
    "dogs-vs-cats-redux-kernels-edition",
    "inaturalist-2019-fgvc6",
    "iwildcam-2019-fgvc6",
    "petfinder-pawpularity-score",
    "plant-pathology-2021-fgvc8",
    "rsna-breast-cancer-detection",
    "statoil-iceberg-classifier-challenge",
}
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow_competitions) for name in LAYOUTS]
READY = Path(__file__).resolve().parents[2] / "configs/competitions"


def tiny(name: str, root: Path, out: Path) -> Config:
    """Return the ready config of a competition with a network and a schedule that take seconds on a CPU."""
    tree = yaml.safe_load((READY / f"{name}.yaml").read_text("utf-8"))
    dirs = {key: str(out / key) for key in ("runs_dir", "folds_dir", "studies_dir")}
    tree["model"] = {"name": "test_resnet", "pretrained": False, "size": 32}
    tree["augment"] = {"train": "none"}
    schedule = {"epochs": 3, "batch_size": 8, "lr": 1e-2, "warmup_epochs": 0, "precision": "fp32", "threads": 1}
    tree["train"] = {**schedule, "workers": 0}
    changes = {**dirs, "data": {"root": str(root), "cache": {"dir": str(out / "cache")}}, "folds": {"n": 2}}
    return configs.parse(trees.overlaid(tree, changes), f"{name}.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_a_competition_passes_from_check_to_its_grader(
    name: str, tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    truth = fabricate(name, tmp_path / "data")
    config = tiny(name, tmp_path / "data", tmp_path)
    check.run(config)
    folds.run(config)
    train.run(config)
    predict.run(config)
    scoring.run(config)
    ensemble.run(config)
    submission = config.run_dir / "submission.csv"
    sample = tmp_path / "data" / config.data.sample_submission
    assert validate(name, sample, submission) == []
    reached, baseline = score(name, truth, submission), score(name, truth, sample)
    record_property("line", f"{name:<42}{config.metric:<26}{reached:8.4f}  sample {baseline:8.4f}")
    assert beats(name, reached, baseline), f"{reached} is no better than the sample's {baseline}"

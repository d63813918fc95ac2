"""Run a competition's config from check to submission.csv with a network that takes seconds on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.batches.seen import load
from pipeline.blending import stage as ensemble
from pipeline.checking import stage as check
from pipeline.config import loading as configs
from pipeline.config import trees
from pipeline.config.config import Config
from pipeline.folds import stage as folds
from pipeline.prediction import stage as predict
from pipeline.scoring import stage as scoring
from pipeline.training import stage as train


def shrunk(tree: dict[str, Any], place: str, root: Path, out: Path) -> Config:
    """Return a config with a tiny network, two folds and few epochs, below `out`."""
    dirs = {key: str(out / key) for key in ("runs_dir", "folds_dir", "studies_dir")}
    schedule = {"epochs": 3, "batch_size": 8, "lr": 1e-2, "warmup_epochs": 0, "precision": "fp32", "threads": 1}
    small = {
        "model": {"name": "test_resnet", "pretrained": False, "size": 32},
        "augment": {"train": "none"},
        "train": {**schedule, "workers": 0},
    }
    changes = {**dirs, "data": {"root": str(root), "cache": {"dir": str(out / "cache")}}, "folds": {"n": 2}}
    return configs.parse(trees.overlaid(tree | small, changes), place)


def submission(config: Config) -> Path:
    """Run every stage and return what is submitted."""
    check.run(config)
    folds.run(config, competition=load(config))
    train.run(config)
    predict.run(config)
    scoring.run(config)
    ensemble.run(config)
    return config.run_dir / "submission.csv"

"""Make runs whose views know the truth as well as they are told, and blend them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import CLASSES, TEST_IDS, make_config, make_folds, make_sample, pets

from pipeline.blending import stage as ensemble
from pipeline.config.config import Config
from pipeline.config.loading import dump
from pipeline.files.atomic import write_text
from pipeline.files.tables import read_text_table
from pipeline.folds.fold_table import FoldTable
from pipeline.prediction.predictions import Predictions
from pipeline.scoring.evaluation import Prediction, unfitted

ROWS = 240
WIDE = "id,cat,dog,eel\n" + "".join(f"{name},0,0,0\n" for name in TEST_IDS)


def base(folder: Path, **changes: Any) -> tuple[Config, FoldTable, np.ndarray]:
    """Return a config, its folds over ROWS rows and the truth [N,3]."""
    config = make_config(folder, **{"metric": "log_loss", **changes})
    make_sample(config, WIDE)
    table = make_folds(config, pets(ROWS))
    return config, table, np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]


def probabilities(rng: np.random.Generator, truth_NC: np.ndarray, signal: float, sharp: float = 1.0) -> np.ndarray:
    """Return softmax(sharp · (signal · truth + noise))."""
    logits_NC = sharp * (signal * truth_NC + rng.normal(size=truth_NC.shape))
    odds_NC = np.exp(logits_NC - logits_NC.max(1, keepdims=True))
    return (odds_NC / odds_NC.sum(1, keepdims=True)).astype(np.float32)


def add(
    config: Config,
    table: FoldTable,
    truth_NC: np.ndarray,
    name: str,
    views: Mapping[str, float],
    *,
    seed: int = 0,
    sharp: float = 1.0,
) -> None:
    """Write a run whose views know the truth as well as their signal says; the test is what a 0 would be."""
    run, rng = config.model_copy(update={"run": name, "tta": list(views)}), np.random.default_rng(seed)
    write_text(run.run_dir / "config.yaml", dump(run))
    for fold in range(table.n):
        rows = np.flatnonzero(table.fold == fold)
        meta = {"run": name, "fold": fold, "fold_hash": table.fold_hash, "task": config.data.task}
        for part, ids, truth in (("valid", table.ids[rows], truth_NC[rows]), ("test", TEST_IDS, np.zeros((5, 3)))):
            probs_NVC = np.stack([probabilities(rng, truth, signal, sharp) for signal in views.values()], axis=1)
            Predictions(ids, tuple(views), CLASSES, probs_NVC, meta).save(run.run_dir / f"fold{fold}/{part}.npz")


def blended(config: Config, *members: str, **changes: Any) -> tuple[Config, dict[str, Any]]:
    """Run the stage over the members in a folder of its own; return its config and ensemble.json."""
    asked = config.ensemble.model_copy(update={"members": list(members), **changes})
    config = config.model_copy(update={"run": "blend", "ensemble": asked})
    ensemble.run(config)
    return config, json.loads((config.run_dir / "ensemble.json").read_text())


def numbers(path: Path) -> np.ndarray:
    return read_text_table(path)[list(CLASSES)].astype(float).to_numpy()


def memory(probs_MNC: np.ndarray) -> dict[str, Prediction]:
    """Return members that were never on disk."""
    return {f"m{m}": unfitted(probs_NC, probs_NC[:0]) for m, probs_NC in enumerate(probs_MNC)}

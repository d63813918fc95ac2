"""Write runs and fold tables without training: learnable noise instead of predictions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.config import loading as configs
from pipeline.config.config import Config
from pipeline.files.atomic import write_text
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.prediction.predictions import Predictions

CLASSES = ("cat", "dog", "eel")
TEST_IDS = np.array(["0900", "0901", "0902", "0903", "0904"])


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a fresh Python that fails where the command imported torch."""
    code = (
        "import sys; from pipeline.cli import main; code = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    listed = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(listed, capture_output=True, text=True, check=False)


def make_config(folder: Path, **changes: Any) -> Config:
    """Return a config over `folder`; dotted keys written with `__` change it: data__task="binary"."""
    tree: dict[str, Any] = {
        "name": "pets",
        "runs_dir": str(folder / "runs"),
        "folds_dir": str(folder / "folds"),
        "data": {"root": str(folder / "pets"), "id": "id", "image": "{id}.png", "target": "label"},
        "model": {"name": "test_resnet", "pretrained": False},
        "tta": ["identity", "hflip"],
    }
    for key, value in changes.items():
        *parents, last = key.split("__")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = value
    return configs.parse(tree, "test")


def make_folds(config: Config, targets: pd.DataFrame, folds: int = 3) -> FoldTable:
    """Write a fold table with ids 0000, 0001, … and folds in turn."""
    ids = np.array([f"{n:04d}" for n in range(len(targets))])
    table = FoldTable(
        ids=ids,
        groups=np.full(len(ids), ""),
        targets=targets,
        fold=np.arange(len(ids)) % folds,
        path=config.folds_path,
    )
    fold_table.write(config, table, {"fold_hash": table.fold_hash})
    return table


def pets(rows: int = 30) -> pd.DataFrame:
    """Return one label column with each class equally often."""
    return pd.DataFrame({"label": [CLASSES[(n // 3) % 3] for n in range(rows)]})


def make_sample(config: Config, text: str | None = None) -> Path:
    """Write the sample submission."""
    path = Path(config.data.root) / config.data.sample_submission
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text or "id,label\n" + "".join(f"{name},cat\n" for name in TEST_IDS))
    return path


def make_run(
    config: Config,
    table: FoldTable,
    truth_NC: np.ndarray,
    *,
    folder: Path | None = None,
    classes: tuple[str, ...] = CLASSES,
    views: tuple[str, ...] = ("identity", "hflip"),
    seed: int = 0,
    single_label: bool = True,
    test: bool = True,
) -> dict[int, Predictions]:
    """Write a run whose probabilities lean to the truth, rows shuffled; return the validation predictions."""
    folder = folder or config.run_dir
    rng = np.random.default_rng(seed)

    def draw(truth: np.ndarray) -> np.ndarray:
        logits = 2.0 * truth[:, None] + rng.normal(size=(len(truth), len(views), len(classes)))
        if single_label:
            exp = np.exp(logits)
            return (exp / exp.sum(-1, keepdims=True)).astype(np.float32)
        return (1 / (1 + np.exp(1 - logits))).astype(np.float32)

    made = {}
    write_text(folder / "config.yaml", configs.dump(config))
    for fold in range(table.n):
        rows = rng.permutation(np.flatnonzero(table.fold == fold))
        meta = {"run": folder.name, "fold": fold, "fold_hash": table.fold_hash, "task": config.data.task}
        made[fold] = Predictions(table.ids[rows], views, classes, draw(truth_NC[rows]), meta)
        made[fold].save(folder / f"fold{fold}" / "valid.npz")
        if test:
            shuffled = rng.permutation(TEST_IDS)
            probs_NVC = draw(np.zeros((len(TEST_IDS), len(classes))))
            Predictions(shuffled, views, classes, probs_NVC, meta).save(folder / f"fold{fold}" / "test.npz")
    return made

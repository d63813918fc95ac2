"""Scores that mislead, are saturated or are too good are named, others are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import make_config

from pipeline.competition.metric_warnings import misleading, score_warnings

FOLD_N = np.arange(400) % 4
NONE_N = np.full(400, "")


def predicted(wrong: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a truth of two classes and predictions that are wrong in so many rows."""
    truth_N = np.arange(400) // 4 % 2
    said_N = truth_N.copy()
    said_N[:: 400 // wrong] ^= 1
    return np.eye(2)[truth_N], np.eye(2)[said_N] * 0.9 + 0.05


def found(tmp_path: Path, wrong: int, **changes: Any) -> list[str]:
    config = make_config(tmp_path, **{"metric": "accuracy", **changes})
    return score_warnings(config, *predicted(wrong), FOLD_N, NONE_N)


@pytest.mark.parametrize(
    ("metric", "share", "warned"),
    [
        ("accuracy", 0.9, True),
        ("accuracy", 0.7, False),
        ("top1_error", 0.9, True),
        ("top1_error", 0.6, False),
        ("f1_weighted", 0.95, True),
        ("balanced_accuracy", 0.99, False),
        ("mcc", 0.99, False),
        ("roc_auc", 0.99, False),
    ],
)
def test_a_metric_that_a_constant_satisfies_misleads(tmp_path: Path, metric: str, share: float, warned: bool) -> None:
    targets_NC = np.eye(2)[(np.arange(1000) >= share * 1000).astype(int)]
    lines = misleading(make_config(tmp_path, metric=metric), targets_NC, ["cat", "dog"])
    assert len(lines) == warned
    if warned:
        assert lines[0].startswith(f"{metric} misleads: always 'cat' scores ")


@pytest.mark.parametrize(("wrong", "warned"), [(2, True), (4, True), (8, False), (16, False), (100, False)])
def test_a_score_that_a_few_rows_decide_is_saturated(tmp_path: Path, wrong: int, warned: bool) -> None:
    lines = found(tmp_path, wrong)
    assert [line.startswith("accuracy is saturated: ") for line in lines] == [True] * warned


def test_a_perfect_score_is_saturated(tmp_path: Path) -> None:
    targets_NC, _ = predicted(1)
    for metric in ("accuracy", "roc_auc", "top1_error"):
        config = make_config(tmp_path, metric=metric)
        assert ["saturated" in line for line in score_warnings(config, targets_NC, targets_NC, FOLD_N, NONE_N)] == [
            True
        ]


@pytest.mark.parametrize(
    ("metric", "gold", "warned"),
    [
        ("accuracy", 0.85, True),
        ("accuracy", 0.94, False),
        ("accuracy", 0.99, False),
        ("accuracy", 1.0, False),
        ("top1_error", 0.2, True),
        ("top1_error", 0.07, False),
    ],
)
def test_a_score_far_beyond_gold_asks_for_a_leak(tmp_path: Path, metric: str, gold: float, warned: bool) -> None:
    medals = {"gold": gold, "silver": gold, "bronze": gold}
    lines = found(tmp_path, 20, metric=metric, medals=medals)
    assert ["look for a leak" in line for line in lines] == [True] * warned


def test_the_bounds_of_an_own_metric_are_unknown(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def always(targets_NC, probs_NC):\n    return 1.0\n")
    config = make_config(tmp_path, metric=f"{file}:always", medals={"gold": 0.1, "silver": 0.1, "bronze": 0.1})
    targets_NC, probs_NC = predicted(4)
    assert score_warnings(config, targets_NC, probs_NC, FOLD_N, NONE_N) == []
    assert misleading(config, np.eye(2)[[0] * 9 + [1]], ["0", "1"]) == []

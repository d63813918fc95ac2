from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.methods.metrics import METRICS
from pipeline.methods.resampling import mean_of_folds
from pipeline.methods.tasks import TASKS
from pipeline.scoring.scores import scores


def test_mean_and_std_are_those_of_the_folds_that_have_a_score() -> None:
    targets_NC = np.eye(2)[[0, 1, 0, 1, 1, 1]]
    probs_NC = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6], [0.1, 0.9], [0.8, 0.2]], dtype=np.float32)
    fold_N = np.array([0, 0, 1, 1, 2, 2])  # fold 2 holds a single class
    found = scores(TASKS["binary"], "roc_auc", targets_NC, probs_NC, fold_N)
    assert found["per_fold"] == [1.0, 0.0, None] and (found["mean"], found["std"]) == (0.5, 0.5)
    assert found["pooled"] == pytest.approx(0.75)  # 6 of 8 pairs, across folds too
    assert json.loads(json.dumps(found)) == found
    alone = scores(TASKS["binary"], "roc_auc", targets_NC[4:], probs_NC[4:], fold_N[4:])
    assert alone == {"per_fold": [None], "mean": None, "std": None, "pooled": None}


@pytest.mark.parametrize("task", list(TASKS))
def test_the_mean_is_the_primary_score_of_every_metric(task: str) -> None:
    rng = np.random.default_rng(4)
    targets_NC = rng.integers(0, 2, (80, 2)) if task == "multilabel" else np.eye(2)[rng.integers(0, 2, 80)]
    probs_NC = rng.dirichlet([1, 1], 80).astype(np.float32)
    fold_N = rng.integers(0, 4, 80)
    for name, metric in METRICS.items():
        if task in metric.tasks:
            found = scores(TASKS[task], name, targets_NC, probs_NC, fold_N)
            primary = mean_of_folds(metric, targets_NC, probs_NC, TASKS[task].single_label, fold_N)
            assert found["mean"] == pytest.approx(primary) and len(found["per_fold"]) == 4

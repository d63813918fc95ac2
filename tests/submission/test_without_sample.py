"""Without a sample submission the test's ids make one, in the columns that the metric reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cli
from synthetic import make_config

from pipeline.competition.competition import load
from pipeline.competition.sample_submission import read_sample
from pipeline.config.loading import load as load_config
from pipeline.errors import InputError
from pipeline.submission.filling import build

IDS = np.array(["b", "a"])
THREE, TWO = np.array([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]]), np.array([[0.25, 0.75], [0.75, 0.25]])
LISTED = {"data__task": "multilabel", "data__separator": " ", "loss__name": "binary_cross_entropy"}
HOT = {"data__task": "multilabel", "data__target": ["x", "y", "z"], "loss__name": "binary_cross_entropy"}
VALUES = {"data__task": "regression", "loss__name": "mse", "metric": "rmse"}


@pytest.mark.parametrize(
    ("changes", "probs_NC", "classes", "text"),
    [
        ({"metric": "accuracy"}, THREE, "xyz", "id,label\nb,x\na,z\n"),
        ({"metric": "log_loss"}, THREE, "xyz", "id,x,y,z\nb,0.5,0.25,0.25\na,0.125,0.125,0.75\n"),
        ({"metric": "map@2"}, THREE, "xyz", "id,label\nb,x y\na,z x\n"),
        ({"metric": "log_loss", "submission__cell": "class_id"}, THREE, "xyz", "id,label\nb,0\na,2\n"),
        ({"metric": "roc_auc", "data__task": "binary"}, TWO, "01", "id,label\nb,0.75\na,0.25\n"),
        ({"metric": "accuracy", "data__task": "binary"}, TWO, "01", "id,label\nb,1\na,0\n"),
        ({"metric": "f1_micro", **LISTED}, THREE, "xyz", "id,label\nb,x\na,z\n"),
        ({"metric": "mean_column_auc", **HOT}, THREE, "xyz", "id,x,y,z\nb,0.5,0.25,0.25\na,0.125,0.125,0.75\n"),
        ({"metric": "f1_micro", **HOT}, THREE, "xyz", "id,x,y,z\nb,1,0,0\na,0,0,1\n"),
        ({**VALUES, "data__target": ["h", "w"]}, 10 * TWO, "hw", "id,h,w\nb,2.5,7.5\na,7.5,2.5\n"),
        ({**VALUES, "submission__id": "Id"}, TWO[:, :1], ["label"], "Id,label\nb,0.25\na,0.75\n"),
    ],
)
def test_the_columns_follow_from_task_and_metric(changes: Any, probs_NC: Any, classes: Any, text: str) -> None:
    config = make_config(Path("nowhere"), data__sample_submission=None, data__test="test.csv", **changes)
    made = build(read_sample(config), config, tuple(classes), IDS, probs_NC)
    assert made.to_csv(index=False) == text


def test_a_competition_without_a_sample_is_checked_and_said_to_be(competition: Path) -> None:
    (competition / "sample_submission.csv").unlink()
    with pytest.raises(InputError, match=r"data\.sample_submission: null where there is none"):
        load(load_config([competition / "config.yaml"]))
    found = load(load_config([competition / "config.yaml"], ["data.sample_submission=null"]))
    assert found.sample["image_id"].tolist() == found.test_ids.tolist()
    assert "there is no sample submission: submission.csv is to have the columns image_id, label" in found.notes
    for setting, message in {
        "data.test": r"data\.test: null takes the ids of data\.sample_submission, which is null",
        "data.classes": r"data\.classes: found sample, but data\.sample_submission is null",
    }.items():
        value = {"data.test": "null", "data.classes": "sample"}[setting]
        with pytest.raises(InputError, match=message):
            load_config([competition / "config.yaml"], ["data.sample_submission=null", f"{setting}={value}"])


def test_a_run_without_a_sample_writes_a_submission(competition: Path, cli: Cli, tmp_path: Path) -> None:
    (competition / "sample_submission.csv").unlink()
    settings = ["--set", "data.sample_submission=null", "--set", "train.epochs=1"]
    done = cli("run", "-c", competition / "config.yaml", *settings)
    assert done.returncode == 0, done.stderr
    head, *lines = (tmp_path / "runs/shapes/submission.csv").read_text().splitlines()
    assert head == "image_id,label" and [line.split(",")[0] for line in lines] == [f"{n:04d}" for n in range(48, 60)]
    assert {line.split(",")[1] for line in lines} <= {"cross", "disk", "square"}
    again = cli("predict", "--from", tmp_path / "runs/shapes", "--out", tmp_path / "new.csv")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "submission.csv").read_text() == (tmp_path / "runs/shapes/submission.csv").read_text()

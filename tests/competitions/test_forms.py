"""Competitions of other forms: what init writes passes check unedited, and its submission pleases the grader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from competitions.forms import FORMS, fabricate
from competitions.rules import judge
from competitions.running import shrunk, submission
from competitions.scores import read

from pipeline.starting import init

QUICK = {"class-folders-at-root", "blank-sample", "classes-without-rows"}
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow_competitions) for name in FORMS]
WRITTEN: dict[str, dict[str, Any]] = {  # what decides whether the form was understood
    "class-folders-at-root": {"data.group": "file", "data.task": "binary", "data.test_image": "Test/{path}"},
    "array-folders": {"data.image": "train/{id[0]}/{id}.npy", "data.channels": 6, "data.task": "binary"},
    "blank-sample": {"metric": "f1_macro", "submission.cell": "label", "data.image": "images/{file}"},
    "top-three": {"metric": "map@3", "submission.cell": "top", "submission.top": 3, "data.missing": "skip"},
    "archives-without-top-folder": {"data.image": "train.zip/{inner}", "data.test_image": "test.zip/{inner}"},
    "classes-without-rows": {"data.classes": "sample", "data.image": "images_part_*/{image_id}", "metric": "log_loss"},
    "train-val-test": {"data.train": ["train", "val"], "data.id": "path", "submission.cell": "label"},
    "same-names": {"metric": "roc_auc", "data.image": "train/{name}.jpg", "data.test_image": "test/{name}.jpg"},
}


@pytest.mark.parametrize("name", FORMS)
def test_init_understands_the_form(name: str, tmp_path: Path) -> None:
    fabricate(name, tmp_path / "data")
    tree = yaml.safe_load(init.run(str(tmp_path / "data"), tmp_path / "guessed.yaml").read_text("utf-8"))
    flat = {
        f"{key}.{inner}": cell
        for key, value in tree.items()
        if isinstance(value, dict)
        for inner, cell in value.items()
    }
    assert {key: (flat | tree).get(key) for key in WRITTEN[name]} == WRITTEN[name]
    assert tree["name"] == "guessed"


@pytest.mark.parametrize("name", NAMES)
def test_a_guessed_config_passes_from_check_to_the_grader(
    name: str, tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    form, truth = FORMS[name], fabricate(name, tmp_path / "data")
    written = init.run(str(tmp_path / "data"), tmp_path / "guessed.yaml")
    config = shrunk(yaml.safe_load(written.read_text("utf-8")), str(written), tmp_path / "data", tmp_path)
    answer, sample = submission(config), tmp_path / "data" / config.data.sample_submission
    assert judge(form.rule, sample, answer) == []
    reached = form.score(*read(truth, answer))
    record_property("line", f"{name:<42}{config.metric:<26}{reached:8.4f}  chance {form.chance:8.4f}")
    assert (reached > form.chance) == form.greater_is_better and reached != form.chance

"""Each listed competition, fabricated in its layout and run from check to submission with its ready config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from competitions.layouts import LAYOUTS, fabricate
from competitions.rules import validate
from competitions.running import shrunk, submission
from competitions.scores import beats, score

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


@pytest.mark.parametrize("name", NAMES)
def test_a_competition_passes_from_check_to_its_grader(
    name: str, tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    truth = fabricate(name, tmp_path / "data")
    tree = yaml.safe_load((READY / f"{name}.yaml").read_text("utf-8"))
    config = shrunk(tree, f"{name}.yaml", tmp_path / "data", tmp_path)
    answer = submission(config)
    sample = tmp_path / "data" / config.data.sample_submission
    assert validate(name, sample, answer) == []
    reached, baseline = score(name, truth, answer), score(name, truth, sample)
    record_property("line", f"{name:<42}{config.metric:<26}{reached:8.4f}  sample {baseline:8.4f}")
    assert beats(name, reached, baseline), f"{reached} is no better than the sample's {baseline}"

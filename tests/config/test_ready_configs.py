"""Hold the recipes of the listed competitions: all are read, and their headers say what a reader needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from competitions.layouts import LAYOUTS

from pipeline.config.loading import load
from pipeline.methods.metrics import find

FOLDER = Path(__file__).parents[2] / "configs" / "competitions"
CONFIGS = sorted(FOLDER.glob("*.yaml"))


def header(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines[: lines.index(f"name: {path.stem}")])


def test_every_listed_competition_has_one() -> None:
    assert [path.stem for path in CONFIGS] == sorted(LAYOUTS)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_read_and_its_header_says_what_is_needed(path: Path) -> None:
    config, said = load([path]), header(path)
    assert config.name == path.stem and config.data.root == f"data/{path.stem}"
    assert f"./run_all.sh configs/competitions/{path.name}" in said and f"(Kaggle: {path.stem})" in said
    for word in ("Metric: ", "Medals: ", "Grouping: ", "Hardware: "):
        assert word in said, word
    if config.data.group:
        assert f"Grouping: {config.data.group}." in said  # and why, in the next sentence
    else:
        assert "Grouping: none" in said


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_medals_follow_the_metric_and_stand_in_the_header(path: Path) -> None:
    config = load([path])
    assert config.medals is not None
    medals = [config.medals.gold, config.medals.silver, config.medals.bronze]
    assert medals == sorted(medals, reverse=find(config.metric).greater_is_better)
    said = re.search(r"gold (\S+), silver (\S+),\s+(?:# )?bronze\s+(?:# )?([\d.]+\d)", header(path))
    assert said is not None and [float(number) for number in said.groups()] == medals


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipe_can_be_built(path: Path) -> None:
    import timm

    from pipeline.batches.augmentation import of

    config = load([path])
    of(config)  # raises where a transform is unknown or does not take the image's channels
    assert timm.is_model_pretrained(config.model.name)

"""A run of a plugin predicts from its own folder; the stages of a network are listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import plugins
from pipeline.config.loading import load
from pipeline.errors import InputError, MismatchError
from pipeline.folds import stage as folds
from pipeline.models import summary
from pipeline.prediction import stage as predict
from pipeline.prediction.new_images import predict_new
from pipeline.training import stage as train

PLUGIN = """
from torch import nn

def build(classes, in_chans, size):
    return nn.Sequential(nn.Conv2d(in_chans, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(4, classes))
"""


def test_a_run_keeps_the_module_it_was_trained_with(competition: Path, tmp_path: Path) -> None:
    file = tmp_path / "nets.py"
    file.write_text(PLUGIN)
    config = load([competition / "config.yaml"], [f"model.name={file}:build", "train.epochs=1"])
    folds.run(config)
    run = train.run(config, [0])
    predict.run(config)
    file.write_text(PLUGIN.replace("4", "6"))
    with pytest.raises(MismatchError, match="model's file"):
        train.run(config, [0])
    file.unlink()
    moved = run.rename(tmp_path / "elsewhere")
    with plugins.asking(False), pytest.raises(InputError, match="add --trust"):
        predict_new(moved, str(competition / "images"), tmp_path / "found.csv", [])
    with plugins.asking(True):
        out = predict_new(moved, str(competition / "images"), tmp_path / "found.csv", [])
    assert len(out.read_text().splitlines()) == 61


def test_the_summary_lists_stages_and_what_learns(competition: Path, cli: object) -> None:
    found = cli("summary", "-c", competition / "config.yaml", "--set", "model.freeze=backbone")  # type: ignore[operator]
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[0] == "shapes: test_resnet at 32×32, 3 channels, 3 classes"
    cells = {line.split()[0]: line.split()[1:] for line in lines[2:-2]}
    assert cells["fc"][1] == cells["fc"][2] == f"{int(cells['global_pool'][0]) * 3 + 3:,}" == cells["ResNet"][2]
    assert cells["layer1"][2] == "0" and int(cells["ResNet"][3].replace(",", "")) > 0
    assert lines[-2] == "frozen for good: backbone"
    config = load([competition / "config.yaml"], ["model.freeze=backbone", "model.thaw_epoch=1"])
    assert summary.run(config)[-2] == "frozen for 1 epochs: backbone"

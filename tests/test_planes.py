"""A competition of float planes, one of them in an archive, runs from check to report and on new images."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.blending import stage as ensemble
from pipeline.checking import preflight
from pipeline.checking import stage as check
from pipeline.config.config import Config
from pipeline.config.loading import load as load_config
from pipeline.errors import InputError
from pipeline.files.tables import read_text_table
from pipeline.folds import stage as folds
from pipeline.prediction import stage as predict
from pipeline.prediction.new_images import predict_new
from pipeline.report import stage as report
from pipeline.scoring import stage as score
from pipeline.training import stage as train

SETTINGS = [
    'data.image=["bands/{image_id}.npy", "red.zip/{image_id}.png"]',
    "data.window=[-40, 0]",
    "folds.n=2",
    "train.epochs=2",
    "augment.train=medium",
    "tta=[identity, hflip, augment:1]",
]


@pytest.fixture
def planes(competition: Path) -> Path:
    """The tiny competition with its green as floats between -40 and 0, and its red inside a zip."""
    (competition / "bands").mkdir()
    with zipfile.ZipFile(competition / "red.zip", "w") as packed:
        for path in sorted((competition / "images").iterdir()):
            pixels = np.asarray(Image.open(path))
            np.save(competition / f"bands/{path.stem}.npy", pixels[..., 1] / np.float32(255) * 40 - 40)
            Image.fromarray(pixels[..., 0].copy()).save(path)
            packed.write(path, path.name)
            path.unlink()
    return competition


def config_of(folder: Path, *settings: str) -> Config:
    return load_config([folder / "config.yaml"], [*SETTINGS, *settings])


def test_planes_from_check_to_report(planes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(planes, "submission.variant=tta")  # as test.csv, whatever the views do
    assert config.data.in_chans == 2
    for stage in (check, folds, train, predict, score, ensemble, report):
        stage.run(config)
    assert "60 decoded now" in capsys.readouterr().out
    assert (config.run_dir / "report.html").stat().st_size > 10_000
    again = read_text_table(predict_new(config.run_dir, None, planes / "found.csv", []))
    held = read_text_table(config.run_dir / "test.csv")
    classes = [name for name in again.columns if name != "id"]
    assert again["id"].tolist() == held["id"].tolist()
    assert np.allclose(again[classes].astype(float), held[classes].astype(float), atol=1e-6)


def test_a_damaged_plane_costs_its_image_alone_where_skip_says_so(
    planes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (planes / "bands/0003.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"0003\.npy.*: empty file"):
        check.run(config_of(planes))
    check.run(config_of(planes, "data.missing=skip"))
    assert "1 unreadable are passed over" in capsys.readouterr().out


def test_transforms_of_colour_are_told_before_any_image_is_read(planes: Path) -> None:
    config = config_of(planes, "augment.train=[{HueSaturationValue: {}}]")
    (problem,) = preflight.problems(config)
    found = str(problem)
    assert "augment.train[0].HueSaturationValue" in found and "2 channels" in found

"""Pictures, pixel columns and stacks that show the same give the same numbers, in the job and on new images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from pipeline.blending import stage as ensemble
from pipeline.checking import stage as check
from pipeline.config.config import Config
from pipeline.config.loading import load as load_config
from pipeline.errors import InputError
from pipeline.files.tables import read_text_table
from pipeline.folds import stage as folds
from pipeline.prediction import stage as predict
from pipeline.prediction.new_images import predict_new
from pipeline.scoring import stage as score
from pipeline.training import stage as train

SETTINGS = ["folds.n=2", "train.epochs=1", "tta=[identity, hflip]", "data.crop={center: 0.75}"]


def as_arrays(root: Path) -> dict[str, list[str]]:
    """Write the pictures also as stacks and as pixel columns; return the settings of each way."""
    for name, first, last in (("train", 0, 48), ("test", 48, 60)):
        images = np.stack([np.asarray(Image.open(root / f"images/{n:04d}.png")) for n in range(first, last)])
        np.save(root / f"X_{name}.npy", images)
        names = [f"pixel{n}" for n in range(images[0].size)]
        table = pd.read_csv(root / f"{name}.csv", dtype=str)
        pixels = pd.DataFrame(images.reshape(len(images), -1), columns=names)
        pd.concat([table, pixels], axis=1).to_csv(root / f"{name}_pixels.csv", index=False)
    height, width = images.shape[1:3]
    return {
        "pictures": [],
        "stack": [
            "data.derive={row: {count_from: 0}}",
            "data.image='X_train.npy[{row}]'",
            "data.test_image='X_test.npy[{row}]'",
        ],
        "columns": [
            "data.train=train_pixels.csv",
            "data.test=test_pixels.csv",
            f"data.image={{columns: 'pixel*', shape: [{height}, {width}, 3]}}",
        ],
    }


def made(root: Path, name: str, settings: list[str]) -> Config:
    config = load_config([root / "config.yaml"], [*SETTINGS, *settings, f"run={name}"])
    for stage in (check, folds, train, predict, score, ensemble):
        stage.run(config)
    return config


def test_the_same_pixels_give_the_same_numbers_and_new_images_too(competition: Path) -> None:
    configs = {name: made(competition, name, settings) for name, settings in as_arrays(competition).items()}
    tests = {name: (config.run_dir / "test.csv").read_bytes() for name, config in configs.items()}
    assert tests["pictures"] == tests["stack"] == tests["columns"]
    held = read_text_table(configs["pictures"].run_dir / "test.csv")
    classes = [name for name in held.columns if name != "id"]
    ways = {"pictures": competition / "images", "stack": competition / "X_test.npy"}
    ways |= {"columns": competition / "test_pixels.csv"}
    for name, path in ways.items():
        new = read_text_table(predict_new(configs[name].run_dir, str(path), competition / f"{name}.csv", []))
        wanted = new.iloc[48:] if name == "pictures" else new
        assert np.allclose(wanted[classes].astype(float), held[classes].astype(float), atol=1e-6), name
    own = read_text_table(predict_new(configs["stack"].run_dir, None, competition / "own.csv", []))
    assert own["id"].tolist() == held["id"].tolist()


def test_a_truncated_picture_is_read_by_the_key_and_named(
    competition: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the job and on new images alike; without the key both refuse it."""
    path = competition / "images/0050.png"
    large = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(large).save(path)
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(InputError, match=r"0050\.png: damaged or truncated: .* data\.truncated=decode reads it"):
        check.run(load_config([competition / "config.yaml"], SETTINGS))
    config = made(competition, "cut", ["data.truncated=decode"])
    assert f"1 of 12 test images are truncated and read as far as they go (data.truncated): {path}" in (
        capsys.readouterr().out
    )
    new = predict_new(config.run_dir, str(competition / "images"), competition / "new.csv", [])
    assert "1 of 60 images are truncated and read as far as they go" in capsys.readouterr().out
    found, held = (read_text_table(one).set_index("id") for one in (new, config.run_dir / "test.csv"))
    assert np.allclose(found.loc["0050"].astype(float), held.loc["0050"].astype(float), atol=1e-6)
    with pytest.raises(InputError, match=r"--set data\.truncated=decode"):
        predict_new(config.run_dir, str(competition / "images"), competition / "x.csv", ["data.truncated=error"])


def test_panels_run_and_predict_alike(competition: Path) -> None:
    several = 'data.image=["images/{image_id}.png", "images/{image_id}.png"]'
    config = made(competition, "panels", [several, "data.panels=row", "data.crop=null", "model.size=[16, 32]"])
    assert config.data.in_chans == 3
    assert yaml.safe_load((config.run_dir / "config.yaml").read_text())["data"]["panels"] == "row"
    own = read_text_table(predict_new(config.run_dir, None, competition / "own.csv", []))
    held = read_text_table(config.run_dir / "test.csv")
    classes = [name for name in held.columns if name != "id"]
    assert np.allclose(own[classes].astype(float), held[classes].astype(float), atol=1e-6)

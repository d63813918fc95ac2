from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.competition.image_paths import Source
from pipeline.competition.rows.new_files import id_pattern
from pipeline.config.config import Config
from pipeline.config.loading import load as load_config
from pipeline.errors import InputError, MismatchError
from pipeline.files.atomic import write_json
from pipeline.folds import stage as folds
from pipeline.prediction import new_images
from pipeline.prediction import stage as predict
from pipeline.prediction.new_images import predict_new
from pipeline.prediction.predictions import Predictions
from pipeline.scoring import stage as score
from pipeline.training import stage as train

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ["train.epochs=1", "folds.n=2", "tta=[identity, hflip, rot90]", "predict.batch_size=5"]
BLOCKED = ("optuna", "accelerate", "iterstrat", "albumentations")


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"id": str, "image_id": str}).set_index("id")


@pytest.fixture
def trained(competition: Path) -> Path:
    """A run that was trained, predicted and scored."""
    config = load_config([competition / "config.yaml"], SETTINGS)
    for stage in (folds, train, predict, score):
        stage.run(config)
    return config.run_dir


@pytest.fixture
def moved(trained: Path, competition: Path, tmp_path: Path) -> Path:
    """The run's folder alone in another place, with the test images beside it; everything else is gone."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(trained, elsewhere / "run")
    (elsewhere / "images").mkdir()
    for number in range(48, 60):
        shutil.copy(competition / f"images/{number:04d}.png", elsewhere / "images")
    (elsewhere / "images/.DS_Store").write_text("hidden")
    (elsewhere / "images/notes.txt").write_text("no image")
    shutil.copy(competition / "sample_submission.csv", elsewhere)
    shutil.copy(competition / "test.csv", elsewhere)
    for folder in (competition, tmp_path / "runs", tmp_path / "folds", tmp_path / "cache"):
        shutil.rmtree(folder)
    return elsewhere


def test_a_moved_run_predicts_a_folder_as_the_stage_did(
    moved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = read(moved / "run/test.csv")
    out = predict_new(moved / "run", str(moved / "images"), tmp_path / "out/found.csv", [])
    found = read(out)
    assert found.index.tolist() == [f"{n:04d}" for n in range(48, 60)]
    assert found.columns.tolist() == ["cross", "disk", "square"]
    pd.testing.assert_frame_equal(found, expected, rtol=0, atol=1e-6)
    assert not (tmp_path / "out/submission.csv").exists()
    text = capsys.readouterr().out
    assert "12 images, 2 fold models, views identity, hflip, rot90" in text
    assert "1 files are no images and were left out" in text and "no submission.csv: there is no sample" in text


def test_views_that_the_submission_left_out_are_left_out_here_too(
    moved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tta, taken = ["identity", "hflip", "rot90"], ["identity", "rot90"]
    report = {"members": ["run"], "auto": {"taken": "auto", "members": {"run": {"tta": tta, "views": taken}}}}
    write_json(moved / "run/ensemble.json", report)
    made = [Predictions.load(moved / f"run/fold{fold}/test.npz") for fold in range(2)]
    both = [pd.DataFrame(one.mean(taken), index=one.ids, columns=one.classes) for one in made]
    out = predict_new(moved / "run", str(moved / "images"), tmp_path / "out/found.csv", [])
    found = read(out)
    np.testing.assert_allclose(found, sum(one.loc[found.index] for one in both) / 2, atol=1e-6)
    text = capsys.readouterr().out
    assert "2 fold models, views identity, rot90, " in text
    assert f"hflip: left out, as in {moved / 'run/submission.csv'} (submission.variant: auto)" in text
    out = predict_new(moved / "run", str(moved / "images"), tmp_path / "out/all.csv", ["submission.variant=tta"])
    pd.testing.assert_frame_equal(read(out), read(moved / "run/test.csv"), rtol=0, atol=1e-6)


def test_a_table_finds_its_images_beside_it_and_fills_the_sample(moved: Path, tmp_path: Path) -> None:
    out = predict_new(moved / "run", str(moved / "test.csv"), tmp_path / "found.csv", [])
    pd.testing.assert_frame_equal(read(out), read(moved / "run/test.csv"), rtol=0, atol=1e-6)
    submitted = pd.read_csv(tmp_path / "submission.csv", dtype=str)
    assert submitted["image_id"].tolist() == [f"{n:04d}" for n in range(48, 60)]
    assert submitted["label"].tolist() == read(out).idxmax(axis=1).tolist()
    (moved / "sample.tsv").write_text((moved / "sample_submission.csv").read_text().replace(",", "\t"))
    predict_new(moved / "run", str(moved / "test.csv"), tmp_path / "found.csv", ["data.sample_submission=sample.tsv"])
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "submission.csv", dtype=str), submitted)


def test_without_a_path_the_own_test_is_predicted(trained: Path, tmp_path: Path) -> None:
    for settings in ([], ["data.test=null"]):
        out = predict_new(trained, None, tmp_path / "found.csv", settings)
        pd.testing.assert_frame_equal(read(out), read(trained / "test.csv"), rtol=0, atol=1e-6)
        assert (tmp_path / "submission.csv").is_file()


def test_it_needs_neither_the_libraries_that_lag_nor_a_network(moved: Path) -> None:
    program = f"""
import socket, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ImportError(f"{{name}} is blocked")

def refuse(*args, **kwargs):
    raise OSError("no network here")

sys.meta_path.insert(0, Blocked())
socket.socket.connect = refuse
from pipeline.cli import main
sys.exit(main(["predict", "--from", "run", "--test", "images", "--set", "tta=[identity]"]))
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], cwd=moved, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(read(moved / "predictions.csv")) == 12


def test_missing_folds_are_said(moved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(moved / "run/fold1")
    predict_new(moved / "run", str(moved / "images"), tmp_path / "found.csv", [])
    assert "12 images, 1 of 2 fold models" in capsys.readouterr().out


def test_every_unreadable_image_is_listed_and_nothing_is_written(moved: Path, tmp_path: Path) -> None:
    (moved / "images/0050.png").write_bytes(b"")
    (moved / "images/0059.png").write_text("no image")
    with pytest.raises(InputError) as caught:
        predict_new(moved / "run", str(moved / "images"), tmp_path / "found.csv", [])
    assert len(caught.value.lines) == 2 and caught.value.exit_code == 2
    assert "0050.png: empty file" in caught.value.lines[0] and "0059.png: not an image" in caught.value.lines[1]
    assert not (tmp_path / "found.csv").exists()


def test_unreadable_images_that_are_skipped_are_said(
    moved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (moved / "images/0050.png").write_bytes(b"")
    found = read(predict_new(moved / "run", str(moved / "images"), tmp_path / "found.csv", ["data.missing=skip"]))
    assert len(found) == 12 and not found.loc["0050"].isna().any()
    assert re.search(r"1 images cannot be read, first .*0050.png: empty", capsys.readouterr().out)


def test_every_image_is_decoded_once(moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []
    real = new_images.decode_config

    def counted(config: Config, source: Source) -> np.ndarray:
        decoded.append(Path(source[0]))
        return real(config, source)

    monkeypatch.setattr(new_images, "decode_config", counted)
    predict_new(moved / "run", str(moved / "images"), tmp_path / "found.csv", ["tta=[d4]"])
    assert sorted(path.name for path in decoded) == [f"{n:04d}.png" for n in range(48, 60)]


def test_random_views_are_those_of_the_stage(competition: Path, tmp_path: Path) -> None:
    settings = [*SETTINGS, "tta=[augment:2]", "augment.train=light", "data.cache.size=40"]
    config = load_config([competition / "config.yaml"], settings)
    for stage in (folds, train, predict, score):
        stage.run(config)
    out = predict_new(config.run_dir, None, tmp_path / "found.csv", [])
    pd.testing.assert_frame_equal(read(out), read(config.run_dir / "test.csv"), rtol=0, atol=1e-6)


def test_a_sample_that_asks_for_other_images_is_refused_or_left_alone(moved: Path, tmp_path: Path) -> None:
    sample = moved / "sample_submission.csv"
    sample.write_text("image_id,label\n0048,cross\n0099,cross\n")
    with pytest.raises(MismatchError, match="not predicted: 0099"):
        predict_new(moved / "run", str(moved / "test.csv"), tmp_path / "found.csv", [])
    assert not (tmp_path / "found.csv").exists()
    sample.write_text("image_id,label\n0098,cross\n0099,cross\n")
    predict_new(moved / "run", str(moved / "test.csv"), tmp_path / "found.csv", [])
    assert (tmp_path / "found.csv").exists() and not (tmp_path / "submission.csv").exists()


def test_wrong_paths_name_their_remedy(moved: Path, tmp_path: Path) -> None:
    run, out = moved / "run", tmp_path / "found.csv"
    for source, test, target, expected in (
        (moved, None, out, "has no config.yaml"),
        (run, None, out, "name the images with --test"),
        (run, str(moved / "nowhere"), out, "not found, expected a folder of images"),
        (run, str(moved / "run/fold0"), out, "holds no image"),
        (run, str(moved / "run/test.csv"), out, "no column 'image_id'"),
        (run, str(moved / "images"), tmp_path / "submission.csv", "expected a file for the table"),
    ):
        with pytest.raises(InputError, match=re.escape(expected)):
            predict_new(source, test, target, [])
    (moved / "more").mkdir()
    (moved / "test.csv").write_text("image_id\n0048\n0048\n0077\n")
    with pytest.raises(InputError) as caught:
        predict_new(run, str(moved / "test.csv"), out, [])
    assert len(caught.value.lines) == 2  # the id that stands twice, the image that is missing
    shutil.copytree(moved / "images", moved / "two/a")
    shutil.copytree(moved / "images", moved / "two/b")
    with pytest.raises(InputError, match="has the id '0048'"):
        predict_new(run, str(moved / "two"), out, [])


def test_folds_of_two_runs_are_not_mixed(trained: Path, competition: Path, tmp_path: Path) -> None:
    other = ["run=other", f"folds_dir={tmp_path / 'other_folds'}", "folds.seed=7"]
    config = load_config([competition / "config.yaml"], [*SETTINGS, *other])
    folds.run(config)
    train.run(config, [1])
    shutil.copy(config.run_dir / "fold1/model.safetensors", trained / "fold1/model.safetensors")
    with pytest.raises(MismatchError, match="its fold_hash differ"):
        predict_new(trained, str(competition / "images"), tmp_path / "found.csv", [])


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("images/{image_id}.png", "/x/y/0048.png", "0048"),
        ("images/{image_id}.png", "/x/y/0048.jpg", None),
        ("{image_id}", "/x/y/0048.jpg", "0048.jpg"),
        ("{set}/img_{image_id}_{eye}.png", "/x/img_07_left.png", "07"),
        ("{image_id}/scan.tif", "/x/p1/scan.tif", "p1"),
        ("{image_id}/{image_id}.tif", "/x/p1/p1.tif", "p1"),
        ("all/{file}.png", "/x/p1.png", None),
    ],
)
def test_the_template_names_new_files(template: str, path: str, expected: str | None) -> None:
    pattern = id_pattern(template, "image_id")
    match = pattern.search(path) if pattern else None
    assert (match["id"] if match else None) == expected


def test_a_large_picture_is_read_as_the_stage_reads_it(moved: Path, tmp_path: Path) -> None:
    """JPEGs are decoded at a reduced scale; the id keeps its stem where the template's ending differs."""
    (moved / "large").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(moved / "large/a.b.jpg", quality=95)
    found = read(predict_new(moved / "run", str(moved / "large"), tmp_path / "found.csv", []))
    assert found.index.tolist() == ["a.b"] and np.isclose(found.sum(axis=1), 1).all()

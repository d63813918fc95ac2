"""Bad input through the real command line: every defect is listed, exit code 2, nothing replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from pipeline.files.atomic import read_json

Refuse = Callable[..., list[str]]


@pytest.fixture
def refuse(competition: Path, cli: Callable[..., object]) -> Refuse:
    """Check the tiny competition, expect exit 2 without a traceback or a result, and return the lines."""

    def run(*options: str) -> list[str]:
        done = cli("check", "-c", competition / "config.yaml", *options)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr and done.stdout == ""
        assert not (competition.parent / "runs/shapes/check.json").exists()
        return [line for line in done.stderr.splitlines() if line.startswith("foldline: ")]

    return run


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_unreadable_images_are_all_listed(competition: Path, refuse: Refuse) -> None:
    images = competition / "images"
    (images / "0001.png").write_bytes(b"")
    whole = (images / "0010.png").read_bytes()
    (images / "0010.png").write_bytes(whole[: len(whole) // 2])
    (images / "0020.png").write_text("<html>404 Not Found</html>")
    Image.linear_gradient("L").convert("RGB").save(images / "full.jpg", quality=90)
    photo = (images / "full.jpg").read_bytes()
    (images / "0050.png").write_bytes(photo[: len(photo) // 2])  # a JPEG cut in half, among the test images
    lines = refuse()
    assert len(lines) == 4
    for name in ("0001", "0010", "0020", "0050"):
        assert sum(f"{name}.png" in line for line in lines) == 1


def test_missing_images_are_all_listed(competition: Path, refuse: Refuse) -> None:
    for name in ("0000", "0031", "0059"):
        (competition / f"images/{name}.png").unlink()
    lines = refuse("--no-images")
    assert len(lines) == 3
    assert all(
        f"images/{name}.png: missing" in line for name, line in zip(("0000", "0031", "0059"), lines, strict=True)
    )


def test_duplicate_ids(competition: Path, refuse: Refuse) -> None:
    edit(competition / "train.csv", "0007,", "0006,")
    edit(competition / "test.csv", "0055", "0054")
    text = "\n".join(refuse("--no-images"))
    assert "train.csv: line 9: id '0006' stands in line 8 already" in text
    assert "test.csv: line 9: id '0054' stands in line 8 already" in text


def test_leading_zeros_make_different_ids(competition: Path, cli: Callable[..., object]) -> None:
    os.rename(competition / "images/0002.png", competition / "images/1.png")
    os.rename(competition / "images/0003.png", competition / "images/01.png")
    edit(competition / "train.csv", "0002,", "1,")
    edit(competition / "train.csv", "0003,", "01,")
    done = cli("check", "--no-images", "-c", competition / "config.yaml")
    assert done.returncode == 0, done.stderr
    assert read_json(competition.parent / "runs/shapes/check.json")["rows"] == 48
    done = cli("folds", "-c", competition / "config.yaml")
    assert done.returncode == 0, done.stderr
    ids = [line.split(",")[0] for line in (competition.parent / "folds/shapes.csv").read_text().splitlines()]
    assert {"1", "01", "0001"} <= set(ids)


def test_blank_and_unknown_labels(competition: Path, refuse: Refuse) -> None:
    edit(competition / "train.csv", "0004,disk", "0004,")
    edit(competition / "train.csv", "0009,cross", "0009,corss")
    text = "\n".join(refuse("--no-images", "--set", "data.classes=[cross, disk, square]"))
    assert "line 6: label is blank, expected a label" in text
    assert "line 11: label is 'corss', expected one of cross, disk, square" in text


def test_one_hot_rows_that_do_not_sum_to_one(competition: Path, refuse: Refuse) -> None:
    rows = [f"{i:04d},{i % 2},{1 - i % 2}" for i in range(48)]
    rows[5] = "0005,1,1"
    (competition / "train.csv").write_text("\n".join(["image_id,cat,dog", *rows]))
    settings = ("--set", "data.target=[cat, dog]", "--set", "data.group=null")
    (line,) = refuse("--no-images", *settings)
    assert "line 7: the target columns sum to 2, expected 1" in line


def test_paths_that_leave_the_root(competition: Path, tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "secret.png").write_bytes((competition / "images/0000.png").read_bytes())
    (competition / "images/0000.png").unlink()
    (competition / "images/0000.png").symlink_to(tmp_path / "secret.png")
    edit(competition / "train.csv", "0001,", "../../secret,")
    edit(competition / "train.csv", "0002,", "/etc/passwd,")
    first, second, third = refuse("--no-images")
    assert "images/0000.png: leaves data.root: it is a link" in first
    assert "images/../../secret.png: leaves data.root" in second
    assert "/etc/passwd" in third
    (absolute, *_) = refuse("--no-images", "--set", f"data.image={tmp_path}/{{image_id}}.png")
    assert "is absolute" in absolute


def test_unknown_config_keys_come_with_the_nearest_name(competition: Path, refuse: Refuse) -> None:
    config = yaml.safe_load((competition / "config.yaml").read_text())
    config["data"]["grup"] = "group"
    config["tain"] = {"epochs": 3}
    (competition / "config.yaml").write_text(yaml.safe_dump(config))
    text = "\n".join(refuse("--no-images", "--set", "model.nmae=resnet18"))
    assert "data.grup: unknown key; did you mean 'group'?" in text
    assert "tain: unknown key; did you mean 'train'?" in text
    assert "model.nmae: unknown key; did you mean 'name'?" in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("image_id,label", "picture,label", "no column 'image_id' (data.id)"),
        ("image_id,label", "image_id", "more cells than its header, 2 for 1"),
        ("0050,cross\n", "", "no row for test id '0050'"),
        ("0050,cross", "0005,cross", "id '0005' is not in"),
    ],
)
def test_wrong_sample_submissions(competition: Path, refuse: Refuse, old: str, new: str, message: str) -> None:
    edit(competition / "sample_submission.csv", old, new)
    assert message in "\n".join(refuse("--no-images"))


def test_sample_columns_must_be_classes(competition: Path, refuse: Refuse) -> None:
    rows = [f"{i:04d},0,0,0" for i in range(48, 60)]
    (competition / "sample_submission.csv").write_text("\n".join(["image_id,cross,disk,sqare", *rows]))
    edit(competition / "train.csv", "0004,disk", "0004,")
    text = "\n".join(refuse("--no-images"))
    assert "line 6: label is blank" in text
    assert "column 'sqare' is no class" in text and "class 'square' has 0 columns" in text


def test_missing_tables_and_an_unreadable_one(competition: Path, refuse: Refuse) -> None:
    (competition / "test.csv").unlink()
    (competition / "train.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    text = "\n".join(refuse("--no-images"))
    assert "test.csv: data.test is missing" in text and "train.csv: not readable" in text


def test_a_config_that_is_not_there(competition: Path, cli: Callable[..., object]) -> None:
    done = cli("check", "-c", competition / "nothing.yaml")
    assert done.returncode == 2 and "nothing.yaml: not found" in done.stderr

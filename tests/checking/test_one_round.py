"""One round of `check` names every defect of config, tables, folds and images, and none that follows from another."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import Cli, write_competition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline import cli as command_line
from pipeline.config.trees import put

Plant = Callable[[Path, dict[str, Any]], None]


def key(name: str, value: object) -> Plant:
    """Return what sets a key of the config."""
    return lambda _, tree: put(tree, name, value)


def cell(table: str, old: str, new: str) -> Plant:
    """Return what changes a line of a table; an empty one is appended to."""

    def plant(root: Path, _: dict[str, Any]) -> None:
        path = root / table
        text = path.read_text()
        assert not old or f"\n{old}\n" in text, old
        path.write_text(text.replace(f"\n{old}\n", f"\n{new}\n" if new else "\n", 1) if old else f"{text}{new}\n")

    return plant


def image(name: str, content: bytes | None) -> Plant:
    """Return what puts other bytes into an image, or takes it away."""

    def plant(root: Path, _: dict[str, Any]) -> None:
        path = root / "images" / name
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)

    return plant


def cut(root: Path, _: dict[str, Any]) -> None:
    path = root / "images/0020.png"
    path.write_bytes(path.read_bytes()[:-40])


def planes(root: Path, _: dict[str, Any]) -> None:
    import tifffile

    path = root / "images/0021.png"
    tifffile.imwrite(path, np.zeros((32, 32, 5), np.uint8), photometric="minisblack", planarconfig="contig")


def moved(root: Path, _: dict[str, Any]) -> None:
    path = root.parent / "folds/shapes.csv"
    lines = path.read_text().splitlines()
    group = [f"{line[:-1]}{(int(line[-1]) + 1) % 3}" for line in lines[1:5]]
    path.write_text("\n".join([lines[0], *group, *lines[5:]]) + "\n")


DEFECTS: dict[str, tuple[Plant, str]] = {  # what is planted, and the line that names it
    "section": (key("trian", {"lr": 1}), "trian: unknown key; did you mean 'train'"),
    "key": (key("data.grup", "group"), "data.grup: unknown key; did you mean 'group'"),
    "nested key": (key("data.cache.siz", 3), "data.cache.siz: unknown key"),
    "rate": (key("train.lr", "fast"), "train.lr: found 'fast'"),
    "epochs": (key("train.epochs", -2), "train.epochs: found -2"),
    "size": (key("model.size", "large"), "model.size: found 'large'"),
    "cache": (key("data.cache.size", "automatic"), "data.cache.size: found 'automatic'"),
    "choice": (key("data.missing", "sikp"), "data.missing: found 'sikp'"),
    "flag": (key("data.follow_links", "perhaps"), "data.follow_links: found 'perhaps'"),
    "task": (key("data.task", "multiclas"), "data.task: found 'multiclas'"),
    "metric": (key("metric", "acuracy"), "metric: found 'acuracy'"),
    "view": (key("tta", ["identity", "hflp"]), "tta: found 'hflp'"),
    "loss key": (key("loss.gamma", 2), "loss.gamma: found 2, but cross_entropy takes no gamma"),
    "thaw": (key("model.thaw_epoch", 1), "model: found thaw_epoch 1, but nothing is frozen"),
    "mixing": (key("mix.alpha", 0), "mix.alpha: found 0"),
    "sampler": (key("tune.sampler", "tpee"), "tune.sampler: found 'tpee'"),
    "blender": (key("ensemble.blender", "meen"), "ensemble.blender: found 'meen'"),
    "labels": (key("decision.min_labels", 1), "decision.min_labels, max_labels, alone: a multiclass task"),
    "teacher": (key("pseudo.threshold", 0.5), "pseudo: found threshold, but no teacher"),
    "batch": (key("predict.batch_size", 0), "predict.batch_size: found 0"),
    "model": (key("model.name", "resnet19x"), "model.name: found 'resnet19x'"),
    "optimizer": (key("train.optimizer", "adamx"), "train.optimizer: found 'adamx'"),
    "transform": (key("augment.train", [{"HorizontalFlop": {}}]), "HorizontalFlop"),
    "stratify": (key("folds.stratify", ["height"]), r"train.csv: no column 'height' \(folds.stratify\)"),
    "twice": (cell("train.csv", "", "0047,disk,g11,1"), "train.csv: line 50: id '0047' stands in line 49 already"),
    "no label": (cell("train.csv", "0004,disk,g01,1", "0004,,g01,1"), "train.csv: line 6: label is blank"),
    "no image": (cell("train.csv", "0007,disk,g01,1", "0099,disk,g01,1"), "images/0099.png: missing"),
    "weight": (cell("train.csv", "0008,square,g02,1", "0008,square,g02,-1"), "train.csv: line 10: weight is '-1'"),
    "no id": (cell("train.csv", "0009,cross,g02,1", ",cross,g02,1"), "train.csv: line 11: (image_id is blank|.*png)"),
    "test twice": (cell("test.csv", "", "0048"), "test.csv: line 1[34]: id '0048' stands in line 2 already"),
    "test id": (cell("test.csv", "0049", ""), "is it the right sample. id '0049' is not in"),
    "sample id": (cell("sample_submission.csv", "0055,cross", ""), "no row for test id '0055'"),
    "extra label": (cell("more.csv", "e1,disk", "e1,hexagon"), "more.csv: line 3: label is 'hexagon'"),
    "extra image": (cell("more.csv", "", "e9,disk"), "more.csv: line 5: more/e9.png: missing"),
    "folds": (moved, r"folds/shapes\.csv: "),
    "lost": (image("0030.png", None), "line 32: images/0030.png: missing"),
    "test lost": (image("0057.png", None), "test.csv: line 11: images/0057.png: missing"),
    "empty": (image("0010.png", b""), "images/0010.png: empty file"),
    "cut": (cut, r"images/0020.png: .*(truncated|damaged|cannot|broken)"),
    "planes": (planes, "images/0021.png: "),
    "text": (image("0050.png", b"<html>404 Not Found</html>"), "images/0050.png: "),
}
HIDES = {  # what cannot be known beside it: what the task admits; whether images may be missing
    "task": {"labels", "loss key"},
    "choice": {"no image", "lost", "test lost", "extra image"},
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A competition with weights, an extra table and folds, in which nothing is wrong."""
    folder = tmp_path_factory.mktemp("sound")
    root = write_competition(folder)
    lines = (root / "train.csv").read_text().splitlines()
    (root / "train.csv").write_text("\n".join([f"{lines[0]},weight", *(f"{line},1" for line in lines[1:])]) + "\n")
    (root / "more").mkdir()
    for n in range(3):
        Image.new("RGB", (32, 32), (n, 90, 3)).save(root / f"more/e{n}.png")
    (root / "more.csv").write_text("image_id,label\ne0,cross\ne1,disk\ne2,square\n")
    tree = yaml.safe_load((root / "config.yaml").read_text())
    tree["data"] |= {"weight": "weight", "extra": [{"table": "more.csv", "image": "more/{image_id}.png"}]}
    for name in ("runs_dir", "folds_dir"):
        tree[name] = Path(tree[name]).name
    tree["data"] |= {"root": "shapes", "cache": {"dir": "cache"}}
    (root / "config.yaml").write_text(yaml.safe_dump(tree))
    before = Path.cwd()
    os.chdir(folder)
    assert command_line.main(["folds", "-c", "shapes/config.yaml"]) == 0
    os.chdir(before)
    return folder


def planted(sound: Path, folder: Path, names: set[str]) -> Path:
    """Copy the sound competition, plant the defects, and return its config."""
    shutil.copytree(sound, folder, dirs_exist_ok=True)
    root = folder / "shapes"
    tree = yaml.safe_load((root / "config.yaml").read_text())
    for name in DEFECTS:
        if name in names:
            DEFECTS[name][0](root, tree)
    (root / "config.yaml").write_text(yaml.safe_dump(tree))
    return root / "config.yaml"


def judge(said: str, names: set[str]) -> None:
    """Hold what was said to what was planted: each defect is named, and no line names anything else."""
    lines = [line for line in said.splitlines() if line.startswith("foldline: ")]
    told = [line for line in lines if "defects.txt: lists all" not in line and "not looked at" not in line]
    hidden = set().union(*(HIDES.get(name, set()) for name in names))
    for name in names - hidden:
        assert any(re.search(DEFECTS[name][1], line) for line in told), (name, told)
    patterns = [DEFECTS[name][1] for name in names]
    assert [line for line in told if not any(re.search(one, line) for one in patterns)] == []


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_named_alone(
    name: str, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = planted(sound, tmp_path, {name})
    monkeypatch.chdir(tmp_path)
    code = command_line.main(["check", "-c", str(config)])
    said = capsys.readouterr().err
    judge(said, {name})
    assert code == (3 if name == "folds" else 2)


@given(st.sets(st.sampled_from(sorted(DEFECTS)), min_size=2, max_size=len(DEFECTS)))
@settings(max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_defects_together_are_named(
    sound: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], names: set[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = planted(sound, Path(folder), names)
        monkeypatch.chdir(folder)
        assert command_line.main(["check", "-c", str(config)]) in (2, 3)
        judge(capsys.readouterr().err, names)
        monkeypatch.chdir(sound)


def test_all_at_once_through_the_command_line(sound: Path, tmp_path: Path, cli: Cli) -> None:
    config = planted(sound, tmp_path, set(DEFECTS))
    done = cli("check", "-c", config)
    judge(done.stderr, set(DEFECTS))
    assert done.returncode == 2 and len(DEFECTS) > 35

"""Guess configs from folders: those of the listed competitions, and the forms that users bring."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from competitions.layouts import LAYOUTS, fabricate
from PIL import Image
from synthetic import command

from pipeline.checking import stage as check
from pipeline.competition.competition import load
from pipeline.config import loading as configs
from pipeline.errors import InputError
from pipeline.starting import init

READY = Path(__file__).parents[2] / "configs" / "competitions"
# What no folder tells and the recipes know: the rest of these keys must be guessed.
KEYS = ("train", "test", "sample_submission", "id", "predict_id", "image", "test_image", "task", "target", "separator")
KEYS += ("group", "duplicates", "missing", "classes")
OTHERWISE: dict[str, dict[str, Any]] = {
    # the listed files are found by their paths, the label is called so
    "dogs-vs-cats-redux-kernels-edition": {
        "train": r"re:train/(?P<id>(?P<label>cat|dog)\.\d+)\.jpg",
        "image": "{path}",
        "target": "label",
    },
    "plant-seedlings-classification": {"image": "{path}"},
    # the ids name the files as well as file_name does
    "iwildcam-2020-fgvc7": {"image": "train/{id}.jpg", "test_image": "test/{id}.jpg"},
}


def guessed(root: Path, out: Path) -> configs.Config:
    return configs.load([init.run(str(root), out)])


def png(shade: int = 0) -> bytes:
    """Return a small gray picture."""
    stream = io.BytesIO()
    Image.new("L", (8, 8), shade % 256).save(stream, "PNG")
    return stream.getvalue()


def put(root: Path, files: dict[str, str]) -> Path:
    """Write files by their relative paths; an empty one is a small picture."""
    for number, (name, text) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() or png(number))
    return root


def table(header: str, rows: list[str]) -> str:
    return "\n".join([header, *rows]) + "\n"


def simple(root: Path, **changes: str) -> Path:
    """Write a competition of 40 training and 4 test pictures; `changes` replace tables by their names."""
    files = {f"train/{n}.png": "" for n in range(40)} | {f"test/{n}.png": "" for n in range(40, 44)}
    tables = {
        "train": table("id,label", [f"{n},{['cat', 'dog', 'eel'][n % 3]}" for n in range(40)]),
        "sample_submission": table("id,label", [f"{n},cat" for n in range(40, 44)]),
    }
    return put(root, files | {f"{name}.csv": text for name, text in (tables | changes).items()})


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_is_guessed_and_checked_without_an_edit(name: str, tmp_path: Path) -> None:
    fabricate(name, tmp_path / name)
    config = guessed(tmp_path / name, tmp_path / "guessed.yaml")
    known = configs.load([READY / f"{name}.yaml"])
    wanted = {key: getattr(known.data, key) for key in KEYS} | OTHERWISE.get(name, {})
    assert {key: getattr(config.data, key) for key in KEYS} == wanted
    assert config.submission.id == known.submission.id and config.name == name
    tree = {**config.model_dump(mode="json"), "runs_dir": str(tmp_path / "runs")}
    tree["data"]["cache"]["dir"] = str(tmp_path / "cache")
    check.run(configs.parse(tree, "guessed"), images=False)


def test_command_says_why_and_imports_no_torch(tmp_path: Path) -> None:
    root, out = simple(tmp_path / "pets"), tmp_path / "pets.yaml"
    done = command("init", root, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "init: data.image = train/{id}.png: reaches 40 pictures of 40 rows" in done.stdout
    assert f"next: foldline check -c {out}" in done.stdout
    written = out.read_text(encoding="utf-8")
    assert "  task: multiclass  # 3 labels, one per row" in written
    assert yaml.safe_load(written)["data"]["root"] == str(root)
    again = command("init", root, "--out", out)
    assert again.returncode == 2 and "exists already" in again.stderr


def test_zips_that_nobody_unpacked_are_read_in_place(tmp_path: Path) -> None:
    root = put(
        tmp_path / "pets",
        {
            "train.csv": table("id,label", [f"{n},{n % 2}" for n in range(20)]),
            "sample_submission.csv": table("id,label", ["20,0.5", "21,0.5"]),
        },
    )
    for part, numbers in {"train": range(20), "test": range(20, 22)}.items():
        with zipfile.ZipFile(root / f"{part}.zip", "w") as archive:
            for n in numbers:
                archive.writestr(f"{part}/{n}.png", png(n))
    config = guessed(root, tmp_path / "pets.yaml")
    assert config.data.image == "train.zip/train/{id}.png" and config.data.test_image == "test.zip/test/{id}.png"
    assert len(load(config).images) == 20


def test_subfolders_are_an_id_s_characters_and_numbers_are_padded(tmp_path: Path) -> None:
    ids = [f"{n * 7919:x}a{n:02}" for n in range(1, 41)]
    files = {f"all/{name[0]}/{name[1]}/{name}.webp": "" for name in ids}
    rows = [f"{name},{n % 3}" for n, name in enumerate(ids)]
    sample = table("id,label", [f"{name},0" for name in ids[36:]])
    nested = put(
        tmp_path / "nested", files | {"train.csv": table("id,label", rows[:36]), "sample_submission.csv": sample}
    )
    config = guessed(nested, tmp_path / "nested.yaml")
    assert config.data.image == "all/{id[0]}/{id[1]}/{id}.webp" and config.data.test_image is None

    files = {f"all/{n:06}.png": "" for n in range(44)}
    padded = simple(tmp_path / "padded")
    for n in range(44):
        (padded / ("train" if n < 40 else "test") / f"{n}.png").unlink()
    config = guessed(put(padded, files), tmp_path / "padded.yaml")
    assert config.data.image == "all/{id:06}.png"
    assert len(load(config).images) == 40


def test_names_with_spaces_are_no_lists_of_labels(tmp_path: Path) -> None:
    names = ["Fat Hen", "Sugar beet", "Common wheat"]
    rows = table("id,label", [f"{n},{names[n % 3]}" for n in range(40)])
    sample = table("id,label", [f"{n},Fat Hen" for n in range(40, 44)])
    config = guessed(simple(tmp_path / "a", train=rows, sample_submission=sample), tmp_path / "a.yaml")
    assert (config.data.task, config.data.separator) == ("multiclass", None)
    names = ["rust", "rust|scab", "scab", "blight", "blight|rust"]
    rows = table("id,label", [f"{n},{names[n % 5]}" for n in range(40)])
    config = guessed(simple(tmp_path / "b", train=rows), tmp_path / "b.yaml")
    assert (config.data.task, config.data.separator, config.decision.min_labels) == ("multilabel", "|", 1)
    rows = table("id,label", [f"{n},{[*names, ''][n % 6]}" for n in range(40)])
    config = guessed(simple(tmp_path / "c", train=rows), tmp_path / "c.yaml")
    assert (config.data.task, config.decision.min_labels) == ("multilabel", 0)


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [("cat", ("label", "accuracy")), ("1", ("class_id", "accuracy")), ("cat dog", ("top", "map@2"))],
)
def test_cells_follow_the_sample(cell: str, wanted: tuple[str, str], tmp_path: Path) -> None:
    sample = table("id,label", [f"{n},{cell}" for n in range(40, 44)])
    config = guessed(simple(tmp_path / "pets", sample_submission=sample), tmp_path / "pets.yaml")
    assert (config.submission.cell, config.metric) == wanted
    assert config.submission.top == (2 if wanted[0] == "top" else None)


@pytest.mark.parametrize(
    ("column", "values", "cell", "task"),
    [
        ("price", [f"{n * 3.5}" for n in range(40)], "10.0", "regression"),
        ("count", [f"{n}" for n in range(40)], "3", "regression"),
        ("grade", [f"{n % 5}" for n in range(40)], "0", "ordinal"),
        ("label", [f"{n % 5}" for n in range(40)], "0", "multiclass"),
        ("sick", [f"{n % 2}" for n in range(40)], "0", "binary"),
        ("class_id", [f"{n // 2 * 17}" for n in range(40)], "0", "multiclass"),
    ],
)
def test_kind_of_numbers(column: str, values: list[str], cell: str, task: str, tmp_path: Path) -> None:
    rows = table(f"id,{column}", [f"{n},{value}" for n, value in enumerate(values)])
    sample = table(f"id,{column}", [f"{n},{cell}" for n in range(40, 44)])
    root = simple(tmp_path / "pets", train=rows, sample_submission=sample)
    assert guessed(root, tmp_path / "pets.yaml").data.task == task


def test_group_needs_a_name_and_many_values(tmp_path: Path) -> None:
    lines = [f"{n},{n % 3},{n // 3},{n % 2},{n // 2}" for n in range(40)]
    root = simple(tmp_path / "pets", train=table("id,label,patient_id,Group,batch", lines))
    config = guessed(root, tmp_path / "pets.yaml")
    assert config.data.group == "patient_id"
    lines = [line.rsplit(",", 3)[0] + f",{n % 2},{n // 2}" for n, line in enumerate(lines)]
    config = guessed(simple(tmp_path / "b", train=table("id,label,Group,batch", lines)), tmp_path / "b.yaml")
    assert config.data.group is None


def test_what_cannot_be_guessed_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        init.run(str(tmp_path / "nowhere"), tmp_path / "a.yaml")
    root = put(tmp_path / "empty", {"train.csv": "id,label\n1,2\n"})
    with pytest.raises(InputError, match="no table is called like sample_submission"):
        init.run(str(root), tmp_path / "a.yaml")
    put(root, {"sample_submission.csv": "id,label\n3,2\n"})
    with pytest.raises(InputError, match="no training rows found"):
        init.run(str(root), tmp_path / "a.yaml")
    root = simple(tmp_path / "pets", sample_submission=table("id,a,b", ["40,0,0"]))
    with pytest.raises(InputError, match="no target found, expected a, b"):
        init.run(str(root), tmp_path / "a.yaml")
    assert not (tmp_path / "a.yaml").exists()

"""Guess configs where files lie otherwise: class folders, endings, parts, archives, arrays, names that repeat."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.checking import stage as check
from pipeline.competition.competition import Competition, load
from pipeline.config import loading as configs
from pipeline.errors import InputError
from pipeline.starting import init

SAMPLE = {"id": [f"te{n}.png" for n in range(6)], "label": ["cat"] * 6}


def picture(path: Path, shade: int = 0, kind: str = "PNG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (shade % 256, 40, 80)).save(path, kind)


def table(path: Path, columns: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")


def guessed(root: Path, **settings: Any) -> tuple[configs.Config, Competition]:
    """Return what init wrote, after check has passed on it unedited, and the rows that it leads to."""
    out = root.parent / f"{root.name}.yaml"
    out.unlink(missing_ok=True)
    config = configs.load([init.run(str(root), out)])
    runs = [f"runs_dir={root.parent / 'runs'}", f"data.cache.dir={root.parent / 'cache'}"]
    loaded = configs.load([out], runs)
    check.run(loaded, images=False)
    return config, load(loaded)


def relative(competition: Competition, root: Path) -> list[str]:
    return sorted(str(Path(path).relative_to(root)) for (path,) in competition.images)


def class_folders(root: Path, top: str = "train/", test: str = "test", between: str = "", kind: str = "png") -> Path:
    for n in range(24):
        label, below = ["cat", "dog"][n % 2], between.format(n // 2 % 2)
        picture(root / f"{top}{label}/{below}im{n}.{kind}", n)
    for n in range(6):
        picture(root / f"{test}/te{n}.png", 100 + n)
    table(root / "sample_submission.csv", SAMPLE)
    return root


@pytest.mark.parametrize(
    ("layout", "train", "test_image"),
    [
        ({}, "train", "test/{file}"),
        ({"top": "", "test": "Test"}, r"re:(?P<label>cat|dog)/.+\.(?i:png)", "Test/{file}"),
        ({"top": "training_set/training_set/", "test": "test_set"}, "training_set/training_set", "test_set/{file}"),
        ({"between": "camera{}/"}, r"re:train/(?P<label>[^/]+)/.+\.(?i:png)", "test/{file}"),
        ({"top": "pictures/"}, "pictures", "test/{file}"),
        ({"kind": "jfif"}, "train", "test/{file}"),
    ],
    ids=["train", "root", "deep", "nested", "alone", "jfif"],
)
def test_class_folders_are_found_wherever_they_begin(
    layout: dict[str, str], train: str, test_image: str, tmp_path: Path
) -> None:
    root = class_folders(tmp_path / "pets", **layout)
    config, competition = guessed(root)
    assert (config.data.train, config.data.test_image) == (train, test_image)
    assert competition.classes == ("cat", "dog") and len(competition.images) == 24
    assert competition.targets_NC.sum(0).tolist() == [12, 12]
    assert not set(competition.images) & set(competition.test_images)


def test_validation_folders_are_further_rows(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    for n in range(8):
        picture(root / f"val/{['cat', 'dog'][n % 2]}/va{n}.png")
    config, competition = guessed(root)
    assert config.data.train == ["train", "val"] and len(competition.images) == 32


def test_classes_below_super_categories_are_those_that_the_sample_names(tmp_path: Path) -> None:
    root = tmp_path / "life"
    for n in range(24):
        picture(root / ["train/plants/rose", "train/plants/fern", "train/animals/cat"][n % 3] / f"im{n}.png", n)
    for n in range(6):
        picture(root / f"test/te{n}.png", n)
    table(root / "sample_submission.csv", {"id": SAMPLE["id"], "label": ["rose"] * 6})
    _, competition = guessed(root)
    assert competition.classes == ("cat", "fern", "rose")
    table(root / "sample_submission.csv", {"id": SAMPLE["id"], "label": ["plants"] * 6})
    _, competition = guessed(root)
    assert competition.classes == ("animals", "plants")
    table(root / "sample_submission.csv", {"id": SAMPLE["id"], "label": [""] * 6})
    with pytest.raises(InputError, match=r"its folders are nested, and the sample .* animals, plants nor cat, fern"):
        init.run(str(root), tmp_path / "asked.yaml")


def test_one_number_for_several_folders_is_what_is_not_the_negative_one(tmp_path: Path) -> None:
    root, names = tmp_path / "alaska", ["Cover", "JMiPOD", "UERD"]
    for n in range(12):
        for name in names:
            picture(root / name / f"{n:05}.png", n)
    for n in range(6):
        picture(root / f"Test/{n:04}.png", n)
    table(root / "sample_submission.csv", {"Id": [f"{n:04}.png" for n in range(6)], "Label": [0.5] * 6})
    config, competition = guessed(root)
    assert (config.data.task, config.data.group, config.metric) == ("binary", "file", "roc_auc")
    covers = competition.table["label"] == "Cover"
    assert competition.targets_NC[:, 1].tolist() == [float(not cover) for cover in covers]
    assert config.data.test_image == "Test/{path}" and len(competition.images) == 36
    (root / "Cover").rename(root / "HILL")
    with pytest.raises(InputError, match="'Label' is one number for the 3 classes HILL, JMiPOD, UERD"):
        init.run(str(root), tmp_path / "asked.yaml")


def test_the_test_s_own_pictures_come_first_where_names_repeat(tmp_path: Path) -> None:
    root = tmp_path / "cells"
    for n in range(1, 25):
        picture(root / f"train/{n}.png", n)
        picture(root / f"test/{n}.png", 100 + n)
    table(root / "train_labels.csv", {"name": range(1, 25), "invasive": [n % 2 for n in range(24)]})
    table(root / "sample_submission.csv", {"name": range(1, 13), "invasive": [0.5] * 12})
    config, competition = guessed(root)
    assert (config.data.image, config.data.test_image) == ("train/{name}.png", "test/{name}.png")
    assert not set(competition.images) & set(competition.test_images)
    for path in (root / "test").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"no test pictures found, the only ones by .* are training"):
        init.run(str(root), tmp_path / "refused.yaml")


def tabled(root: Path, name: Any, ids: Any = lambda n: f"im{n}", tests: Any = lambda n: f"te{n}") -> Path:
    """Write a competition whose pictures are called `name(part, n)`."""
    for n in range(24):
        path = root / name("train", n)
        picture(path, n, "PNG" if path.suffix == ".png" else "JPEG")
    for n in range(6):
        picture(root / name("test", n), n)
    table(root / "train.csv", {"id": [ids(n) for n in range(24)], "label": [n % 2 for n in range(24)]})
    table(root / "sample_submission.csv", {"id": [tests(n) for n in range(6)], "label": [0.5] * 6})
    return root


PART = {"train": "im", "test": "te"}


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        (lambda part, n: f"{part}/{PART[part]}{n}.{['jpg', 'png', 'JPG', 'jpeg'][n % 4]}", lambda n: f"im{n}"),
        (lambda part, n: f"{part}/{PART[part]}{n}{'.jfif' if part == 'train' else ''}", lambda n: f"im{n}"),
        (lambda part, n: f"part_{n % 3}/{PART[part]}{n}.png" if part == "train" else f"test/te{n}.png", None),
        (lambda part, n: f"{part}/{PART[part]}{n}.png", lambda n: f"C:\\pictures\\im{n}.png"),
        (lambda part, n: f"{part}/{PART[part]}{n}.png", lambda n: f"/home/me/train/im{n}.png"),
        (lambda part, n: f"{part}/{PART[part]}{n}.png", lambda n: f"im{n}.jpg"),
    ],
    ids=["endings", "jfif", "parts", "backslashes", "absolute", "other ending"],
)
def test_every_picture_of_a_table_is_reached(name: Any, ids: Any, tmp_path: Path) -> None:
    root = tabled(tmp_path / "pets", name, ids or (lambda n: f"im{n}"))
    _, competition = guessed(root)
    assert relative(competition, root) == sorted(name("train", n) for n in range(24))
    assert len({path for (path,) in competition.test_images}) == 6
    label = dict(zip((Path(path).stem for (path,) in competition.images), competition.targets_NC[:, 1], strict=True))
    assert [label[f"im{n}"] for n in range(24)] == [n % 2 for n in range(24)]


def test_folders_that_only_the_row_s_number_tells_are_all_searched(tmp_path: Path) -> None:
    root = tmp_path / "many"
    for n in range(400):
        (root / f"train/{n % 4}").mkdir(parents=True, exist_ok=True)
        picture(root / f"train/{n % 4}/a{n:x}.png", n)
    for n in range(6):
        picture(root / f"test/te{n}.png", n)
    table(root / "train.csv", {"id": [f"a{n:x}" for n in range(400)], "label": [n % 2 for n in range(400)]})
    table(root / "sample_submission.csv", {"id": [f"te{n}" for n in range(6)], "label": [0.5] * 6})
    config, competition = guessed(root)
    assert config.data.image == "train/*/{id}.png" and len(competition.images) == 400


def test_archives_may_lack_the_folder_that_the_table_names(tmp_path: Path) -> None:
    root = tabled(
        tmp_path / "pets",
        lambda part, n: f"{part}/a/{PART[part]}{n}.png",
        lambda n: f"train/a/im{n}.png",
        lambda n: f"test/a/te{n}.png",
    )
    for part in ("train", "test"):
        with zipfile.ZipFile(root / f"{part}.zip", "w") as archive:
            for path in sorted((root / part).rglob("*.png")):
                archive.write(path, f"a/{path.name}")
                path.unlink()
        (root / part / "a").rmdir()
        (root / part).rmdir()
    config, competition = guessed(root)
    assert config.data.image == "train.zip/{inner}" and config.data.test_image == "test.zip/{inner}"
    assert len(competition.images) == 24 and len(competition.test_images) == 6


def test_tables_in_archives_and_what_lies_beside_them(tmp_path: Path) -> None:
    root = tabled(tmp_path / "pets", lambda part, n: f"{part}/{PART[part]}{n}.png")
    for name in ("train.csv", "sample_submission.csv"):
        with zipfile.ZipFile(root / f"{name}.zip", "w") as archive:
            archive.write(root / name, name)
            archive.writestr(f"__MACOSX/._{name}", b"junk")
        (root / name).unlink()
    picture(root / "train/.ipynb_checkpoints/im0-checkpoint.png")
    _, competition = guessed(root)
    assert len(competition.images) == 24


@pytest.mark.parametrize("long", [True, False])
def test_a_sample_with_a_row_per_id_and_class(long: bool, tmp_path: Path) -> None:
    root, kinds = tmp_path / "scans", ["bleed", "old_bleed", "any"]
    for n in range(24):
        picture(root / f"train/im{n}.png", n)
    for n in range(6):
        picture(root / f"test/te{n}.png", n)
    truth = {(n, kind): (n >> k) % 2 for n in range(24) for k, kind in enumerate(kinds)}
    if long:
        table(root / "train.csv", {"ID": [f"im{n}_{kind}" for n, kind in truth], "Label": truth.values()})
    else:
        columns = {kind: [truth[n, kind] for n in range(24)] for kind in kinds}
        table(root / "train.csv", {"ID": [f"im{n}" for n in range(24)], **columns})
    asked = [f"te{n}_{kind}" for n in range(6) for kind in kinds]
    table(root / "sample_submission.csv", {"ID": asked, "Label": [0.5] * 18})
    config, competition = guessed(root)
    assert config.submission.rows == "{id}_{class}" and config.data.task == "multilabel"
    assert competition.classes == tuple(kinds) and competition.test_ids.tolist() == [f"te{n}" for n in range(6)]
    names = [Path(image).stem for (image,) in competition.images]
    known = dict(zip(names, competition.targets_NC.tolist(), strict=True))
    assert known == {f"im{n}": [truth[n, kind] for kind in kinds] for n in range(24)}


@pytest.mark.parametrize("tests", ["table", "folder"])
def test_without_a_sample_the_test_s_ids_make_one(tests: str, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets") if tests == "folder" else tmp_path / "pets"
    if tests == "table":
        tabled(root, lambda part, n: f"{part}/{PART[part]}{n}.png")
        table(root / "test.csv", {"id": [f"te{n}" for n in range(6)]})
    (root / "sample_submission.csv").unlink()
    config, competition = guessed(root)
    assert config.data.sample_submission is None and len(competition.test_ids) == 6
    assert config.data.test == ("test.csv" if tests == "table" else "test/{file}")
    assert competition.sample.columns.tolist() == [config.data.id, config.data.target]


def test_a_column_of_folds_is_taken_as_it_stands(tmp_path: Path) -> None:
    root = tabled(tmp_path / "pets", lambda part, n: f"{part}/{PART[part]}{n}.png")
    rows = {"id": [f"im{n}" for n in range(24)], "kfold": [n // 8 for n in range(24)]}
    table(root / "train.csv", {**rows, "label": [n % 2 for n in range(24)]})
    assert guessed(root)[0].folds.column == "kfold"


def test_folders_of_arrays_come_with_channels_and_one_window(tmp_path: Path) -> None:
    root, rng = tmp_path / "signals", np.random.default_rng(0)
    for part, count in {"train": 24, "test": 6}.items():
        for n in range(count):
            (root / part).mkdir(parents=True, exist_ok=True)
            values = rng.uniform(-3, 5, (6, 27, 20)).astype(np.float16)
            np.save(root / f"{part}/{part}{n}.npy", values)
    table(root / "train_labels.csv", {"id": [f"train{n}" for n in range(24)], "target": [n % 2 for n in range(24)]})
    table(root / "sample_submission.csv", {"id": [f"test{n}" for n in range(6)], "target": [0.5] * 6})
    config, _ = guessed(root)
    assert (config.data.image, config.data.channels) == ("train/{id}.npy", 6)
    assert config.data.window == pytest.approx((-3.4, 5.4), abs=0.01)
    assert config.model.size == (64, 64) or config.model.size == 64
    for path in root.rglob("*.npy"):
        np.save(path, rng.integers(0, 255, (27, 20, 3)).astype(np.uint8))
    config, _ = guessed(root)
    assert (config.data.channels, config.data.window) == (None, None)


def test_images_in_columns_and_in_one_array_for_all(tmp_path: Path) -> None:
    root, rng = tmp_path / "digits", np.random.default_rng(0)
    pixels = {f"pixel{n}": rng.integers(0, 255, 24) for n in range(64)}
    table(root / "train.csv", {"label": [n % 3 for n in range(24)], **pixels})
    table(root / "test.csv", {name: cells[:6] for name, cells in pixels.items()})
    table(root / "sample_submission.csv", {"ImageId": range(1, 7), "Label": [0] * 6})
    config, competition = guessed(root)
    assert (config.data.id, config.data.test) == ("ImageId", "test.csv")
    assert competition.test_ids.tolist() == list("123456") and len(competition.images) == 24
    assert config.model.size == 64

    root = tmp_path / "stacked"
    table(root / "train.csv", {"id": [f"im{n}" for n in range(24)], "label": [n % 2 for n in range(24)]})
    table(root / "sample_submission.csv", {"id": [f"te{n}" for n in range(6)], "label": [0.5] * 6})
    for name, count in {"X_train": 24, "X_test": 6}.items():
        np.save(root / f"{name}.npy", rng.integers(0, 255, (count, 40, 72, 3)).astype(np.uint8))
    config, competition = guessed(root)
    assert (config.data.image, config.data.test_image) == ("X_train.npy[{row}]", "X_test.npy[{row}]")
    assert len(set(competition.images)) == 24 and len(set(competition.test_images)) == 6
    assert config.model.size == (64, 96)


def test_few_damaged_pictures_cost_their_rows_and_many_are_the_user_s_to_decide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tabled(tmp_path / "pets", lambda part, n: f"{part}/{PART[part]}{n}.png")
    noise = np.random.default_rng(0).integers(0, 255, (20, 20, 3)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG")
    (root / "train/im3.png").write_bytes(stream.getvalue()[:-200])
    config, _ = guessed(root)
    assert config.data.missing == "skip"
    assert "data.missing = skip: damaged: train/im3.png" in capsys.readouterr().out
    for n in range(8):
        (root / f"train/im{n}.png").write_bytes(b"<html>404</html>")
    with pytest.raises(InputError, match=r"wrote .*, which check refuses \(and 7 more\): train/im0.png: is damaged"):
        init.run(str(root), tmp_path / "many.yaml")
    assert configs.load([tmp_path / "many.yaml"]).data.missing == "error"


def test_rows_without_a_picture_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tabled(tmp_path / "pets", lambda part, n: f"{part}/{PART[part]}{n}.png")
    (root / "train/im7.png").unlink()
    config, competition = guessed(root)
    assert config.data.missing == "skip" and len(competition.images) == 23
    assert "1 rows have no picture: train.csv: line 9: train/im7.png: missing" in capsys.readouterr().out
    for n in range(0, 18, 2):
        (root / f"train/im{n}.png").unlink()
    with pytest.raises(InputError, match=r"10 rows have no picture, first .*line 2: train/im0.png: missing; set data"):
        init.run(str(root), tmp_path / "half.yaml")


@pytest.mark.parametrize(
    ("folder", "out", "name"),
    [
        ("whales/prepared/public", None, "whales"),
        ("data", "birds.yaml", "birds"),
        ("input/plants 2020", None, "plants-2020"),
        ("data", None, "here"),
    ],
)
def test_a_folder_that_names_nothing_lends_no_name(folder: str, out: str | None, name: str, tmp_path: Path) -> None:
    root = tmp_path / "here" / folder
    root.mkdir(parents=True)
    assert init.name_of(root, Path(out) if out else None) == name

"""The fabricated competitions look as they should, and their rules and scores tell good submissions from bad ones."""

from __future__ import annotations

import csv
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from competitions.layouts import LAYOUTS, fabricate
from competitions.rules import RULES, validate
from competitions.scores import SCORES, beats, score
from competitions.tabled import Truth
from PIL import Image

Made = tuple[Path, Truth, Path]  # root, truth, sample submission


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """Fabricate every competition once."""
    found = {}
    for name in LAYOUTS:
        root = tmp_path_factory.mktemp(name)
        truth = fabricate(name, root)
        found[name] = root, truth, next(root.glob("*sample_submission.csv"))
    return found


def _read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def _write(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return path


def _perfect(truth: Truth, sample: Path) -> list[list[str]]:
    """Answer the sample with what is true."""
    header, *rows = _read(sample)
    key = 1 if header[0] == "" else 0
    return [header, *([*row[: key + 1], *_cells(truth[row[key]], header[key + 1 :])] for row in rows)]


def _cells(true: Any, columns: list[str]) -> list[str]:
    if len(columns) > 1 and isinstance(true, str):
        return [str(int(true == column)) for column in columns]
    if len(columns) > 1:
        return [str(value) for value in true]
    return [" ".join(true) if isinstance(true, list) else str(true)]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_truth_passes_and_beats_the_sample(name: str, made: dict[str, Made], tmp_path: Path) -> None:
    _, truth, sample = made[name]
    answer = _write(tmp_path / "submission.csv", _perfect(truth, sample))
    assert validate(name, sample, answer) == []
    assert beats(name, score(name, truth, answer), score(name, truth, sample))
    perfect = {"petfinder-pawpularity-score": 0.0, "inaturalist-2019-fgvc6": 0.0}
    best = 0.0 if "log_loss" in SCORES[name].__name__ else perfect.get(name, 1.0)
    assert score(name, truth, answer) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("name", LAYOUTS)
def test_rows_and_columns_are_the_samples(name: str, made: dict[str, Made], tmp_path: Path) -> None:
    _, truth, sample = made[name]
    rows = _perfect(truth, sample)
    for wrong, word in [
        ([*rows[:2], *rows[:0:-1][:-1]], "ids"),
        (rows[:-1], "ids: found"),
        ([*rows, rows[-1]], "not the sample's"),
        ([rows[0], rows[2], rows[1], *rows[3:]], "another order"),
        ([[*rows[0][:-1], "prediction"], *rows[1:]], "columns"),
        ([rows[0], rows[1][:-1], *rows[2:]], "line 2"),
    ]:
        defects = validate(name, sample, _write(tmp_path / "submission.csv", wrong))
        assert any(word in defect for defect in defects), (word, defects)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("aerial-cactus-identification", ["1.01", "-0.1", "", "nan", "yes"]),
        ("aptos2019-blindness-detection", ["5", "1.5", "2.0", "-1", ""]),
        ("cassava-leaf-disease-classification", ["5", "Healthy", "3.0"]),
        ("herbarium-2020-fgvc7", ["Rosa", "3.0", "-1", ""]),
        ("imet-2020-fgvc7", ["3474", "1 1", "1, 2", "1  2"]),
        ("inaturalist-2019-fgvc6", ["3.0", "1 2.5", "", "1,2"]),
        ("iwildcam-2019-fgvc6", ["deer", "1.0", ""]),
        ("petfinder-pawpularity-score", ["0.99", "100.5", "inf", ""]),
        ("plant-pathology-2020-fgvc7", ["", "nan", "inf"]),
        ("plant-pathology-2021-fgvc8", ["", "healthy scab", "scab,rust", "scab scab", "Scab"]),
        ("plant-seedlings-classification", ["sugar beet", "Sugar_beet", "0"]),
        ("ranzcr-clip-catheter-line-classification", ["1.0001", "-0.2", ""]),
    ],
)
def test_bad_cells_are_refused(name: str, bad: list[str], made: dict[str, Made], tmp_path: Path) -> None:
    _, truth, sample = made[name]
    for cell in bad:
        rows = _perfect(truth, sample)
        rows[3][-1] = cell
        defects = validate(name, sample, _write(tmp_path / "submission.csv", rows))
        assert len(defects) == 1 and defects[0].startswith("line 4: "), (cell, defects)


def test_rows_of_shares_must_sum_to_one(made: dict[str, Made], tmp_path: Path) -> None:
    for name in ("dog-breed-identification", "leaf-classification"):
        _, truth, sample = made[name]
        header, *rows = _read(sample)
        assert validate(name, sample, sample) == []
        short = [header, *([row[0], *(f"{float(cell):.5f}" for cell in row[1:])] for row in rows)]
        assert len(validate(name, sample, _write(tmp_path / "submission.csv", short))) == len(truth)


def test_scores_are_worked_examples(tmp_path: Path) -> None:
    def check(name: str, truth: list[Any], cells: list[str], expected: float) -> None:
        rows = [["id", "x"], *([str(n), cell] for n, cell in enumerate(cells))]
        path = _write(tmp_path / "submission.csv", rows)
        known = {str(n): true for n, true in enumerate(truth)}
        assert score(name, known, path) == pytest.approx(expected)

    check("aerial-cactus-identification", [0, 0, 1, 1], ["0.1", "0.4", "0.35", "0.8"], 0.75)
    check("statoil-iceberg-classifier-challenge", [1, 0], ["0.5", "0.75"], (np.log(2) + np.log(4)) / 2)
    check("aptos2019-blindness-detection", [0, 1, 2, 3], ["0", "1", "2", "2"], 1 - 0.25 / ((14 + 6 + 6 + 6) / 16))
    check("inaturalist-2019-fgvc6", [4, 5, 6], ["4 5", "4 5", "6"], 1 / 3)
    check("herbarium-2020-fgvc7", [1, 1, 2], ["1", "3", "2"], (2 / 3 + 1 + 0) / 3)
    check("imet-2020-fgvc7", [["1", "2"], ["2"]], ["1 9", "2 1"], 2 * 2 / (3 + 3))
    check("rsna-breast-cancer-detection", [1, 0, 0, 0], ["1", "1", "1", "1"], 0.4)
    check("petfinder-pawpularity-score", [10.0, 20.0], ["13", "16"], np.sqrt(12.5))
    check("cassava-leaf-disease-classification", [3, 3, 1], ["3", "0", "1"], 2 / 3)


def test_every_listed_competition_has_its_rule_and_score() -> None:
    assert set(RULES) == set(SCORES) == set(LAYOUTS)
    assert len(LAYOUTS) == 20


def test_a_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("iwildcam-2020-fgvc7", "rsna-breast-cancer-detection"):
        truths = [fabricate(name, tmp_path / part / name) for part in "ab"]
        assert truths[0] == truths[1]
        listed = [sorted(path for path in (tmp_path / part).rglob("*") if path.is_file()) for part in "ab"]
        assert [path.read_bytes() for path in listed[0]] == [path.read_bytes() for path in listed[1]]


def test_quirks_are_there(made: dict[str, Made]) -> None:
    """Hold what readers must bear: without it the other tests would prove less than they say."""
    cactus, cats, plants = (made[name][0] for name in ("aerial-cactus-identification", *_named("dogs", "inaturalist")))
    assert not any("/" in name for name in zipfile.ZipFile(cactus / "train.zip").namelist())
    assert not list(cats.glob("train.csv")) and (cats / "test/1.jpg").is_file()
    with tarfile.open(plants / "test2019.tar.gz", "r:") as archive:
        assert not any("/" in name for name in archive.getnames())
    listed = json.loads((plants / "val2019.json").read_text())["images"]
    assert sum(not (plants / image["file_name"]).is_file() for image in listed) == 2
    places, scenes, ships = (made[name][0] for name in _named("iwildcam-2019", "iwildcam-2020", "statoil"))
    ids = [row[4] for row in _read(places / "train.csv")[1:]]
    assert len(set(ids)) < len(ids) and _read(places / "sample_submission.csv")[0][0] == ""
    tree = json.loads((scenes / "iwildcam2020_train_annotations.json").read_text())
    assert [a["image_id"] for a in tree["annotations"]] != [image["id"] for image in tree["images"]]
    assert sum(_is_damaged(scenes / "train" / image["file_name"]) for image in tree["images"]) == 2
    records = json.loads((ships / "test.json").read_text())
    assert all(len(record["band_1"]) == 75 * 75 for record in records) and "na" in {r["inc_angle"] for r in records}
    herbs = json.loads((made[_named("herbarium-2020")[0]][0] / "nybg2020/train/metadata.json").read_text("utf-8"))
    assert not all(category["name"].isascii() for category in herbs["categories"])
    assert {type(image["id"]) for image in herbs["images"]} == {int}


def _named(*starts: str) -> list[str]:
    return [next(name for name in LAYOUTS if name.startswith(start)) for start in starts]


def _is_damaged(path: Path) -> bool:
    try:
        Image.open(path).load()
    except OSError:
        return True
    return False

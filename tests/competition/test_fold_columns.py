"""A column's own folds and its times are read as people write them, or it is said which cells cannot be."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.competition.competition import load
from pipeline.competition.fold_columns import crossing, given, latest, times
from pipeline.config.loading import load as load_config
from pipeline.errors import InputError


@pytest.mark.parametrize(
    ("cells", "folds", "names"),
    [
        (["0", "1", "2"], [0, 1, 2], ("0", "1", "2")),
        (["5", "1.0", "1", "01 "], [1, 0, 0, 0], ("1", "5")),
        (["B", "A", "", "B"], [1, 0, -1, 1], ("A", "B")),
        (["fold10", "fold2", "fold1"], [2, 1, 0], ("fold1", "fold2", "fold10")),
        (["-1", "0", "-1.0", "1"], [-1, 0, -1, 1], ("0", "1")),
        (["train", "valid", "Train"], [-1, 0, -1], ("valid",)),
    ],
)
def test_folds_are_numbered_in_natural_order(cells: list[str], folds: list[int], names: tuple[str, ...]) -> None:
    fold_N, found = given(cells)
    assert fold_N.tolist() == folds and found == names


@pytest.mark.parametrize(
    "rising",
    [
        ["-3", "2", "10", "1e3"],
        ["2019", "2020", "2021"],
        ["2021-03", "2021-10", "2022-01"],
        ["2021-3-9", "2021-03-10", "2021-11-02"],
        ["2021/03/09", "2021/03/10 7:05", "2021/03/10 17:05:01.5"],
        ["2021:03:09 10:11:12", "2021:03:09 10:11:13"],
        ["2021-03-09T23:30:00-05:00", "2021-03-10T04:31:00Z", "2021-03-10 04:32 +00:00"],
    ],
)
def test_times_rise(rising: list[str]) -> None:
    time_N, wrong = times([f" {cell}" for cell in rising])
    assert wrong == [] and all(first < after for first, after in pairwise(time_N.tolist()))


@pytest.mark.parametrize(
    ("cells", "wrong"),
    [
        (["2021-03-09", "2021-02-30", "2021-03-10"], [1]),
        (["2021-03-09", "", "2021-03-10"], [1]),
        (["2021-03-09", "7", "2021-03-10"], [1]),
        (["1", "2021-03-09", "2"], [1]),
        (["2021-03-09T10:00", "2021-03-09T10:00", "2021-03-09T10:00Z"], [2]),
        (["12/31/2021", "31.12.2021", "Jan 5"], [0, 1, 2]),
    ],
)
def test_times_that_cannot_be_ordered_are_found(cells: list[str], wrong: list[int]) -> None:
    assert times(cells)[1] == wrong


def test_a_prediction_is_as_late_as_its_last_image() -> None:
    cells = ["2021-01-05", "2021-03-01", "2021-02-01", "2020-01-01"]
    assert latest(cells, np.array([0, 1, 0, 1]), 2).tolist() == ["2021-02-01", "2021-03-01"]


def test_groups_that_cross_are_named_with_examples() -> None:
    fold_N, names = given(["a", "b", "b", "", "a", "b"])
    (problem,) = crossing(fold_N, np.array(["p1", "p1", "p2", "p2", "", ""]), names, "train.csv: f", "patient")
    assert problem.found == "2 groups of patient lie in several folds: 'p1' in b and a, 'p2' in b and -1"


def with_column(root: Path, name: str, cells: list[str]) -> None:
    head, *lines = (root / "train.csv").read_text().splitlines()
    made = [f"{line},{cell}" for line, cell in zip(lines, cells, strict=True)]
    (root / "train.csv").write_text("\n".join([f"{head},{name}", *made]) + "\n")


def defects(root: Path, **folds: Any) -> str:
    config = load_config([root / "config.yaml"], [f"folds.{key}={json.dumps(value)}" for key, value in folds.items()])
    with pytest.raises(InputError) as caught:
        load(config)
    return "\n".join(caught.value.lines)


def test_what_folds_cannot_be_made_of_is_a_defect_of_the_input(competition: Path) -> None:
    with_column(competition, "fold", [str(n % 5) for n in range(48)])
    text = defects(competition, column="fold")
    assert (
        "train.csv: fold (folds.column): 12 groups of group lie in several folds: 'g00' in 3 and 2 and 1 and 0" in text
    )
    assert "names no fold" not in text
    assert "no column 'flod' (folds.column); did you mean 'fold'?" in defects(competition, column="flod")
    with_column(competition, "same", ["A"] * 48)
    assert "same (folds.column): has 'A' in every row, so that nothing is left" in defects(competition, column="same")
    with_column(competition, "date", ["2021-01-01", "", "3.1.2021", *["2021-01-02"] * 45])
    text = defects(competition, scheme="time", column="date")
    assert "line 3: date is '', expected a number, or a date such as 2021-03-14" in text and "line 4: date is" in text
    assert "line 5" not in text


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ({"scheme": "time"}, r"folds\.scheme: found time without folds\.column"),
        ({"scheme": "holdout", "column": "fold"}, r"folds\.scheme: found holdout, expected auto or time"),
        ({"column": "fold", "stratify": "label"}, r"folds\.stratify: balances nothing"),
        ({"column": "fold", "rare": "train"}, r"folds\.rare: found train, but the column's own folds decide"),
    ],
)
def test_keys_that_contradict_a_column_are_refused(competition: Path, folds: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config([competition / "config.yaml"], [f"folds.{key}={value}" for key, value in folds.items()])


def test_extra_rows_know_no_time(competition: Path) -> None:
    with_column(competition, "year", [str(2000 + n // 4) for n in range(48)])
    (competition / "more.csv").write_text("image_id,label,group\n0050,disk,x\n")
    settings = ["folds.scheme=time", "folds.column=year", "data.extra=[{table: more.csv}]"]
    found = load(load_config([competition / "config.yaml"], settings))
    assert "rows of data.extra are trained on in every fold, whatever their time" in found.notes

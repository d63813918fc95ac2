"""Rows are kept by the cells that data.where names, or by those that it excludes; one table can hold the test rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.competition.competition import Competition, load
from pipeline.competition.rows.new_images import find
from pipeline.config.loading import dump
from pipeline.config.loading import load as load_config
from pipeline.errors import InputError


def settings_of(**data: Any) -> list[str]:
    return [f"data.{key}={json.dumps(value)}" for key, value in data.items()]


def read(root: Path, **data: Any) -> Competition:
    return load(load_config([root / "config.yaml"], settings_of(**data)))


def with_column(root: Path, name: str, cells: list[str]) -> None:
    head, *lines = (root / "train.csv").read_text().splitlines()
    made = [f"{line},{cell}" for line, cell in zip(lines, cells, strict=True)]
    (root / "train.csv").write_text("\n".join([f"{head},{name}", *made]) + "\n")


def test_cells_are_kept_or_excluded_and_blank_ones_are_named_by_nothing(competition: Path) -> None:
    with_column(competition, "quality", (["good", " bad", "", "fair "] * 12))
    kept = read(competition, where={"quality": ["good", "fair"]})
    assert kept.ids.tolist() == [f"{n:04d}" for n in range(48) if n % 4 in (0, 3)]
    left = read(competition, where={"quality": {"not": ["bad", ""]}})
    assert left.ids.tolist() == kept.ids.tolist() and left.notes == ()
    filled = read(competition, where={"quality": {"not": [""]}, "label": {"not": ["square"]}})
    assert filled.ids.tolist() == [f"{n:04d}" for n in range(48) if n % 4 != 2 and n % 3 != 2]
    again = load_config([competition / "config.yaml"], settings_of(where={"quality": {"not": ["bad"]}}))
    (competition / "again.yaml").write_text(dump(again))
    assert load_config([competition / "again.yaml"]) == again


def test_an_exclusion_that_excludes_nothing_or_everything_is_told(competition: Path) -> None:
    with_column(competition, "quality", ["good", "bad"] * 24)
    found = read(competition, where={"quality": {"not": ["bda", ""]}})
    assert found.notes == ("data.where.quality: no row has 'bda'; did you mean 'bad'?",) and len(found.ids) == 48
    with pytest.raises(InputError, match=r"data\.where\.quality: no row of .* has a cell other than 'good', 'bad'"):
        read(competition, where={"quality": {"not": ["good", "bad"]}})
    with pytest.raises(InputError, match=r"data\.where: found 'nott'; input should be 'not'"):
        read(competition, where={"quality": {"nott": ["good"]}})


def test_one_table_holds_the_rows_to_train_on_and_those_to_predict(competition: Path) -> None:
    cells = ["train"] * 30 + ["valid"] * 6 + ["test"] * 12
    head, *lines = (competition / "train.csv").read_text().splitlines()
    made = [f"{line.replace(',square', ',') if n >= 36 else line},{cells[n]}" for n, line in enumerate(lines)]
    (competition / "labels.csv").write_text("\n".join([f"{head},split", *made]) + "\n")
    (competition / "sample_submission.csv").write_text(
        "image_id,label\n" + "".join(f"{n:04d},\n" for n in range(36, 48))
    )
    chosen: dict[str, Any] = {
        "train": "labels.csv",
        "test": "labels.csv",
        "where": {"split": {"not": ["test"]}},
        "test_where": {"split": ["test"]},
    }
    found = read(competition, **chosen)
    assert found.ids.tolist() == [f"{n:04d}" for n in range(36)]
    assert found.test_ids.tolist() == [f"{n:04d}" for n in range(36, 48)]
    new = find(load_config([competition / "config.yaml"], settings_of(**chosen)), None)
    assert new.ids.tolist() == found.test_ids.tolist()
    with pytest.raises(InputError, match=r"data\.test_where\.split: no row of .*labels.csv has 'tset'; did you mean"):
        read(competition, **chosen | {"test_where": {"split": ["tset"]}})
    with pytest.raises(InputError, match=r"data\.test_where: chooses rows of data\.test, which is null"):
        read(competition, **chosen | {"test": None})

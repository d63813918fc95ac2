"""A sample with a row per id and class is filled in row by row; a training table like it becomes a row per id."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import write_competition
from synthetic import make_config

from pipeline.competition.competition import Competition, load
from pipeline.competition.rows.new_images import find
from pipeline.competition.sample_submission import asked_ids, check_sample
from pipeline.config.config import Config
from pipeline.config.loading import load as load_config
from pipeline.config.loading import parse
from pipeline.errors import InputError
from pipeline.files.tables import read_text_table
from pipeline.submission.filling import build

IDS = np.array(["a_1", "b"])
PROBS = np.array([[0.75, 0.5, 0.125], [0.25, 1.0, 0.0]])
CLASSES = ("any", "any_x", "edema")
SEVERAL = {
    "data__task": "multilabel",
    "data__target": list(CLASSES),
    "loss__name": "binary_cross_entropy",
    "metric": "mean_column_auc",
}


def table(*lines: str) -> pd.DataFrame:
    return read_text_table(io.BytesIO("\n".join(lines).encode()))


def config_of(**changes: Any) -> Config:
    return make_config(Path("nowhere"), **SEVERAL | changes)


def cells(text: pd.DataFrame) -> list[str]:
    return [line.rpartition(",")[2] for line in text.to_csv(index=False).splitlines()[1:]]


def test_each_row_holds_the_cell_of_its_id_and_class() -> None:
    names = ["b_edema", "a_1_any_x", "a_1_any", "a_1_edema", "b_any", "b_any_x", "b_any"]
    sample, config = table("ID,Label", *(f"{name},0.5" for name in names)), config_of(submission__rows="{id}_{class}")
    assert asked_ids(sample, config) == ["b", "a_1", "a_1", "a_1", "b", "b", "b"]
    made = build(sample, config, CLASSES, IDS, PROBS)
    assert made["ID"].tolist() == names
    assert cells(made) == ["0.0", "0.5", "0.75", "0.125", "0.25", "1.0", "0.25"]
    hard = config_of(submission__rows="{id}_{class}", submission__cell="label", metric="f1_macro")
    assert cells(build(sample, hard, CLASSES, IDS, PROBS)) == ["0", "1", "1", "0", "0", "1", "0"]


def test_the_class_may_stand_first_or_in_a_column_of_its_own() -> None:
    first = table("ID,Label", *(f"{name}/{one}.png,0" for one in IDS for name in CLASSES))
    config = config_of(submission__rows="{class}/{id}.png")
    assert cells(build(first, config, CLASSES, IDS, PROBS)) == ["0.75", "0.5", "0.125", "0.25", "1.0", "0.0"]
    rows = [f"{one},{name.upper()},0" for one in IDS for name in reversed(CLASSES)]
    apart = table("image,finding,Label", *rows)
    config = config_of(submission__rows="finding", submission__labels={name: name.upper() for name in CLASSES})
    made = build(apart, config, CLASSES, IDS, PROBS)
    assert cells(made) == ["0.125", "0.5", "0.75", "0.0", "1.0", "0.25"] and made["finding"].iloc[0] == "EDEMA"


def test_values_and_exclusive_classes_are_submitted_so_too() -> None:
    sample = table("ID,y", *(f"{one}_{name},0" for one in IDS for name in ("h", "w")))
    values = {"data__task": "regression", "data__target": ["h", "w"], "loss__name": "mse", "metric": "rmse"}
    config = config_of(submission__rows="{id}_{class}", **values)
    assert cells(build(sample, config, ("h", "w"), IDS, np.array([[1.5, 2.0], [-3.0, 4.0]]))) == [
        "1.5",
        "2",
        "-3.0",
        "4",
    ]
    single = {"data__task": "multiclass", "data__target": "label", "loss__name": "cross_entropy", "metric": "log_loss"}
    sample = table("ID,y", *(f"{one}_{name},0" for one in IDS for name in ("h", "w")))
    config = config_of(submission__rows="{id}_{class}", data__classes=["h", "w"], **single)
    assert cells(build(sample, config, ("h", "w"), IDS, np.array([[0.75, 0.25], [0.5, 0.5]]))) == [
        *("0.75", "0.25"),
        *("0.5", "0.5"),
    ]
    config = config_of(submission__rows="{id}_{class}", **single)
    (found,) = [str(one) for one in check_sample(sample, config, ("h", "w"))]
    assert found.endswith("write data.classes: [h, w]")


def test_rows_that_cannot_be_read_and_those_that_are_absent_are_named() -> None:
    config = config_of(submission__rows="{id}_{class}")
    sample = table("ID,Label", "b_any,0", "b_any_x,0", "b_edem,0", "a_1_edema,0", "a_1_any,0", "a_1_any_x,0")
    assert [str(one) for one in check_sample(sample, config, CLASSES)] == [
        "sample_submission.csv: line 4: 'b_edem' is no row of submission.rows, {id}_{class}; "
        "known classes: any, any_x, edema",
        "sample_submission.csv: id 'b' has no row for edema, expected a row for each class",
    ]
    wide = table("ID,any,edema", "b,0,0")
    (found,) = check_sample(wide, config, CLASSES)
    assert "has 2 columns to fill in (any, edema), expected one" in str(found)
    (found,) = check_sample(wide, config_of(submission__rows="kind"), CLASSES)
    assert str(found) == "submission.rows: 'kind' is no column of sample_submission.csv; it has ID, any, edema"
    with pytest.raises(InputError, match=r"submission\.rows: found '\{id\}', expected \{id\} and \{class\}"):
        config_of(submission__rows="{id}")


def long_tables(root: Path) -> dict[str, Any]:
    """Write the competition with a row per id and class; return its config."""
    labels = ("x_one", "two")
    train = [f"{n:04d}_{name},{(n + c) % 2}" for n in range(48) for c, name in enumerate(labels)]
    sample = [f"{n:04d}_{name},0.5" for n in range(48, 60) for name in labels]
    (root / "train.csv").write_text("\n".join(["ID,Label", *train, train[5]]) + "\n")
    (root / "sample_submission.csv").write_text("\n".join(["ID,Label", *sample]) + "\n")
    tree = yaml.safe_load((root / "config.yaml").read_text())
    tree["data"] |= {
        "test": None,
        "group": None,
        "task": "multilabel",
        "target": list(labels),
        "derive": {
            "image_id": {"column": "ID", "pattern": "^([0-9]+)_"},
            "kind": {"column": "ID", "pattern": "^[0-9]+_(.+)"},
        },
        "pivot": {"columns": "kind", "values": "Label"},
    }
    more = {"submission": {"rows": "{id}_{class}"}, "metric": "mean_column_auc"}
    return tree | more | {"loss": {"name": "binary_cross_entropy"}}


def read(tree: dict[str, Any]) -> Competition:
    return load(parse(tree, "test"))


def test_a_long_table_is_read_as_a_row_per_id(tmp_path: Path) -> None:
    root = write_competition(tmp_path)
    tree = long_tables(root)
    found = read(tree)
    assert found.ids.tolist() == [f"{n:04d}" for n in range(48)] and found.classes == ("x_one", "two")
    assert found.targets_NC[:3].tolist() == [[0, 1], [1, 0], [0, 1]]
    assert found.test_ids.tolist() == [f"{n:04d}" for n in range(48, 60)] and len(found.sample) == 24
    assert find(parse(tree, "test"), None).ids.tolist() == found.test_ids.tolist()


def test_defects_of_a_long_table_are_told(tmp_path: Path) -> None:
    root = write_competition(tmp_path)
    tree, path = long_tables(root), root / "train.csv"
    text = path.read_text()
    path.write_text(text.replace("0003_two,0\n", "") + "0007_two,1\n")
    with pytest.raises(InputError) as caught:
        read(tree)
    said = "\n".join(caught.value.lines)
    assert "line 98: Label is '1', but '0' in line 16 of the same id and class" in said
    assert "two is" in said  # blank: 0003 has no row of it
    path.write_text(text)
    tree["data"]["pivot"] = {"columns": "kinds", "values": "Label"}
    with pytest.raises(InputError, match=r"no column 'kinds' \(data\.pivot\); did you mean 'kind'"):
        read(tree)
    assert load_config([root / "config.yaml"]).data.pivot is None

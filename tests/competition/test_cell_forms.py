"""Cells that differ in form only are one label, one group, one number; rows without a label can be left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.competition.cells import near_names, one_form
from pipeline.competition.competition import Competition, load
from pipeline.config.loading import load as load_config
from pipeline.errors import InputError


def read(root: Path, rows: list[str], header: str = "image_id,label,group", **data: Any) -> Competition:
    (root / "train.csv").write_text("\n".join([header, *(f"{n:04d},{row}" for n, row in enumerate(rows))]))
    settings = {
        key.replace("__", ".") if "__" in key or key == "metric" else f"data.{key}": value
        for key, value in data.items()
    }
    return load(load_config([root / "config.yaml"], [f"{key}={json.dumps(value)}" for key, value in settings.items()]))


def defects(root: Path, rows: list[str], header: str = "image_id,label,group", **data: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(root, rows, header, **data)
    return "\n".join(caught.value.lines)


def test_one_number_is_one_label_and_one_group(competition: Path) -> None:
    found = read(competition, ["0,1", "1,1.0", "2,01", "0.0,2", "1.0,2", "02,2 "], submission__cell="probability",
                 submission__columns={"label": "1"})  # fmt: skip
    assert found.classes == ("0", "1", "2") and found.targets_NC.argmax(1).tolist() == [0, 1, 2, 0, 1, 2]
    assert found.groups is not None and found.groups.tolist() == ["1", "1", "1", "2", "2", "2"]
    assert found.table["label"].tolist() == ["0", "1", "2", "0", "1", "2"]  # as folds/NAME.csv will hold it
    assert any("label: '" in note and "is read as '1'" in note and "in 3 rows" in note for note in found.notes)


def test_the_form_of_the_configs_classes_comes_first(competition: Path) -> None:
    found = read(competition, ["0,a", "1.0,b", "1,c"], classes=["0.0", "1.0"], task="binary",
                 submission__cell="probability", submission__columns={"label": "1.0"})  # fmt: skip
    assert found.classes == ("0.0", "1.0") and found.targets_NC.argmax(1).tolist() == [0, 1, 1]


def test_forms_that_do_not_vary_stay_as_they_are() -> None:
    assert one_form(["01", "02", "10"]) == {} and one_form(["1.0", "2.0"]) == {} and one_form(["1e5", "100000"]) == {}
    assert one_form(["1", "1.0", "01", "a"]) == {"1.0": "1", "01": "1"}
    assert one_form(["1234567890123456789", "1234567890123456790"]) == {}  # one and the same float
    assert one_form(["1", "1."], known=["01"]) == {"1": "01", "1.": "01"}


@given(st.lists(st.decimals(-99, 99, places=1).map(str) | st.integers(-99, 99).map(str) | st.text(max_size=3)))
def test_a_form_is_the_same_number_and_every_number_has_one(cells: list[str]) -> None:
    forms = one_form(cells)
    taken = {forms.get(cell, cell) for cell in cells}
    assert all(float(cell) == float(form) and form in cells for cell, form in forms.items())
    numbers = [float(cell) for cell in taken if cell in forms.values()]
    assert len(numbers) == len(set(numbers)) and not set(forms) & taken


@pytest.mark.parametrize("nothing", ["NaN", "nan", "", "<NA>", "#N/A"])
def test_a_cell_that_stands_for_nothing_is_no_class(competition: Path, nothing: str) -> None:
    rows = ["cat,a", "dog,b", f"{nothing},c", "cat,d"]
    told = defects(competition, rows)
    assert "train.csv: line 4: label is " in told and "data.unlabelled: skip" in told
    found = read(competition, rows, unlabelled="skip")
    assert found.ids.tolist() == ["0000", "0001", "0003"] and found.classes == ("cat", "dog")
    assert any("1 rows have no label and are left out, first" in note and "line 4" in note for note in found.notes)
    if nothing:
        assert read(competition, rows, classes=["cat", "dog", nothing]).targets_NC.argmax(1).tolist() == [0, 1, 2, 0]


def test_in_a_multilabel_column_blank_is_no_label_and_nan_is_told(competition: Path) -> None:
    keys = dict(task="multilabel", separator=" ", loss__name="binary_cross_entropy", metric="f1_micro")
    keys = {**keys, "mix__kind": "none"}
    rows = ["1 3,a", ",b", "2,c", "nan,d", "3.0 1,e"]
    assert "line 5: label is 'nan', which stands for nothing" in defects(competition, rows, **keys)
    found = read(competition, rows, unlabelled="skip", **keys)
    assert found.classes == ("1", "2", "3") and found.targets_NC.tolist() == [
        [1, 0, 1],
        [0, 0, 0],
        [0, 1, 0],
        [1, 0, 1],
    ]


def test_truth_values_in_one_hot_columns(competition: Path) -> None:
    (competition / "sample_submission.csv").write_text(
        "image_id,cat,dog\n" + "".join(f"{n:04d},0.5,0.5\n" for n in range(48, 60))
    )
    rows = ["True,False,a", "false,TRUE,b", "yes,no,c", "0,1,d"]
    found = read(competition, rows, "image_id,cat,dog,group", target=["cat", "dog"])
    assert found.targets_NC.tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    assert "cat is 'maybe', expected a number in [0, 1]" in defects(
        competition, ["maybe,0,a", "0,True,b"], "image_id,cat,dog,group", target=["cat", "dog"]
    )


def test_a_decimal_comma_is_a_point_unless_it_may_part_thousands(competition: Path) -> None:
    keys = dict(task="regression", loss__name="mse", metric="rmse", submission__cell="value", ensemble__blender="mean")
    found = read(competition, ['"50,5",a', '"7,25",b', "3,c"], **keys)
    assert found.targets_NC[:, 0].tolist() == [50.5, 7.25, 3] and any(
        "'50,5' is read as '50.5'" in note for note in found.notes
    )
    assert "label is '1,500', expected a number" in defects(competition, ['"1,500",a', "3,b"], **keys)
    assert "label is '0,5', expected a number" in defects(competition, ['"0,5",a', "1.5,b"], **keys)


def test_names_that_differ_in_their_spelling_alone_are_said(competition: Path) -> None:
    found = read(competition, ["cat,a", "Cat,b", " cat,c", "dog ,d", "None,e"])
    assert found.classes == ("Cat", "None", "cat", "dog")
    assert any("'Cat' (1 rows) and 'cat' (2 rows) differ in their spelling alone" in note for note in found.notes)
    assert any(note.startswith("'None' is taken for a class (1 rows)") for note in found.notes)
    assert near_names({"a b": 1, "A_B": 2, "-1": 3, "1": 4}) == [
        "the classes 'a b' (1 rows) and 'A_B' (2 rows) differ in their spelling alone; data.derive can make one of them"
    ]


def test_words_of_an_ordinal_task_need_their_order(competition: Path) -> None:
    rows = ["low,a", "medium,b", "high,c"]
    keys = dict(task="ordinal", metric="quadratic_weighted_kappa")
    assert "data.classes: null, but the labels of ordinal targets are words (high, low, medium)" in defects(
        competition, rows, **keys
    )
    found = read(competition, rows, classes=["low", "medium", "high"], **keys)
    assert found.targets_NC.argmax(1).tolist() == [0, 1, 2]
    assert read(competition, ["0,a", "2,b", "10,c"], **keys).classes == ("0", "2", "10")


def test_joins_and_where_take_numbers_in_any_form(competition: Path) -> None:
    (competition / "ages.csv").write_text("patient,age\n1,30\n2,40\n")
    rows = ["cat,1.0,1", "dog,01,1.0", "cat,2,0", "dog,7,1"]
    found = read(
        competition,
        rows,
        "image_id,label,patient,use",
        group="patient",
        joins=[{"table": "ages.csv", "on": "patient", "rows": "train"}],
        where={"use": ["1"]},
    )
    assert found.table["age"].tolist() == ["30", "30", ""] and found.ids.tolist() == ["0000", "0001", "0003"]


@pytest.mark.parametrize(
    ("test", "sample", "how", "keys"),
    [
        ("{}", "{:05}", "zeros before numbers alone: '00048' for '48'", 'key: "{image_id:05}"'),
        ("{:04}", "{}", "zeros before numbers alone: '48' for '0048'", 'pattern: "[1-9][0-9]*$|0$"'),
        ("{}", "{}.jpg", "their ending alone: '48.jpg' for '48'", 'key: "{image_id}.jpg"'),
        ("a{}.png", "a{}", "their ending alone: 'a48' for 'a48.png'", 'pattern: "^(.+?)(?:[.][A-Za-z]+)?$"'),
        ("{}.0", "{}", "the .0 of numbers alone: '48' for '48.0'", 'pattern: "^[0-9]+"'),
        ("test/{}", "{}", "their folders alone: '48' for 'test/48'", 'pattern: "[^/]+$"'),
        ("A{}", "a{}", "upper and lower case alone: 'a48' for 'A48'", "write them alike in both files"),
    ],
)
def test_ids_of_other_forms_are_told_with_the_keys_that_mend_it(
    competition: Path, test: str, sample: str, how: str, keys: str
) -> None:
    """And the keys do mend it: with them the same files are read."""
    (competition / "test.csv").write_text("image_id\n" + "".join(test.format(n) + "\n" for n in range(48, 60)))
    rows = "".join(sample.format(n) + ",cross\n" for n in range(48, 60))
    (competition / "sample_submission.csv").write_text("image_id,label\n" + rows)
    for n in range(48, 60):
        path = competition / f"images/{test.format(n)}"
        path.parent.mkdir(exist_ok=True)
        (competition / f"images/{n:04d}.png").rename(
            path if path.suffix == ".png" else path.with_name(f"{path.name}.png")
        )
    with pytest.raises(InputError) as caught:
        load(load_config([competition / "config.yaml"]))
    (line,) = caught.value.lines
    assert f"sample_submission.csv: its ids differ by {how}" in line and keys in line
    if "key: " in line:
        derive = yaml.safe_load(line.partition("data.derive: ")[2].rpartition(", data.id: key")[0])
        asked = ["data.id=key", "submission.id=image_id", f"data.derive={json.dumps(derive)}"]
        found = load(load_config([competition / "config.yaml"], asked))
        assert found.test_ids.tolist() == [sample.format(n) for n in range(48, 60)]

"""Cells are written as the sample writes its own, columns hold sums of classes, and the positive class is told."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic import make_config

from pipeline.competition.sample_submission import check_sample, notes, to_fill
from pipeline.competition.samples.columns import called, positive
from pipeline.competition.samples.spelling import spelled
from pipeline.errors import InputError
from pipeline.files.tables import read_text_table
from pipeline.methods.topk import top
from pipeline.submission.filling import build

IDS = np.array(["007", "008", "009"])
PROBS = np.array([[0.7, 0.1, 0.2], [0.25, 0.5, 0.25], [0.125, 0.125, 0.75]])
CLASSES = ("Cover", "JMiPOD", "UERD")


def table(text: str) -> pd.DataFrame:
    return read_text_table(io.BytesIO(text.encode()))


def fill(
    cell: str, probs_NC: Any = PROBS, classes: tuple[str, ...] = CLASSES, head: str = "y", **changes: Any
) -> list[str]:
    config, width = make_config(Path("nowhere"), **changes), head.count(",") + 1
    sample = f"id,{head}\n" + "".join(f"{name}{f',{cell}' * width}\n" for name in IDS)
    made = build(table(sample), config, classes, IDS, probs_NC).to_csv(index=False)
    return [line.partition(",")[2] for line in made.splitlines()[1:]]


@pytest.mark.parametrize(
    ("classes", "cells", "written"),
    [
        (("0.0", "1.0", "2.0"), ["0"], ["0", "1", "2"]),  # floats in training, whole numbers in the sample
        (("0", "1", "2"), ["0.0"], ["0.0", "1.0", "2.0"]),
        (("1", "2", "10"), ["01", "10"], ["01", "02", "10"]),
        (("01", "02"), ["1"], ["1", "2"]),
        (("0", "1"), ["False"], ["False", "True"]),
        (("False", "True"), ["0"], ["0", "1"]),
        (("no", "yes"), ["0", "1"], ["0", "1"]),
        (("no", "yes"), ["0"], ["no", "yes"]),  # one number may stand for any label
        (("no", "yes"), ["No"], ["No", "Yes"]),
        (("0", "1"), ["no"], ["no", "yes"]),
        (("leaf_blight", "normal"), ["Leaf Blight"], ["Leaf Blight", "Normal"]),
        (("cat", "dog"), ["", "nan"], ["cat", "dog"]),
        (("cat", "dog"), ["dog"], ["cat", "dog"]),
        (("0.5", "1.0"), ["1"], ["0.5", "1.0"]),  # 0.5 cannot be written so
        (("a", "A"), ["a", "B"], ["a", "A"]),
    ],
)
def test_labels_are_spelt_as_in_the_sample(classes: tuple[str, ...], cells: list[str], written: list[str]) -> None:
    assert list(spelled(classes, cells).values()) == written


def test_whole_numbers_are_submitted_where_the_sample_has_them() -> None:
    assert fill("0", classes=("0.0", "1.0", "2.0")) == ["0", "1", "2"]
    assert fill("0", classes=("0.0", "1.0", "2.0"), submission__labels={"1.0": "one"}) == ["0", "one", "2"]
    assert fill("", classes=("0.0", "1.0", "2.0")) == ["0.0", "1.0", "2.0"]  # a blank sample says nothing
    several = {"data__task": "multilabel", "data__separator": " ", "loss__name": "binary_cross_entropy"}
    assert fill("1 0", classes=("0.0", "1.0", "2.0"), metric="f1_micro", **several) == ["0", "1", "2"]
    ranked = fill("0 1", classes=("0.0", "1.0", "2.0"), metric="map@2", submission__cell="top")
    assert ranked == ["0 2", "1 0", "2 0"]


def test_truth_values_and_decimal_commas_are_those_of_the_sample() -> None:
    made = fill("False", head="Cover,JMiPOD,UERD", submission__cell="label")
    assert made == ["True,False,False", "False,True,False", "False,False,True"]
    values = {"data__task": "regression", "data__target": "y", "loss__name": "mse", "metric": "rmse"}
    numbers = np.array([[50.5], [7.0], [0.125]])
    assert fill('"0,5"', numbers, ("y",), **values) == ['"50,5"', '"7,0"', '"0,125"']
    assert fill("0.5", numbers, ("y",), **values) == ["50.5", "7.0", "0.125"]
    binary = {"data__task": "binary", "metric": "accuracy"}
    assert fill('"0,5"', PROBS[:, :2] / PROBS[:, :2].sum(1, keepdims=True), ("no", "yes"), **binary)[2] == '"0,5"'


def test_a_column_can_be_a_sum_of_classes_or_one_less_it() -> None:
    summed = fill("0.5", submission__columns={"y": ["JMiPOD", "UERD"]})
    assert [float(cell) for cell in summed] == pytest.approx([0.3, 0.75, 0.875])
    rest = fill("0.5", submission__columns={"y": {"not": "Cover"}})
    assert [float(cell) for cell in rest] == pytest.approx([0.3, 0.75, 0.875])
    assert fill("0", submission__columns={"y": {"not": ["Cover"]}}, submission__cell="label") == ["0", "1", "1"]
    wide = fill("0", head="Cover,stego", submission__columns={"stego": {"not": "Cover"}})
    assert [float(cell) for cell in wide[0].split(",")] == pytest.approx([0.7, 0.3])
    most = fill("0.5", top(PROBS, 2), submission__columns={"y": {"not": "Cover"}})
    assert [float(cell) for cell in most] == pytest.approx([0.3, 0.75, 0.875])


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        ({"y": ["JMiPOD", "URED"]}, {}, "submission.columns: unknown class 'URED' under 'y'"),
        ({"y": {"not": "URED"}}, {}, "submission.columns: unknown class 'URED' under 'y'"),
        ({"y": ["UERD", "UERD"]}, {}, "submission.columns: 'y' names 'UERD' twice"),
        ({"z": ["UERD", "JMiPOD"]}, {}, "submission.columns: 'z' is no column of sample_submission.csv"),
        (
            {"y": ["UERD", "JMiPOD"]},
            {"data__task": "multilabel", "data__separator": " ", "loss__name": "binary_cross_entropy"},
            "'y' sums classes, but a multilabel task may have several classes in a row: their probabilities overlap",
        ),
    ],
)
def test_sums_that_mean_nothing_are_refused(columns: Any, changes: Any, message: str) -> None:
    metric = {"metric": "f1_micro"} if changes else {}
    with pytest.raises(InputError) as caught:
        fill("0.5", submission__columns=columns, **changes, **metric)
    assert message in str(caught.value)


def problems(text: str, classes: tuple[str, ...] = CLASSES, **changes: Any) -> list[str]:
    return [str(one) for one in check_sample(table(text), make_config(Path("nowhere"), **changes), classes)]


def test_classes_that_occur_in_the_sample_alone_come_with_the_list_to_write() -> None:
    (found,) = problems("id,Cover,no,JMiPOD,UERD,10\n1,0,0,0,0,0\n")
    assert found == (
        "sample_submission.csv: 2 columns have no row to train on (no, 10); "
        "if they are classes: data.classes: sample, or ['10', Cover, JMiPOD, UERD, 'no']"
    )
    listed = ["10", "Cover", "JMiPOD", "UERD", "no"]
    assert problems("id,Cover,no,JMiPOD,UERD,10\n1,0,0,0,0,0\n", tuple(listed), data__classes=listed) == []
    assert any(
        "column 'cover' is no class; name its class" in one for one in problems("id,cover,JMiPOD,UERD\n1,0,0,0\n")
    )


def test_numbers_are_refused_where_the_sample_has_words() -> None:
    (found,) = problems("id,label\n1,normal\n2,blast\n", ("0", "1", "2"))
    assert found.startswith("submission.labels: the sample's cells are words (blast, normal), the labels are numbers")
    assert problems("id,label\n1,\n2,label\n", ("0", "1", "2")) == []
    assert problems("id,label\n1,cat\n2,cat\n", ("0", "1", "2")) == []  # one word may stand for any
    config = make_config(Path("nowhere"))
    (note,) = notes(table("id,label\n1,cat\n2,cat\n"), config, ("0", "1", "2"))
    assert note.startswith("submission.labels: the sample's cells are words (cat)")
    assert notes(table("id,label\n1,cat\n2,cat\n"), config, ("cat", "dog")) == []
    named = {"0": "normal", "1": "blast", "2": "spot"}
    assert problems("id,label\n1,normal\n2,blast\n", ("0", "1", "2"), submission__labels=named) == []


@pytest.mark.parametrize(
    ("column", "classes", "name"),
    [
        ("prob_abnormal", ("abnormal", "normal"), "abnormal"),
        ("Abnormal probability", ("abnormal", "normal"), "abnormal"),
        ("normal_or_abnormal", ("abnormal", "normal"), None),
        ("p_wild_cat", ("cat", "wild cat"), "wild cat"),
        ("target_0", ("0", "1"), None),
        ("label", ("abnormal", "normal"), None),
    ],
)
def test_a_column_s_name_tells_the_class(column: str, classes: tuple[str, ...], name: str | None) -> None:
    assert called(column, classes) == name


def test_the_probability_is_that_of_the_class_in_the_column_s_name() -> None:
    binary, probs_NC = {"data__task": "binary", "metric": "roc_auc"}, np.array([[0.9, 0.1], [0.8, 0.2], [0.25, 0.75]])
    assert fill("0.5", probs_NC, ("abnormal", "normal"), head="prob_abnormal", **binary) == ["0.9", "0.8", "0.25"]
    assert fill("0.5", probs_NC, ("abnormal", "normal"), head="target", **binary) == ["0.1", "0.2", "0.75"]


@pytest.mark.parametrize(
    ("head", "classes", "changes", "text"),
    [
        (
            "prob_abnormal",
            ("abnormal", "normal"),
            {"metric": "roc_auc"},
            "positive class: normal, the second by the alphabet (data.classes: [normal, abnormal] would make it "
            "abnormal); prob_abnormal is to hold P(abnormal), as the column's name says",
        ),
        (
            "y",
            ("normal", "abnormal"),
            {"metric": "roc_auc", "data__classes": ["normal", "abnormal"]},
            "positive class: abnormal, the second of data.classes; y is to hold P(abnormal)",
        ),
        (
            "y",
            ("0", "1"),
            {"metric": "roc_auc", "submission__columns": {"y": {"not": "1"}}},
            "positive class: 1, the second by value; y is to hold P(0), by submission.columns",
        ),
        ("y", ("0", "1"), {}, "positive class: 1, the second by value; y is to hold the label"),
        ("0,1", ("0", "1"), {}, "positive class: 1, the second by value"),
    ],
)
def test_check_says_which_class_is_positive(head: str, classes: tuple[str, ...], changes: Any, text: str) -> None:
    config = make_config(Path("nowhere"), data__task="binary", **changes)
    sample = table(f"id,{head}\n1{',0' * (head.count(',') + 1)}\n")
    assert positive(sample[to_fill(sample, config)], config, classes) == text

"""Submissions take everything but their cells from the sample, and are refused with every defect."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import make_config, make_sample

from pipeline.competition.sample_submission import check_sample, read_sample
from pipeline.errors import InputError, MismatchError
from pipeline.files.tables import read_text_table
from pipeline.submission.filling import build

IDS = np.array(["007", "008", "009"])
PROBS = np.array([[0.7, 0.2, 0.1], [0.123456789012, 0.5, 0.376543210988], [0.2, 0.2, 0.6]])
CLASSES = ("cat", "dog", "eel")


def table(text: str) -> pd.DataFrame:
    return read_text_table(io.BytesIO(text.encode()))


def fill(sample: str, probs_NC: np.ndarray = PROBS, classes: tuple[str, ...] = CLASSES, **changes: Any) -> str:
    config = make_config(Path("nowhere"), **changes)
    return build(table(sample), config, classes, IDS, probs_NC).to_csv(index=False)


def test_one_column_per_class_in_the_sample_s_order() -> None:
    found = fill("id,eel,cat,dog\n009,0,0,0\n007,0,0,0\n008,0,0,0\n")
    assert found == "id,eel,cat,dog\n009,0.6,0.2,0.2\n007,0.1,0.7,0.2\n008,0.376543210988,0.123456789012,0.5\n"


def test_named_columns_and_repeated_rows() -> None:
    sample = "id,p_c,p_d,eel\n008,0,0,0\n007,0,0,0\n008,0,0,0\n009,0,0,0\n"
    found = fill(sample, submission__columns={"p_c": "cat", "p_d": "dog"})
    assert found.splitlines()[1] == found.splitlines()[3] == "008,0.123456789012,0.5,0.376543210988"


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_one_column_multiclass_is_the_label(metric: str) -> None:
    assert fill("id,label\n007,0.5\n008,0\n009,0\n", metric=metric) == "id,label\n007,cat\n008,dog\n009,eel\n"


@pytest.mark.parametrize(
    ("cell", "metric", "sample_cell", "expected"),
    [
        ("auto", "accuracy", "0", ["no", "yes", "yes"]),
        ("auto", "accuracy", "0.5", ["0.25", "0.5000001", "0.75"]),
        ("auto", "accuracy", "1e-3", ["0.25", "0.5000001", "0.75"]),
        ("auto", "roc_auc", "0", ["0.25", "0.5000001", "0.75"]),
        ("auto", "log_loss", "no", ["0.25", "0.5000001", "0.75"]),
        ("label", "roc_auc", "0.5", ["no", "yes", "yes"]),
        ("probability", "accuracy", "0", ["0.25", "0.5000001", "0.75"]),
    ],
)
def test_one_column_binary(cell: str, metric: str, sample_cell: str, expected: list[str]) -> None:
    yes = np.array([0.25, 0.5000001, 0.75])
    found = fill(
        "".join(["id,target\n", *(f"{name},{sample_cell}\n" for name in IDS)]),
        np.stack([1 - yes, yes], axis=1),
        ("no", "yes"),
        data__task="binary",
        metric=metric,
        submission__cell=cell,
    )
    assert [line.split(",")[1] for line in found.splitlines()[1:]] == expected


def test_column_named_like_a_class_decides_which_probability() -> None:
    probs_NC = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    found = fill("id,no\n007,0\n008,0\n009,0\n", probs_NC, ("no", "yes"), data__task="binary", metric="roc_auc")
    assert found == "id,no\n007,0.9\n008,0.8\n009,0.3\n"


def test_multilabel_and_hard_cells() -> None:
    task = {
        "data__task": "multilabel",
        "data__separator": " ",
        "loss__name": "binary_cross_entropy",
        "metric": "f1_micro",
    }
    probs_NC = np.array([[0.9, 0.5, 0.1], [0.1, 0.1, 0.1], [0.0, 0.0, 1.0]])
    assert fill("id,labels\n007,\n008,\n009,\n", probs_NC, **task) == "id,labels\n007,cat dog\n008,\n009,eel\n"
    wide = "id,cat,dog,eel\n007,0,0,0\n008,0,0,0\n009,0,0,0\n"
    assert fill(wide, probs_NC, submission__cell="label", **task).splitlines()[1] == "007,1,1,0"
    assert fill(wide, submission__cell="label").splitlines()[1:] == ["007,1,0,0", "008,0,1,0", "009,0,0,1"]


@settings(deadline=None)
@given(seed=st.integers(0, 1000))
def test_rows_keep_summing_to_one_and_digits_survive(seed: int) -> None:
    probs_NC = np.random.default_rng(seed).dirichlet(np.full(3, 0.2), 3)
    found = table(fill("id,cat,dog,eel\n007,0,0,0\n008,0,0,0\n009,0,0,0\n", probs_NC))
    numbers = found[list(CLASSES)].astype(float).to_numpy()
    np.testing.assert_array_equal(numbers, probs_NC)
    np.testing.assert_allclose(numbers.sum(1), 1, atol=1e-9)


def test_wrong_predictions_are_refused_with_every_defect() -> None:
    probs_NC = np.vstack([PROBS, PROBS[:1]])
    probs_NC[0, 1], probs_NC[1, 2], probs_NC[2, 0] = np.nan, np.inf, 1.5
    config = make_config(Path("nowhere"))
    sample = table("id,cat,dog,eel\n007,0,0,0\n009,0,0,0\n010,0,0,0\n")
    with pytest.raises(MismatchError) as error:
        build(sample, config, CLASSES, np.array([*IDS, "007"]), probs_NC)
    text = "\n".join(error.value.lines)
    assert "1 ids of sample_submission.csv are not predicted: 010" in text
    assert "1 predicted ids are unknown in sample_submission.csv: 008" in text
    assert "1 ids are predicted twice: 007" in text
    assert "2 ids have a NaN or infinite value: 007, 008" in text
    assert "009" in text.partition("outside [0, 1]")[2]


@pytest.mark.parametrize(
    ("sample", "changes", "words"),
    [
        ("id,cat,dog\n007,0,0\n", {}, ["class 'eel' has 0 columns"]),
        ("id,cat,dog,emu\n007,0,0,0\n", {}, ["column 'emu' is no class", "class 'eel' has 0 columns"]),
        (
            "id,a,dog,eel\n007,0,0,0\n",
            {"submission__columns": {"a": "cow"}},
            ["unknown class 'cow' under 'a'"],
        ),
        ("id,cat,dog,eel\n007,0,0,0\n", {"submission__columns": {"b": "cat"}}, ["'b' is no column"]),
        (
            "id,cat,dog,eel\n007,0,0,0\n",
            {"submission__columns": {"eel": "cat"}},
            ["'cat' has 2 columns", "'eel' has 0"],
        ),
        ("id\n007\n", {}, ["has only the column 'id'"]),
        ("id,label\n", {}, ["has no rows"]),
        ("id,label\n007,0\n", {"submission__cell": "probability"}, ["one column for 3 classes"]),
    ],
)
def test_wrong_samples_are_refused_before_any_compute(sample: str, changes: dict[str, Any], words: list[str]) -> None:
    config = make_config(Path("nowhere"), **changes)
    defects = "\n".join(map(str, check_sample(table(sample), config, CLASSES)))
    assert all(word in defects for word in words), defects
    with pytest.raises(InputError) as error:
        build(table(sample), config, CLASSES, IDS, PROBS)
    assert "\n".join(error.value.lines) == defects


def test_right_samples_have_no_defects() -> None:
    config = make_config(Path("nowhere"))
    for sample in ("id,cat,dog,eel\n007,0,0,0\n", "id,label\n007,x\n", "ID,label\n007,x\n"):
        assert check_sample(table(sample), config, CLASSES) == []


def test_read_sample(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    with pytest.raises(InputError, match=r"data.root is no folder"):
        read_sample(config)
    path = make_sample(config)
    assert read_sample(config)["id"].iloc[0] == "0900"
    path.write_text("id,label\n1,2,3\n4,5,6\n")
    with pytest.raises(InputError, match="its lines have more cells than its header"):
        read_sample(config)
    path.unlink()
    with pytest.raises(InputError, match=r"data.sample_submission is missing"):
        read_sample(config)


MULTILABEL = {
    "data__task": "multilabel",
    "data__separator": " ",
    "loss__name": "binary_cross_entropy",
    "metric": "f1_micro",
}
VALUES = {"data__task": "regression", "loss__name": "mse", "metric": "rmse", "data__target": "age"}


def test_an_index_column_without_a_name_is_copied_and_every_row_is_answered() -> None:
    sample = ",Id,Category\n5,009,0\n6,007,0\n7,009,0\n8,008,0\n"
    assert fill(sample) == ",Id,Category\n5,009,eel\n6,007,cat\n7,009,eel\n8,008,dog\n"


def test_the_sample_s_id_column_is_named_or_the_first_that_is_none_of_ours() -> None:
    sample = "cat,prediction_id\n0,007\n0,008\n0,009\n"
    named = fill(sample, submission__id="prediction_id", submission__cell="probability")
    assert named.splitlines()[:2] == ["cat,prediction_id", "0.7,007"]
    assert fill("prediction_id,label\n007,0\n008,0\n009,0\n").splitlines()[1] == "007,cat"
    config = make_config(Path("nowhere"), submission__id="predictionid")
    assert "did you mean 'prediction_id'" in str(check_sample(table(sample), config, CLASSES)[0])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"submission__cell": "class_id"}, ["0", "1", "2"]),
        ({"submission__labels": {"cat": "felis catus", "eel": "anguilla"}}, ["felis catus", "dog", "anguilla"]),
        ({"metric": "map@2"}, ["cat dog", "dog eel", "eel cat"]),
        ({"metric": "mrr", "submission__joiner": "|"}, ["cat|dog|eel", "dog|eel|cat", "eel|cat|dog"]),
        ({"submission__cell": "top", "submission__top": 1, "submission__labels": {"cat": "7"}}, ["7", "dog", "eel"]),
        ({**MULTILABEL, "data__empty": "none"}, ["cat", "dog", "eel"]),
        ({**MULTILABEL, "decision__min_labels": 2, "data__separator": "|"}, ["cat|dog", "dog|eel", "cat|eel"]),
        (
            {**MULTILABEL, "decision__kind": "threshold", "decision__threshold": 0.65, "data__empty": "-"},
            ["cat", "-", "-"],
        ),
        (
            {**MULTILABEL, "decision__min_labels": 2, "decision__alone": "eel", "submission__joiner": "+"},
            ["cat+dog", "dog", "eel"],
        ),
        ({**MULTILABEL, "submission__cell": "class_id", "decision__min_labels": 2}, ["0 1", "1 2", "0 2"]),
    ],
)
def test_one_column_of_labels(changes: dict[str, Any], expected: list[str]) -> None:
    found = fill("id,labels\n007,\n008,\n009,\n", **changes)
    assert [line.partition(",")[2] for line in found.splitlines()[1:]] == expected


def test_what_was_decided_is_what_is_said() -> None:
    config, decided_NC = make_config(Path("nowhere")), np.eye(3)[[2, 2, 0]]
    sample = table("id,label\n007,\n008,\n009,\n")
    assert build(sample, config, CLASSES, IDS, PROBS, decided_NC)["label"].tolist() == ["eel", "eel", "cat"]
    wide = table("id,cat,dog,eel\n007,,,\n008,,,\n009,,,\n")
    assert build(wide, config, CLASSES, IDS, PROBS, decided_NC)["cat"].tolist() == PROBS[:, 0].tolist()
    hard = make_config(Path("nowhere"), submission__cell="label")
    assert build(wide, hard, CLASSES, IDS, PROBS, decided_NC)["cat"].tolist() == [0, 0, 1]
    config = make_config(Path("nowhere"), data__task="binary", metric="probabilistic_f1")
    two_NC = PROBS[:, :2] / PROBS[:, :2].sum(1, keepdims=True)
    made = build(sample, config, ("0", "1"), IDS, two_NC, np.eye(2)[[1, 0, 1]])
    assert made["label"].tolist() == [1, 0, 1]


def test_values_are_written_as_they_were_decided() -> None:
    values_NC = np.array([[-3.5], [50.25], [120.0]])
    sample = "id,age\n007,0\n008,0\n009,0\n"
    assert fill(sample, values_NC, ("age",), **VALUES) == "id,age\n007,-3.5\n008,50.25\n009,120.0\n"
    clipped = fill(sample, values_NC, ("age",), **VALUES, data__range=[1, 100])
    assert clipped == "id,age\n007,1.0\n008,50.25\n009,100.0\n"
    config = make_config(Path("nowhere"), **VALUES)
    whole = build(table(sample), config, ("age",), IDS, values_NC, np.array([[1.0], [2.0], [3.0]]))
    assert whole.to_csv(index=False) == "id,age\n007,1\n008,2\n009,3\n"
    both = {**VALUES, "data__target": ["age", "mass"]}
    made = fill("id,mass,age\n007,0,0\n008,0,0\n009,0,0\n", np.hstack([values_NC, -values_NC]), ("age", "mass"), **both)
    assert made.splitlines()[1:3] == ["007,3.5,-3.5", "008,-50.25,50.25"]


def test_ordered_classes_and_composite_ones_are_labels() -> None:
    ordinal = {"data__task": "ordinal", "metric": "quadratic_weighted_kappa"}
    assert fill("id,grade\n007,0\n008,0\n009,0\n", classes=("0", "1", "2"), **ordinal).splitlines()[1:] == [
        *("007,0", "008,1", "009,2")
    ]
    heads = {"data__target": ["mask", "age"], "data__heads": True, "submission__composite": "{mask}-{age}"}
    config = make_config(Path("nowhere"), **heads)
    sample = table("id,label\n007,0\n008,0\n009,0\n")
    assert check_sample(sample, config, ("mask=no", "mask=yes", "age=old", "age=young")) == []
    names = ("no-old", "no-young", "yes-old", "yes-young")
    probs_NC = np.eye(4)[[3, 0, 1]]
    assert build(sample, config, names, IDS, probs_NC)["label"].tolist() == ["yes-young", "no-old", "no-young"]
    beside_NC = np.array([[0.2, 0.8, 0.4, 0.6], [0.9, 0.1, 1, 0], [0.6, 0.4, 0, 1]])
    classes = ("mask=no", "mask=yes", "age=old", "age=young")
    assert build(sample, config, classes, IDS, beside_NC)["label"].tolist() == ["yes-young", "no-old", "no-young"]


@pytest.mark.parametrize(
    ("sample", "classes", "changes", "words"),
    [
        (
            "id,label\n007,0\n",
            CLASSES,
            {"submission__labels": {"cow": "1"}},
            ["submission.labels: unknown class 'cow'"],
        ),
        ("id,cat,dog,eel\n007,0,0,0\n", CLASSES, {"submission__cell": "top"}, ["found top, which is one column"]),
        ("id,label\n007,0\n", CLASSES, {"submission__cell": "value"}, ["a multiclass task has probability, label"]),
        ("id,age\n007,0\n", ("age",), {**VALUES, "submission__cell": "label"}, ["a regression task has value"]),
        ("id,x\n007,0\n", ("age", "mass"), {**VALUES, "data__target": ["age", "mass"]}, ["for the values age, mass"]),
        ("id,label\n007,0\n", CLASSES, {"decision__new_class": "emu"}, ["decision.new_class: unknown class 'emu'"]),
        (
            "id,labels\n007,0\n",
            CLASSES,
            {**MULTILABEL, "decision__alone": "emu"},
            ["decision.alone: unknown class 'emu'"],
        ),
        (",id\n0,007\n", CLASSES, {}, ["expected one to fill in"]),
        (
            "id,label\n007,0\n",
            ("mask=no", "mask=yes", "age=old", "age=young"),
            {"data__target": ["mask", "age"], "data__heads": True, "submission__composite": "{mask}"},
            ["submission.composite: two combinations"],
        ),
    ],
)
def test_cells_that_do_not_fit_are_refused(
    sample: str, classes: tuple[str, ...], changes: dict[str, Any], words: list[str]
) -> None:
    defects = "\n".join(map(str, check_sample(table(sample), make_config(Path("nowhere"), **changes), classes)))
    assert all(word in defects for word in words), defects

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

from pipeline.contracts.artifacts import read_text_table
from pipeline.contracts.errors import InputError, MismatchError
from pipeline.contracts.submission import build, check_sample, read_sample

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
    text = "\n".join(error.value.defects)
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
    defects = "\n".join(check_sample(table(sample), config, CLASSES))
    assert all(word in defects for word in words), defects
    with pytest.raises(InputError) as error:
        build(table(sample), config, CLASSES, IDS, PROBS)
    assert "\n".join(error.value.defects) == defects


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
    with pytest.raises(InputError, match="not readable as CSV: its lines have more cells than its header"):
        read_sample(config)
    path.unlink()
    with pytest.raises(InputError, match=r"data.sample_submission is missing"):
        read_sample(config)

"""What each task means: columns, encoding, activation and smoothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.competition.labels import SKIP, class_names
from pipeline.competition.labels import encode_targets as encode
from pipeline.config.sections.data import Data
from pipeline.methods.losses import LOSSES
from pipeline.methods.tasks import TASKS


def data(**keys: object) -> Data:
    return Data.model_validate({"root": "x", "image": "{id}.png", "target": "label", **keys})


def encode_targets(*arguments: Any) -> tuple[np.ndarray, list[tuple[int, str]]]:
    targets_NC, problems = encode(*arguments)
    return targets_NC, [(row, str(problem)) for row, problem in problems]


def frame(*cells: str, column: str = "label") -> pd.DataFrame:
    return pd.DataFrame({column: list(cells)}, dtype=str)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["10", "9", "-1", "0"], ["-1", "0", "9", "10"]),
        (["1.5", "10.0", "2.25"], ["1.5", "2.25", "10.0"]),
        (["b", "10", "a", "9"], ["9", "10", "a", "b"]),
        (["nan", "inf", "1e5", "²", "--5", "7"], ["7", "--5", "1e5", "inf", "²"]),  # nan stands for nothing
        (["yes", "", " ", "no"], ["no", "yes"]),
    ],
)
def test_natural_class_order(cells: list[str], expected: list[str]) -> None:
    assert class_names(TASKS["multiclass"], frame(*cells), data()) == expected
    assert class_names(TASKS["multiclass"], frame(*cells[::-1]), data()) == expected


def test_classes_given_or_columns() -> None:
    assert class_names(TASKS["multiclass"], frame("a"), data(classes=["b", "a"])) == ["b", "a"]
    assert class_names(TASKS["multilabel"], frame("a"), data(target=["y", "x"])) == ["y", "x"]
    assert class_names(TASKS["multilabel"], frame("b a", "c", ""), data(separator=" ")) == ["a", "b", "c"]


def test_encode_a_label_column_with_its_defects() -> None:
    targets_NC, defects = encode_targets(TASKS["multiclass"], frame("a", "", "c", " b "), data(), ["a", "b"])
    np.testing.assert_array_equal(targets_NC, [[1, 0], [0, 0], [0, 0], [0, 1]])
    assert targets_NC.dtype == np.float32
    assert defects == [(1, f"label is blank, expected a label; {SKIP}"), (2, "label is 'c', expected one of a, b")]


def test_two_labels_in_a_one_label_task_are_a_defect() -> None:
    targets_NC, defects = encode_targets(TASKS["multiclass"], frame("a b", "a a"), data(separator=" "), ["a", "b"])
    np.testing.assert_array_equal(targets_NC, [[0, 0], [1, 0]])
    assert defects == [(0, "label is 'a b', a multiclass task has one label per row")]


def test_encode_cells_of_labels() -> None:
    targets_NC, defects = encode_targets(TASKS["multilabel"], frame("b a", "", "d a"), data(separator=" "), ["a", "b"])
    np.testing.assert_array_equal(targets_NC, [[1, 1], [0, 0], [1, 0]])
    assert defects == [(2, "label is 'd', expected one of a, b")]


def test_encode_columns_one_hot_and_soft() -> None:
    table = pd.DataFrame({"a": ["1", "0.25", "0.5", "x", "2", "nan"], "b": ["0", "0.75", "0", "0", "0", "1"]})
    targets_NC, defects = encode_targets(TASKS["multiclass"], table, data(target=["a", "b"]), ["a", "b"])
    np.testing.assert_array_equal(targets_NC[:2], [[1, 0], [0.25, 0.75]])
    assert sorted(defects) == [
        (2, "the target columns sum to 0.5, expected 1"),
        (3, "a is 'x', expected a number in [0, 1]"),
        (4, "a is '2', expected a number in [0, 1]"),
        (5, f"a is 'nan', expected a number in [0, 1]; {SKIP}"),
    ]
    assert [row for row, _ in encode_targets(TASKS["multilabel"], table, data(target=["a", "b"]), ["a", "b"])[1]] == [
        3,
        4,
        5,
    ]


LABELLED = [name for name, task in TASKS.items() if not task.regression]


@pytest.mark.parametrize("name", LABELLED)
def test_text_of_encoded_labels_encodes_to_the_same(name: str) -> None:
    task, classes = TASKS[name], ["a", "b"]
    cells = frame("a", "b", *([] if task.single_label else ["a|b", ""]))
    targets_NC, defects = encode_targets(task, cells, data(separator="|"), classes)
    assert not defects
    assert task.label_text(targets_NC, classes) == cells["label"].tolist()
    expected = [0, 1] if task.single_label else [[1, 0], [0, 1], [1, 1], [0, 0]]
    assert task.labels(targets_NC).tolist() == expected


PAIRS = [(name, loss) for name in LABELLED for loss in TASKS[name].losses]


@pytest.mark.parametrize(("name", "loss"), [pair for pair in PAIRS if pair[1] != "ordinal"])
def test_activation(name: str, loss: str) -> None:
    logits_BC = torch.tensor([[2.0, -1.0, 0.5], [-100.0, -100.0, -100.0], [80.0, -80.0, 0.0]])
    probs_BC = TASKS[name].activate(logits_BC, loss)
    assert bool(torch.isfinite(probs_BC).all()) and bool(((probs_BC >= 0) & (probs_BC <= 1)).all())
    first = logits_BC[0]
    if LOSSES[loss].of(TASKS[name].single_label).activation == "softmax":
        torch.testing.assert_close(probs_BC[0], first.exp() / first.exp().sum())
    else:
        odds = 1 / (1 + (-first).exp())
        torch.testing.assert_close(probs_BC[0], odds / odds.sum() if TASKS[name].single_label else odds)


@pytest.mark.parametrize("name", LABELLED)
def test_smoothing_of_targets(name: str) -> None:
    task = TASKS[name]
    smooth_BC = task.smooth_targets(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), 0.2)
    expected = [0.85, 0.05, 0.05, 0.05] if task.single_label else [0.9, 0.1, 0.1, 0.1]
    torch.testing.assert_close(smooth_BC, torch.tensor([expected]))


@pytest.mark.parametrize("name", LABELLED)
def test_smoothing_over_the_others(name: str) -> None:
    """(1−e)·y + e·(1−y)/(K−1): the true class keeps 1 − e, also of a soft target."""
    task = TASKS[name]
    smooth_BC = task.smooth_targets(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]]), 0.3, "others")
    expected = [[0.7, 0.1, 0.1, 0.1], [0.4, 0.4, 0.1, 0.1]]
    columns = [[0.7, 0.3, 0.3, 0.3], [0.5, 0.5, 0.3, 0.3]]  # each one a choice between two
    torch.testing.assert_close(smooth_BC, torch.tensor(expected if task.single_label else columns))


def test_class_problems() -> None:
    assert TASKS["binary"].class_problems(["0", "1"]) == []
    assert "found 3 classes (0, 1, 2), a binary task has 2; correct" in str(*TASKS["binary"].class_problems("012"))
    assert "at least 2" in str(*TASKS["multiclass"].class_problems(["0"]))
    assert TASKS["multilabel"].class_problems(["0"]) == []
    assert "every cell of data.target is blank" in str(*TASKS["multilabel"].class_problems([]))
    assert "named twice" in str(*TASKS["multilabel"].class_problems(["0", "0"]))

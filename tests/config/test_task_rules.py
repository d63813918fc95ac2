"""What a task does not admit: a line for each key that says nothing there, and none where it does."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config.config import Config
from pipeline.config.loading import parse
from pipeline.errors import InputError

TWO = {"data.target": ["mask", "age"]}
HEADS = {**TWO, "data.heads": True}
LABELS = {"data.task": "multilabel", "data.separator": " ", "loss.name": "binary_cross_entropy", "metric": "f1_micro"}
VALUES = {"data.task": "regression", "loss.name": "mse", "metric": "rmse"}


def made(changes: dict[str, Any]) -> Config:
    """Return a multiclass config with changes given as dotted keys."""
    tree: dict[str, Any] = {
        "name": "leaves",
        "data": {"root": "data/leaves", "image": "{id}.png", "target": "label"},
        "model": {"name": "resnet18"},
    }
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = tree
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
    return parse(tree, "x.yaml")


def refused(changes: dict[str, Any]) -> list[str]:
    """Return what is wrong with such a config, without its place."""
    with pytest.raises(InputError) as caught:
        made(changes)
    return [line.removeprefix("x.yaml: ") for line in caught.value.lines]


def test_every_key_that_is_wrong_has_its_line() -> None:
    lines = refused({"data.task": "multilabel", "metric": "accuracy"})
    assert [line.split(":")[0] for line in lines] == ["loss.name", "metric", "data.target"]


@pytest.mark.parametrize(
    "changes", [{}, TWO, HEADS, LABELS, VALUES], ids=["one", "one-hot", "heads", "labels", "values"]
)
def test_what_a_task_admits(changes: dict[str, Any]) -> None:
    assert made(changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({**LABELS, "loss.name": "cross_entropy"}, "loss.name: found 'cross_entropy', a multilabel task admits"),
        ({**LABELS, "metric": "accuracy"}, "a multilabel task admits f1_macro"),
        ({**LABELS, "ensemble.blender": "rank_mean"}, "f1_micro needs probabilities"),
        ({**LABELS, "ensemble.compare": ["rank_mean"]}, "ensemble.compare: found 'rank_mean'"),
        ({**VALUES, "ensemble.blender": "rank_mean"}, "which blends probabilities, but a regression task has values"),
        ({**TWO, "data.task": "binary"}, "a binary task has one target column"),
        ({**LABELS, "data.separator": None}, "multilabel needs several columns, or data.separator"),
        ({"data.heads": True}, "data.heads: needs several target columns"),
        ({**HEADS, "data.task": "ordinal"}, "data.heads: needs several target columns"),
        ({**HEADS, "data.separator": " "}, "each head sorts its own labels"),
        ({**HEADS, "predict.top_k": 3}, "predict.top_k: keeps some of the classes of a single label"),
        ({**LABELS, "predict.top_k": 3}, "predict.top_k: keeps some of the classes of a single label"),
        ({"submission.composite": "{mask}"}, "submission.composite: needs data.heads"),
        ({"ensemble.compose": {"mask": "run"}}, "ensemble.compose: needs data.heads"),
        ({**HEADS, "ensemble.compose": {"mask": "run"}}, "expected one for each column of data.target: mask, age"),
        ({"data.empty": "none"}, "data.empty: needs data.separator"),
        ({"data.range": [0, 5]}, "data.range: bounds values, a multiclass task has none"),
        ({**VALUES, "data.range": [5, 1]}, "data.range: expected the smallest value first"),
        ({**VALUES, "data.classes": ["a", "b"]}, "a regression task has numbers, no labels"),
        ({**VALUES, "loss.label_smoothing": 0.1}, "loss.label_smoothing: smooths probabilities"),
        ({**VALUES, "loss.class_weights": "sqrt"}, "loss.class_weights: a regression task has no classes"),
        ({**VALUES, "train.sampling": "balanced"}, "but a regression task has no classes; choose weighted"),
        ({"train.sampling": "weighted"}, "weighted draws by data.weight"),
        ({"train.sampling": "balanced", "loss.class_weights": "sqrt"}, "correct unequal classes twice"),
        ({**VALUES, "train.disturb_labels": 5}, "train.disturb_labels: redraws labels"),
        ({"train.disturb_values": {"share": 0.1, "std": 1}}, "train.disturb_values: adds noise to values"),
        ({**VALUES, "pseudo.teacher": "other"}, "pseudo.threshold: asks how probable a label is"),
        ({**VALUES, "ensemble.calibrate": "auto"}, "correct probabilities, a regression task has values"),
    ],
)
def test_what_a_task_does_not_admit(changes: dict[str, Any], words: str) -> None:
    (line,) = refused(changes)
    assert words in line

"""Guess what is to be predicted: classes without rows, blank samples, several labels asked for, orders, signs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.errors import InputError
from pipeline.starting import description, recipe, targets
from pipeline.starting.folder import Folder
from pipeline.starting.recipe import Pixels


def guessed(
    label: dict[str, Sequence[object]], sample: dict[str, Sequence[object]], metric: str | None = None
) -> dict[str, Any]:
    """Return the guesses for these columns, the later one of a key."""
    train = pd.DataFrame({name: list(map(str, cells)) for name, cells in label.items()}, dtype=str)
    train.insert(0, "id", [f"im{n}" for n in range(len(train))])
    asked = pd.DataFrame({name: list(map(str, cells)) for name, cells in sample.items()}, dtype=str)
    found = targets.find(train, [], asked, ["id"], metric)
    assert found is not None
    return {key: value for key, value, _ in found.guesses}


def turns(values: Sequence[object], count: int = 40) -> list[object]:
    return [values[n % len(values)] for n in range(count)]


def test_classes_that_only_the_sample_names_have_no_row_and_a_column_all_the_same() -> None:
    found = guessed({"breed": turns(["pug", "collie"])}, {"basset": [0.3], "collie": [0.3], "pug": [0.3]})
    assert (found["data.target"], found["data.classes"]) == ("breed", "sample")
    assert (found["metric"], found["submission.cell"]) == ("log_loss", "probability")
    assert "submission.columns" not in found
    found = guessed({"dx": turns(["Fat Hen", "Maize"])}, {"prob_fat_hen": [0], "prob_maize": [0], "prob_rye": [1]})
    assert found["data.classes"] == "sample"
    assert found["submission.columns"] == {"prob_fat_hen": "Fat Hen", "prob_maize": "Maize", "prob_rye": "prob_rye"}


def test_columns_of_training_may_be_called_a_little_otherwise() -> None:
    columns = {"Healthy Leaf": turns([0, 1]), "Rust": turns([1, 0])}
    found = guessed(columns, {"healthy_leaf": [0.5], "rust": [0.5]})
    assert found["data.target"] == ["Healthy Leaf", "Rust"] and found["data.task"] == "multiclass"
    assert found["submission.columns"] == {"healthy_leaf": "Healthy Leaf", "rust": "Rust"}


@pytest.mark.parametrize("labels", [["cat", "dog"], ["cat", "dog", "owl"], [0, 1], [3, 4, 5]])
def test_blank_cells_of_the_sample_ask_for_labels(labels: list[object]) -> None:
    assert guessed({"label": turns(labels)}, {"label": ["", ""]})["submission.cell"] == "label"


@pytest.mark.parametrize(
    ("labels", "cells", "wanted"),
    [
        (["w1", "w2", "w3", "w4", "w5", "w6"], ["w1 w2 w3 w4 w5"] * 3, {"metric": "map@5", "submission.top": 5}),
        ([11, 12, 13, 14], ["11 12 13", "14 11 12"], {"metric": "map@3", "submission.cell": "top"}),
        (["Fat Hen", "Sugar beet", "Maize corn"], ["Fat Hen", "Sugar beet"], {"submission.cell": "label"}),
        (["a", "b", "c"], ["a|b", "b|c"], {"metric": "map@2", "submission.joiner": "|"}),
    ],
)
def test_several_labels_in_a_cell_against_one_in_training_are_a_ranking(
    labels: list[object], cells: list[str], wanted: dict[str, Any]
) -> None:
    assert wanted.items() <= guessed({"Id": turns(labels)}, {"Id": cells}).items()


@pytest.mark.parametrize(
    ("labels", "asked", "positive"),
    [
        (["abnormal", "normal"], "prob_abnormal", "abnormal"),
        (["normal", "pneumonia"], "target", "pneumonia"),
        (["malignant", "benign"], "target", "malignant"),
        (["Yes", "No"], "label", "Yes"),
        (["dog", "cat"], "cat", "cat"),
        (["Parasitized", "Uninfected"], "label", "Parasitized"),
        (["cat", "dog"], "label", "dog"),
    ],
)
def test_the_positive_class_is_what_the_column_or_the_words_say(
    labels: list[object], asked: str, positive: str
) -> None:
    found = guessed({"label": turns(labels)}, {asked: [0.5]})
    assert found["data.task"] == "binary" and found["data.classes"][1] == positive


@pytest.mark.parametrize(
    ("words", "ordered"),
    [
        (["high", "low", "medium"], ["low", "medium", "high"]),
        (["Severe", "No_DR", "Mild", "Moderate", "Proliferative_DR"],
         ["No_DR", "Mild", "Moderate", "Severe", "Proliferative_DR"]),
        (["good", "bad", "ok"], ["bad", "ok", "good"]),
    ],
)  # fmt: skip
def test_words_of_a_scale_are_in_its_order(words: list[object], ordered: list[str]) -> None:
    found = guessed({"label": turns(words)}, {"label": words[:2]})
    assert (found["data.task"], found["data.classes"]) == ("ordinal", ordered)


@pytest.mark.parametrize(
    ("cells", "sample", "task"),
    [
        ([0.0, 1.0, 2.0], [0], "multiclass"),
        (["1", "1.0", "0", "2"], [0], "multiclass"),
        ([1.5, 2.25, 3.0], [0.5], "regression"),
    ],
)
def test_whole_numbers_are_classes_however_they_are_written(cells: Any, sample: list[object], task: str) -> None:
    assert guessed({"label": turns(list(cells))}, {"label": sample})["data.task"] == task


@pytest.mark.parametrize("separator", [" ", "|", ";"])
def test_numbers_that_are_joined_are_several_labels_and_nan_rows_are_left_out(separator: str) -> None:
    found = guessed({"label": turns([f"1{separator}3", "", "2", "nan"])}, {"label": ["1"]})
    assert (found["data.task"], found["data.separator"]) == ("multilabel", separator)
    assert found["data.unlabelled"] == "skip" and "decision.min_labels" not in found


def test_a_metric_of_values_makes_amounts_of_few_whole_numbers() -> None:
    columns = {"count": turns([0, 1, 2, 3])}
    assert guessed(columns, {"count": [0]})["data.task"] == "multiclass"
    assert guessed(columns, {"count": [0]}, "rmse")["data.task"] == "regression"


def test_columns_of_truth_values_of_uncertain_cells_and_of_gaps() -> None:
    found = guessed({"cat": turns(["True", "False"]), "dog": turns(["False", "True"])}, {"cat": [0], "dog": [1]})
    assert found["data.task"] == "multiclass" and "data.heads" not in found
    found = guessed({"a": turns(["1.0", "0.0", "-1.0", ""]), "b": turns(["", "1.0"])}, {"a": [0.5], "b": [0.5]})
    assert found["data.task"] == "multilabel" and found["data.derive"]["a"]["values"] == {"": "0", "-1.0": "0.5"}
    found = guessed({"h": turns(["0.2", "0.7", ""]), "w": turns(["0.1", "0.9", "0.5"])}, {"h": [0.5], "w": [0.5]})
    assert found["data.task"] == "regression" and found["data.unlabelled"] == "skip"


def test_commas_in_numbers_are_decimal_or_asked() -> None:
    found = guessed({"score": [f"{50 + n},5" for n in range(40)]}, {"score": [0.5]})
    assert (found["data.task"], found["data.range"]) == ("regression", [50.5, 89.5])
    with pytest.raises(InputError, match=r"column 'score': its cells are numbers with commas, as '1,100'"):
        guessed({"score": [f"1,{100 + n}" for n in range(40)]}, {"score": [0.5]})


@pytest.mark.parametrize(
    ("line", "metric"),
    [
        ("Submissions are evaluated on area under the ROC curve between the predicted", "roc_auc"),
        ("evaluated on the mean column-wise ROC AUC", "mean_column_auc"),
        ("scored by the quadratic weighted kappa, which measures", "quadratic_weighted_kappa"),
        ("according to the Mean Average Precision @ 5 (MAP@5):", "map@5"),
        ("evaluated using the multi-class logarithmic loss.", "log_loss"),
        ("Submissions are scored on the macro F1 score", "f1_macro"),
        ("evaluated using Mean F1-Score.", "f1_samples"),
        ("micro-averaged F1-score", "f1_micro"),
        ("scored on the root mean squared error. RMSE is defined as", "rmse"),
        ("on the Mean Absolute Error (MAE)", "mae"),
        ("evaluated based on their categorization accuracy.", "accuracy"),
        ("We use top-1 classification error", "top1_error"),
        ("evaluated with the probabilistic F1 score (pF1)", "probabilistic_f1"),
        ("weighted AUC", "weighted_auc"),
        ("Submit before the deadline", None),
    ],
)
def test_phrases_name_metrics(line: str, metric: str | None) -> None:
    assert description.named(line) == metric


def test_the_section_on_evaluation_is_read_first(tmp_path: Path) -> None:
    text = """# Overview

The winners had an accuracy of 0.9 in 2019.

## Evaluation

Submissions are evaluated on [log loss](https://example.org/auc).

Where p is clipped. For each image give a probability.

## Timeline

Scored by RMSE until May.
"""
    (tmp_path / "description.md").write_text(text, encoding="utf-8")
    found = description.read(Folder(tmp_path, (), (), ("notes.txt", "description.md")))
    assert found is not None
    assert (found.metric, found.file, found.line) == (
        "log_loss",
        "description.md",
        "Submissions are evaluated on log loss.",
    )
    (tmp_path / "description.md").write_text("We are happy. The score is the AUC, as before.\n", encoding="utf-8")
    found = description.read(Folder(tmp_path, (), (), ("description.md",)))
    assert found is not None and found.metric == "roc_auc"


def test_a_machine_without_a_gpu_gets_a_recipe_that_ends_within_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "has_gpu", lambda: False)
    monkeypatch.setattr(recipe.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(recipe, "look", lambda folder: Pixels(600, 800))
    empty = Folder(Path(), (), ())
    few, some, many = (
        {key: (value, why) for key, value, why in recipe.recipe(empty, rows, None)} for rows in (500, 10_000, 10**7)
    )
    assert few["model.name"][0] == "resnet34d.ra2_in1k" and few["model.size"][0] == [192, 256]
    for found, rows in ((few, 500), (some, 10_000)):
        name, epochs = found["model.name"][0], found["train.epochs"][0]
        rate = next(way[1] for way in recipe.CPU if way[0] == name)
        assert recipe.estimate(rows, *found["model.size"][0], rate, epochs, 4) <= recipe.HOURS
        assert f"5 folds of {rows:,} rows on 4 cores" in found["model.name"][1]
    assert "begin with --fold 0" in many["model.name"][1]
    monkeypatch.setattr(recipe, "has_gpu", lambda: True)
    found = {key: value for key, value, _ in recipe.recipe(empty, 10_000, None)}
    assert found["model.name"] == recipe.GPU_MODEL and found["model.size"] == [288, 384]

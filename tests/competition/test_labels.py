"""What cells of target columns mean: soft labels, empty cells, values, heads; and which keys a task admits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import make_config

from pipeline.competition import labels
from pipeline.competition.labels import SKIP, class_names, encode_targets
from pipeline.config.sections.data import Data
from pipeline.errors import InputError, Problem
from pipeline.folds.strata import strata
from pipeline.methods.tasks import TASKS


def data(**keys: object) -> Data:
    return Data.model_validate({"root": "x", "image": "{id}.png", "target": "label", **keys})


def told(problems: list[tuple[int, Problem]]) -> list[tuple[int, str]]:
    return sorted((row, str(problem)) for row, problem in problems)


def frame(**columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns, dtype=str)


@pytest.mark.parametrize(
    ("text", "duplicates", "expected"),
    [
        ("7=0.5|12=0.5", "soft", [("7", 0.5), ("12", 0.5)]),
        ("a=b=0.25|c=0.75", "error", [("a=b", 0.25), ("c", 0.75)]),
        ("a=0.3333|b=0.6667", "soft", [("a", 0.3333), ("b", 0.6667)]),
        ("7=1", "soft", [("7", 1.0)]),
        ("7=1", "error", None),  # a class may be called so
        ("a=0.5|b=0.2", "soft", None),  # no shares of one row
        ("a|b", "soft", None),
        ("plain", "soft", None),
    ],
)
def test_soft_cells(text: str, duplicates: str, expected: list[tuple[str, float]] | None) -> None:
    assert labels.soft(text, data(duplicates=duplicates)) == expected


def test_soft_cells_name_classes_and_encode_as_shares() -> None:
    table, asked = frame(label=["12", "7=0.25|12=0.75", "x=0.5|7=0.5"]), data(duplicates="soft", classes=["7", "12"])
    targets_NC, defects = encode_targets(TASKS["multiclass"], table, asked, ["7", "12"])
    np.testing.assert_array_equal(targets_NC, [[0, 1], [0.25, 0.75], [0.5, 0]])
    assert told(defects) == [(2, "label is 'x', expected one of 7, 12")]
    assert class_names(TASKS["multiclass"], table.iloc[:2], data(duplicates="soft")) == ["7", "12"]


def test_the_empty_word_is_no_label() -> None:
    asked, table = data(separator=" ", empty="none"), frame(label=["a none", "none", "b a", ""])
    assert class_names(TASKS["multilabel"], table, asked) == ["a", "b", "none"], "beside another label it is one"
    assert class_names(TASKS["multilabel"], table.iloc[1:], asked) == ["a", "b"]
    targets_NC, _ = encode_targets(TASKS["multilabel"], table.iloc[1:].reset_index(drop=True), asked, ["a", "b"])
    np.testing.assert_array_equal(targets_NC, [[0, 0], [1, 1], [0, 0]])


def test_values_inside_their_range() -> None:
    asked, task = data(target=["low", "high"], range=(-1, 10)), TASKS["regression"]
    table = frame(low=["1", "", "-2"], high=["2.5", "nan", "1e1"])
    assert class_names(task, table, asked) == ["low", "high"]
    targets_NC, defects = encode_targets(task, table, asked, ["low", "high"])
    np.testing.assert_allclose(targets_NC, [[1, 2.5], [0, 0], [-2, 10]])
    assert told(defects) == [
        (1, f"high is 'nan', expected a number in [-1, 10]; {SKIP}"),
        (1, f"low is '', expected a number in [-1, 10]; {SKIP}"),
        (2, "low is '-2', expected a number in [-1, 10]"),
    ]
    assert task.label_text(targets_NC, ["low", "high"]) == ["1|2.5", "0|0", "-2|10"]


def test_strata_of_values_are_quantile_bins_of_each_column() -> None:
    values_NC = np.stack([np.arange(40.0), np.repeat([0.0, 1.0], 20)], axis=1).astype(np.float32)
    code_N, names = strata(TASKS["regression"], values_NC[:, :1], ["a"], data(), bins=4)
    assert np.bincount(code_N).tolist() == [10, 10, 10, 10] and len(names) == 4
    matrix_NL, names = strata(TASKS["regression"], values_NC, ["a", "b"], data(target=["a", "b"]), bins=4)
    assert matrix_NL.sum(0).tolist() == [10, 10, 10, 10, 20, 20] and names[-1].startswith("b=")
    assert (matrix_NL.sum(1) == 2).all()


def test_heads_have_their_own_classes_and_defects() -> None:
    asked, task = data(target=["a", "b"], heads=True), TASKS["multiclass"]
    table = frame(a=["x", "y", ""], b=["10", "9", "9"])
    classes = class_names(task, table, asked)
    assert classes == ["a=x", "a=y", "b=9", "b=10"]
    targets_NC, defects = encode_targets(task, table, asked, classes)
    np.testing.assert_array_equal(targets_NC, [[1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 1, 0]])
    assert told(defects) == [(2, f"a is blank, expected a label; {SKIP}")]
    hard_NL, names = strata(task, targets_NC[:2], classes, asked, 10)
    assert hard_NL.tolist() == [[1, 0, 0, 1], [0, 1, 1, 0]] and list(names) == classes


def test_long_tables_are_read_once_per_different_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    plain = labels.labels
    monkeypatch.setattr(labels, "labels", lambda text, keys: seen.append(text) or plain(text, keys))
    table = frame(label=["a", "b", "c"] * 1000)
    targets_NC, defects = encode_targets(TASKS["multiclass"], table, data(), ["a", "b", "c"])
    assert targets_NC.sum(0).tolist() == [1000, 1000, 1000] and not defects and len(seen) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__heads": True}, "data.heads: needs several target columns"),
        ({"data__target": ["a", "b"], "data__heads": True, "data__classes": ["x"]}, "leave data.classes"),
        ({"data__range": [0, 1]}, "data.range: bounds values, a multiclass task has none"),
        ({"data__empty": "none"}, "data.empty: needs data.separator"),
        ({"submission__composite": "{a}"}, "submission.composite: needs data.heads"),
        ({"data__task": "regression", "loss__name": "mse", "loss__label_smoothing": 0.1}, "has values; set 0"),
        ({"data__task": "regression", "loss__name": "mse", "data__range": [2, 1]}, "the smallest value first"),
        ({"data__task": "regression", "loss__name": "mse", "ensemble__calibrate": "auto"}, "correct probabilities"),
        ({"data__task": "regression"}, "found 'cross_entropy', a regression task admits mse"),
    ],
)
def test_keys_that_mean_nothing_here_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_config(tmp_path, **changes)
    assert message in str(caught.value)

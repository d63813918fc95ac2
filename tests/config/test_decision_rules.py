"""Which decisions a config asks for, and which it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import CLASSES, make_config

from pipeline.config.rules import decisions
from pipeline.errors import InputError
from pipeline.files.atomic import write_json

MULTILABEL = {"data__task": "multilabel", "data__separator": " ", "loss__name": "binary_cross_entropy"}
ORDINAL = {"data__task": "ordinal", "metric": "quadratic_weighted_kappa"}
VALUES = {"data__task": "regression", "loss__name": "mse", "data__target": "age"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"data__task": "binary", "metric": "f1_macro"}, ["threshold"]),
        ({"data__task": "binary", "metric": "roc_auc"}, []),
        ({"data__task": "binary", "metric": "log_loss"}, []),
        ({"data__task": "binary", "metric": "probabilistic_f1"}, ["threshold"]),
        ({"data__task": "binary", "metric": "f1_macro", "decision__kind": "plain"}, []),
        ({**MULTILABEL, "metric": "f1_micro"}, ["threshold", "thresholds"]),
        ({**MULTILABEL, "metric": "f1_micro", "decision__kind": "thresholds"}, ["thresholds"]),
        ({**MULTILABEL, "metric": "mean_column_auc"}, []),
        (ORDINAL, ["round", "cuts"]),
        ({**VALUES, "metric": "rmse"}, []),
        ({**VALUES, "metric": "mae", "decision__kind": "round"}, ["round"]),
        ({**VALUES, "metric": "quadratic_weighted_kappa"}, ["round", "cuts"]),
        ({**VALUES, "metric": "quadratic_weighted_kappa", "data__target": ["a", "b"]}, ["round"]),
        ({"decision__new_class": "cat", "metric": "map@5"}, ["new_class"]),
    ],
)
def test_what_auto_tries_is_what_the_metric_rewards(changes: dict[str, Any], expected: list[str]) -> None:
    assert decisions.candidates(make_config(Path("nowhere"), **changes)) == expected


def test_the_rules_of_a_config() -> None:
    config = make_config(
        Path("nowhere"), **MULTILABEL, metric="f1_macro", decision__alone="dog", decision__min_labels=1
    )
    found = decisions.rules(config, CLASSES)
    assert (found.labels, found.exclusive, found.least, found.most, found.new) == (True, 1, 1, None, None)
    assert decisions.obliges(config) and decisions.asked(config) == "auto"
    config = make_config(Path("nowhere"), **VALUES, metric="rmse", data__range=[1, 100])
    assert decisions.rules(config, ("age",)).clip == (1, 100) and decisions.obliges(config)
    config = make_config(Path("nowhere"), decision__new_class="cat")
    assert decisions.rules(config, CLASSES).new == 0 and decisions.asked(config) == "new_class"
    assert not decisions.obliges(config)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decision__kind": "cuts"}, "decision.kind: found 'cuts', a multiclass task admits auto, plain"),
        (
            {"data__task": "binary", "metric": "roc_auc", "decision__kind": "threshold"},
            "roc_auc reads order, no labels",
        ),
        ({"decision__min_labels": 1}, "a multiclass task has one label"),
        (
            {**MULTILABEL, "metric": "f1_micro", "decision__min_labels": 3, "decision__max_labels": 2},
            "at least min_labels, 3",
        ),
        ({"decision__threshold": 0.3}, "decision.threshold: fixes"),
        ({"data__task": "binary", "decision__new_class": "cat"}, "decision.new_class: a binary task"),
        ({"decision__clip": [0, 1]}, "decision.clip: bounds values"),
        ({**VALUES, "metric": "rmse", "decision__clip": [5, 1]}, "the smallest value first"),
        (
            {**VALUES, "metric": "quadratic_weighted_kappa", "data__target": ["a", "b"], "decision__kind": "cuts"},
            "cuts need one target column",
        ),
        (
            {**VALUES, "metric": "rmse", "ensemble__blender": "rank_mean"},
            "found 'rank_mean', which blends probabilities",
        ),
    ],
)
def test_decisions_without_sense_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        make_config(Path("nowhere"), **changes)
    assert words in "\n".join(error.value.lines)


def test_a_run_decides_on_new_rows_as_it_did_on_its_test(tmp_path: Path) -> None:
    config = make_config(tmp_path, **MULTILABEL, metric="f1_macro", decision__min_labels=1)
    probs_NC = np.array([[0.3, 0.3, 0.3], [0.1, 0.05, 0.02]])
    assert decisions.of_run(tmp_path, config, CLASSES, probs_NC) is None
    decision = {"asked": "auto", "chosen": "thresholds", "params": {"tta": {"thresholds": [0.2, 0.4, 0.3]}}}
    report = {"members": ["pets"], "calibration": None, "decision": decision}
    write_json(tmp_path / "ensemble.json", report)
    found = decisions.of_run(tmp_path, config, CLASSES, probs_NC)
    np.testing.assert_array_equal(found, [[1, 0, 1], [1, 0, 0]])
    assert decisions.of_run(tmp_path, config, CLASSES[:2], probs_NC[:, :2]) is None
    others: list[dict[str, Any]] = [
        {"members": ["a", "b"]},
        {"calibration": {"chosen": "temperature"}},
        {"decision": None},
        {"decision": {**decision, "asked": "threshold"}},
    ]
    for other in others:
        write_json(tmp_path / "ensemble.json", {**report, **other})
        assert decisions.of_run(tmp_path, config, CLASSES, probs_NC) is None

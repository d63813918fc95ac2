from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import make_config

from pipeline.competition import labels
from pipeline.config.rules import topk_rules
from pipeline.errors import InputError, MismatchError
from pipeline.files import prediction_tables
from pipeline.methods import topk
from pipeline.methods.tasks import TASKS
from pipeline.prediction.predictions import Predictions


@pytest.mark.parametrize(
    ("asked", "classes", "count"),
    [("auto", 2000, None), ("auto", 2001, 100), (5, 30, 5), (30, 30, None), (None, 5000, None)],
)
def test_how_many_classes_are_kept(tmp_path: Path, asked: object, classes: int, count: int | None) -> None:
    assert topk_rules.kept(make_config(tmp_path, predict__top_k=asked), classes) == count


def test_independent_columns_are_all_kept(tmp_path: Path) -> None:
    changes = {"data__task": "multilabel", "data__separator": " ", "loss__name": "binary_cross_entropy"}
    config = make_config(tmp_path, **changes, metric="f1_micro")
    assert topk_rules.kept(config, 5000) is None
    with pytest.raises(InputError, match="keeps some of the classes"):
        make_config(tmp_path, **changes, metric="f1_micro", predict__top_k=5)


@pytest.mark.parametrize(
    ("metric", "fits"),
    [
        *(("accuracy", True), ("f1_macro", True), ("log_loss", True), ("mrr", True), ("map@5", True)),
        *(("map@6", False), ("roc_auc", False), ("brier", False), ("average_precision", False)),
    ],
)
def test_metrics_that_can_do_with_five_classes(metric: str, fits: bool) -> None:
    assert topk_rules.admits(metric, 5) is fits
    assert topk_rules.admits(metric, None)
    some = topk.top(np.eye(8), 5)
    if fits:
        topk_rules.check_metric(metric, some)
    else:
        with pytest.raises(InputError, match=f"found '{metric}'.*the 5 most probable"):
            topk_rules.check_metric(metric, some)


def test_all_that_needs_every_class_is_told_at_once(tmp_path: Path) -> None:
    changes = {"calibrate": "temperature", "views": "select", "blender": "geometric_mean", "compare": ["slsqp"]}
    config = make_config(tmp_path, metric="roc_auc", ensemble=changes, submission__top=9)
    found = topk_rules.problems(config, 5)
    places = ("metric", "ensemble.blender", "ensemble.compare", "ensemble.calibrate", "ensemble.views")
    assert [str(problem).split(":")[0] for problem in found] == [*places, "submission.top"]
    assert topk_rules.problems(config, None) == []


def test_a_table_shows_the_first_classes_and_is_read_again() -> None:
    classes = [f"c{n}" for n in range(8)]
    some = topk.top(np.random.default_rng(0).dirichlet(np.ones(8), 4).astype(np.float32), 6)
    made = prediction_tables.table([np.arange(4)], ["id"], some, classes)
    assert made.columns.tolist() == ["id", *(f"{what}{k}" for k in range(1, 6) for what in ("top", "p"))]
    assert prediction_tables.is_short(made.columns[1:].tolist())
    found = prediction_tables.read_table(made, classes)
    assert found.columns_NK.tolist() == some.columns_NK[:, :5].tolist()
    assert (found.values_NK == some.values_NK[:, :5]).all()


def test_many_rows_of_many_classes_are_read_as_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, classes = make_config(tmp_path, data__duplicates="soft").data, ["a", "b", "c"]

    def encode(*texts: str) -> tuple[np.ndarray, list[tuple[int, str]]]:
        found, wrong = labels.encode_labels(pd.Series(texts, name="label"), data, classes, TASKS["multiclass"])
        return found, [(row, str(problem)) for row, problem in wrong]

    dense, _ = encode("b", "a", "c")
    monkeypatch.setattr(labels, "MOST_CELLS", 5)
    found, wrong = encode("b", "a", "c")
    assert isinstance(found, topk.OneHot)
    assert wrong == []
    assert np.asarray(found).tolist() == dense.tolist()
    found, wrong = encode("b", "x", "c")
    assert wrong == [(1, "label is 'x', expected one of a, b, c")]
    soft, _ = encode("a=0.5|b=0.5", "c", "a")
    assert not isinstance(soft, topk.OneHot)
    assert soft.tolist() == [[0.5, 0.5, 0], [0, 0, 1], [1, 0, 0]]


def predictions() -> Predictions:
    some = topk.top(np.random.default_rng(0).dirichlet(np.ones(9), 4).astype(np.float32), 3)
    both = [np.stack([part, part], axis=1) for part in (some.values_NK, some.columns_NK)]
    names = tuple(f"c{n}" for n in range(9))
    return Predictions(np.array(["a", "b", "c", "d"]), ("identity", "hflip"), names, both[0], {"fold": 1}, both[1])


def test_files_keep_the_numbers_of_the_classes(tmp_path: Path) -> None:
    made = predictions()
    made.save(tmp_path / "valid.npz")
    found = Predictions.load(tmp_path / "valid.npz")
    assert found.kept == 3
    mean = found.mean(["identity", "hflip"])
    assert isinstance(mean, topk.Top)
    np.testing.assert_allclose(np.asarray(mean), np.asarray(made.view("hflip")), atol=1e-6)


def test_damaged_numbers_are_refused(tmp_path: Path) -> None:
    made = predictions()
    assert made.top_NVK is not None
    for wrong in (made.top_NVK + 9, made.top_NVK - 9, made.top_NVK[:, :1]):
        with pytest.raises(MismatchError, match="numbers of its classes"):
            dataclasses.replace(made, top_NVK=wrong).save(tmp_path / "valid.npz")

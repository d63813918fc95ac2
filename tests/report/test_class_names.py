"""Classes that are called like columns of Foldline's own tables, or like what stands between labels."""

from __future__ import annotations

import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_report import predict, read

from pipeline.blending import stage as ensemble
from pipeline.config.config import Config
from pipeline.config.loading import dump, load
from pipeline.files import prediction_tables
from pipeline.files.atomic import read_json
from pipeline.files.tables import FIXED, read_text_table
from pipeline.folds import stage as folds
from pipeline.report import stage as report
from pipeline.report.files import Run
from pipeline.scoring import diff
from pipeline.scoring import stage as score

NAMES = {"cross": "target", "disk": "fold", "square": "id"}


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        (["clutter", "target"], ["clutter", "target.1"]),
        (["fold", "id", "target"], ["fold.1", "id.1", "target.1"]),
        (["target", "target.1"], ["target.2", "target.1"]),
        (["top1", "p1"], ["top1.1", "p1"]),
        (["p1", "top1"], ["p1", "top1"]),
    ],
)
def test_columns_are_called_as_pandas_calls_those_of_earlier_versions(classes: list[str], expected: list[str]) -> None:
    rows = np.arange(4.0).reshape(2, 2) if len(classes) == 2 else np.arange(6.0).reshape(2, 3)
    first = [np.array(["a", "b"]), np.array([0, 1]), np.array(["x", "y"])]
    made = prediction_tables.table(first, FIXED, rows, classes)
    assert made.columns.tolist() == [*FIXED, *expected]
    old = made.set_axis([*FIXED, *classes], axis=1).to_csv(index=False)
    for text in (made.to_csv(index=False), *([old] if classes[0] != "top1" else [])):
        table = pd.read_csv(StringIO(text))
        columns = prediction_tables.class_columns(table.columns.tolist(), classes, FIXED)
        assert columns == expected
        np.testing.assert_array_equal(table[columns].to_numpy(), rows)
        assert table["target"].tolist() == ["x", "y"] and table["fold"].tolist() == [0, 1]


def test_a_table_without_the_truth_may_call_a_class_target() -> None:
    assert prediction_tables.class_columns(["id", "fold", "clutter", "target"], ["clutter", "target"], FIXED) == [
        "clutter",
        "target",
    ]
    assert prediction_tables.class_columns(["id", "fold", "target"], ["clutter", "target"], FIXED) is None


@pytest.fixture
def config(competition: Path) -> Config:
    """Every stage of a run whose classes are called like the first columns of oof.csv."""
    for name in ("train", "sample_submission"):
        text = (competition / f"{name}.csv").read_text()
        for old, new in NAMES.items():
            text = text.replace(f",{old}", f",{new}")
        (competition / f"{name}.csv").write_text(text)
    made = load([competition / "config.yaml"], ["tta=[identity, hflip]"])
    folds.run(made)
    predict(made)
    score.run(made)
    ensemble.run(made)
    (made.run_dir / "config.yaml").write_text(dump(made))
    return made


def test_every_file_tells_them_apart(config: Config) -> None:
    classes = ["fold", "id", "target"]
    oof = read_text_table(config.run_dir / "oof.csv")
    assert oof.columns.tolist() == ["id", "fold", "target", "fold.1", "id.1", "target.1"]
    train = read_text_table(Path(config.data.root) / "train.csv").set_index("image_id")
    assert oof["target"].tolist() == train.loc[oof["id"], "label"].tolist()
    probs_NC = oof.iloc[:, 3:].to_numpy(np.float64)
    right = np.mean(np.array(classes)[probs_NC.argmax(1)] == oof["target"].to_numpy())
    scores = read_json(config.run_dir / "scores.json")
    assert scores["variants"]["tta"]["pooled"] == pytest.approx(right) and list(scores["per_class"]) == classes
    test = read_text_table(config.run_dir / "test.csv")
    assert test.columns.tolist() == ["id", "fold", "id.1", "target"]
    submitted = read_text_table(config.run_dir / "submission.csv")
    assert submitted["image_id"].tolist() == test["id"].tolist()
    assert submitted["label"].tolist() == [classes[c] for c in test.iloc[:, 1:].to_numpy(np.float64).argmax(1)]


def test_report_and_diff_read_them(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    page = read(report.run(config))
    assert {"Confusion", "Scores per class", "Confidently wrong"} <= set(page.titles) and "Left out" not in page.titles
    blend = config.model_copy(update={"run": "blend"})
    blend = blend.model_copy(update={"ensemble": blend.ensemble.model_copy(update={"members": ["shapes"]})})
    ensemble.run(blend)
    capsys.readouterr()
    found = diff.run(["shapes", "blend"], config.run_dir.parent)
    assert found.lead == 0


def test_a_teammates_tables_blend_as_the_run_itself(config: Config, tmp_path: Path) -> None:
    mate = tmp_path / "mate"
    mate.mkdir()
    made = {}
    for member in ("shapes", str(mate)):
        for name in ("oof.csv", "test.csv"):
            shutil.copy(config.run_dir / name, mate / name)
        changed = config.ensemble.model_copy(update={"members": [member]})
        blend = config.model_copy(update={"run": "blend", "ensemble": changed})
        ensemble.run(blend)
        made[member] = [pd.read_csv(blend.run_dir / name) for name in ("blend.csv", "blend_oof.csv")]
    for one, other in zip(*made.values(), strict=True):
        pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_tables_of_other_tasks_blend_too(task: str, competition: Path, tmp_path: Path) -> None:
    """Their classes are called as data.target is, beside a column `target`."""
    table = pd.read_csv(competition / "train.csv", dtype=str)
    names = ["a", "target"] if task == "multilabel" else ["target"]
    for name in names:
        table[name] = np.random.default_rng(len(name)).integers(0, 2, len(table))
    table.to_csv(competition / "train.csv", index=False)
    sample = pd.read_csv(competition / "test.csv", dtype=str).assign(**dict.fromkeys(names, 0.5))
    sample.to_csv(competition / "sample_submission.csv", index=False)
    loss, metric = ("binary_cross_entropy", "mean_column_auc") if task == "multilabel" else ("mse", "rmse")
    settings = [f"data.target={names}", f"data.task={task}", f"loss.name={loss}", f"metric={metric}"]
    made = load([competition / "config.yaml"], settings)
    folds.run(made)
    predict(made)
    score.run(made)
    (tmp_path / "mate").mkdir()
    for name in ("oof.csv", "test.csv"):
        shutil.copy(made.run_dir / name, tmp_path / "mate" / name)
    found = []
    for member in ("shapes", str(tmp_path / "mate")):
        changed = made.ensemble.model_copy(update={"members": [member]})
        (made.run_dir / "config.yaml").write_text(dump(made))
        blend = made.model_copy(update={"run": "blend", "ensemble": changed})
        ensemble.run(blend)
        found.append(pd.read_csv(blend.run_dir / "blend_oof.csv"))
    pd.testing.assert_frame_equal(*found)


def test_the_truth_of_labels_that_hold_a_bar_is_the_fold_tables(competition: Path) -> None:
    table = pd.read_csv(competition / "train.csv", dtype=str)
    names = ["a|b", "a", "fold"]
    rng = np.random.default_rng(0)
    for name in names:
        table[name] = rng.integers(0, 2, len(table))
    table.to_csv(competition / "train.csv", index=False)
    settings = [f"data.target={names}", "data.task=multilabel", "loss.name=binary_cross_entropy"]
    sample = pd.read_csv(competition / "test.csv", dtype=str)
    sample.assign(**dict.fromkeys(names, 0)).to_csv(competition / "sample_submission.csv", index=False)
    made = load([competition / "config.yaml"], [*settings, "metric=mean_column_auc"])
    folds.run(made)
    predict(made)
    score.run(made)
    found = Run(made).oof
    assert found is not None
    np.testing.assert_array_equal(found[1], table.set_index("image_id").loc[found[0], names].to_numpy())
    assert "Errors per label" in read(report.run(made)).titles

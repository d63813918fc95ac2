"""The diff command on synthetic runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from synthetic import CLASSES, TEST_IDS, command, make_config, make_folds, make_run, make_sample, pets

from pipeline.blending import stage as ensemble
from pipeline.config.config import Config
from pipeline.config.loading import dump
from pipeline.errors import InputError, MismatchError
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.prediction.predictions import Predictions
from pipeline.scoring import diff
from pipeline.scoring import stage as score

WIDE = "id,cat,dog,eel\n" + "".join(f"{name},0,0,0\n" for name in TEST_IDS)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = make_config(tmp_path, metric="log_loss")
    make_sample(config, WIDE)
    return config


@pytest.fixture
def table(config: Config) -> FoldTable:
    return make_folds(config, pets(90))


def truth(table: FoldTable) -> np.ndarray:
    return np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]


def variant(config: Config, table: FoldTable, run: str, strength: float, seed: int = 1, **train: object) -> Config:
    """Write a run whose predictions lean to the truth as strongly as asked."""
    tree = config.model_dump()
    made = Config.model_validate({**tree, "run": run, "train": {**tree["train"], **train}})
    make_run(made, table, strength * truth(table), seed=seed)
    return made


def compare(config: Config, *names: str, settings: tuple[str, ...] = ()) -> diff.Found:
    return diff.run(names, Path(config.runs_dir), settings)


def test_differences_of_config_and_folds(config: Config, table: FoldTable, capsys: pytest.CaptureFixture[str]) -> None:
    variant(config, table, "weak", 0.5)
    variant(config, table, "strong", 1.5, lr=0.5, layer_decay=0.75)
    found = compare(config, "weak", "strong")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "weak -> strong",
        "config:",
        "  train.layer_decay: None -> 0.75",
        "  train.lr: 0.0003 -> 0.5",
        "log_loss (lower is better), OOF",
    ]
    assert found.folds == [0, 1, 2] and found.groups == 90
    np.testing.assert_allclose(found.leads_K, found.scores_2K[0] - found.scores_2K[1])  # of log loss, lower is better
    assert found.lead == pytest.approx(found.leads_K.mean()) and found.interval.low > 0
    assert lines[-1].startswith(f"strong leads weak by {found.lead:+.4f}, 90 % interval +")
    assert lines[-1].endswith("(1,000 resamples of 90 groups): significant (90 %)")


def test_the_scores_are_those_of_score(config: Config, table: FoldTable) -> None:
    variant(config, table, "a", 1.0)
    report = score.run(variant(config, table, "b", 1.0, seed=2))
    found = compare(config, "a", "b")
    assert found.scores_2K[1].tolist() == json.loads(report.read_text())["variants"]["tta"]["per_fold"]


def test_the_other_way_round_is_the_opposite(config: Config, table: FoldTable) -> None:
    variant(config, table, "a", 1.0)
    variant(config, table, "b", 1.2, seed=2)
    one, other = compare(config, "a", "b"), compare(config, "b", "a")
    assert one.lead == -other.lead
    assert (one.interval.low, one.interval.high) == pytest.approx((-other.interval.high, -other.interval.low))
    same = compare(config, "a", "a")
    assert same.lead == 0 and not same.interval.excludes_zero


def test_settings_change_the_scoring_and_not_what_differs(
    config: Config, table: FoldTable, capsys: pytest.CaptureFixture[str]
) -> None:
    variant(config, table, "a", 1.0)
    variant(config, table, "b", 1.5)
    found = compare(config, "a", "b", settings=("metric=accuracy", "tta=[identity]"))
    shown = capsys.readouterr().out
    assert "config: no differences" in shown and "accuracy (greater is better), OOF\n" in shown
    np.testing.assert_allclose(found.leads_K, found.scores_2K[1] - found.scores_2K[0])


def test_only_folds_that_both_have(config: Config, table: FoldTable, capsys: pytest.CaptureFixture[str]) -> None:
    whole, part = variant(config, table, "a", 1.0), variant(config, table, "b", 1.5)
    for fold in (0, 2):
        (part.run_dir / f"fold{fold}/valid.npz").unlink()
    found = compare(config, "a", "b")
    assert found.folds == [1] and found.scores_2K.shape == (2, 1)
    assert "log_loss (lower is better), OOF, PARTIAL: 1 of 3 folds" in capsys.readouterr().out
    (whole.run_dir / "fold1/valid.npz").unlink()
    with pytest.raises(MismatchError, match=r"b: has the folds \[1\], a \[0, 2\]"):
        compare(config, "a", "b")


def test_groups_are_resampled_whole(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    table = make_folds(config, pets(90))
    groups = np.array([f"g{n % 12:02d}" for n in range(90)])  # 12 groups, 4 in each of the 3 folds
    table = FoldTable(table.ids, groups, table.targets, table.fold, table.path)
    fold_table.write(config, table, {"fold_hash": table.fold_hash})
    variant(config, table, "a", 1.0)
    variant(config, table, "b", 1.1)
    found = compare(config, "a", "b")
    assert found.groups == 12 and not found.interval.reliable
    assert "UNRELIABLE: 12 groups vary" in capsys.readouterr().out


def test_other_folds_and_classes_are_refused_with_both(config: Config, table: FoldTable, tmp_path: Path) -> None:
    first = variant(config, table, "a", 1.0)
    other = variant(config, table, "b", 1.0)
    for fold in range(3):
        path = other.run_dir / f"fold{fold}/valid.npz"
        old = Predictions.load(path)
        Predictions(old.ids, old.views, CLASSES[::-1], old.probs_NVC, old.meta).save(path)
    with pytest.raises(MismatchError, match=r"b: has the classes \[eel, dog, cat\], a \[cat, dog, eel\]"):
        compare(config, "a", "b")
    elsewhere = config.model_copy(update={"run": "c", "folds_dir": str(tmp_path / "folds2")})
    moved = make_folds(elsewhere, pets(90), folds=2)
    make_run(elsewhere, moved, truth(moved))
    with pytest.raises(MismatchError) as caught:
        compare(config, "a", "c")
    (line,) = caught.value.lines
    assert f"{first.run_dir} on {table.fold_hash[:12]}, {elsewhere.run_dir} on {moved.fold_hash[:12]}" in line
    assert caught.value.exit_code == 3


def test_a_blend_is_compared_by_its_cross_fitted_rows(config: Config, table: FoldTable) -> None:
    variant(config, table, "a", 1.0)
    variant(config, table, "b", 1.0, seed=2)
    changed = config.ensemble.model_copy(update={"members": ["a", "b"], "blender": "slsqp"})
    blend = config.model_copy(update={"run": "blend", "ensemble": changed})
    ensemble.run(blend)
    found = compare(config, "a", "blend")
    assert found.lead > 0 and found.folds == [0, 1, 2]
    report = json.loads((blend.run_dir / "ensemble.json").read_text())
    assert found.scores_2K[1].mean() == pytest.approx(report["variants"]["tta"]["mean"])
    moved = make_folds(config, pets(90), folds=2)
    for fold in range(3):
        (Path(config.runs_dir) / f"a/fold{fold}/valid.npz").unlink()
    variant(config, moved, "a", 1.0)
    with pytest.raises(MismatchError, match="not blended on"):
        compare(config, "a", "blend")


def test_the_command(config: Config, table: FoldTable, tmp_path: Path) -> None:
    variant(config, table, "a", 1.0)
    variant(config, table, "b", 1.5)
    done = command("diff", "a", "b", "--runs-dir", config.runs_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "a -> b" and "b leads a by" in done.stdout
    done = command("diff", "a", "gone", "--runs-dir", config.runs_dir)
    assert done.returncode == 2 and "diff: found 'gone', expected a run in" in done.stderr
    with pytest.raises(InputError, match="expected a run in"):
        compare(config, str(tmp_path / "nowhere"), "a")
    (Path(config.runs_dir) / "b/config.yaml").write_text(dump(config).replace("metric: log_loss", "metric: logloss"))
    done = command("diff", "a", "b", "--runs-dir", config.runs_dir)
    assert done.returncode == 2 and "metric" in done.stderr

"""The score stage on synthetic runs: numbers by hand, and every way in which files do not fit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from synthetic import CLASSES, TEST_IDS, command, make_config, make_folds, make_run, pets

from pipeline.config.config import Config
from pipeline.config.loading import dump
from pipeline.errors import MismatchError
from pipeline.files.tables import read_text_table
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.prediction.predictions import Predictions
from pipeline.scoring import stage as score


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_config(tmp_path, metric="log_loss")


@pytest.fixture
def table(config: Config) -> FoldTable:
    return make_folds(config, pets())


@pytest.fixture
def truth_NC(table: FoldTable) -> np.ndarray:
    return np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]


def read(config: Config) -> dict:
    return json.loads((config.run_dir / "scores.json").read_text())


def test_numbers_and_tables(config: Config, table: FoldTable, truth_NC: np.ndarray) -> None:
    made = make_run(config, table, truth_NC)
    assert score.run(config) == config.run_dir / "scores.json"
    report = read(config)
    by_id = dict(zip(table.ids.tolist(), truth_NC.argmax(1), strict=True))
    for name, views in {"plain": [0], "tta": [0, 1]}.items():
        losses, all_truth, all_probs = [], [], []
        for found in made.values():
            truth = [by_id[id_] for id_ in found.ids.tolist()]
            probs = found.probs_NVC[:, views].astype(float).mean(1)
            probs /= probs.sum(1, keepdims=True)
            losses.append(sk.log_loss(truth, probs, labels=[0, 1, 2]))
            all_truth += truth
            all_probs.append(probs)
        scored = report["variants"][name]
        assert scored["per_fold"] == pytest.approx(losses)
        assert scored["mean"] == pytest.approx(np.mean(losses))
        assert scored["std"] == pytest.approx(np.std(losses))
        pooled = sk.log_loss(all_truth, np.concatenate(all_probs), labels=[0, 1, 2])
        assert scored["pooled"] == pytest.approx(pooled)
    assert report["views"]["identity"] == report["variants"]["plain"]
    assert report["metrics"]["log_loss"] == report["variants"]["tta"]
    assert set(report["metrics"]) >= {"accuracy", "f1_macro", "roc_auc", "mean_column_auc"}
    assert (report["metric"], report["greater_is_better"]) == ("log_loss", False)
    assert (report["partial"], report["folds"], report["selected_on_valid"]) == (False, [0, 1, 2], False)
    assert (report["task"], report["classes"]) == ("multiclass", list(CLASSES))
    assert report["fold_hash"] == table.fold_hash
    assert list(report["per_class"]) == list(CLASSES)
    assert report["per_class"]["eel"]["support"] == 9

    oof = read_text_table(config.run_dir / "oof.csv")
    assert oof.columns.tolist() == ["id", "fold", "target", *CLASSES]
    assert oof["id"].tolist() == table.ids.tolist()
    assert oof["fold"].astype(int).tolist() == table.fold.tolist()
    assert oof["target"].tolist() == table.targets["label"].tolist()
    found = made[1]
    row = oof[oof["id"] == found.ids[0]][list(CLASSES)].astype(float).to_numpy()[0]
    np.testing.assert_array_equal(row, found.probs_NVC[0].astype(float).mean(0))
    test = read_text_table(config.run_dir / "test.csv")
    assert test["id"].tolist() == TEST_IDS.tolist()
    folds = [Predictions.load(config.run_dir / f"fold{fold}/test.npz") for fold in range(3)]
    mean = np.mean([f.probs_NVC[f.ids.tolist().index("0903")].astype(float).mean(0) for f in folds], axis=0)
    np.testing.assert_allclose(test[list(CLASSES)].astype(float).to_numpy()[3], mean, atol=1e-12)


def test_row_order_of_the_files_does_not_matter(config: Config, table: FoldTable, truth_NC: np.ndarray) -> None:
    made = make_run(config, table, truth_NC)
    score.run(config)
    before = {name: (config.run_dir / name).read_bytes() for name in ("oof.csv", "test.csv", "scores.json")}
    for fold, found in made.items():
        turned = dataclasses.replace(found, ids=found.ids[::-1], probs_NVC=found.probs_NVC[::-1])
        turned.save(config.run_dir / f"fold{fold}" / "valid.npz")
    score.run(config)
    assert before == {name: (config.run_dir / name).read_bytes() for name in before}


def test_finished_and_equal_is_skipped(
    config: Config, table: FoldTable, truth_NC: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(config, table, truth_NC)
    score.run(config)
    first = capsys.readouterr().out
    oof = config.run_dir / "oof.csv"
    written = oof.stat().st_mtime_ns
    score.run(config)
    assert (oof.stat().st_mtime_ns, capsys.readouterr().out) == (written, first)
    oof.unlink()
    score.run(config)
    assert oof.read_text().startswith("id,fold")
    score.run(config.model_copy(update={"metric": "accuracy"}))
    assert read(config)["metric"] == "accuracy"
    make_run(config, table, truth_NC, seed=5)
    capsys.readouterr()
    score.run(config)
    assert first.splitlines()[2] != capsys.readouterr().out.splitlines()[2]


def test_partial_scores_the_folds_there_are(
    config: Config, table: FoldTable, truth_NC: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(config, table, truth_NC)
    for part in ("valid", "test"):
        (config.run_dir / "fold1" / f"{part}.npz").unlink()
    with pytest.raises(MismatchError, match=r"fold1/valid.npz: missing") as error:
        score.run(config)
    assert len(error.value.lines) == 2
    score.run(config, partial=True)
    report = read(config)
    assert (report["partial"], report["folds"], len(report["variants"]["tta"]["per_fold"])) == (
        True,
        [0, 2],
        2,
    )
    assert "PARTIAL, folds 0, 2 only" in capsys.readouterr().out
    assert len(read_text_table(config.run_dir / "oof.csv")) == 20
    make_run(config, table, truth_NC)
    score.run(config, partial=True)
    assert read(config)["partial"] is False


def test_every_defect_is_listed(config: Config, table: FoldTable, truth_NC: np.ndarray) -> None:
    made = make_run(config, table, truth_NC)
    folder = config.run_dir
    swapped = np.where(made[0].ids == made[0].ids[0], table.valid_ids(1)[0], made[0].ids)
    dataclasses.replace(made[0], ids=swapped).save(folder / "fold0/valid.npz")
    dataclasses.replace(made[1], meta={**made[1].meta, "fold_hash": "f" * 64}).save(folder / "fold1/valid.npz")
    dataclasses.replace(made[2], classes=("dog", "cat", "eel")).save(folder / "fold2/valid.npz")
    other = Predictions.load(folder / "fold2/test.npz")
    dataclasses.replace(other, ids=np.array([*other.ids[:-1], "0999"])).save(folder / "fold2/test.npz")
    with pytest.raises(MismatchError) as error:
        score.run(config)
    text = "\n".join(error.value.lines)
    assert f"lacks 1 ids that are in fold 0 (first '{made[0].ids[0]}')" in text
    assert f"(first '{table.valid_ids(1)[0]}', which its model was trained on)" in text
    assert f"made on folds ffffffffffff, the fold table is {table.fold_hash[:12]}" in text
    assert "[dog, cat, eel]" in text and "[cat, dog, eel]" in text
    assert "(first '0999')" in text
    assert error.value.exit_code == 3
    assert not (folder / "oof.csv").exists() and not (folder / "scores.json").exists()


def test_unpredicted_view_names_the_remedy(config: Config, table: FoldTable, truth_NC: np.ndarray) -> None:
    make_run(config, table, truth_NC, views=("identity",))
    with pytest.raises(MismatchError, match="views not predicted: hflip; predict them with: foldline predict"):
        score.run(config)


def test_labels_outside_the_classes(config: Config, table: FoldTable, truth_NC: np.ndarray) -> None:
    make_run(config, table, truth_NC, classes=("cat", "dog", "emu"))
    with pytest.raises(MismatchError, match="label is 'eel', expected one of cat, dog, emu"):
        score.run(config)


def test_keep_best_reports_the_last_epoch_too(
    tmp_path: Path, table: FoldTable, truth_NC: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    best = make_config(tmp_path, metric="log_loss", train__keep="best")
    make_run(best, table, truth_NC)
    with pytest.raises(MismatchError, match=r"last/fold0/valid.npz: missing"):
        score.run(best)
    make_run(best, table, truth_NC, folder=best.run_dir / "last", seed=1, test=False)
    score.run(best)
    report = read(best)
    assert report["selected_on_valid"] is True
    assert report["last_epoch"]["views"] == ["identity", "hflip"]
    assert report["last_epoch"]["mean"] != report["variants"]["tta"]["mean"]
    assert "chosen on these rows" in capsys.readouterr().out


def test_holdout_rows_of_fold_minus_one_are_never_scored(config: Config) -> None:
    table = make_folds(config, pets())
    holdout = dataclasses.replace(table, fold=np.where(table.fold == 0, 0, -1))
    fold_table.write(config, holdout, {"fold_hash": holdout.fold_hash})
    truth_NC = np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]
    make_run(config, holdout, truth_NC)
    score.run(config)
    assert read(config)["folds"] == [0]
    assert read_text_table(config.run_dir / "oof.csv")["id"].tolist() == table.valid_ids(0).tolist()


def test_multilabel_columns(tmp_path: Path) -> None:
    config = make_config(
        tmp_path,
        metric="f1_macro",
        data__task="multilabel",
        data__target=["cat", "dog"],
        loss__name="binary_cross_entropy",
    )
    cells = np.random.default_rng(0).integers(0, 2, (30, 2))
    cells[:, 1] = 0  # absent everywhere: undefined scores are null, not a crash
    table = make_folds(config, pd.DataFrame(cells.astype(str), columns=["cat", "dog"]))
    make_run(config, table, cells.astype(float), classes=("cat", "dog"), single_label=False)
    score.run(config)
    report = read(config)
    assert set(report["metrics"]) == {"f1_macro", "f1_micro", "log_loss", "roc_auc", "mean_column_auc"}
    assert report["per_class"]["dog"]["auc"] is None and report["per_class"]["dog"]["recall"] is None
    oof = read_text_table(config.run_dir / "oof.csv")
    assert set(oof["target"]) == {"", "cat"}


def test_command_line_without_torch(config: Config, table: FoldTable, truth_NC: np.ndarray, tmp_path: Path) -> None:
    make_run(config, table, truth_NC)
    (tmp_path / "config.yaml").write_text(dump(config))
    done = command("score", "-c", tmp_path / "config.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "log_loss (lower is better), OOF, 3 folds" in done.stdout
    (config.run_dir / "fold0" / "valid.npz").write_bytes(b"PK")
    done = command("score", "-c", tmp_path / "config.yaml")
    assert done.returncode == 3
    assert "damaged" in done.stderr

"""Runs that keep the most probable classes alone say what runs that keep all of them say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic import TEST_IDS, make_config, make_folds, make_sample

from pipeline.blending import stage as ensemble
from pipeline.checking import stage as check
from pipeline.competition import labels
from pipeline.config import loading as configs
from pipeline.config.config import Config
from pipeline.errors import InputError, MismatchError
from pipeline.files.atomic import write_text
from pipeline.files.tables import read_text_table
from pipeline.folds import stage as folds
from pipeline.folds.fold_table import FoldTable
from pipeline.methods import topk
from pipeline.prediction import stage as predict
from pipeline.prediction.predictions import Predictions
from pipeline.report import stage as report
from pipeline.scoring import diff
from pipeline.scoring import stage as score
from pipeline.training import stage as train

CLASSES = tuple(f"species {c:02d}" for c in range(30))
VIEWS = ("identity", "hflip")
ROWS, KEPT = 120, 12
SHARED = np.random.default_rng(99).normal(size=(len(CLASSES), len(CLASSES)))  # which classes are taken for which


def base(folder: Path, **changes: Any) -> tuple[Config, FoldTable, np.ndarray]:
    config = make_config(folder, **{"metric": "map@5", "predict__top_k": KEPT, **changes})
    truth_N = np.arange(ROWS) // 3 % len(CLASSES)
    table = make_folds(config, pd.DataFrame({"label": np.asarray(CLASSES)[truth_N]}))
    make_sample(config, "id,label\n" + "".join(f"{name},x\n" for name in TEST_IDS))
    return config, table, truth_N


def add(config: Config, table: FoldTable, truth_N: np.ndarray, name: str, top: int | None, seed: int) -> Config:
    """Write a run whose views see the truth through noise, all of its classes or the most probable ones.

    Models mistake the same classes: what one leaves out is far down with all others, too.
    """
    run, rng = config.model_copy(update={"run": name}), np.random.default_rng(seed)
    write_text(run.run_dir / "config.yaml", configs.dump(run))
    for fold in range(table.n):
        rows = rng.permutation(np.flatnonzero(table.fold == fold))
        order = rng.permutation(len(TEST_IDS))
        parts = (("valid", table.ids[rows], truth_N[rows]), ("test", TEST_IDS[order], 5 * order))
        for part, ids, truth in parts:
            logits = SHARED[truth][:, None] + 0.2 * rng.normal(size=(len(ids), len(VIEWS), len(CLASSES)))
            logits[np.arange(len(ids)), :, truth] += rng.uniform(0, 3, (len(ids), 1))
            probs_NVC = np.exp(2 * logits)
            probs_NVC = (probs_NVC / probs_NVC.sum(-1, keepdims=True)).astype(np.float32)
            meta = {"run": name, "fold": fold, "fold_hash": table.fold_hash, "task": "multiclass"}
            made = Predictions(ids, VIEWS, CLASSES, probs_NVC, meta)
            shortened(made, top).save(run.run_dir / f"fold{fold}/{part}.npz")
    return run


def shortened(made: Predictions, top: int | None) -> Predictions:
    if top is None:
        return made
    kept = [topk.top(made.view(view), top) for view in made.views]
    columns_NVK, values_NVK = (np.stack([getattr(one, name) for one in kept], axis=1) for name in topk.FIELDS)
    return Predictions(made.ids, made.views, made.classes, values_NVK, made.meta, columns_NVK)


def blended(config: Config, members: list[str], name: str, **changes: Any) -> tuple[Path, dict[str, Any]]:
    asked = config.ensemble.model_copy(update={"members": members, **changes})
    config = config.model_copy(update={"run": name, "ensemble": asked})
    ensemble.run(config)
    return config.run_dir, json.loads((config.run_dir / "ensemble.json").read_text())


@pytest.mark.parametrize("cell", ["label", "class_id", "top"])
def test_scores_and_submissions_are_those_of_all_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str
) -> None:
    config, table, truth_N = base(tmp_path, submission__cell=cell)
    made = {}
    for kind, top in (("all", None), ("some", KEPT)):
        if kind == "some":
            monkeypatch.setattr(labels, "MOST_CELLS", 0)
            monkeypatch.setattr(topk.Top, "__array__", spread)
        runs = [add(config, table, truth_N, f"{kind}{m}", top, seed=m) for m in range(2)]
        for run in runs:
            score.run(run)
        folder, found = blended(config, [run.run_dir.name for run in runs], f"blend-{kind}", compare=["mean"])
        scores = json.loads((runs[0].run_dir / "scores.json").read_text())
        made[kind] = (scores, found, read_text_table(folder / "submission.csv"), runs[0].run_dir)
    (all_scores, all_blend, all_rows, _), (scores, blend, rows, folder) = made["all"], made["some"]
    pd.testing.assert_frame_equal(rows, all_rows)
    for variant in ("plain", "tta"):
        assert scores["variants"][variant]["per_fold"] == pytest.approx(all_scores["variants"][variant]["per_fold"])
        assert blend["variants"][variant]["mean"] == pytest.approx(all_blend["variants"][variant]["mean"])
    log_loss = all_scores["metrics"]["log_loss"]["mean"]  # what is left out has no share of its own
    for name in ("accuracy", "f1_macro", "balanced_accuracy"):
        assert scores["metrics"][name]["mean"] == pytest.approx(all_scores["metrics"][name]["mean"])
    assert scores["metrics"]["log_loss"]["mean"] == pytest.approx(log_loss, abs=0.1)
    assert "roc_auc" in scores["left_out"] and "roc_auc" not in scores["metrics"]
    assert scores["per_class"]["species 03"]["f1"] == pytest.approx(all_scores["per_class"]["species 03"]["f1"])
    own, other = (found["comparison"]["blenders"]["mean"] for found in (blend, all_blend))
    assert own["interval"] == pytest.approx(other["interval"])
    assert blend["correlation"][0][1] == pytest.approx(all_blend["correlation"][0][1], abs=0.02)
    brings, others = (list(found["leave_one_out"]["members"].values()) for found in (blend, all_blend))
    assert brings == pytest.approx(others)
    assert blend["variants"]["plain_smoothed"]["equal_to"] == "plain"
    oof = read_text_table(folder / "oof.csv")
    assert oof.columns.tolist() == [
        "id",
        "fold",
        "target",
        *(f"{what}{k}" for k in range(1, 6) for what in ("top", "p")),
    ]
    right = (oof["target"] == oof["top1"]).groupby(oof["fold"]).mean()
    assert right.tolist() == pytest.approx(scores["metrics"]["accuracy"]["per_fold"])


def spread(*_: object) -> np.ndarray:
    raise AssertionError("a cell per class was made")


def test_a_new_class_is_a_constant_that_is_fitted(tmp_path: Path) -> None:
    config, table, truth_N = base(tmp_path, decision__new_class=CLASSES[0])
    found = {}
    for kind, top in (("all", None), ("some", KEPT)):
        add(config, table, truth_N, kind, top, seed=3)
        folder, blend = blended(config, [kind], f"blend-{kind}")
        found[kind] = (blend["decision"]["params"]["tta"], blend["variants"]["tta"]["mean"], folder)
    assert found["some"][0] == found["all"][0]
    assert found["some"][1] == pytest.approx(found["all"][1])
    rows = [
        read_text_table(folder / "submission.csv")["label"].str.split(" ").str[:1].tolist()
        for *_, folder in found.values()
    ]
    assert rows[0] == rows[1]


def test_one_column_per_class_holds_the_rest_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, table, truth_N = base(tmp_path, metric="log_loss")
    make_sample(config, f"id,{','.join(CLASSES)}\n" + "".join(f"{name},{'0,' * 29}0\n" for name in TEST_IDS))
    add(config, table, truth_N, "some", KEPT, seed=1)
    folder, _ = blended(config, ["some"], "blend")
    rows = read_text_table(folder / "submission.csv").iloc[:, 1:].astype(float).to_numpy()
    assert rows.sum(1) == pytest.approx(1, abs=1e-6)
    assert all(len(np.unique(row)) == KEPT + 1 for row in rows)
    monkeypatch.setattr("pipeline.submission.filling.MOST_CELLS", 100)
    with pytest.raises(InputError, match="wants 5 × 30 cells"):
        blended(config, ["some"], "other")


def test_what_needs_every_class_is_refused(tmp_path: Path) -> None:
    config, table, truth_N = base(tmp_path)
    for name, top, seed in (("some", KEPT, 1), ("all", None, 2), ("fewer", 5, 3)):
        add(config, table, truth_N, name, top, seed)
    with pytest.raises(MismatchError, match=r"all: keeps all classes of a row, some the 12 most probable classes"):
        blended(config, ["some", "all"], "blend")
    with pytest.raises(MismatchError, match="fewer: keeps the 5 most probable classes"):
        blended(config, ["some", "fewer"], "blend")
    with pytest.raises(InputError, match=r"ensemble\.blender: found 'geometric_mean', set mean"):
        blended(config, ["some"], "blend", blender="geometric_mean")
    with pytest.raises(InputError, match="metric: found 'roc_auc', but predictions keep the 12 most probable"):
        score.run(config.model_copy(update={"run": "some", "metric": "roc_auc"}))
    files = sorted((config.run_dir.parent / "some").glob("fold*/valid.npz"))
    shortened(Predictions.load(config.run_dir.parent / "all" / "fold0" / "valid.npz"), 3).save(files[0])
    with pytest.raises(MismatchError, match=r"keeps the 12 most probable classes of a row, .* the 3 most probable"):
        score.run(config.model_copy(update={"run": "some"}))


def test_two_runs_are_compared_on_what_they_keep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, table, truth_N = base(tmp_path)
    leads = []
    for kind, top in (("all", None), ("some", KEPT)):
        names = [add(config, table, truth_N, f"{kind}{m}", top, seed=m).run_dir.name for m in range(2)]
        leads.append(diff.run(names, Path(config.runs_dir)).lead)
    assert leads[0] == pytest.approx(leads[1])
    folder, _ = blended(config, ["some0", "some1"], "blend")
    with pytest.raises(MismatchError, match="compare the runs that were blended"):
        diff.run([folder.name, "some0"], Path(config.runs_dir))


@pytest.fixture
def trained(competition: Path) -> Config:
    """Return a config of the three shapes whose first fold is trained."""
    config = configs.load([competition / "config.yaml"], ["metric=map@2", "tta=[identity,hflip]"])
    check.run(config, images=False)
    folds.run(config)
    return config


def test_the_stages_keep_what_all_classes_begin_with(trained: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    some = trained.model_copy(update={"run": "some", "predict": trained.predict.model_copy(update={"top_k": 2})})
    for config in (trained, some):
        if config is some:
            monkeypatch.setattr(labels, "MOST_CELLS", 0)
        train.run(config, [0])
        predict.run(config)
    curves = [pd.read_csv(config.run_dir / "fold0/epochs.csv") for config in (trained, some)]
    for column in ("train_loss", "valid_loss", "valid_metric"):
        np.testing.assert_allclose(curves[1][column], curves[0][column], rtol=1e-5)
    for part in ("valid", "test"):
        whole, kept = (Predictions.load(config.run_dir / f"fold0/{part}.npz") for config in (trained, some))
        assert kept.kept == 2
        for view in ("identity", "hflip"):
            expected, found = topk.top(whole.view(view), 2), kept.tops([view])[0]
            assert found.columns_NK.tolist() == expected.columns_NK.tolist()
            np.testing.assert_allclose(found.values_NK, expected.values_NK, atol=1e-6)
    score.run(some, partial=True)
    report.run(some)
    text = (some.run_dir / "report.html").read_text()
    assert "Confusion" in text and "Confidently wrong" in text and "Left out" not in text
    before = (some.run_dir / "fold0/valid.npz").read_bytes()
    predict.run(some.model_copy(update={"tta": ["identity", "hflip", "vflip"]}))
    again = Predictions.load(some.run_dir / "fold0/valid.npz")
    assert again.views == ("identity", "hflip", "vflip") and again.kept == 2
    assert before != (some.run_dir / "fold0/valid.npz").read_bytes()


def test_new_images_get_their_most_probable_classes(trained: Config, tmp_path: Path) -> None:
    from pipeline.prediction.new_images import predict_new

    train.run(trained, [0])
    tables = {}
    for kind, settings in (("all", []), ("some", ["predict.top_k=2"])):
        out = tmp_path / kind / "predictions.csv"
        predict_new(trained.run_dir, None, out, settings)
        tables[kind] = (pd.read_csv(out, dtype={"id": str}), (out.parent / "submission.csv").read_bytes())
    (whole, rows), (some, some_rows) = tables["all"], tables["some"]
    assert some.columns.tolist() == ["id", "top1", "p1", "top2", "p2"]
    probs = whole.drop(columns="id")
    assert some["top1"].tolist() == probs.idxmax(axis=1).tolist()
    np.testing.assert_allclose(some["p1"], probs.max(axis=1), rtol=1e-6)
    assert some_rows == rows


def test_check_refuses_a_metric_that_needs_every_class(trained: Config) -> None:
    asked = {"metric": "roc_auc", "predict": trained.predict.model_copy(update={"top_k": 2})}
    with pytest.raises(InputError, match="metric: found 'roc_auc'"):
        check.run(trained.model_copy(update=asked), images=False)

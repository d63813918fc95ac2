"""What a blend decides: fitted on OOF, evaluated on other folds, written in the submission."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic import CLASSES, TEST_IDS, make_config, make_folds, make_sample

from pipeline.blending import stage as ensemble
from pipeline.config.config import Config
from pipeline.config.loading import dump
from pipeline.files.atomic import write_text
from pipeline.files.tables import read_text_table
from pipeline.methods.metrics import find
from pipeline.methods.postprocessing.decisions import DECISIONS, Rules
from pipeline.methods.resampling import mean_of_folds
from pipeline.prediction.predictions import Predictions
from pipeline.scoring import leaderboard, ledger
from pipeline.scoring import stage as score

ROWS = 300
MULTILABEL = {"data__task": "multilabel", "data__separator": " ", "loss__name": "binary_cross_entropy"}
VALUES = {"data__task": "regression", "loss__name": "mse", "data__target": "label"}


def made(
    folder: Path,
    targets: pd.DataFrame,
    probs_NC: np.ndarray,
    test_TC: np.ndarray,
    classes: tuple[str, ...] = CLASSES,
    **changes: Any,
) -> tuple[Config, dict[str, Any], list[str]]:
    """Write a run of one view, blend it; return its config, ensemble.json and the submission's cells."""
    config = make_config(folder, tta=["identity"], **changes)
    make_sample(config)
    table = make_folds(config, targets)
    write_text(config.run_dir / "config.yaml", dump(config))
    for fold in range(table.n):
        meta = {"run": "pets", "fold": fold, "fold_hash": table.fold_hash, "task": config.data.task}
        rows = np.flatnonzero(table.fold == fold)
        for part, ids, cells in (("valid", table.ids[rows], probs_NC[rows]), ("test", TEST_IDS, test_TC)):
            found = Predictions(ids, ("identity",), classes, cells[:, None].astype(np.float32), meta)
            found.save(config.run_dir / f"fold{fold}/{part}.npz")
    ensemble.run(config)
    report = json.loads((config.run_dir / "ensemble.json").read_text())
    return config, report, read_text_table(config.run_dir / "submission.csv")["label"].tolist()


def many(rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return labels, and probabilities whose scale differs from class to class."""
    hits_NC = rng.random((ROWS, 3)) < (0.3, 0.3, 0.3)
    logits_NC = np.array([-3.0, 0.0, 3.0]) + 4 * (hits_NC - 0.5) + rng.normal(size=hits_NC.shape)
    texts = [" ".join(name for name, hit in zip(CLASSES, row, strict=True) if hit) for row in hits_NC]
    return pd.DataFrame({"label": texts}), hits_NC, 1 / (1 + np.exp(-logits_NC))


def test_thresholds_are_used_where_they_help_significantly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    targets, hits_NC, probs_NC = many(np.random.default_rng(0))
    test_TC = np.array([[0.2, 0.2, 0.2], [0.01, 0.7, 0.9], [0.3, 0.3, 0.99], [0.01, 0.01, 0.5], [0.6, 0.6, 0.6]])
    config, report, cells = made(tmp_path, targets, probs_NC, test_TC, **MULTILABEL, metric="f1_macro")
    found = report["decision"]
    assert found["chosen"] == "thresholds" and list(found["candidates"]) == ["plain", "threshold", "thresholds"]
    used = found["candidates"]["thresholds"]
    low, mid, high = used["params"]["thresholds"]
    assert low < 0.3 < mid < 0.7 < high and len(used["by_part"]) == 3
    assert report["variants"]["tta"]["mean"] == pytest.approx(used["cross_fitted"])
    assert used["over_plain"]["interval"][0] > 0 and used["gap"] >= 0
    expected = [" ".join(np.array(CLASSES)[row >= used["params"]["thresholds"]]) for row in test_TC]
    assert cells == expected and cells[0] == "cat"
    score.run(config)
    undecided = json.loads((config.run_dir / "scores.json").read_text())["variants"]["tta"]["mean"]
    assert undecided == pytest.approx(found["candidates"]["plain"]["cross_fitted"])
    assert used["cross_fitted"] > undecided + 0.1
    out = capsys.readouterr().out
    assert "decision: thresholds 0." in out and "over plain: used" in out and "over plain: not used" in out
    leaderboard.add(Path(config.runs_dir), "pets")
    (entry,) = ledger.read(Path(config.runs_dir))
    assert (entry.cv, entry.cross_fitted) == (pytest.approx(used["in_sample"]), pytest.approx(used["cross_fitted"]))
    # cross-fitting by hand: each fold by what the other folds say
    fold_N = np.arange(ROWS) % 3
    decided_NC = np.concatenate([probs_NC[fold_N == k] >= used["by_part"][k]["thresholds"] for k in range(3)])
    truth_NC = np.concatenate([hits_NC[fold_N == k] for k in range(3)]).astype(float)
    scores = [
        find("f1_macro").score(truth_NC[k * 100 : k * 100 + 100], decided_NC[k * 100 : k * 100 + 100] * 1.0, False)
        for k in range(3)
    ]
    assert np.mean(scores) == pytest.approx(used["cross_fitted"], abs=1e-6)


def test_noise_is_not_decided_upon(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    hit_N = rng.random(ROWS) < 0.5
    positive_N = 1 / (1 + np.exp(-(3 * (hit_N - 0.5) + rng.normal(size=ROWS))))
    probs_NC = np.stack([1 - positive_N, positive_N], 1)
    table = pd.DataFrame({"label": np.where(hit_N, "dog", "cat")})
    changes = {"data__task": "binary", "metric": "accuracy"}
    _, report, cells = made(tmp_path, table, probs_NC, probs_NC[:5], ("cat", "dog"), **changes)
    assert report["decision"]["chosen"] == "plain" and report["decision"]["params"] == {}
    assert report["decision"]["candidates"]["threshold"]["gap"] > 0
    assert cells == [CLASSES[c] for c in probs_NC[:5].argmax(1)]


def test_a_large_table_is_searched_on_some_of_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.blending.postprocessing.MOST_CELLS", ROWS)
    targets, hits_NC, probs_NC = many(np.random.default_rng(0))
    asked = {**MULTILABEL, "metric": "f1_macro", "decision__kind": "threshold"}
    config, report, _ = made(tmp_path, targets, probs_NC, probs_NC[:5], **asked)
    found = report["decision"]["candidates"]["threshold"]
    truth_NC = hits_NC.astype(float)
    step = DECISIONS["threshold"](Rules())
    shown = np.sort(np.random.default_rng(config.ensemble.seed).choice(ROWS, ROWS // 3, replace=False))

    def score(decided_NC: np.ndarray) -> float:
        fold_N = (np.arange(ROWS) % 3)[shown]
        return mean_of_folds(find("f1_macro"), truth_NC[shown], decided_NC, False, fold_N)

    probs_NC = probs_NC.astype(np.float32).astype(np.float64)
    assert found["params"] == step.fit(truth_NC[shown], probs_NC[shown], False, score)


def test_rules_hold_in_the_submission_and_in_its_score(tmp_path: Path) -> None:
    targets, _, probs_NC = many(np.random.default_rng(0))
    asked = {**MULTILABEL, "metric": "f1_micro", "decision__kind": "plain", "decision__max_labels": 1}
    _, report, cells = made(tmp_path, targets, probs_NC, probs_NC[:5], **asked, decision__min_labels=1)
    assert all(len(cell.split()) == 1 for cell in cells)
    one_NC = np.eye(3)[probs_NC.argmax(1)]
    truth_NC = np.array([[name in text for name in CLASSES] for text in targets["label"]], dtype=float)
    folds = [find("f1_micro").score(truth_NC[k::3], one_NC[k::3], False) for k in range(3)]
    assert report["variants"]["plain"]["mean"] == pytest.approx(np.mean(folds))


def test_cut_points_for_kappa(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grade_N = rng.choice(4, ROWS, p=[0.5, 0.2, 0.2, 0.1])
    place_N = np.clip(grade_N * 0.55 + rng.normal(size=ROWS) * 0.12, 0, 2.99)  # expected grades are pulled down
    low_N = place_N.astype(int)
    probs_NC = (
        np.eye(4)[low_N] * (1 - place_N % 1)[:, None] + np.eye(4)[(low_N + 1).clip(max=3)] * (place_N % 1)[:, None]
    )
    names = ("0", "1", "2", "3")
    test_TC = np.eye(4)[[0, 1, 2, 3, 0]]
    changes = {"data__task": "ordinal", "metric": "quadratic_weighted_kappa"}
    _, report, cells = made(tmp_path, pd.DataFrame({"label": grade_N.astype(str)}), probs_NC, test_TC, names, **changes)
    found = report["decision"]
    assert found["chosen"] == "cuts" and cells[0] == "0" and cells[2] == "3"
    np.testing.assert_allclose(found["params"]["tta"]["cuts"], [0.275, 0.825, 1.375], atol=0.15)
    assert report["variants"]["tta"]["mean"] > found["candidates"]["plain"]["cross_fitted"] + 0.1


def test_values_are_blended_clipped_and_never_smoothed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    value_N = rng.uniform(1, 100, ROWS)
    guess_NC = (value_N + 30 * rng.normal(size=ROWS))[:, None]
    test_TC = np.array([[-20.0], [1.5], [50.0], [100.0], [130.0]])
    changes = {**VALUES, "metric": "rmse", "data__range": [1, 100]}
    table = pd.DataFrame({"label": value_N.astype(str)})
    config, report, cells = made(tmp_path, table, guess_NC, test_TC, ("label",), **changes)
    assert [float(cell) for cell in cells] == [1, 1.5, 50, 100, 100]
    assert report["decision"]["chosen"] == "plain" and report["smoothing"] is None
    means = {name: variant["mean"] for name, variant in report["variants"].items()}
    assert len(set(means.values())) == 1 and report["variants"]["tta_smoothed"]["equal_to"] == "plain"
    score.run(config)
    undecided = json.loads((config.run_dir / "scores.json").read_text())["variants"]["tta"]["mean"]
    assert means["tta"] < undecided - 1
    members = config.ensemble.model_copy(update={"members": ["pets", "other"], "blender": "auto"})
    other = config.model_copy(update={"run": "other"})
    for fold in range(3):
        found = Predictions.load(config.run_dir / f"fold{fold}/valid.npz")
        rows = np.array([int(name) for name in found.ids])
        better = (value_N[rows] + 5 * rng.normal(size=len(rows)))[:, None, None].astype(np.float32)
        Predictions(found.ids, found.views, found.classes, better, found.meta).save(
            other.run_dir / f"fold{fold}/valid.npz"
        )
        Predictions.load(config.run_dir / f"fold{fold}/test.npz").save(other.run_dir / f"fold{fold}/test.npz")
    write_text(other.run_dir / "config.yaml", dump(other))
    blend = config.model_copy(update={"run": "blend", "ensemble": members})
    ensemble.run(blend)
    report = json.loads((blend.run_dir / "ensemble.json").read_text())
    assert set(report["comparison"]["blenders"]) == {"mean", "nelder_mead", "greedy", "greedy_bagged"}
    assert report["blender"] != "mean" and report["weights"]["other"] > 0.9
    assert report["variants"]["tta"]["mean"] < 6


def test_a_probability_becomes_a_decision_for_the_probabilistic_f1(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hit_N = rng.random(ROWS) < 0.15
    positive_N = 1 / (1 + np.exp(3 - 4 * hit_N - rng.normal(size=ROWS)))
    probs_NC = np.stack([1 - positive_N, positive_N], 1)
    table = pd.DataFrame({"label": hit_N.astype(int).astype(str)})
    test_TC = np.array([[0.99, 0.01], [0.3, 0.7], [0.1, 0.9], [0.98, 0.02], [0.97, 0.03]])
    changes = {"data__task": "binary", "metric": "probabilistic_f1", "submission__cell": "probability"}
    _, report, cells = made(tmp_path, table, probs_NC, test_TC, ("0", "1"), **changes)
    assert report["decision"]["chosen"] == "threshold"
    assert [float(cell) for cell in cells] == [0, 1, 1, 0, 0]
    assert report["variants"]["tta"]["mean"] > report["decision"]["candidates"]["plain"]["cross_fitted"] + 0.05


def test_where_nothing_can_be_decided_nothing_changes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    label_N = rng.integers(0, 3, ROWS)
    probs_NC = rng.dirichlet(np.ones(3), ROWS)
    table = pd.DataFrame({"label": np.array(CLASSES)[label_N]})
    _, report, cells = made(tmp_path, table, probs_NC, probs_NC[:5])
    assert report["decision"] is None
    assert cells == [CLASSES[c] for c in probs_NC[:5].argmax(1)]

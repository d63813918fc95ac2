"""What a blend decides on OOF: blender, views, calibration, smoothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from blends import ROWS, add, base, blended, memory, numbers, probabilities
from synthetic import CLASSES, TEST_IDS, command, make_config, make_folds, make_run, make_sample

from pipeline.blending import stage as ensemble
from pipeline.blending.blend import blend
from pipeline.blending.comparison import compare, correlation, leave_one_out
from pipeline.config.config import Config
from pipeline.config.loading import dump
from pipeline.errors import InputError, MismatchError
from pipeline.files.tables import read_text_table
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.blenders import BLENDERS, Fit, Objective
from pipeline.methods.blenders.blender import Members
from pipeline.methods.metrics import METRICS
from pipeline.methods.postprocessing.calibration import CALIBRATIONS
from pipeline.methods.tasks import TASKS
from pipeline.prediction.predictions import Predictions
from pipeline.scoring import stage as score
from pipeline.scoring.evaluation import Evaluator


def test_slow_searches_are_left_out_of_a_large_comparison_unless_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, table, truth_NC = base(tmp_path, metric="accuracy")
    for seed in range(2):
        add(config, table, truth_NC, f"m{seed}", {"identity": 1.0}, seed=seed)
    limit = 60 * 2 * ROWS * 3 * (table.n + 1)  # greedy scores 50 blends a member, the other searches more
    for place in ("comparison", "variants"):
        monkeypatch.setattr(f"pipeline.blending.{place}.MOST_SCORED", limit)
    _, report = blended(config, "m0", "m1", blender="greedy_negative")
    slow = ["nelder_mead", "greedy_bagged"]
    assert report["comparison"]["left_out"] == slow
    assert set(report["comparison"]["blenders"]) == set(BLENDERS) - set(slow)
    assert not report["leave_one_out"]["refitted"]
    out = capsys.readouterr().out
    assert "left out, as slow on so many members and rows: nelder_mead, greedy_bagged\n" in out
    asked = out.split("--set ensemble.compare=[")[1].split("]")[0].split(",")
    assert set(asked) == set(BLENDERS)
    _, report = blended(config, "m0", "m1", compare=["nelder_mead"])
    assert report["comparison"]["left_out"] == [] and "nelder_mead" in report["comparison"]["blenders"]


def test_views_are_weighted_only_where_that_significantly_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, table, truth_NC = base(tmp_path)
    add(config, table, truth_NC, "harmful", {"identity": 3.0, "hflip": 0.0, "vflip": 0.0})
    add(config, table, truth_NC, "equal", {"identity": 1.0, "hflip": 1.0}, seed=1)
    made, report = blended(config, "harmful", "equal", views="select", compare=["mean"])
    harmful, equal = report["views"]["harmful"], report["views"]["equal"]
    assert harmful["weighted"] and harmful["weights"]["identity"] > 0.8
    assert not equal["weighted"]
    out = capsys.readouterr().out
    assert "views of harmful: identity" in out and "over their mean: not used" in out
    assert report["comparison"]["members"]["harmful"] == pytest.approx(harmful["cross_fitted"])
    before = Config.model_validate({**made.model_dump(), "run": "plain"})
    ensemble.run(before.model_copy(update={"ensemble": before.ensemble.model_copy(update={"views": "all"})}))
    unweighted = json.loads((before.run_dir / "ensemble.json").read_text())
    assert report["variants"]["tta"]["mean"] < unweighted["variants"]["tta"]["mean"] - 0.05
    assert report["variants"]["plain"] == unweighted["variants"]["plain"]
    tests = [np.mean([fold.probs_NVC for fold in folds(config, table, name)], 0) for name in ("harmful", "equal")]
    weighted_TC = np.einsum("tvc,v->tc", tests[0], list(harmful["weights"].values()))
    expected = (weighted_TC + tests[1].mean(1)) / 2
    np.testing.assert_allclose(numbers(made.run_dir / "blend.csv"), expected, atol=1e-6)


def folds(config: Config, table: FoldTable, run: str) -> list[Predictions]:
    return [Predictions.load(Path(config.runs_dir) / run / f"fold{fold}/test.npz") for fold in range(table.n)]


def test_overconfident_members_are_calibrated_and_calibrated_ones_left(tmp_path: Path) -> None:
    config, table, truth_NC = base(tmp_path)
    add(config, table, truth_NC, "sharp", {"identity": 1.0}, sharp=5.0)
    _, plain = blended(config, "sharp")
    made, report = blended(config, "sharp", calibrate="auto")
    found = report["calibration"]
    assert found["chosen"] == "temperature" and found["numbers"]["tta"] > 2
    assert report["variants"]["tta"]["mean"] == pytest.approx(found["candidates"]["temperature"]["cross_fitted"])
    assert report["variants"]["tta"]["mean"] < plain["variants"]["tta"]["mean"] - 0.5
    assert list(report["variants"]) == ["plain", "tta", "plain_smoothed", "tta_smoothed"]
    np.testing.assert_allclose(numbers(made.run_dir / "blend.csv").sum(1), 1)
    softest = numbers(made.run_dir / "submissions/tta.csv").max()
    assert softest < 0.99 and report["smoothing"] is None
    add(config, table, truth_NC, "fit", {"identity": 1.0})
    _, report = blended(config, "fit", calibrate="auto", smoothing=config.ensemble.smoothing)
    assert report["calibration"]["chosen"] in ("none", "temperature")
    _, report = blended(config, "fit", calibrate="clip")
    assert report["calibration"]["chosen"] == "clip"


def test_what_is_tried_is_fitted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, table, truth_NC = base(tmp_path)
    add(config, table, truth_NC, "sharp", {"identity": 1.0}, sharp=5.0)
    temperature, fits = CALIBRATIONS["temperature"], []

    def fit(*arguments: Any) -> float:
        fits.append(len(arguments[0]))
        return temperature.fit(*arguments)

    monkeypatch.setitem(CALIBRATIONS, "temperature", replace(temperature, fit=fit))
    _, report = blended(config, "sharp", calibrate="temperature")
    assert report["calibration"]["numbers"]["plain"] == report["calibration"]["numbers"]["tta"] > 2
    assert len(fits) == 2 * (1 + table.n)  # of plain and tta each: on all rows, and without each fold


def test_alpha_is_chosen_where_smoothing_significantly_helps(tmp_path: Path) -> None:
    config, table, truth_NC = base(tmp_path)
    auto = config.ensemble.smoothing.model_copy(update={"alpha": "auto"})
    add(config, table, truth_NC, "sharp", {"identity": 1.5}, sharp=8.0)
    _, report = blended(config, "sharp", smoothing=auto)
    assert report["smoothing"]["chosen"] == "smoothing"
    assert report["variants"]["tta_smoothed"]["alpha"] == report["smoothing"]["numbers"]["tta"] > 0.01
    assert report["variants"]["tta"]["mean"] - report["variants"]["tta_smoothed"]["mean"] > 0.2
    add(config, table, truth_NC, "soft", {"identity": 1.5}, sharp=0.5)
    _, report = blended(config, "soft", smoothing=auto)
    assert report["smoothing"]["chosen"] == "none" and report["variants"]["tta_smoothed"]["alpha"] == 0.001


def test_one_run_is_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, table, truth_NC = base(tmp_path)
    add(config, table, truth_NC, "m0", {"identity": 1.0})
    _, report = blended(config, "m0", blender="auto")
    assert report["blender"] == "mean" and "comparison" not in report
    assert len(capsys.readouterr().out.splitlines()) == 8  # with the best constant


def test_members_are_not_copied_to_blend_them() -> None:
    probs_MNC, shown = np.full((2, 6, 3), 1 / 3), list[np.ndarray]()
    evaluator = Evaluator(METRICS["log_loss"], True, np.eye(3)[np.arange(6) % 3], np.arange(6) % 2, np.full(6, ""), 0)

    def look(members: Members, objective: Objective) -> Fit:
        shown.extend(members.members)
        return Fit(np.full(2, 0.5))

    blend(replace(BLENDERS["mean"], fitter=look), memory(probs_MNC), evaluator)
    assert len(shown) == 2 * 3 and all(map(np.shares_memory, shown, [*probs_MNC] * 3))


def test_correlation_and_a_large_stack_without_refits(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth_NC = np.eye(3)[np.arange(ROWS) % 3]
    first = probabilities(rng, truth_NC, 1.0).astype(np.float64)
    probs_MNC = np.stack([first, first, probabilities(rng, truth_NC, 0.0)])
    fold_N = np.arange(ROWS) % 4
    evaluator = Evaluator(METRICS["log_loss"], True, truth_NC, fold_N, np.full(ROWS, ""), 0)
    members = memory(probs_MNC)
    found = np.array(correlation(members))
    expected = np.corrcoef((probs_MNC - probs_MNC.mean(1, keepdims=True)).reshape(3, -1))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    _, blends, _ = compare("greedy", ["logistic"], members, evaluator)
    refitted = leave_one_out("greedy", blends["greedy"], members, evaluator)
    monkeypatch.setattr("pipeline.blending.comparison.REFIT_CELLS", 0)
    shared = leave_one_out("greedy", blends["greedy"], members, evaluator)
    assert refitted["refitted"] and not shared["refitted"]
    assert set(leave_one_out("logistic", blends["logistic"], members, evaluator)["members"].values()) == {None}
    # A twin is worth nothing.
    assert refitted["members"]["m0"] == pytest.approx(0, abs=1e-9)
    assert shared["members"]["m2"] == pytest.approx(refitted["members"]["m2"], abs=5e-3)


def test_a_teammate_s_ranks_are_compared_by_ranks_alone(tmp_path: Path) -> None:
    config, table, truth_NC = base(tmp_path, metric="mean_column_auc", tta=["identity"])
    add(config, table, truth_NC, "m0", {"identity": 1.0})
    score.run(config.model_copy(update={"run": "m0"}))
    mate = tmp_path / "mate"
    mate.mkdir()
    for name in ("oof.csv", "test.csv"):
        cells = read_text_table(Path(config.runs_dir) / "m0" / name)
        cells[list(CLASSES)] = cells[list(CLASSES)].astype(float).rank(pct=True)
        cells.to_csv(mate / name, index=False)
    _, report = blended(config, "m0", str(mate), blender="rank_mean")
    assert set(report["comparison"]["blenders"]) == {"mean", "rank_mean"}
    with pytest.raises(MismatchError, match="rows do not sum to 1"):
        blended(config, "m0", str(mate), blender="auto")


@pytest.mark.parametrize(
    ("task", "metric"), [("binary", "roc_auc"), ("binary", "log_loss"), ("multilabel", "f1_macro")]
)
def test_every_task_takes_every_choice(tmp_path: Path, task: str, metric: str) -> None:
    names = ("cat", "dog") if task == "binary" else CLASSES
    single_label = task == "binary"
    loss = "cross_entropy" if single_label else "binary_cross_entropy"
    changes: dict[str, Any] = {"data__task": task, "loss__name": loss, "metric": metric}
    config = make_config(tmp_path, **changes, **({} if single_label else {"data__separator": " "}))
    make_sample(config, "id," + ",".join(names) + "\n" + "".join(f"{name}{',0' * len(names)}\n" for name in TEST_IDS))
    rng = np.random.default_rng(3)
    truth_NC = np.eye(2)[rng.integers(0, 2, 60)] if single_label else rng.integers(0, 2, (60, 3)).astype(float)
    labels = [" ".join(name for name, hit in zip(names, row, strict=True) if hit) for row in truth_NC]
    table = make_folds(config, pd.DataFrame({"label": labels}))
    for seed in range(2):
        run = config.model_copy(update={"run": f"m{seed}"})
        make_run(run, table, truth_NC / 2, classes=names, seed=seed, single_label=single_label)
    auto = config.ensemble.smoothing.model_copy(update={"alpha": "auto"})
    made, report = blended(config, "m0", "m1", blender="auto", views="select", calibrate="auto", smoothing=auto)
    assert set(report["comparison"]["blenders"]) == set(TASKS[task].blenders(metric))
    for file in ("blend.csv", "blend_oof.csv"):
        probs_NC = read_text_table(made.run_dir / file)[list(names)].astype(float).to_numpy()
        assert ((probs_NC >= 0) & (probs_NC <= 1)).all()
        if single_label and report["blender"] != "rank_mean":
            np.testing.assert_allclose(probs_NC.sum(1), 1)


def test_blenders_that_do_not_exist_or_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        make_config(tmp_path, metric="log_loss", ensemble__compare=["greedyy", "meen"], ensemble__blender="autoo")
    text = "\n".join(error.value.lines)
    assert "did you mean 'greedy'" in text and "did you mean 'mean'" in text and "did you mean 'auto'" in text
    with pytest.raises(InputError, match=r"ensemble.compare: found 'rank_mean', but log_loss needs probabilities"):
        make_config(tmp_path, metric="log_loss", ensemble__compare=["mean", "rank_mean"])


def test_members_on_the_command_line(tmp_path: Path) -> None:
    config, table, truth_NC = base(tmp_path, run="blend")
    for seed in range(2):
        add(config, table, truth_NC, f"m{seed}", {"identity": 1.0}, seed=seed)
    (tmp_path / "config.yaml").write_text(dump(config))
    done = command("ensemble", "-c", tmp_path / "config.yaml", "--members", "m0", "m1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "log_loss, OOF, mean of m0, m1" in done.stdout and "*mean" in done.stdout
    shutil.copytree(Path(config.runs_dir) / "m1", Path(config.runs_dir) / "other")
    for path in (Path(config.runs_dir) / "other").rglob("*.npz"):
        found = Predictions.load(path)
        Predictions(found.ids, found.views, found.classes, found.probs_NVC, {"fold_hash": "f" * 64}).save(path)
    done = command("ensemble", "-c", tmp_path / "config.yaml", "--members", "m0", "other")
    assert done.returncode == 3
    assert "f" * 12 in done.stderr and table.fold_hash[:12] in done.stderr

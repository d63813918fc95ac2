"""What a blend decides on OOF, and whether it believes itself too much."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic import CLASSES, TEST_IDS, command, make_config, make_folds, make_run, make_sample, pets

from pipeline.contracts import foldtable, runs
from pipeline.contracts.artifacts import Predictions, read_text_table, write_text
from pipeline.contracts.config import Config, dump
from pipeline.contracts.errors import InputError, MismatchError
from pipeline.contracts.foldtable import FoldTable
from pipeline.contracts.members import Member
from pipeline.contracts.task import TASKS
from pipeline.parts.blenders import BLENDERS, Fit, Goal, equal_weights
from pipeline.parts.calibration import CALIBRATIONS
from pipeline.parts.metrics import METRICS
from pipeline.stages import ensemble, score
from pipeline.stages.ensemble.compare import compare, correlation, leave_one_out
from pipeline.stages.ensemble.judge import Judge
from pipeline.stages.ensemble.stack import Stack

ROWS = 240
WIDE = "id,cat,dog,eel\n" + "".join(f"{name},0,0,0\n" for name in TEST_IDS)


def base(folder: Path, **changes: Any) -> tuple[Config, FoldTable, np.ndarray]:
    """Return a config, its folds over ROWS rows and the truth [N,3]."""
    config = make_config(folder, **{"metric": "log_loss", **changes})
    make_sample(config, WIDE)
    table = make_folds(config, pets(ROWS))
    return config, table, np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]


def probabilities(rng: np.random.Generator, truth_NC: np.ndarray, signal: float, sharp: float = 1.0) -> np.ndarray:
    """Return softmax(sharp · (signal · truth + noise))."""
    logits_NC = sharp * (signal * truth_NC + rng.normal(size=truth_NC.shape))
    odds_NC = np.exp(logits_NC - logits_NC.max(1, keepdims=True))
    return (odds_NC / odds_NC.sum(1, keepdims=True)).astype(np.float32)


def add(
    config: Config,
    table: FoldTable,
    truth_NC: np.ndarray,
    name: str,
    views: Mapping[str, float],
    *,
    seed: int = 0,
    sharp: float = 1.0,
) -> None:
    """Write a run whose views know the truth as well as their signal says; the test is what a 0 would be."""
    run, rng = config.model_copy(update={"run": name, "tta": list(views)}), np.random.default_rng(seed)
    write_text(run.run_dir / "config.yaml", dump(run))
    for fold in range(table.n):
        rows = np.flatnonzero(table.fold == fold)
        meta = {"run": name, "fold": fold, "fold_hash": table.fold_hash, "task": config.data.task}
        for part, ids, truth in (("valid", table.ids[rows], truth_NC[rows]), ("test", TEST_IDS, np.zeros((5, 3)))):
            probs_NVC = np.stack([probabilities(rng, truth, signal, sharp) for signal in views.values()], axis=1)
            Predictions(ids, tuple(views), CLASSES, probs_NVC, meta).save(run.run_dir / f"fold{fold}/{part}.npz")


def blended(config: Config, *members: str, **changes: Any) -> tuple[Config, dict[str, Any]]:
    """Run the stage over the members in a folder of its own; return its config and ensemble.json."""
    asked = config.ensemble.model_copy(update={"members": list(members), **changes})
    config = config.model_copy(update={"run": "blend", "ensemble": asked})
    ensemble.run(config)
    return config, json.loads((config.run_dir / "ensemble.json").read_text())


def numbers(path: Path) -> np.ndarray:
    return read_text_table(path)[list(CLASSES)].astype(float).to_numpy()


def test_auto_takes_what_surely_beats_the_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, table, truth_NC = base(tmp_path)
    add(config, table, truth_NC, "good", {"identity": 3.0})
    for seed in (1, 2):
        add(config, table, truth_NC, f"noise{seed}", {"identity": 0.0}, seed=seed)
    _, report = blended(config, "good", "noise1", "noise2", blender="auto", compare=["greedy"])
    found = report["comparison"]
    assert report["blender"] == "greedy" and report["weights"]["good"] > 0.8
    assert list(found["blenders"]) == ["mean", "greedy"]
    greedy = found["blenders"]["greedy"]
    assert greedy["over_mean"]["interval"][0] > 0 and found["best_member"] == "good"
    assert greedy["gap"] == pytest.approx(greedy["cross_fitted"] - greedy["in_sample"])  # a loss: lower flatters
    assert found["blenders"]["mean"]["gap"] == pytest.approx(0, abs=1e-12)
    assert report["variants"]["tta"]["mean"] == pytest.approx(greedy["cross_fitted"])
    brings = report["leave_one_out"]["members"]
    assert brings["good"] > 0.1 and abs(brings["noise1"]) < 0.05 and report["leave_one_out"]["refitted"]
    out = capsys.readouterr().out
    assert "auto: greedy leads the mean by" in out and "search: good" in out
    assert "intervals: 1,000 resamples of 240 rows inside folds\n" in out


def test_auto_stays_with_the_mean_where_nothing_is_sure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, table, truth_NC = base(tmp_path, metric="accuracy")
    for seed in range(3):
        add(config, table, truth_NC, f"m{seed}", {"identity": 1.0}, seed=seed)
    _, report = blended(config, "m0", "m1", "m2", blender="auto", compare=["greedy", "greedy_bagged"])
    assert report["blender"] == "mean"
    assert report["weights"] == pytest.approx(dict.fromkeys(("m0", "m1", "m2"), 1 / 3))
    best = max(one["cross_fitted"] for one in report["comparison"]["blenders"].values())
    assert report["comparison"]["blenders"]["mean"]["cross_fitted"] <= best
    assert report["traced"] == "greedy" and report["trace"][0]["step"] == 1
    out = capsys.readouterr().out
    assert "auto:" in out and "search of greedy, not used: m" in out


def test_every_admitted_blender_is_compared_and_scored_on_folds_it_did_not_see(tmp_path: Path) -> None:
    config, table, truth_NC = base(tmp_path, metric="mean_column_auc")
    for seed, signal in enumerate((1.5, 1.0, 0.5)):
        add(config, table, truth_NC, f"m{seed}", {"identity": signal}, seed=seed)
    made, report = blended(config, "m0", "m1", "m2", blender="greedy")
    assert list(report["comparison"]["blenders"]) == list(BLENDERS)
    for name, one in report["comparison"]["blenders"].items():
        low, high = one["interval"]
        assert low < one["cross_fitted"] < high, name
        assert one["lost"] == 0 and one["reliable"]
    probs_MNC = np.stack([oof_of(config, table, f"m{seed}") for seed in range(3)])
    goal = Goal(truth_NC, METRICS["mean_column_auc"], True, table.fold, config.ensemble.seed)
    expected = np.zeros((ROWS, 3))
    for fold in range(table.n):
        fit = BLENDERS["greedy"].fit(probs_MNC, goal, np.flatnonzero(table.fold != fold))
        expected[table.fold == fold] = BLENDERS["greedy"].apply(fit, probs_MNC[:, table.fold == fold], True)
    np.testing.assert_allclose(numbers(made.run_dir / "blend_oof.csv"), expected, atol=1e-9)


def oof_of(config: Config, table: FoldTable, run: str) -> np.ndarray:
    """Return a run's identity view in the fold table's order."""
    probs_NC = np.zeros((ROWS, 3))
    for fold in range(table.n):
        found = Predictions.load(Path(config.runs_dir) / run / f"fold{fold}/valid.npz")
        probs_NC[foldtable.row_numbers(table.ids, found.ids)] = found.probs_NVC[:, 0]
    return probs_NC


def test_what_a_fold_s_labels_say_does_not_reach_its_own_rows(tmp_path: Path) -> None:
    """Weights of views and members, temperature: with poisoned labels in fold 0, its rows are predicted as before."""
    made = {}
    for kind in ("clean", "poisoned"):
        config, table, truth_NC = base(tmp_path / kind, ensemble__calibrate="temperature")
        for seed, signal in enumerate((2.0, 1.0, 0.2)):
            add(config, table, truth_NC, f"m{seed}", {"identity": signal, "hflip": -1.0}, seed=seed)
        if kind == "poisoned":
            labels = table.targets["label"].to_numpy(copy=True)
            labels[table.fold == 0] = np.roll(labels[table.fold == 0], 3)
            make_folds(config, pd.DataFrame({"label": labels}))
        blend, report = blended(config, "m0", "m1", "m2", blender="greedy", compare=[], views="select")
        assert report["views"]["m0"]["weighted"]
        made[kind] = numbers(blend.run_dir / "blend_oof.csv")
    held = table.fold == 0
    np.testing.assert_array_equal(made["clean"][held], made["poisoned"][held])
    assert np.abs(made["clean"][~held] - made["poisoned"][~held]).max() > 1e-3


def test_slow_searches_are_left_out_of_a_large_comparison_unless_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, table, truth_NC = base(tmp_path, metric="accuracy")
    for seed in range(2):
        add(config, table, truth_NC, f"m{seed}", {"identity": 1.0}, seed=seed)
    limit = 60 * 2 * ROWS * 3 * (table.n + 1)  # greedy scores 50 blends a member, the other searches more
    for place in ("compare", "blending"):
        monkeypatch.setattr(f"pipeline.stages.ensemble.{place}.MOST_SCORED", limit)
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


def memory(probs_MNC: np.ndarray, fold_N: np.ndarray) -> list[Member]:
    """Return members that were never on disk."""
    ids = np.arange(len(fold_N)).astype(np.str_)
    return [
        Member(f"m{m}", CLASSES, ids, fold_N, ids[:0], {"tta": probs_NC}, {}) for m, probs_NC in enumerate(probs_MNC)
    ]


def test_200_members_of_noise_stay_at_chance() -> None:
    rng, rows = np.random.default_rng(5), 600
    targets_NC = np.eye(2)[rng.integers(0, 2, rows)]
    yes_MN = rng.random((200, rows))
    probs_MNC = np.stack([1 - yes_MN, yes_MN], axis=2)
    fold_N, none = np.arange(rows) % 5, np.full(rows, "")
    judge = Judge(METRICS["roc_auc"], True, targets_NC, fold_N, none, 42)
    stack = Stack(memory(probs_MNC, fold_N), True, {})
    chosen, _, report = compare("auto", ["greedy"], stack, "tta", judge)
    greedy = report["blenders"]["greedy"]
    error = np.sqrt((rows + 1) / (3 * rows * rows))  # of an AUC without any signal, about
    assert greedy["in_sample"] > 0.6 and greedy["gap"] > 0.05
    assert abs(greedy["cross_fitted"] - 0.5) < 2 * error
    assert chosen == "mean"
    assert greedy["over_best_member"]["lead"] < 0  # which 200 draws have flattered


def test_the_order_of_members_does_not_matter(tmp_path: Path) -> None:
    config, table, truth_NC = base(tmp_path)
    for seed, signal in enumerate((1.5, 1.0, 0.5)):
        add(config, table, truth_NC, f"m{seed}", {"identity": signal}, seed=seed)
    made = {}
    for order in (("m0", "m1", "m2"), ("m2", "m0", "m1")):
        blend, report = blended(config, *order, blender="greedy", compare=["power_mean"])
        made[order] = (numbers(blend.run_dir / "blend.csv"), report["weights"], report["leave_one_out"]["members"])
    (first, weights, brings), (second, others, theirs) = made.values()
    np.testing.assert_allclose(first, second, atol=1e-12)
    assert weights == pytest.approx(others) and brings == pytest.approx(theirs)


def test_views_are_weighted_only_where_that_surely_helps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, table, truth_NC = base(tmp_path)
    add(config, table, truth_NC, "harmful", {"identity": 3.0, "hflip": 0.0, "vflip": 0.0})
    add(config, table, truth_NC, "equal", {"identity": 1.0, "hflip": 1.0}, seed=1)
    made, report = blended(config, "harmful", "equal", views="select", compare=["mean"])
    harmful, equal = report["views"]["harmful"], report["views"]["equal"]
    assert harmful["weighted"] and harmful["weights"]["identity"] > 0.8
    assert not equal["weighted"]
    out = capsys.readouterr().out
    assert "views of harmful: identity" in out and "not surely better, so their mean" in out
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


def test_alpha_is_chosen_where_smoothing_surely_helps(tmp_path: Path) -> None:
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
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_a_hold_out_is_cross_fitted_over_parts_of_its_groups(tmp_path: Path) -> None:
    config, _, _ = base(tmp_path)
    table = make_folds(config, pets(ROWS), folds=1)
    truth_NC = np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]
    for seed, signal in enumerate((2.0, 0.0)):
        add(config, table, truth_NC, f"m{seed}", {"identity": signal}, seed=seed)
    _, report = blended(config, "m0", "m1", blender="greedy", compare=[])
    assert report["weights"]["m0"] > 0.6 and len(report["variants"]["tta"]["per_fold"]) == 1
    groups_N = np.repeat(np.arange(ROWS // 4), 4).astype(np.str_)
    judge = Judge(METRICS["log_loss"], True, truth_NC, table.fold, groups_N, 0)
    parts = pd.Series(judge.part_N).groupby(groups_N).nunique()
    assert len(np.unique(judge.part_N)) == 5 and (parts == 1).all()


def test_ranks_are_those_in_a_whole_fold_also_where_its_parts_are_held_out_in_turn(tmp_path: Path) -> None:
    """A hold-out's parts are no folds: one model made all of its rows, so ranks in a part would be coarser."""
    config, _, _ = base(tmp_path, metric="mean_column_auc")
    table = make_folds(config, pets(ROWS), folds=1)
    truth_NC = np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]
    for seed, signal in enumerate((1.5, 1.0, 0.5)):
        add(config, table, truth_NC, f"m{seed}", {"identity": signal, "hflip": 0.0}, seed=seed)
    names, judge = ("m0", "m1", "m2"), Judge(METRICS["mean_column_auc"], True, truth_NC, table.fold, table.groups, 0)
    _, report = blended(config, *names, blender="rank_mean", compare=["rank_mean"], views="all")
    made = runs_of(config, table, names)
    blend = BLENDERS["rank_mean"].apply
    whole = judge.score(blend(Fit(equal_weights(3)), made, True, table.fold))
    less = judge.score(blend(Fit(equal_weights(2)), made[1:], True, table.fold))
    assert report["leave_one_out"]["members"]["m0"] == pytest.approx(whole - less, abs=1e-12)
    _, report = blended(config, *names, blender="rank_mean", compare=["rank_mean"], views="select")
    assert report["views"]["m0"]["weighted"]
    compared = report["comparison"]["blenders"]["rank_mean"]["cross_fitted"]
    assert report["variants"]["tta"]["mean"] == pytest.approx(compared, abs=1e-12)


def runs_of(config: Config, table: FoldTable, names: Sequence[str]) -> np.ndarray:
    """Return the members' means over views [M,N,C], in the fold table's order."""
    read = [runs.read(Path(config.runs_dir) / name, table) for name in names]
    return np.stack([one.oof(one.views) for one in read])


def test_members_are_not_copied_to_blend_them() -> None:
    probs_MNC = np.full((2, 6, 3), 1 / 3)
    stack = Stack(memory(probs_MNC, np.arange(6) % 2), True, {})
    for part in (None, 0, 1):
        assert all(map(np.shares_memory, stack.oof("tta", part), probs_MNC))


def test_few_groups_are_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, table, truth_NC = base(tmp_path)
    groups = np.array([f"g{fold}-{n // 60}" for n, fold in enumerate(table.fold)])
    table = FoldTable(table.ids, groups, table.targets, table.fold, table.path)
    foldtable.write(config, table, {"fold_hash": table.fold_hash})
    for seed in range(2):
        add(config, table, truth_NC, f"m{seed}", {"identity": 1.0}, seed=seed)
    _, report = blended(config, "m0", "m1", compare=["geometric_mean"])
    assert report["comparison"]["groups"] == 12 and not report["comparison"]["enough_groups"]
    assert "UNRELIABLE under 20: only 12 vary" in capsys.readouterr().out


@pytest.mark.parametrize("count", [1, 4])
def test_folds_of_one_group_are_never_sure(tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    config, _, _ = base(tmp_path)
    table = make_folds(config, pets(ROWS), folds=count)
    truth_NC = np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]
    table = FoldTable(table.ids, table.fold.astype(str), table.targets, table.fold, table.path)
    foldtable.write(config, table, {"fold_hash": table.fold_hash})
    for seed, signal in enumerate((3.0, 0.0)):
        add(config, table, truth_NC, f"m{seed}", {"identity": signal}, seed=seed)
    _, report = blended(config, "m0", "m1", blender="auto", compare=["greedy"])
    greedy = report["comparison"]["blenders"]["greedy"]
    assert greedy["over_mean"]["lead"] > 0.1 and greedy["over_mean"]["interval"] == [None, None]
    assert report["blender"] == "mean"
    assert "interval undefined (unreliable), not surely better: so the mean" in capsys.readouterr().out


def test_correlation_and_a_large_stack_without_refits(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth_NC = np.eye(3)[np.arange(ROWS) % 3]
    first = probabilities(rng, truth_NC, 1.0).astype(np.float64)
    probs_MNC = np.stack([first, first, probabilities(rng, truth_NC, 0.0)])
    fold_N = np.arange(ROWS) % 4
    judge = Judge(METRICS["log_loss"], True, truth_NC, fold_N, np.full(ROWS, ""), 0)
    stack = Stack(memory(probs_MNC, fold_N), True, {})
    found = np.array(correlation(stack, "tta"))
    expected = np.corrcoef((probs_MNC - probs_MNC.mean(1, keepdims=True)).reshape(3, -1))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    _, fits, _ = compare("greedy", ["logistic"], stack, "tta", judge)
    refitted = leave_one_out("greedy", fits["greedy"], stack, "tta", judge)
    monkeypatch.setattr("pipeline.stages.ensemble.compare.REFIT_CELLS", 0)
    shared = leave_one_out("greedy", fits["greedy"], stack, "tta", judge)
    assert refitted["refitted"] and not shared["refitted"]
    assert set(leave_one_out("logistic", fits["logistic"], stack, "tta", judge)["members"].values()) == {None}
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
    exclusive = task == "binary"
    loss = "cross_entropy" if exclusive else "binary_cross_entropy"
    changes: dict[str, Any] = {"data__task": task, "loss__name": loss, "metric": metric}
    config = make_config(tmp_path, **changes, **({} if exclusive else {"data__separator": " "}))
    make_sample(config, "id," + ",".join(names) + "\n" + "".join(f"{name}{',0' * len(names)}\n" for name in TEST_IDS))
    rng = np.random.default_rng(3)
    truth_NC = np.eye(2)[rng.integers(0, 2, 60)] if exclusive else rng.integers(0, 2, (60, 3)).astype(float)
    labels = [" ".join(name for name, hit in zip(names, row, strict=True) if hit) for row in truth_NC]
    table = make_folds(config, pd.DataFrame({"label": labels}))
    for seed in range(2):
        run = config.model_copy(update={"run": f"m{seed}"})
        make_run(run, table, truth_NC / 2, classes=names, seed=seed, exclusive=exclusive)
    auto = config.ensemble.smoothing.model_copy(update={"alpha": "auto"})
    made, report = blended(config, "m0", "m1", blender="auto", views="select", calibrate="auto", smoothing=auto)
    assert set(report["comparison"]["blenders"]) == set(TASKS[task].blenders(metric))
    for file in ("blend.csv", "blend_oof.csv"):
        probs_NC = read_text_table(made.run_dir / file)[list(names)].astype(float).to_numpy()
        assert ((probs_NC >= 0) & (probs_NC <= 1)).all()
        if exclusive and report["blender"] != "rank_mean":
            np.testing.assert_allclose(probs_NC.sum(1), 1)


def test_blenders_that_do_not_exist_or_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        make_config(tmp_path, metric="log_loss", ensemble__compare=["greedyy", "meen"], ensemble__blender="autoo")
    text = "\n".join(error.value.defects)
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

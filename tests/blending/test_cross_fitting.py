"""Whether a blend believes itself too much: what it is fitted to, and what it calls significant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from blends import ROWS, add, base, blended, memory, numbers
from synthetic import CLASSES, make_folds, pets

from pipeline.blending.comparison import compare
from pipeline.config.config import Config
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.blenders import BLENDERS, Fit, Objective, equal_weights
from pipeline.methods.metrics import METRICS
from pipeline.prediction.oof import read_run
from pipeline.prediction.predictions import Predictions
from pipeline.scoring.evaluation import Evaluator


def test_auto_takes_what_beats_the_mean_significantly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert greedy["gap"] == pytest.approx(greedy["cross_fitted"] - greedy["in_sample"])  # a loss: lower is optimistic
    assert found["blenders"]["mean"]["gap"] == pytest.approx(0, abs=1e-12)
    assert report["variants"]["tta"]["mean"] == pytest.approx(greedy["cross_fitted"])
    brings = report["leave_one_out"]["members"]
    assert brings["good"] > 0.1 and abs(brings["noise1"]) < 0.05 and report["leave_one_out"]["refitted"]
    out = capsys.readouterr().out
    assert "auto: greedy leads the mean by" in out and "search: good" in out
    assert "intervals: 1,000 resamples of 240 rows inside folds\n" in out


def test_auto_stays_with_the_mean_where_nothing_is_significant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_every_blender_that_fits_is_compared_and_scored_on_folds_it_did_not_see(tmp_path: Path) -> None:
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
    objective = Objective(truth_NC, METRICS["mean_column_auc"], True, table.fold, config.ensemble.seed)
    expected = np.zeros((ROWS, 3))
    for fold in range(table.n):
        fit = BLENDERS["greedy"].fit(probs_MNC, objective, np.flatnonzero(table.fold != fold))
        expected[table.fold == fold] = BLENDERS["greedy"].apply(fit, probs_MNC[:, table.fold == fold], True)
    np.testing.assert_allclose(numbers(made.run_dir / "blend_oof.csv"), expected, atol=1e-9)


def oof_of(config: Config, table: FoldTable, run: str) -> np.ndarray:
    """Return a run's identity view in the fold table's order."""
    probs_NC = np.zeros((ROWS, 3))
    for fold in range(table.n):
        found = Predictions.load(Path(config.runs_dir) / run / f"fold{fold}/valid.npz")
        probs_NC[fold_table.row_numbers(table.ids, found.ids)] = found.probs_NVC[:, 0]
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


def test_200_members_of_noise_stay_at_chance() -> None:
    rng, rows = np.random.default_rng(5), 600
    targets_NC = np.eye(2)[rng.integers(0, 2, rows)]
    yes_MN = rng.random((200, rows))
    probs_MNC = np.stack([1 - yes_MN, yes_MN], axis=2)
    fold_N, none = np.arange(rows) % 5, np.full(rows, "")
    evaluator = Evaluator(METRICS["roc_auc"], True, targets_NC, fold_N, none, 42)
    chosen, _, report = compare("auto", ["greedy"], memory(probs_MNC), evaluator)
    greedy = report["blenders"]["greedy"]
    error = np.sqrt((rows + 1) / (3 * rows * rows))  # of an AUC without any signal, about
    assert greedy["in_sample"] > 0.6 and greedy["gap"] > 0.05
    assert abs(greedy["cross_fitted"] - 0.5) < 2 * error
    assert chosen == "mean"
    assert greedy["over_best_member"]["lead"] < 0  # the best of 200 draws is optimistic


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


def test_a_hold_out_is_cross_fitted_over_parts_of_its_groups(tmp_path: Path) -> None:
    config, _, _ = base(tmp_path)
    table = make_folds(config, pets(ROWS), folds=1)
    truth_NC = np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]
    for seed, signal in enumerate((2.0, 0.0)):
        add(config, table, truth_NC, f"m{seed}", {"identity": signal}, seed=seed)
    _, report = blended(config, "m0", "m1", blender="greedy", compare=[])
    assert report["weights"]["m0"] > 0.6 and len(report["variants"]["tta"]["per_fold"]) == 1
    groups_N = np.repeat(np.arange(ROWS // 4), 4).astype(np.str_)
    evaluator = Evaluator(METRICS["log_loss"], True, truth_NC, table.fold, groups_N, 0)
    parts = pd.Series(evaluator.part_N).groupby(groups_N).nunique()
    assert len(np.unique(evaluator.part_N)) == 5 and (parts == 1).all()


def test_ranks_are_those_in_a_whole_fold_also_where_its_parts_are_held_out_in_turn(tmp_path: Path) -> None:
    """A hold-out's parts are no folds: one model made all of its rows, so ranks in a part would be coarser."""
    config, _, _ = base(tmp_path, metric="mean_column_auc", submission__variant="tta")
    table = make_folds(config, pets(ROWS), folds=1)
    truth_NC = np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]
    for seed, signal in enumerate((1.5, 1.0, 0.5)):
        add(config, table, truth_NC, f"m{seed}", {"identity": signal, "hflip": 0.0}, seed=seed)
    names, evaluator = (
        ("m0", "m1", "m2"),
        Evaluator(METRICS["mean_column_auc"], True, truth_NC, table.fold, table.groups, 0),
    )
    _, report = blended(config, *names, blender="rank_mean", compare=["rank_mean"], views="all")
    made = runs_of(config, table, names)
    blend = BLENDERS["rank_mean"].apply
    whole = evaluator.score(blend(Fit(equal_weights(3)), made, True, table.fold))
    less = evaluator.score(blend(Fit(equal_weights(2)), made[1:], True, table.fold))
    assert report["leave_one_out"]["members"]["m0"] == pytest.approx(whole - less, abs=1e-12)
    _, report = blended(config, *names, blender="rank_mean", compare=["rank_mean"], views="select")
    assert report["views"]["m0"]["weighted"]
    compared = report["comparison"]["blenders"]["rank_mean"]["cross_fitted"]
    assert report["variants"]["tta"]["mean"] == pytest.approx(compared, abs=1e-12)


def runs_of(config: Config, table: FoldTable, names: Sequence[str]) -> np.ndarray:
    """Return the members' means over views [M,N,C], in the fold table's order."""
    read = [read_run(Path(config.runs_dir) / name, table) for name in names]
    return np.stack([one.oof(one.views) for one in read])


def test_few_groups_are_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, table, truth_NC = base(tmp_path)
    groups = np.array([f"g{fold}-{n // 60}" for n, fold in enumerate(table.fold)])
    table = FoldTable(table.ids, groups, table.targets, table.fold, table.path)
    fold_table.write(config, table, {"fold_hash": table.fold_hash})
    for seed in range(2):
        add(config, table, truth_NC, f"m{seed}", {"identity": 1.0}, seed=seed)
    _, report = blended(config, "m0", "m1", compare=["geometric_mean"])
    assert report["comparison"]["groups"] == 12 and not report["comparison"]["enough_groups"]
    assert "UNRELIABLE under 20: only 12 vary" in capsys.readouterr().out


@pytest.mark.parametrize("count", [1, 4])
def test_folds_of_one_group_are_never_significant(
    tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    config, _, _ = base(tmp_path)
    table = make_folds(config, pets(ROWS), folds=count)
    truth_NC = np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]
    table = FoldTable(table.ids, table.fold.astype(str), table.targets, table.fold, table.path)
    fold_table.write(config, table, {"fold_hash": table.fold_hash})
    for seed, signal in enumerate((3.0, 0.0)):
        add(config, table, truth_NC, f"m{seed}", {"identity": signal}, seed=seed)
    _, report = blended(config, "m0", "m1", blender="auto", compare=["greedy"])
    greedy = report["comparison"]["blenders"]["greedy"]
    assert greedy["over_mean"]["lead"] > 0.1 and greedy["over_mean"]["interval"] == [None, None]
    assert report["blender"] == "mean"
    assert "interval undefined (unreliable), not significant: so the mean" in capsys.readouterr().out

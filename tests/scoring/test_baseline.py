"""The best constant beside every score: right values for each kind of metric, and the warnings that follow."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from blends import add, base
from sklearn import metrics as sk
from synthetic import CLASSES, make_config, make_folds, make_run

from pipeline.blending import stage as ensemble
from pipeline.config.config import Config
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.metrics import FAMILIES, METRICS
from pipeline.methods.tasks import TASKS
from pipeline.scoring import baseline
from pipeline.scoring import stage as score
from pipeline.scoring.evaluation import Evaluator

UNEVEN = ["cat"] * 18 + ["dog"] * 8 + ["eel"] * 4


def scored(config: Config) -> dict[str, Any]:
    score.run(config)
    return dict(json.loads((config.run_dir / "scores.json").read_text()))


def uneven(config: Config, rows: int = 90) -> tuple[FoldTable, np.ndarray]:
    """Return folds over classes of unequal numbers, mixed, and the truth."""
    labels = np.random.default_rng(3).permutation(UNEVEN * (rows // 30)).tolist()
    table = make_folds(config, pd.DataFrame({"label": labels}))
    return table, np.eye(3)[[CLASSES.index(label) for label in labels]]


def test_log_loss_is_that_of_the_other_folds_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_config(tmp_path, metric="log_loss")
    table, truth_NC = uneven(config)
    make_run(config, table, truth_NC)
    report = scored(config)
    losses = []
    for fold in range(3):
        shares = truth_NC[table.fold != fold].mean(0)
        truth = truth_NC[table.fold == fold].argmax(1)
        losses.append(sk.log_loss(truth, np.tile(shares, (len(truth), 1)), labels=[0, 1, 2]))
    found = report["baseline"]
    assert found["per_fold"] == pytest.approx(losses)
    assert (found["mean"], found["std"]) == pytest.approx((np.mean(losses), np.std(losses)))
    assert found["lead"] == pytest.approx(found["mean"] - report["variants"]["tta"]["mean"])
    assert found["interval"][0] > 0 and found["interval"][0] < found["lead"] < found["interval"][1]
    assert found["metrics"]["accuracy"] == pytest.approx(truth_NC[:, 0].mean(), abs=0.01)
    assert found["metrics"]["roc_auc"] == 0.5
    assert report["warnings"] == []
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("best constant")]
    assert lines.index(line) == 4 and f"{found['mean']:.4f} ± {found['std']:.4f}" in line
    assert any(line.startswith("tta (of a best constant): accuracy 0.") and "roc_auc" in line for line in lines)


def constant(config: Config, table: FoldTable, classes: tuple[str, ...], metric: str) -> np.ndarray:
    made = baseline.Constants(config, table, table.fold, classes, None)
    return made.predict(metric)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("accuracy", 0.6), ("balanced_accuracy", 1 / 3), ("quadratic_weighted_kappa", 0.0), ("mcc", 0.0)],
)
def test_decisions_name_the_class_that_the_metric_rewards(metric: str, expected: float, tmp_path: Path) -> None:
    config = make_config(tmp_path, metric=metric)
    table, truth_NC = uneven(config)
    made_NC = constant(config, table, CLASSES, metric)
    assert TASKS["multiclass"].score(metric, truth_NC, made_NC) == pytest.approx(expected)
    assert (made_NC.argmax(1) == 0).all() or metric in ("balanced_accuracy", "quadratic_weighted_kappa", "mcc")


def test_f1_of_the_rare_class_is_that_of_always_naming_it(tmp_path: Path) -> None:
    config = make_config(tmp_path, metric="f1", data__task="binary")
    labels = ["no"] * 24 + ["yes"] * 6
    table = make_folds(config, pd.DataFrame({"label": labels}))
    truth_NC = np.eye(2)[[0] * 24 + [1] * 6]
    made_NC = constant(config, table, ("no", "yes"), "f1")
    assert TASKS["binary"].score("f1", truth_NC, made_NC) == pytest.approx(2 * 6 / (6 + 30))


def test_map_at_k_names_the_commonest_classes_in_their_order(tmp_path: Path) -> None:
    config = make_config(tmp_path, metric="map@2")
    table, truth_NC = uneven(config)
    made_NC = constant(config, table, CLASSES, "map@2")
    expected = np.mean([{0: 1.0, 1: 0.5, 2: 0.0}[int(c)] for c in truth_NC.argmax(1)])
    assert TASKS["multiclass"].score("map@2", truth_NC, made_NC) == pytest.approx(expected)


def test_columns_of_labels_are_named_together_where_that_pays(tmp_path: Path) -> None:
    config = make_config(
        tmp_path, metric="f1_micro", data__task="multilabel", data__target=["a", "b"], loss__name="binary_cross_entropy"
    )
    cells = np.zeros((30, 2), dtype=int)
    cells[:12, 0], cells[:3, 1] = 1, 1
    cells = np.random.default_rng(0).permutation(cells)
    table = make_folds(config, pd.DataFrame(cells.astype(str), columns=["a", "b"]))
    micro_NC, macro_NC = (constant(config, table, ("a", "b"), metric) >= 0.5 for metric in ("f1_micro", "f1_macro"))
    assert micro_NC[:, 0].all() and not micro_NC[:, 1].any()  # 24 / 42, with b 30 / 75
    assert macro_NC.all()  # never naming a column has the F1 of 0


@pytest.mark.parametrize(("metric", "take"), [("mae", np.median), ("rmse", np.mean), ("r2", np.mean)])
def test_values_are_the_median_or_the_mean(metric: str, take: Any, tmp_path: Path) -> None:
    config = make_config(tmp_path, metric=metric, data__task="regression", loss__name="mse")
    values = np.random.default_rng(0).gamma(1.0, size=41)
    table = make_folds(config, pd.DataFrame({"label": values.astype(str)}))
    made_NC = constant(config, table, ("label",), metric)
    for fold in range(3):
        assert made_NC[table.fold == fold] == pytest.approx(take(values[table.fold != fold]))


def test_no_constant_that_was_fitted_on_a_fold_scores_it(tmp_path: Path) -> None:
    """A fold of one class alone: its own commonest class would score 1, that of the others scores 0."""
    config = make_config(tmp_path, metric="accuracy")
    table = make_folds(config, pd.DataFrame({"label": ["cat"] * 30}))
    targets = pd.DataFrame({"label": np.where(table.fold == 0, "eel", "cat")})
    table = make_folds(config, targets)
    truth_NC = np.eye(3)[[CLASSES.index(label) for label in targets["label"]]]
    make_run(config, table, truth_NC)
    assert scored(config)["baseline"]["per_fold"] == [0.0, 1.0, 1.0]


def test_a_holdout_learns_its_constant_from_rows_that_are_never_validated(tmp_path: Path) -> None:
    config = make_config(tmp_path, metric="accuracy")
    table, truth_NC = uneven(config)
    holdout = dataclasses.replace(table, fold=np.where(table.fold == 0, 0, -1))
    fold_table.write(config, holdout, {"fold_hash": holdout.fold_hash})
    make_run(config, holdout, truth_NC)
    (found,) = scored(config)["baseline"]["per_fold"]
    assert found == pytest.approx(truth_NC[holdout.fold == 0, 0].mean())


def test_a_partial_score_has_it_too(tmp_path: Path) -> None:
    config = make_config(tmp_path, metric="log_loss")
    table, truth_NC = uneven(config)
    make_run(config, table, truth_NC)
    whole = scored(config)["baseline"]["per_fold"]
    (config.run_dir / "fold1/valid.npz").unlink()
    score.run(config, partial=True)
    report = json.loads((config.run_dir / "scores.json").read_text())
    assert report["baseline"]["per_fold"] == [whole[0], whole[2]]


def test_a_run_that_learnt_nothing_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_config(tmp_path, metric="log_loss", train__epochs=1, train__lr=1e-6, train__warmup_epochs=0)
    table, truth_NC = uneven(config)
    make_run(config, table, np.zeros_like(truth_NC))
    report = scored(config)
    first = report["warnings"][0]
    mean, constant = report["variants"]["tta"]["mean"], report["baseline"]["mean"]
    assert mean > constant and report["baseline"]["lead"] == pytest.approx(constant - mean)
    assert first.startswith(
        f"the run learnt nothing that a constant does not know: log_loss {mean:.4f}, the best constant by the other "
        f"folds' labels {constant:.4f} (lead {constant - mean:+.4f}, 90 % interval -"
    )
    assert "(1 epochs at lr 1e-06 from random weights)" in first
    assert f"warning: {first}" in capsys.readouterr().out.splitlines()


def test_a_lead_that_may_be_luck_is_told_as_that(tmp_path: Path) -> None:
    config = make_config(tmp_path, metric="accuracy")
    table, truth_NC = uneven(config)
    right = np.arange(90) % 8 < 5
    told_NC = np.where(right[:, None], truth_NC, np.roll(truth_NC, 1, axis=1))
    make_run(config, table, 20 * told_NC)
    report = scored(config)
    low, high = report["baseline"]["interval"]
    assert report["baseline"]["lead"] > 0 and low <= 0 < high
    assert report["warnings"][0].startswith("the run learnt hardly more than a constant knows: accuracy 0.6")


def test_classes_that_are_never_predicted_are_named(tmp_path: Path) -> None:
    config = make_config(tmp_path, metric="log_loss")
    table, truth_NC = uneven(config)
    make_run(config, table, 8 * np.where(truth_NC[:, 2:] == 1, [[0, 0.9, 0.0]], truth_NC))
    (text,) = [text for text in scored(config)["warnings"] if text.startswith("never predicted")]
    assert text.startswith("never predicted: 1 of 3 classes with rows, 'eel' (12 rows): ")


def test_labels_below_one_half_are_only_missed_where_labels_are_read(tmp_path: Path) -> None:
    cells = np.random.default_rng(0).integers(0, 2, (30, 2))
    probs = np.column_stack([cells[:, 0], np.full(30, 0.4)])
    for metric, expected in (("f1_macro", 1), ("mean_column_auc", 0)):
        config = make_config(
            tmp_path, metric=metric, data__task="multilabel", data__target=["a", "b"], loss__name="binary_cross_entropy"
        )
        assert len(baseline.never_predicted(config, cells, probs, ("a", "b"))) == expected


def test_a_blend_stands_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, table, truth_NC = base(tmp_path)
    for seed, name in enumerate(("one", "two")):
        add(config, table, 0.0 * truth_NC, name, {"identity": 1.0}, seed=seed)
    tree = config.model_copy(update={"run": "blend", "tta": ["identity"]})
    blend = tree.model_copy(update={"ensemble": config.ensemble.model_copy(update={"members": ["one", "two"]})})
    ensemble.run(blend)
    report = json.loads((blend.run_dir / "ensemble.json").read_text())
    assert report["baseline"]["mean"] == pytest.approx(np.log(3), abs=1e-3)
    assert report["warnings"][0].startswith("the blend learnt nothing that a constant does not know: log_loss 1.")
    shown = capsys.readouterr().out
    assert "\nbest constant" in shown and "warning: the blend learnt nothing" in shown


def test_a_plugin_that_refuses_constants_costs_no_score(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def spread(targets_NC, probs_NC):\n"
        "    if probs_NC.std(0).max() == 0:\n        raise ValueError('constant')\n"
        "    return float((targets_NC * probs_NC).sum(1).mean())\n"
    )
    config = make_config(tmp_path, metric=f"{tmp_path / 'mine.py'}:spread")
    table, truth_NC = uneven(config)
    make_run(config, table, truth_NC)
    report = scored(config)
    assert report["baseline"] is None and report["variants"]["tta"]["mean"] > 0.5


@pytest.mark.parametrize("metric", [*METRICS, *(f"{name}@2" for name in FAMILIES)])
def test_every_metric_has_one(metric: str, tmp_path: Path) -> None:
    """And none of the candidates beats it on the rows that it was chosen on."""
    from pipeline.methods.metrics import find

    one = find(metric)
    changes: dict[str, Any] = {"metric": metric, "data__task": one.tasks[-1]}
    rng = np.random.default_rng(0)
    if one.tasks[-1] == "regression":
        frame, classes = pd.DataFrame({"label": rng.integers(0, 5, 60).astype(str)}), ("label",)
        changes["loss__name"] = "mse"
    elif one.tasks[-1] == "multilabel":
        frame = pd.DataFrame((rng.random((60, 3)) < [0.6, 0.4, 0.2]).astype(int).astype(str), columns=list("abc"))
        classes = tuple("abc")
        changes |= {"data__target": list("abc"), "loss__name": "binary_cross_entropy"}
    else:
        names = ("no", "yes") if one.tasks[-1] == "binary" else ("0", "1", "2")
        frame, classes = (
            pd.DataFrame(
                {"label": rng.choice(names, 60, p=[0.7, 0.3][: len(names)] if len(names) == 2 else [0.5, 0.3, 0.2])}
            ),
            names,
        )
    config = make_config(tmp_path, **changes)
    table = make_folds(config, frame)
    evaluator = Evaluator.of(config, table, table.ids, table.fold, classes)
    made_NC = constant(config, table, classes, metric)
    found = baseline.beside(config, table, evaluator, classes, made_NC)
    assert found is not None and found["lead"] in (0, None)
    task, others = TASKS[config.data.task], table.fold != 0
    targets_NC = np.asarray(evaluator.targets_NC, dtype=np.float64)[others]
    chosen = one.direction * one.score(
        targets_NC, np.repeat(made_NC[table.fold == 0][:1], others.sum(), 0), task.single_label
    )
    for row_C in task.constants(metric, targets_NC):
        gain = one.direction * one.score(targets_NC, np.repeat(row_C[None], others.sum(), 0), task.single_label)
        assert np.isnan(gain) or gain <= chosen + 1e-12


def test_of_very_many_classes_the_commonest_are_kept(tmp_path: Path) -> None:
    config = make_config(tmp_path, metric="map@5")
    labels = [f"c{int(n):04d}" for n in np.minimum(np.random.default_rng(0).geometric(0.05, 600), 150)]
    table = make_folds(config, pd.DataFrame({"label": labels}))
    classes = tuple(sorted(set(labels)))
    short = baseline.Constants(config, table, table.fold, classes, 5).predict("map@5")
    whole = baseline.Constants(config, table, table.fold, classes, None).predict("map@5")
    truth_NC = np.eye(len(classes))[[classes.index(label) for label in labels]]
    task = TASKS["multiclass"]
    assert short.shape == whole.shape
    assert task.score("map@5", truth_NC, short) == pytest.approx(task.score("map@5", truth_NC, whole))

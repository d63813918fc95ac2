"""Members whose classes stand in another order than the task's: what is submitted belongs to its class all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from synthetic import CLASSES, TEST_IDS, command, make_config, make_folds, make_run, make_sample

from pipeline.config.config import Config
from pipeline.config.loading import dump
from pipeline.files.atomic import read_json
from pipeline.files.tables import read_text_table
from pipeline.folds.fold_table import FoldTable
from pipeline.prediction.predictions import Predictions

ROWS = 36


class Cell(NamedTuple):
    """One kind of task and of sample submission."""

    config: dict[str, Any]
    labels: pd.DataFrame  # the target columns of the training rows
    classes: tuple[str, ...]  # in the task's order
    sample: list[str]  # its columns beside the id
    cell: str  # what each of them holds


BINARY = pd.DataFrame({"label": ["01"[n // 3 % 2] for n in range(ROWS)]})
PETS = pd.DataFrame({"label": [CLASSES[n // 3 % 3] for n in range(ROWS)]})
SETS = pd.DataFrame({"label": [" ".join(CLASSES[: n // 3 % 4]) for n in range(ROWS)]})
SIZES = pd.DataFrame({name: [str(n * (k + 1) % 7) for n in range(ROWS)] for k, name in enumerate(("x", "y", "z"))})
HEADS = pd.DataFrame({"mask": ["on" if n // 3 % 2 else "off" for n in range(ROWS)], "age": list("ab" * (ROWS // 2))})
FOUR = ("off-a", "off-b", "on-a", "on-b")
MULTILABEL = {"data__task": "multilabel", "data__separator": " ", "loss__name": "binary_cross_entropy"}
VALUES = {"data__task": "regression", "data__target": list(SIZES), "loss__name": "mse", "metric": "rmse"}
PAIRS = {"data__target": ["mask", "age"], "data__heads": True}
CELLS = {
    "binary, probability": Cell({"data__task": "binary", "metric": "roc_auc"}, BINARY, ("0", "1"), ["label"], "p1"),
    "binary, label": Cell({"data__task": "binary"}, BINARY, ("0", "1"), ["label"], "label"),
    "multiclass, probabilities": Cell({"metric": "log_loss"}, PETS, CLASSES, ["eel", "cat", "dog"], "named"),
    "multiclass, label": Cell({}, PETS, CLASSES, ["label"], "label"),
    "multiclass, class_id": Cell({"submission__cell": "class_id"}, PETS, CLASSES, ["label"], "class_id"),
    "multilabel, probabilities": Cell(
        {**MULTILABEL, "metric": "mean_column_auc"}, SETS, CLASSES, ["dog", "eel", "cat"], "named"
    ),
    "regression, values": Cell(VALUES, SIZES, ("x", "y", "z"), ["z", "x", "y"], "named"),
    "heads, called 0, 1, …": Cell(PAIRS, HEADS, ("0", "1", "2", "3"), ["label"], "label"),
    "heads, by template": Cell({**PAIRS, "submission__composite": "{mask}-{age}"}, HEADS, FOUR, ["label"], "label"),
}


def setup(folder: Path, cell: Cell) -> tuple[Config, FoldTable]:
    """Write the sample, the folds and the config of a blend."""
    config = make_config(folder, run="blend", **cell.config)
    rows = "".join(f"{name}{',0' * len(cell.sample)}\n" for name in TEST_IDS)
    make_sample(config, f"id,{','.join(cell.sample)}\n{rows}")
    table = make_folds(config, cell.labels)
    (folder / "config.yaml").write_text(dump(config))
    return config, table


def cells_of(config: Config, cell: Cell, rows: int, seed: int) -> pd.DataFrame:
    """Return random cells by class, as the task has them."""
    drawn = np.random.default_rng(seed).uniform(0.05, 0.95, (rows, len(cell.classes)))
    if config.data.task == "regression":
        drawn *= 10
    elif config.data.task != "multilabel":
        drawn /= drawn.sum(1, keepdims=True)
    return pd.DataFrame(drawn, columns=list(cell.classes))


def mate(folder: Path, oof: pd.DataFrame, test: pd.DataFrame, order: list[str], table: FoldTable) -> Path:
    """Write a teammate's tables with the classes in this order."""
    folder.mkdir()
    first = pd.DataFrame({"id": table.ids, "fold": table.fold})
    pd.concat([first, oof[order]], axis=1).to_csv(folder / "oof.csv", index=False)
    pd.concat([pd.DataFrame({"id": TEST_IDS}), test[order]], axis=1).to_csv(folder / "test.csv", index=False)
    return folder


def submitted(config: Config, cell: Cell, probs: pd.DataFrame) -> pd.DataFrame:
    """Return what is to be submitted of the test's probabilities, called by class, worked out by name alone."""
    names = list(cell.classes)
    best = [max(names, key=row.get) for row in probs.to_dict("records")]
    columns = {
        "p1": lambda: {"label": probs["1"].to_numpy()},
        "named": lambda: {name: probs[name].to_numpy() for name in cell.sample},
        "label": lambda: {"label": best},
        "class_id": lambda: {"label": [names.index(name) for name in best]},
    }
    return pd.DataFrame({"id": TEST_IDS, **columns[cell.cell]()})


def assert_equal(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert found.columns.tolist() == expected.columns.tolist()
    for column in expected:
        if expected[column].dtype == np.float64:
            np.testing.assert_allclose(found[column].astype(float), expected[column], atol=1e-6)
        else:
            assert found[column].tolist() == expected[column].astype(str).tolist()


@pytest.mark.parametrize("name", list(CELLS))
def test_tables_whose_columns_all_stand_in_another_order(tmp_path: Path, name: str) -> None:
    cell = CELLS[name]
    config, table = setup(tmp_path, cell)
    order = [*cell.classes[1:], cell.classes[0]]
    parts = [[cells_of(config, cell, rows, seed) for rows in (ROWS, 5)] for seed in (1, 2)]
    folders = [mate(tmp_path / f"m{n}", *both, order, table) for n, both in enumerate(parts)]
    done = command("ensemble", "-c", tmp_path / "config.yaml", "--members", *folders)
    assert done.returncode == 0, done.stderr
    oof, test = ((one + other) / 2 for one, other in zip(*parts, strict=True))
    assert_equal(read_text_table(config.run_dir / "submission.csv"), submitted(config, cell, test))
    found = read_text_table(config.run_dir / "blend_oof.csv")
    assert found.columns.tolist() == ["id", *cell.classes]
    np.testing.assert_allclose(found[list(cell.classes)].astype(float), oof, atol=1e-6)


@pytest.mark.parametrize("orders", [("210", "120"), ("210", "012")])
def test_runs_and_tables_of_different_orders_blend_by_name(tmp_path: Path, orders: tuple[str, str]) -> None:
    cell = CELLS["multiclass, probabilities"]
    config, table = setup(tmp_path, cell)
    run, columns = config.model_copy(update={"run": "turned"}), tuple(CLASSES[int(c)] for c in orders[0])
    truth_NC = np.eye(3)[[CLASSES.index(label) for label in PETS["label"]]]
    made = make_run(run, table, truth_NC[:, [CLASSES.index(name) for name in columns]], classes=columns)
    oof, test = (cells_of(config, cell, rows, 1) for rows in (ROWS, 5))
    mate(tmp_path / "mate", oof, test, [CLASSES[int(c)] for c in orders[1]], table)
    done = command("ensemble", "-c", tmp_path / "config.yaml", "--members", "turned", tmp_path / "mate")
    assert done.returncode == 0, done.stderr
    ours = pd.concat(
        [pd.DataFrame(one.probs_NVC.mean(1), index=one.ids, columns=list(columns)) for one in made.values()]
    ).loc[table.ids, list(CLASSES)]
    found = read_text_table(config.run_dir / "blend_oof.csv")[list(CLASSES)].astype(float)
    np.testing.assert_allclose(found, (ours.to_numpy() + oof.to_numpy()) / 2, atol=1e-6)
    tests = [Predictions.load(run.run_dir / f"fold{fold}/test.npz") for fold in range(table.n)]
    by_name = sum(
        pd.DataFrame(one.probs_NVC.mean(1), index=one.ids, columns=list(columns)).loc[TEST_IDS] for one in tests
    )
    wanted = (by_name[list(CLASSES)].to_numpy() / table.n + test.to_numpy()) / 2
    assert_equal(
        read_text_table(config.run_dir / "submission.csv"),
        submitted(config, cell, pd.DataFrame(wanted, columns=list(CLASSES))),
    )


def test_classes_that_the_sample_names_are_those_of_the_blend(tmp_path: Path) -> None:
    """One of them has no training row, so that neither the folds nor `data.classes` name it."""
    cell = Cell(
        {"metric": "accuracy", "data__classes": "sample"},
        PETS,
        ("eel", "cat", "ant", "dog"),
        ["eel", "cat", "ant", "dog"],
        "named",
    )
    config, table = setup(tmp_path, cell)
    oof, test = (cells_of(config, cell, rows, 1) for rows in (ROWS, 5))
    folder = mate(tmp_path / "mate", oof, test, ["ant", "cat", "dog", "eel"], table)
    done = command("ensemble", "-c", tmp_path / "config.yaml", "--members", folder)
    assert done.returncode == 0, done.stderr
    assert_equal(read_text_table(config.run_dir / "submission.csv"), submitted(config, cell, test))


@pytest.mark.parametrize("template", [None, "{mask}-{age}"])
def test_the_heads_of_runs_are_combined_in_the_config_s_order(tmp_path: Path, template: str | None) -> None:
    """0, 1, … say nothing of their labels: the heads' own classes are brought into order before they are combined."""
    cell = CELLS["heads, called 0, 1, …" if template is None else "heads, by template"]
    config, table = setup(tmp_path, cell)
    run = config.model_copy(update={"run": "turned"})
    classes, heads = ("age=b", "age=a", "mask=on", "mask=off"), [["age", 0, 2], ["mask", 2, 4]]
    rng, parts = np.random.default_rng(0), dict[str, list[pd.DataFrame]](valid=[], test=[])
    (run.run_dir).mkdir(parents=True)
    (run.run_dir / "config.yaml").write_text(dump(run))
    for fold in range(table.n):
        meta = {"run": "turned", "fold": fold, "fold_hash": table.fold_hash, "task": "multiclass", "heads": heads}
        for part, ids in (("valid", table.valid_ids(fold)), ("test", TEST_IDS)):
            probs_NC = np.hstack([rng.dirichlet(np.ones(2), len(ids)) for _ in heads]).astype(np.float32)
            probs_NVC = np.repeat(probs_NC[:, None], 2, axis=1)
            Predictions(ids, ("identity", "hflip"), classes, probs_NVC, meta).save(
                run.run_dir / f"fold{fold}/{part}.npz"
            )
            pairs = {
                f"{mask}-{age}": probs_NC[:, classes.index(f"mask={mask}")] * probs_NC[:, classes.index(f"age={age}")]
                for mask in ("off", "on")
                for age in ("a", "b")
            }
            parts[part].append(pd.DataFrame(pairs, index=ids))
    done = command("ensemble", "-c", tmp_path / "config.yaml", "--members", "turned")
    assert done.returncode == 0, done.stderr
    found = read_text_table(config.run_dir / "blend_oof.csv")
    assert found.columns.tolist() == ["id", *cell.classes]
    wanted = pd.concat(parts["valid"]).loc[table.ids, list(FOUR)]
    np.testing.assert_allclose(found[list(cell.classes)].astype(float), wanted, atol=1e-6)
    done = command("score", "-c", tmp_path / "config.yaml", "--set", "run=turned")
    assert done.returncode == 0, done.stderr
    scored = read_text_table(run.run_dir / "oof.csv")
    np.testing.assert_allclose(scored[list(cell.classes)].astype(float), wanted, atol=1e-6)
    right = wanted.to_numpy().argmax(1) == (HEADS["mask"] == "on") * 2 + (HEADS["age"] == "b")
    assert read_json(run.run_dir / "scores.json")["variants"]["tta"]["pooled"] == pytest.approx(right.mean())
    test = (sum(one.loc[TEST_IDS] for one in parts["test"]) / table.n)[list(FOUR)].set_axis(list(cell.classes), axis=1)
    assert_equal(read_text_table(config.run_dir / "submission.csv"), submitted(config, cell, test))

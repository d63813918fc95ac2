"""The folds command: makes a table once, verifies it after, refuses what cannot be."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.config.loading import load
from pipeline.errors import InputError, MismatchError
from pipeline.folds import stage as folds


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def report_of(path: Path) -> dict[str, Any]:
    return json.loads(path.with_suffix(".json").read_text())


def make(competition: Path, *settings: str, force: bool = False) -> Path:
    return folds.run(load([competition / "config.yaml"], list(settings)), force=force)


def edit(competition: Path, **columns: Any) -> pd.DataFrame:
    """Change columns of the training table; a callable gets the row number."""
    table = read(competition / "train.csv")
    for name, of_row in columns.items():
        table[name] = [str(of_row(i)) for i in range(len(table))]
    table.to_csv(competition / "train.csv", index=False)
    return table


def test_the_command_makes_then_reuses_then_refuses(competition: Path, cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "folds" / "shapes.csv"
    first = cli("folds", "-c", competition / "config.yaml")
    assert first.returncode == 0, first.stderr
    assert "made" in first.stdout and "stratified_group (groups have several rows" in first.stdout
    table, report = read(path), report_of(path)
    assert table.columns.tolist() == ["id", "group", "label", "fold"]
    assert table["id"].tolist() == [f"{i:04d}" for i in range(48)]
    assert (table.groupby("group")["fold"].nunique() == 1).all()
    assert [fold["size"] for fold in report["folds"]] == [16, 16, 16]
    assert report["lower_bound"] <= report["deviation"]
    assert report["deviation"] <= min(report["others"]["sklearn StratifiedGroupKFold"].values())
    assert set(report["versions"]) == {"numpy", "pandas", "scikit-learn", "iterative-stratification"}
    before = path.read_bytes(), path.with_suffix(".json").read_bytes()

    again = cli("folds", "-c", competition / "config.yaml", "--set", "folds.scheme=stratified_group")
    assert again.returncode == 0 and "reused" in again.stdout
    refused = cli("folds", "-c", competition / "config.yaml", "--set", "folds.n=4", "--set", "folds.seed=1")
    assert refused.returncode == 3
    assert "folds.n 3, the config means 4" in refused.stderr
    assert "folds.seed 42, the config means 1" in refused.stderr
    assert "--force" in refused.stderr
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == before

    forced = cli("folds", "-c", competition / "config.yaml", "--set", "folds.n=4", "--force")
    assert forced.returncode == 0 and "remade" in forced.stdout
    assert set(read(path)["fold"]) == {"0", "1", "2", "3"}


def test_row_order_does_not_matter(competition: Path) -> None:
    first = make(competition).read_bytes()
    read(competition / "train.csv").sample(frac=1, random_state=0).to_csv(competition / "train.csv", index=False)
    assert "reused" not in str(make(competition, force=True))
    assert load([competition / "config.yaml"], []).folds_path.read_bytes() == first


def test_changed_data_is_named(competition: Path) -> None:
    make(competition)
    edit(competition, label=lambda i: "disk" if i == 5 else ["cross", "disk", "square"][i % 3])
    with pytest.raises(MismatchError, match=r"1 ids \(first '0005'\) changed in label"):
        make(competition)


def test_a_bare_table_is_adopted_as_given(competition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(competition)
    before = path.read_bytes()
    path.with_suffix(".json").unlink()
    make(competition)
    assert path.read_bytes() == before
    assert report_of(path)["scheme"] == "given"
    assert "scheme given" in capsys.readouterr().out
    make(competition, "folds.n=4")  # what a given table was asked for is unknown


def test_stratify_by_columns_together_and_binned_numbers(competition: Path) -> None:
    edit(competition, site=lambda i: "ab"[i // 3 % 2], age=lambda i: 20 + 7 * i % 48)
    path = make(competition, "folds.stratify=[site, age]", "folds.bins=3", "data.group=null", "folds.n=4")
    report, table = report_of(path), read(path)
    assert report["scheme"] == "stratified" and report["stratify"] == ["site", "age"] and report["bins"] == 3
    source = read(competition / "train.csv")
    assert (table["group"] == "").all()
    for key in (source["label"], source["site"], (source["age"].astype(int) - 20) // 16):
        counts = pd.crosstab(key.to_numpy(), table["fold"])
        assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1
    with pytest.raises(MismatchError, match=r"folds\.bins 3, the config means 5"):
        make(competition, "folds.stratify=[site, age]", "folds.bins=5", "data.group=null", "folds.n=4")


def test_several_labels_are_balanced_with_and_without_groups(competition: Path) -> None:
    edit(
        competition,
        label=lambda i: " ".join(name for b, name in enumerate("pqr") if (i * 7 // 3 + i) >> b & 1),
    )
    several = ("data.task=multilabel", "data.separator=' '", "loss.name=binary_cross_entropy")
    metric = "metric=mean_column_auc"
    path = make(competition, *several, metric)
    assert report_of(path)["scheme"] == "multilabel_group"
    assert (read(path).groupby("group")["fold"].nunique() == 1).all()
    path = make(competition, *several, metric, "data.group=null", force=True)
    report = report_of(path)
    assert report["scheme"] == "multilabel"
    assert report["deviation"] <= min(report["others"]["iterstrat MultilabelStratifiedKFold"].values()) + 1e-12


def test_holdout_validates_one_share_once(competition: Path) -> None:
    path = make(competition, "folds.scheme=holdout", "folds.valid_share=0.25")
    table = read(path)
    assert table["fold"].value_counts().to_dict() == {"-1": 36, "0": 12}
    assert (table.groupby("group")["fold"].nunique() == 1).all()
    assert [fold["fold"] for fold in report_of(path)["folds"]] == [0, -1]


def test_impossible_wishes_are_told_apart(competition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"folds\.n: found 12 groups for 13 folds"):
        make(competition, "folds.n=13")
    with pytest.raises(InputError, match=r"folds\.scheme: found 'stratified', which would put rows of one data"):
        make(competition, "folds.scheme=stratified")
    with pytest.raises(InputError, match=r"without data\.group"):
        make(competition, "folds.scheme=group", "data.group=null")
    with pytest.raises(InputError, match="balances sizes alone"):
        make(competition, "folds.scheme=group", "folds.stratify=label")
    assert not (competition.parent / "folds").exists()
    edit(
        competition,
        label=lambda i: "rare" if i == 0 else "few" if i in (1, 20) else "disk",
        group=lambda i: f"g{i // 4 % 12}" if i < 20 else "giant",
    )
    report = report_of(make(competition))
    assert "label 'rare' lies in one group" in report["warnings"][1]
    assert "label 'few' lies in 2 groups, fewer than 3 folds" in report["warnings"][0]
    assert "group 'giant' holds 58% of the rows" in report["warnings"][2]
    assert "warning: label 'rare'" in capsys.readouterr().out


def test_torch_is_not_imported(competition: Path, cli: Any) -> None:
    import subprocess

    code = (
        "import sys; from pipeline.cli import main; "
        f"assert main(['folds', '-c', {str(competition / 'config.yaml')!r}]) == 0; "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

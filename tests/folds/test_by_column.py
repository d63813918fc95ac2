"""Folds of a column are taken as they stand; folds in the order of time train on earlier rows alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import several
from hypothesis import given
from hypothesis import strategies as st

from pipeline.batches.inputs import Inputs
from pipeline.competition.competition import load as read_competition
from pipeline.config.loading import load
from pipeline.errors import InputError, MismatchError, Refused
from pipeline.folds import fold_table
from pipeline.folds import stage as folds
from pipeline.folds.by_column import blocks
from pipeline.studies import estimate
from pipeline.training.fold import Fold


def with_column(root: Path, name: str, of_row: Any) -> None:
    path = root / "train.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table[name] = [str(of_row(n)) for n in range(len(table))]
    table.to_csv(path, index=False)


def make(root: Path, *settings: str, force: bool = False) -> fold_table.FoldTable:
    config = load([root / "config.yaml"], settings)
    folds.run(config, force=force)
    return fold_table.read(config)


def report_of(table: fold_table.FoldTable) -> dict[str, Any]:
    return json.loads(table.path.with_suffix(".json").read_text())


def test_the_tables_folds_are_taken_as_they_stand(competition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_column(competition, "part", lambda n: "" if n >= 44 else f"fold{(1, 2, 10)[min(n // 8, 2)]}")
    table = make(competition, "folds.column=part")
    assert table.fold.tolist() == [*[0] * 8, *[1] * 8, *[2] * 28, *[-1] * 4]
    assert table.train_ids(0).tolist() == table.ids[8:].tolist() and not table.forward
    out = capsys.readouterr().out
    assert "scheme column (the folds of part, numbered fold1 → 0, fold2 → 1, fold10 → 2)" in out
    assert "never validated: 4 rows" in out and "warning: fold 2 validates 28 rows, fold 0 8" in out
    report = report_of(table)
    assert report["column"] == "part" and report["cells"] == ["fold1", "fold2", "fold10"] and "seed" not in report
    shares = np.array([[3, 3, 2, 8], [2, 3, 3, 8], [10, 9, 9, 28]]) / [15, 15, 14, 44]  # labels, then rows
    assert report["deviation"] == pytest.approx(float(np.sqrt(((shares - 1 / 3) ** 2).mean(0)).mean()))
    assert report["lower_bound"] <= report["deviation"]
    with pytest.raises(MismatchError, match=r"folds\.scheme 'column', the config means 'stratified_group'"):
        make(competition)
    with_column(competition, "part", lambda n: "fold1" if n < 12 else "fold2")
    with pytest.raises(MismatchError, match=r"36 ids \(first '0008'\) have another fold by part \(folds\.column\) now"):
        make(competition, "folds.column=part")
    assert make(competition, "folds.column=part", force=True).n == 2


def test_a_split_column_is_one_fold_that_is_validated(competition: Path) -> None:
    with_column(competition, "split", lambda n: "train" if n < 32 else "valid")
    table = make(competition, "folds.column=split")
    assert table.n == 1 and table.valid_ids(0).tolist() == table.ids[32:].tolist()
    assert table.train_ids(0).tolist() == table.ids[:32].tolist()


def test_labels_that_a_fold_never_trains_on_are_named(competition: Path) -> None:
    with_column(competition, "fold", lambda n: "ab"[n % 3 == 2])
    table = make(competition, "folds.column=fold", "data.group=null")
    found = "fold {} validates labels that it trains on no row of: {}"
    assert {found.format(0, "cross, disk"), found.format(1, "square")} <= set(report_of(table)["warnings"])


def test_groups_never_cross_the_tables_folds(competition: Path) -> None:
    with_column(competition, "fold", lambda n: n % 2)
    with pytest.raises(InputError, match="12 groups of group lie in several folds: 'g00' in 1 and 0"):
        make(competition, "folds.column=fold")


def test_later_rows_validate_models_of_earlier_ones(competition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_column(competition, "date", lambda n: f"2021-{12 - n // 4:02}-01")  # the last group is the first
    settings = ["folds.scheme=time", "folds.column=date", "folds.n=3"]
    table = make(competition, *settings)
    assert table.fold.tolist() == [*[2] * 12, *[1] * 12, *[0] * 12, *[-1] * 12]
    assert [sorted(table.train_ids(k).tolist())[0] for k in range(3)] == ["0036", "0024", "0012"]
    out = capsys.readouterr().out
    assert "scheme time (by date; fold k trains on the rows before it alone)\n" in out
    assert "fold 0, 2021-04-01 to 2021-06-01: 12 rows" in out
    assert "never validated, 2021-01-01 to 2021-03-01: 12 rows" in out
    config = load([competition / "config.yaml"], settings)
    read, images = read_competition(config), Inputs()
    for k in range(3):
        fold = Fold.of(config, table, read, images.training_images(config), k)
        assert set(fold.train.ids.tolist()) == {f"{n:04d}" for n in range(48 - 12 * (k + 1), 48)}
        assert set(fold.valid.ids.tolist()) == {f"{n:04d}" for n in range(36 - 12 * (k + 1), 48 - 12 * (k + 1))}
    assert estimate.fold_sizes(config, 96, table=folds.of_column(config, read)) == [(24, 24), (48, 24), (72, 24)]
    other = fold_table.FoldTable(table.ids, table.groups, table.targets, table.fold)
    assert other.fold_hash != table.fold_hash  # its models would be trained on other rows
    with pytest.raises(InputError, match=r"found 12 different times, of whole groups, for 12 folds .* lower folds\.n"):
        make(competition, *settings[:2], "folds.n=12", force=True)


def test_an_adopted_table_follows_the_configs_rule(competition: Path) -> None:
    with_column(competition, "date", lambda n: 2000 + n // 4)
    settings = ["folds.scheme=time", "folds.column=date", "folds.n=3"]
    table = make(competition, *settings)
    table.path.with_suffix(".json").unlink()  # a teammate's bare table
    adopted = make(competition, *settings)
    assert adopted.forward and adopted.fold_hash == table.fold_hash
    assert adopted.train_ids(0).tolist() == table.train_ids(0).tolist()


def test_a_patients_images_are_as_late_as_the_last_one(competition: Path) -> None:
    several(competition)
    with_column(competition, "year", lambda n: n)
    table = make(competition, "folds.scheme=time", "folds.column=year", "folds.n=2")
    assert dict(zip(table.ids.tolist(), table.fold.tolist(), strict=True)) == {
        f"p{a}{b}": (3 * a + b) // 4 - 1 for a in range(4) for b in range(3)
    }


@given(
    times=st.lists(st.integers(0, 12), min_size=6, max_size=60),
    seed=st.integers(0, 99),
    n=st.integers(2, 4),
    grouped=st.booleans(),
)
def test_no_fold_trains_on_its_future(times: list[int], seed: int, n: int, grouped: bool) -> None:
    time_N = np.array(times, dtype=np.float64)
    unit_N = np.arange(len(times))
    if grouped:
        unit_N = np.unique(np.random.default_rng(seed).integers(0, len(times), len(times)), return_inverse=True)[1]
    try:
        fold_N = blocks(time_N, unit_N, n)
    except Refused:
        last_U = [time_N[unit_N == unit].max() for unit in np.unique(unit_N)]
        assert len(set(last_U)) <= n
        return
    assert sorted(set(fold_N.tolist())) == list(range(-1, n))
    assert all(len(set(fold_N[unit_N == unit].tolist())) == 1 for unit in np.unique(unit_N))
    last_N = np.array([time_N[unit_N == unit].max() for unit in unit_N])
    for k in range(n):
        assert time_N[fold_N < k].max() < last_N[fold_N == k].min()


def test_blocks_are_as_even_as_ties_allow() -> None:
    assert blocks(np.arange(10.0), np.arange(10), 4).tolist() == [-1, -1, 0, 0, 1, 1, 2, 2, 3, 3]
    tied = np.array([0, 0, 0, 0, 0, 0, 1, 2, 3, 4.0])
    assert blocks(tied, np.arange(10), 3).tolist() == [-1] * 6 + [0, 1, 2, 2]

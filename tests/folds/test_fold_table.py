"""Fold tables: their hashes, and every way in which one may not fit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.competition.competition import Competition
from pipeline.config.config import Config
from pipeline.errors import MismatchError
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable


def config(folder: Path, target: str | list[str] = "label") -> Config:
    return Config.model_validate(
        {
            "name": "tiny",
            "folds_dir": str(folder / "folds"),
            "data": {"root": str(folder), "image": "{id}.png", "target": target, "group": "g"},
            "model": {"name": "resnet18"},
        }
    )


def competition(order: list[int] | None = None) -> Competition:
    """Six rows in three groups, in the given order."""
    rows = pd.DataFrame(
        {
            "id": ["003", "01", "1", "a,b", 'q"', "ü"],
            "label": ["x", "y", "x", "y", "x", "y"],
            "g": ["p", "p", "q", "q", "r", "r"],
        }
    )
    rows = rows.iloc[order or range(6)].reset_index(drop=True)
    ids = np.asarray(rows["id"].tolist(), dtype=np.str_)
    return Competition(
        ids=ids,
        images=[],
        rows_I=np.arange(len(ids)),
        image_ids=ids,
        table=rows,
        groups=np.asarray(rows["g"].tolist(), dtype=np.str_),
        classes=("x", "y"),
        targets_NC=np.stack([rows["label"] == "x", rows["label"] == "y"], axis=1).astype(np.float32),
        weights_N=None,
        test_ids=np.array([], dtype=np.str_),
        test_images=[],
        test_rows_J=np.array([], dtype=np.int64),
        test_image_ids=np.array([], dtype=np.str_),
        extra=None,
        sample=pd.DataFrame(),
    )


FOLDS = {"003": 0, "01": 0, "1": 1, "a,b": 1, 'q"': -1, "ü": -1}


def made(folder: Path, order: list[int] | None = None) -> FoldTable:
    data = competition(order)
    fold_N = np.array([FOLDS[name] for name in data.ids.tolist()])
    return fold_table.of_competition(data, ["label"], fold_N, config(folder).folds_path)


def written(folder: Path) -> Path:
    table = made(folder)
    return fold_table.write(config(folder), table, {"fold_hash": table.fold_hash, "table_hash": table.table_hash})


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    path = written(tmp_path)
    table = fold_table.read(config(tmp_path))
    assert path.read_text().splitlines()[:2] == ["id,group,label,fold", "003,p,x,0"]
    assert table.ids.tolist() == sorted(FOLDS)
    assert table.fold.tolist() == [FOLDS[name] for name in sorted(FOLDS)]
    assert table.fold.dtype == np.int64
    assert table.n == 2
    assert table.valid_ids(0).tolist() == ["003", "01"]
    assert table.train_ids(0).tolist() == ["1", "a,b", 'q"', "ü"]
    fold_table.verify(table, competition())
    assert (table.table_hash, table.fold_hash) == (made(tmp_path).table_hash, made(tmp_path).fold_hash)


def test_a_subset_keeps_whole_groups_and_grows_with_its_share() -> None:
    ids = np.array([f"{n:03d}" for n in range(200)])
    groups, targets = np.array([f"g{n // 4}" for n in range(200)]), pd.DataFrame({"label": ["a"] * 200})
    table = fold_table.FoldTable(ids, groups, targets, np.arange(200) // 4 % 5)
    kept = {share: {k: set(table.train_ids(k, share, 7).tolist()) for k in range(5)} for share in (0.2, 0.5, 1.0)}
    assert set().union(*kept[0.2].values()) < set().union(*kept[0.5].values()) < set(ids.tolist())
    for k in range(5):
        assert kept[1.0][k] == set(table.train_ids(k).tolist())
        assert not kept[0.5][k] & set(table.valid_ids(k).tolist())
    whole = set().union(*kept[0.2].values())
    assert len(whole) == 0.2 * 200
    assert all(f"{4 * group + part:03d}" in whole for group in {int(name) // 4 for name in whole} for part in range(4))
    assert table.train_ids(0, 0.5, 8).tolist() != table.train_ids(0, 0.5, 7).tolist()
    alone = fold_table.FoldTable(ids, np.full(200, ""), targets, np.arange(200) % 5)
    assert 60 <= len(alone.train_ids(0, 0.5, 7)) <= 100


def test_row_order_line_ends_and_other_columns_do_not_matter(tmp_path: Path) -> None:
    path = written(tmp_path)
    table = made(tmp_path, [5, 3, 1, 0, 2, 4])
    assert table.table_hash == made(tmp_path).table_hash
    assert table.fold_hash == made(tmp_path).fold_hash
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert fold_table.read(config(tmp_path)).table_hash == table.table_hash
    other = competition([2, 0, 1, 5, 4, 3])
    other.table["unused"] = "1"
    fold_table.verify(fold_table.read(config(tmp_path)), other)


def test_hashes_see_what_they_should(tmp_path: Path) -> None:
    table = made(tmp_path)
    unvalidated = table.fold.copy()
    unvalidated[0] = -1
    assert dataclasses.replace(table, fold=unvalidated).fold_hash != table.fold_hash
    assert dataclasses.replace(table, fold=unvalidated).table_hash == table.table_hash
    moved = table.groups.copy()
    moved[0] = "z"
    assert dataclasses.replace(table, groups=moved).table_hash != table.table_hash
    assert dataclasses.replace(table, groups=moved).fold_hash == table.fold_hash


def test_a_target_named_like_our_columns_survives(tmp_path: Path) -> None:
    table = dataclasses.replace(made(tmp_path), targets=pd.DataFrame({"fold": list("xyxyxy"), "group": list("010101")}))
    fold_table.write(config(tmp_path), table, {"fold_hash": table.fold_hash})
    again = fold_table.read(config(tmp_path, ["fold", "group"]))
    assert again.targets.to_numpy().tolist() == table.targets.to_numpy().tolist()
    assert again.targets.columns.tolist() == ["fold", "group"]
    assert again.fold.tolist() == table.fold.tolist()


def test_a_missing_table_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="not found; make it with: foldline folds"):
        fold_table.read(config(tmp_path))


def test_a_table_made_for_another_target_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(MismatchError, match=r"made for the target label, data\.target asks for kind; .*--force"):
        fold_table.read(config(tmp_path, "kind"))


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("003,p,x,0", "003,p,x,1", "1 groups lie in several folds"),
        ("003,p,x,0\n01,p,y,0", "003,p,x,1\n01,p,y,1", "found the folds \\[1\\]"),
        ("003,p,x,0", "01,p,x,0", "1 ids \\(first '01'\\) twice"),
        ("003,p,x,0", "003,p,x,zero", "1 ids \\(first '003'\\) without a fold number"),
        ("003,p,x,0", "003,p,x,-2", "without a fold number"),
        ("003,p,x,0\n", "", "fold hash .* one of them was changed"),
        ("003,p,x,0", "003,p,y,0", "table hash .* one of them was changed"),
        ("003,p,x,0\n01,p,y,0", "003,q2,x,0\n01,q2,y,0", "table hash .* one of them was changed"),
        ("id,group", "image,group", "expected id, group, target…, fold"),
    ],
)
def test_a_changed_table_is_refused(tmp_path: Path, old: str, new: str, found: str) -> None:
    path = written(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(MismatchError, match=found):
        fold_table.read(config(tmp_path))


def test_a_bare_table_is_read(tmp_path: Path) -> None:
    written(tmp_path).with_suffix(".json").unlink()
    assert fold_table.read(config(tmp_path)).n == 2
    assert fold_table.read_report(config(tmp_path)) is None


def test_a_report_that_is_no_object_is_refused(tmp_path: Path) -> None:
    written(tmp_path).with_suffix(".json").write_text(json.dumps([1]))
    with pytest.raises(MismatchError, match="found list, expected keys"):
        fold_table.read(config(tmp_path))


def test_a_damaged_report_is_refused(tmp_path: Path) -> None:
    """Whatever it says, not only the hashes: a scheme or a deviation with another digit is not what was made."""
    path = written(tmp_path).with_suffix(".json")
    text = path.read_text()
    assert "sha256" not in (fold_table.read_report(config(tmp_path)) or {})
    path.write_text(json.dumps({**json.loads(text), "seed": 43}))
    with pytest.raises(MismatchError, match=r"tiny\.json: damaged \(its SHA-256 differs\); restore it, or remake"):
        fold_table.read(config(tmp_path))
    path.write_text(json.dumps({key: value for key, value in json.loads(text).items() if key != "sha256"}))
    assert fold_table.read(config(tmp_path)).n == 2  # of an earlier version


def test_verify_lists_everything_that_differs(tmp_path: Path) -> None:
    table, data = made(tmp_path), competition()
    data.table.loc[1, "label"] = "x"
    ids, groups = data.ids.copy(), data.groups.copy()
    ids[0], groups[2] = "new", "r"
    with pytest.raises(MismatchError) as caught:
        fold_table.verify(table, dataclasses.replace(data, ids=ids, groups=groups))
    missing, unknown, label, group = caught.value.lines
    assert "1 ids (first 'new') of the training table not in it" in missing
    assert "1 ids (first '003') not in the training table" in unknown
    assert "1 ids (first '01') changed in label ('y' here, 'x' in the training table)" in label
    assert "1 ids (first '1') changed in group ('q' here, 'r' in the training table)" in group
    assert all("foldline folds --force" in defect for defect in caught.value.lines)
    assert caught.value.exit_code == 3


def test_rows_are_found_by_id_wherever_they_stand() -> None:
    ids = np.array(["b", "007", "a", "7"])
    np.testing.assert_array_equal(ids[fold_table.row_numbers(ids, np.array(["7", "a", "007"]))], ["7", "a", "007"])
    assert fold_table.row_numbers(ids, np.array([], dtype=np.str_)).dtype == np.int64
    with pytest.raises(KeyError, match="c"):
        fold_table.row_numbers(ids, np.array(["a", "c"]))

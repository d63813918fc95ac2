"""Fingerprints: what a stage read, whether it still holds, and which field differs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.fingerprints import ENGINE_VERSION
from pipeline.config.keys import below
from pipeline.config.loading import parse
from pipeline.errors import MismatchError
from pipeline.files import checksums


def config(**sections: Any) -> Config:
    tree = {
        "name": "leaves",
        "data": {"root": "r", "image": "{id}.png", "target": "label"},
        "model": {"name": "resnet18", "size": [64, 48]},
    }
    return parse({**tree, **sections}, "a.yaml")


def test_fields_are_the_named_keys_the_files_and_the_engine() -> None:
    found = fingerprints.fields(config(), below("data.task", "mix", "model.size"), fold_hash="abc")
    assert found == {
        "engine": ENGINE_VERSION,
        "fold_hash": "abc",
        "data.task": "multiclass",
        "mix.kind": "none",
        "mix.patch": "box",
        "mix.alpha": 1.0,
        "mix.prob": 0.5,
        "mix.off_last_epochs": 0,
        "model.size": [64, 48],
    }


def test_only_what_is_read_changes_the_digest() -> None:
    keys = below("train.lr", "model")
    same = checksums.digest(fingerprints.fields(config(), keys))
    assert len(same) == 64
    assert same == checksums.digest(fingerprints.fields(config(run="other", runs_dir="/elsewhere"), keys))
    assert same != checksums.digest(fingerprints.fields(config(train={"lr": 1e-3}), keys))
    assert same != checksums.digest(fingerprints.fields(config(), keys, images="1"))


def test_the_digest_does_not_depend_on_the_order() -> None:
    assert checksums.digest({"a": 1, "b": 2.5}) == checksums.digest({"b": 2.5, "a": 1})


def test_an_unknown_key_is_a_bug() -> None:
    with pytest.raises(KeyError):
        fingerprints.fields(config(), ("train.learning_rate",))


def test_differences_name_the_fields() -> None:
    old = {"train.lr": 1e-3, "mix.kind": "none", "same": 1}
    assert fingerprints.differences(old, {**old, "train.lr": 1e-4}) == ["train.lr: 0.001 -> 0.0001"]
    assert fingerprints.differences(old, old) == []


def test_a_field_that_came_or_went_is_a_difference() -> None:
    """With a newer version a key may appear whose value is null: a refusal that names nothing helps nobody."""
    assert fingerprints.differences({}, {"train.patience": None}) == ["train.patience: absent -> None"]
    assert fingerprints.differences({"train.patience": None}, {}) == ["train.patience: None -> absent"]


def test_an_empty_section_is_a_field() -> None:
    columns = fingerprints.fields(config(submission={"columns": {}}), below("submission"))
    assert columns["submission.columns"] == {}


def test_a_stage_is_done_with_exactly_its_fields(tmp_path: Path) -> None:
    found = fingerprints.fields(config(), below("model", "train"))
    assert not fingerprints.is_done(tmp_path, "train", found)
    assert fingerprints.read_stamp(tmp_path, "train") is None
    fingerprints.stamp(tmp_path, "train", found)
    assert fingerprints.is_done(tmp_path, "train", found)
    assert not fingerprints.is_done(tmp_path, "predict", found)
    assert not fingerprints.is_done(tmp_path, "train", {**found, "train.lr": 1.0})
    assert fingerprints.read_stamp(tmp_path, "train") == found
    assert [path.name for path in (tmp_path / "stamps").iterdir()] == ["train.json"]


def test_tuples_survive_a_stamp(tmp_path: Path) -> None:
    fingerprints.stamp(tmp_path, "train", {"size": (3, 4)})
    assert fingerprints.is_done(tmp_path, "train", {"size": (3, 4)})


def test_a_damaged_stamp_is_said(tmp_path: Path) -> None:
    fingerprints.stamp(tmp_path, "train", {"a": 1})
    (tmp_path / "stamps/train.json").write_text('{"a"')
    with pytest.raises(MismatchError, match=r"train\.json"):
        fingerprints.read_stamp(tmp_path, "train")


def test_file_hashes_are_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    (tmp_path / "b").write_bytes(b"weights")
    assert checksums.file_hash(tmp_path / "a") == checksums.file_hash(tmp_path / "b")
    assert checksums.file_hash(tmp_path / "a") == hashlib.sha256(b"weights").hexdigest()
    assert checksums.file_hash(tmp_path / "gone") == "missing"

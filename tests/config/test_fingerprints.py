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
    held = fingerprints.read_stamp(tmp_path, "train")
    assert held is not None and (held.fields, held.written, held.under) == (found, {}, {})
    assert [path.name for path in (tmp_path / "stamps").iterdir()] == ["train.json"]


def test_tuples_survive_a_stamp(tmp_path: Path) -> None:
    fingerprints.stamp(tmp_path, "train", {"size": (3, 4)})
    assert fingerprints.is_done(tmp_path, "train", {"size": (3, 4)})


DAMAGE: dict[str, bytes] = {
    "cut": b'{"a"',
    "emptied": b"",
    "a list": b"[1]",
    "no object": b'{"a": 1, "written": 3}',
    "other bytes": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_stamp_is_said(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """Who must not take a damaged stamp for none reads it; a cheap stage is made again."""
    fingerprints.stamp(tmp_path, "train", {"a": 1})
    (tmp_path / "stamps/train.json").write_bytes(content)
    with pytest.raises(MismatchError, match=r"train\.json"):
        fingerprints.read_stamp(tmp_path, "train")
    assert not fingerprints.is_done(tmp_path, "train", {"a": 1})
    out = capsys.readouterr().out
    assert "train.json" in out and out.endswith("train is made again\n") and out.count("\n") == 1


def test_a_changed_digit_in_a_stamp_is_damage(tmp_path: Path) -> None:
    """It would be said to be another setting, and cost the fold."""
    fingerprints.stamp(tmp_path, "train-fold0", {"train.lr": 0.001})
    path = fingerprints.stamp_path(tmp_path, "train-fold0")
    path.write_text(path.read_text().replace("0.001", "0.003"))
    with pytest.raises(MismatchError, match="SHA-256"):
        fingerprints.read_stamp(tmp_path, "train-fold0")


def test_what_a_stage_wrote_is_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir, found = tmp_path / "run", {"a": 1}
    files = [run_dir / "oof.csv", run_dir / "submissions/plain.csv"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("id,a\n1,0.5\n")
    fingerprints.stamp(run_dir, "score", found, files)
    held = fingerprints.read_stamp(run_dir, "score")
    assert held is not None and sorted(held.written) == ["oof.csv", "submissions/plain.csv"]
    assert fingerprints.is_done(run_dir, "score", found, files[:1])
    assert not fingerprints.is_done(run_dir, "score", found, [run_dir / "other.csv"])
    assert capsys.readouterr().out == ""

    files[1].write_text("id,a\n1,0.4\n")  # verified although nobody names it
    assert not fingerprints.is_done(run_dir, "score", found, files[:1])
    assert capsys.readouterr().out == f"{files[1]}: is not as score wrote it (SHA-256 differs); made again\n"
    files[0].unlink()
    assert fingerprints.state(run_dir, "score", found)[1][0].found == "is missing, score wrote it"
    assert fingerprints.state(run_dir, "score", {"a": 2}) == (False, [])  # made again anyway: nothing to say


def test_a_stamp_of_an_earlier_version_says_nothing_of_files(tmp_path: Path) -> None:
    (tmp_path / "stamps").mkdir()
    (tmp_path / "stamps/score.json").write_text('{"a": 1}')
    (tmp_path / "oof.csv").write_text("id\n")
    assert fingerprints.is_done(tmp_path, "score", {"a": 1})
    assert not fingerprints.is_done(tmp_path, "score", {"a": 1}, [tmp_path / "oof.csv"])


def test_circumstances_are_kept_beside_the_fields(tmp_path: Path) -> None:
    fingerprints.stamp(tmp_path, "train-fold0", {"a": 1}, under={"precision": "bf16", "shape": (1, 2)})
    held = fingerprints.read_stamp(tmp_path, "train-fold0")
    assert held is not None and held.under == {"precision": "bf16", "shape": [1, 2]}
    assert fingerprints.is_done(tmp_path, "train-fold0", {"a": 1})  # they are not compared
    with pytest.raises(ValueError, match="written"):
        fingerprints.stamp(tmp_path, "score", {"written": 1})


def test_file_hashes_are_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    (tmp_path / "b").write_bytes(b"weights")
    assert checksums.file_hash(tmp_path / "a") == checksums.file_hash(tmp_path / "b")
    assert checksums.file_hash(tmp_path / "a") == hashlib.sha256(b"weights").hexdigest()
    assert checksums.file_hash(tmp_path / "gone") == "missing"

"""Predictions come back as they were, are never unpickled, and are refused where they are no numbers."""

from __future__ import annotations

import dataclasses
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import MismatchError
from pipeline.prediction.predictions import Predictions


@pytest.fixture
def predictions() -> Predictions:
    probs_NVC = np.random.default_rng(0).dirichlet(np.ones(3), (4, 2)).astype(np.float32)
    return Predictions(np.array(["007", "7", "ä", "x"]), ("identity", "hflip"), ("a", "b", "c"), probs_NVC, {"fold": 1})


def test_predictions_come_back_as_they_were(tmp_path: Path, predictions: Predictions) -> None:
    path = tmp_path / "fold0" / "valid.npz"
    predictions.save(path)
    found = Predictions.load(path)
    np.testing.assert_array_equal(found.ids, predictions.ids)
    np.testing.assert_array_equal(found.probs_NVC, predictions.probs_NVC)
    assert found.probs_NVC.dtype == np.float32
    assert (found.views, found.classes, found.meta) == (predictions.views, predictions.classes, {"fold": 1})
    np.testing.assert_allclose(found.mean(["hflip"]), predictions.probs_NVC[:, 1])
    with pytest.raises(MismatchError, match="rot90 are not predicted"):
        found.mean(["rot90"])


def test_the_same_predictions_give_the_same_bytes(tmp_path: Path, predictions: Predictions) -> None:
    predictions.save(tmp_path / "a.npz")
    old = time.time() - 1e6
    os.utime(tmp_path / "a.npz", (old, old))
    dataclasses.replace(predictions, probs_NVC=np.asfortranarray(predictions.probs_NVC)).save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_predictions_that_are_no_numbers_are_not_saved(tmp_path: Path, predictions: Predictions, value: float) -> None:
    probs_NVC = predictions.probs_NVC.copy()
    probs_NVC[1, 0, 2] = value
    with pytest.raises(MismatchError, match="NaN or infinity"):
        dataclasses.replace(predictions, probs_NVC=probs_NVC).save(tmp_path / "x.npz")
    with pytest.raises(MismatchError, match="predicted twice"):
        dataclasses.replace(predictions, ids=np.array(["a", "b", "a", "c"])).save(tmp_path / "x.npz")
    with pytest.raises(MismatchError, match="does not fit"):
        dataclasses.replace(predictions, views=("identity",)).save(tmp_path / "x.npz")
    assert list(tmp_path.iterdir()) == []


class Bomb:
    """Write a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.path),))


def test_nothing_is_unpickled(tmp_path: Path, predictions: Predictions) -> None:
    path, trace = tmp_path / "x.npz", tmp_path / "trace"
    ids = np.array([Bomb(trace)], dtype=object)
    np.savez(path, ids=ids, views=["identity"], classes=["a"], probs=np.ones((1, 1, 1), np.float32), meta="{}")
    with pytest.raises(MismatchError, match="damaged"):
        Predictions.load(path)
    path.write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(MismatchError, match="damaged"):
        Predictions.load(path)
    assert not trace.exists()


def parts(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return dict(file)


PARTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a probability": lambda file: {"probs": file["probs"] + np.float32(1e-6)},
    "an id": lambda file: {"ids": np.asarray(["007", "8", "ä", "x"])},
    "views turned": lambda file: {"views": file["views"][::-1]},
    "other dtype": lambda file: {"probs": file["probs"].astype(np.float16)},
    "text for numbers": lambda file: {"probs": file["probs"].astype(str)},
    "numbers for text": lambda file: {"ids": np.arange(4)},
    "one axis": lambda file: {"probs": file["probs"].ravel()},
    "fewer rows": lambda file: {"ids": file["ids"][:2]},
    "no ids": lambda file: {"ids": np.asarray("x")},
    "no JSON": lambda file: {"meta": np.asarray("{")},
    "no object": lambda file: {"meta": np.asarray("[1]")},
    "other meta": lambda file: {"meta": np.asarray(str(file["meta"]).replace('"fold": 1', '"fold": 2'))},
    "a head": lambda file: {"meta": np.asarray('{"heads": [["a", 0, 9]]}')},
    "no head": lambda file: {"meta": np.asarray('{"heads": [1]}')},
    "top": lambda file: {"top": np.zeros((4, 2, 3))},
}


@pytest.mark.parametrize("change", PARTS.values(), ids=list(PARTS))
def test_changed_parts_are_damage(
    tmp_path: Path, predictions: Predictions, change: Callable[[dict[str, Any]], Any]
) -> None:
    """Written anew with the zip's own checksums in order: only ours can tell."""
    path = tmp_path / "x.npz"
    predictions.save(path)
    np.savez(path, **{**parts(path), **change(parts(path))})
    with pytest.raises(MismatchError, match=r"x\.npz: .*") as error:
        Predictions.load(path)
    assert len(error.value.lines) == 1 and "foldline predict" in str(error.value)


@pytest.mark.parametrize("name", ["ids", "views", "classes", "probs", "meta"])
def test_a_part_that_lacks_is_damage(tmp_path: Path, predictions: Predictions, name: str) -> None:
    path = tmp_path / "x.npz"
    predictions.save(path)
    np.savez(path, **{key: value for key, value in parts(path).items() if key != name})
    with pytest.raises(MismatchError, match=r"x\.npz: damaged"):
        Predictions.load(path)


def test_predictions_of_earlier_versions_have_no_checksum(tmp_path: Path, predictions: Predictions) -> None:
    path = tmp_path / "x.npz"
    predictions.save(path)
    np.savez(path, **{**parts(path), "meta": np.asarray('{"fold": 1}')})
    np.testing.assert_array_equal(Predictions.load(path).probs_NVC, predictions.probs_NVC)


def test_a_flipped_bit_is_damage(tmp_path: Path, predictions: Predictions) -> None:
    """Of bytes all over the file; what is let through holds the same."""
    path = tmp_path / "x.npz"
    predictions.save(path)
    content = path.read_bytes()
    for number in range(0, len(content), 5):
        path.write_bytes(content[:number] + bytes([content[number] ^ 1 << number % 7]) + content[number + 1 :])
        try:
            found = Predictions.load(path)
        except MismatchError as error:
            assert len(error.lines) == 1 and "\n" not in error.lines[0]
        else:
            np.testing.assert_array_equal(found.probs_NVC, predictions.probs_NVC)
            np.testing.assert_array_equal(found.ids, predictions.ids)
            assert (found.views, found.classes, found.meta) == (predictions.views, predictions.classes, {"fold": 1})


def test_damaged_and_missing_predictions(tmp_path: Path, predictions: Predictions) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(MismatchError, match="missing; make it with: foldline predict"):
        Predictions.load(path)
    predictions.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MismatchError, match="damaged"):
        Predictions.load(path)

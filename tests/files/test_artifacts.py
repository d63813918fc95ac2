"""Files appear whole or not at all, are never unpickled, and belong to one process at a time."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import LockedError, MismatchError, SpaceError
from pipeline.files.atomic import atomic, read_json, write_json, write_text
from pipeline.files.locks import lock
from pipeline.files.tables import read_text_table, write_table
from pipeline.prediction.predictions import Predictions


@pytest.fixture
def predictions() -> Predictions:
    probs_NVC = np.random.default_rng(0).dirichlet(np.ones(3), (4, 2)).astype(np.float32)
    return Predictions(np.array(["007", "7", "ä", "x"]), ("identity", "hflip"), ("a", "b", "c"), probs_NVC, {"fold": 1})


def spawn(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python process and wait for its first line."""
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


HALF_WRITTEN = """
import sys, time
from pathlib import Path
from pipeline.files.atomic import atomic
with atomic(Path(sys.argv[1])) as beside:
    with beside.open("w") as stream:
        stream.write("half of the new")
        stream.flush()
        print("ready", flush=True)
        time.sleep(60)
"""


def test_a_kill_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "scores.json"
    write_text(path, "old")
    kill(spawn(HALF_WRITTEN, str(path)))
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"


def test_an_error_half_way_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with pytest.raises(RuntimeError), atomic(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_unwritable_places_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpaceError, match="cannot be written"):
        write_text(tmp_path / "file" / "scores.json", "x")
    with pytest.raises(SpaceError, match="cannot be written"), lock(tmp_path / "file"):
        pass
    with pytest.raises(SpaceError, match="No space left on device"), atomic(tmp_path / "x") as beside:
        beside.write_bytes(b"")
        Path("/dev/full").write_text("x")


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": [1.5, None, "ü"]})
    assert read_json(path) == {"a": [1.5, None, "ü"]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, float("nan"))
    assert read_json(path) == {"a": [1.5, None, "ü"]}
    path.write_text("{")
    with pytest.raises(MismatchError, match="not readable as JSON"):
        read_json(path)


def test_tables_keep_text_and_digits(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    values = np.random.default_rng(0).random(50)
    write_table(path, pd.DataFrame({"id": [f"{n:03d}" for n in range(50)], "p": values}))
    found = read_text_table(path)
    assert found["id"].iloc[7] == "007"
    np.testing.assert_array_equal(found["p"].astype(float), values)
    path.write_bytes(b"\xef\xbb\xbfid,label\r\n007,\r\nNA,null\r\n")
    assert read_text_table(path).to_dict("list") == {"id": ["007", "NA"], "label": ["", "null"]}


def test_lines_longer_than_the_header_do_not_shift_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("id,label\n1,a,\n2,b,\n")
    with pytest.raises(ValueError, match="more cells than its header"):
        read_text_table(path)


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


def test_damaged_and_missing_predictions(tmp_path: Path, predictions: Predictions) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(MismatchError, match="missing; make it with: foldline predict"):
        Predictions.load(path)
    predictions.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MismatchError, match="damaged"):
        Predictions.load(path)


HOLD = """
import sys, time
from pathlib import Path
from pipeline.files.locks import lock
with lock(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_locked_out_until_the_first_dies(tmp_path: Path) -> None:
    first = spawn(HOLD, str(tmp_path / "run"))
    with (
        pytest.raises(LockedError, match=rf"locked by process {first.pid};") as error,
        lock(tmp_path / "run"),
    ):
        pass
    assert error.value.exit_code == 4
    kill(first)
    for _ in range(2):
        with lock(tmp_path / "run"):
            assert (tmp_path / "run" / ".lock").read_text() == str(os.getpid())

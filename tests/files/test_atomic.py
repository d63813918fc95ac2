"""Files appear whole or not at all, and belong to one process at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import LockedError, MismatchError, SpaceError
from pipeline.files.atomic import atomic, read_json, write_json, write_text
from pipeline.files.locks import lock


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

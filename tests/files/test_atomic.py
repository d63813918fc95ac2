"""Files appear whole or not at all, and belong to one process at a time."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import LockedError, MismatchError, SpaceError, TrainingError
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


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(".*.part"))


def test_what_a_kill_left_is_removed_and_what_is_being_written_stays(tmp_path: Path) -> None:
    left, living = tmp_path / "run" / "fold0" / "left.csv", tmp_path / "run" / "fold0" / "living.csv"
    kill(spawn(HALF_WRITTEN, str(left)))
    left.with_name(".hidden.part").write_text("somebody else's")
    process = spawn(HALF_WRITTEN, str(living))
    left.with_name(".old.json.4711.part").write_text("of an earlier version")
    assert [name[:5] for name in parts(tmp_path)] == [".hidd", ".livi", ".old."]  # the second writer found the first's
    with lock(tmp_path / "run"):
        assert [name[:5] for name in parts(tmp_path)] == [".hidd", ".livi"]
    kill(process)
    write_text(left, "new")
    assert parts(tmp_path) == [".hidden.part"] and left.read_text() == "new"


def test_a_long_name_is_written_too(tmp_path: Path) -> None:
    for name in ("x" * 255, "é" * 127):
        write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"


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
    (tmp_path / "folder" / "x").mkdir(parents=True)
    with pytest.raises(SpaceError, match="folder: cannot be written: Is a directory"):
        write_text(tmp_path / "folder", "x")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(SpaceError, match="cannot be written: File exists"):
        write_text(tmp_path / "one" / "x", "x")
    with pytest.raises(SpaceError, match="File name too long"):
        write_text(tmp_path / ("x" * 256), "x")


def test_a_limit_or_a_quota_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_text(path, "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(SpaceError, match="x: cannot be written: File too large"):
            write_text(path, "new" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    for number in (errno.EDQUOT, errno.EIO):
        with pytest.raises(SpaceError, match="x: cannot be written: "), atomic(path):
            raise OSError(number, os.strerror(number))
    with pytest.raises(TrainingError, match="ran out of open files"), atomic(path):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    with pytest.raises(FileNotFoundError), atomic(path):
        (tmp_path / "another").read_text()
    assert path.read_text() == "old" and parts(tmp_path) == []


def test_the_lock_of_a_disk_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "run" / ".lock").mkdir(parents=True)
    with pytest.raises(SpaceError, match="run: cannot be written: Is a directory"), lock(tmp_path / "run"):
        pass


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
    for text, said in (
        ("[" * 100_000, "nested too deep"),
        ("9" * 5000, "not readable as JSON"),
        ("\0", "not readable"),
    ):
        path.write_text(text)
        with pytest.raises(MismatchError, match=said):
            read_json(path)
    path.write_bytes(b"\xff\xfe\x00\x00")
    with pytest.raises(MismatchError, match="not readable as JSON"):
        read_json(path)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dead").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for name, said in (
        ("pipe", "is a named pipe, expected a file"),
        ("", "is a folder, expected a file"),
        ("dead", "is a link to nowhere, which is not there"),
        ("loop", "cannot be read: Too many levels of symbolic links"),
        ("none", "cannot be read: No such file"),
        ("pipe/x", "cannot be read: Not a directory"),
    ):
        with pytest.raises(MismatchError, match=said):
            read_json(tmp_path / name)


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

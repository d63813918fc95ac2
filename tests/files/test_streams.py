"""What is printed arrives, in whatever encoding; a closed or full output ends quietly, by its kind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NAME = "猫 🐈 é"


def foldline(folder: Path, *arguments: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a folder, its output buffered as it is by default."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "", **more.pop("env", {})}  # type: ignore[dict-item]
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=folder,
        env=environment,
        timeout=60,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},  # type: ignore[call-overload]
    )


@pytest.fixture
def entered(tmp_path: Path) -> Path:
    """Return a folder whose ledger has a note that not every terminal can show."""
    (tmp_path / "runs").mkdir()
    header = "date,competition,run,metric,cv,std,cross_fitted,public,private,note"
    row = f"2026-01-01T00:00:00Z,cats,one,accuracy,0.5,,,,,{NAME}"
    (tmp_path / "runs" / "leaderboard.csv").write_text(f"{header}\n{row}\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_characters_that_the_output_lacks_are_replaced(entered: Path, encoding: str) -> None:
    done = foldline(entered, "leaderboard", env={"PYTHONIOENCODING": encoding, "LANG": "C"})
    assert done.returncode == 0, done.stderr
    assert NAME.encode(encoding, "replace") in done.stdout and not done.stderr


def test_a_name_of_no_encoding_is_shown(entered: Path) -> None:
    done = foldline(entered, "score", "-c", os.fsdecode(b"no-\xff.yaml"), env={"PYTHONUTF8": "1"})
    assert done.returncode == 2 and b"no-\\udcff.yaml: not found" in done.stderr


def test_an_output_that_nobody_reads_ends_quietly(entered: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = foldline(entered, "leaderboard", stdout=pipe)
        assert (done.returncode, done.stderr) == (141, b"")
        assert foldline(entered, "--help", stdout=pipe).returncode == 141


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_output_is_told(entered: Path, unbuffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = foldline(entered, "leaderboard", stdout=full, env={"PYTHONUNBUFFERED": unbuffered})
        assert done.returncode == 5
        assert done.stderr == b"foldline: standard output: cannot be written: No space left on device\n"


def test_messages_that_cannot_be_written_leave_the_exit_code(entered: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        assert foldline(entered, "score", "-c", "none.yaml", stderr=full).returncode == 2
    command = f"{sys.executable} -m pipeline score -c none.yaml"
    for closed in ("2>&-", "2>&- >&-", "<&- >&-"):
        assert subprocess.run(["sh", "-c", f"{command} {closed}"], cwd=entered, capture_output=True).returncode == 2

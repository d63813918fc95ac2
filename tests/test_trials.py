"""The fuzz run and the kill trial themselves work: a short one of each, with fixed seeds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def trial(script: str, *options: str) -> str:
    command = [sys.executable, f"tests/trials/{script}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


def test_mutated_files_are_refused_or_read(tmp_path: Path) -> None:
    said = trial("fuzz.py", "--short", "--trials", "30", "--jobs", "2", "--workplace", str(tmp_path))
    assert "30 trials in" in said and ", 0 wrong" in said


@pytest.mark.slow
def test_killed_commands_end_in_the_same_bytes(tmp_path: Path) -> None:
    said = trial("kills.py", "--kills", "4", "--only", "folds,train inside epochs", "--workplace", str(tmp_path))
    assert ", 0 unequal" in said.replace("; 0 unequal", ", 0 unequal")

"""Signals to the real command, alone and with folds at once: a checkpoint, its exit code, then the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Cli


@pytest.mark.parametrize(
    ("at_once", "number", "code"),
    [
        (2, signal.SIGINT, 130),
        pytest.param(1, signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(2, signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_a_signal_writes_checkpoints_and_the_same_command_continues(
    at_once: int, number: signal.Signals, code: int, competition: Path, cli: Cli, tmp_path: Path
) -> None:
    """Ctrl-C reaches the whole group of processes, SIGTERM the command alone."""

    def command(name: str) -> list[str]:
        settings = (f"run={name}", f"train.parallel_folds={at_once}", "train.epochs=5", "augment.train=light")
        return [
            "train",
            "-c",
            str(competition / "config.yaml"),
            "--fold",
            "0,1",
            *(x for s in settings for x in ("--set", s)),
        ]

    assert cli("folds", "-c", competition / "config.yaml").returncode == 0
    assert cli(*command("whole")).returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *command("cut")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    while "epoch   1/5" not in (line := process.stdout.readline()):
        assert line, "the run ended before it could be ended"
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == code
    assert (
        said.splitlines()[-1]
        == f"foldline: {'interrupted' if code == 130 else 'terminated'}; the same command continues"
    )
    assert "Traceback" not in said and "Warning" not in said
    resumed = cli(*command("cut"))
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed" in resumed.stdout
    for fold in (0, 1):
        left, right = (tmp_path / "runs" / name / f"fold{fold}/model.safetensors" for name in ("whole", "cut"))
        assert left.read_bytes() == right.read_bytes(), fold

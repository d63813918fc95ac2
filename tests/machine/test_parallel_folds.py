"""Folds that are trained at once: who sees which GPU, what is said, how failures end, and the same bytes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT, Cli

from pipeline.errors import InputError, Problem, TrainingError
from pipeline.machine import interruption, parallel_folds
from pipeline.machine.processes import cores


def note(folder: Path, fold: int) -> None:
    (folder / f"{fold}").write_text(f"{os.environ.get('CUDA_VISIBLE_DEVICES', 'none')} {os.getpid()}")
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:  # both processes are seen at work
        time.sleep(0.01)


def fail(folder: Path, fold: int) -> None:
    if fold == 1:
        while not (folder / "0 began").exists():
            time.sleep(0.01)
        raise InputError(Problem("fold 1", "found nothing"))
    (folder / f"{fold} began").touch()
    with interruption.deferred():
        while interruption.pending() is None:
            time.sleep(0.01)
        (folder / f"{fold} ended").touch()
    interruption.check()


def die(_: Path, __: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_every_process_has_a_gpu_of_its_own(tmp_path: Path) -> None:
    parallel_folds.run(partial(note, tmp_path), [0, 1, 2], 2, ["GPU-a", "GPU-b"])
    found = [(tmp_path / f"{fold}").read_text().split() for fold in (0, 1, 2)]
    assert {gpu for gpu, _ in found} == {"GPU-a", "GPU-b"}
    assert len({tuple(one) for one in found}) == 2  # a process keeps its GPU


def test_a_failure_ends_the_others_and_is_the_error_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fold 1: found nothing"):
        parallel_folds.run(partial(fail, tmp_path), [0, 1, 2, 3], 2, [])
    assert (tmp_path / "0 ended").exists() and not (tmp_path / "3 began").exists()


def test_a_process_that_dies_is_told_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"lower train\.parallel_folds"):
        parallel_folds.run(partial(die, tmp_path), [0, 1], 2, [])


def test_as_many_as_there_are_gpus_or_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parallel_folds.count("auto", 5, gpus=4) == 4
    assert parallel_folds.count("auto", 1000, gpus=0) == cores()
    assert parallel_folds.count(3, 2, gpus=0) == 2
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert parallel_folds.count("auto", 5, gpus=2) == 1
    with pytest.raises(
        InputError, match=r"train\.parallel_folds: found 3 in 2 processes, which train each fold together"
    ):
        parallel_folds.count(3, 5, gpus=2)


def test_lines_stay_whole_and_name_their_fold() -> None:
    written = io.StringIO()
    lines = parallel_folds.PrefixedStream(written, 3)
    assert not lines.isatty()
    with redirect_stdout(lines):
        print("epoch", 1)
        print("half a ", end="")
        print("line\nmore")
    assert written.getvalue() == "[3] epoch 1\n[3] half a line\n[3] more\n"


def test_folds_at_once_give_the_same_bytes_also_after_a_kill(competition: Path, cli: Cli, tmp_path: Path) -> None:
    def command(name: str, at_once: int) -> list[str]:
        settings = (f"runs_dir={tmp_path}/{name}", f"train.parallel_folds={at_once}", "train.epochs=4")
        return ["train", "-c", str(competition / "config.yaml"), *(x for one in settings for x in ("--set", one))]

    assert cli("folds", "-c", competition / "config.yaml").returncode == 0
    assert cli(*command("one", 1)).returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *command("two", 2)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    while "epoch   2/4" not in (line := process.stdout.readline()):
        assert line, "the run ended before it could be killed"
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(workers) >= 2
    process.kill()
    process.communicate(timeout=60)  # ends when the folds have ended too, as they write into the same pipe
    deadline = time.monotonic() + 30
    while any(_lives(pid) for pid in workers):
        assert time.monotonic() < deadline, "a fold is trained on though its run is gone"
        time.sleep(0.05)

    resumed = cli(*command("two", 2))
    assert resumed.returncode == 0, resumed.stderr
    assert "[1] fold 1: 32 rows to train" in resumed.stdout and "resumed after epoch" in resumed.stdout
    for fold in (0, 1, 2):
        left, right = (tmp_path / name / f"shapes/fold{fold}/model.safetensors" for name in ("one", "two"))
        assert left.read_bytes() == right.read_bytes(), fold


def _lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False

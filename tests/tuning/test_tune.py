"""Tune with the real command: killed and continued, by several workers, on SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT, Cli
from postgres import server

from pipeline.cli import main
from pipeline.config.loading import load
from pipeline.folds import stage as folds

RATES = [0.01, 0.02]
DIVERGES = 1e30


def overlay(competition: Path, **tune: object) -> list[str | Path]:
    """Return the arguments of a command that tunes, with these settings of `tune`."""
    space = {"train.lr": {"choice": [*RATES, DIVERGES]}}
    study = {"space": space, "folds": [0], "fresh_seeds": 0, **tune}
    tree = {"studies_dir": str(competition.parent / "studies"), "tune": study}
    path = competition / "tune.yaml"
    path.write_text(yaml.safe_dump(tree))
    return ["-c", competition / "config.yaml", "-c", path]


def workers(study: Path) -> list[int]:
    """Return the processes of the study's workers, by their command lines."""
    given = str(study / "config.yaml").encode()
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found += [int(path.name)] if given in (path / "cmdline").read_bytes() else []
    return found


def test_a_killed_study_goes_on_where_it_was(competition: Path, cli: Cli, capfd: pytest.CaptureFixture[str]) -> None:
    given = overlay(competition, epochs=8, epoch_rule=False)
    folds.run(load(given[1::2]))
    study = competition.parent / "studies/shapes"
    arguments = ["tune", *given, "--trials", 3]

    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipeline", *map(str, arguments)]
    first = subprocess.Popen(command, cwd=competition.parent, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    until = time.monotonic() + 120
    while not (begun := list(study.glob("trial-*/fold*/state/last.safetensors"))) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)  # the command first, which would replace a worker
    for pid in workers(study):
        os.kill(pid, signal.SIGKILL)
    first.communicate()
    assert begun, "nothing was trained within two minutes"
    begun = list(study.glob("trial-*/fold*/state/last.safetensors")) or begun

    done = cli(*arguments, timeout=900)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(study / "trials.csv")
    assert table["trial"].tolist() == [0, 1, 2] and table["run"].is_unique
    assert sorted(table["train.lr"]) == [*RATES, DIVERGES]
    assert table.set_index("train.lr")["state"].to_dict() == {**dict.fromkeys(RATES, "complete"), DIVERGES: "failed"}
    assert table.loc[table["state"] == "failed", "reason"].str.contains("not finite").all()
    whole = table[table["state"] == "complete"]
    assert whole["fold0"].tolist() == pytest.approx(whole["value"].tolist())
    assert {path.parents[2].name for path in begun} <= set(table["run"])
    assert "resumed after epoch" in (begun[0].parents[1] / "train.log").read_text()
    assert not workers(study) and not list(study.glob("**/model.safetensors"))

    assert "3 trials" in done.stdout and "2 finished, 1 failed" in done.stdout
    assert "the best of 2: optimistic" in done.stdout
    assert "optuna-dashboard sqlite:///" in done.stdout
    for name in ("history.png", "slice.png"):  # where all trials score alike, importance has nothing to show
        assert (study / name).read_bytes()[:4] == b"\x89PNG"
    best = load([competition / "config.yaml", study / "best.yaml"])
    assert best.train.lr == whole.sort_values("value", ascending=False, kind="stable")["train.lr"].iloc[0]
    assert best.train.epochs == 2  # what a trial may cost is not part of the recipe

    stamps = {path: path.stat().st_mtime for path in study.glob("**/epochs.csv")}
    assert main([str(one) for one in arguments]) == 0
    assert "the best of 2: optimistic" in capfd.readouterr().out
    assert {path: path.stat().st_mtime for path in study.glob("**/epochs.csv")} == stamps


def test_two_workers_share_a_study_on_postgresql(
    competition: Path, cli: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    given = overlay(competition, epochs=1)
    folds.run(load(given[1::2]))
    with server() as url:
        done = cli("tune", *given, "--trials", 2, "--workers", 2, "--storage", url, timeout=900)
        assert done.returncode == 0, done.stderr
        capfd.readouterr()
        assert main(["tune", *map(str, given), "--report", "--storage", url]) == 0
    table = pd.read_csv(competition.parent / "studies/shapes/trials.csv")
    assert len(table) == 2 and table["run"].is_unique
    assert "in postgresql+psycopg://foldline@127.0.0.1" in done.stdout
    assert "study shapes: " in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--trials", "1"], 3, "make it with: foldline folds"),
        (["--set", "tune.space={train.lrr: {float: [0, 1]}}", "--trials", "1"], 2, "did you mean 'train.lr'?"),
        (["--set", "tune.space={train.lr: {float: [1, 0]}}", "--trials", "1"], 2, "expected the lower end first"),
        ([], 2, "neither --trials nor --timeout"),
        (["--report"], 2, "expected a study"),
        (["--trials", "1", "--workers", "0"], 2, "--workers: found 0, expected at least 1"),
    ],
)
def test_what_cannot_start_is_said_before_the_first_trial(
    competition: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    given = [str(one) for one in overlay(competition)]
    assert main(["tune", *given, *arguments]) == code
    assert said in capsys.readouterr().err
    assert not list((competition.parent / "studies").glob("*/trial-*"))

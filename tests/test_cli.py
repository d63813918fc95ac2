"""The command line: what each command takes, exit codes, one line for a bug with its traceback in a file."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

from pipeline import cli as command_line
from pipeline.errors import FoldlineError, InputError, LockedError, MismatchError, Problem, SpaceError, TrainingError
from pipeline.machine import interruption

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
HEAVY = {"torch", "pandas", "numpy", "pydantic", "yaml", "timm"}


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pipeline", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode == 0 and "usage: foldline" in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "pipeline" in imported and not imported & HEAVY


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command_line.main(["--help"])
    shown = capsys.readouterr().out
    assert caught.value.code == 0
    assert all(f"\n    {name}" in shown for name in command_line.COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian", "-c", "a.yaml"], "invalid choice: 'trian'"),
        ([], "required: COMMAND"),
        (["train"], "required: -c/--config"),
        (["train", "-c", "a.yaml", "--fold", "0,x"], "found '0,x', expected fold numbers such as 0,2"),
        (["train", "-c", "a.yaml", "--flod", "0"], "unrecognized arguments: --flod"),
        (["score", "-c", "a.yaml", "--fold", "0"], "unrecognized arguments: --fold"),
        (["example", "cats"], "invalid choice: 'cats'"),
    ],
)
def test_wrong_arguments_exit_with_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command_line.main(arguments)
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_a_missing_config_exits_with_2(cli: Cli) -> None:
    done = cli("check", "-c", "gone.yaml")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("foldline: gone.yaml: not found")


@pytest.mark.parametrize("fold", ["3", "-1", "0,7"])
def test_a_fold_that_does_not_exist_exits_with_2(
    fold: str, competition: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(competition / "config.yaml")
    assert command_line.main(["folds", "-c", config]) == 0
    assert command_line.main(["train", "-c", config, f"--fold={fold}"]) == 2
    wrong = fold.split(",")[-1]
    assert f"--fold: found {wrong}, expected numbers from 0 to 2" in capsys.readouterr().err


def test_folds_are_sorted_and_taken_once() -> None:
    parser = command_line.parser()
    assert parser.parse_args(["train", "-c", "a.yaml", "--fold", "2,0,2"]).fold == [0, 2]
    arguments = parser.parse_args(["run", "-c", "a.yaml", "-c", "b.yaml", "--set", "a.b=1", "--set", "c=2"])
    assert (arguments.config, arguments.set) == (["a.yaml", "b.yaml"], ["a.b=1", "c=2"])


WRONG = (Problem("a", "wrong"), Problem("b", "wrong too"))


def fails(monkeypatch: pytest.MonkeyPatch, fail: Callable[..., None]) -> None:
    """Let the command `score` fail, whatever its config."""
    monkeypatch.setattr(command_line, "_config", lambda _: None)
    monkeypatch.setattr("pipeline.scoring.stage.run", fail)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError(*WRONG), 2),
        (MismatchError(*WRONG), 3),
        (LockedError(*WRONG), 4),
        (SpaceError(*WRONG), 5),
        (TrainingError(*WRONG), 6),
        (FoldlineError(*WRONG), 1),
    ],
)
def test_every_error_has_its_code_and_a_line_per_defect(
    error: FoldlineError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    fails(monkeypatch, fail)
    assert command_line.main(["score", "-c", "a.yaml"]) == code
    assert capsys.readouterr().err == "foldline: a: wrong\nfoldline: b: wrong too\n"


def test_a_bug_is_one_line_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("lost\nkey")

    fails(monkeypatch, fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert command_line.main(["score", "-c", "a.yaml"]) == 1
    shown = capsys.readouterr().err
    (log,) = tmp_path.glob("foldline-*.log")
    assert shown.count("\n") == 1
    assert shown.startswith("foldline: internal error: KeyError: ") and str(log) in shown
    written = log.read_text()
    assert written.startswith("Traceback") and "raise KeyError" in written


def test_a_bug_whose_message_has_several_lines_is_still_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("shapes differ\n  expected 3\n  found 4")

    fails(monkeypatch, fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert command_line.main(["score", "-c", "a.yaml"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "code", "how"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_a_command_with_its_code(
    number: int, code: int, how: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(monkeypatch, lambda *_: signal.raise_signal(number))
    before = signal.getsignal(number)
    assert command_line.main(["score", "-c", "a.yaml"]) == code
    assert capsys.readouterr().err == f"foldline: {how}; the same command continues\n"
    assert signal.getsignal(number) is before


def test_an_error_of_a_process_that_ended_first_is_the_signal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where another process of torchrun has closed the connection."""

    def fail(*_: object) -> None:
        with interruption.deferred():
            signal.raise_signal(signal.SIGTERM)
            raise RuntimeError("Connection closed by peer")

    fails(monkeypatch, fail)
    assert command_line.main(["score", "-c", "a.yaml"]) == 143
    assert capsys.readouterr().err == "foldline: terminated; the same command continues\n"

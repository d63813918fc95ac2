"""Files that cannot be read: permissions, pipes, loops of links, nesting. One line each, by whose they are."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import write_competition

from pipeline.cli import main
from pipeline.config import trees

DAC_OVERRIDE, DAC_READ_SEARCH, DROP = 1, 2, 24  # capabilities by which root reads all, and prctl's PR_CAPBSET_DROP
Damage = Callable[[Path], object]


def without_rights() -> None:
    """Let root be a user like any other in the process that is started next."""
    libc = ctypes.CDLL(None)
    for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
        libc.prctl(DROP, capability, 0, 0, 0)


def foldline(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run the command line in a process that file modes hold for; return its exit code and what it said."""
    command = [sys.executable, "-m", "pipeline", *arguments]
    environment = {**os.environ, "MPLCONFIGDIR": str(folder / "matplotlib")}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=without_rights if os.geteuid() == 0 else None,
    )
    return done.returncode, [line for line in done.stderr.splitlines() if line.startswith(("foldline", "Trace"))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a competition, its config with paths relative to it, and a run that is finished."""
    folder = tmp_path_factory.mktemp("made")
    before = Path.cwd()
    os.chdir(folder)
    try:
        config = write_competition(Path()) / "config.yaml"
        tree = yaml.safe_load(config.read_text())
        tree["train"]["epochs"] = 1
        Path("c.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
        assert main(["run", "-c", "c.yaml"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working directory."""
    shutil.copytree(made, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def pipe(path: Path) -> None:
    remove(path)
    os.mkfifo(path)


def loop(path: Path) -> None:
    remove(path)
    path.symlink_to(path.name)


def dead(path: Path) -> None:
    remove(path)
    path.symlink_to("nowhere")


def directory(path: Path) -> None:
    remove(path)
    (path / "inside").mkdir(parents=True)


def remove(path: Path) -> None:
    path.unlink(missing_ok=True)


SCORE = ["score", "-c", "c.yaml"]
CHECK = ["check", "-c", "c.yaml", "--no-images"]


of_whom = pytest.mark.parametrize(
    ("file", "command", "code"),
    [
        ("c.yaml", SCORE, 2),
        ("shapes/train.csv", CHECK, 2),
        ("folds/shapes.csv", SCORE, 3),
        ("runs/shapes/fold1/valid.npz", SCORE, 3),
    ],
)


@of_whom
def test_what_may_not_be_read_is_told_by_whose_it_is(folder: Path, file: str, command: list[str], code: int) -> None:
    path = folder / file
    if not path.exists():
        path.write_text("x")
    path.chmod(0)
    try:
        found, said = foldline(folder, *command)
    finally:
        path.chmod(0o755)
    told = [line for line in said if "ermission" in line]
    assert (found, len(told)) == (code, 1), said
    assert file in told[0] and not any("internal error" in line for line in said)


@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("runs/shapes", [*SCORE, "--set", "metric=log_loss"]),
        ("folds", ["folds", "-c", "c.yaml", "--force"]),
    ],
)
def test_what_may_not_be_written_ends_with_5(folder: Path, place: str, command: list[str]) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.csv")}
    if place == "folds":
        (folder / "folds" / "shapes.json").write_text("{}")  # so that there is something to write
        (folder / "folds" / "shapes.csv").unlink()
        before.pop(folder / "folds" / "shapes.csv")
    (folder / place).chmod(0o555)
    try:
        found, said = foldline(folder, *command)
    finally:
        (folder / place).chmod(0o755)
    assert (found, len(said)) == (5, 1), said
    assert place in said[0] and "cannot be written: Permission denied" in said[0]
    assert {path: path.read_bytes() for path in folder.rglob("*.csv")} == before
    assert not list(folder.rglob(".*.part"))


@pytest.mark.parametrize("damage", [pipe, loop, dead, directory], ids=lambda one: one.__name__)
@of_whom
def test_no_file_where_one_is_read(
    folder: Path, file: str, command: list[str], code: int, damage: Damage, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folder / file)
    found = main(command)
    said = capsys.readouterr().err
    missing = "shapes.csv" in file or "fold1" in file  # what is not there may also be what a stage awaits first
    assert found == code or (missing and found in (2, 3)), said
    assert "internal error" not in said and "Traceback" not in said


@pytest.mark.parametrize("file", ["cache", "runs/shapes/scores.json", "runs/shapes/fold0/epochs.csv"])
def test_a_pipe_where_we_write_holds_nobody_up(folder: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = [*(folder / file).rglob("*.sqlite"), *(folder / file).rglob("*.bin")] or [folder / file]
    for path in found:
        pipe(path)
    for command in (["check", "-c", "c.yaml"], SCORE):
        assert main(command) in (0, 3, 5)
        assert "internal error" not in capsys.readouterr().err


LAUGHS = [
    "a: &a [x,x,x,x,x,x,x,x,x,x]",
    *(f"{name}: &{name} [{','.join([f'*{of}'] * 10)}]" for of, name in ("ab", "bc", "cd", "de", "ef")),
]
YAML = {
    "nested": (b"a: " + b"[" * 20_000, "nested too deep"),
    "nested maps": (b"a: " + b"{b: " * 20_000, "nested too deep"),
    "51 levels": (b"a: " + b"[" * 51 + b"]" * 51, "nested too deep"),
    "laughs": ("\n".join(LAUGHS).encode(), "more than 500,000 values"),
    "itself": (b"a: &a [*a]", "inside of what it is the name of"),
    "object": (b"a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    "date": (b"a: 2024-13-45", "month must be in 1..12"),
    "no date": (b"a: !!timestamp x", "not readable as YAML"),
    "no number": (b"a: !!int x", "invalid literal"),
    "no truth": (b"a: !!bool x", "not readable as YAML"),
    "no binary": ("a: !!binary é".encode(), "not readable as YAML"),
    "digits": (b"a: " + b"9" * 5000, "not readable as YAML"),
    "hexadecimal": (b"a: 0x" + b"f" * 5000, "more than 64 bits"),
    "NUL": (b'a: "x\\0y"', "a character that no name can have: 'x\\x00y'"),
    "surrogate": (b'a: "\\ud800"', "a character that no name can have"),
    "tab": (b"a:\tx\n\tb: c", "cannot start any token"),
    "UTF-16": ("a: b".encode("utf-16"), "not readable as YAML"),
    "large": (b"# " + b"x" * 5_000_000, "is 5,000,002 bytes large"),
    "keys": (b"? [a, b]\n: c", "unhashable key"),
}


@pytest.mark.parametrize("how", YAML)
def test_yaml_is_read_within_bounds(tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(YAML[how][0])
    assert main(["score", "-c", str(path)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"foldline: {path}: ") and YAML[how][1] in said and len(said) < 600


def test_what_yaml_may_hold_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: &x {b: 1}\nc: *x\nd: [*x, *x]\n")
    assert trees.read(path) == {"a": {"b": 1}, "c": {"b": 1}, "d": [{"b": 1}, {"b": 1}]}
    path.write_text("a:\n" + "".join(f"- {n}\n" for n in range(20_000)))
    assert len(trees.read(path)["a"]) == 20_000


def test_a_pipe_for_weights_is_not_waited_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe(folder / "runs/shapes/fold1/model.safetensors")
    assert main(["predict", "--from", "runs/shapes", "--test", "shapes/images"]) == 3
    assert "fold1/model.safetensors: damaged (is a named pipe)" in capsys.readouterr().err


@pytest.mark.parametrize("content", ['{"images": ' + "[" * 100_000, "[" * 100_000])
def test_json_nested_deep_is_refused(folder: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "shapes" / "train.json").write_text(content)
    assert main([*CHECK, "--set", "data.train=train.json"]) == 2
    assert "train.json: not readable as JSON: nested too deep" in capsys.readouterr().err
    (folder / "folds" / "shapes.json").write_text(content)
    assert main(SCORE) == 3
    assert "folds/shapes.json: not readable as JSON: nested too deep" in capsys.readouterr().err


def test_names_that_are_too_long_are_the_users(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for setting in (f"name={'x' * 300}", f"data.root={'x' * 300}", f"runs_dir={'x' * 300}"):
        assert main(["check", "-c", "c.yaml", "--set", setting]) == 2
        assert "internal error" not in capsys.readouterr().err


def test_a_time_in_the_future_changes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in folder.rglob("*.*"):
        if path.suffix != ".png":
            os.utime(path, (2**32, 2**32))
    before = (folder / "runs/shapes/submission.csv").read_bytes()
    for command in (["train", "-c", "c.yaml"], SCORE, ["ensemble", "-c", "c.yaml"]):
        assert main(command) == 0
        assert "epoch" not in capsys.readouterr().out
    assert (folder / "runs/shapes/submission.csv").read_bytes() == before

"""Check the scripts that set up and run everything, in a copy with a stand-in for Python and pip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ["run_all.sh", "tests/run.sh", ".ci/run"]
# Records what it is asked; LACKS is the answer of pipeline.installed.
STAND_IN = """#!/usr/bin/env bash
echo "$(basename "$(dirname "$(dirname "$0")")"): $*" >> "$CALLS"
case "$2" in
  pipeline.installed) exit "$LACKS" ;;
  venv) mkdir -p .venv/bin && cp "$0" .venv/bin/python && touch .venv/bin/pip && chmod +x .venv/bin/pip ;;
  pipeline) [[ $3 != run ]] || exit 3 ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone's scripts and configs, and beside it a folder with the stand-in for Python."""
    folder = tmp_path / "clone"
    for script in SCRIPTS:
        (folder / script).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / script, folder / script)
    shutil.copytree(ROOT / "configs", folder / "configs")
    python = tmp_path / "machine/bin/python3"
    python.parent.mkdir(parents=True)
    python.write_text(STAND_IN)
    python.chmod(0o755)
    return folder


def start(clone: Path, *command: str, lacks: bool) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a script; return it and what was asked of Python, `clone`'s being .venv's."""
    calls = clone.parent / "calls"
    calls.unlink(missing_ok=True)
    path = f"{clone.parent / 'machine/bin'}:{os.environ['PATH']}"
    environment = {"PATH": path, "CALLS": str(calls), "LACKS": str(int(lacks)), "HOME": str(clone)}
    done = subprocess.run(["bash", *command], cwd=clone, env=environment, capture_output=True, text=True)
    return done, calls.read_text().splitlines() if calls.exists() else []


@pytest.mark.parametrize("script", SCRIPTS)
def test_is_executable_bash(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / script], check=True)


def test_run_all_installs_then_reuses(clone: Path) -> None:
    done, calls = start(clone, "run_all.sh", lacks=True)
    assert done.returncode == 3, done.stderr  # the exit code of `run`
    assert calls[:2] == ["machine: -m pipeline.installed", "machine: -m venv .venv"]
    assert calls[2].startswith(".venv: -m pip install") and calls[2].endswith("-e .")
    assert calls[3] == ".venv: -m pipeline example digits --root data/digits"
    assert calls[4:] == [".venv: -m pipeline run -c configs/digits.yaml"]

    (clone / "data/digits").mkdir(parents=True)
    (clone / "data/digits/train.csv").touch()  # written last: the example is whole
    _, calls = start(clone, "run_all.sh", "--set", "train.lr=1e-3", lacks=False)
    assert calls == [
        ".venv: -m pipeline.installed",
        ".venv: -m pipeline run -c configs/digits.yaml --set train.lr=1e-3",
    ]


def test_run_all_takes_a_config(clone: Path) -> None:
    shutil.copy(clone / "configs/digits.yaml", clone / "mine.yaml")
    text = (clone / "mine.yaml").read_text()
    (clone / "mine.yaml").write_text(text.replace("name: digits\n", "name: elpv\n").replace("data/digits", "data/x"))
    _, calls = start(clone, "run_all.sh", "mine.yaml", "--dry", lacks=False)
    assert calls == [
        "machine: -m pipeline.installed examples",
        "machine: -m pipeline example elpv --root data/x",
        "machine: -m pipeline run -c mine.yaml --dry",
    ]
    done, calls = start(clone, "run_all.sh", "absent.yaml", lacks=False)
    assert done.returncode == 2 and calls == [] and "absent.yaml: not found" in done.stderr


def test_ci_runs_every_check(clone: Path) -> None:
    done, calls = start(clone, ".ci/run", lacks=False)
    assert done.returncode == 0, done.stderr
    checks = ["ruff check .", "ruff format --check .", "mypy", "pytest -n auto --dist loadfile"]
    assert calls == [
        "machine: -m pipeline.installed dev examples",
        *(f"machine: -m {check}" for check in checks),
    ]


def test_installed_names_what_is_missing(tmp_path: Path) -> None:
    from pipeline.installed import missing

    table = tmp_path / "pyproject.toml"
    table.write_text(
        '[project]\ndependencies = ["numpy>=2.0", "pandas>=999"]\n'
        '[project.optional-dependencies]\nmore = ["no-such-distribution"]\n'
    )
    assert missing(table, []) == ["pandas>=999"]
    assert missing(table, ["more"]) == ["pandas>=999", "no-such-distribution"]
    done = subprocess.run([sys.executable, "-m", "pipeline.installed"], cwd=ROOT)
    assert done.returncode == 0


def test_the_readmes_picture_can_be_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests/benchmarks")
    import why_folds

    monkeypatch.setattr(why_folds, "OUT", tmp_path / "picture.png")
    why_folds.main()
    said = [line.split(": ")[1].split(" pooled")[0] for line in capsys.readouterr().out.splitlines()[:2]]
    assert [f"{float(pooled):.3f}" for pooled in said] == ["0.990", "0.971"]  # as the README says
    assert (tmp_path / "picture.png").stat().st_size > 1000

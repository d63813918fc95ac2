"""Hold the layers by reading the imports: lower never import higher, stages never one another."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pipeline"
LAYERS = ("parts", "contracts", "engine", "stages")  # the lowest first
ABOVE = {"__init__", "__main__", "cli", "dry", "installed", "run", "teach"}  # the files beside the layers
MAY_USE_STAGES = {"cli", "run", "dry"}
TRAINS = {("train",), ("predict",), ("folds",)}
RUNS = {  # stages above others: a trial is a run, folds of another seed judge the winner; a variant is a run
    ("tune",): TRAINS,
    ("ablate",): {*TRAINS, ("check",)},
}
LIGHT = ["tune", "folds", "score", "ensemble", "report", "check", "leaderboard", "diff", "init"]
MODULES = sorted(path.relative_to(ROOT) for path in PACKAGE.rglob("*.py"))


def layer(parts: tuple[str, ...]) -> str:
    """Return the layer of `pipeline.x.y…`, or the name of the file beside the layers."""
    return parts[1] if len(parts) > 1 else "__init__"


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield what a file imports of ours, inside functions too; `from p.q import r` gives p.q.r."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: line {node.lineno}: a relative import hides its layer"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (tuple(name.split(".")) for name in names if name.split(".")[0] == "pipeline")


def allowed(own: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Tell whether the module `own` may import `other`; both are given as their names' parts."""
    mine, theirs = layer(own), layer(other)
    if theirs not in LAYERS:  # a file beside the layers, or a name of pipeline/__init__.py
        # The one way up: a stage's `main` reads the config as the command line gave it.
        reads_config = mine == "stages" and other[1:] == ("cli", "read_config")
        return mine in ABOVE or theirs not in ABOVE or reads_config
    if mine not in LAYERS:
        return theirs != "stages" or mine in MAY_USE_STAGES
    if mine == theirs == "stages":
        return own[2:3] == other[2:3] or other[2:3] in RUNS.get(own[2:3], ())  # a stage's own files, or below it
    return LAYERS.index(theirs) <= LAYERS.index(mine)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_only_lower_layers(path: Path) -> None:
    own = path.with_suffix("").parts
    assert layer(own) in {*LAYERS, *ABOVE}, f"{path} is in no layer"
    wrong = [".".join(other) for other in imported(path) if not allowed(own, other)]
    assert not wrong, f"{path} may not import {', '.join(wrong)}"


def test_the_rules_refuse_what_they_should() -> None:
    stage = ("pipeline", "stages", "score")
    assert not allowed(("pipeline", "parts", "views"), ("pipeline", "contracts", "config"))
    assert not allowed(("pipeline", "contracts", "task"), ("pipeline", "engine", "fit"))
    assert not allowed(("pipeline", "engine", "fit"), ("pipeline", "stages", "train"))
    assert not allowed(stage, ("pipeline", "stages", "train"))
    assert not allowed(stage, ("pipeline", "run", "run"))
    assert not allowed(("pipeline", "installed"), stage)
    assert not allowed(("pipeline", "stages", "tune", "trial"), ("pipeline", "stages", "ensemble"))
    assert allowed(("pipeline", "stages", "tune", "trial"), ("pipeline", "stages", "train"))
    assert allowed(("pipeline", "run"), stage)
    assert allowed(("pipeline", "contracts", "fingerprint"), ("pipeline", "ENGINE_VERSION"))
    assert allowed(("pipeline", "stages", "report", "making"), ("pipeline", "stages", "report", "files"))


def loaded_by(code: str) -> set[str]:
    """Return the names in sys.modules after a fresh Python ran the code."""
    program = f"{code}\nimport sys\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_nothing_heavy() -> None:
    code = """
import contextlib, runpy, sys
sys.argv = ["foldline", "--help"]
with contextlib.suppress(SystemExit):
    runpy.run_module("pipeline", run_name="__main__", alter_sys=True)
"""
    modules = loaded_by(code)
    assert "pipeline.cli" in modules
    assert not modules & {"torch", "pandas", "numpy", "pydantic", "sklearn", "matplotlib"}


@pytest.mark.parametrize("stage", LIGHT)
def test_light_stages_do_not_import_torch(stage: str) -> None:
    modules = loaded_by(f"import pipeline.stages.{stage}")
    assert f"pipeline.stages.{stage}" in modules
    assert not modules & {"torch", "timm", "accelerate", "matplotlib"}


def test_reading_cached_images_does_not_import_torch() -> None:
    assert "torch" not in loaded_by("import pipeline.engine.cache")  # the report shows images

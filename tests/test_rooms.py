"""Hold the rooms by reading the imports: a room imports those before it, and no two files import each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = [  # in the order of the data's way; the one configuration of this test
    *("errors", "plugins", "methods", "files", "config", "competition", "submission", "starting", "folds", "machine"),
    *("images", "batches", "models", "prediction", "training", "checking", "scoring", "blending", "report"),
    *("verifying", "tuning", "studies", "run", "commands", "cli"),
]
BESIDE = {"__init__", "__main__", "installed"}  # the package itself, and what runs before it is installed
FILES_A_ROOM, LINES_A_FILE = 14, 285
LIGHT = [  # nothing heavy is imported by these
    *("tuning.stage", "folds.stage", "scoring.stage", "blending.stage", "report.stage", "checking.stage"),
    *("scoring.leaderboard", "scoring.diff", "starting.init", "images.cache"),
]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "pipeline").rglob("*.py"))
}


def imported(module: str) -> Iterator[str]:
    """Yield the modules of ours that one imports: at its top, inside functions, for types alone."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: line {node.lineno}: a relative import hides its room"
            for alias in node.names:
                names = (f"{node.module}.{alias.name}", str(node.module))
                yield from [name for name in names if name in MODULES][:1]


IMPORTS = {module: set(imported(module)) for module in MODULES}


def room(module: str) -> str:
    """Return the room of `pipeline.room.file`."""
    return module.split(".")[1] if module != "pipeline" else "__init__"


def wrong_way(imports: dict[str, set[str]]) -> list[str]:
    """Return the imports that lead to a later room."""
    place = {name: number for number, name in enumerate(ROOMS)}
    return [
        f"{one} -> {other}"
        for one, others in imports.items()
        for other in sorted(others)
        if room(one) not in BESIDE and (room(other) in BESIDE or place[room(other)] > place[room(one)])
    ]


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Return the modules of one circle of imports, or none."""
    done: set[str] = set()

    def follow(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        for other in sorted(imports.get(module, ())):
            if found := follow(other, [*way, module]):
                return found
        done.add(module)
        return []

    return next((found for module in imports if (found := follow(module, []))), [])


def test_every_file_is_in_a_room() -> None:
    assert not {room(module) for module in MODULES} - {*ROOMS, *BESIDE}
    assert set(ROOMS) <= {room(module) for module in MODULES}


def test_rooms_import_those_before_them() -> None:
    assert not wrong_way(IMPORTS)


def test_no_two_files_import_each_other() -> None:
    assert not circle(IMPORTS)


def test_the_rules_refuse_what_they_should() -> None:
    assert wrong_way({"pipeline.methods.tta": {"pipeline.config.config"}})
    assert wrong_way({"pipeline.training.trainer": {"pipeline.scoring.stage"}})
    assert wrong_way({"pipeline.training.trainer": {"pipeline"}})
    assert not wrong_way({"pipeline.scoring.stage": {"pipeline.training.trainer"}, "pipeline.cli": {"pipeline.run"}})
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert not circle({"a": {"b", "c"}, "b": {"c"}})


def test_rooms_say_what_comes_in_and_goes_out() -> None:
    """A newcomer reads a room's own words first."""
    for name in ROOMS:
        package = MODULES[f"pipeline.{name}"]
        assert ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))), package


def test_rooms_and_files_stay_small() -> None:
    folders: dict[Path, int] = {}
    for path in MODULES.values():
        folders[path.parent] = folders.get(path.parent, 0) + (path.name != "__init__.py")
    del folders[ROOT / "pipeline"]
    assert not {str(folder.relative_to(ROOT)): count for folder, count in folders.items() if count > FILES_A_ROOM}
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert not {name: count for name, count in lines.items() if count > LINES_A_FILE}


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


@pytest.mark.parametrize("module", LIGHT)
def test_light_stages_do_not_import_torch(module: str) -> None:
    modules = loaded_by(f"import pipeline.{module}")
    assert f"pipeline.{module}" in modules
    assert not modules & {"torch", "timm", "accelerate", "matplotlib"}

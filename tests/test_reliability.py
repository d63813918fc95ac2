"""Hold docs/reliability.md to the tests that it names and to the exit codes of the code."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline import errors
from pipeline.files import streams

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading, without its head."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def test_the_tests_of_every_fault_are_there() -> None:
    """A last cell holds `tests/room/test_x.py` or `tests/room/test_x.py::test_y`, one or several."""
    for fault, _, tests in rows("Faults"):
        named = TEST.findall(tests)
        assert named, fault
        for path, name in named:
            assert (ROOT / path).is_file(), f"{fault}: {path}"
            text = (ROOT / path).read_text(encoding="utf-8")
            assert not name or re.search(rf"^def {name}\(", text, re.MULTILINE), f"{fault}: {path}::{name}"
    assert len(rows("Faults")) >= 27


def test_the_exit_codes_are_those_of_the_errors() -> None:
    listed = {int(code) for code, _ in rows("Exit codes")}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")]
    assert listed == {0, 130, streams.CLOSED, 143, *(kind.exit_code for kind in kinds)}

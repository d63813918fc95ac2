"""Look at a competition's folder and write a first config, with the reason for every guess."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.competition.data_root import find_root
from pipeline.config.keys import KEYS
from pipeline.errors import InputError, Problem
from pipeline.files.atomic import write_text
from pipeline.starting import trial
from pipeline.starting.folder import look
from pipeline.starting.guess import guess
from pipeline.starting.kinds import Guess
from pipeline.starting.recipe import recipe

WIDTH = 120
NAMELESS = {  # folders whose name says nothing of the competition
    *("public", "private", "prepared", "data", "dataset", "datasets", "input", "inputs", "files", "raw", "download"),
    *("downloads", "extracted", "competition", "kaggle", "train", "images", "tmp", "home", "content", "working"),
}


def run(place: str, out: Path | None = None) -> Path:
    """Write a first config for the competition in `place`; return its path, configs/NAME.yaml unless `out` is given.

    Raises InputError where the folder or its sample submission is missing, nothing in it can be trained on, or
    the file exists already; and, after the file is written, where `check` will refuse what the folder holds.
    """
    root = find_root(place)
    if root is None:
        raise InputError(Problem(place, "no folder", "one with a competition's files"))
    name = name_of(root, out)
    path = out or Path("configs") / f"{name}.yaml"
    if path.exists():
        raise InputError(Problem(str(path), "exists already", remedy="remove it, or name another file with --out"))
    folder = look(root)
    guesses, notes, rows = guess(folder)
    shape = next((value["shape"] for key, value, _ in guesses if key == "data.image" and isinstance(value, dict)), None)
    guesses = [("data.root", place, ""), *guesses, *recipe(folder, rows, shape)]
    tried = trial.run(_tree(name, guesses), str(path))
    guesses, notes = [*guesses, *tried.guesses], [*notes, *tried.notes]
    latest = {key: (value, why) for key, value, why in guesses}
    for key, (value, why) in latest.items():
        shown = value if isinstance(value, str) and value.strip() == value else _flow(value)
        print(f"init: {key} = {shown}" + (f": {why}" if why else ""))
    for note in notes:
        print(f"init: note: {note}")
    write_text(path, _text(name, guesses, [*notes, *(f"check refuses: {one}" for one in tried.problems[:3])]))
    if tried.problems:
        first, more = tried.problems[0], len(tried.problems) - 1
        others = f" (and {more} more)" if more else ""
        raise InputError(first.below(f"wrote {path}, which check refuses{others}", ": "))
    print(f"init: wrote {path}; next: foldline check -c {path}")
    return path


def name_of(root: Path, out: Path | None) -> str:
    """Return a name for runs and folds from the folder's; where that says nothing, from the file's or a parent's."""
    real = Path(os.path.realpath(root))
    named = [real.name, *([out.stem] if out else []), *(folder.name for folder in real.parents)]
    plain = [re.sub(r"[^A-Za-z0-9._-]+", "-", one).strip("-._") for one in named]
    return next((one for one in plain if one and one.lower() not in NAMELESS), "competition")


def _tree(name: str, guesses: Sequence[Guess]) -> dict[str, Any]:
    """Return the config as a tree."""
    tree: dict[str, Any] = {"name": name}
    for key, value, _ in guesses:
        section, _, last = key.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[last] = value
    return tree


def _text(name: str, guesses: list[Guess], notes: list[str]) -> str:
    """Return the config with the reason for every key beside it; of two guesses for one key the later one holds."""
    latest = {key: (value, why) for key, value, why in guesses}
    lines = ["# Written by foldline init: guesses, each with its reason. Correct them, then run: foldline check"]
    for note in notes:
        lines += textwrap.wrap(note, WIDTH, initial_indent="# ", subsequent_indent="# ")
    lines.append(f"name: {name}")
    for full in (key for key in KEYS if key in latest):
        section, _, key = full.rpartition(".")
        if section and f"{section}:" not in lines:
            lines.append(f"{section}:")
        lines += _line("  " if section else "", key, *latest[full])
    return "\n".join(lines) + "\n"


def _line(space: str, key: str, value: Any, why: str) -> list[str]:
    """Return the key's line with the reason behind it, or before it where both are too long for one."""
    line = f"{space}{key}: {_flow(value)}"
    if not why:
        return [line]
    if len(line) + len(why) + 4 <= WIDTH:
        return [f"{line}  # {why}"]
    reason = textwrap.wrap(why, WIDTH, initial_indent=f"{space}# ", subsequent_indent=f"{space}# ")
    if len(line) <= WIDTH or not isinstance(value, list):
        return [*reason, line]
    return [*reason, f"{space}{key}:", *(f"{space}  - {_flow(item)}" for item in value)]


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    return yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=2**31, sort_keys=False)[1:-2]

"""Write guesses as a config: YAML with the reason for every key beside it."""

from __future__ import annotations

import textwrap
from typing import Any

import yaml

from pipeline.starting.targets import Guess

WIDTH = 120
SECTIONS = ("data", "folds", "model", "augment", "loss", "train", "metric", "tta", "decision", "submission")
DATA = (
    *("root", "train", "test", "sample_submission", "duplicates", "missing", "id", "predict_id", "image", "test_image"),
    *("window", "task", "target", "classes", "separator", "range", "heads", "group"),
)


def text(name: str, guesses: list[Guess], notes: list[str]) -> str:
    """Return the config; of two guesses for one key the later one holds."""
    latest = {key: (value, why) for key, value, why in guesses}
    lines = ["# Written by foldline init: guesses, each with its reason. Correct them, then run: foldline check"]
    for note in notes:
        lines += textwrap.wrap(note, WIDTH, initial_indent="# ", subsequent_indent="# ")
    lines.append(f"name: {name}")
    for section in SECTIONS:
        if section in latest:
            lines += _line(0, section, *latest[section])
            continue
        keys = [key.partition(".")[2] for key in latest if key.startswith(f"{section}.")]
        if keys:
            lines.append(f"{section}:")
        for key in sorted(keys, key=lambda key: DATA.index(key) if section == "data" else 0):
            lines += _line(2, key, *latest[f"{section}.{key}"])
    return "\n".join(lines) + "\n"


def _line(indent: int, key: str, value: Any, why: str) -> list[str]:
    """Return the key's line with the reason behind it, or before it where both are too long for one."""
    space = " " * indent
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

"""Hold the README to the code: every config snippet of its tables is a config, every named file is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import loading as configs
from pipeline.config.config import Config
from pipeline.config.trees import overlaid
from pipeline.errors import InputError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OWN = re.compile(r"(mine|my_\w+)\.py:\w+")  # a user's own files
BASES: dict[str, dict[str, Any]] = {
    "multiclass": {"target": "label"},
    "binary": {"target": "label"},
    "multilabel": {"target": ["scab", "rust"]},
    "ordinal": {"target": "level"},
    "regression": {"target": "score"},
    "heads": {"task": "multiclass", "target": ["mask", "gender", "age"], "heads": True},
}
METRICS = {"ordinal": "quadratic_weighted_kappa", "regression": "rmse", "multilabel": "f1_macro"}


def snippets(heading: str) -> list[str]:
    """Return the YAML in backticks of a section's table, where it sets keys."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("|---")]
    found = [text.replace("\\|", "|") for row in rows for text in re.findall(r"`([^`]+)`", row)]
    return [text for text in found if text.partition(": ")[0] in Config.model_fields and "…" not in text]


def tree(task: str, snippet: str) -> dict[str, Any]:
    base: dict[str, Any] = {
        "name": "pets",
        "data": {"root": "data/pets", "image": "{id}.png", "task": task, **BASES[task]},
        "model": {"name": "resnet18"},
        "train": {"epochs": 20, "ema": "average" not in snippet},
        "augment": {"train": "none"},
        "loss": {
            "name": "mse"
            if task == "regression"
            else "binary_cross_entropy"
            if task == "multilabel"
            else "cross_entropy"
        },
        "metric": METRICS.get(task, "accuracy"),
    }
    return overlaid(base, yaml.safe_load(snippet))


def admitted(snippet: str) -> str | None:
    """Return None where a config of some task takes the snippet, else what the first of them says."""
    said = []
    for task in BASES:
        try:
            configs.parse(tree(task, snippet), snippet)
        except InputError as error:
            said.append("\n".join(error.lines))
        else:
            return None
    return "\n".join(said)


@pytest.mark.parametrize("snippet", [text for text in snippets("Techniques") if not OWN.search(text)])
def test_a_techniques_config_is_one(snippet: str) -> None:
    assert admitted(snippet) is None


def test_the_table_of_techniques_was_read() -> None:
    assert len(snippets("Techniques")) > 45


def test_named_files_are_there() -> None:
    named = {"configs/my-competition.yaml"} ^ set(
        re.findall(r"(?:configs|docs|pipeline|tests)/[\w/.-]+\.(?:yaml|py|png|log|sh)", README)
    )
    assert len(named) > 15
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []

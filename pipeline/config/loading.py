"""Read a config: YAML files and settings in, a Config or all of their problems out.

YAML is read with the safe loader, later files overlay earlier ones key by key, `--set a.b=v` comes last.
Unknown keys are errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.config import plugin_files, trees
from pipeline.config.config import Config
from pipeline.config.messages import explained
from pipeline.config.rules import flip_rules, recipe_rules, task_rules
from pipeline.errors import InputError


def load(paths: Sequence[str | Path], settings: Iterable[str] = (), *, kept: bool = False) -> Config:
    """Read YAML files, overlay them in order, apply `key=value` settings and validate all at once.

    The user's files that a run's config.yaml names may be gone: the run's own copies take their place, or always
    where `kept`.
    """
    tree: dict[str, Any] = {}
    for path in map(Path, paths):
        read = trees.read(path)
        plugin_files.found_again(read, path.parent, always=kept)
        tree = trees.overlaid(tree, read)
    problems = [problem for setting in settings if (problem := trees.change(tree, setting))]
    if problems:
        raise InputError(*problems)
    return parse(tree, place=" + ".join(map(str, paths)))


def parse(tree: dict[str, Any], place: str) -> Config:
    """Validate a tree of plain values; raise InputError with every problem."""
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise InputError(*(f"{place}: {line}" for line in explained(error, Config))) from None
    if problems := [line for rules in (task_rules, flip_rules, recipe_rules) for line in rules.problems(config)]:
        raise InputError(*(f"{place}: {line}" for line in problems))
    return config


def dump(config: Config) -> str:
    """Return the resolved config as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

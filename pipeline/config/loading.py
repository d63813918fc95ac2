"""Read a config: YAML files and settings in, a Config or all of their problems out.

YAML is read with the safe loader, later files overlay earlier ones key by key, `--set a.b=v` comes last.
Unknown keys are errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.config import plugin_files, trees
from pipeline.config.config import Config
from pipeline.config.messages import explained
from pipeline.config.rules import flip_rules, recipe_rules, task_rules
from pipeline.errors import InputError, Problem

# What keys without a default hold while the rest of a config is looked through.
REQUIRED = {"name": "x", "data": {"root": "x", "image": "{id}", "target": "x"}, "model": {"name": "resnet18"}}
OF_THE_TASK = ("data", "metric")  # where these are wrong, what a task admits cannot be told


def load(paths: Sequence[str | Path], settings: Iterable[str] = (), *, kept: bool = False) -> Config:
    """Read YAML files, overlay them in order, apply `key=value` settings and validate all at once.

    The user's files that a run's config.yaml names may be gone: the run's own copies take their place, or always
    where `kept`. Raises InputError with every problem.
    """
    return _whole(*look(paths, settings, kept=kept))


def look(
    paths: Sequence[str | Path], settings: Iterable[str] = (), *, kept: bool = False
) -> tuple[Config | None, list[Problem]]:
    """Return the config and its problems: with problems it holds defaults for what is wrong; None where it has none.

    So `check` can say in one go what else is wrong.
    """
    tree: dict[str, Any] = {}
    for path in map(Path, paths):
        read = trees.read(path)
        plugin_files.found_again(read, path.parent, always=kept)
        tree = trees.overlaid(tree, read)
    if problems := [problem for setting in settings if (problem := trees.change(tree, setting))]:
        return None, problems
    return _validated(tree, " + ".join(map(str, paths)))


def parse(tree: dict[str, Any], place: str) -> Config:
    """Validate a tree of plain values; raise InputError with every problem."""
    return _whole(*_validated(tree, place))


def dump(config: Config) -> str:
    """Return the resolved config as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _whole(config: Config | None, problems: Sequence[Problem]) -> Config:
    if config is None or problems:
        raise InputError(*problems)
    return config


def _validated(tree: dict[str, Any], place: str) -> tuple[Config | None, list[Problem]]:
    """Validate, take out what is wrong, and validate again: what a first problem hides is found too."""
    problems: list[Problem] = []
    config, wrong = None, set[str]()  # sections with a wrong value: what else they say may follow from its default
    while config is None:
        try:
            config = Config.model_validate(tree)
        except ValidationError as error:
            problems += [one for one in explained(error, Config) if one.place.split(".")[0] not in wrong]
            before, tree = tree, deepcopy(tree)
            for one in error.errors():
                wrong |= {str(one["loc"][0])} if one["loc"] and one["type"] != "extra_forbidden" else set()
                _take_out(tree, one["loc"])
            tree = trees.overlaid(REQUIRED, tree)
            if tree == before:  # nothing more can be taken out
                break
    if config is None:
        return None, [one.below(place, ": ") for one in problems]
    rules = (flip_rules, recipe_rules) if wrong & set(OF_THE_TASK) else (task_rules, flip_rules, recipe_rules)
    problems += [one for rule in rules for one in rule.problems(config) if one.place.split(".")[0] not in wrong]
    missing = any(one.found == "missing" for one in problems)
    return None if missing else config, [one.below(place, ": ") for one in problems]


def _take_out(tree: Any, location: Sequence[str | int]) -> None:
    """Delete the deepest key of a location that the tree has; a section is emptied but for its required keys."""
    inside: list[tuple[dict[str, Any], str]] = []
    for part in location:
        if not (isinstance(tree, dict) and part in tree):
            break
        inside.append((tree, str(part)))
        tree = tree[part]
    if inside:
        above, name = inside[-1]
        needed: Any = REQUIRED
        for _, part in inside:
            needed = needed.get(part, {}) if isinstance(needed, Mapping) else {}
        own = above[name]
        if isinstance(own, dict) and len(inside) == len(location) and isinstance(needed, Mapping) and needed:
            above[name] = {key: value for key, value in own.items() if key in needed}
        else:
            del above[name]

"""Read a config: YAML files and settings in, a Config or all of their problems out.

YAML is read with the safe loader, later files overlay earlier ones key by key, `--set a.b=v` comes last.
Unknown keys are errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import plugin_files, trees, wrong_keys
from pipeline.config.config import Config
from pipeline.config.keys import below
from pipeline.config.wrong_keys import Looked
from pipeline.errors import InputError, Problem


def load(paths: Sequence[str | Path], settings: Iterable[str] = (), *, kept: bool = False) -> Config:
    """Read YAML files, overlay them in order, apply `key=value` settings and validate all at once.

    The user's files that a run's config.yaml names may be gone: the run's own copies take their place, or always
    where `kept`. Raises InputError with every problem.
    """
    return _whole(look(paths, settings, kept=kept))


def look(paths: Sequence[str | Path], settings: Iterable[str] = (), *, kept: bool = False) -> Looked:
    """Return the config and all of its problems: with problems it holds defaults for what is wrong.

    So `check` can say in one go what else is wrong. There is no config where a file cannot be read.
    """
    tree: dict[str, Any] = {}
    problems, unsure, whole = list[Problem](), list[str](), True
    for path in map(Path, paths):
        try:
            read = trees.read(path)
            plugin_files.found_again(read, path.parent, always=kept)
        except InputError as error:
            problems += error.problems
            whole = False
        else:
            tree = trees.overlaid(tree, read)
    for setting in settings:
        if (problem := trees.change(tree, setting)) is not None:
            problems.append(problem)
            unsure += below(setting.partition("=")[0])
    if not whole:
        return Looked(None, problems)
    looked = _validated(tree, " + ".join(map(str, paths)), unsure)
    return looked._replace(problems=[*problems, *looked.problems])


def parse(tree: dict[str, Any], place: str) -> Config:
    """Validate a tree of plain values; raise InputError with every problem."""
    return _whole(_validated(tree, place))


def dump(config: Config) -> str:
    """Return the resolved config as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _whole(looked: Looked) -> Config:
    if looked.config is None or looked.problems:
        raise InputError(*looked.problems)
    return looked.config


def _validated(tree: dict[str, Any], place: str, unsure: Iterable[str] = ()) -> Looked:
    looked = wrong_keys.look(tree, unsure)
    return looked._replace(problems=[one.below(place, ": ") for one in looked.problems])

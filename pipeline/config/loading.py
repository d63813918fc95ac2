"""Read a config: YAML files and settings in, a Config or all of their problems out.

YAML is read with the safe loader, later files overlay earlier ones key by key, `--set a.b=v` comes last.
Unknown keys are errors. Functions that the user's files name are found, which executes their code; files in a run's
folder may come from anyone: see config/run_configs.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipeline import plugins
from pipeline.config import plugin_files, trees, wrong_keys
from pipeline.config.config import Config
from pipeline.config.keys import below
from pipeline.config.wrong_keys import Looked
from pipeline.errors import InputError, Problem


def load(paths: Sequence[str | Path], settings: Iterable[str] = (), *, of_run: bool = False) -> Config:
    """Read YAML files, overlay them in order, apply `key=value` settings and validate all at once.

    Of a file in a run's folder (`of_run`: they all are, whatever it looks like) the functions are the run's own copies,
    but where the user's are the same; they are found only with `--trust`. Raises InputError with every problem.
    """
    return _whole(look(paths, settings, of_run=of_run))


def look(paths: Sequence[str | Path], settings: Iterable[str] = (), *, of_run: bool = False) -> Looked:
    """Return the config and all of its problems: with problems it holds defaults for what is wrong.

    So `check` can say in one go what else is wrong. There is no config where a file cannot be read. `of_run` as `load`
    takes it.
    """
    tree, ours, strange = dict[str, Any](), set[str](), set[str]()  # FILE.py:function of the user, and of runs' configs
    problems, whole = list[Problem](), True
    for path in map(Path, paths):
        try:
            read = trees.read(path)
        except InputError as error:
            problems += error.problems
            whole = False
        else:
            if of_run or plugin_files.is_run(path.parent):
                strange |= plugin_files.ask_copies(read, path.parent)
            else:
                ours |= {*plugins.named(read)}
            tree = trees.overlaid(tree, read)
    given = _set(tree, settings)
    problems += given.problems
    plugins.ask(ours := ours | given.named)
    if not whole:
        return Looked(None, problems)
    looked = _validated(tree, " + ".join(map(str, paths)), given.unsure, strange=strange - ours)
    return looked._replace(problems=[*problems, *looked.problems])


def labels(paths: Sequence[Path], settings: Iterable[str] = ()) -> Config:
    """Return the config of a run's files without a look at the functions that they name.

    These stand as they were named, as views of predictions are called, and do not run unless the user names them too.
    """
    tree: dict[str, Any] = {}
    for path in paths:
        tree = trees.overlaid(tree, trees.read(path))
    given = _set(tree, settings)
    plugins.ask(given.named)
    looked = _validated(tree, " + ".join(map(str, paths)), given.unsure, found=False)
    return _whole(looked._replace(problems=[*given.problems, *looked.problems]))


def parse(tree: dict[str, Any], place: str, *, found: bool = True) -> Config:
    """Validate a tree of plain values, with the functions that it names unless `found` is False.

    Raises InputError with every problem.
    """
    return _whole(_validated(tree, place, found=found))


def dump(config: Config) -> str:
    """Return the resolved config as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class _Given(NamedTuple):
    """Hold what the command line's settings are worth: their problems, keys that stay unsure, functions they name."""

    problems: list[Problem]
    unsure: list[str]
    named: set[str]


def _set(tree: dict[str, Any], settings: Iterable[str]) -> _Given:
    """Apply what the command line sets, in place."""
    given = _Given([], [], set())
    for setting in settings:
        alone: dict[str, Any] = {}
        trees.change(alone, setting)
        given.named.update(plugins.named(alone))
        if (problem := trees.change(tree, setting)) is not None:
            given.problems.append(problem)
            given.unsure.extend(below(setting.partition("=")[0]))
    return given


def _whole(looked: Looked) -> Config:
    if looked.config is None or looked.problems:
        raise InputError(*looked.problems)
    return looked.config


def _validated(
    tree: dict[str, Any], place: str, unsure: Iterable[str] = (), *, found: bool = True, strange: Collection[str] = ()
) -> Looked:
    looked = wrong_keys.look(tree, unsure, found=found, strange=strange)
    return looked._replace(problems=[one.below(place, ": ") for one in looked.problems])

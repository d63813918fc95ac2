"""Read the variants of an ablation: names, each with what it lays over the config."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline import plugins
from pipeline.config import loading as configs
from pipeline.config import trees
from pipeline.config.config import Config
from pipeline.config.keys import KEYS, affecting, below
from pipeline.config.sections.section import Affects
from pipeline.errors import InputError, Problem

BASE = "base"  # the config itself
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
EXPECTED = "NAME: {section: {key: value}} for each"
# With these changed, the scores would be of other rows, another truth or another measure.
SAME = (
    *("name", "run", "runs_dir", "folds_dir", "studies_dir", "metric", "train.seed", "train.seeds"),
    *affecting(Affects.FOLDS),
)
AFTER = Affects.CHECK | Affects.SUBMISSION | Affects.STUDY  # beside or after what is scored here


@dataclass(frozen=True)
class Job:
    """Hold one training of an ablation: a variant with a seed."""

    variant: str
    seed: int
    config: Config
    changes: Mapping[str, Any]


def read(config: Config, path: Path, seeds: Sequence[int]) -> list[Job]:
    """Return the jobs, seed by seed, each time the base first and then the variants in the file's order.

    Raises InputError with every problem of every variant: before the first training, not after hours.
    """
    if not path.is_file():
        raise InputError(Problem(str(path), "not found", f"a file of variants: {EXPECTED}"))
    variants: dict[str, Mapping[str, Any]] = {BASE: {}}
    problems: list[Problem] = []
    tree = trees.read(path)
    plugins.ask(plugins.named(tree))
    for name, changes in tree.items():
        found = _problems(name, changes)
        problems += [problem.below(f"{path}: {name}") for problem in found]
        if not found:
            variants[name] = changes
    jobs: list[Job] = []
    for seed in seeds:
        for name, changes in variants.items():
            try:
                jobs.append(Job(name, seed, _config(config, name, changes, seed, path), changes))
            except InputError as error:
                problems += [problem for problem in error.problems if problem not in problems]
    for job in jobs:
        if job.seed == seeds[0] and job.variant != BASE and scored(job.config) == scored(jobs[0].config):
            remedy = "ensemble, decision, submission, medals and tune come after what is scored here"
            problems.append(Problem(f"{path}: {job.variant}", "changes nothing of the config's score", remedy=remedy))
    if len(variants) == 1 and not problems:
        problems.append(Problem(str(path), "no variant", EXPECTED))
    if problems:
        raise InputError(*problems)
    return jobs


def scored(config: Config) -> dict[str, Any]:
    """Return what a run's OOF score depends on, by key."""
    return _settings(config, AFTER)


def trained(config: Config) -> dict[str, Any]:
    """Return what a run's weights depend on, by key: variants of prediction alone share them."""
    return _settings(config, AFTER | Affects.PREDICTION | Affects.SCORE)


def text(changes: Mapping[str, Any]) -> str:
    """Return the changes on one line, as YAML."""
    line = yaml.safe_dump(dict(changes), default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    return line.strip().removeprefix("{").removesuffix("}")


def _settings(config: Config, apart_from: Affects) -> dict[str, Any]:
    """Return the keys' values but for those that affect only some results; a path's file may affect any."""
    ignored = {"run", "medals", *below("tune")}
    ignored |= {name for name, key in KEYS.items() if key.affects and not key.affects & ~apart_from}
    return {name: key.value(config) for name, key in KEYS.items() if name not in ignored}


def _problems(name: object, changes: object) -> list[Problem]:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        what = "expected a name of letters, digits, '.', '_' and '-', as it becomes part of a run's name"
        return [Problem("", what, remedy="quote it")]
    if name == BASE:
        return [Problem("", "is the config itself, which is always trained", remedy="choose another name")]
    if not isinstance(changes, dict) or not changes:
        return [Problem("", f"found {changes!r}", "sections and keys that differ from the config")]
    why = {True: ": the seeds are those of --seeds", False: ""}
    return [
        Problem("", f"sets {key}, which must be the same for all that are compared{why[key.startswith('train.seed')]}")
        for key in SAME
        if _sets(changes, key)
    ]


def _sets(changes: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(changes, dict) or part not in changes:
            return False
        changes = changes[part]
    return True


def _config(config: Config, name: str, changes: Mapping[str, Any], seed: int, path: Path) -> Config:
    tree = trees.overlaid(config.model_dump(mode="json"), dict(changes))
    named = {"run": f"{config.run_dir.name}-{name}-s{seed}", "train": {"seed": seed, "seeds": None}}
    return configs.parse(trees.overlaid(tree, named), place=f"{path}: {name}")

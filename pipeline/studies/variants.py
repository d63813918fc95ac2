"""Read the variants of an ablation: names, each with what it lays over the config."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import loading as configs
from pipeline.config import trees
from pipeline.config.config import Config
from pipeline.errors import InputError

BASE = "base"  # the config itself
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# With these changed, the scores would be of other rows, another truth or another measure.
SAME = (
    *("name", "run", "runs_dir", "folds_dir", "studies_dir", "folds", "metric", "train.seed", "train.seeds"),
    *("data.task", "data.target", "data.heads", "data.classes", "data.group", "data.predict_id"),
)
UNSCORED = ("ensemble", "decision", "submission", "medals", "tune")  # come after what is scored here
UNTRAINED = (*UNSCORED, "tta", "predict")


@dataclass(frozen=True)
class Job:
    """Hold one training of an ablation: a variant with a seed."""

    variant: str
    seed: int
    config: Config
    changes: Mapping[str, Any]


def read(config: Config, path: Path, seeds: Sequence[int]) -> list[Job]:
    """Return the jobs, seed by seed, each time the base first and then the variants in the file's order.

    Raises InputError with every defect of every variant: before the first training, not after hours.
    """
    if not path.is_file():
        raise InputError(f"{path}: not found, expected a file of variants: NAME: {{section: {{key: value}}}} for each")
    variants: dict[str, Mapping[str, Any]] = {BASE: {}}
    jobs: list[Job] = []
    defects: list[str] = []
    for name, changes in trees.read(path).items():
        found = _defects(name, changes)
        defects += [f"{path}: {name}: {text}" for text in found]
        if not found:
            variants[name] = changes
    for seed in seeds:
        for name, changes in variants.items():
            try:
                jobs.append(Job(name, seed, _config(config, name, changes, seed, path), changes))
            except InputError as error:
                defects += [text for text in error.lines if text not in defects]
    own = {job.seed: scored(job.config) for job in jobs if job.variant == BASE}
    for job in jobs:
        if job.variant != BASE and job.seed == seeds[0] and scored(job.config) == own[job.seed]:
            after = f"; {', '.join(UNSCORED)} come after what is scored here"
            defects.append(f"{path}: {job.variant}: changes nothing of the config's score{after}")
    if len(variants) == 1 and not defects:
        defects.append(f"{path}: no variant, expected NAME: {{section: {{key: value}}}} for each")
    if defects:
        raise InputError(*defects)
    return jobs


def scored(config: Config) -> dict[str, Any]:
    """Return what a run's OOF score depends on, as plain values."""
    return config.model_dump(mode="json", exclude={"run", *UNSCORED})


def trained(config: Config) -> dict[str, Any]:
    """Return what a run's weights depend on, as plain values: variants of prediction alone share them."""
    return config.model_dump(mode="json", exclude={"run", *UNTRAINED})


def text(changes: Mapping[str, Any]) -> str:
    """Return the changes on one line, as YAML."""
    flow = yaml.safe_dump(dict(changes), default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    return flow.strip().removeprefix("{").removesuffix("}")


def _defects(name: object, changes: object) -> list[str]:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return ["expected a name of letters, digits, '.', '_' and '-', as it becomes part of a run's name; quote it"]
    if name == BASE:
        return ["is the config itself, which is always trained; choose another name"]
    if not isinstance(changes, dict) or not changes:
        return [f"found {changes!r}, expected sections and keys that differ from the config"]
    return [
        f"sets {key}, which must be the same for all that are compared"
        + (": the seeds are those of --seeds" if key.startswith("train.seed") else "")
        for key in SAME
        if _has(changes, key.split("."))
    ]


def _has(tree: object, parts: Sequence[str]) -> bool:
    if not parts:
        return True
    return isinstance(tree, dict) and parts[0] in tree and _has(tree[parts[0]], parts[1:])


def _config(config: Config, name: str, changes: Mapping[str, Any], seed: int, path: Path) -> Config:
    tree = trees.overlaid(config.model_dump(mode="json"), dict(changes))
    own = {"run": f"{config.run_dir.name}-{name}-s{seed}", "train": {"seed": seed, "seeds": None}}
    return configs.parse(trees.overlaid(tree, own), place=f"{path}: {name}")

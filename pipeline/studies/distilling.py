"""Name the student of a teacher: the config of a run that learns from another run, as an overlay beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.config import Config
from pipeline.config.loading import load
from pipeline.files.atomic import write_text


def student(command: str, paths: Sequence[str], settings: Sequence[str], source: str, asked: dict[str, Any]) -> Config:
    """Return the config with its teacher; its run is called RUN-distill or RUN-pseudo unless `run` names it.

    `asked` are the keys of the section `command`, those that are None left to the config.
    """
    plain = load(paths, [setting for setting in settings if not setting.startswith(("distill.", "pseudo."))])
    name = plain.run
    if name is None or name == Path(source).name:
        name = f"{plain.run_dir.name}-{command}"
    given = {"teacher": source, **{key: value for key, value in asked.items() if value is not None}}
    return load(paths, [f"run={name}", *(f"{command}.{key}={json.dumps(v)}" for key, v in given.items()), *settings])


def write_overlay(config: Config, command: str) -> Path:
    """Write what makes the student one, runs/RUN/COMMAND.yaml, which any command takes behind the config's files."""
    path = config.run_dir / f"{command}.yaml"
    tree = config.model_dump(mode="json", include={"distill", "pseudo"}, exclude_defaults=True)
    write_text(path, yaml.safe_dump({"run": config.run_dir.name, **{key: keys for key, keys in tree.items() if keys}}))
    return path

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

SECTIONS = ("distill", "pseudo")


def student(command: str, paths: Sequence[str], settings: Sequence[str], teacher: str, asked: dict[str, Any]) -> Config:
    """Return the config with its teacher; its run is called RUN-distill or RUN-pseudo unless `run` names it.

    `asked` are the keys of the section `command`, those that are None left to the config.
    """
    own = [setting for setting in settings if not setting.startswith(tuple(f"{key}." for key in SECTIONS))]
    plain = load(paths, own)
    named = plain.run is not None and plain.run != Path(teacher).name
    name = plain.run if named else f"{plain.run_dir.name}-{command}"
    given = {"teacher": teacher, **{key: value for key, value in asked.items() if value is not None}}
    taught = [f"{command}.{key}={json.dumps(value)}" for key, value in given.items()]
    return load(paths, [f"run={name}", *taught, *settings])


def write_overlay(config: Config, command: str) -> Path:
    """Write what makes the student one, runs/RUN/COMMAND.yaml, which any command takes behind the config's files."""
    path = config.run_dir / f"{command}.yaml"
    sections = {key: getattr(config, key).model_dump(mode="json", exclude_defaults=True) for key in SECTIONS}
    write_text(path, yaml.safe_dump({"run": config.run_dir.name, **{k: v for k, v in sections.items() if v}}))
    return path

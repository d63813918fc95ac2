"""Distil a run into a student, or train one with rows that the run labels: write the overlay, then run every stage."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.config import Config, load
from pipeline.files.artifacts import write_text
from pipeline.machine import processes
from pipeline.run import run
from pipeline.scoring import optimism

SECTIONS = ("distill", "pseudo")


def main(arguments: argparse.Namespace) -> None:
    """Run the command `distill` or `pseudo`."""
    config = student(arguments)
    path = config.run_dir / f"{arguments.command}.yaml"
    if processes.is_main():
        sections = {key: getattr(config, key).model_dump(mode="json", exclude_defaults=True) for key in SECTIONS}
        write_text(path, yaml.safe_dump({"run": config.run_dir.name, **{k: v for k, v in sections.items() if v}}))
        given = " ".join([*(f"-c {name}" for name in arguments.config), f"-c {path}"])
        print(f"student {config.run_dir.name}: any command takes it as {given}", flush=True)
    run(config, arguments.fold, arguments.force)
    if arguments.command == "distill" and arguments.fold is None and processes.is_main():
        found = [optimism.measured(one) for one in config.per_seed]
        print("\n".join(text for text in found if text is not None))


def student(arguments: argparse.Namespace) -> Config:
    """Return the config with its teacher; its run is called RUN-distill or RUN-pseudo unless `run` names it."""
    command = arguments.command
    own = [setting for setting in arguments.set if not setting.startswith(tuple(f"{key}." for key in SECTIONS))]
    plain = load(arguments.config, own)
    named = plain.run is not None and plain.run != Path(arguments.source).name
    name = plain.run if named else f"{plain.run_dir.name}-{command}"
    asked: dict[str, Any] = {"teacher": arguments.source}
    if command == "distill":
        asked["weight"] = arguments.weight
    else:
        asked |= {"threshold": arguments.threshold, "images": arguments.images}
    settings = [f"{command}.{key}={json.dumps(value)}" for key, value in asked.items() if value is not None]
    return load(arguments.config, [f"run={name}", *settings, *arguments.set])

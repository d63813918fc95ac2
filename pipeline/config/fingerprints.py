"""Tell whether a stage's result still belongs to its inputs, and if not, which field differs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import plugin_files
from pipeline.config.config import Config
from pipeline.config.keys import KEYS
from pipeline.files.atomic import read_json, write_json
from pipeline.files.checksums import array_hash, file_hash

# Raised whenever the same config and files would give other numbers; part of every fingerprint.
ENGINE_VERSION = 1
Fields = dict[str, Any]  # dotted config key or file -> plain value or hash


def fields(config: Config, keys: Iterable[str], **files: str) -> Fields:
    """Collect keys of the config, hashes of files, of plugins that the keys name, and the engine's version.

    A key that came after the first runs is left out at its default: older runs stay valid.
    """
    found: Fields = {"engine": ENGINE_VERSION, **files}
    tree = config.model_dump(mode="json")
    for key in (KEYS[name] for name in keys):
        value = tree
        for part in key.name.split("."):
            value = value[part]
        if not (key.later and key.value(config) == key.default):
            _flatten(key.name, value, found)
    for section, held in plugin_files.files(found).items():
        hashes = [file_hash(file) for file in held]
        found[f"{section}'s file"] = hashes[0] if len(hashes) == 1 else array_hash(hashes)
    return found


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return one line per field that differs, came or went: key: old -> new."""
    before, after = ({key: repr(value) for key, value in one.items()} for one in (old, new))
    pairs = {key: (before.get(key, "absent"), after.get(key, "absent")) for key in sorted({*old, *new})}
    return [f"{key}: {one} -> {other}" for key, (one, other) in pairs.items() if one != other]


def is_done(run_dir: Path, stage: str, found: Fields) -> bool:
    """Tell whether the stage finished in this run folder with exactly these fields."""
    return bool(read_stamp(run_dir, stage) == json.loads(json.dumps(found)))


def read_stamp(run_dir: Path, stage: str) -> Fields | None:
    """Return the fields with which the stage finished, or None."""
    path = run_dir / "stamps" / f"{stage}.json"
    return read_json(path) if path.is_file() else None


def stamp(run_dir: Path, stage: str, found: Fields) -> None:
    """Record that the stage finished with these fields."""
    write_json(run_dir / "stamps" / f"{stage}.json", found)


def _flatten(key: str, value: Any, into: Fields) -> None:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            _flatten(f"{key}.{name}", inner, into)
    else:
        into[key] = value

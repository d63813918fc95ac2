"""Tell whether a stage's result still belongs to its inputs, and if not, which field differs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import plugin_files
from pipeline.config.config import Config
from pipeline.files.artifacts import read_json, write_json

# Raised whenever the same config and files would give other numbers; part of every fingerprint.
ENGINE_VERSION = 1
Fields = dict[str, Any]  # dotted config key or file -> plain value or hash
SPEED = ("train.workers", "train.threads", "train.parallel_folds")  # keys of what makes no other model
# Keys that came after the first runs, of sections that are read whole: at their default they are left out.
LATER = (
    "model.thaw_epoch",
    "model.stem",
    "model.multi_dropout",
    "model.aux_weight",
    "model.grad_checkpointing",
    "loss.gamma",
    "loss.gamma_pos",
    "loss.gamma_neg",
    "loss.clip",
    "loss.beta",
    "loss.smooth_over",
    "loss.class_weights",
    "train.sampling",
    "train.disturb_labels",
    "train.disturb_values",
    "train.seeds",
    "train.sizes",
    "train.average",
    "train.average_epochs",
    "ensemble.compose",
)


def fields(config: Config, keys: tuple[str, ...], **files: str) -> Fields:
    """Collect the named sections or keys (dotted) of the config, hashes of files and the engine's version."""
    tree = config.model_dump(mode="json")
    found: Fields = {"engine": ENGINE_VERSION, **files}
    for key in keys:
        value: Any = tree
        for part in key.split("."):
            value = value[part]
        _flatten(key, value, found)
    for key in set(LATER) - set(set_keys(config, LATER)):
        found.pop(key, None)
    for section, held in plugin_files.files(found).items():
        hashes = [file_hash(file) for file in held]
        found[f"{section}'s file"] = hashes[0] if len(hashes) == 1 else array_hash(hashes)
    return found


def set_keys(config: Config, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the dotted keys whose value is not the default: a new key changes no older fingerprint."""
    found = []
    for key in keys:
        *sections, last = key.split(".")
        section: Any = config
        for part in sections:
            section = getattr(section, part)
        if getattr(section, last) != type(section).model_fields[last].get_default(call_default_factory=True):
            found.append(key)
    return tuple(found)


def array_hash(*arrays: np.ndarray[Any, Any] | Sequence[str]) -> str:
    """Return the SHA-256 over texts and numbers, in their order."""
    listed = [[str(value) for value in np.asarray(array).ravel().tolist()] for array in arrays]
    return hashlib.sha256(json.dumps(listed, ensure_ascii=False).encode()).hexdigest()


def digest(found: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the fields as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return one line per field that differs, came or went: key: old -> new."""
    before, after = ({key: repr(value) for key, value in one.items()} for one in (old, new))
    pairs = {key: (before.get(key, "absent"), after.get(key, "absent")) for key in sorted({*old, *new})}
    return [f"{key}: {one} -> {other}" for key, (one, other) in pairs.items() if one != other]


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or `missing`."""
    if not path.is_file():
        return "missing"
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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

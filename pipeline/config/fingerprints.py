"""Tell whether a stage's result still belongs to its inputs, and if not, which field differs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.config import plugin_files
from pipeline.config.config import Config
from pipeline.config.keys import KEYS
from pipeline.errors import MismatchError, Problem
from pipeline.files import checksums
from pipeline.files.atomic import read_json, write_json

# Raised whenever the same config and files would give other numbers; part of every fingerprint.
ENGINE_VERSION = 1
Fields = dict[str, Any]  # dotted config key or file -> plain value or hash
SETTINGS = "config"  # the stamp of what is no stage's result, see `record`
RESERVED = ("written", "under", checksums.DIGEST)  # in a stamp; no field is called so


@dataclass(frozen=True)
class Stamp:
    """Hold what a stage was made from, the SHA-256 of each file that it wrote, and what it ran under."""

    fields: Fields
    written: dict[str, str] = field(default_factory=dict)  # path in the run's folder -> SHA-256
    under: dict[str, Any] = field(default_factory=dict)


def fields(config: Config, keys: Iterable[str], of: Path | None = None, /, **files: str) -> Fields:
    """Collect keys of the config, hashes of files, of plugins that the keys name, and the engine's version.

    A key that came after the first runs is left out at its default: older runs stay valid. Of a run's config, as
    `run_configs.of_run` reads it, the plugins are the copies in that run's folder (`of`).
    """
    found: Fields = {"engine": ENGINE_VERSION, **files}
    tree = config.model_dump(mode="json")
    for key in (KEYS[name] for name in keys):
        value = tree
        for part in key.name.split("."):
            value = value[part]
        if not (key.later and key.value(config) == key.default):
            _flatten(key.name, value, found)
    for section, held in plugin_files.files(found, of).items():
        hashes = [checksums.file_hash(file) for file in held]
        found[f"{section}'s file"] = hashes[0] if len(hashes) == 1 else checksums.array_hash(hashes)
    return found


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return one line per field that differs, came or went: key: old -> new."""
    before, after = ({key: repr(value) for key, value in one.items()} for one in (old, new))
    pairs = {key: (before.get(key, "absent"), after.get(key, "absent")) for key in sorted({*old, *new})}
    return [f"{key}: {one} -> {other}" for key, (one, other) in pairs.items() if one != other]


def is_done(run_dir: Path, stage: str, found: Fields, written: Sequence[Path] = ()) -> bool:
    """Tell whether the stage finished with exactly these fields and all that it wrote is still as it wrote it.

    Prints a line for each file that was damaged or removed since, as the stage then makes it again.
    """
    done, problems = state(run_dir, stage, found, written)
    print("".join(f"{problem}\n" for problem in problems), end="", flush=True)
    return done


def state(run_dir: Path, stage: str, found: Fields, written: Sequence[Path] = ()) -> tuple[bool, list[Problem]]:
    """Return whether the stage is done, and what was damaged or removed since it was; `written` must be among it.

    A stamp of an earlier version says nothing of files: where some are asked for, the stage is not done.
    """
    try:
        old = read_stamp(run_dir, stage)
    except MismatchError as error:
        return False, [replace(problem, remedy=f"{stage} is made again") for problem in error.problems]
    if old is None or old.fields != _plain(found) or not {_name(run_dir, path) for path in written} <= {*old.written}:
        return False, []
    problems = altered(run_dir, stage, old)
    return not problems, problems


def altered(run_dir: Path, stage: str, old: Stamp) -> list[Problem]:
    """Return a problem for each file that is not as the stage wrote it."""
    texts = {"missing": f"is missing, {stage} wrote it"}
    problems = []
    for name, digest in old.written.items():
        try:
            now = checksums.file_hash(run_dir / name)
        except OSError:
            now = "unreadable"
        if now != digest:
            found = texts.get(now, f"is not as {stage} wrote it (SHA-256 differs)")
            problems.append(Problem(str(run_dir / name), found, remedy="made again"))
    return problems


def read_stamp(run_dir: Path, stage: str) -> Stamp | None:
    """Return what is known of the stage as it finished, None without a stamp.

    Raises MismatchError where the stamp is damaged. Stamps of earlier versions hold the fields alone.
    """
    path = stamp_path(run_dir, stage)
    if not path.is_file():
        return None
    tree = read_json(path)
    if not isinstance(tree, dict):
        raise _damaged(path, "damaged: holds no JSON object")
    if not checksums.unsealed(tree):
        raise _damaged(path, "damaged (its SHA-256 differs)")
    written, under = tree.pop("written", {}), tree.pop("under", {})
    if not isinstance(written, dict) or not isinstance(under, dict):
        raise _damaged(path, "damaged: `written` and `under` are no JSON objects")
    return Stamp(tree, written, under)


def stamp(
    run_dir: Path, stage: str, found: Fields, written: Iterable[Path] = (), under: Mapping[str, Any] | None = None
) -> None:
    """Record that the stage finished with these fields, which files it wrote, and under which circumstances.

    `under` is what changes bytes but is no setting: precision, threads, versions. On disk all is one flat object.
    """
    if taken := {*found} & {*RESERVED}:
        raise ValueError(f"no field may be called {', '.join(taken)}")
    hashes = {_name(run_dir, path): checksums.file_hash(path) for path in written}
    _write(run_dir, stage, {**found, "written": hashes, "under": dict(under or {})})


def record(run_dir: Path, written: Iterable[Path]) -> None:
    """Keep the hashes of what says how a run was made: its config, its environment, the user's files.

    Several stages write them: the hashes of files that are not among `written` stay as they are.
    """
    try:
        old = read_stamp(run_dir, SETTINGS)
    except MismatchError:
        old = None
    kept = {name: digest for name, digest in (old.written if old else {}).items() if (run_dir / name).is_file()}
    now = {_name(run_dir, path): checksums.file_hash(path) for path in written if path.is_file()}
    if old is None or old.written != kept | now:
        _write(run_dir, SETTINGS, {"written": kept | now})


def require(run_dir: Path, *names: str) -> None:
    """Raise MismatchError where one of these files is there and no longer as its stage wrote it, as its stamp tells."""
    hashes = known(run_dir)
    problems = []
    for name in names:
        stage, digest = hashes.get(name, ("", ""))
        if stage and (run_dir / name).is_file() and checksums.file_hash(run_dir / name) != digest:
            found = f"is not as {stage} wrote it (SHA-256 differs)"
            problems.append(Problem(str(run_dir / name), found, remedy=f"make it again with: foldline {stage}"))
    if problems:
        raise MismatchError(*problems)


def known(run_dir: Path) -> dict[str, tuple[str, str]]:
    """Return which stage wrote each file of a run, and its SHA-256, as far as undamaged stamps tell."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted((run_dir / "stamps").glob("*.json")):
        with contextlib.suppress(MismatchError):
            if (held := read_stamp(run_dir, path.stem)) is not None:
                found |= {name: (path.stem, digest) for name, digest in held.written.items()}
    return found


def stamp_path(run_dir: Path, stage: str) -> Path:
    """Return where a stage's stamp lies."""
    return run_dir / "stamps" / f"{stage}.json"


def _write(run_dir: Path, stage: str, content: Mapping[str, Any]) -> None:
    tree = _plain(content)
    write_json(stamp_path(run_dir, stage), checksums.sealed(tree))


def _damaged(path: Path, found: str) -> MismatchError:
    return MismatchError(Problem(str(path), found, remedy="delete it and run the stage again"))


def _name(run_dir: Path, path: Path) -> str:
    """Return a file's place in the run's folder, or its path where it lies elsewhere."""
    return (path.relative_to(run_dir) if path.is_relative_to(run_dir) else path.absolute()).as_posix()


def _plain(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields as JSON gives them back."""
    made: dict[str, Any] = json.loads(json.dumps(found))
    return made


def _flatten(key: str, value: Any, into: Fields) -> None:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            _flatten(f"{key}.{name}", inner, into)
    else:
        into[key] = value

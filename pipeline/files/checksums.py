"""Hash files, arrays and settings with SHA-256, as 64 hexadecimal digits."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

DIGEST = "sha256"  # the key under which a tree, or the JSON beside arrays, holds that of all else


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or `missing`."""
    if not path.is_file():
        return "missing"
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def array_hash(*arrays: np.ndarray[Any, Any] | Sequence[str]) -> str:
    """Return the SHA-256 over texts and numbers, in their order."""
    listed = [[str(value) for value in np.asarray(array).ravel().tolist()] for array in arrays]
    return hashlib.sha256(json.dumps(listed, ensure_ascii=False).encode()).hexdigest()


def digest(found: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the fields as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def content_hash(beside: Any, arrays: Mapping[str, tuple[str, Sequence[int], Any]]) -> str:
    """Return the SHA-256 over JSON and, by their names, arrays: each one's type, shape and buffer of bytes."""
    found = hashlib.sha256(json.dumps(beside, sort_keys=True).encode())
    for name in sorted(arrays):
        kind, shape, content = arrays[name]
        found.update(json.dumps([name, kind, list(shape)]).encode())
        found.update(content)
    return found.hexdigest()


def sealed(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree with its SHA-256 in it."""
    return {**tree, DIGEST: digest(tree)}


def unsealed(tree: dict[str, Any]) -> bool:
    """Take its SHA-256 out of a tree, in place; tell whether it is as it was sealed. Older trees have none."""
    held = tree.pop(DIGEST, None)
    return held is None or bool(held == digest(tree))


def identity(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return by what a file is taken for the one it was: size, mtime_ns, ctime_ns, inode."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino

"""Hash files, arrays and settings with SHA-256, as 64 hexadecimal digits."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


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


def identity(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return by what a file is taken for the one it was: size, mtime_ns, ctime_ns, inode."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino

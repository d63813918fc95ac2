"""Load what a user wrote outside the package: FILE.py:function."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any


def file_of(name: str) -> Path | None:
    """Return the file that a name leads to, or None where it is none of the user's own."""
    file, colon, function = name.rpartition(":")
    return Path(file) if colon and function and file.endswith(".py") else None


def function_of(name: str) -> Callable[..., Any]:
    """Return the user's function; raise ValueError that says what is wrong with the file or the name.

    The file is executed anew at every call. Its module is known to Python under a name of its own, as dataclasses need.
    """
    file, function = file_of(name), name.rpartition(":")[2]
    if file is None or not file.is_file():
        raise ValueError(f"found '{name}', but there is no file {file}; expected FILE.py:function")
    spec = importlib.util.spec_from_file_location(f"foldline_own_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"found '{name}', which Python cannot load")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"found '{name}', whose file raised {type(error).__name__}: {error}") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"found '{name}', but {file} has no function '{function}'")
    return found  # type: ignore[no-any-return]


@cache
def loaded(name: str) -> Callable[..., Any]:
    """Return the same, its file executed once in a process."""
    return function_of(name)

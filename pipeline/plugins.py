"""Load what a user wrote outside the package: FILE.py:function, wherever a table's name may stand."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pipeline.errors import Problem, Refused, lookup

T = TypeVar("T")
Function = Callable[..., Any]


def file_of(name: str) -> Path | None:
    """Return the file that a name leads to, or None where it names no plugin."""
    file, colon, function = name.rpartition(":")
    return Path(file) if colon and function and file.endswith(".py") else None


def find(table: Mapping[str, T], name: str, what: str, entry: Callable[[str, Function], T]) -> T:
    """Return the table's entry, or the one that `entry(name, function)` makes of a plugin.

    A plugin's file is executed once in a process. Raises Refused with the nearest name where there is none.
    """
    return lookup(table, name, what) if file_of(name) is None else _made(name, entry)


def as_it_is(name: str, function: Function) -> Function:
    """Return the plugin's function as the table's entry."""
    return function


def attribute(name: str, function: Function, key: str, default: T, choices: Sequence[T]) -> T:
    """Return what a plugin's function says of itself; raise Refused where it is none of the choices."""
    found = getattr(function, key, default)
    if found is not default and not any(type(found) is type(choice) and found == choice for choice in choices):
        named = [str(choice) for choice in choices]
        expected = f"{', '.join(named[:-1])} or {named[-1]}"
        raise Refused(Problem("", f"found '{name}', {name.rpartition(':')[2]}.{key} is {found!r}", expected))
    return found


def function_of(name: str) -> Function:
    """Return the plugin's function; raise Refused that says what is wrong with the file or the name.

    The file is executed anew at every call. Python knows its module by a name, as dataclasses need.
    """
    file, function = file_of(name), name.rpartition(":")[2]
    if file is None or not file.is_file():
        raise Refused(Problem("", f"found '{name}', but there is no file {file}", "FILE.py:function"))
    spec = importlib.util.spec_from_file_location(f"foldline_plugin_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise Refused(Problem("", f"found '{name}', which Python cannot load"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        found = f"found '{name}', whose file raised {type(error).__name__}: {error}"
        raise Refused(Problem("", found)) from error
    loaded = getattr(module, function, None)
    if not callable(loaded):
        raise Refused(Problem("", f"found '{name}', but {file} has no function '{function}'"))
    return loaded  # type: ignore[no-any-return]


@cache
def _made(name: str, entry: Callable[[str, Function], T]) -> T:
    return entry(name, function_of(name))

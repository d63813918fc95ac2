"""Say what is wrong with a config: the key, what was found, what was expected, the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError


def explained(error: ValidationError, config: type[BaseModel]) -> list[str]:
    """Return one line for each key that `config` refuses: where, what was found, what was expected."""
    expected: dict[str, list[str]] = {}  # a key that takes several types has a problem for each
    for problem in error.errors():
        for found, wanted in _explain(dict(problem), config):
            expected.setdefault(found, []).append(wanted)
    return ["; ".join(filter(None, (found, ", or ".join(wanted)))) for found, wanted in expected.items()]


def _explain(problem: dict[str, Any], config: type[BaseModel]) -> list[tuple[str, str]]:
    """Turn one of pydantic's errors into pairs of `key: found` and what was expected, which may be empty."""
    location = [str(part) for part in problem["loc"]]
    if problem["type"] == "extra_forbidden":
        known = _keys_of(location[:-1], config)
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
        return [(f"{'.'.join(location)}: unknown key", hint)]
    key = ".".join(_without_types(problem["loc"], config))
    if problem["type"] == "missing":
        return [(f"{key}: missing", "it has no default")]
    if problem["type"] == "value_error":
        lines = problem["msg"].removeprefix("Value error, ").splitlines()
        return [(f"{key}: {line}" if key else line, "") for line in lines]
    found = "null" if problem["input"] is None else repr(problem["input"])
    if problem["type"] == "model_type":
        return [(f"{key}: found {found}", "expected keys and values; leave the section out to have its defaults")]
    message = problem["msg"]
    return [(f"{key}: found {found}", f"{message[0].lower()}{message[1:]}")]


def _without_types(location: Sequence[str | int], config: type[BaseModel]) -> list[str]:
    """Drop what pydantic adds behind a key that takes several types: model.size.int is model.size."""
    for depth in range(1, len(location)):
        if not _keys_of([str(part) for part in location[:depth]], config):
            rest = [part for part in location[depth:] if isinstance(part, int)]
            return [str(part) for part in (*location[:depth], *rest)]
    return [str(part) for part in location]


def _keys_of(location: list[str], config: type[BaseModel]) -> list[str]:
    """Return the keys of the section at `location`."""
    section = config
    for part in location:
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)

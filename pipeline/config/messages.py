"""Say what is wrong with a config: the key, what was found, what was expected, the nearest name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from pipeline.errors import Problem, nearest, problems_of


def explained(errors: Sequence[dict[str, Any]], config: type[BaseModel]) -> list[Problem]:
    """Return the problems that pydantic's errors tell; a key that takes several types has them in one line."""
    expected: dict[Problem, list[str]] = {}
    for one in errors:
        for problem, wanted in _explain(one, config):
            expected.setdefault(problem, []).extend([wanted] if wanted else [])
    return [replace(one, remedy=", or ".join(wanted) or one.remedy) for one, wanted in expected.items()]


def _explain(problem: dict[str, Any], config: type[BaseModel]) -> list[tuple[Problem, str]]:
    """Turn one of pydantic's errors into problems, each with what was expected where types are listed."""
    location = [str(part) for part in problem["loc"]]
    if problem["type"] == "extra_forbidden":
        known = keys_of(location[:-1], config)
        return [(Problem(".".join(location), "unknown key", remedy=nearest(location[-1], known)), "")]
    key = ".".join(_without_types(problem["loc"], config))
    if problem["type"] == "missing":
        return [(Problem(key, "missing", remedy="it has no default"), "")]
    if problem["type"] == "value_error":
        refused = problems_of(problem["ctx"]["error"])
        return [(one.below(key) if key else one, "") for one in refused]
    found = f"found {'null' if problem['input'] is None else repr(problem['input'])}"
    if problem["type"] == "model_type":
        remedy = "expected keys and values; leave the section out to have its defaults"
        return [(Problem(key, found, remedy=remedy), "")]
    message = problem["msg"]
    return [(Problem(key, found), f"{message[0].lower()}{message[1:]}")]


def _without_types(location: Sequence[str | int], config: type[BaseModel]) -> list[str]:
    """Drop what pydantic adds behind a key that takes several types: model.size.int is model.size."""
    for depth in range(1, len(location)):
        if not keys_of([str(part) for part in location[:depth]], config):
            rest = [part for part in location[depth:] if isinstance(part, int)]
            return [str(part) for part in (*location[:depth], *rest)]
    return [str(part) for part in location]


def keys_of(location: list[str], config: type[BaseModel]) -> list[str]:
    """Return the keys of the section at `location`."""
    section = config
    for part in location:
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)

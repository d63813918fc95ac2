"""Say all that is wrong with a config at once: wrong values, and keys that contradict each other whatever those mean.

A wrong value is taken out, and its default stands for it. So that nothing follows from a default alone, what keys say
of each other is asked again with other values in its place, and only what holds with all of them is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from copy import deepcopy
from itertools import islice
from types import ModuleType
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from pipeline.config import plugin_files
from pipeline.config.config import Config
from pipeline.config.keys import KEYS, below
from pipeline.config.messages import explained
from pipeline.config.rules import flip_rules, recipe_rules, task_rules
from pipeline.config.sections.section import section_of
from pipeline.config.trees import at, overlaid, put
from pipeline.errors import Problem, nearest
from pipeline.methods.blenders import BLENDERS
from pipeline.methods.losses import LOSSES
from pipeline.methods.metrics import METRICS
from pipeline.methods.mixing import MIXERS
from pipeline.methods.schedules import SCHEDULES

# What keys without a default hold while the rest of a config is looked through.
REQUIRED: dict[str, Any] = {
    "name": "x",
    "data": {"root": "x", "image": "{id}", "target": "x"},
    "model": {"name": "resnet18"},
}
# What else a wrong value may have been meant to be, beside the choices that its type lists.
VALUES = (None, True, False, 1, 0.5, 1_000_000, 0, ["y", "z"], "y", "{y}", 32)
NAMES = (*LOSSES, *METRICS, *BLENDERS, *MIXERS, *SCHEDULES)
MOST = 5  # values that are tried in the place of a key


class Looked(NamedTuple):
    """Hold a config with defaults for what is wrong, its problems, and the configs that may have been meant."""

    config: Config | None  # None: nothing can be said
    problems: list[Problem]
    unsure: frozenset[str] = frozenset()  # keys whose value is not known
    others: tuple[Config, ...] = ()


def look(
    tree: dict[str, Any], unsure: Iterable[str] = (), *, found: bool = True, strange: Collection[str] = ()
) -> Looked:
    """Validate a tree of plain values; of the keys that are `unsure` already, nothing is said.

    The functions that it names are found too, but for those that are `strange`, which may not run. Where they are not
    to be `found`, nobody asks what their task admits.
    """
    problems: list[Problem] = []
    doubted = set(unsure)
    tree = overlaid(REQUIRED, tree) if doubted else tree
    while wrong := _wrong_values(tree):
        named = [(one, _keys(one, tree)) for one in wrong]
        problems += explained([one for one, keys in named if not keys or not keys <= doubted], Config)
        before, tree = tree, deepcopy(tree)
        for one, keys in named:
            doubted |= keys
            _take_out(tree, [str(part) for part in one["loc"]])
        tree = overlaid(REQUIRED, tree)
        if tree == before:  # nothing more can be taken out
            return Looked(None, problems)
    rules: tuple[ModuleType, ...] = (task_rules, flip_rules, recipe_rules)
    if not found and plugin_files.names(tree):
        rules = rules[1:]
    elif lost := [(key, one) for key, one in plugin_files.problems(tree, strange) if key not in doubted]:
        tree = deepcopy(tree)
        for key, problem in lost:
            problems.append(problem)
            doubted.add(key)
            _take_out(tree, key.split("."))
        tree = overlaid(REQUIRED, tree)
    config, said = _claims(tree, rules)
    others = []
    for other in _meant(tree, doubted):
        meant, also = _claims(other, rules)
        said = [one for one in said if one in also]
        others.append(meant)
    return Looked(config, problems + said, frozenset(doubted), tuple(others))


def _wrong_values(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """Return pydantic's errors but for those of whole sections, whose keys contradict each other."""
    try:
        Config.model_validate(tree)
    except ValidationError as error:
        return [dict(one) for one in error.errors() if not _of_section(dict(one))]
    return []


def _of_section(error: dict[str, Any]) -> bool:
    location = error["loc"]
    field = Config.model_fields.get(str(location[0])) if len(location) == 1 else None
    return field is not None and section_of(field.annotation) is not None and error["type"] == "value_error"


def _claims(tree: dict[str, Any], between: Sequence[ModuleType]) -> tuple[Config, list[Problem]]:
    """Return the config of a tree of right values, and what its keys, by the rules, say against each other."""
    made: list[BaseModel] = []
    problems, sections = [], dict[str, BaseModel]()
    try:
        config = Config.model_validate(tree, context=made)
    except ValidationError as error:
        contradicted: list[dict[str, Any]] = [dict(one) for one in error.errors()]
        problems += explained(contradicted, Config)
        names = [str(one["loc"][0]) for one in contradicted]
        kinds = {name: section_of(Config.model_fields[name].annotation) for name in names}
        sections = {name: next(one for one in reversed(made) if type(one) is kind) for name, kind in kinds.items()}
        rest = {key: value for key, value in tree.items() if key not in names}
        needed = {
            name: {key: tree[name][key] for key in required}
            for name, required in REQUIRED.items()
            if name in names and isinstance(required, dict)
        }
        config = Config.model_validate({**rest, **needed}).model_copy(update=sections)
    for rules in between:
        problems += rules.problems(config)
    return config, problems


def _keys(error: dict[str, Any], tree: dict[str, Any]) -> set[str]:
    """Return the keys that one of pydantic's errors leaves unsure; of an unknown one those that it was meant as."""
    location = [str(part) for part in error["loc"]]
    for depth in range(len(location), -1, -1):
        name = ".".join(location[:depth])
        if name in KEYS:
            return {name}
        found = below(name) if name else list(KEYS)
        if found and depth == len(location):
            return set(found)
        if found:
            start = f"{name}." if name else ""
            like = nearest(location[depth], list(dict.fromkeys(key[len(start) :].split(".")[0] for key in found)))
            meant = start + like.removeprefix("did you mean '").removesuffix("'?")
            return {key for key in below(meant) if at(tree, key) is None}
    return set()


def _take_out(tree: dict[str, Any], location: Sequence[str]) -> None:
    """Delete the key, or the section, of a location where the tree has it."""
    part: Any = tree
    for depth, name in enumerate(location, 1):
        if not (isinstance(part, dict) and name in part):
            return
        if depth == len(location) or ".".join(location[:depth]) in KEYS:
            del part[name]
            return
        part = part[name]


def _meant(tree: dict[str, Any], unsure: Iterable[str]) -> list[dict[str, Any]]:
    """Return trees that hold other right values for the keys that are not known."""
    values = {key: found for key in sorted(unsure) if (found := _values(key))}
    most = max(map(len, values.values()), default=0)
    trees = []
    for turn in range(most):
        other = deepcopy(tree)
        for key, found in values.items():
            put(other, key, found[turn % len(found)])
        trees.append(other)
    return trees


def _values(key: str) -> list[Any]:
    """Return some values that a key takes, beside its default."""
    section: type[BaseModel] = Config
    *parents, last = key.split(".")
    for parent in parents:
        section = section_of(section.model_fields[parent].annotation) or section
    field = section.model_fields[last]
    default, needed = field.get_default(), at(REQUIRED, ".".join(parents)) if parents else REQUIRED
    tried = (value for value in (*_choices(field.annotation), *VALUES, *NAMES) if value != default)
    return list(islice((value for value in tried if _takes(section, last, value, needed or {})), MOST))


def _choices(annotation: Any) -> list[Any]:
    """Return the texts that a type lists, those inside unions too, but not those of lists."""
    parts = get_args(annotation)
    if all(isinstance(part, str) for part in parts):
        return list(parts)
    return [choice for part in parts if getattr(part, "__origin__", None) is not list for choice in _choices(part)]


def _takes(section: type[BaseModel], name: str, value: Any, needed: dict[str, Any]) -> bool:
    try:
        section.model_validate({**needed, name: value})
    except ValidationError as error:
        return all(one["loc"][:1] != (name,) for one in error.errors())
    return True

"""Read and change trees of plain values, as YAML files hold them."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import InputError, Problem
from pipeline.files.failures import reading

LARGEST = 5_000_000  # bytes of a config: PyYAML reads less than a MB in a second
MOST = 500_000  # values
DEEPEST = 50  # levels


class _Loader(yaml.SafeLoader):
    """Refuse a key that stands twice in a section: YAML's readers keep the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [str(key.value) for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key '{twice[0]}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read(path: Path) -> dict[str, Any]:
    """Return a YAML file's keys and values; raise InputError where it is none."""
    if not os.path.lexists(path):
        raise InputError(Problem(str(path), "not found", "a config file", "those shipped lie in configs/"))
    with reading(path, InputError, "YAML"):
        if (size := path.stat().st_size) > LARGEST:
            raise InputError(Problem(str(path), f"is {size:,} bytes large", f"a config of at most {LARGEST:,}"))
        text = path.read_text(encoding="utf-8-sig")
    try:
        tree = parsed(text)
    except ValueError as error:
        raise InputError(Problem(str(path), f"not readable as YAML: {error}")) from None
    if not isinstance(tree, dict):
        raise InputError(Problem(str(path), f"found {type(tree).__name__}", "keys and values"))
    return tree


def parsed(text: str) -> Any:
    """Return what a text of YAML holds; raise ValueError with the reason where that is nothing to go on with.

    What PyYAML's constructors raise on a date, a number or a tag that is none has many types. Aliases are counted as
    what they stand for: a few lines of them make more values than fit into memory.
    """
    try:
        tree = yaml.load(text, _Loader)
        _measure(tree, {}, [])
    except RecursionError:
        raise ValueError("nested too deep") from None
    except Exception as error:
        raise ValueError(" ".join(str(error).split())[:300] or type(error).__name__) from None
    return tree


def _measure(value: Any, known: dict[int, int], inside: list[int]) -> int:
    """Return how many values a tree holds, those of an alias wherever it stands; raise ValueError where too many."""
    if isinstance(value, str) and ("\0" in value or (not value.isprintable() and any(map(_is_surrogate, value)))):
        raise ValueError(f"a text holds a character that no name can have: {value[:100]!r}")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("a number has more than 64 bits")
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if id(value) in inside:
        raise ValueError("an alias stands inside of what it is the name of")
    if len(inside) > DEEPEST:
        raise ValueError("nested too deep")
    if id(value) not in known:
        inside.append(id(value))
        held = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_measure(one, known, inside) for one in held)
        inside.pop()
    if known[id(value)] > MOST:
        raise ValueError(f"more than {MOST:,} values, with what its aliases stand for")
    return known[id(value)]


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def overlaid(tree: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return a tree of plain values with another one laid over it, key by key, as a second `-c` is."""
    copy = deepcopy(tree)
    _overlay(copy, other)
    return copy


def _overlay(tree: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _overlay(tree[key], value)
        else:
            tree[key] = value


def change(tree: dict[str, Any], setting: str) -> Problem | None:
    """Apply one `a.b=v` in place; return what is wrong with it, if anything."""
    place = f"--set {setting}"
    key, equals, text = setting.partition("=")
    if not equals or not key:
        return Problem(place, "expected key=value, as in --set train.lr=3e-4")
    try:
        value = parsed(text)
    except ValueError:
        return Problem(place, "the value is not YAML", remedy="quote it")
    *parents, last = key.split(".")
    for depth, parent in enumerate(parents):
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            return Problem(place, f"{'.'.join(parents[: depth + 1])} is a value, not a section")
    tree[last] = value
    return None


def at(tree: Any, key: str) -> Any:
    """Return what a dotted key holds, None where the tree has it not."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Let a dotted key hold a value, in place."""
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = value

"""Write the page of all keys, docs/keys.md, from the sections themselves: python -m pipeline.config.reference."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config.config import Config
from pipeline.config.sections.section import Item, Section, section_of

HEAD = """# Every key of a config

Written from the sections in `pipeline/config/sections/` by `python -m pipeline.config.reference`; a test holds it up to
date. "Changes" says which results read the key itself; what is made from those changes with them. A config needs the
keys without a default; mistyped ones are errors with the nearest name.
"""
PLAIN = {str: "text", int: "integer", float: "number", bool: "true, false", type(None): "null", Any: "any value"}
LIMITS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}"}


def page() -> str:
    """Return the page as Markdown."""
    top = [name for name, field in Config.model_fields.items() if section_of(field.annotation) is None]
    lines = [HEAD, "## Above all sections", "", *_table(Config, "", top)]
    for name, section in _sections(Config, ""):
        lines += ["", f"## {name}", "", " ".join((section.__doc__ or "").split()), "", *_table(section, f"{name}.")]
    for item in _items(Config):
        lines += ["", f"### {item.__name__}", "", " ".join((item.__doc__ or "").split()), "", *_table(item, "")]
    return "\n".join(lines) + "\n"


def kind(annotation: Any) -> str:
    """Say in words which values a key takes."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = [LIMITS[one].format(f"{value:,}") for one, value in _limits(inside[1:])]
        return " ".join([kind(inside[0]), *([", ".join(limits)] if limits else [])])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inside)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(kind(one) for one in inside))
    if origin is list:
        return f"list of: {kind(inside[0])}"
    if origin is tuple:
        return f"[{', '.join(kind(one) for one in inside)}]"
    if origin is dict:
        return f"mapping of {kind(inside[0])} to: {kind(inside[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Item):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return PLAIN.get(annotation, str(annotation))


def _limits(marks: tuple[Any, ...]) -> Iterator[tuple[str, float]]:
    for mark in marks:
        inner = mark.metadata if isinstance(mark, FieldInfo) else [mark]
        yield from ((one, getattr(each, one)) for each in inner for one in LIMITS if hasattr(each, one))


def _table(section: type[BaseModel], prefix: str, names: list[str] | None = None) -> list[str]:
    """Return a row a key: name, values, default, what changes with it, meaning."""
    own = issubclass(section, Section)
    lines = ["| key | takes | default |" + (" changes |" if own else "") + " meaning |"]
    lines.append("|---|---|---|" + ("---|" if own else "") + "---|")
    for name, field in section.model_fields.items():
        if section_of(field.annotation) is None and (names is None or name in names):
            limits = [LIMITS[one].format(f"{value:,}") for one, value in _limits(tuple(field.metadata))]
            takes = " ".join([kind(field.annotation), *([", ".join(limits)] if limits else [])])
            cells = [f"`{prefix}{name}`", takes, _default(field), *([_affects(field)] if own else [])]
            lines.append(f"| {' | '.join([*cells, str(field.description)])} |")
    return lines


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "–"
    value = yaml.safe_dump([field.get_default()], default_flow_style=True, width=10**6).strip()[1:-1]
    return f"`{value}`"


def _affects(field: FieldInfo) -> str:
    facts: Any = field.json_schema_extra
    return ", ".join(str(one.name).lower() for one in facts["facts"]["affects"]) or "nothing"


def _sections(section: type[Section], prefix: str) -> Iterator[tuple[str, type[Section]]]:
    for name, field in section.model_fields.items():
        if (nested := section_of(field.annotation)) is not None:
            yield f"{prefix}{name}", nested
            yield from _sections(nested, f"{prefix}{name}.")


def _items(annotation: Any) -> list[type[Item]]:
    """Return the entries that keys take as lists or mappings of them, each once, in the order of the keys."""
    if isinstance(annotation, type) and issubclass(annotation, Item):
        own = [] if issubclass(annotation, Section) else [annotation]
        return list(dict.fromkeys([*own, *(i for f in annotation.model_fields.values() for i in _items(f.annotation))]))
    return list(dict.fromkeys(item for one in get_args(annotation) for item in _items(one)))


if __name__ == "__main__":
    print(page(), end="")

"""List every key of the config with what its section says of it; no other list of keys exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from pipeline.config.config import Config
from pipeline.config.sections.section import Affects, Section, section_of


@dataclass(frozen=True)
class Key:
    """Say of one key, by its dotted name, what its section declares."""

    name: str
    field: FieldInfo
    affects: Affects
    later: bool  # at its default it is in no fingerprint
    plugin: Callable[[str], object] | None  # finds FILE.py:function, which it may name, or refuses it

    @property
    def default(self) -> Any:
        """Return the default; pydantic's mark of none where the key is required."""
        return self.field.get_default(call_default_factory=True)

    def value(self, config: Config) -> Any:
        """Return the key's value in a config, as the section holds it."""
        found: Any = config
        for part in self.name.split("."):
            found = getattr(found, part)
        return found


def _keys(section: type[Section], prefix: str) -> Iterator[Key]:
    for name, field in section.model_fields.items():
        nested, extra = section_of(field.annotation), field.json_schema_extra
        if nested is not None:
            yield from _keys(nested, f"{prefix}{name}.")
        elif isinstance(extra, dict):
            yield Key(f"{prefix}{name}", field, **extra["facts"])  # type: ignore[arg-type]


KEYS = {one.name: one for one in _keys(Config, "")}


def affecting(results: Affects) -> list[str]:
    """Return the names of the keys that any of the results reads itself, in the order of the sections."""
    return [name for name, one in KEYS.items() if one.affects & results]


def below(*sections: str) -> list[str]:
    """Return the names of the keys of some sections, or single keys, by their dotted names."""
    return [name for name in KEYS if any(name == one or name.startswith(f"{one}.") for one in sections)]


def plugins() -> list[str]:
    """Return the names of the keys that may name FILE.py:function."""
    return [name for name, one in KEYS.items() if one.plugin is not None]

"""Find a name in one of the literal tables, with an error that helps."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def lookup(table: Mapping[str, T], name: str, what: str) -> T:
    """Return `table[name]`; raise ValueError with the nearest name and the whole list otherwise."""
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, list(table), n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    raise ValueError(f"found '{name}', expected a {what}{hint}: {', '.join(table)}")

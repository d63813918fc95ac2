"""Fill templates over a table's columns: images/{id[0]}/{id}.jpg, {patient_id}_{side}, {number:06}."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import Problem, Refused, nearest

if TYPE_CHECKING:
    import pandas as pd

BRACES = re.compile(r"\{([^{}]*)\}")
PICK = re.compile(r"(?P<column>.*?)(\[(?P<start>-?\d*)(?P<colon>:?)(?P<stop>-?\d*)\])?(:0?(?P<width>\d+))?", re.DOTALL)


@dataclass(frozen=True)
class Field:
    """Say what of a row's cell stands in the template's place."""

    column: str
    part: slice | None = None
    width: int = 0  # zeros are put before it up to this length

    def texts(self, cells: list[str]) -> list[str]:
        """Return what the cells give."""
        if self.part is None and not self.width:
            return cells
        return [(cell if self.part is None else cell[self.part]).zfill(self.width) for cell in cells]


@dataclass(frozen=True)
class Template:
    """Hold a template's literals around its fields: one literal more than fields."""

    literals: tuple[str, ...]
    fields: tuple[Field, ...]


def parse(template: str, columns: Sequence[str]) -> Template:
    """Split `a/{x}.png` into its literals 'a/', '.png' and its fields.

    A field is {column}, {column[0]}, {column[:2]}, {column:06} (zeros before it up to six characters) or both;
    a column that is called so literally comes first. Raises Refused where braces do not pair, no column is
    named, or one is named that is not there.
    """
    literals, names = split(template)
    if not names:
        found = f"found '{template}', it names no column"
        raise Refused(Problem("", found, "{column} as in images/{id}.png"))
    known = set(columns)
    fields = {name: _field(name, known) for name in names}
    if unknown := [name for name, field in fields.items() if field is None]:
        raise Refused(*(Problem("", f"'{{{name}}}' is no column", remedy=nearest(name, columns)) for name in unknown))
    return Template(tuple(literals), tuple(field for name in names if (field := fields[name]) is not None))


def split(template: str) -> tuple[list[str], list[str]]:
    """Return the literals and, between them, the names in braces; raise Refused where braces do not pair."""
    literals, names = BRACES.split(template)[::2], BRACES.findall(template)
    if any(brace in text for text in literals for brace in "{}"):
        found = f"found '{template}', its braces do not pair"
        raise Refused(Problem("", found, "names of columns as in images/{id}.png"))
    return literals, names


def fill(template: str, cells: pd.DataFrame | Mapping[str, Sequence[str]]) -> list[str]:
    """Return the template filled in for every row of text cells; raise Refused as `parse` does.

    Only fields are replaced, so a cell cannot reach into our objects as str.format would allow.
    """
    found = parse(template, [str(column) for column in cells])
    columns = [field.texts(list(cells[field.column])) for field in found.fields]
    if len(columns) == 1:
        before, after = found.literals
        return [f"{before}{text}{after}" for text in columns[0]]
    pattern = "%s".join(text.replace("%", "%%") for text in found.literals)
    return [pattern % values for values in zip(*columns, strict=True)]


def _field(name: str, columns: set[str]) -> Field | None:
    if name in columns:
        return Field(name)
    match = PICK.fullmatch(name)
    if match is None or match["column"] not in columns:
        return None
    part, width = None, int(match["width"] or 0)
    if match["start"] is not None:
        start, stop = (int(text) if text else None for text in (match["start"], match["stop"]))
        if match["colon"]:
            part = slice(start, stop)
        elif start is not None and stop is None:
            part = slice(start, start + 1 or None)  # beyond the end it is empty, as a slice is
        else:
            return None
    return Field(match["column"], part, width)

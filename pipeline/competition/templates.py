"""Fill templates over a table's columns: images/{id[0]}/{id}.jpg, {patient_id}_{side}, {number:06}."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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

    def text(self, cell: str) -> str:
        """Return what a cell gives."""
        return (cell if self.part is None else cell[self.part]).zfill(self.width)


@dataclass(frozen=True)
class Template:
    """Hold a template's literals around its fields: one literal more than fields."""

    literals: tuple[str, ...]
    fields: tuple[Field, ...]


def parse(template: str, columns: Sequence[str]) -> Template:
    """Split `a/{x}.png` into its literals 'a/', '.png' and its fields.

    A field is {column}, {column[0]}, {column[:2]}, {column:06} (zeros before it up to six characters) or both;
    a column that is called so literally comes first. Raises ValueError where braces do not pair, no column is
    named, or one is named that is not there.
    """
    literals, names = BRACES.split(template)[::2], BRACES.findall(template)
    if any(brace in text for text in literals for brace in "{}"):
        raise ValueError(f"found '{template}', its braces do not pair; expected {{column}} as in images/{{id}}.png")
    if not names:
        raise ValueError(f"found '{template}', it names no column; expected {{column}} as in images/{{id}}.png")
    known = set(columns)
    fields = [_field(name, known) for name in names]
    unknown = [name for name, field in zip(names, fields, strict=True) if field is None]
    if unknown:
        raise ValueError(
            "; ".join(f"'{{{name}}}' is no column{nearest(name, columns)}" for name in dict.fromkeys(unknown))
        )
    return Template(tuple(literals), tuple(field for field in fields if field is not None))


def fill(template: str, cells: pd.DataFrame | Mapping[str, Sequence[str]]) -> list[str]:
    """Return the template filled in for every row of text cells; raise ValueError as `parse` does.

    Only fields are replaced, so a cell cannot reach into our objects as str.format would allow.
    """
    found = parse(template, [str(column) for column in cells])
    columns = [_texts(cells[field.column], field) for field in found.fields]
    if len(columns) == 1:
        before, after = found.literals
        return [f"{before}{text}{after}" for text in columns[0]]
    pattern = "%s".join(text.replace("%", "%%") for text in found.literals)
    return [pattern % values for values in zip(*columns, strict=True)]


def _texts(cells: pd.Series[str] | Sequence[str], field: Field) -> Sequence[str]:
    texts = cells if isinstance(cells, list) else list(cells)
    return texts if field.part is None and not field.width else [field.text(text) for text in texts]


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


def nearest(name: str, names: Sequence[str], most: int = 12) -> str:
    """Return a hint: the name that was probably meant, or what there is."""
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; there are: {', '.join(names[:most]) or 'none'}{', …' if len(names) > most else ''}"

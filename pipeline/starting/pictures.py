"""Find the template that leads from a table's rows to the pictures: train_images/{patient_id}/{image_id}.png."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.competition.templates import fill
from pipeline.starting.folder import Folder, words

if TYPE_CHECKING:
    import pandas as pd

LOOKED_AT = 200  # rows from which templates are derived; all rows are counted then
MOST = 0.9  # share of the rows that a part of a path must fit
RAW = (".dcm", ".dicom", ".npy", ".npz")  # pictures come first where both lie there
SLICES = ("[0]", "[1]", "[2]", "[:1]", "[:2]", "[:3]", "[-1]", "[-2:]")  # sub-folders by an id's characters


@dataclass(frozen=True)
class Found:
    """Hold a template and how many of the table's rows have their picture."""

    template: str
    column: str  # that names the file
    count: int
    rows: int

    @property
    def share(self) -> float:
        """Return the share of the rows that have their picture."""
        return self.count / self.rows


def find(table: pd.DataFrame, folder: Folder, part: str, prefer: Sequence[str]) -> Found | None:
    """Return the template that reaches most pictures, or None where none reaches half.

    `part` is train or test: a folder called so comes first; `prefer` are columns that come first.
    """
    rows = table.iloc[:: max(1, len(table) // LOOKED_AT)]
    made = {}
    for column in table.columns:
        if rows[column].nunique() * 2 > len(rows):
            for template in _templates(rows, column, folder):
                made[template] = column
    counted = [Found(template, column, count(table, folder, template), len(table)) for template, column in made.items()]
    order = list(prefer)

    def rank(found: Found) -> tuple[float, bool, bool, int, int]:
        ending = os.path.splitext(found.template)[1].lower()
        return (
            -round(found.share, 2),
            part not in words(found.template),
            ending in RAW,
            order.index(found.column) if found.column in order else len(order),
            found.template.count("/"),
        )

    return min((found for found in counted if found.share >= 0.5), key=rank, default=None)


def count(table: pd.DataFrame, folder: Folder, template: str) -> int:
    """Return how many rows have the picture that the template names."""
    return sum(path in folder.known for path in fill(template, table))


def _templates(rows: pd.DataFrame, column: str, folder: Folder) -> list[str]:
    """Return the templates that lead most rows to a picture which this column names."""
    reached: dict[tuple[int, str, str], dict[int, list[list[str]]]] = defaultdict(lambda: defaultdict(list))
    for row, cell in enumerate(rows[column]):
        for width in [0, *folder.widths] if cell.isdigit() else [0]:
            text = cell.zfill(width)
            field = f"{{{column}:0{width}}}" if width else f"{{{column}}}"
            for path in folder.by_name.get(text.rpartition("/")[2], []):
                ending = "" if path.endswith(text) else os.path.splitext(path)[1]
                if path == text + ending or path.endswith("/" + text + ending):
                    above = path[: len(path) - len(text + ending)].split("/")[:-1]
                    reached[len(above), field, ending][row].append(above)
    made = []
    for (depth, field, ending), found in reached.items():
        if len(found) < len(rows) / 2:
            continue
        options = [_options(rows, column, found, level) for level in range(depth)]
        for parts in itertools.islice(itertools.product(*options), 64):
            made.append("/".join([*parts, field + ending]))
    return made


def _options(rows: pd.DataFrame, column: str, found: dict[int, list[list[str]]], level: int) -> list[str]:
    """Return what a folder's name at this depth can be: the same for most rows, a column's cell, a piece of the id."""
    seen = {row: {above[level] for above in paths} for row, paths in found.items()}
    needed = MOST * len(seen)
    literals = {name for names in itertools.islice(seen.values(), 3) for name in names}
    same = [name for name in sorted(literals) if sum(name in names for names in seen.values()) >= needed]
    if same:
        return same
    fields = [*(f"{{{other}}}" for other in rows.columns), *(f"{{{column}{part}}}" for part in SLICES)]
    fitting = []
    for field in fields:
        cells = fill(field, rows)
        if sum(cells[row] in names for row, names in seen.items()) >= needed:
            fitting.append(field)
    return fitting[:4]

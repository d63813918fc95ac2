"""Find pictures that no template over a table's own columns reaches: by a column that is derived from one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.starting import pictures
from pipeline.starting.folder import Folder
from pipeline.starting.pictures import LOOKED_AT, Found

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 0.9  # share of the rows' pictures below which further ways are tried
DERIVED = {  # name of the new column -> the pattern that finds it in a cell
    "inner": "/(.+)",  # an archive may lack the top folder that the table names
    "name": r"[^/\\]+$",  # absolute paths, paths of another machine, backslashes
    "stem": r"([^/\\]+?)(?:\.[^./\\]*)?$",  # an ending that the files do not have, 1000.0
    "part": r"^(.+)_[^_]*$",  # a picture's id before a class
}


def find(table: pd.DataFrame, folder: Folder, part: str, prefer: Sequence[str]) -> Found | None:
    """Return how the rows' pictures are found: by a template, else by one over a column that is derived."""
    best = pictures.find(table, folder, part, prefer)
    if best is not None and best.share >= FEWEST:
        return best
    found = _derived(table, folder, part, prefer)
    return found if found is not None and found.count > (best.count if best else 0) else best


def widened(table: pd.DataFrame, derive: dict[str, dict[str, str]]) -> pd.DataFrame:
    """Return the table with derived columns; a cell that gives none is blank."""
    new = {}
    for name, how in derive.items():
        found = [re.search(how["pattern"], cell) for cell in table[how["column"]]]
        new[name] = [match[match.re.groups] if match else "" for match in found]
    return table.assign(**new)


def _derived(table: pd.DataFrame, folder: Folder, part: str, prefer: Sequence[str]) -> Found | None:
    """Return the template over a column that is derived from another one."""
    rows = table.iloc[:: max(1, len(table) // LOOKED_AT)]
    for column in sorted(map(str, table.columns), key=lambda column: column not in prefer):
        if rows[column].nunique() * 2 <= len(rows):
            continue
        for name, pattern in DERIVED.items():
            derive = {_free(name, table): {"column": column, "pattern": pattern}}
            (new,) = derive
            narrow = widened(rows[[column]], derive)
            if narrow[new].nunique() * 4 <= len(rows) or (narrow[new] == narrow[column]).all():
                continue
            if pictures.find(narrow[[new]], folder, part, []) is None:
                continue
            found = pictures.find(widened(table, derive), folder, part, [new])
            if found is not None and f"{{{new}" in found.template:
                return replace(found, column=column, derive=derive)
    return None


def _free(name: str, table: pd.DataFrame) -> str:
    """Return a name that no column has."""
    taken = {str(column).lower() for column in table.columns}
    return next(one for one in (name, *(f"{name}_{n}" for n in range(2, 1000))) if one not in taken)

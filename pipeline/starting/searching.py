"""Find pictures that no template over a table's columns reaches: by derived columns, by a joined listing."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.competition.tables import read_table
from pipeline.starting import pictures
from pipeline.starting.folder import Folder
from pipeline.starting.pictures import LOOKED_AT, Found

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 0.9  # share of the rows' pictures below which further ways are tried
NAMED = 40  # folders that a pattern lists by name
DERIVED = {  # name of the new column -> the pattern that finds it in a cell
    "inner": "/(.+)",  # an archive may lack the top folder that the table names
    "name": r"[^/\\]+$",  # absolute paths, paths of another machine, backslashes
    "stem": r"([^/\\]+?)(?:\.[^./\\]*)?$",  # an ending that the files do not have, 1000.0
    "part": r"^(.+)_[^_]*$",  # a picture's id before a class
}


def find(table: pd.DataFrame, folder: Folder, part: str, prefer: Sequence[str]) -> Found | None:
    """Return how the rows' pictures are found: by a template, by one over a derived column, by a joined listing."""
    best = pictures.find(table, folder, part, prefer)
    if best is not None and best.count == best.rows:
        return best
    for other in (_derived, _joined):
        if best is not None and best.share >= FEWEST and other is _derived:
            continue
        found = other(table, folder, part, prefer)
        if found is not None and found.count > (best.count if best else 0):
            best = found
    return best


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
                return replace(found, column=column, guesses={"data.derive": derive})
    return None


def _joined(table: pd.DataFrame, folder: Folder, part: str, prefer: Sequence[str]) -> Found | None:
    """Return the join of a listing of files, by their names with or without the ending, whatever folder holds each."""
    import pandas as pd

    paths = [path for path in folder.pictures if not _is_other(path, part)]
    names = [path.rpartition("/")[2] for path in paths]
    best: tuple[int, str, bool, pd.Series[bool]] | None = None
    for column in sorted(map(str, table.columns), key=lambda column: column not in prefer):
        for bare in (False, True):
            known = pd.Index([os.path.splitext(name)[0] if bare else name for name in names])
            here = pd.Series(known.isin(table[column]))
            if known[here].has_duplicates:
                continue
            count = int(table[column].isin(known).sum())
            if count * 2 > len(table) and table[column].nunique() * 2 > len(table) and count > (best[0] if best else 0):
                best = count, column, bare, here
    if best is None:
        return None
    count, column, bare, here = best
    wanted = [path for path, is_wanted in zip(paths, here, strict=True) if is_wanted]
    spec = _listing(wanted, _free("picture", table), _free("key", table), bare)
    try:
        listed = read_table(folder.root, spec)
    except (ValueError, OSError):
        return None
    if listed[_free("key", table)].duplicated().any():
        return None
    join: dict[str, Any] = {"table": spec, "on": column, "key": _free("key", table), "rows": part}
    return Found(f"{{{_free('picture', table)}}}", column, count, len(table), {"data.joins": [join]})


def _is_other(path: str, part: str) -> bool:
    from pipeline.starting.class_folders import TEST, TRAIN
    from pipeline.starting.folder import words

    found = set(words(os.path.dirname(path)))
    return bool(found & (TEST if part == "train" else TRAIN)) and not found & (TRAIN if part == "train" else TEST)


def _listing(paths: Sequence[str], picture: str, key: str, bare: bool) -> str:
    """Return a regular expression over these paths whose groups are the path and the file's name."""
    folders = sorted({path.rpartition("/")[0] for path in paths})
    if len(folders) > NAMED:
        folders = sorted({re.sub(r"\d+", "\0", folder) for folder in folders})
    if len(folders) > NAMED:
        top = os.path.commonpath(folders) if all(folders) else ""
        choice = f"{re.escape(top)}/.+/" if top else "(?:.+/)?"
    else:
        choice = "|".join(f"{re.escape(folder)}/" if folder else "" for folder in folders).replace("\0", r"\d+")
        choice = choice if len(folders) == 1 else f"(?:{choice})"
    endings = sorted({os.path.splitext(path)[1].lower() for path in paths})
    ending = "|".join(re.escape(ending) for ending in endings)
    last = f"(?P<{key}>[^/]+?)(?i:{ending})" if bare else f"(?P<{key}>[^/]+(?i:{ending}))"
    return f"re:(?P<{picture}>{choice}{last})"


def _free(name: str, table: pd.DataFrame) -> str:
    """Return a name that no column has."""
    taken = {str(column).lower() for column in table.columns}
    return next(one for one in (name, *(f"{name}_{n}" for n in range(2, 1000))) if one not in taken)

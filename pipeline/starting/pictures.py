"""Find the template that leads from a table's rows to the pictures: train_images/{patient_id}/{image_id}.png.

Where no column of the table names the files, one is derived from it.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline.competition.image_folders import ARRAYS, FLOAT
from pipeline.competition.templates import fill
from pipeline.starting.folder import Folder, composed, words

if TYPE_CHECKING:
    import pandas as pd

LOOKED_AT = 200  # rows from which templates are derived; all rows are counted for the best of them
COUNTED = 8  # templates
MOST = 0.9  # share of the rows that a part of a path must fit
RAW = {".dcm", ".dicom", *ARRAYS}  # pictures come first where both lie there
BESIDE = {"mask", "masks", "segmentation", "segmentations", "seg", "annotations", "thumbnails", "depth"}
SLICES = ("[0]", "[1]", "[2]", "[:1]", "[:2]", "[:3]", "[-1]", "[-2:]")  # sub-folders by an id's characters
FEWEST = 0.9  # share of the rows' pictures below which further ways are tried
DERIVED = {  # name of the new column -> the pattern that finds it in a cell
    "inner": "/(.+)",  # an archive may lack the top folder that the table names
    "name": r"[^/\\]+$",  # absolute paths, paths of another machine, backslashes
    "stem": r"([^/\\]+?)(?:\.[^./\\]*)?$",  # an ending that the files do not have, 1000.0
}


@dataclass(frozen=True)
class Found:
    """Hold a template and how many of the table's rows have their picture."""

    template: str
    column: str  # that names the file
    count: int
    rows: int
    derive: dict[str, Any] = field(default_factory=dict)  # data.derive, where the template needs it

    @property
    def share(self) -> float:
        """Return the share of the rows that have their picture."""
        return self.count / self.rows


def find(table: pd.DataFrame, folder: Folder, part: str, prefer: Sequence[str]) -> Found | None:
    """Return how the rows' pictures are found: by a template, else by one over a column that is derived."""
    best = by_template(table, folder, part, prefer)
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


def by_template(table: pd.DataFrame, folder: Folder, part: str, prefer: Sequence[str]) -> Found | None:
    """Return the template that reaches most pictures, or None where none reaches half.

    `part` is train or test: a folder called so comes first, one called like the other last; `prefer` are columns
    that come first.
    """
    rows = _some(table)
    made = dict[str, str]()
    for column in map(str, table.columns):
        if rows[column].nunique() * 2 > len(rows):
            paths = (
                [f"{{{column}}}"] if rows[column].str.contains(r"[/\\]").any() else []
            )  # of another machine, perhaps
            for template in [*_templates(rows, column, folder), *paths]:
                made.setdefault(template, column)
    order = list(prefer)

    def rank(found: Found) -> tuple[float, bool, int, bool, int, int, int]:
        inside, ending = set(words(os.path.dirname(found.template))), os.path.splitext(found.template)[1].lower()
        other = {"train", "test"} - {part}
        return (
            -round(found.share, 2),
            "*" in found.template,
            2 if other & inside or BESIDE & inside else part not in inside,
            ending in RAW,
            order.index(found.column) if found.column in order else len(order),
            -found.count,
            found.template.count("/"),
        )

    tried = (Found(template, column, folder.count(rows, template), len(rows)) for template, column in made.items())
    best = sorted((found for found in tried if found.share >= 0.4), key=rank)[:COUNTED]
    counted = (Found(found.template, found.column, folder.count(table, found.template), len(table)) for found in best)
    return min((found for found in counted if found.share >= 0.5), key=rank, default=None)


def _some(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows from anywhere in a table: every n-th would all lie in one folder where each n-th goes there."""
    return table.sample(min(len(table), LOOKED_AT), random_state=0).sort_index().reset_index(drop=True)


def _templates(rows: pd.DataFrame, column: str, folder: Folder) -> list[str]:
    """Return the templates that lead most rows to a picture which this column names.

    Where endings differ: without one, which finds any where the reader can, then those by their frequency.
    """
    reached: dict[tuple[int, str], dict[int, list[list[str]]]] = defaultdict(lambda: defaultdict(list))
    endings: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for row, cell in enumerate(rows[column]):
        for width in [0, *folder.widths] if cell.isdigit() else [0]:
            text = composed(FLOAT.sub(r"\1\2", cell).zfill(width))
            written = f"{{{column}:0{width}}}" if width else f"{{{column}}}"
            for path in folder.by_name.get(text.rpartition("/")[2], []):
                whole = composed(path)
                ending = "" if whole.endswith(text) else os.path.splitext(whole)[1]
                if whole == text + ending or whole.endswith("/" + text + ending):
                    above = whole[: len(whole) - len(text + ending)].split("/")[:-1]
                    reached[len(above), written][row].append(above)
                    endings[len(above), written][ending] += 1
    made = []
    for (depth, written), found in reached.items():
        if len(found) < len(rows) / 2:
            continue
        options = [_options(rows, column, found, level) for level in range(depth)]
        seen = [ending for ending, _ in endings[depth, written].most_common(4)]
        for parts in itertools.islice(itertools.product(*options), 32):
            made += ["/".join([*parts, written + ending]) for ending in (["", *seen] if len(seen) > 1 else seen)]
    return made


def _options(rows: pd.DataFrame, column: str, found: dict[int, list[list[str]]], level: int) -> list[str]:
    """Return a folder's name at this depth: the same for most rows, a column's cell, a piece of the id, else any."""
    seen = {row: {above[level] for above in paths} for row, paths in found.items()}
    needed = MOST * len(seen)
    literals = {name for names in itertools.islice(seen.values(), 3) for name in names}
    same = [name for name in sorted(literals) if sum(name in names for names in seen.values()) >= needed]
    if same:
        return same
    fields = [*(f"{{{other}}}" for other in rows.columns), *(f"{{{column}{part}}}" for part in SLICES)]
    fitting = []
    for text in fields:
        cells = fill(text, rows)
        if sum(cells[row] in names for row, names in seen.items()) >= needed:
            fitting.append(text)
    return fitting[:4] or [_pattern({name for names in seen.values() for name in names})]


def _pattern(names: set[str]) -> str:
    """Return what names have in common, with a `*` for the rest: images_* of images_001 and images_002."""
    start, end = _same(names), _same([name[::-1] for name in names])[::-1]
    return f"{start}*{end[-(min(map(len, names)) - len(start)) :] if min(map(len, names)) > len(start) else ''}"


def _same(names: Iterable[str]) -> str:
    """Return what names begin with."""
    letters = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letter[0] for letter in letters)


def _derived(table: pd.DataFrame, folder: Folder, part: str, prefer: Sequence[str]) -> Found | None:
    """Return the template over a column that is derived from another one."""
    rows = _some(table)
    for column in sorted(map(str, table.columns), key=lambda column: column not in prefer):
        if rows[column].nunique() * 2 <= len(rows):
            continue
        for name, pattern in DERIVED.items():
            derive = {_free(name, table): {"column": column, "pattern": pattern}}
            (new,) = derive
            narrow = widened(rows[[column]], derive)
            if narrow[new].nunique() * 4 <= len(rows) or (narrow[new] == narrow[column]).all():
                continue
            if by_template(narrow[[new]], folder, part, []) is None:
                continue
            found = by_template(widened(table, derive), folder, part, [new])
            if found is not None and f"{{{new}" in found.template:
                return replace(found, column=column, derive=derive)
    return None


def _free(name: str, table: pd.DataFrame) -> str:
    """Return a name that no column has."""
    taken = {str(column).lower() for column in table.columns}
    return next(one for one in (name, *(f"{name}_{n}" for n in range(2, 1000))) if one not in taken)

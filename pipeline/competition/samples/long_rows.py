"""Read a sample submission with a row per id and class (`submission.rows`): which ones each row asks for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.competition.samples.columns import as_yaml
from pipeline.errors import Problem, some

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.config import Config

SHOWN = 20  # rows and ids that are named


def known(config: Config) -> list[str]:
    """Return the classes by which id cells are split: the target columns, or `data.classes`; [] where none is named."""
    if len(config.data.targets) > 1:
        return config.data.targets
    return config.data.classes if isinstance(config.data.classes, list) else []


def asked(sample: pd.DataFrame, column: str, config: Config) -> tuple[list[str], list[str]]:
    """Return the id and the class of each row, blank where its cell says neither.

    Of classes of which one ends as another does, the longer is taken: `1_any_x` is `any_x` of 1 where there is one.
    """
    rows, cells = str(config.submission.rows), sample[column].tolist()
    written = {config.submission.labels.get(name, name): name for name in known(config)}
    if "{" not in rows:
        own = {text: name for name, text in config.submission.labels.items()}
        return cells, [own.get(text.strip(), text.strip()) for text in sample[rows].tolist()]
    if not written:
        return [""] * len(cells), [""] * len(cells)
    names = "|".join(re.escape(name) for name in sorted(written, key=lambda name: (-len(name), name)))
    parts = {"{id}": "(?P<id>.+?)", "{class}": f"(?P<class>{names})"}
    pattern = re.compile("".join(parts.get(part, re.escape(part)) for part in re.split(r"(\{[^{}]*\})", rows)))
    found = [pattern.fullmatch(cell.strip()) for cell in cells]
    return [one["id"] if one else "" for one in found], [written[one["class"]] if one else "" for one in found]


def problems(
    sample: pd.DataFrame, column: str, wanted: Sequence[str], config: Config, names: Sequence[str]
) -> list[Problem]:
    """Return which rows cannot be read, and which id lacks the row of which class."""
    place, rows = config.data.sample_name, str(config.submission.rows)
    if "{" not in rows and rows not in sample:
        there = some([str(name) for name in sample.columns])
        return [Problem("submission.rows", f"'{rows}' is no column of {place}", remedy=f"it has {there}")]
    if "{" in rows and not known(config):
        found = "ids cannot be told from classes by data.target alone"
        return [Problem("submission.rows", found, remedy=f"write data.classes: {as_yaml(names)}")]
    if len(wanted) != 1:
        found = f"{place} has {len(wanted)} columns to fill in ({some(list(wanted))})"
        return [Problem("submission.rows", found, "one, with a row per id and class")]
    if config.submission.cell in ("class_id", "top"):
        found = f"found {config.submission.cell} with submission.rows"
        return [Problem("submission.cell", found, "probability or label")]
    ids, classes = asked(sample, column, config)
    have: dict[str, set[str]] = defaultdict(set)
    wrong = []
    for row, (name, own) in enumerate(zip(ids, classes, strict=True)):
        if own in names and name:
            have[name].add(own)
        else:
            wrong.append(row)
    remedy = f"known classes: {some(list(names))}"
    cells = sample[column if "{" in rows else rows]
    found_ = [
        Problem(f"{place}: line {row + 2}", f"'{cells.iloc[row]}' is no row of submission.rows, {rows}", remedy=remedy)
        for row in wrong[:SHOWN]
    ]
    if len(wrong) > SHOWN:
        found_.append(Problem(place, f"… and {len(wrong) - SHOWN} more rows that are none of submission.rows"))
    lacking = {name: [one for one in names if one not in own] for name, own in have.items() if len(own) < len(names)}
    for name, missing in list(lacking.items())[:SHOWN]:
        found_.append(Problem(place, f"id '{name}' has no row for {some(missing)}", "a row for each class"))
    if len(lacking) > SHOWN:
        found_.append(Problem(place, f"… and {len(lacking) - SHOWN} more ids that lack rows"))
    return found_

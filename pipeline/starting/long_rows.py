"""Tell a sample submission with a row per id and class, and the training table that goes with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.starting.kinds import Guess

if TYPE_CHECKING:
    import pandas as pd

SPLITS = (r"^(?P<id>.+)_(?P<kind>[^_]+)$", r"^(?P<id>[^_]+)_(?P<kind>.+)$")  # id_class, of either part without _
MOST = 200  # classes


@dataclass(frozen=True)
class Long:
    """Hold how id cells are split, and the sample with a row per id and a column per class."""

    split: str
    classes: tuple[str, ...]
    sample: pd.DataFrame


def of_sample(sample: pd.DataFrame) -> list[Long]:
    """Return the ways in which a sample of two columns can have a row for each id and class; training decides."""
    if sample.shape[1] != 2:
        return []
    column, value = map(str, sample.columns)
    found = []
    for split in SPLITS:
        parts = sample[column].str.extract(split)
        if parts.isna().to_numpy().any():
            continue
        classes, ids = parts["kind"].unique(), parts["id"].unique()
        if 2 <= len(classes) <= MOST and len(classes) * len(ids) == len(sample) and not parts.duplicated().any():
            wide = _wide(sample.assign(**parts), "id", "kind", value).rename(columns={"id": column})
            found.append(Long(split, tuple(map(str, classes)), wide))
    return found


def of_train(table: pd.DataFrame, long: Long) -> tuple[pd.DataFrame, list[Guess]] | None:
    """Return the training table with a row per id where its cells are split alike, and the keys that make it so.

    A table that has the classes as columns is returned as it is; None where neither holds.
    """
    if set(long.classes) <= set(table.columns):
        return table, []
    for column in map(str, table.columns):
        parts = table[column].str.extract(long.split)
        if parts.isna().to_numpy().any() or set(parts["kind"]) != set(long.classes):
            continue
        values = [name for name in table.columns if name != column]
        if len(values) == 1 and not parts.duplicated().any():
            derive = {
                "image": {"column": column, "pattern": re.sub(r"\?P<id>|\(\?P<kind>(.*?)\)", r"\1", long.split)},
                "kind": {"column": column, "pattern": re.sub(r"\?P<kind>|\(\?P<id>(.*?)\)", r"\1", long.split)},
            }
            pivot = {"columns": "kind", "values": values[0]}
            why = f"'{column}' holds an id and a class"
            guesses: list[Guess] = [("data.derive", derive, why), ("data.pivot", pivot, "a row per id and class")]
            return _wide(table.assign(image=parts["id"], kind=parts["kind"]), "image", "kind", values[0]), guesses
    return None


def _wide(table: pd.DataFrame, id_: str, kind: str, value: str) -> pd.DataFrame:
    """Return a row per id, in their order, with a column per class."""
    wide = table.pivot(index=id_, columns=kind, values=value).fillna("")
    wide = wide.loc[table[id_].unique(), list(table[kind].unique())]
    wide.columns.name = None
    return wide.reset_index()

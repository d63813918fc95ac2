"""Lay out probabilities as in oof.csv, test.csv and blend.csv: a column per class, or the first classes alone."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.topk import Top

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 5  # classes of a row where not all are kept
TOPS = ["top1", "p1"]  # the first columns of those


def table(first: Sequence[Array], names: Sequence[str], probs_NC: Array, classes: Sequence[str]) -> pd.DataFrame:
    """Return the named first columns and one per class, or top1, p1, top2, … where not all classes are kept."""
    import pandas as pd

    titles = titles_of(classes, names)
    columns: list[Array] = []
    if isinstance(probs_NC, Top):
        best, called = probs_NC.first(SHOWN), np.asarray(classes, dtype=object)
        titles = []
        for k in range(best.values_NK.shape[1]):
            columns += [called[best.columns_NK[:, k]], best.values_NK[:, k]]
            titles += [f"top{k + 1}", f"p{k + 1}"]
    else:
        columns = list(probs_NC.T)
    made = pd.DataFrame(dict(enumerate([*first, *columns])))
    made.columns = [*names, *titles]
    return made


def titles_of(classes: Sequence[str], first: Sequence[str]) -> list[str]:
    """Return what the classes' columns are called behind these first ones: each by its class, and none as another.

    A class called `target` is the column target.1 of oof.csv, as pandas calls a second target: what reads such a
    table by names finds the truth in `target`, whichever version wrote it.
    """
    taken, titles = {*first, *classes}, []
    named = [*first, *(TOPS[:1] if is_short(classes) else [])]
    for name in classes:
        title = name
        if name in named:
            title = next(one for n in itertools.count(1) if (one := f"{name}.{n}") not in taken)
            taken.add(title)
        titles.append(title)
    return titles


def names_of(titles: Sequence[str], classes: Sequence[str], first: Sequence[str]) -> list[str]:
    """Return the titles of a table with the classes' own names where `titles_of` calls them otherwise."""
    named = {title: name for title, name in zip(titles_of(classes, first), classes, strict=True) if title != name}
    return [named.get(title, title) for title in titles]


def class_columns(columns: Sequence[str], classes: Sequence[str], first: Sequence[str]) -> list[str] | None:
    """Return which columns of a table, as pandas reads their names, hold the classes; None where one has none.

    Of a table that lacks one of the first columns, as a teammate's may lack the truth, a class may have its name.
    """
    found = [
        next((one for one in (title, name) if one in columns), None)
        for title, name in zip(titles_of(classes, first), classes, strict=True)
    ]
    listed = [one for one in found if one is not None]
    return listed if len(set(listed)) == len(classes) else None


def read_table(made: pd.DataFrame, classes: Sequence[str]) -> Top:
    """Return the first classes of each row of such a table of texts."""
    number = {name: c for c, name in enumerate(classes)}
    count = sum(re.fullmatch(r"top[0-9]+", title) is not None for title in made.columns)
    columns = [made[f"top{k + 1}"].map(number).to_numpy(np.int32) for k in range(count)]
    values = [made[f"p{k + 1}"].to_numpy(np.float32) for k in range(count)]
    return Top(np.stack(columns, axis=1), np.stack(values, axis=1), len(classes))


def is_short(titles: Sequence[str]) -> bool:
    """Tell whether these columns of a table hold the first classes alone."""
    return list(titles[:2]) == TOPS

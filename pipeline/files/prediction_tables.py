"""Lay out probabilities as in oof.csv, test.csv and blend.csv: a column per class, or the first classes alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.topk import Top

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 5  # classes of a row where not all are kept


def table(first: Sequence[Array], names: Sequence[str], probs_NC: Array, classes: Sequence[str]) -> pd.DataFrame:
    """Return the named first columns and one per class, or top1, p1, top2, … where not all classes are kept.

    They are put together by position, as a class may be called like one of them.
    """
    import pandas as pd

    titles: list[str] = list(classes)
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


def read_table(made: pd.DataFrame, classes: Sequence[str]) -> Top:
    """Return the first classes of each row of such a table of texts."""
    number = {name: c for c, name in enumerate(classes)}
    count = sum(re.fullmatch(r"top[0-9]+", title) is not None for title in made.columns)
    columns = [made[f"top{k + 1}"].map(number).to_numpy(np.int32) for k in range(count)]
    values = [made[f"p{k + 1}"].to_numpy(np.float32) for k in range(count)]
    return Top(np.stack(columns, axis=1), np.stack(values, axis=1), len(classes))


def is_short(titles: Sequence[str]) -> bool:
    """Tell whether these columns of a table hold the first classes alone."""
    return list(titles[:2]) == ["top1", "p1"]

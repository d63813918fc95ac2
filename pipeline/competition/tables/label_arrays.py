"""Read labels that are an array, y_train.npy or data.npz/y_train, as a table: a row per entry."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import Problem, Refused
from pipeline.files import parts

if TYPE_CHECKING:
    import pandas as pd

NAMED = re.compile(r"\.npy$|\.npz/[^/]+$", re.IGNORECASE)


def is_array(path: str) -> bool:
    """Tell by its name whether a table is an array."""
    return NAMED.search(path) is not None


def file_of(path: Path) -> Path:
    """Return the file that an array lies in."""
    return Path(parts.file_of(f"{path}[0]"))


def read(path: Path) -> pd.DataFrame:
    """Return the entries as text in a column that is called like the array, or NAME.0, NAME.1, … of a matrix.

    Raises Refused where it holds no numbers or texts of one or two axes.
    """
    import pandas as pd

    try:
        values = np.asarray(parts.stack(str(path)))
    except ValueError as error:
        raise Refused(Problem("", f"not readable: {error}")) from None
    values = values.astype(np.int64) if values.dtype == np.bool_ else values
    if values.ndim not in (1, 2) or not len(values) or values.dtype.kind not in "iufU":
        raise Refused(Problem("", f"an array of {values.dtype} of shape {values.shape}", "a label for each row"))
    name = path.name.rsplit(".npy", 1)[0]
    if values.ndim == 1 or values.shape[1] == 1:
        return pd.DataFrame({name: [str(value) for value in values.ravel().tolist()]}, dtype=str)
    columns = {f"{name}.{c}": [str(value) for value in values[:, c].tolist()] for c in range(values.shape[1])}
    return pd.DataFrame(columns, dtype=str)

"""Write and read tables as CSV: every cell is text, floats keep their digits."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from pipeline.errors import MismatchError, Problem
from pipeline.files.atomic import atomic
from pipeline.files.failures import reading
from pipeline.methods.arrays import Array

AS_WRITTEN: dict[str, Any] = {"index": False, "lineterminator": "\n"}
FIXED = ["id", "fold", "target"]  # the first columns of oof.csv; test.csv has id alone


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV atomically; floats with as many digits as restore them."""
    with atomic(path) as beside:
        table.to_csv(beside, **AS_WRITTEN)


def as_text(table: pd.DataFrame) -> str:
    """Return a table as `write_table` writes it."""
    return str(table.to_csv(None, **AS_WRITTEN))


def read_text_table(path: Path | IO[bytes], separator: str = ",", foreign: bool = False) -> pd.DataFrame:
    """Read a CSV with every cell as text: 007 stays 007, an empty cell is ''.

    In a foreign one, which others wrote, a blank line is a blank row and blanks before a cell are taken off.

    Raises ValueError where it is no CSV. Lines longer than the header are refused too, as pandas would
    take their first cell for an index and shift all columns.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(
                path,
                sep=separator,
                dtype=str,
                keep_default_na=False,
                na_filter=False,
                encoding="utf-8-sig",
                index_col=False,
                skip_blank_lines=not foreign,
                skipinitialspace=foreign,
            )
        except pd.errors.ParserWarning:
            raise ValueError("its lines have more cells than its header") from None


def read_epochs(path: Path) -> pd.DataFrame:
    """Read a fold's epochs.csv: epochs from 1 on, every cell a number or blank; raise MismatchError on any other."""
    with reading(path, MismatchError, "CSV"):
        try:
            table = pd.read_csv(path)
        except ValueError as error:
            raise MismatchError(Problem(str(path), f"damaged ({' '.join(str(error).split())})")) from None
    wrong = [str(name) for name in table if table[name].dtype.kind not in "if"]
    if wrong or "epoch" not in table or table["epoch"].tolist() != [*range(1, len(table) + 1)]:
        text = f"{', '.join(wrong)} hold other than numbers" if wrong else "its epochs are not 1, 2, …"
        raise MismatchError(Problem(str(path), f"damaged ({text})"))
    return table


def texts(column: pd.Series[str]) -> Array:
    """Return a column as an array of text."""
    return np.asarray(column.tolist(), dtype=np.str_)

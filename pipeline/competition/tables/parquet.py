"""Read Parquet files as text, as a CSV of them would read."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from pipeline.competition.tables.json_records import frame
from pipeline.errors import Problem, Refused

if TYPE_CHECKING:
    import pandas as pd

MAGIC = b"PAR1"  # how each such file begins


def read(content: bytes, separator: str | None) -> pd.DataFrame:
    """Return the cells as text: null is '', a list its parts; raise Refused where it is no such file or has no rows."""
    try:
        import pyarrow.parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        remedy = "pip install 'foldline[parquet]'"
        raise Refused(Problem("", "is a Parquet file, for which pyarrow is needed", remedy=remedy)) from None
    try:
        table = pyarrow.parquet.read_table(io.BytesIO(content))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise Refused(Problem("", f"not readable as Parquet: {error}")) from None
    if not table.num_rows:
        raise Refused(Problem("", "not readable: it has no rows"))
    return frame(table.to_pylist(), separator)

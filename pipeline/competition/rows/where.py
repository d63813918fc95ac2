"""Keep the rows whose cells `data.where` and `data.test_where` name, or all but those that they exclude."""

from __future__ import annotations

import numpy as np

from pipeline.competition.cells import one_form, recast
from pipeline.competition.rows.rows import Findings, Rows, check_columns
from pipeline.config.sections.data_items import Where
from pipeline.errors import Problem, nearest


def kept(rows: Rows, where: Where, key: str, findings: Findings) -> Rows | None:
    """Return the rows that are kept, None where none is; 1.0 is 1, and "" a blank cell.

    A cell that is to be excluded and that no row has is told: it may be misspelt, and then excludes nothing.
    """
    check_columns(rows, {key: list(where)}, findings)
    for column, wanted in where.items():
        if column not in rows.table:
            continue
        excludes = isinstance(wanted, dict)
        cells = [cell.strip() for cell in (wanted["not"] if isinstance(wanted, dict) else wanted)]
        found_N = recast(rows.table[column], one_form(rows.table[column].unique(), cells))
        known = sorted(set(found_N))[:1000]
        rows_M = np.flatnonzero(found_N.isin(cells).to_numpy() ^ excludes)
        if not len(rows_M):
            remedy = nearest(cells[0] if cells else "", known)
            found = f"no row of {rows.path} has {'a cell other than ' * excludes}{', '.join(map(repr, cells))}"
            findings.add("rows", [Problem(f"{key}.{column}", found, remedy=remedy)])
            return None
        if excludes:
            absent = [cell for cell in cells if cell and not (found_N == cell).any()]
            findings.notes += [f"{key}.{column}: no row has '{cell}'; {nearest(cell, known)}" for cell in absent]
        rows = rows.take(rows_M)
    return rows

"""Read the rows to predict: the test table, or the sample submission's ids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.competition.image_paths import Source
from pipeline.competition.rows.reader import Found, Reader, sample_column
from pipeline.competition.rows.rows import Rows, check_columns, check_ids
from pipeline.competition.tables import duplicates


def read(reader: Reader, sample: Rows | None) -> Rows | None:
    """Return the test table's rows, or the sample submission's ids, each once."""
    data, defects = reader.data, reader.defects
    if data.test is not None:
        test = reader.rows([data.test], "data.test", "test", data.test_image or data.image)
        if test is None:
            return None
        check_columns(test, {"data.id": [data.id]}, defects)
        check_ids(test, data.id, defects, twice=data.duplicates == "error")
        if data.id not in test.table:
            return None
        return duplicates.once(test, data, False, defects, reader.notes) if data.duplicates != "error" else test
    column = None if sample is None else sample_column(sample.table, reader.config)
    if sample is None or column is None:
        return None
    once = sample.take(np.flatnonzero(~sample.table[column].duplicated().to_numpy()))
    return reader.complete(replace(once, table=once.table.rename(columns={column: data.id})), "test")


def with_gray(found: Found, notes: list[str], name: str) -> list[Source]:
    """Return the images, () where one is absent, which is shown as mid-gray: every id is answered all the same."""
    if not found.absent:
        return found.images
    absent = {row for row, _ in found.absent}
    notes.append(f"{len(absent)} rows of {name} have no image and are predicted from mid-gray: {found.absent[0][1]}")
    return [() if row in absent else image for row, image in enumerate(found.images)]

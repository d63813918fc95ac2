"""Put each row's box behind the path of its images, from the columns that `data.crop` names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition.image_paths import Found
from pipeline.competition.rows.rows import Findings, Rows, check_columns
from pipeline.errors import Problem
from pipeline.files.parts import BOX

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = "data.crop.columns"


def add(rows: Rows, found: Found, columns: Sequence[str], findings: Findings) -> Found:
    """Return the images with their boxes; a row without numbers has the whole picture, which is noted.

    A box that is no box is a defect.
    """
    import pandas as pd

    check_columns(rows, {KEY: list(columns)}, findings)
    if not {*columns} <= set(rows.table.columns):
        return found
    cells_N4 = rows.table[list(columns)].to_numpy(dtype=object)
    blank_N = np.asarray([not any(str(cell).strip() for cell in row) for row in cells_N4], bool)
    numbers = rows.table[list(columns)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    sound_N = np.isfinite(numbers).all(1) & (numbers[:, 2:] > 0).all(1)
    wrong = np.flatnonzero(~sound_N & ~blank_N).tolist()
    texts = ((row, f"{', '.join(columns)} are {', '.join(repr(str(cell)) for cell in cells_N4[row])}") for row in wrong)
    wanted = f"left, top, width and height in pixels, or blank cells ({KEY})"
    findings.add("boxes", rows.problems((row, Problem("", text, wanted)) for row, text in texts))
    if count := int(blank_N.sum()):
        first = rows.place(int(blank_N.argmax()))
        findings.notes.append(f"{count} rows have no box and show the whole picture, first {first} ({KEY})")
    boxes = ["" if not sound else ",".join(f"{n:g}" for n in row) for row, sound in zip(numbers, sound_N, strict=True)]
    images = [tuple(f"{path}{BOX}{box}" for path in source) for source, box in zip(found.images, boxes, strict=True)]
    return replace(found, images=images)

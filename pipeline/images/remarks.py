"""Say what decoding took for granted: each kind with how many images it met, and one of them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag

import numpy as np

from pipeline.competition.image_paths import Source
from pipeline.methods.arrays import Array


class Remark(IntFlag):
    """Name what a reader of the result must know; kept with the pixels, so the numbers stay as they are."""

    NONE = 0
    ON_WHITE = 1
    PAGES = 2
    FIRST_PAGE = 4
    FIRST_FRAME = 8
    TRUNCATED = 16
    CLIPPED = 32


# Pixels that an earlier version read otherwise, though the file is the same: digests tell them apart.
READ_ANEW = Remark.ON_WHITE | Remark.PAGES
NAMED = 10  # truncated files that are listed
TEXTS = {
    Remark.ON_WHITE: "have transparency and are shown on white, as a viewer does (a light drawing: on black)",
    Remark.PAGES: "hold one gray plane on each page, and the pages are the channels",
    Remark.FIRST_PAGE: "have several pages, of which the first is read; data.channels=N takes N gray pages as channels",
    Remark.FIRST_FRAME: "are animated or hold several arrays; the first is read",
    Remark.TRUNCATED: "are truncated and read as far as they go (data.truncated)",
    Remark.CLIPPED: "have a box that leaves the picture; it is clipped (data.crop)",
}


def notes(remarks_N: Array, sources: Sequence[Source], label: str) -> list[str]:
    """Return a line for each kind of remark."""
    found = []
    for remark, text in TEXTS.items():
        numbers = np.flatnonzero(remarks_N & remark).tolist()
        if not numbers:
            continue
        most = NAMED if remark is Remark.TRUNCATED else 1
        names = ", ".join(" + ".join(sources[number]) for number in numbers[:most])
        more = f", … and {len(numbers) - most} more" if most > 1 and len(numbers) > most else ""
        found.append(f"{len(numbers)} of {len(sources)} {label} {text}: {'' if most > 1 else 'first '}{names}{more}")
    return found

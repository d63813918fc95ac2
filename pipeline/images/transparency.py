"""Show pictures with transparency on a ground, as a viewer does, instead of the colours that lie beneath it."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.methods.arrays import Array

EXTRA_SAMPLES = 338  # TIFF tag: 1 and 2 are alpha, 0 and none a band that may be anything
LIGHT = 0.5  # of the largest value; a drawing of one colour above it vanishes on white


def of(image: Any) -> bool:
    """Tell whether a picture that Pillow opened has transparency."""
    if image.format == "TIFF" and image.mode in {"LA", "RGBA"}:
        return image.tag_v2.get(EXTRA_SAMPLES, (0,))[0] in (1, 2)
    return bool(image.has_transparency_data)


def flatten(colour: Array, alpha: Array) -> tuple[Array, bool]:
    """Return HxW or HxWxC on white and True; the colours as they are where alpha is the same everywhere.

    An opaque picture stays byte for byte. An alpha of one value says nothing: some writers leave it at 0. What is
    drawn in one light colour goes on black, where it can be seen.
    """
    if alpha.min() == alpha.max():
        return colour, False
    top = np.iinfo(colour.dtype).max
    drawn = colour[alpha > 0]
    one_colour = bool((drawn == drawn[0]).all())
    ground = 0 if one_colour and drawn[0].mean() > LIGHT * top else top
    share, whole = (alpha if colour.ndim == 2 else alpha[..., None]).astype(np.uint32), np.uint32(top)
    shown = colour * share + np.uint32(ground) * (whole - share)  # 65535² fits into 32 bits
    return ((shown + whole // 2) // whole).astype(colour.dtype), True

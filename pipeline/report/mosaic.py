"""Lay out images as a grid with captions, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.report.plots import DPI, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def mosaic(images: Sequence[Array], captions: Sequence[str], columns: int, rows: Sequence[str] = ()) -> Figure:
    """Draw images of any sizes as a grid with a caption under each; `rows` names the grid's rows instead.

    Small images are enlarged by whole factors without smoothing, so that single pixels can be seen.
    """
    from matplotlib.figure import Figure

    named = bool(rows)
    lines = len(rows) if named else -(-len(images) // columns)
    tile = int(np.clip(640 / columns, 40, 150))
    gap, foot = 6, 0 if named else 13 * max((c.count("\n") + 1 for c in captions), default=0) + 6
    left = 8 + (7 * max(len(shorten(name)) for name in rows) if named else 0)
    height, width = lines * (tile + gap + foot), left + columns * (tile + gap)
    canvas = np.full((height, width, 3), 255, np.uint8)
    figure = Figure(figsize=(width / DPI, height / DPI))
    axis = figure.add_axes((0, 0, 1, 1))
    for i, image in enumerate(images):
        line, column = divmod(i, columns)
        if image.size:
            picture = _thumbnail(image, tile)
            top = line * (tile + gap + foot) + (tile - picture.shape[0]) // 2
            start = left + column * (tile + gap) + (tile - picture.shape[1]) // 2
            canvas[top : top + picture.shape[0], start : start + picture.shape[1]] = picture
        if captions and not named:
            place = (left + column * (tile + gap) + tile / 2, line * (tile + gap + foot) + tile + 2)
            axis.text(*place, captions[i], ha="center", va="top", fontsize=7, linespacing=1.15)
    for line, name in enumerate(rows):
        axis.text(left - 8, line * (tile + gap) + tile / 2, shorten(name), ha="right", va="center", fontsize=8)
    axis.imshow(canvas, interpolation="nearest", aspect="auto")
    axis.set_axis_off()
    return figure


def _thumbnail(image_HWC: Array, side: int) -> Array:
    """Return the image as RGB uint8 with its longer side at most `side`; 16 bits are stretched."""
    from PIL import Image

    if image_HWC.dtype != np.uint8:
        image_HWC = (image_HWC * (255.0 / max(float(image_HWC.max()), 1.0))).astype(np.uint8)
    image = Image.fromarray(image_HWC[..., :3] if image_HWC.shape[-1] >= 3 else image_HWC[..., 0]).convert("RGB")
    longest = max(image.size)
    if longest > side:
        size = (max(1, image.width * side // longest), max(1, image.height * side // longest))
        return np.asarray(image.resize(size, Image.Resampling.LANCZOS))
    factor = side // longest
    return np.asarray(image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST))

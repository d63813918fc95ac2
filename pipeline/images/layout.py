"""Cut the part of a picture that counts, and lay several pictures beside or below each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipeline.methods.arrays import Array

Box = tuple[float, float, float, float]  # left, top, width, height in pixels of the upright picture
GRAY = 128  # a cell of a grid without a picture


def center(pixels: Array, share: float) -> Array:
    """Return the middle of HxW or HxWxC: this share of its height and of its width, at least a pixel."""
    height, width = (max(1, round(side * share)) for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def box(pixels: Array, wanted: Box, margin: float) -> tuple[Array, bool]:
    """Return the box with a margin, a share of its sides, around it; tell whether the box itself was clipped.

    A pixel that is touched counts. Raises ValueError where nothing of the box lies in the picture.
    """
    height, width = pixels.shape[:2]
    left, top, wide, high = wanted
    right, bottom = left + wide, top + high
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        raise ValueError(f"its box {left:g}, {top:g}, {wide:g}, {high:g} lies outside the picture of {height}x{width}")
    clipped = left < 0 or top < 0 or right > width or bottom > height
    rows = slice(max(0, math.floor(top - margin * high)), min(height, math.ceil(bottom + margin * high)))
    columns = slice(max(0, math.floor(left - margin * wide)), min(width, math.ceil(right + margin * wide)))
    return pixels[rows, columns], clipped


def box_of(text: str) -> Box | None:
    """Read a box from `left,top,width,height`; None where there is none."""
    if not text:
        return None
    left, top, width, height = map(float, text.split(","))
    return left, top, width, height


def cells(count: int, panels: str, size_hw: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Return top, left, height, width of each panel in an image of this size, which they fill without a gap.

    `row`: from left to right; `column`: from top to bottom; `grid`: row by row, as square as their number allows.
    """
    rows, across = _table(count, panels)
    tops, lefts = (
        [size * n // parts for n in range(parts + 1)] for size, parts in zip(size_hw, (rows, across), strict=True)
    )
    places = [divmod(number, across) for number in range(count)]
    return [(tops[r], lefts[c], tops[r + 1] - tops[r], lefts[c + 1] - lefts[c]) for r, c in places]


def around(count: int, panels: str, one_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the size of an image whose panels have this size."""
    rows, across = _table(count, panels)
    return rows * one_hw[0], across * one_hw[1]


def together(pictures: Sequence[Array], panels: str, size_hw: tuple[int, int]) -> Array:
    """Return HxWxC of pictures of C channels each, of their cells' sizes."""
    first = pictures[0]
    ground = GRAY * 257 if first.dtype == np.uint16 else GRAY
    whole = np.full((*size_hw, first.shape[2]), ground, first.dtype)
    for picture, (top, left, height, width) in zip(pictures, cells(len(pictures), panels, size_hw), strict=True):
        whole[top : top + height, left : left + width] = picture
    return whole


def _table(count: int, panels: str) -> tuple[int, int]:
    """Return how many rows and columns the panels make."""
    across = {"row": count, "column": 1}.get(panels, math.ceil(math.sqrt(count)))
    return math.ceil(count / across), across

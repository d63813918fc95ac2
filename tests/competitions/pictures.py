"""Learnable pictures: real handwritten digits, drawn large on textured grounds."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from pipeline.methods.arrays import Array

Side = int | tuple[int, int]  # pixels; two numbers are height, width
SIDE = 40


@lru_cache
def _digits() -> dict[int, Array]:
    """Return scikit-learn's digits as shares of full ink, [n,8,8] each."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return {d: (images[labels == d] / 16).reshape(-1, 8, 8).astype(np.float32) for d in range(10)}


def picture(
    rng: np.random.Generator,
    digits: int | Sequence[int | None],
    side: Side = SIDE,
    *,
    hue: float | Sequence[float] | None = None,
    level: float = 1.0,
    dark: float = 0.2,
    ground: np.random.Generator | None = None,
) -> Array:
    """Draw digits on a grid, None leaves its cell empty; return [H,W,3] uint8.

    `hue` colours the ink, of all cells or each (None: white), `level` is its brightness, `dark` that of the
    ground, whose texture `ground` draws, so that a place can look the same in all its pictures.
    """
    height, width = (side, side) if isinstance(side, int) else side
    texture = (ground or rng).uniform(0.5 * dark, 1.5 * dark, size=(7, 7, 3)).astype(np.float32)
    canvas = cv2.resize(texture, (width, height), interpolation=cv2.INTER_LINEAR)
    canvas += rng.normal(0, 0.02, size=canvas.shape)
    cells = [digits] if isinstance(digits, int) else list(digits)
    hues = [hue] * len(cells) if hue is None or isinstance(hue, float) else list(hue)
    inks = [np.array((1.0, 1.0, 1.0) if h is None else colorsys.hsv_to_rgb(h, 0.9, 1.0)) * level for h in hues]
    columns = math.ceil(math.sqrt(len(cells)))
    rows = math.ceil(len(cells) / columns)
    high, wide = height // rows, width // columns
    for n, (digit, ink) in enumerate(zip(cells, inks, strict=True)):
        if digit is None:
            continue
        known = _digits()[digit]
        mask = cv2.resize(known[rng.integers(len(known))], (wide, high), interpolation=cv2.INTER_LINEAR)[..., None]
        top, left = n // columns * high, n % columns * wide
        place = canvas[top : top + high, left : left + wide]
        place[:] = (1 - mask) * place + mask * ink
    return (canvas.clip(0, 1) * 255).astype(np.uint8)


def gray(image: Array) -> Array:
    """Return one channel of a picture, [H,W] uint8."""
    return np.ascontiguousarray(image.mean(-1).astype(np.uint8))


def ragged(rng: np.random.Generator, low: int = 34, high: int = 52) -> tuple[int, int]:
    """Draw a height and a width."""
    height, width = rng.integers(low, high, size=2)
    return int(height), int(width)


def in_turn(rng: np.random.Generator, values: Iterable[Any], count: int) -> list[Any]:
    """Return `count` of the values, each equally often as far as that goes, in random order."""
    listed = list(values)
    turns = [listed[n % len(listed)] for n in range(count)]
    return [turns[n] for n in rng.permutation(count)]


def hexes(rng: np.random.Generator, count: int, length: int = 10) -> list[str]:
    """Return unlike names of hexadecimal digits, not all of which may read as numbers."""
    names: dict[str, None] = {}
    while len(names) < count:
        names["".join(rng.choice(list("0123456789abcdef"), size=length))] = None
    return list(names)

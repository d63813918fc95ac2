"""Make Albumentations' Affine affordable on small images: the same draws and pixels, a third of the time.

At 32 px its own matrices (two products of six 3x3 arrays, one of them for boxes that are never there) cost
several times the warp. Here the product is written out. Imported only by `augment.build`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import albumentations
import cv2
import numpy as np

from pipeline.images.decoding import PLANES
from pipeline.methods.arrays import Array


class Affine(albumentations.Affine):  # type: ignore[misc]  # albumentations is untyped
    """Draw and warp as `albumentations.Affine` does; only images, no boxes, key points or volumes."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw in Albumentations' order; return the 2x3 matrix and the output's height and width."""
        if self.fit_output:
            found: dict[str, Any] = super().get_params_dependent_on_data(params, data)
            return {"matrix": found["matrix"][:2], "output_shape": tuple(map(round, found["output_shape"]))}
        height, width = params["shape"][:2]
        translate = self._get_translate_params((height, width))
        shear = self._get_shear_params()
        scale = self._get_scale(self.scale, self.keep_ratio, self.balanced_scale, self.py_random)
        angle = math.radians(self.py_random.uniform(*self.rotate) % 360)
        cos, sin = math.cos(angle), math.sin(angle)
        tan_x, tan_y = math.tan(math.radians(shear["x"])), math.tan(math.radians(shear["y"]))
        a, b = (cos - tan_x * sin) * scale["x"], (sin + tan_x * cos) * scale["y"]
        c, d = (tan_y * cos - sin) * scale["x"], (tan_y * sin + cos) * scale["y"]
        x, y = width / 2 - 0.5, height / 2 - 0.5
        matrix = np.array([[a, b, translate["x"] + x - a * x - b * y], [c, d, translate["y"] + y - c * x - d * y]])
        return {"matrix": matrix, "output_shape": (height, width)}

    def apply(self, img: Array, matrix: Array, output_shape: tuple[int, int], **params: Any) -> Array:
        """Warp an image; of more than three channels, three at a time."""
        channels = img.shape[-1]
        fill = self.fill if isinstance(self.fill, tuple | list) else (self.fill,) * channels
        if channels > PLANES:
            parts = [slice(at, at + PLANES) for at in range(0, channels, PLANES)]
            return np.dstack([self._warp(img[..., part], matrix, output_shape, fill[part]) for part in parts])
        return self._warp(img, matrix, output_shape, fill).reshape(*output_shape, channels)

    def _warp(self, img: Array, matrix: Array, output_shape: tuple[int, int], fill: Sequence[float]) -> Array:
        warped: Array = cv2.warpAffine(
            img,
            matrix,
            output_shape[::-1],
            flags=self.interpolation,
            borderMode=self.border_mode,
            borderValue=fill,
        )
        return warped

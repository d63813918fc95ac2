"""Views of an image for prediction (test-time augmentation): `view(images_BCHW) -> images_BCHW`.

- `identity`: the image as it is.
- `hflip`, `vflip`, `hvflip`: mirrored left-right, top-bottom, both.
- `rot90`, `rot180`, `rot270`: turned counter-clockwise.
- `transpose`, `antitranspose`: mirrored at the main diagonal, at the other one.
- `d4`: the eight symmetries of the square; `hvflip` equals `rot180` and is left out.
- `crop5`: `crop5.0` … `crop5.4`, the four corners and the centre, 7/8 of each side, resized back.
- `augment:N`: `augment.0` … `augment.<N-1>`, random training augmentations, which the engine applies.

On images that are not square, the turns by 90° and the transposes swap height and width: convolutional
networks take either, networks of a fixed size (ViT) do not. A view is one line in `VIEWS`; from outside, a
function of a file, named FILE.py:function, which gets normalised images. Only tensor methods are used, so that
reading this table does not import torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pipeline import plugins
from pipeline.errors import Problem, Refused, lookup

if TYPE_CHECKING:
    from torch import Tensor

CROP_SHARE = 0.875  # of each side


def crop(images_BCHW: Tensor, corner: int) -> Tensor:
    """Cut out 7/8 of each side (0-3: corners row by row, 4: centre), resize back bilinearly. Floats only."""
    from torch.nn.functional import interpolate

    height, width = images_BCHW.shape[-2:]
    h, w = max(1, round(height * CROP_SHARE)), max(1, round(width * CROP_SHARE))
    rows, columns = height - h, width - w
    top, left = ((0, 0), (0, columns), (rows, 0), (rows, columns), (rows // 2, columns // 2))[corner]
    cut_BCHW = images_BCHW[..., top : top + h, left : left + w]
    return interpolate(cut_BCHW, size=(height, width), mode="bilinear", align_corners=False)


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda images_BCHW: images_BCHW,
    "hflip": lambda images_BCHW: images_BCHW.flip(-1),
    "vflip": lambda images_BCHW: images_BCHW.flip(-2),
    "hvflip": lambda images_BCHW: images_BCHW.flip(-2, -1),
    "rot90": lambda images_BCHW: images_BCHW.rot90(1, (-2, -1)),
    "rot180": lambda images_BCHW: images_BCHW.flip(-2, -1),
    "rot270": lambda images_BCHW: images_BCHW.rot90(3, (-2, -1)),
    "transpose": lambda images_BCHW: images_BCHW.transpose(-2, -1),
    "antitranspose": lambda images_BCHW: images_BCHW.flip(-2, -1).transpose(-2, -1),
    **{f"crop5.{corner}": partial(crop, corner=corner) for corner in range(5)},
}
TURNS = ("rot90", "rot270", "transpose", "antitranspose")  # height and width change places
GROUPS = {
    "d4": ["identity", "hflip", "vflip", "rot90", "rot180", "rot270", "transpose", "antitranspose"],
    "crop5": [f"crop5.{corner}" for corner in range(5)],
}


def parse_view(name: str) -> list[str]:
    """Expand a name from the config into the names of single views; a single view gives itself.

    Raises ValueError with the nearest name where it is unknown; a plugin's file is not looked at.
    """
    if name in GROUPS:
        return list(GROUPS[name])
    if count := re.fullmatch(r"augment:([1-9]\d{0,2})", name):
        return [f"augment.{number}" for number in range(int(count[1]))]
    if is_augment(name):
        return [name]
    if name.startswith("augment"):
        raise Refused(Problem("", f"found '{name}'", "augment:N with N from 1 to 999, as in augment:7"))
    if plugins.file_of(name) is None:
        lookup(dict.fromkeys([*VIEWS, *GROUPS, "augment:N"]), name, "view")
    return [name]


def is_augment(name: str) -> bool:
    """Tell whether a view is a random training augmentation, made by the engine and not by `apply`."""
    return re.fullmatch(r"augment\.(0|[1-9]\d{0,2})", name) is not None


def find(name: str) -> Callable[[Tensor], Tensor]:
    """Return a single view, or a plugin's (FILE.py:function); raise ValueError where there is none."""
    return plugins.find(VIEWS, name, "view", plugin)


def plugin(name: str, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a plugin's view: it gets images of its own, which it may change, and may return another size.

    Raises InputError where it fails or returns something else than as many finite images.
    """

    def checked(images_BCHW: Tensor) -> Tensor:
        from torch import Tensor, isfinite

        found = plugins.call(name, "view(images_BCHW)", function, images_BCHW.clone())
        expected = f"images like {tuple(images_BCHW.shape)}, {images_BCHW.dtype} on {images_BCHW.device}"
        if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[:2] != images_BCHW.shape[:2]:
            raise plugins.returned(name, found, expected)
        if found.dtype != images_BCHW.dtype or found.device != images_BCHW.device or not found.numel():
            raise plugins.returned(name, f"images {tuple(found.shape)}, {found.dtype} on {found.device}", expected)
        if not isfinite(found).all():
            raise plugins.returned(name, "NaN or infinity", expected)
        return found

    return checked


def apply(name: str, images_BCHW: Tensor) -> Tensor:
    """Return the images under a single view; raise ValueError where there is no such view."""
    return find(name)(images_BCHW)

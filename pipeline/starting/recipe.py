"""Choose a first recipe from the pictures' sizes: a middling backbone that one GPU trains in an evening."""

from __future__ import annotations

import io
import math
from statistics import median

from pipeline.files import archives
from pipeline.starting.folder import Folder
from pipeline.starting.targets import Guess

LOOKED_AT = 20  # pictures
SMALLEST, LARGEST, STEP = 64, 384, 32  # pixels
SMALL = 96  # up to which a deep stem would see nothing


def recipe(folder: Folder, arrays: tuple[int, int] | None) -> list[Guess]:
    """Return the guesses for model, augmentation and views."""
    sizes = [arrays] if arrays else _sizes(folder)
    if sizes:
        height, width = (median(side) for side in zip(*sizes, strict=True))
        scale = min(1.0, LARGEST / max(height, width))
        h, w = (max(SMALLEST, math.ceil(side * scale / STEP) * STEP) for side in (height, width))
        size = [h, w] if max(h, w) >= 1.25 * min(h, w) else max(h, w)
        why = f"the pictures are about {height:g} × {width:g}"
    else:
        size, why = 224, "the pictures' sizes could not be read"
    small = not isinstance(size, list) and size <= SMALL
    name = "resnet18d.ra2_in1k" if small else "tf_efficientnetv2_s.in21k_ft_in1k"
    return [
        ("model.name", name, "a first one: its weights come from the hub, or give a path as model.pretrained"),
        ("model.size", size, why),
        ("augment.train", "medium", "flips left and right: take text for signs, flat_medium where nothing is up"),
        ("train.epochs", 10, ""),
        ("tta", ["identity", "hflip"], ""),
    ]


def _sizes(folder: Folder) -> list[tuple[int, int]]:
    """Return heights and widths of some pictures; those that PIL cannot open are left out."""
    from PIL import Image

    sizes = []
    for path in folder.pictures[:: max(1, len(folder.pictures) // LOOKED_AT)]:
        try:
            inside = archives.split(f"{folder.root}/{path}")
            source = io.BytesIO(archives.read(*inside)) if inside else folder.root / path
            with Image.open(source) as image:
                sizes.append((image.height, image.width))
        except (OSError, ValueError):
            continue
    return sizes

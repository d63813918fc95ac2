"""Choose a first recipe: by the pictures' sizes and numbers, and by what this machine trains within hours."""

from __future__ import annotations

import io
import math
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition.image_folders import ARRAYS
from pipeline.files import archives, parts
from pipeline.starting.folder import Folder
from pipeline.starting.kinds import Guess

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOOKED_AT = 20  # pictures
SMALLEST, LARGEST, STEP = 64, 384, 32  # pixels
MOST_CHANNELS = 16
SMALL = 96  # up to which a deep stem would see nothing
FOLDS = 5
HOURS = 4.0  # that a first run may take without a GPU
GPU_MODEL, SMALL_MODEL = "tf_efficientnetv2_s.in21k_ft_in1k", "resnet18d.ra2_in1k"
CPU = (  # model, images/s that one core trains at 224 × 224 in fp32, largest side, epochs: the best first
    ("resnet34d.ra2_in1k", 3.5, 256, 10),
    ("resnet18d.ra2_in1k", 5.5, 224, 10),
    ("resnet18d.ra2_in1k", 5.5, 160, 8),
    ("resnet10t.c3_in1k", 9.0, 160, 6),
    ("resnet10t.c3_in1k", 9.0, 128, 5),
    ("resnet10t.c3_in1k", 9.0, 96, 3),
)


@dataclass(frozen=True)
class Pixels:
    """Hold what some pictures are like: height, width, channels, and the range where they are no plain bytes."""

    height: float
    width: float
    channels: int = 3
    span: tuple[float, float] | None = None


def recipe(folder: Folder, rows: int, arrays: Sequence[int] | None) -> list[Guess]:
    """Return the guesses for channels, model, augmentation, epochs and views for so many training rows."""
    seen = Pixels(arrays[0], arrays[1], channels=0) if arrays else look(folder)
    found = [] if seen is None else _depth(seen)
    gpu = has_gpu()
    name, largest, epochs, why = GPU_MODEL, LARGEST, 10, "a first one"
    if not gpu:
        name, largest, epochs, why = _for_cores(seen, rows, os.cpu_count() or 1)
    size, reason = _size(seen, largest)
    if seen is not None and max(_sides(seen, largest)) <= SMALL and gpu:
        name = SMALL_MODEL
    own = "its weights come from the hub, or give a path as model.pretrained"
    return [
        *found,
        ("model.name", name, f"{why}: {own}"),
        ("model.size", size, reason),
        ("augment.train", "medium", "flips left and right: take text for signs, flat_medium where nothing is up"),
        ("train.epochs", epochs, "" if gpu else "few, as there is no GPU"),
        ("tta", ["identity", "hflip"], ""),
    ]


def has_gpu() -> bool:
    """Tell whether an accelerator that networks train on is there, without importing what would use it."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    if Path("/dev/kfd").exists() or (os.uname().sysname == "Darwin" and os.uname().machine == "arm64"):
        return True
    if (tool := shutil.which("nvidia-smi")) is None:
        return any(Path("/dev").glob("nvidia[0-9]*"))
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "GPU" in done.stdout


def estimate(rows: int, height: int, width: int, rate: float, epochs: int, cores: int) -> float:
    """Return the hours that training all folds takes: each sees all rows but its own, and predicts those."""
    images = rows * (FOLDS - 1) * epochs + 2 * rows  # a forward pass costs a third, of two views
    return images * (height * width) / 224**2 / (rate * cores) / 3600


def _for_cores(seen: Pixels | None, rows: int, cores: int) -> tuple[str, int, int, str]:
    """Return model, largest side and epochs that end within hours on the cores, and the estimate."""
    hours_of = {way: estimate(rows, *_sides(seen, way[2]), way[1], way[3], cores) for way in CPU}
    name, _, largest, epochs = way = next((way for way in CPU if hours_of[way] <= HOURS), CPU[-1])
    hours = hours_of[way]
    time = f"{hours:.1f} hours" if hours >= 1 else f"{max(1, round(hours * 60))} minutes"
    why = f"no GPU here: about {time} for {FOLDS} folds of {rows:,} rows on {cores} cores"
    if hours > HOURS:
        why += ", so begin with --fold 0"
    return name, largest, epochs, why


def _sides(seen: Pixels | None, largest: int) -> tuple[int, int]:
    """Return height and width, whole steps, that keep the pictures' shape."""
    if seen is None:
        return min(largest, 224), min(largest, 224)
    scale = min(1.0, largest / max(seen.height, seen.width))
    h, w = (max(SMALLEST, math.ceil(side * scale / STEP) * STEP) for side in (seen.height, seen.width))
    return (h, w) if max(h, w) >= 1.25 * min(h, w) else (max(h, w), max(h, w))


def _size(seen: Pixels | None, largest: int) -> tuple[int | list[int], str]:
    h, w = _sides(seen, largest)
    why = "the pictures' sizes could not be read"
    if seen is not None:
        why = f"the pictures are about {seen.height:g} × {seen.width:g}"
    return (h if h == w else [h, w]), why


def _depth(seen: Pixels) -> list[Guess]:
    """Return channels and window of arrays."""
    found: list[Guess] = []
    if seen.channels not in (0, 1, 3):
        found.append(("data.channels", seen.channels, f"the arrays have {seen.channels}"))
    if seen.span is not None:
        low, high = seen.span
        room = 0.05 * (high - low) or 1.0
        window = [float(f"{bound:.3g}") for bound in (low - room, high + room)]
        found.append(("data.window", window, f"values from {low:g} to {high:g} in {LOOKED_AT} arrays, and some room"))
    return found


def _is_array(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in ARRAYS


def look(folder: Folder) -> Pixels | None:
    """Return what some pictures are like, None where none can be opened."""
    found = []
    for path in folder.pictures[:: max(1, len(folder.pictures) // LOOKED_AT)]:
        try:
            inside = archives.split(f"{folder.root}/{path}")
            source = io.BytesIO(archives.read(*inside)) if inside else folder.root / path
            found.append(_array(source) if _is_array(path) else _picture(source))
        except (OSError, ValueError, *parts.DAMAGED):
            continue
    if not found:
        return None
    spans = [one.span for one in found if one.span is not None]
    span = (min(low for low, _ in spans), max(high for _, high in spans)) if spans else None
    channels = max(one.channels for one in found)
    return Pixels(median(one.height for one in found), median(one.width for one in found), channels, span)


def _picture(source: io.BytesIO | Path) -> Pixels:
    from PIL import Image

    with Image.open(source) as image:
        return Pixels(image.height, image.width)


def _array(source: io.BytesIO | Path) -> Pixels:
    """Read one array, or the first of a stack; of three axes the shorter of the outer ones is the channels."""
    found = np.load(source, mmap_mode="r" if isinstance(source, Path) else None, allow_pickle=False)
    values: NDArray[np.generic] = found if isinstance(found, np.ndarray) else found[found.files[0]]
    if values.ndim == 4 or (values.ndim == 3 and min(values.shape[0], values.shape[2]) > MOST_CHANNELS):
        values = values[0]
    shape: Sequence[int] = values.shape
    if len(shape) not in (2, 3):
        raise ValueError(f"an array of shape {values.shape}")
    channels = 1 if len(shape) == 2 else min(shape[0], shape[2])
    height, width = (shape[0], shape[1]) if len(shape) == 2 or shape[2] <= shape[0] else (shape[1], shape[2])
    plain = values.dtype in (np.dtype(np.uint8), np.dtype(np.bool_))
    span = None if plain or values.dtype == np.uint16 else (float(values.min()), float(values.max()))
    return Pixels(height, width, channels, span)

"""Refuse what mirrors or turns images where `data.flips_change_labels` says that the label would change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.errors import Problem
from pipeline.methods.presets import PRESETS

if TYPE_CHECKING:
    from pipeline.config.config import Config

# What each does to the axes: h, v: their direction may turn round; a quarter turn and a transpose swap both.
VIEWS = {
    "hflip": "h",
    "vflip": "v",
    **dict.fromkeys(("hvflip", "rot180", "rot90", "rot270", "transpose", "antitranspose"), "hv"),
}
TRANSFORMS = {
    "HorizontalFlip": "h",
    "VerticalFlip": "v",
    **dict.fromkeys(("SquareSymmetry", "D4", "Flip", "RandomRotate90", "Transpose"), "hv"),
}
AXES = {"horizontal": "h", "vertical": "v", "both": "hv"}


def problems(config: Config) -> list[Problem]:
    """Return which views and transforms of the config change labels, one line for each key."""
    said = config.data.flips_change_labels
    if said is None:
        return []
    train = config.augment.train
    listed = PRESETS[train] if isinstance(train, str) else train
    views = [view for view in config.views if _changes(VIEWS.get(view, ""), said)]
    transforms = list(dict.fromkeys(name for name in _names(listed) if _changes(TRANSFORMS.get(name, ""), said)))
    why = f"which change the label, as data.flips_change_labels says of {said} flips"
    found = [Problem("tta", f"found {', '.join(views)}, {why}", remedy="leave them out")] if views else []
    if transforms:
        whose = f"'{train}' with {', '.join(transforms)}" if isinstance(train, str) else ", ".join(transforms)
        free = [
            name for name, own in PRESETS.items() if not any(_changes(TRANSFORMS.get(n, ""), said) for n in _names(own))
        ]
        found.append(
            Problem("augment.train", f"found {whose}, {why}", remedy=f"leave them out, or choose {', '.join(free)}")
        )
    return found


def _changes(turned: str, said: str) -> bool:
    return bool(set(turned) & set(AXES[said]))


def _names(listed: Any) -> Iterator[str]:
    """Yield the names of transforms, also of those inside others; what is malformed is found elsewhere."""
    for entry in listed if isinstance(listed, list) else []:
        for name, arguments in entry.items() if isinstance(entry, dict) else []:
            yield str(name)
            if isinstance(arguments, dict):
                yield from _names(arguments.get("transforms"))

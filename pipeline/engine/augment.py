"""Augment one image at a time with Albumentations, every draw from the generator that is passed.

The config names a preset or lists transforms, `[{HorizontalFlip: {p: 0.5}}, {OneOf: {transforms: [...], p:
0.3}}]`; OneOf, SomeOf, RandomOrder and Sequential nest. A pipeline whose result has another size is resized
at the end, so a cache larger than the model's size leaves room for crops.
"""

from __future__ import annotations

import os
import random
import warnings
from typing import Any

import numpy as np

from pipeline.engine.images import resize
from pipeline.parts.lookup import lookup
from pipeline.parts.presets import PRESETS

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks PyPI for a newer version

Array = np.ndarray[Any, np.dtype[Any]]

COMPOSITES = ("OneOf", "SomeOf", "RandomOrder", "Sequential")
ENGINES_OWN = {
    "Normalize": "the engine normalises with the model's mean and std",
    "ToTensorV2": "the engine makes the tensors",
    "ToTensor3D": "the engine makes the tensors",
    "ToFloat": "the engine scales to [0, 1]",
    "FromFloat": "the engine scales to [0, 1]",
}


class Augment:
    """Call as `augment(image_HWC, rng) -> image_HWC`, uint8 or float32 in [0, 1]; uint16 becomes float32.

    Equal generators give equal images, in any process and order. The image passed is not written to.
    """

    def __init__(
        self, spec: str | list[dict[str, Any]], size_hw: tuple[int, int], transforms: list[Any]
    ) -> None:
        self.spec, self.size_hw = spec, (int(size_hw[0]), int(size_hw[1]))
        self._transforms = transforms
        self._draws = _Draws()

    def __call__(self, image_HWC: Array, rng: np.random.Generator) -> Array:
        """Return the image augmented, exactly `size_hw`."""
        if image_HWC.dtype == np.uint16:
            image_HWC = image_HWC.astype(np.float32) / np.float32(65535)
        if self._transforms:
            self._draws.rng, self._draws.gauss_next = rng, None
            data = {"image": image_HWC}
            for transform in self._transforms:
                transform.set_random_state(rng, self._draws)
                data = transform(**data)
            image_HWC = data["image"]
        if image_HWC.shape[:2] != self.size_hw:
            image_HWC = resize(image_HWC, self.size_hw)
        return np.ascontiguousarray(image_HWC)

    def __reduce__(self) -> tuple[Any, ...]:
        return build, (self.spec, self.size_hw)


class _Draws(random.Random):
    """Let `random.Random` draw from a numpy generator: no seeding (9 µs) for every image."""

    rng: np.random.Generator
    gauss_next: float | None  # random.gauss keeps its second number here

    def random(self) -> float:
        return self.rng.random()

    def getrandbits(self, k: int) -> int:
        if k <= 53:  # a double holds as many random bits, and takes a fifth of the time
            return int(self.rng.random() * (1 << k))
        return int.from_bytes(self.rng.bytes((k + 7) // 8), "little") >> (-k % 8)


def build(spec: str | list[dict[str, Any]], size_hw: tuple[int, int]) -> Augment:
    """Make the augmentation of a preset or a list; raise ValueError with every unknown or unfit transform."""
    listed = lookup(PRESETS, spec, "preset") if isinstance(spec, str) else spec
    if not listed:
        return Augment(spec, size_hw, [])
    defects: list[str] = []
    transforms = _make_all(listed, size_hw, "", defects)
    if defects:
        raise ValueError("; ".join(defects))
    return Augment(spec, size_hw, transforms)


def _make_all(listed: Any, size_hw: tuple[int, int], place: str, defects: list[str]) -> list[Any]:
    if not isinstance(listed, list):
        defects.append(f"{place}: found {listed!r}, expected a list of transforms")
        return []
    made = [_make(entry, size_hw, f"{place}[{number}]", defects) for number, entry in enumerate(listed)]
    return [transform for transform in made if transform is not None]


def _make(entry: Any, size_hw: tuple[int, int], place: str, defects: list[str]) -> Any:
    """Make one transform, or note in `defects` what is wrong and return None."""
    import albumentations

    if not isinstance(entry, dict) or len(entry) != 1:
        defects.append(
            f"{place}: found {entry!r}, expected one transform as in {{HorizontalFlip: {{p: 0.5}}}}"
        )
        return None
    ((name, given),) = entry.items()
    place = f"{place}.{name}"
    if name in ENGINES_OWN:
        defects.append(f"{place}: leave it out, {ENGINES_OWN[name]}")
        return None
    if given is not None and not isinstance(given, dict):
        defects.append(f"{place}: found {given!r}, expected arguments as in {{p: 0.5}}")
        return None
    arguments = dict(given or {})
    try:
        kind = lookup(_known(albumentations), str(name), "transform")
    except ValueError as error:
        defects.append(f"{place}: {str(error).split(':')[0]}; see Albumentations 2.0.8")
        return None
    if name in COMPOSITES:
        arguments["transforms"] = _make_all(
            arguments.get("transforms"), size_hw, f"{place}.transforms", defects
        )
        if not arguments["transforms"]:
            return None
    else:
        _fill_size(kind, arguments, size_hw)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Albumentations drops unknown arguments with a mere warning
            return kind(**arguments)
    except (ValueError, TypeError, Warning) as error:
        defects.append(f"{place}: {_reason(error)}")
        return None


def _known(albumentations: Any) -> dict[str, Any]:
    """Return the transforms and composites by name."""
    from pipeline.engine.affine import Affine

    leaf = albumentations.BasicTransform
    found = {
        name: kind
        for name, kind in vars(albumentations).items()
        if isinstance(kind, type) and issubclass(kind, leaf) and hasattr(kind, "InitSchema")
    }
    return {**found, "Affine": Affine, **{name: getattr(albumentations, name) for name in COMPOSITES}}


def _fill_size(kind: Any, arguments: dict[str, Any], size_hw: tuple[int, int]) -> None:
    """Give crops and resizes that name no size the model's."""
    fields = kind.InitSchema.model_fields
    if "size" in fields and "size" not in arguments:
        arguments["size"] = tuple(size_hw)
    if {"height", "width"} <= set(fields) and not {"height", "width"} & set(arguments):
        arguments["height"], arguments["width"] = size_hw


def _reason(error: Exception) -> str:
    """Say an error on one line; pydantic's own with the argument's name."""
    if callable(problems := getattr(error, "errors", None)):
        return ", ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']} (found {problem['input']!r})"
            for problem in problems()
        )
    return " ".join(str(error).split())

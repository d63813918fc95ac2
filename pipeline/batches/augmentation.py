"""Augment one image at a time with Albumentations, every draw from the generator that is passed.

The config names a preset or lists transforms, `[{HorizontalFlip: {p: 0.5}}, {OneOf: {transforms: [...], p:
0.3}}]`; OneOf, SomeOf, RandomOrder and Sequential nest. A pipeline whose result has another size is resized
at the end, so a cache larger than the model's size leaves room for crops.
"""

from __future__ import annotations

import os
import random
import warnings
from functools import cache
from typing import Any

import numpy as np

from pipeline.batches.rows import as_trained
from pipeline.config.config import Config
from pipeline.errors import InputError, Problem, Refused, nearest, problems_of
from pipeline.images.arrays import one_line
from pipeline.images.decoding import resize
from pipeline.methods.arrays import Array
from pipeline.methods.presets import preset

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks PyPI for a newer version

COMPOSITES = ("OneOf", "SomeOf", "RandomOrder", "Sequential")
DONE_LATER = {
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
        self, spec: str | list[dict[str, Any]], size_hw: tuple[int, int], transforms: list[Any], channels: int = 3
    ) -> None:
        self.spec, self.size_hw, self.channels = spec, (int(size_hw[0]), int(size_hw[1])), channels
        self._transforms = transforms
        self._draws = _Draws()

    def __call__(self, image_HWC: Array, rng: np.random.Generator) -> Array:
        """Return the image augmented, exactly `size_hw`."""
        image_HWC = as_trained(image_HWC)
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
        return build, (self.spec, self.size_hw, self.channels)


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


def of(config: Config) -> Augment:
    """Make the augmentation that a config asks for, at its size and for its channels."""
    return build(config.augment.train, config.model.size_hw, config.data.in_chans)


def build(spec: str | list[dict[str, Any]], size_hw: tuple[int, int], channels: int = 3) -> Augment:
    """Make the augmentation of a preset or a list; presets leave their colour changes out where nothing is RGB.

    Raises InputError with every transform that is unknown, has unknown or unfit arguments, or cannot work on
    an image of so many channels and nothing else: each is tried once.
    """
    try:
        listed = preset(spec, channels) if isinstance(spec, str) else spec
    except ValueError as error:
        raise InputError(*(problem.below("augment.train") for problem in problems_of(error))) from None
    shape_HWC, problems = (int(size_hw[0]), int(size_hw[1]), channels), list[Problem]()
    transforms = _make_all(listed, shape_HWC, "augment.train", problems) if listed else []
    if problems:
        raise InputError(*problems)
    return Augment(spec, size_hw, transforms, channels)


def _make_all(listed: Any, shape_HWC: tuple[int, int, int], place: str, problems: list[Problem]) -> list[Any]:
    """Make the transforms of a list; note in `problems` what is wrong with the others."""
    made: list[Any] = []
    if not isinstance(listed, list) or not listed:
        problems.append(Problem(place, f"found {listed!r}", "a list of transforms"))
        return made
    for number, entry in enumerate(listed):
        here = f"{place}[{number}]"
        if not isinstance(entry, dict) or len(entry) != 1:
            problems.append(Problem(here, f"found {entry!r}", "one as in {HorizontalFlip: {p: 0.5}}"))
            continue
        ((name, arguments),) = entry.items()
        here = f"{here}.{name}"
        if name in COMPOSITES and isinstance(arguments, dict):
            children = _make_all(arguments.get("transforms"), shape_HWC, f"{here}.transforms", problems)
            if not children:
                continue
            arguments = {**arguments, "transforms": children}
        try:
            made.append(_make(str(name), arguments, shape_HWC))
        except Refused as error:
            problems += [problem.below(here) for problem in error.problems]
        except Exception as error:  # its hundred constructors fail in many ways, all from what the config says
            problems.append(Problem(here, _reason(error)))
    return made


def _make(name: str, arguments: Any, shape_HWC: tuple[int, int, int]) -> Any:
    """Make one transform; raise whatever its constructor raises, and its warnings, where that cannot be."""
    if name in DONE_LATER:
        raise Refused(Problem("", f"leave it out, {DONE_LATER[name]}"))
    if not isinstance(arguments, dict | None):
        raise Refused(Problem("", f"found {arguments!r}", "arguments as in {p: 0.5}"))
    if name not in (known := _known()):
        raise Refused(Problem("", "not in Albumentations 2.0.8", remedy=nearest(name, known)))
    kind, given = known[name], dict(arguments or {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Albumentations drops unknown arguments with a mere warning
        warnings.filterwarnings("ignore", ".*is very slow")  # of PiecewiseAffine, which is right all the same
        if name in COMPOSITES:
            return kind(**given)
        fields = set(kind.InitSchema.model_fields)  # crops and resizes that name no size have the model's
        if "size" in fields:
            given.setdefault("size", shape_HWC[:2])
        if {"height", "width"} <= fields and not {"height", "width"} & set(given):
            given["height"], given["width"] = shape_HWC[:2]
        transform = kind(**given)
        _try(transform, shape_HWC)  # some only warn of what they cannot do on so many channels
    return transform


def _try(transform: Any, shape_HWC: tuple[int, int, int]) -> None:
    """Raise ValueError where a transform needs more than an image, or returns something else than one."""
    reason, (height, width, channels) = "", shape_HWC
    for factor in (1, 2):  # a fixed crop may need the room that a larger cache gives
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (height * factor, width * factor, channels), dtype=np.uint8)
        transform.set_random_state(rng, random.Random(0))
        try:
            result = transform(image=image, force_apply=True)["image"]
        except Exception as error:  # 100 transforms fail in as many ways
            reason = reason or f"{type(error).__name__}: {one_line(error)}"
            continue
        if isinstance(result, np.ndarray) and result.dtype == np.uint8 and result.shape[2:] == (channels,):
            return
        reason = reason or f"it returns no image of {channels} channels and the same depth"
    of = "" if channels == 3 else f" of {channels} channel{'s' * (channels > 1)}"
    raise ValueError(f"cannot be used on an image{of} and nothing else ({reason})")


@cache
def _known() -> dict[str, Any]:
    """Return the transforms and composites by name."""
    import albumentations

    from pipeline.batches.fast_affine import Affine

    kinds = {name: kind for name, kind in vars(albumentations).items() if isinstance(kind, type)}
    leaf = albumentations.BasicTransform
    found = {name: kind for name, kind in kinds.items() if issubclass(kind, leaf) and hasattr(kind, "InitSchema")}
    return {**found, "Affine": Affine, **{name: getattr(albumentations, name) for name in COMPOSITES}}


def _reason(error: Exception) -> str:
    """Say an error on one line; pydantic's, which Albumentations wraps, with the argument's name."""
    problems = getattr(error.__cause__ or error.__context__ or error, "errors", None)
    if callable(problems):
        return ", ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']} (found {one['input']!r})" if one["loc"] else one["msg"]
            for one in problems()
        )
    return one_line(error)

"""Augmentation depends on the generator alone, keeps size and depth, refuses what Albumentations ignores."""

from __future__ import annotations

import hashlib
import pickle
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from pipeline.batches.augmentation import build
from pipeline.errors import InputError
from pipeline.methods.presets import PRESETS

SIZE = (32, 32)
IMAGE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
MIRRORS = {"HorizontalFlip", "VerticalFlip", "SquareSymmetry", "D4", "Transpose", "RandomRotate90"}


def draws(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "uint16"])
@pytest.mark.parametrize("size_hw", [(32, 32), (24, 40)])
def test_presets_keep_size_depth_and_range(name: str, dtype: str, size_hw: tuple[int, int]) -> None:
    source = {
        "uint8": IMAGE,
        "float32": IMAGE.astype(np.float32) / 255,
        "uint16": IMAGE.astype(np.uint16) * 257,
    }[dtype]
    before = source.copy()
    augment = build(name, size_hw)
    changed = 0
    for seed in range(12):
        result = augment(source, draws(seed))
        assert result.shape == (*size_hw, 3) and result.flags.c_contiguous
        assert result.dtype == ("uint8" if dtype == "uint8" else "float32")
        assert result.dtype == np.uint8 or (result.min() >= 0 and result.max() <= 1)
        scaled = source / 65535 if dtype == "uint16" else source
        changed += result.shape != source.shape or not np.allclose(result, scaled, atol=1e-6)
    assert (source == before).all()
    assert (changed > 6) == (name != "none" or size_hw != SIZE)


@pytest.mark.parametrize("name", PRESETS)
def test_result_depends_on_the_generator_alone(name: str) -> None:
    """Neither earlier calls nor the instance nor pickling change what a generator gives."""
    one, other = build(name, SIZE), build(name, SIZE)
    expected = [one(IMAGE, draws(seed)) for seed in range(20)]
    again = pickle.loads(pickle.dumps(other))
    for seed in reversed(range(20)):
        assert (other(IMAGE, draws(seed)) == expected[seed]).all()
        assert (again(IMAGE, draws(seed)) == expected[seed]).all()


def test_another_process_gives_the_same_images() -> None:
    code = """
import hashlib, numpy as np
from pipeline.batches.augmentation import build
image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
augment = build("heavy", (32, 32))
images = [augment(image, np.random.default_rng(n)).tobytes() for n in range(20)]
print(hashlib.sha256(b"".join(images)).hexdigest())
"""
    there = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    augment = build("heavy", SIZE)
    here = hashlib.sha256(b"".join(augment(IMAGE, draws(n)).tobytes() for n in range(20))).hexdigest()
    assert here == there


def test_two_flips_fire_independently() -> None:
    """Albumentations' own seed makes transforms of one pipeline fire together."""
    augment = build([{"HorizontalFlip": {"p": 0.5}}, {"VerticalFlip": {"p": 0.5}}], SIZE)
    outcomes = [IMAGE, IMAGE[:, ::-1], IMAGE[::-1], IMAGE[::-1, ::-1]]
    counts = np.zeros(4)
    for seed in range(400):
        result = augment(IMAGE, draws(seed))
        counts += [(result == outcome).all() for outcome in outcomes]
    assert counts.sum() == 400 and counts.min() > 60


@pytest.mark.parametrize(
    "arguments",
    [
        {"scale": (0.8, 1.2), "rotate": (-30, 30), "shear": (-10, 10), "translate_percent": (-0.1, 0.1)},
        {"translate_px": (-5, 5), "fill": 7, "border_mode": 4},
        {"rotate": (-40, 40), "fit_output": True},
        {"scale": (0.5, 2.0), "keep_ratio": True, "balanced_scale": True, "fill": (1.0, 2.0, 3.0)},
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_affine_gives_albumentations_pixels(arguments: dict[str, Any], dtype: str) -> None:
    import albumentations

    from pipeline.batches.fast_affine import Affine

    image = IMAGE[:, :20] if dtype == "uint8" else IMAGE[:, :20].astype(np.float32) / 255
    theirs, ours = albumentations.Affine(**arguments, p=1.0), Affine(**arguments, p=1.0)
    for seed in range(20):
        for transform in (theirs, ours):
            transform.set_random_state(draws(seed), random.Random(seed))
        expected, found = theirs(image=image)["image"], ours(image=image)["image"]
        assert found.shape == expected.shape and found.dtype == expected.dtype
        assert np.abs(found.astype(float) - expected).max() <= (1 if dtype == "uint8" else 1e-3)


def test_composites_nest_and_choose() -> None:
    flips = [
        {"HorizontalFlip": {"p": 1.0}},
        {"Sequential": {"transforms": [{"VerticalFlip": {"p": 1.0}}], "p": 1.0}},
    ]
    augment = build([{"OneOf": {"transforms": flips, "p": 1.0}}], SIZE)
    seen = {augment(IMAGE, draws(seed)).tobytes() for seed in range(40)}
    assert seen == {IMAGE[:, ::-1].tobytes(), IMAGE[::-1].tobytes()}
    both = build([{"SomeOf": {"transforms": flips, "n": 2, "replace": False, "p": 1.0}}], SIZE)
    assert (both(IMAGE, draws(0)) == IMAGE[::-1, ::-1]).all()


def test_every_defect_is_listed() -> None:
    listed = [
        {"Flip": {}},
        {"HorizontalFlip": {"pp": 1.0}},
        {"Normalize": {}},
        {"OneOf": {"transforms": [{"CoarseDropout": {"max_holes": 3}}, {"Blur": {"blur_limit": "x"}}]}},
        {"Affine": 3},
        {"A": 1, "B": 2},
        {"ShiftScaleRotate": {}},
        {"SomeOf": {"transforms": []}},
        {"Compose": {"transforms": []}},
        {"OverlayElements": {}},
        {"Affine": {"rotate": [-5, 5], "cval": 0}},
    ]
    with pytest.raises(InputError) as caught:
        build(listed, SIZE)
    expected = [
        ("[0].Flip", "not in Albumentations"),
        ("[1].HorizontalFlip", "'pp'"),
        ("[2].Normalize", "the engine normalises"),
        ("[3].OneOf.transforms[0].CoarseDropout", "'max_holes'"),
        ("[3].OneOf.transforms[1].Blur", "valid integer"),
        ("[4].Affine", "found 3, expected arguments"),
        ("[5]", "expected one as in"),
        ("[6].ShiftScaleRotate", "use Affine"),
        ("[7].SomeOf.transforms", "expected a list"),
        ("[8].Compose", "not in Albumentations"),
        ("[9].OverlayElements", "cannot be used on an image and nothing else"),
        ("[10].Affine", "'cval'"),
    ]
    assert len(caught.value.lines) == len(expected)
    for defect, (place, reason) in zip(caught.value.lines, expected, strict=True):
        assert defect.startswith(f"augment.train{place}: ") and reason in defect


def test_near_names_are_suggested() -> None:
    with pytest.raises(InputError, match="did you mean 'HorizontalFlip'"):
        build([{"HorizontalFlp": {}}], SIZE)
    with pytest.raises(InputError, match="expected a preset"):
        build("ligth", SIZE)


@pytest.mark.parametrize(
    "transform, arguments",
    [
        ("RandomResizedCrop", None),
        ("RandomCrop", {}),
        ("CenterCrop", {}),
        ("Resize", {}),
        ("RandomSizedCrop", {"min_max_height": [10, 20]}),
        ("LongestMaxSize", {"max_size": 50}),
        ("RandomCrop", {"height": 30, "width": 50}),
    ],
)
def test_crops_take_the_size_and_results_have_it(transform: str, arguments: dict[str, Any] | None) -> None:
    larger = np.zeros((40, 60, 3), np.uint8)
    assert build([{transform: arguments}], (24, 36))(larger, draws(0)).shape == (24, 36, 3)


def test_cropping_gives_views_of_a_larger_cache() -> None:
    larger = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    augment = build([{"RandomCrop": {}}], SIZE)
    crops = [augment(larger, draws(seed)) for seed in range(10)]
    assert len({crop.tobytes() for crop in crops}) > 3
    windows = np.lib.stride_tricks.sliding_window_view(larger, (*SIZE, 3))[:, :, 0]
    assert all((windows == crop).all(axis=(2, 3, 4)).any() for crop in crops)


def test_presets_for_signs_never_mirror() -> None:
    for name in ("digits", "text"):
        assert not MIRRORS & {next(iter(entry)) for entry in PRESETS[name]}
    ramp = np.repeat(np.linspace(0, 255, 32).astype(np.uint8)[None, :, None], 32, 0).repeat(3, 2)
    augment = build("digits", SIZE)
    for seed in range(50):
        result = augment(ramp, draws(seed)).astype(int)
        assert result[:, 16:].mean() > result[:, :16].mean()


def test_every_albumentations_transform_is_repeatable_or_refused() -> None:
    """Each transform that works on an image alone gives the same image for the same draws."""
    import albumentations

    names = [name for name, kind in vars(albumentations).items() if hasattr(kind, "InitSchema")]
    usable, wayward = 0, []
    for name in names:
        try:
            augment = build([{name: {"p": 1.0}}], SIZE)
        except InputError:
            continue
        usable += 1
        first = [augment(IMAGE, draws(seed)) for seed in (1, 2)]
        again = [build([{name: {"p": 1.0}}], SIZE)(IMAGE, draws(seed)) for seed in (1, 2)]
        if not all((one == other).all() for one, other in zip(first, again, strict=True)):
            wayward.append(name)
    assert usable > 60 and wayward == []


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 16])
@pytest.mark.parametrize("name", PRESETS)
def test_presets_take_any_channels(name: str, channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 36, channels), dtype=np.uint8)
    augment = pickle.loads(pickle.dumps(build(name, SIZE, channels)))
    for source in (image, image.astype(np.uint16) * 257):
        results = [augment(source, draws(seed)) for seed in range(8)]
        assert all(result.shape == (*SIZE, channels) for result in results)
        assert name == "none" or len({result.tobytes() for result in results}) > 4


def test_planes_of_many_channels_are_warped_alike() -> None:
    """Six planes are warped in two parts; both move as the image of three does."""
    spec = [{"Affine": {"rotate": [20, 40], "translate_percent": [0.1, 0.2], "fill": 9, "p": 1.0}}]
    three, six = build(spec, SIZE)(IMAGE, draws(3)), build(spec, SIZE, 6)(np.dstack([IMAGE, IMAGE]), draws(3))
    assert np.abs(six[..., :3].astype(int) - six[..., 3:]).max() <= 1
    assert np.abs(six[..., :3].astype(int) - three).max() <= 1


@pytest.mark.parametrize("name", ["HueSaturationValue", "ToSepia", "RGBShift"])
def test_transforms_of_colour_are_refused_by_name_elsewhere(name: str) -> None:
    build([{name: {}}], SIZE, 3)
    with pytest.raises(InputError, match=rf"augment\.train\[0\]\.{name}: cannot be used on an image of 5 channels"):
        build([{name: {}}], SIZE, 5)

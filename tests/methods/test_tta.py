"""Views form the group of the square, keep their shapes and parse from the config's names."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.methods.tta import GROUPS, VIEWS, apply, is_augment, parse_view

D4 = GROUPS["d4"]
INVERSE = {**{name: name for name in D4}, "rot90": "rot270", "rot270": "rot90"}
SWAPPING = {"rot90", "rot270", "transpose", "antitranspose"}
PILLOW = {
    "hflip": Image.Transpose.FLIP_LEFT_RIGHT,
    "vflip": Image.Transpose.FLIP_TOP_BOTTOM,
    "rot90": Image.Transpose.ROTATE_90,
    "rot180": Image.Transpose.ROTATE_180,
    "hvflip": Image.Transpose.ROTATE_180,
    "rot270": Image.Transpose.ROTATE_270,
    "transpose": Image.Transpose.TRANSPOSE,
    "antitranspose": Image.Transpose.TRANSVERSE,
}
shapes = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))


def numbered(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.arange(np.prod(shape), dtype=torch.float32).reshape(shape)


@given(shape=shapes, name=st.sampled_from(sorted(VIEWS)))
def test_every_view_keeps_or_swaps_the_shape(shape: tuple[int, int, int, int], name: str) -> None:
    images = numbered(shape)
    before = images.clone()
    seen = apply(name, images)
    assert seen.shape == (*shape[:2], *(shape[:1:-1] if name in SWAPPING else shape[2:]))
    assert seen.dtype == images.dtype and torch.equal(images, before)


@given(shape=shapes, name=st.sampled_from(D4))
def test_every_symmetry_has_its_inverse(shape: tuple[int, int, int, int], name: str) -> None:
    images = numbered(shape)
    assert torch.equal(apply(INVERSE[name], apply(name, images)), images)


def test_symmetries_are_a_group_of_eight() -> None:
    images = numbered((1, 1, 3, 3))
    named = {tuple(apply(name, images).flatten().tolist()): name for name in D4}
    assert len(named) == 8
    for first in D4:
        for second in D4:
            assert tuple(apply(second, apply(first, images)).flatten().tolist()) in named
    assert torch.equal(apply("rot90", apply("rot90", images)), apply("rot180", images))
    assert torch.equal(apply("transpose", apply("hflip", images)), apply("rot90", images))
    assert torch.equal(apply("antitranspose", images), apply("rot180", apply("transpose", images)))


@pytest.mark.parametrize("name", PILLOW)
def test_views_agree_with_pillow(name: str) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    expected = np.asarray(Image.fromarray(pixels).transpose(PILLOW[name]))
    assert (apply(name, torch.from_numpy(pixels)[None, None])[0, 0].numpy() == expected).all()


def test_crops_see_the_corners_and_the_centre() -> None:
    """On a horizontal and a vertical ramp each crop's mean is its place."""
    ramp = torch.arange(32.0)
    across, down = ramp.expand(1, 1, 32, 32), ramp[:, None].expand(1, 1, 32, 32)
    places = [
        (round(apply(name, down).mean().item(), 3), round(apply(name, across).mean().item(), 3))
        for name in GROUPS["crop5"]
    ]
    assert places == [(13.5, 13.5), (13.5, 17.5), (17.5, 13.5), (17.5, 17.5), (15.5, 15.5)]


@given(shape=shapes, corner=st.integers(0, 4))
def test_crops_of_flat_images_are_flat(shape: tuple[int, int, int, int], corner: int) -> None:
    assert torch.allclose(apply(f"crop5.{corner}", torch.full(shape, 0.3)), torch.full(shape, 0.3))


def test_names_expand_and_expanding_again_changes_nothing() -> None:
    assert parse_view("hflip") == ["hflip"]
    assert len(parse_view("d4")) == 8 and parse_view("d4")[0] == "identity"
    assert parse_view("crop5") == ["crop5.0", "crop5.1", "crop5.2", "crop5.3", "crop5.4"]
    assert parse_view("augment:3") == ["augment.0", "augment.1", "augment.2"]
    for group in ("d4", "crop5", "augment:7", *VIEWS):
        for view in parse_view(group):
            assert parse_view(view) == [view]
            assert is_augment(view) != (view in VIEWS)


@pytest.mark.parametrize("name", ["", "augment", "augment:0", "augment:x", "augment.01", "augment:1000", "crop5.5"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"found '{name}', expected"):
        parse_view(name)


def test_near_names_are_suggested() -> None:
    with pytest.raises(ValueError, match=r"did you mean 'hflip'\?"):
        parse_view("hflop")


def test_augmentations_are_not_applied_here() -> None:
    with pytest.raises(ValueError, match="expected a view"):
        apply("augment.0", numbered((1, 1, 2, 2)))


def test_reading_the_table_does_not_import_torch() -> None:
    code = "import sys, pipeline.methods.tta, pipeline.methods.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

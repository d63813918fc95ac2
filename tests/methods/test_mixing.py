"""Mixing: lam is counted in pixels, patches lie where they should, nothing changes in place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.methods.mixing import MIXERS, PATCHES, cutmix, mix_batch, mixup

SIDES = st.integers(1, 40)
SEEDS = st.integers(0, 2**32)
LAMS = st.floats(0, 1)
ALPHAS = st.sampled_from([0.05, 0.2, 1.0, 5.0])
PATCH_NAMES = sorted(PATCHES)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def batch(rows: int, classes: int = 3, side: int = 6) -> tuple[Tensor, Tensor]:
    """Return images whose pixels all hold their row's number, and one-hot targets."""
    images_BCHW = torch.arange(rows, dtype=torch.float32)[:, None, None, None].expand(rows, 3, side, side + 2).clone()
    return images_BCHW, torch.eye(classes)[torch.arange(rows) % classes]


@pytest.mark.parametrize("patch", PATCH_NAMES)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(height=SIDES, width=SIDES, lam=LAMS, seed=SEEDS)
def test_patches_lie_in_the_image(patch: str, height: int, width: int, lam: float, seed: int) -> None:
    top, bottom, left, right = PATCHES[patch](height, width, lam, rng(seed))
    assert 0 <= top <= bottom <= height
    assert 0 <= left <= right <= width


@pytest.mark.parametrize("patch", PATCH_NAMES)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(height=SIDES, width=SIDES, seed=SEEDS, alpha=ALPHAS)
def test_lam_is_the_share_of_pixels_kept(patch: str, height: int, width: int, seed: int, alpha: float) -> None:
    zeros, ones = torch.zeros(2, 3, height, width), torch.ones(2, 3, height, width)
    mixed_BCHW, lam = cutmix(zeros, ones, rng(seed), alpha, patch)
    assert lam == pytest.approx(1 - mixed_BCHW.double().mean().item(), abs=1e-12)
    assert set(mixed_BCHW.unique().tolist()) <= {0.0, 1.0}


@settings(max_examples=50, deadline=None, derandomize=True)
@given(height=SIDES, width=SIDES, lam=LAMS, seed=SEEDS)
def test_center_stays_in_the_centre_crop(height: int, width: int, lam: float, seed: int) -> None:
    top, bottom, left, right = PATCHES["center"](height, width, lam, rng(seed))
    if (bottom - top) * (right - left):
        assert top >= round(height / 8) and bottom <= height - round(height / 8)
        assert left >= round(width / 8) and right <= width - round(width / 8)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(height=SIDES, width=SIDES, lam=LAMS, seed=SEEDS)
def test_strips_go_from_edge_to_edge(height: int, width: int, lam: float, seed: int) -> None:
    top, bottom, left, right = PATCHES["vertical"](height, width, lam, rng(seed))
    assert (top, bottom) == (0, height) and right - left == round((1 - lam) * width)
    top, bottom, left, right = PATCHES["horizontal"](height, width, lam, rng(seed))
    assert (left, right) == (0, width) and bottom - top == round((1 - lam) * height)


@pytest.mark.parametrize("patch", PATCH_NAMES)
def test_patches_reach_every_place_they_may(patch: str) -> None:
    """A draw that leaves a border out would teach the model nothing about it."""
    pasted = np.zeros((16, 24), dtype=bool)
    for seed in range(400):
        top, bottom, left, right = PATCHES[patch](16, 24, 0.7, rng(seed))
        pasted[top:bottom, left:right] = True
    reached = pasted[2:-2, 3:-3] if patch == "center" else pasted
    assert reached.all()


@pytest.mark.parametrize("lam", [0.3, 0.7])
def test_an_unclipped_box_has_the_area_asked_for(lam: float) -> None:
    areas = []
    for seed in range(300):
        top, bottom, left, right = PATCHES["box"](100, 60, lam, rng(seed))
        areas.append((bottom - top) * (right - left) / 6000)
    assert max(areas) == pytest.approx(1 - lam, abs=0.02)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seed=SEEDS, alpha=ALPHAS)
def test_mixup_blends_whole_images_by_lam(seed: int, alpha: float) -> None:
    images_BCHW, _ = batch(4)
    mixed_BCHW, lam = mixup(images_BCHW, images_BCHW.flip(0), rng(seed), alpha, "box")
    assert 0 <= lam <= 1
    torch.testing.assert_close(mixed_BCHW, images_BCHW * lam + images_BCHW.flip(0) * (1 - lam))


@pytest.mark.parametrize("kind", sorted(MIXERS))
@settings(max_examples=50, deadline=None, derandomize=True)
@given(rows=st.integers(2, 9), seed=SEEDS, alpha=ALPHAS, patch=st.sampled_from(PATCH_NAMES))
def test_targets_follow_the_pixels_and_keep_their_sums(
    kind: str, rows: int, seed: int, alpha: float, patch: str
) -> None:
    images_BCHW, _ = batch(rows)
    targets_BC = torch.eye(rows)
    before = images_BCHW.clone(), targets_BC.clone()
    mixed_BCHW, mixed_BC = mix_batch(images_BCHW, targets_BC, rng(seed), kind, patch, alpha, 1.0)
    torch.testing.assert_close(mixed_BC.sum(-1), torch.ones(rows))
    numbers_B = mixed_BC @ torch.arange(rows, dtype=torch.float32)  # pixels hold their row's number
    torch.testing.assert_close(mixed_BCHW.mean((1, 2, 3)), numbers_B)
    assert torch.equal(images_BCHW, before[0]) and torch.equal(targets_BC, before[1])


@pytest.mark.parametrize("kind", sorted(MIXERS))
@settings(max_examples=50, deadline=None, derandomize=True)
@given(seed=SEEDS)
def test_multilabel_rows_need_not_sum_to_one(kind: str, seed: int) -> None:
    images_BCHW, _ = batch(4)
    targets_BC = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    _, mixed_BC = mix_batch(images_BCHW, targets_BC, rng(seed), kind, "box", 1.0, 1.0)
    assert mixed_BC.min() >= 0 and mixed_BC.max() <= 1 + 1e-6
    torch.testing.assert_close(mixed_BC.sum(0), targets_BC.sum(0))  # a permutation loses no label


@pytest.mark.parametrize("kind", sorted(MIXERS))
def test_equal_generators_give_equal_batches(kind: str) -> None:
    images_BCHW, targets_BC = torch.rand(5, 3, 8, 8), torch.eye(5)
    one, two, other = (mix_batch(images_BCHW, targets_BC, rng(seed), kind, "box", 1.0, 1.0) for seed in (3, 3, 4))
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
    assert not torch.equal(one[1], other[1])


@pytest.mark.parametrize("kind", sorted(MIXERS))
def test_prob_is_the_share_of_batches_mixed(kind: str) -> None:
    images_BCHW, targets_BC = batch(2)

    def mixed(prob: float) -> int:
        made = [mix_batch(images_BCHW, targets_BC, rng(seed), kind, "vertical", 5.0, prob) for seed in range(200)]
        return sum(not torch.equal(targets, targets_BC) for _, targets in made)

    assert mixed(0.0) == 0
    assert 70 <= mixed(1.0) <= 130  # of two rows half the permutations move none
    assert 25 <= mixed(0.5) <= 75


def test_a_single_row_is_left_alone() -> None:
    images_BCHW, targets_BC = batch(1)
    mixed_BCHW, mixed_BC = mix_batch(images_BCHW, targets_BC, rng(0), "cutmix", "box", 1.0, 1.0)
    assert torch.equal(mixed_BCHW, images_BCHW) and torch.equal(mixed_BC, targets_BC)

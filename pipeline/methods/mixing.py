"""Mixing of a batch with a permutation of itself, on soft targets of any task.

`mix(images_BCHW, partner_BCHW, rng, alpha) -> (mixed_BCHW, lam)`, where `lam` is the share of the
original image kept, recomputed from the pixels that were really pasted. The targets become
lam·a + (1−lam)·b. To add a patch, write a function that returns a box and one line in `PATCHES`; a mixer from
outside is a function (images_BCHW, partner_BCHW, rng, alpha, patch) of a file, named FILE.py:function.
Only tensor methods are used, so that reading these tables does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pipeline import plugins

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Box = tuple[int, int, int, int]  # top, bottom, left, right


def box(height: int, width: int, lam: float, rng: np.random.Generator, margin: float = 0) -> Box:
    """Return a box of area 1 − lam around a uniform centre, clipped `margin` of each side from the border.

    CutMix, Yun et al. 2019 (arXiv 1905.04899).
    """
    top, left = round(height * margin), round(width * margin)
    bottom, right = height - top, width - left
    half_h, half_w = height * math.sqrt(1 - lam) / 2, width * math.sqrt(1 - lam) / 2
    y, x = rng.uniform(top, bottom), rng.uniform(left, right)
    return (
        max(top, round(y - half_h)),
        min(bottom, round(y + half_h)),
        max(left, round(x - half_w)),
        min(right, round(x + half_w)),
    )


def vertical(height: int, width: int, lam: float, rng: np.random.Generator) -> Box:
    """Return a strip of full height and (1 − lam) of the width: halves a centred face."""
    size = round((1 - lam) * width)
    left = int(rng.integers(0, width - size + 1))
    return 0, height, left, left + size


def horizontal(height: int, width: int, lam: float, rng: np.random.Generator) -> Box:
    """Return a band of full width and (1 − lam) of the height: keeps the horizontal axis as it is."""
    left, right, top, bottom = vertical(width, height, lam, rng)
    return top, bottom, left, right


PATCHES: dict[str, Callable[[int, int, float, np.random.Generator], Box]] = {
    "box": box,
    "center": partial(box, margin=1 / 8),  # background patches say nothing
    "vertical": vertical,
    "horizontal": horizontal,
}


def cutmix(
    images_BCHW: Tensor, partner_BCHW: Tensor, rng: np.random.Generator, alpha: float, patch: str
) -> tuple[Tensor, float]:
    """Paste one patch of the partner, lam ~ Beta(alpha, alpha); return the share of pixels kept."""
    height, width = images_BCHW.shape[-2:]
    top, bottom, left, right = PATCHES[patch](height, width, float(rng.beta(alpha, alpha)), rng)
    mixed_BCHW = images_BCHW.clone()
    mixed_BCHW[..., top:bottom, left:right] = partner_BCHW[..., top:bottom, left:right]
    return mixed_BCHW, 1 - (bottom - top) * (right - left) / (height * width)


def mixup(
    images_BCHW: Tensor, partner_BCHW: Tensor, rng: np.random.Generator, alpha: float, patch: str
) -> tuple[Tensor, float]:
    """Blend whole images, lam ~ Beta(alpha, alpha) (Zhang et al. 2018, arXiv 1710.09412). No patch is cut."""
    lam = float(rng.beta(alpha, alpha))
    return images_BCHW * lam + partner_BCHW * (1 - lam), lam


MIXERS: dict[str, Callable[..., tuple[Tensor, float]]] = {"cutmix": cutmix, "mixup": mixup}


def find(kind: str) -> Callable[..., tuple[Tensor, float]]:
    """Return a mixer, or a plugin's (FILE.py:function); raise ValueError where there is none."""
    return plugins.find(MIXERS, kind, "mix kind", plugin)


def plugin(name: str, function: Callable[..., tuple[Tensor, float]]) -> Callable[..., tuple[Tensor, float]]:
    """Return a plugin's mixer; raises InputError where it fails or does not return such images and a share."""

    def checked(
        images_BCHW: Tensor, partner_BCHW: Tensor, rng: np.random.Generator, alpha: float, patch: str
    ) -> tuple[Tensor, float]:
        from torch import Tensor

        given = images_BCHW, partner_BCHW, rng, alpha, patch
        found = plugins.call(name, "mix(images_BCHW, partner_BCHW, rng, alpha, patch)", function, *given)
        shape = tuple(images_BCHW.shape)
        if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], Tensor)):
            raise plugins.returned(name, found, "(images_BCHW, lam)")
        mixed_BCHW, lam = found
        lam = plugins.call(f"{name}, lam", "a number", float, lam)
        if mixed_BCHW.shape != shape or mixed_BCHW.dtype != images_BCHW.dtype or not 0 <= lam <= 1:
            what = f"{mixed_BCHW.dtype} images {tuple(mixed_BCHW.shape)} and lam {lam}"
            raise plugins.returned(name, what, f"{images_BCHW.dtype} {shape} and a share of 0 to 1")
        return mixed_BCHW, lam

    return checked


def mix_batch(
    images_BCHW: Tensor,
    targets_BC: Tensor,
    rng: np.random.Generator,
    kind: str,
    patch: str,
    alpha: float,
    prob: float,
) -> tuple[Tensor, Tensor]:
    """Mix a batch with a random permutation of itself, with probability `prob`; never in place.

    Every draw comes from `rng`, in a fixed order, so that a step's mixing depends on nothing else.
    """
    if rng.random() >= prob or len(images_BCHW) < 2:
        return images_BCHW, targets_BC
    partner = rng.permutation(len(images_BCHW)).tolist()
    mixed_BCHW, lam = find(kind)(images_BCHW, images_BCHW[partner], rng, alpha, patch)
    return mixed_BCHW, targets_BC * lam + targets_BC[partner] * (1 - lam)


def weigh(targets_BC: Tensor, weights_B: Tensor) -> Tensor:
    """Return weighted targets with the weights as one more column, [B,C+1], to be mixed as targets are.

    What `unweigh` then gives makes a loss that is linear in the target lam·w_a·L(a) + (1−lam)·w_b·L(b).
    """
    held_BC = targets_BC.new_empty((len(targets_BC), targets_BC.shape[1] + 1))
    held_BC[:, :-1], held_BC[:, -1] = targets_BC * weights_B[:, None], weights_B
    return held_BC


def unweigh(held_BC: Tensor) -> tuple[Tensor, Tensor]:
    """Return the targets and the weights of rows that `weigh` made and that may have been mixed since."""
    weights_B = held_BC[:, -1]
    return held_BC[:, :-1] / weights_B[:, None].clamp(min=1e-12), weights_B

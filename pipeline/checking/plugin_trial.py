"""Try a user's own loss, mixer and views on random numbers, so that what is wrong with them is said before training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.config.config import Config
from pipeline.methods import mixing, tta
from pipeline.methods.tasks import TASKS
from pipeline.plugins import file_of


def problems(config: Config) -> list[str]:
    """Return what is wrong with the functions that the config names as FILE.py:function, each with its key."""
    looks = {config.loss.name: _try_loss, config.mix.kind: _try_mixer}
    looks |= {view: partial(_try_view, view) for view in config.views}
    found = []
    for name, look in looks.items():
        if file_of(name) is not None:
            try:
                look(config)
            except ValueError as error:
                found.append(str(error))
    return found


def _try_loss(config: Config) -> None:
    """Raise ValueError where the loss has no finite slope in the outputs."""
    name, draws = config.loss.name, torch.Generator().manual_seed(0)
    outputs_BC = torch.randn(4, 3, generator=draws, requires_grad=True)
    targets_BC = torch.randn(4, 3, generator=draws).softmax(-1)
    loss = TASKS[config.data.task].loss(name)
    found_B = _called("loss.name", name, lambda: loss.function(outputs_BC, targets_BC))
    if not found_B.requires_grad or not torch.isfinite(found_B).all():
        raise ValueError(f"loss.name: {name} returned {found_B}, expected finite losses that depend on the outputs")
    (slopes_BC,) = torch.autograd.grad(found_B.sum(), outputs_BC)
    if not torch.isfinite(slopes_BC).all() or not slopes_BC.any():
        raise ValueError(f"loss.name: the slopes of {name} are 0 or not finite: nothing could be learnt")


def _try_mixer(config: Config) -> None:
    """Raise ValueError where the mixer returns no such images or no share, or writes into what it is given."""
    kind, mix = config.mix.kind, config.mix
    images_BCHW, before = _images(config)
    partner_BCHW, draws = images_BCHW.flip(0), np.random.default_rng(0)
    mixer = mixing.find(kind)
    found = _called("mix.kind", kind, lambda: mixer(images_BCHW, partner_BCHW, draws, mix.alpha, mix.patch))
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], Tensor)):
        raise ValueError(f"mix.kind: {kind} returned {type(found).__name__}, expected (images_BCHW, lam)")
    if found[0].shape != before.shape or not 0 <= float(found[1]) <= 1:
        what = f"images {tuple(found[0].shape)} and lam {found[1]}"
        raise ValueError(f"mix.kind: {kind} returned {what}, expected {tuple(before.shape)} and a share of 0 to 1")
    _unchanged("mix.kind", kind, images_BCHW, before)


def _try_view(name: str, config: Config) -> None:
    """Raise ValueError where the view returns other than a batch of such images, or writes into what it is given."""
    images_BCHW, before = _images(config)
    found = _called("tta", name, lambda: tta.apply(name, images_BCHW))
    if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[:2] != before.shape[:2]:
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"tta: {name} returned {what}, expected images like {tuple(before.shape)}")
    _unchanged("tta", name, images_BCHW, before)


def _images(config: Config) -> tuple[Tensor, Tensor]:
    """Return two random images, twice."""
    shape = (2, config.data.in_chans, *config.model.size_hw)
    images_BCHW = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return images_BCHW, images_BCHW.clone()


def _unchanged(key: str, name: str, images_BCHW: Tensor, before: Tensor) -> None:
    if not torch.equal(images_BCHW, before):
        raise ValueError(f"{key}: {name} changes the images that it is given; copy them first, as with clone()")


def _called(key: str, name: str, function: Callable[[], Any]) -> Any:
    """Return what the user's function gives; raise ValueError with what it raised."""
    try:
        return function()
    except Exception as error:
        raise ValueError(f"{key}: {name} raised {type(error).__name__}: {error}") from error

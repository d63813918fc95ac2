"""Find what a config asks of libraries, other runs and the user's functions that they do not give, before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pipeline.batches import augmentation
from pipeline.config.config import Config
from pipeline.errors import FoldlineError, InputError, Problem, Refused, problems_of
from pipeline.methods import mixing, tta
from pipeline.methods.tasks import TASKS
from pipeline.models.sources import check_name
from pipeline.plugins import file_of
from pipeline.training.optimizer import check_optimizer
from pipeline.training.teaching import teacher


def problems(config: Config) -> list[Problem]:
    """Return what is wrong with model, optimizer, transforms, teachers and the user's functions, all together."""
    looks: tuple[Callable[[], object], ...] = (
        lambda: check_name(config.model.name),
        lambda: check_optimizer(config.train.optimizer),
        lambda: augmentation.of(config),
    )
    found = teacher.problems(config)
    for look in looks:
        try:
            look()
        except FoldlineError as error:
            found += error.problems
        except ValueError as error:
            found += problems_of(error)
    return found + plugin_problems(config)


def plugin_problems(config: Config) -> list[Problem]:
    """Try the loss, mixer and views that the config names as FILE.py:function on random numbers."""
    trials: Sequence[tuple[str, str, Callable[[Config], None]]] = (
        ("loss.name", config.loss.name, _try_loss),
        ("mix.kind", config.mix.kind, _try_mixer),
        *(("tta", view, partial(_try_view, view)) for view in config.views),
    )
    found: list[Problem] = []
    for key, name, trial in trials:
        if file_of(name) is None:
            continue
        try:
            trial(config)
        except (Refused, InputError) as error:
            found += [problem.below(key, ": ") for problem in error.problems]
    return found


def _try_loss(config: Config) -> None:
    """Raise Refused where the loss has no finite slope in the outputs."""
    name, rng = config.loss.name, torch.Generator().manual_seed(0)
    outputs_BC = torch.randn(4, 3, generator=rng, requires_grad=True)
    targets_BC = torch.randn(4, 3, generator=rng).softmax(-1)
    found_B = TASKS[config.data.task].loss(name).function(outputs_BC, targets_BC)
    if not torch.isfinite(found_B).all():
        raise Refused(Problem("", f"{name} returned {found_B}", "finite losses"))
    (slopes_BC,) = torch.autograd.grad(found_B.sum(), outputs_BC)
    if not torch.isfinite(slopes_BC).all() or not slopes_BC.any():
        raise Refused(Problem("", f"the slopes of {name} are 0 or not finite: nothing could be learnt"))


def _try_mixer(config: Config) -> None:
    """Raise Refused where the mixer returns no such images or no share, or writes into what it is given."""
    kind, mix, images_BCHW = config.mix.kind, config.mix, _images(config)
    before = images_BCHW.clone()
    mixing.find(kind)(images_BCHW, images_BCHW.flip(0), np.random.default_rng(0), mix.alpha, mix.patch)
    if not torch.equal(images_BCHW, before):
        found = f"{kind} changes the images that it is given"
        raise Refused(Problem("", found, remedy="copy them first, as with clone()"))


def _try_view(name: str, config: Config) -> None:
    """Raise InputError where the view returns other than a batch of such images."""
    tta.apply(name, _images(config))


def _images(config: Config) -> Tensor:
    """Return two random images."""
    shape = (2, config.data.in_chans, *config.model.size_hw)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))

"""Sections `model` and `loss`: the network, and what it learns to make small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.sections.section import Count, FirstShare, Layers, Positive, Section, Share, Size, TextKeys, square
from pipeline.errors import some
from pipeline.methods.losses import LOSSES
from pipeline.methods.losses import find as find_loss
from pipeline.plugins import file_of


def _loss(name: str) -> str:
    find_loss(name)
    return name


class Model(Section):
    name: str  # a timm name, torchvision/NAME, or FILE.py:function, called with (classes, in_chans, size_hw)
    pretrained: bool | str = True  # true: the hub's weights; a path: a local file
    size: Size = 224
    # weights that stay as they are: backbone, module names, the first N weight layers, or the first layers that
    # hold at most this share of the weight tensors
    freeze: Literal["backbone"] | Layers | FirstShare | list[str] | None = None
    thaw_epoch: Count | None = None  # epochs after which what is frozen learns too; null: never
    drop_rate: Share | None = None
    drop_path_rate: Share | None = None
    pool: str | None = None  # timm's global_pool: avg, max, avgmax, catavgmax; gem: a learnt power mean
    zero_head: bool = False  # zero-initialised head: training starts from equal probabilities
    stem: Literal["small"] | None = None  # ResNets on small images: 3×3 of stride 1 and no pooling
    multi_dropout: Annotated[int, Field(ge=0)] = 0  # dropout masks before the head, whose logits are averaged
    aux_weight: Annotated[float, Field(ge=0)] = 0.3  # of the auxiliary heads' losses (GoogLeNet), training only
    grad_checkpointing: bool = False  # less memory, more time: activations are computed again going backward

    @property
    def size_hw(self) -> tuple[int, int]:
        """Return the size as (height, width)."""
        return square(self.size)

    @model_validator(mode="after")
    def _makes_sense(self) -> Model:
        problems = []
        if self.thaw_epoch is not None and self.freeze is None:
            problems.append(f"found thaw_epoch {self.thaw_epoch}, but nothing is frozen: set model.freeze")
        if self.multi_dropout and self.drop_rate == 0:
            problems.append(
                f"found multi_dropout {self.multi_dropout} with drop_rate 0: all masks would be equal; set "
                "model.drop_rate above 0, or null for 0.5"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self


class LossConfig(Section):
    name: Annotated[str, AfterValidator(_loss)] = "cross_entropy"  # a name, or FILE.py:function
    gamma: Annotated[float, Field(ge=0)] | None = None  # focal: how much easy rows are turned down; null: 2
    gamma_pos: Annotated[float, Field(ge=0)] | None = None  # asymmetric: the same for labels that are there; null: 0
    gamma_neg: Annotated[float, Field(ge=0)] | None = None  # asymmetric: … that are not; null: 4
    clip: Annotated[float, Field(ge=0, lt=1)] | None = None  # asymmetric: what absent labels may claim; null: 0.05
    beta: Positive | None = None  # smooth_l1: error, in spreads, from which it grows linearly; null: 1
    label_smoothing: Share = 0.0  # y ← (1−e)·y + e/K; towards ½ for multilabel
    smooth_over: Literal["all", "others"] = "all"  # others: y ← (1−e)·y + e·(1−y)/(K−1); K is 2 for multilabel
    # weight of a class in the loss, scaled to a mean of 1 over the fold's training rows; of a multilabel column the
    # labels that are there. balanced: as if all classes were equally frequent; sqrt: half way; 1 where not named
    class_weights: TextKeys[Literal["balanced", "sqrt"] | dict[str, Positive] | None] = None

    @property
    def options(self) -> dict[str, float]:
        """Return the numbers that the loss function takes, its own where null."""
        found = {key: (getattr(self, key), own) for key, own in find_loss(self.name).options.items()}
        return {key: own if given is None else given for key, (given, own) in found.items()}

    def class_problems(self, classes: Sequence[str]) -> list[str]:
        """Return which classes with a weight of their own are none."""
        named = self.class_weights if isinstance(self.class_weights, dict) else {}
        unknown = [name for name in named if name not in classes]
        return [f"loss.class_weights: unknown class '{name}'; known: {some(classes)}" for name in unknown]

    @model_validator(mode="after")
    def _own_options(self) -> LossConfig:
        known = {key for loss in LOSSES.values() for key in loss.options}
        problems = []
        for key in sorted(known - set(find_loss(self.name).options)):
            if getattr(self, key) is not None:
                fitting = ", ".join(name for name, loss in LOSSES.items() if key in loss.options)
                problems.append(f"{key}: found {getattr(self, key):g}, but {self.name} takes no {key}; {fitting} does")
        if self.class_weights is not None and find_loss(self.name).batch:
            problems.append(f"class_weights: {self.name} counts every class alike already; leave them out")
        if self.class_weights is not None and file_of(self.name) is not None:
            problems.append(
                f"class_weights: {self.name} may not be linear in the target, as they need it; weigh classes inside it"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self

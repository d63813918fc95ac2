"""Sections `model` and `loss`: the network, and what it learns to make small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.sections.section import (
    Affects,
    Count,
    FirstShare,
    Layers,
    Positive,
    Section,
    Share,
    Size,
    TextKeys,
    found_by,
    key,
    square,
)
from pipeline.errors import Problem, Refused, some
from pipeline.methods.losses import LOSSES, PLUGIN, Loss
from pipeline.methods.losses import find as find_loss
from pipeline.plugins import file_of, permit

A = Affects


class Model(Section):
    """The network."""

    name: str = key(
        ...,
        A.TRAINING | A.NETWORK,
        "A timm name, torchvision/NAME, or FILE.py:function, called with (classes, in_chans, size_hw).",
        plugin=permit,  # its file imports torch: it is executed where the network is built
    )
    pretrained: bool | str = key(True, A.TRAINING, "true: the hub's weights; false: none; a path: a local file.")
    size: Size = key(224, A.IMAGES | A.TRAINING | A.PREDICTION, "Pixels: a square, or height and width.")
    freeze: Literal["backbone"] | Layers | FirstShare | list[str] | None = key(
        None,
        A.TRAINING,
        "Weights that stay as they are: backbone, module names, the first N weight layers, or the first layers "
        "that hold at most this share of the weight tensors.",
    )
    thaw_epoch: Count | None = key(
        None, A.TRAINING, "Epochs after which what is frozen learns too; null: never.", later=True
    )
    drop_rate: Share | None = key(None, A.TRAINING, "Dropout before the head; null: the model's own.")
    drop_path_rate: Share | None = key(None, A.TRAINING, "Stochastic depth; null: the model's own.")
    pool: str | None = key(
        None,
        A.TRAINING | A.NETWORK,
        "timm's global_pool: avg, max, avgmax, catavgmax; gem: a learnt power mean; null: the model's own.",
    )
    zero_head: bool = key(False, A.TRAINING, "Zero-initialised head: training starts from equal probabilities.")
    stem: Literal["small"] | None = key(
        None, A.TRAINING | A.NETWORK, "small: ResNets for small images, 3×3 of stride 1 and no pooling.", later=True
    )
    multi_dropout: Annotated[int, Field(ge=0)] = key(
        0, A.TRAINING, "Dropout masks before the head, whose logits are averaged.", later=True
    )
    aux_weight: Annotated[float, Field(ge=0)] = key(
        0.3, A.TRAINING, "Weight of auxiliary heads' losses (GoogLeNet), in training only.", later=True
    )
    grad_checkpointing: bool = key(
        False, A.TRAINING, "Less memory, more time: activations are computed again going backward.", later=True
    )

    @property
    def size_hw(self) -> tuple[int, int]:
        """Return the size as (height, width)."""
        return square(self.size)

    @model_validator(mode="after")
    def _makes_sense(self) -> Model:
        problems = []
        if self.thaw_epoch is not None and self.freeze is None:
            problems.append(Problem("", f"found thaw_epoch {self.thaw_epoch}, but nothing is frozen: set model.freeze"))
        if self.multi_dropout and self.drop_rate == 0:
            found = f"found multi_dropout {self.multi_dropout} with drop_rate 0: all masks would be equal"
            problems.append(Problem("", found, remedy="set model.drop_rate above 0, or null for 0.5"))
        if problems:
            raise Refused(*problems)
        return self


class LossConfig(Section):
    """What the network learns to make small."""

    name: Annotated[str, found_by(find_loss)] = key(
        "cross_entropy", A.TRAINING | A.NETWORK | A.PREDICTION, "A name, or FILE.py:function.", plugin=find_loss
    )
    gamma: Annotated[float, Field(ge=0)] | None = key(
        None, A.TRAINING, "focal: how much easy rows are turned down; null: 2.", later=True
    )
    gamma_pos: Annotated[float, Field(ge=0)] | None = key(
        None, A.TRAINING, "asymmetric: the same for labels that are there; null: 0.", later=True
    )
    gamma_neg: Annotated[float, Field(ge=0)] | None = key(
        None, A.TRAINING, "asymmetric: the same for labels that are not there; null: 4.", later=True
    )
    clip: Annotated[float, Field(ge=0, lt=1)] | None = key(
        None, A.TRAINING, "asymmetric: probability that absent labels may claim for nothing; null: 0.05.", later=True
    )
    beta: Positive | None = key(
        None, A.TRAINING, "smooth_l1: error, in spreads, from which it grows linearly; null: 1.", later=True
    )
    label_smoothing: Share = key(0.0, A.TRAINING, "Targets become (1−e)·y + e/K; towards ½ for multilabel.")
    smooth_over: Literal["all", "others"] = key(
        "all", A.TRAINING, "others: (1−e)·y + e·(1−y)/(K−1); K is 2 for multilabel.", later=True
    )
    class_weights: TextKeys[Literal["balanced", "sqrt"] | dict[str, Positive] | None] = key(
        None,
        A.TRAINING,
        "Weight of a class in the loss, scaled to a mean of 1 over the fold's training rows; of a multilabel column "
        "the labels that are there. balanced: as if all classes were equally frequent; sqrt: half way; class -> "
        "weight: 1 where not named.",
        later=True,
    )

    @property
    def _table(self) -> Loss:
        """Return the table's entry; a plugin, which takes no options, is not loaded for what it cannot have."""
        return find_loss(self.name) if file_of(self.name) is None else PLUGIN

    @property
    def options(self) -> dict[str, float]:
        """Return the numbers that the loss function takes, its own where null."""
        found = {name: (getattr(self, name), own) for name, own in self._table.options.items()}
        return {name: own if given is None else given for name, (given, own) in found.items()}

    def class_problems(self, classes: Sequence[str]) -> list[Problem]:
        """Return which classes with a weight of their own are none."""
        named = self.class_weights if isinstance(self.class_weights, dict) else {}
        unknown = [name for name in named if name not in classes]
        return [
            Problem("loss.class_weights", f"unknown class '{n}'", remedy=f"known: {some(classes)}") for n in unknown
        ]

    @model_validator(mode="after")
    def _own_options(self) -> LossConfig:
        known = {name for loss in LOSSES.values() for name in loss.options}
        problems = []
        for name in sorted(known - set(self._table.options)):
            if getattr(self, name) is not None:
                fitting = ", ".join(one for one, loss in LOSSES.items() if name in loss.options)
                found = f"found {getattr(self, name):g}, but {self.name} takes no {name}"
                problems.append(Problem(name, found, remedy=f"{fitting} does"))
        if self.class_weights is not None and self._table.batch:
            why = f"{self.name} counts every class alike already"
            problems.append(Problem("class_weights", why, remedy="leave them out"))
        if self.class_weights is not None and file_of(self.name) is not None:
            why = f"{self.name} may not be linear in the target, as they need it"
            problems.append(Problem("class_weights", why, remedy="weigh classes inside it"))
        if problems:
            raise Refused(*problems)
        return self

"""Sections `augment`, `mix`, `train`, `distill` and `pseudo`: how the network learns, and from what beside the rows."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.sections.section import Count, Positive, Section, Seed, Share, Size, one_of
from pipeline.errors import lookup
from pipeline.methods.mixing import MIXERS, PATCHES
from pipeline.methods.mixing import find as find_mixer
from pipeline.methods.presets import PRESETS
from pipeline.methods.schedules import OWN_WARMUP, SCHEDULES


class Augment(Section):
    train: str | list[dict[str, Any]] = "medium"  # a preset, or Albumentations transforms

    @field_validator("train")
    @classmethod
    def _known(cls, value: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
        if isinstance(value, str):
            lookup(PRESETS, value, "preset")
        return value


class Mix(Section):
    kind: Annotated[str, one_of("mix kind", {"none": None}, MIXERS, own=find_mixer)] = "none"  # FILE.py:function
    patch: Annotated[str, one_of("patch", PATCHES)] = "box"
    alpha: Positive = 1.0
    prob: Share = 0.5
    off_last_epochs: Annotated[int, Field(ge=0)] = 0


class DisturbValues(Section):
    """Noise on targets of a regression, drawn anew each epoch."""

    share: Annotated[float, Field(gt=0, le=1)]  # of the rows
    std: Positive  # of the noise, in units of each column's spread


class SizeUntil(Section):
    """An image size for the first epochs."""

    until: Annotated[float, Field(gt=0, lt=1)]  # share of the epochs by which it ends
    size: Size


class Train(Section):
    epochs: Count = 10
    batch_size: Count = 32  # global, over all processes
    lr: Positive = 3e-4
    min_lr: Annotated[float, Field(ge=0)] = 0.0
    optimizer: str = "adamw"  # any of timm's
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None  # lr factor per layer below the head
    schedule: Annotated[str, one_of("schedule", SCHEDULES)] = "cosine"
    step_epochs: Positive = 3.0  # schedule step: epochs between drops
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.5  # schedules step and plateau: factor of a drop
    plateau_patience: Annotated[int, Field(ge=0)] = 3  # schedule plateau: epochs without a better valid loss
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0  # below epochs; one_cycle has its own
    accumulate: Count = 1  # batches per optimizer step
    subset: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the groups trained on; all rows are validated
    # rows drawn with replacement, as many as there are: each class equally often, half way there, or by data.weight,
    # which then weighs nothing in the loss
    sampling: Literal["balanced", "sqrt", "weighted"] | None = None
    disturb_labels: Annotated[float, Field(gt=0, le=100)] | None = None  # percent of labels drawn anew each epoch
    disturb_values: DisturbValues | None = None
    # sizes to begin with, such as [{until: 0.5, size: 160}], in order; then model.size, at which all is validated
    sizes: Annotated[list[SizeUntil], Field(min_length=1)] | None = None
    clip_grad: Positive | None = 1.0  # norm
    ema: bool = True
    ema_decay: Annotated[float, Field(gt=0, lt=1)] = 0.998
    average: Literal["swa"] | None = None  # swa: the mean of the weights after each of the last epochs, without ema
    average_epochs: Annotated[int, Field(ge=2)] | None = None  # how many; null: a quarter of epochs, at least 2
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: bool | None = None  # null: where it is safe
    compile: bool = False
    seed: Seed = 42
    # several: the runs RUN-s1, RUN-s2, … with one of them each, which are blended as RUN; `seed` then trains nothing
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = None
    keep: Literal["last", "best"] = "last"
    monitor: Literal["metric", "loss"] = "metric"  # what `best` and `patience` watch
    patience: Count | None = None  # epochs without improvement before training stops
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    workers: Annotated[int, Field(ge=0)] | None = None  # loader processes; null: 0 on a CPU
    threads: Count | None = None  # null: the cores this process may use
    # folds trained at once, by a process each with its share of the cores or a GPU of its own: with small networks,
    # or several GPUs, much faster than one after another. auto: as many as there are GPUs, without any as cores
    parallel_folds: Count | Literal["auto"] = 1

    @field_validator("batch_size")
    @classmethod
    def _pairs(cls, value: int) -> int:
        if value < 2:  # mixing needs a second row too
            raise ValueError(f"found {value}, expected at least 2: BatchNorm needs two rows in every step")
        return value

    @property
    def averaged(self) -> int:
        """Return of how many of the last epochs the weights are averaged; 0: of none."""
        return 0 if self.average is None else self.average_epochs or max(2, self.epochs // 4)

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError(f"found {value}, expected each seed once")
        return value

    @model_validator(mode="after")
    def _rises_and_falls(self) -> Train:
        problems = []
        if self.min_lr > self.lr:
            problems.append(f"found min_lr {self.min_lr:g}, expected at most lr, {self.lr:g}")
        if self.warmup_epochs >= self.epochs and self.schedule not in OWN_WARMUP:
            problems.append(
                f"found warmup_epochs {self.warmup_epochs:g} of {self.epochs} epochs, so that lr would never be "
                f"reached; expected fewer than epochs: set train.warmup_epochs={self.epochs / 4:g} or 0"
            )
        problems += self._average_problems() + self._size_problems()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _average_problems(self) -> list[str]:
        if self.average is None:
            set_alone = self.average_epochs is not None
            return [f"found average_epochs {self.average_epochs}, but no average: set average: swa"] * set_alone
        checks = {
            f"found average swa of {self.averaged} epochs, expected at most epochs, {self.epochs}": (
                self.averaged > self.epochs
            ),
            "found average swa and ema, two means of the same weights: set train.ema: false": self.ema,
            "found average swa and keep best, which keeps one epoch: set train.keep: last": self.keep == "best",
            f"found average swa and patience {self.patience}, which may end before the last epochs come: set "
            "train.patience: null": self.patience is not None,
        }
        return [problem for problem, wrong in checks.items() if wrong]

    def _size_problems(self) -> list[str]:
        """Refuse sizes that no epoch has."""
        sizes, found, before = self.sizes or [], [], 0
        if any(one.until >= other.until for one, other in itertools.pairwise(sizes)):
            found.append(f"sizes: found until {', '.join(f'{one.until:g}' for one in sizes)}, expected rising shares")
            return found
        for one in sizes:
            until = math.ceil(one.until * self.epochs - 1e-9)
            if until == before:
                found.append(f"sizes: until {one.until:g} of {self.epochs} epochs gives size {one.size} none of them")
            elif until == self.epochs:
                found.append(f"sizes: until {one.until:g} of {self.epochs} epochs leaves model.size none of them")
            before = until
        return found


class Taught(Section):
    """What is learnt from another run, which stands on the same folds."""

    teacher: str | None = None  # a run's name or folder; null: nothing

    @model_validator(mode="after")
    def _has_teacher(self) -> Taught:
        if self.teacher is None and (changed := self.model_dump(exclude_defaults=True)):
            raise ValueError(f"found {', '.join(changed)}, but no teacher: name the run to learn from")
        return self


class Distill(Taught):
    """Targets drawn towards what the teacher predicts of rows that its models did not train on."""

    weight: Annotated[float, Field(gt=0, le=1)] = 0.3  # targets become (1 − weight)·truth + weight·prediction


class Pseudo(Taught):
    """Further rows to train on: images without a label of which the teacher is sure; fold k asks its model k alone."""

    threshold: Share = 0.9  # least probability of the label; multilabel: of each cell's answer; 0: all rows
    images: str | None = None  # a folder, archive or table, as `predict --test` takes; null: the competition's test
    weight: Positive = 1.0  # of each such row in the loss
    soft: bool = False  # learn the probabilities themselves

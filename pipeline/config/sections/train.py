"""Sections `augment`, `mix`, `train`, `distill` and `pseudo`: how the network learns, and from what beside the rows."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.sections.section import Affects, Count, Item, Positive, Section, Seed, Share, Size, key, one_of
from pipeline.errors import Problem, Refused, lookup
from pipeline.methods.mixing import MIXERS, PATCHES
from pipeline.methods.mixing import find as find_mixer
from pipeline.methods.presets import PRESETS
from pipeline.methods.schedules import SCHEDULES, WITH_WARMUP

A = Affects


class Augment(Section):
    """Augmentation of the training images."""

    train: str | list[dict[str, Any]] = key(
        "medium", A.TRAINING | A.PREDICTION, "A preset, or a list of Albumentations transforms."
    )

    @field_validator("train")
    @classmethod
    def _known(cls, value: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
        if isinstance(value, str):
            lookup(PRESETS, value, "preset")
        return value


class Mix(Section):
    """Mixing of a batch with a permutation of itself."""

    kind: Annotated[str, one_of("mix kind", {"none": None}, MIXERS, plugin=True)] = key(
        "none", A.TRAINING, "none, a name, or FILE.py:function.", plugin=find_mixer
    )
    patch: Annotated[str, one_of("patch", PATCHES)] = key("box", A.TRAINING, "cutmix: shape of what is pasted.")
    alpha: Positive = key(1.0, A.TRAINING, "The share kept is drawn from Beta(alpha, alpha).")
    prob: Share = key(0.5, A.TRAINING, "Probability that a batch is mixed.")
    off_last_epochs: Annotated[int, Field(ge=0)] = key(0, A.TRAINING, "Last epochs without mixing.")


class DisturbValues(Item):
    """Noise on targets of a regression, drawn anew each epoch."""

    share: Annotated[float, Field(gt=0, le=1)] = Field(description="Share of the rows.")
    std: Positive = Field(description="Spread of the noise, in units of each column's spread.")


class SizeUntil(Item):
    """An image size for the first epochs."""

    until: Annotated[float, Field(gt=0, lt=1)] = Field(description="Share of the epochs by which it ends.")
    size: Size = Field(description="The size until then.")


class Train(Section):
    """How a fold's network learns."""

    epochs: Count = key(10, A.TRAINING, "Passes over the fold's training rows.")
    batch_size: Count = key(32, A.TRAINING, "Rows of a step, over all processes.")
    lr: Positive = key(3e-4, A.TRAINING, "Peak learning rate.")
    min_lr: Annotated[float, Field(ge=0)] = key(0.0, A.TRAINING, "Learning rate at which schedules end.")
    optimizer: str = key("adamw", A.TRAINING, "Any of timm's.")
    weight_decay: Annotated[float, Field(ge=0)] = key(0.02, A.TRAINING, "Weight decay, not of biases and norms.")
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = key(
        None, A.TRAINING, "Factor of the learning rate for each layer below the head; null: one rate for all."
    )
    schedule: Annotated[str, one_of("schedule", SCHEDULES)] = key(
        "cosine", A.TRAINING, "Course of the learning rate, counted in optimizer steps."
    )
    step_epochs: Positive = key(3.0, A.TRAINING, "Schedule step: epochs between drops.")
    gamma: Annotated[float, Field(gt=0, lt=1)] = key(0.5, A.TRAINING, "Schedules step and plateau: factor of a drop.")
    plateau_patience: Annotated[int, Field(ge=0)] = key(
        3, A.TRAINING, "Schedule plateau: epochs without a better validation loss."
    )
    warmup_epochs: Annotated[float, Field(ge=0)] = key(
        1.0, A.TRAINING, "Epochs of linear warm-up, fewer than epochs (a quarter of one epoch); one_cycle has its own."
    )
    accumulate: Count = key(1, A.TRAINING, "Batches in an optimizer step.")
    subset: Annotated[float, Field(gt=0, le=1)] = key(
        1.0, A.TRAINING, "Share of the groups trained on; all rows are validated."
    )
    sampling: Literal["balanced", "sqrt", "weighted"] | None = key(
        None,
        A.TRAINING,
        "Rows drawn with replacement, as many as there are: each class equally often, half way there, or by "
        "`data.weight`, which then weighs nothing in the loss.",
        later=True,
    )
    disturb_labels: Annotated[float, Field(gt=0, le=100)] | None = key(
        None, A.TRAINING, "Percent of the labels drawn anew each epoch (DisturbLabel).", later=True
    )
    disturb_values: DisturbValues | None = key(
        None, A.TRAINING, "Noise on a share of the values each epoch (DisturbValue).", later=True
    )
    sizes: Annotated[list[SizeUntil], Field(min_length=1)] | None = key(
        None,
        A.TRAINING,
        "Image sizes to begin with, such as [{until: 0.5, size: 160}], in order; then `model.size`, at which all "
        "is validated.",
        later=True,
    )
    clip_grad: Positive | None = key(1.0, A.TRAINING, "Largest norm of the gradient; null: not clipped.")
    ema: bool = key(True, A.TRAINING, "Validate and keep the exponential moving average of the weights.")
    ema_decay: Annotated[float, Field(gt=0, lt=1)] = key(0.998, A.TRAINING, "Decay of that average for each step.")
    average: Literal["swa"] | None = key(
        None, A.TRAINING, "swa: the mean of the weights after each of the last epochs, without ema.", later=True
    )
    average_epochs: Annotated[int, Field(ge=2)] | None = key(
        None, A.TRAINING, "How many epochs swa averages; null: a quarter of epochs, at least 2.", later=True
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = key(
        "auto", A.TRAINING | A.PREDICTION, "Number format of the network's arithmetic; auto: the fastest safe one."
    )
    channels_last: bool | None = key(None, A.TRAINING, "Memory format; null: where it is safe.")
    compile: bool = key(False, A.TRAINING, "Compile the network with torch.compile.")
    seed: Seed = key(42, A.TRAINING | A.PREDICTION, "The one seed of weights, order, augmentation and mixing.")
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = key(
        None,
        A.TRAINING | A.SUBMISSION,
        "Several: the runs RUN-s1, RUN-s2, … with one of them each, which are blended as RUN; `seed` then trains "
        "nothing.",
        later=True,
    )
    keep: Literal["last", "best"] = key(
        "last", A.TRAINING | A.SCORE, "Epoch that is kept; best is chosen on the rows that it is scored on."
    )
    monitor: Literal["metric", "loss"] = key("metric", A.TRAINING, "What `best` and `patience` watch.")
    patience: Count | None = key(
        None, A.TRAINING | A.SCORE, "Epochs without improvement before training stops; null: it never does."
    )
    min_delta: Annotated[float, Field(ge=0)] = key(0.0, A.TRAINING, "Least change that counts as an improvement.")
    workers: Annotated[int, Field(ge=0)] | None = key(None, A.NOTHING, "Loader processes; null: 0 on a CPU.")
    threads: Count | None = key(None, A.NOTHING, "Threads of the arithmetic; null: the cores this process may use.")
    parallel_folds: Count | Literal["auto"] = key(
        1,
        A.NOTHING,
        "Folds trained at once, by a process each with its share of the cores or a GPU of its own: with small "
        "networks, or several GPUs, much faster than one after another. auto: as many as there are GPUs, without "
        "any as cores.",
    )
    checkpoint_minutes: Positive | None = key(
        10.0,
        A.NOTHING,
        "Minutes between checkpoints inside an epoch, exact to the byte; null: at epochs' ends only.",
    )
    deterministic: bool = key(
        True,
        A.NOTHING,
        "Refuse to continue an unfinished fold where other bytes would come of it: under another precision, device or "
        "number of threads or processes, or with other code or libraries; false: continue, and say what differs.",
    )

    @field_validator("batch_size")
    @classmethod
    def _pairs(cls, value: int) -> int:
        if value < 2:  # mixing needs a second row too
            raise Refused(Problem("", f"found {value}", "at least 2: BatchNorm needs two rows in every step"))
        return value

    @property
    def warmup(self) -> float:
        """Return the epochs of warm-up; a quarter where they would fill the only epoch."""
        return 0.25 if self.warmup_epochs >= self.epochs == 1 else self.warmup_epochs

    @property
    def early_sizes(self) -> list[SizeUntil]:
        """Return the image sizes to begin with; a single epoch has the model's alone."""
        return [] if self.epochs == 1 else self.sizes or []

    @property
    def averaged(self) -> int:
        """Return of how many of the last epochs the weights are averaged; 0: of none."""
        if self.average is None:
            return 0
        return 1 if self.epochs == 1 else self.average_epochs or max(2, self.epochs // 4)

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and len(set(value)) != len(value):
            raise Refused(Problem("", f"found {value}", "each seed once"))
        return value

    @model_validator(mode="after")
    def _rises_and_falls(self) -> Train:
        problems = []
        if self.min_lr > self.lr:
            problems.append(Problem("", f"found min_lr {self.min_lr:g}", f"at most lr, {self.lr:g}"))
        if self.warmup >= self.epochs and self.schedule not in WITH_WARMUP:
            found = (
                f"found warmup_epochs {self.warmup_epochs:g} of {self.epochs} epochs, so that lr would never be reached"
            )
            remedy = f"expected fewer than epochs: set train.warmup_epochs={self.epochs / 4:g} or 0"
            problems.append(Problem("", found, remedy=remedy))
        problems += self._average_problems() + self._size_problems()
        if problems:
            raise Refused(*problems)
        return self

    def _average_problems(self) -> list[Problem]:
        if self.average is None:
            found = Problem("", f"found average_epochs {self.average_epochs}, but no average: set average: swa")
            return [found] if self.average_epochs is not None else []
        checks = {
            f"found average swa of {self.averaged} epochs, expected at most epochs, {self.epochs}": (
                self.averaged > self.epochs
            ),
            "found average swa and ema, two means of the same weights: set train.ema: false": self.ema,
            "found average swa and keep best, which keeps one epoch: set train.keep: last": self.keep == "best",
            f"found average swa and patience {self.patience}, which may end before the last epochs come: set "
            "train.patience: null": self.patience is not None,
        }
        return [Problem("", found) for found, wrong in checks.items() if wrong]

    def _size_problems(self) -> list[Problem]:
        """Refuse sizes that no epoch has."""
        sizes, found, before = self.early_sizes, [], 0
        if any(one.until >= other.until for one, other in itertools.pairwise(sizes)):
            listed = ", ".join(f"{one.until:g}" for one in sizes)
            return [Problem("sizes", f"found until {listed}", "rising shares")]
        for one in sizes:
            until = math.ceil(one.until * self.epochs - 1e-9)
            where = f"until {one.until:g} of {self.epochs} epochs"
            if until == before:
                found.append(Problem("sizes", f"{where} gives size {one.size} none of them"))
            elif until == self.epochs:
                found.append(Problem("sizes", f"{where} leaves model.size none of them"))
            before = until
        return found


class Teaching(Section):
    """What is learnt from another run, which stands on the same folds."""

    teacher: str | None = key(None, A.NOTHING, "Name or folder of the run to learn from; its predictions are hashed.")

    @model_validator(mode="after")
    def _has_teacher(self) -> Teaching:
        if self.teacher is None and (changed := self.model_dump(exclude_defaults=True)):
            raise Refused(Problem("", f"found {', '.join(changed)}, but no teacher: name the run to learn from"))
        return self


class Distill(Teaching):
    """Targets mixed with what the teacher predicts of rows that its models did not train on."""

    weight: Annotated[float, Field(gt=0, le=1)] = key(
        0.3, A.TRAINING, "Targets become (1 − weight)·truth + weight·prediction.", later=True
    )


class Pseudo(Teaching):
    """Further rows to train on: images without a label of which the teacher is sure; fold k asks its model k alone."""

    threshold: Share = key(
        0.9,
        A.TRAINING,
        "Least probability of the label; multilabel: of each cell's answer; 0: all rows.",
        later=True,
    )
    images: str | None = key(
        None, A.NOTHING, "A folder, archive or table, as `predict --test` takes; null: the competition's test."
    )
    weight: Positive = key(1.0, A.TRAINING, "Weight of each such row in the loss.", later=True)
    soft: bool = key(False, A.TRAINING, "Learn the probabilities themselves.", later=True)

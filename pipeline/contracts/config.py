"""Every knob of Foldline, typed and frozen: read it from top to bottom to know what can be set.

YAML is read with the safe loader, later files overlay earlier ones key by key, `--set a.b=v` comes last.
Unknown keys are errors. Nothing is written into a config at run time.
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.contracts import mirrors, ownfiles
from pipeline.contracts.errors import InputError
from pipeline.parts.blenders import BLENDERS
from pipeline.parts.blenders import find as find_blender
from pipeline.parts.lookup import lookup
from pipeline.parts.losses import LOSSES
from pipeline.parts.losses import find as find_loss
from pipeline.parts.metrics import find
from pipeline.parts.mixing import MIXERS, PATCHES
from pipeline.parts.mixing import find as find_mixer
from pipeline.parts.ownfile import file_of
from pipeline.parts.presets import PRESETS
from pipeline.parts.schedules import OWN_WARMUP, SCHEDULES
from pipeline.parts.tuning.named import PRUNERS, SAMPLERS
from pipeline.parts.views import parse_view

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Layers = Annotated[int, Field(ge=1, strict=True)]
FirstShare = Annotated[float, Field(gt=0, lt=1, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy and scikit-learn take
Size = Count | tuple[Count, Count]  # pixels; one number is a square, two are height, width
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


def _in(what: str, *tables: Mapping[str, object], own: Callable[[str], object] | None = None) -> AfterValidator:
    """Refuse a name that stands in none of the tables, as they are when the config is read.

    `own` finds a user's own, FILE.py:function, where that is possible.
    """

    def known(value: str) -> str:
        if own is not None and file_of(value) is not None:
            own(value)
        else:
            lookup({name: None for table in tables for name in table}, value, what)
        return value

    return AfterValidator(known)


def _metric(name: str) -> str:
    find(name)
    return name


def _loss(name: str) -> str:
    find_loss(name)
    return name


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Cache(Section):
    """Decoded, resized images, shared by folds, epochs, views, runs and trials."""

    dir: str | None = "runs/.cache"  # null: decode every time
    size: Literal["auto"] | Size = "auto"  # auto: model.size
    max_gb: Positive | None = None  # null: what the disk has free, less a reserve


class Join(Section):
    """A further table whose columns are added to the rows that share a key with it."""

    table: str  # read as data.train is
    on: str  # column of the rows
    key: str | None = None  # column of the table, each value once; null: called like `on`
    rows: Literal["both", "train", "test"] = "both"

    @model_validator(mode="before")
    @classmethod
    def _on(cls, value: Any) -> Any:
        """Take YAML's truth value for the key `on`, which it reads a plain on as."""
        return {"on" if key is True else key: cell for key, cell in value.items()} if isinstance(value, dict) else value


class Derived(Section):
    """How a new column comes from another one: exactly one of pattern, edges and values."""

    column: str
    pattern: str | None = None  # regular expression that finds the value: its first group, or all that it matches
    edges: Annotated[list[float], Field(min_length=1)] | None = None  # [29, 59]: below 29, 29 to below 59, from 59 on
    names: list[str] | None = None  # of the classes that edges make; null: 0, 1, …
    values: dict[str, str] | None = None  # cell -> new cell; a cell that is not there stays as it is

    @model_validator(mode="after")
    def _one_way(self) -> Derived:
        ways = [name for name in ("pattern", "edges", "values") if getattr(self, name) is not None]
        problems = []
        if len(ways) != 1:
            problems.append(f"found {' and '.join(ways) or 'none of them'}, expected one of pattern, edges, values")
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                problems.append(f"pattern: found {self.pattern!r}, no regular expression: {error}")
        if self.edges is not None and any(a >= b for a, b in itertools.pairwise(self.edges)):
            problems.append(f"edges: found {self.edges}, expected rising numbers")
        if self.names is not None and len(self.names) != len(self.edges or ()) + 1:
            problems.append(f"names: found {len(self.names)}, expected one more than edges")
        if problems:
            raise ValueError("\n".join(problems))
        return self


class Arrays(Section):
    """Images that are flat lists of numbers inside the records of a JSON file, one plane per column."""

    columns: Annotated[list[str], Field(min_length=1, max_length=16)]
    shape: tuple[Count, Count]  # height, width


class Extra(Section):
    """Rows that are trained on and never validated; their ids get the prefix `extra:`."""

    table: str  # read as data.train is; its columns are those of the training table
    image: str | None = None  # null: data.image
    weight: Positive = 1.0  # of each row in the loss


Images = str | Annotated[list[str], Field(min_length=1, max_length=16)] | Arrays


class Data(Section):
    """Where the competition's files are and how to read them. Paths are relative to root.

    A table is a CSV or TSV, a JSON file (COCO's images + annotations + categories, or a list of records), a
    folder whose sub-folders are the classes (columns path, label, file), a template of file names whose
    fields become columns ("train/{kind}.{n}.jpg"), or "re:" and a regular expression with named groups over
    the paths below root. A folder may lie in a zip or tar file: "train.zip/{id}.jpg".
    """

    root: str
    train: str | Annotated[list[str], Field(min_length=1)] = "train.csv"  # several: one below the other
    test: str | None = None  # null: ids come from the sample submission
    sample_submission: str = "sample_submission.csv"
    joins: list[Join] = []
    derive: dict[str, str | Derived] = {}  # new column -> template over columns, or how it comes from one; in order
    where: dict[str, list[str]] = {}  # training rows that are kept: column -> its cells
    duplicates: Literal["error", "first", "soft"] = "error"  # an id in several rows; soft: their labels' mean
    missing: Literal["error", "skip"] = "error"  # skip: images that are absent or damaged cost their rows alone
    id: str = "id"
    predict_id: str | None = None  # "{patient_id}_{side}": what is predicted, where several images make one
    pool: Literal["mean", "max"] = "mean"  # of the images of one predict_id
    image: Images  # template over the row's columns: "images/{image_id}.jpg"; one per plane; or arrays in records
    test_image: Images | None = None  # the same for test rows, where it differs
    channels: Annotated[int, Field(ge=1, le=16)] | None = None  # of the network's input; null: 3, or the planes
    window: tuple[float, float] | None = None  # values that are black and white beyond 8 bits; floats need it
    task: Literal["binary", "multiclass", "multilabel", "ordinal", "regression"] = "multiclass"
    target: str | Annotated[list[str], Field(min_length=1)]
    heads: bool = False  # several target columns: a head for each, their product the composite classes
    classes: list[str] | None = None  # order of the classes of a label column; null: sorted
    separator: str | None = None  # where one cell holds several labels
    empty: str | None = None  # what a cell without any label holds, beside nothing
    range: tuple[float, float] | None = None  # regression: smallest and largest possible value
    group: str | None = None  # rows of one group never cross folds
    # mirror images of which the label is another one, such as left and right: views and transforms then keep off
    flips_change_labels: Literal["horizontal", "vertical", "both"] | None = None
    weight: str | None = None  # column of each row's weight in the loss
    extra: list[Extra] = []
    solution: str | None = None  # held-back labels of an example, read by its last line alone
    cache: Cache = Cache()

    @field_validator("derive", "where", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return _with_text_keys(value)

    @field_validator("window")
    @classmethod
    def _wide(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] == value[1]:
            raise ValueError(f"found {list(value)}, expected two different values")
        return value

    @property
    def targets(self) -> list[str]:
        """Return the target columns as a list, also where there is one."""
        return [self.target] if isinstance(self.target, str) else self.target

    @property
    def tables(self) -> list[str]:
        """Return the training tables as a list, also where there is one."""
        return [self.train] if isinstance(self.train, str) else self.train

    @property
    def in_chans(self) -> int:
        """Return the channels of the network's input."""
        if self.channels is not None or isinstance(self.image, str):
            return self.channels or 3
        return len(self.image.columns if isinstance(self.image, Arrays) else self.image)


class Folds(Section):
    scheme: Literal["auto", "stratified", "group", "stratified_group", "multilabel", "multilabel_group", "holdout"] = (
        "auto"
    )
    n: Annotated[int, Field(ge=2)] = 5
    seed: Seed = 42
    stratify: str | list[str] | None = None  # further columns beside the target
    bins: Annotated[int, Field(ge=2)] = 10  # numeric stratify columns are cut into this many quantile bins
    valid_share: Annotated[float, Field(gt=0, lt=1)] = 0.2  # scheme holdout: share of the rows validated
    rare: Literal["validate", "train"] = "validate"  # train: rows of rare classes are trained on in every fold
    rare_below: Annotated[int, Field(ge=2)] | None = None  # rows that make a class no longer rare; null: folds.n


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
        return _square(self.size)

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


class Augment(Section):
    train: str | list[dict[str, Any]] = "medium"  # a preset, or Albumentations transforms

    @field_validator("train")
    @classmethod
    def _known(cls, value: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
        if isinstance(value, str):
            lookup(PRESETS, value, "preset")
        return value


class Mix(Section):
    kind: Annotated[str, _in("mix kind", {"none": None}, MIXERS, own=find_mixer)] = "none"  # FILE.py:function
    patch: Annotated[str, _in("patch", PATCHES)] = "box"
    alpha: Positive = 1.0
    prob: Share = 0.5
    off_last_epochs: Annotated[int, Field(ge=0)] = 0


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
    class_weights: Literal["balanced", "sqrt"] | dict[str, Positive] | None = None

    @field_validator("class_weights", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return _with_text_keys(value)

    @property
    def options(self) -> dict[str, float]:
        """Return the numbers that the loss function takes, its own where null."""
        found = {key: (getattr(self, key), own) for key, own in find_loss(self.name).options.items()}
        return {key: own if given is None else given for key, (given, own) in found.items()}

    def class_problems(self, classes: Sequence[str]) -> list[str]:
        """Return which classes with a weight of their own are none."""
        named = self.class_weights if isinstance(self.class_weights, dict) else {}
        known = ", ".join(classes[:8]) + (", …" if len(classes) > 8 else "")
        return [f"loss.class_weights: unknown class '{name}'; known: {known}" for name in named if name not in classes]

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
    schedule: Annotated[str, _in("schedule", SCHEDULES)] = "cosine"
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


class Predict(Section):
    batch_size: Count = 64
    # how many classes of a row are kept where they exclude each other: the most probable; null: all;
    # auto: 100 of more than 2,000, else all
    top_k: Literal["auto"] | Count | None = "auto"


class Smoothing(Section):
    alpha: Share | Literal["auto"] = 0.0  # auto: chosen on OOF, cross-fitted
    threshold: Share = 0.9


class Ensemble(Section):
    """How members become one prediction; what is fitted on OOF is scored on folds it did not see."""

    # a name, or FILE.py:function; auto: the best cross-fitted one where it surely beats the mean, else the mean
    blender: Annotated[str, _in("blender", {"auto": None}, BLENDERS, own=find_blender)] = "mean"
    members: list[str] | None = None  # run names or folders; null: this run alone, or those of train.seeds
    # data.heads learnt by runs of their own: target column -> run, or several runs to average; one more member
    compose: Annotated[dict[str, str | Annotated[list[str], Field(min_length=1)]], Field(min_length=1)] | None = None
    compare: list[str] | None = None  # blenders of the comparison; null: all that the metric admits; []: none
    views: Literal["all", "select"] = "all"  # select: weight each run's views of `tta` where it surely helps
    calibrate: Literal["none", "auto", "temperature", "clip"] = "none"  # auto: where it surely helps
    smoothing: Smoothing = Smoothing()
    seed: Seed = 42  # of the resamples behind every interval, and of bagged blenders

    @field_validator("compare")
    @classmethod
    def _all_known(cls, value: list[str] | None) -> list[str] | None:
        problems = []
        for name in value or []:
            try:
                find_blender(name)
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise ValueError("\n".join(problems))
        return value


class Decision(Section):
    """How probabilities become labels or final values; what is fitted is cross-fitted, as blends are."""

    # auto: what the metric rewards, where it surely beats the plain rule (argmax, cells of at least 1/2)
    kind: Literal["auto", "plain", "threshold", "thresholds", "cuts", "round"] = "auto"
    threshold: Share | None = None  # a fixed one for kind threshold; null: fitted
    min_labels: Annotated[int, Field(ge=0)] = 0  # multilabel: the most probable ones fill up
    max_labels: Count | None = None
    alone: str | None = None  # multilabel: a label that excludes all others, as 'healthy' does
    new_class: str | None = None  # its probability is a constant, fitted: what no class claims more than that
    clip: tuple[float, float] | None = None  # regression: null: data.range


class Submission(Section):
    variant: Literal["plain", "tta", "plain_smoothed", "tta_smoothed"] = "tta"
    id: str | None = None  # the sample's id column; null: data.id, whatever its case
    columns: dict[str, str] | None = None  # sample column -> class, where the names differ
    cell: Literal["auto", "probability", "label", "class_id", "top", "value"] = "auto"  # class_id: 0, 1, …
    top: Count | None = None  # cell top: how many labels, the most probable first; null: the metric's K, else 5
    joiner: str | None = None  # between the labels of a cell; null: data.separator, or a space
    labels: dict[str, str] = {}  # class -> what the cell says, where it differs
    composite: str | None = None  # data.heads: a template over the heads, "{mask}-{age}"; null: 0, 1, … in order

    @field_validator("labels", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return _with_text_keys(value)


class Medals(Section):
    """Scores of the private leaderboard, to compare with: only indicative, as its rows were others."""

    gold: float
    silver: float
    bronze: float


class Tune(Section):
    """A study: what is searched, how, and what one trial may cost. In no fingerprint of a run."""

    name: Name | None = None  # of the study; null: the config's
    space: dict[str, Any] | None = None  # dotted key -> {float: […]}, {int: […]} or {choice: […]}; null: the default
    sampler: Annotated[str, _in("sampler", SAMPLERS)] = "tpe"
    # race: paired with the best trial on the same rows, fold by fold
    pruner: Annotated[str, _in("pruner", PRUNERS)] = "race"
    objectives: Annotated[list[Literal["score", "time"]], Field(min_length=1)] = ["score"]  # two: nothing is pruned
    folds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None  # of a trial; null: all
    epochs: Count | None = None  # of a trial, in place of train.epochs
    subset: Annotated[float, Field(gt=0, le=1)] | None = None  # of a trial, in place of train.subset
    size: Size | None = None  # of a trial, in place of model.size
    grid: Annotated[int, Field(ge=2)] = 4  # sampler grid: points of a range
    level: Annotated[float, Field(gt=0, lt=1)] = 0.9  # of the race's intervals
    epoch_rule: bool = True  # end a fold whose curve stays hopelessly below the best trial's
    patience: Count = 2  # epochs in a row that the epoch rule must find hopeless
    fresh_seeds: Annotated[int, Field(ge=0)] = 3  # trainings of the winner on other seeds, over all folds
    fresh_folds: Seed | None = None  # train it on folds of this seed too
    timeout: Positive | None = None  # seconds; a trial that runs by then is finished
    seed: Seed = 42

    @field_validator("space", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return _with_text_keys(value)

    @field_validator("folds")
    @classmethod
    def _once(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError(f"found {value}, expected each fold once")
        return value

    @model_validator(mode="after")
    def _objectives(self) -> Tune:
        if self.objectives[0] != "score" or len(set(self.objectives)) != len(self.objectives):
            raise ValueError(f"objectives: found {self.objectives}, expected [score] or [score, time]")
        if len(self.objectives) > 1 and self.sampler == "cmaes":
            raise ValueError("sampler: cmaes follows one objective; choose tpe, gp, random or grid for two")
        return self


class Config(Section):
    """Hold one experiment: a competition, a recipe and what to submit."""

    name: Name
    run: Name | None = None  # null: name
    runs_dir: str = "runs"
    folds_dir: str = "folds"
    studies_dir: str = "studies"
    data: Data
    folds: Folds = Folds()
    model: Model
    augment: Augment = Augment()
    mix: Mix = Mix()
    loss: LossConfig = LossConfig()
    train: Train = Train()
    distill: Distill = Distill()
    pseudo: Pseudo = Pseudo()
    predict: Predict = Predict()
    metric: Annotated[str, AfterValidator(_metric)] = "accuracy"  # a name, map@K, ndcg@K, or FILE.py:function
    tta: Annotated[list[str], Field(min_length=1)] = ["identity"]
    ensemble: Ensemble = Ensemble()
    decision: Decision = Decision()
    submission: Submission = Submission()
    medals: Medals | None = None
    tune: Tune = Tune()

    @field_validator("tta")
    @classmethod
    def _views(cls, value: list[str]) -> list[str]:
        views, problems = [], []
        for name in value:
            try:
                views += parse_view(name)
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise ValueError("\n".join(problems))
        return list(dict.fromkeys(views))  # d4 and its members may overlap

    @model_validator(mode="after")
    def _fits(self) -> Config:
        from pipeline.contracts.task import TASKS

        problems = TASKS[self.data.task].problems(self) + mirrors.problems(self)
        sizes = [one.size for one in self.train.sizes or ()]
        for size, after in itertools.pairwise([*sizes, self.model.size] if sizes else []):
            if _square(size) == _square(after):
                problems.append(f"train.sizes: found {size} before {after}, which changes nothing; leave it out")
        for key, teacher in (("distill", self.distill.teacher), ("pseudo", self.pseudo.teacher)):
            if teacher is not None and teacher in (self.run_dir.name, str(self.run_dir)):
                problems.append(f"{key}.teacher: found this run itself; name another one, or set another `run`")
        thaw = self.model.thaw_epoch
        if thaw is not None and thaw >= self.train.epochs:
            problems.append(
                f"model.thaw_epoch: found {thaw} of {self.train.epochs} epochs, so that nothing would ever thaw; "
                "expected fewer than train.epochs"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def run_dir(self) -> Path:
        """Return the folder of this run."""
        return Path(self.runs_dir) / (self.run or self.name)

    @property
    def per_seed(self) -> list[Config]:
        """Return the runs to train, each with one seed: this one, or those of `train.seeds`, called RUN-sSEED."""
        if self.train.seeds is None:
            return [self]
        return [
            self.model_copy(
                update={
                    "run": f"{self.run_dir.name}-s{seed}",
                    "train": self.train.model_copy(update={"seed": seed, "seeds": None}),
                }
            )
            for seed in self.train.seeds
        ]

    @property
    def folds_path(self) -> Path:
        """Return the path of the fold table; its report lies beside it as `.json`."""
        return Path(self.folds_dir) / f"{self.name}.csv"

    @property
    def study_dir(self) -> Path:
        """Return the folder of the study's trials; its database lies beside it as `.db`."""
        return Path(self.studies_dir) / (self.tune.name or self.name)

    @property
    def views(self) -> list[str]:
        """Return the views to predict: identity, which is always predicted, then those of `tta`."""
        return list(dict.fromkeys(["identity", *self.tta]))


def _square(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def load(paths: Sequence[str | Path], settings: Iterable[str] = (), *, kept: bool = False) -> Config:
    """Read YAML files, overlay them in order, apply `key=value` settings and validate all at once.

    The user's files that a run's config.yaml names may be gone: the run's own copies take their place, or always
    where `kept`.
    """
    tree: dict[str, Any] = {}
    for path in map(Path, paths):
        read = read_tree(path)
        ownfiles.found_again(read, path.parent, always=kept)
        _overlay(tree, read)
    problems = [problem for setting in settings if (problem := _set(tree, setting))]
    if problems:
        raise InputError(*problems)
    return parse(tree, place=" + ".join(map(str, paths)))


def parse(tree: dict[str, Any], place: str) -> Config:
    """Validate a tree of plain values; raise InputError with every problem."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        expected: dict[str, list[str]] = {}  # a key that takes several types has a problem for each
        for problem in error.errors():
            for found, wanted in _explain(dict(problem)):
                expected.setdefault(found, []).append(wanted)
        lines = ("; ".join(filter(None, (found, ", or ".join(wanted)))) for found, wanted in expected.items())
        raise InputError(*(f"{place}: {line}" for line in lines)) from None


def overlaid(tree: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return a tree of plain values with another one laid over it, key by key, as a second `-c` is."""
    copy = deepcopy(tree)
    _overlay(copy, other)
    return copy


def dump(config: Config) -> str:
    """Return the resolved config as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _with_text_keys(tree: Any) -> Any:
    """Write keys that are numbers, truth values or null as YAML does: they stay the same in a dumped config."""
    if isinstance(tree, list):
        return [_with_text_keys(value) for value in tree]
    if not isinstance(tree, dict):
        return tree
    names = {key: key if isinstance(key, str) else json.dumps(key, default=str) for key in tree}
    return {names[key]: _with_text_keys(value) for key, value in tree.items()}


class _Loader(yaml.SafeLoader):
    """Refuse a key that stands twice in a section: YAML's readers keep the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [str(key.value) for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key '{twice[0]}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_tree(path: Path) -> dict[str, Any]:
    """Return a YAML file's keys and values; raise InputError where it is none."""
    if not path.is_file():
        raise InputError(f"{path}: not found, expected a config file; those shipped lie in configs/")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: found {type(tree).__name__}, expected keys and values")
    return tree


def _overlay(tree: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _overlay(tree[key], value)
        else:
            tree[key] = value


def _set(tree: dict[str, Any], setting: str) -> str | None:
    """Apply one `a.b=v`; return what is wrong with it, if anything."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        return f"--set {setting}: expected key=value, as in --set train.lr=3e-4"
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return f"--set {setting}: the value is not YAML; quote it"
    *parents, last = key.split(".")
    for depth, parent in enumerate(parents):
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            return f"--set {setting}: {'.'.join(parents[: depth + 1])} is a value, not a section"
    tree[last] = value
    return None


def _explain(problem: dict[str, Any]) -> list[tuple[str, str]]:
    """Turn one of pydantic's errors into pairs of `key: found` and what was expected, which may be empty."""
    location = [str(part) for part in problem["loc"]]
    if problem["type"] == "extra_forbidden":
        known = _keys_of(location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
        return [(f"{'.'.join(location)}: unknown key", hint)]
    key = ".".join(_without_types(problem["loc"]))
    if problem["type"] == "missing":
        return [(f"{key}: missing", "it has no default")]
    if problem["type"] == "value_error":
        lines = problem["msg"].removeprefix("Value error, ").splitlines()
        return [(f"{key}: {line}" if key else line, "") for line in lines]
    found = "null" if problem["input"] is None else repr(problem["input"])
    if problem["type"] == "model_type":
        return [(f"{key}: found {found}", "expected keys and values; leave the section out to have its defaults")]
    message = problem["msg"]
    return [(f"{key}: found {found}", f"{message[0].lower()}{message[1:]}")]


def _without_types(location: Sequence[str | int]) -> list[str]:
    """Drop what pydantic adds behind a key that takes several types: model.size.int is model.size."""
    for depth in range(1, len(location)):
        if not _keys_of([str(part) for part in location[:depth]]):
            rest = [part for part in location[depth:] if isinstance(part, int)]
            return [str(part) for part in (*location[:depth], *rest)]
    return [str(part) for part in location]


def _keys_of(location: list[str]) -> list[str]:
    """Return the keys of the section at `location`."""
    section: type[BaseModel] = Config
    for part in location:
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)

"""Sections `data` and `folds`: where the competition's files are, how they are read, who validates whom."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.sections.section import Count, Positive, Section, Seed, Size, TextKeys
from pipeline.methods import heads
from pipeline.methods.heads import Heads


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
    # new column -> template over columns, or how it comes from one; in order
    derive: TextKeys[dict[str, str | Derived]] = {}
    where: TextKeys[dict[str, list[str]]] = {}  # training rows that are kept: column -> its cells
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

    def heads_of(self, classes: Sequence[str]) -> Heads:
        """Return the heads that the classes belong to; none where all columns are one target."""
        return heads.split(classes, self.targets) if self.heads else ()

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

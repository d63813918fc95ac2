"""Section `data`: where the competition's files are and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.sections.data_items import Arrays, Cache, Crop, Derived, Extra, Images, Join, Pivot, Where
from pipeline.config.sections.section import Affects, Section, TextKeys, key
from pipeline.errors import Problem, Refused
from pipeline.methods import heads
from pipeline.methods.heads import Heads

A = Affects
LABELS = A.FOLDS | A.TRAINING | A.SCORE | A.SUBMISSION  # what a label cell means


class Data(Section):
    """Where the competition's files are and how to read them. Paths are relative to root.

    A table is a CSV or TSV, a JSON file (COCO's images + annotations + categories, or a list of records), a
    folder whose sub-folders are the classes (columns path, label, file), a template of file names whose
    fields become columns ("train/{kind}.{n}.jpg"), or "re:" and a regular expression with named groups over
    the paths below root. A folder may lie in a zip or tar file: "train.zip/{id}.jpg".
    """

    root: str = key(..., A.NOTHING, "Folder of the competition's files; on Kaggle found under /kaggle/input.")
    train: str | Annotated[list[str], Field(min_length=1)] = key(
        "train.csv", A.ROWS | A.FOLDS, "Training table; several stand one below the other."
    )
    test: str | None = key(None, A.ROWS, "Test table; null: the ids come from the sample submission.")
    sample_submission: str | None = key(
        "sample_submission.csv",
        A.ROWS,
        "The sample submission, whose form is copied; null: there is none, and the test's ids make one.",
    )
    joins: list[Join] = key([], A.ROWS, "Further tables whose columns are added by a key.")
    derive: TextKeys[dict[str, str | Derived]] = key(
        {}, A.ROWS, "New column -> template over columns, or how it comes from one; in order."
    )
    pivot: Pivot | None = key(
        None, A.ROWS | A.FOLDS, "A training table with a row per id and class is made one of a row per id.", later=True
    )
    where: TextKeys[Where] = key(
        {}, A.ROWS | A.FOLDS, 'Training rows that are kept: column -> cells, or {"not": cells}; "" is a blank cell.'
    )
    test_where: TextKeys[Where] = key(
        {}, A.ROWS, "The same for test rows, where `data.test` holds other rows too.", later=True
    )
    duplicates: Literal["error", "first", "soft"] = key(
        "error",
        A.ROWS | A.TRAINING | A.SCORE,
        "An id in several training rows: refused, the first row taken, or (soft) the mean of their labels.",
        later=True,
    )
    unlabelled: Literal["error", "skip"] = key(
        "error", A.ROWS | A.FOLDS, "Training rows without a label: refused, or (skip) left out.", later=True
    )
    duplicates_by_content: Literal["group", "keep", "error"] = key(
        "group",
        A.ROWS | A.FOLDS,
        "Equal images under several ids: kept in one fold as a group is, only told, or refused.",
        later=True,
    )
    missing: Literal["error", "skip"] = key(
        "error", A.ROWS, "Absent or damaged images: refused, or (skip) they cost their rows alone."
    )
    id: str = key("id", A.ROWS | A.FOLDS | A.SUBMISSION, "Column of the image ids.")
    predict_id: str | None = key(
        None, A.ROWS | A.FOLDS, 'What is predicted, where several images make one: "{patient_id}_{side}".'
    )
    pool: Literal["mean", "max"] = key(
        "mean", A.EPOCH | A.PREDICTION, "How the images of one `predict_id` become one prediction.", later=True
    )
    image: Images = key(
        ..., A.ROWS, 'Template of the image over the row\'s columns, "images/{image_id}.jpg"; one per plane; or arrays.'
    )
    test_image: Images | None = key(None, A.ROWS, "The same for test rows, where it differs.")
    channels: Annotated[int, Field(ge=1, le=16)] | None = key(
        None, A.IMAGES, "Channels of the network's input; null: 3, or the planes."
    )
    window: tuple[float, float] | None = key(
        None, A.IMAGES, "Values that are black and white, beyond 8 bits; floating point images need it."
    )
    crop: Crop | None = key(
        None, A.ROWS | A.IMAGES, "The part of each picture that is kept: its middle, or a row's box.", later=True
    )
    panels: Literal["channels", "row", "column", "grid"] = key(
        "channels",
        A.IMAGES,
        "How several images of a row make one: channels, or side by side, one below the other, in a grid.",
        later=True,
    )
    truncated: Literal["error", "decode"] = key(
        "error", A.IMAGES, "Files that end too early: refused, or read as far as they go.", later=True
    )
    task: Literal["binary", "multiclass", "multilabel", "ordinal", "regression"] = key(
        "multiclass", LABELS | A.NETWORK, "What kind of target it is."
    )
    target: str | Annotated[list[str], Field(min_length=1)] = key(
        ..., LABELS | A.NETWORK, "One label column, or several (one-hot, multilabel, several values, heads)."
    )
    heads: bool = key(
        False,
        LABELS | A.NETWORK,
        "Several target columns: a head for each, their product the composite classes.",
        later=True,
    )
    classes: list[str] | Literal["sample"] | None = key(
        None,
        A.FOLDS | A.TRAINING | A.NETWORK | A.SUBMISSION,
        "Order of the classes of a label column; sample: the sample submission's columns, of which some may have no "
        "training row; null: those that occur, sorted.",
    )
    separator: str | None = key(None, LABELS, "What separates several labels in one cell.")
    empty: str | None = key(None, LABELS, "What a cell without any label holds, beside nothing.", later=True)
    range: tuple[float, float] | None = key(
        None, LABELS, "Regression: the smallest and the largest possible value.", later=True
    )
    group: str | None = key(None, A.ROWS | A.FOLDS, "Column of the groups, whose rows never cross folds.")
    flips_change_labels: Literal["horizontal", "vertical", "both"] | None = key(
        None, A.NOTHING, "Mirror images have another label (left, right): views and transforms that flip are refused."
    )
    weight: str | None = key(None, A.ROWS, "Column of each row's weight in the loss.")
    extra: list[Extra] = key([], A.ROWS, "Tables of further rows to train on, never validated.")
    follow_links: bool = key(False, A.ROWS, "Follow links that lead out of root, to the disk where the images are.")
    solution: str | None = key(None, A.NOTHING, "Held-back labels of an example, read at the very end alone.")
    cache: Cache = Cache()

    @field_validator("window")
    @classmethod
    def _wide(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] == value[1]:
            raise Refused(Problem("", f"found {list(value)}", "two different values"))
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Data:
        problems = []
        if self.panels != "channels" and not isinstance(self.image, list):
            problems.append(Problem("panels", f"found {self.panels}", "several templates in data.image"))
        if self.test_where and self.test is None:
            remedy = "name the table that holds the test rows, which may be data.train's"
            problems.append(Problem("test_where", "chooses rows of data.test, which is null", remedy=remedy))
        if self.sample_submission is None and self.classes == "sample":
            problems.append(Problem("classes", "found sample, but data.sample_submission is null", "a list"))
        if self.sample_submission is None and self.test is None:
            found, remedy = (
                "null takes the ids of data.sample_submission, which is null",
                "name the table or the folder of the test",
            )
            problems.append(Problem("test", found, remedy=remedy))
        if problems:
            raise Refused(*problems)
        return self

    @property
    def sample_name(self) -> str:
        """Return how messages call the sample submission."""
        return self.sample_submission or "submission.csv"

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
        if self.channels is not None or isinstance(self.image, str) or self.panels != "channels":
            return self.channels or 3
        return self.image.channels if isinstance(self.image, Arrays) else len(self.image)

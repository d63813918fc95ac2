"""Sections `predict`, `ensemble`, `decision`, `submission` and `medals`: from trained folds to what is submitted."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.config.sections.section import Affects, Count, Item, Section, Seed, Share, TextKeys, key, one_of
from pipeline.errors import Problem, Refused, lookup, problems_of
from pipeline.methods.blenders import BLENDERS
from pipeline.methods.blenders import find as find_blender
from pipeline.plugins import file_of

A = Affects


class Predict(Section):
    """How networks predict."""

    batch_size: Count = key(64, A.PREDICTION, "Images in a batch.")
    top_k: Literal["auto"] | Count | None = key(
        "auto",
        A.PREDICTION,
        "How many classes of a row are kept where they exclude each other, the most probable; null: all; auto: 100 "
        "of more than 2,000, else all.",
        later=True,
    )


class Smoothing(Section):
    """Smoothing of finished predictions."""

    alpha: Share | Literal["auto"] = key(
        0.0,
        A.SUBMISSION,
        "Rows above the threshold become (1−alpha)·p + alpha/K; auto: chosen on OOF, cross-fitted.",
    )
    threshold: Share = key(0.9, A.SUBMISSION, "Largest probability above which a row is smoothed.")


class Ensemble(Section):
    """How members become one prediction; what is fitted on OOF is scored on folds it did not see."""

    blender: Annotated[str, one_of("blender", {"auto": None}, BLENDERS, plugin=True)] = key(
        "mean",
        A.SUBMISSION,
        "A name, or FILE.py:function; auto: the best cross-fitted one where its lead over the mean is significant "
        "(90 %), else the mean.",
        plugin=find_blender,
    )
    members: list[str] | None = key(
        None, A.SUBMISSION, "Names or folders of runs; null: this run alone, or those of `train.seeds`."
    )
    compose: Annotated[dict[str, str | Annotated[list[str], Field(min_length=1)]], Field(min_length=1)] | None = key(
        None,
        A.SUBMISSION,
        "`data.heads` learnt by runs of their own: target column -> run, or several to average; one more member.",
        later=True,
    )
    compare: list[str] | None = key(
        None,
        A.SUBMISSION,
        "Blenders of the comparison; null: all that the metric admits; []: none.",
        plugin=find_blender,
    )
    views: Literal["all", "select"] = key(
        "all", A.SUBMISSION, "select: weigh each run's views of `tta` where the gain is significant (90 %)."
    )
    calibrate: Literal["none", "auto", "temperature", "clip"] = key(
        "none", A.SUBMISSION, "Calibration of the blend; auto: where the gain is significant (90 %)."
    )
    smoothing: Smoothing = Smoothing()
    seed: Seed = key(42, A.SUBMISSION, "Seed of the resamples behind every interval, and of bagged blenders.")

    @field_validator("compare")
    @classmethod
    def _all_known(cls, value: list[str] | None) -> list[str] | None:
        problems: list[Problem] = []
        for name in value or []:
            if file_of(name) is not None:
                continue
            try:
                lookup(BLENDERS, name, "blender")
            except ValueError as error:
                problems += problems_of(error)
        if problems:
            raise Refused(*problems)
        return value


class Decision(Section):
    """How probabilities become labels or final values; what is fitted is cross-fitted, as blends are."""

    kind: Literal["auto", "plain", "threshold", "thresholds", "cuts", "round"] = key(
        "auto",
        A.SUBMISSION,
        "auto: what the metric rewards, where its lead over the plain rule (argmax, cells of at least ½) is "
        "significant (90 %).",
    )
    threshold: Share | None = key(None, A.SUBMISSION, "A fixed one for kind threshold; null: fitted.")
    min_labels: Annotated[int, Field(ge=0)] = key(0, A.SUBMISSION, "Multilabel: the most probable labels fill up.")
    max_labels: Count | None = key(None, A.SUBMISSION, "Multilabel: most labels of a row.")
    alone: str | None = key(None, A.SUBMISSION, "Multilabel: a label that excludes all others, as 'healthy' does.")
    new_class: str | None = key(
        None,
        A.SUBMISSION,
        "A class without rows, for what no class claims; its probability is a fitted constant.",
    )
    clip: tuple[float, float] | None = key(None, A.SUBMISSION, "Regression: bounds of the values; null: `data.range`.")


Held = str | Annotated[list[str], Field(min_length=1)] | dict[Literal["not"], str | list[str]]  # by a sample's column


class Submission(Section):
    """The file that is submitted."""

    variant: Literal["auto", "plain", "tta", "plain_smoothed", "tta_smoothed"] = key(
        "auto",
        A.SUBMISSION,
        "Which of the variants submission.csv is; auto: tta, but for views that the OOF speaks clearly against (90 %).",
    )
    id: str | None = key(None, A.CHECK | A.SUBMISSION, "The sample's id column; null: `data.id`, whatever its case.")
    columns: TextKeys[dict[str, Held]] | None = key(
        None,
        A.CHECK | A.SUBMISSION,
        "Sample column -> class, where the names differ; several classes: the sum of their probabilities; "
        '{"not": class}: 1 less its probability.',
    )
    rows: str | None = key(
        None,
        A.CHECK | A.SUBMISSION,
        'A sample with a row per id and class: how its id cell is made, "{id}_{class}", or the column of the classes.',
        later=True,
    )
    cell: Literal["auto", "probability", "label", "class_id", "top", "value"] = key(
        "auto", A.CHECK | A.SUBMISSION, "What a cell holds; class_id: 0, 1, ….; auto: what the sample's cells hold."
    )
    top: Count | None = key(
        None, A.SUBMISSION, "Cell top: how many labels, the most probable first; null: the metric's K, else 5."
    )
    joiner: str | None = key(None, A.SUBMISSION, "Between the labels of a cell; null: `data.separator`, or a space.")
    labels: TextKeys[dict[str, str]] = key({}, A.CHECK | A.SUBMISSION, "Class -> what the cell says, where it differs.")
    composite: str | None = key(
        None,
        A.CHECK | A.SCORE | A.SUBMISSION,
        '`data.heads`: a template over the heads, "{mask}-{age}"; null: 0, 1, … in order.',
        later=True,
    )

    @field_validator("rows")
    @classmethod
    def _both(cls, value: str | None) -> str | None:
        fields = sorted(re.findall(r"\{[^{}]*\}", value or ""))
        if fields and fields != ["{class}", "{id}"]:
            raise Refused(Problem("", f"found '{value}'", "{id} and {class}, each once, or the name of a column"))
        return value


class Medals(Item):
    """Scores of the private leaderboard, to compare with: only indicative, as its rows were others."""

    gold: float = Field(description="Score of the last gold medal.")
    silver: float = Field(description="Score of the last silver medal.")
    bronze: float = Field(description="Score of the last bronze medal.")

"""Sections `predict`, `ensemble`, `decision`, `submission` and `medals`: from trained folds to what is handed in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.config.sections.section import Count, Section, Seed, Share, TextKeys, one_of
from pipeline.methods.blenders import BLENDERS
from pipeline.methods.blenders import find as find_blender


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
    blender: Annotated[str, one_of("blender", {"auto": None}, BLENDERS, own=find_blender)] = "mean"
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
    labels: TextKeys[dict[str, str]] = {}  # class -> what the cell says, where it differs
    composite: str | None = None  # data.heads: a template over the heads, "{mask}-{age}"; null: 0, 1, … in order


class Medals(Section):
    """Scores of the private leaderboard, to compare with: only indicative, as its rows were others."""

    gold: float
    silver: float
    bronze: float

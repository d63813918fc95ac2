"""Section `tune`: a study over the other sections."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.sections.section import (
    Affects,
    Count,
    Name,
    Positive,
    Section,
    Seed,
    Size,
    TextKeys,
    key,
    one_of,
)
from pipeline.errors import Problem, Refused
from pipeline.methods.samplers import PRUNERS, SAMPLERS

A = Affects


class Tune(Section):
    """A study: what is searched, how, and what one trial may cost. In no fingerprint of a run."""

    name: Name | None = key(None, A.NOTHING, "Name of the study; null: the config's.")
    space: TextKeys[dict[str, Any] | None] = key(
        None, A.NOTHING, "Dotted key -> {float: […]}, {int: […]} or {choice: […]}; null: the default space."
    )
    sampler: Annotated[str, one_of("sampler", SAMPLERS)] = key("tpe", A.NOTHING, "Who proposes the next settings.")
    pruner: Annotated[str, one_of("pruner", PRUNERS)] = key(
        "race", A.NOTHING, "Who ends hopeless trials; race: paired with the best trial on the same rows, fold by fold."
    )
    objectives: Annotated[list[Literal["score", "time"]], Field(min_length=1)] = key(
        ["score"], A.STUDY, "What is optimized; with two nothing is pruned."
    )
    folds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = key(
        None, A.STUDY, "Folds of a trial; null: all."
    )
    epochs: Count | None = key(None, A.STUDY, "Epochs of a trial, in place of `train.epochs`.")
    subset: Annotated[float, Field(gt=0, le=1)] | None = key(
        None, A.STUDY, "Share of the groups that a trial trains on, in place of `train.subset`."
    )
    size: Size | None = key(None, A.STUDY, "Image size of a trial, in place of `model.size`.")
    grid: Annotated[int, Field(ge=2)] = key(4, A.NOTHING, "Sampler grid: points of a range.")
    level: Annotated[float, Field(gt=0, lt=1)] = key(0.9, A.NOTHING, "Level of the race's intervals.")
    epoch_rule: bool = key(True, A.NOTHING, "End a fold whose curve stays hopelessly below the best trial's.")
    patience: Count = key(2, A.NOTHING, "Epochs in a row that the epoch rule must find hopeless.")
    fresh_seeds: Annotated[int, Field(ge=0)] = key(
        3, A.NOTHING, "Trainings of the winner on other seeds, over all folds, as its score was chosen."
    )
    fresh_folds: Seed | None = key(None, A.NOTHING, "Train the winner on folds of this seed too.")
    timeout: Positive | None = key(
        None, A.NOTHING, "Seconds, `fresh_seeds` included; a trial that runs by then is finished."
    )
    seed: Seed = key(42, A.NOTHING, "Seed of the sampler.")

    @field_validator("folds")
    @classmethod
    def _once(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and len(set(value)) != len(value):
            raise Refused(Problem("", f"found {value}", "each fold once"))
        return value

    @model_validator(mode="after")
    def _objectives(self) -> Tune:
        problems = []
        if self.objectives[0] != "score" or len(set(self.objectives)) != len(self.objectives):
            problems.append(Problem("objectives", f"found {self.objectives}", "[score] or [score, time]"))
        if len(self.objectives) > 1 and self.sampler == "cmaes":
            remedy = "choose tpe, gp, random or grid for two"
            problems.append(Problem("sampler", "cmaes follows one objective", remedy=remedy))
        if problems:
            raise Refused(*problems)
        return self

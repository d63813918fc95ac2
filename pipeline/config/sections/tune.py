"""Section `tune`: a study over the other sections."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.sections.section import Count, Name, Positive, Section, Seed, Size, TextKeys, one_of
from pipeline.methods.samplers import PRUNERS, SAMPLERS


class Tune(Section):
    """A study: what is searched, how, and what one trial may cost. In no fingerprint of a run."""

    name: Name | None = None  # of the study; null: the config's
    # dotted key -> {float: […]}, {int: […]} or {choice: […]}; null: the default
    space: TextKeys[dict[str, Any] | None] = None
    sampler: Annotated[str, one_of("sampler", SAMPLERS)] = "tpe"
    # race: paired with the best trial on the same rows, fold by fold
    pruner: Annotated[str, one_of("pruner", PRUNERS)] = "race"
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

"""A whole config, typed and frozen: the keys above all sections. Nothing is written into a config at run time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from pipeline.config.sections.data import Data
from pipeline.config.sections.folds import Folds
from pipeline.config.sections.model import LossConfig, Model
from pipeline.config.sections.section import Affects, Name, Section, found_by, key
from pipeline.config.sections.submit import Decision, Ensemble, Medals, Predict, Submission
from pipeline.config.sections.train import Augment, Distill, Mix, Pseudo, Train
from pipeline.config.sections.tune import Tune
from pipeline.errors import Problem, Refused, problems_of
from pipeline.methods.metrics import find
from pipeline.methods.tta import find as find_view
from pipeline.methods.tta import parse_view

A = Affects


class Config(Section):
    """Hold one experiment: a competition, a recipe and what to submit.

    The keys of a section stand in the file that its class is imported from, above.
    """

    name: Name = key(..., A.NOTHING, "Names folds/NAME.csv and, unless `run` names another, runs/NAME/.")
    run: Name | None = key(None, A.NOTHING, "Name of the run; null: `name`.")
    runs_dir: str = key("runs", A.NOTHING, "Folder of the runs.")
    folds_dir: str = key("folds", A.NOTHING, "Folder of the fold tables.")
    studies_dir: str = key("studies", A.NOTHING, "Folder of the studies.")
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
    metric: Annotated[str, found_by(find)] = key(
        "accuracy",
        A.CHECK | A.EPOCH | A.SCORE | A.SUBMISSION,
        "A name, map@K, ndcg@K, or FILE.py:function.",
        plugin=find,
    )
    tta: Annotated[list[str], Field(min_length=1)] = key(
        ["identity"],
        A.SCORE | A.SUBMISSION,
        "Named views, or FILE.py:function; augment:7 = seven augmentations.",
        plugin=find_view,
    )
    ensemble: Ensemble = Ensemble()
    decision: Decision = Decision()
    submission: Submission = Submission()
    medals: Medals | None = key(None, A.SCORE | A.SUBMISSION, "Scores of the medals, to compare with.", later=True)
    tune: Tune = Tune()

    @field_validator("tta")
    @classmethod
    def _views(cls, value: list[str]) -> list[str]:
        views: list[str] = []
        problems: list[Problem] = []
        for name in value:
            try:
                views += parse_view(name)
            except ValueError as error:
                problems += problems_of(error)
        if problems:
            raise Refused(*problems)
        return list(dict.fromkeys(views))  # d4 and its members may overlap

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

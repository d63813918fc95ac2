"""A whole config, typed and frozen, and how it is read: its sections lie in contracts/sections/.

YAML is read with the safe loader, later files overlay earlier ones key by key, `--set a.b=v` comes last.
Unknown keys are errors. Nothing is written into a config at run time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from pipeline.config import plugin_files, trees
from pipeline.config.messages import explained
from pipeline.config.rules import flip_rules, task_rules
from pipeline.config.sections.data import Data, Folds
from pipeline.config.sections.model import LossConfig, Model
from pipeline.config.sections.section import Name, Section, square
from pipeline.config.sections.submit import Decision, Ensemble, Medals, Predict, Submission
from pipeline.config.sections.train import Augment, Distill, Mix, Pseudo, Train
from pipeline.config.sections.tune import Tune
from pipeline.errors import InputError
from pipeline.methods.metrics import find
from pipeline.methods.tta import parse_view


def _metric(name: str) -> str:
    find(name)
    return name


class Config(Section):
    """Hold one experiment: a competition, a recipe and what to submit.

    The keys of a section stand in the file that its class is imported from, above.
    """

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
        problems = task_rules.problems(self) + flip_rules.problems(self)
        sizes = [one.size for one in self.train.sizes or ()]
        for size, after in itertools.pairwise([*sizes, self.model.size] if sizes else []):
            if square(size) == square(after):
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


def load(paths: Sequence[str | Path], settings: Iterable[str] = (), *, kept: bool = False) -> Config:
    """Read YAML files, overlay them in order, apply `key=value` settings and validate all at once.

    The user's files that a run's config.yaml names may be gone: the run's own copies take their place, or always
    where `kept`.
    """
    tree: dict[str, Any] = {}
    for path in map(Path, paths):
        read = trees.read(path)
        plugin_files.found_again(read, path.parent, always=kept)
        tree = trees.overlaid(tree, read)
    problems = [problem for setting in settings if (problem := trees.change(tree, setting))]
    if problems:
        raise InputError(*problems)
    return parse(tree, place=" + ".join(map(str, paths)))


def parse(tree: dict[str, Any], place: str) -> Config:
    """Validate a tree of plain values; raise InputError with every problem."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise InputError(*(f"{place}: {line}" for line in explained(error, Config))) from None


def dump(config: Config) -> str:
    """Return the resolved config as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

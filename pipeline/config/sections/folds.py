"""Section `folds`: who validates whom."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.sections.section import Affects, Section, Seed, key

A = Affects


class Folds(Section):
    """Who validates whom."""

    scheme: Literal["auto", "stratified", "group", "stratified_group", "multilabel", "multilabel_group", "holdout"] = (
        key("auto", A.FOLDS, "What is kept together and what is balanced; auto: what the groups and labels ask for.")
    )
    n: Annotated[int, Field(ge=2)] = key(5, A.FOLDS, "Number of folds.")
    seed: Seed = key(42, A.FOLDS, "Seed of the search for even folds.")
    stratify: str | list[str] | None = key(None, A.FOLDS, "Further columns to balance, beside the target.")
    bins: Annotated[int, Field(ge=2)] = key(10, A.FOLDS, "Quantile bins into which numeric columns are cut.")
    valid_share: Annotated[float, Field(gt=0, lt=1)] = key(
        0.2, A.FOLDS, "Scheme holdout: share of the rows that are validated."
    )
    rare: Literal["validate", "train"] = key(
        "validate", A.FOLDS, "Rows of rare classes: validated like others, or trained on in every fold."
    )
    rare_below: Annotated[int, Field(ge=2)] | None = key(
        None, A.FOLDS, "Rows below which a class is rare; null: `folds.n`."
    )

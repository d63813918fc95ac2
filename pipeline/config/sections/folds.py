"""Section `folds`: who validates whom."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.sections.section import Affects, Section, Seed, key
from pipeline.errors import Problem, Refused

A = Affects


class Folds(Section):
    """Who validates whom."""

    scheme: Literal[
        "auto", "stratified", "group", "stratified_group", "multilabel", "multilabel_group", "holdout", "time"
    ] = key(
        "auto",
        A.FOLDS,
        "What is kept together and what is balanced; auto: what the groups and labels ask for; time: later rows "
        "validate models of earlier ones.",
    )
    column: str | None = key(
        None,
        A.ROWS | A.FOLDS,
        "Column of the training table: its own folds, taken as they stand (-1, blank or train: trained on in every "
        "fold); scheme time: when each row was.",
        later=True,
    )
    n: Annotated[int, Field(ge=2)] = key(5, A.FOLDS, "Number of folds; a column of folds has its own.")
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

    @property
    def given(self) -> str | None:
        """Return the column that holds the folds themselves, if any."""
        return None if self.scheme == "time" else self.column

    @model_validator(mode="after")
    def _of_a_column(self) -> Folds:
        problems = []
        if self.scheme == "time" and self.column is None:
            problems.append(Problem("scheme", "found time without folds.column", remedy="name the column of the times"))
        if self.column is not None:
            how = "the order of time" if self.scheme == "time" else "the column's own folds"
            if self.scheme not in ("auto", "time"):
                problems.append(Problem("scheme", f"found {self.scheme}", "auto or time with folds.column"))
            if self.stratify:
                problems.append(Problem("stratify", f"balances nothing: {how} decide", remedy="leave it out"))
            if self.rare == "train":
                problems.append(Problem("rare", f"found train, but {how} decide", remedy="leave it out"))
        if problems:
            raise Refused(*problems)
        return self

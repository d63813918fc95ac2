"""Entries of lists and values of keys in section `data`: joins, derived columns, images in arrays, extra tables."""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.config.sections.section import Affects, Count, Item, Positive, Section, Size, key
from pipeline.errors import Problem, Refused

A = Affects


class Cache(Section):
    """Decoded, resized images, shared by folds, epochs, views, runs and trials."""

    dir: str | None = key("runs/.cache", A.NOTHING, "Folder of the cache; null: decode every time.")
    size: Literal["auto"] | Size = key("auto", A.IMAGES, "Size at which images are kept; auto: `model.size`.")
    max_gb: Positive | None = key(None, A.NOTHING, "Largest size; null: what the disk has free, less a reserve.")


class Join(Item):
    """A further table whose columns are added to the rows that share a key with it."""

    table: str = Field(description="The table, read as `data.train` is.")
    on: str = Field(description="Column of the rows.")
    key: str | None = Field(None, description="Column of the table, each value once; null: called like `on`.")
    rows: Literal["both", "train", "test"] = Field("both", description="Which rows get its columns.")

    @model_validator(mode="before")
    @classmethod
    def _on(cls, value: Any) -> Any:
        """Take YAML's truth value for the key `on`, which it reads a plain on as."""
        return (
            {"on" if name is True else name: cell for name, cell in value.items()} if isinstance(value, dict) else value
        )


class Pivot(Item):
    """A training table with a row per id and class: the rows of an id become one with a column per class."""

    columns: str = Field(description="Column that holds the class, which names the new column.")
    values: str = Field(description="Column that holds the new column's cell.")


class Derived(Item):
    """How a new column comes from another one: exactly one of pattern, edges and values."""

    column: str = Field(description="The column that it comes from.")
    pattern: str | None = Field(
        None, description="Regular expression that finds the value: its first group, or all that it matches."
    )
    edges: Annotated[list[float], Field(min_length=1)] | None = Field(
        None,
        description="Rising edges that cut numbers into classes: [29, 59]: below 29, below 59, from 59 on.",
    )
    names: list[str] | None = Field(None, description="Names of the classes that edges make; null: 0, 1, ….")
    values: dict[str, str] | None = Field(
        None, description="Cell -> new cell; a cell that is not there stays as it is."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Derived:
        ways = [name for name in ("pattern", "edges", "values") if getattr(self, name) is not None]
        problems = []
        if len(ways) != 1:
            problems.append(
                Problem("", f"found {' and '.join(ways) or 'none of them'}", "one of pattern, edges, values")
            )
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                problems.append(Problem("pattern", f"found {self.pattern!r}, no regular expression: {error}"))
        if self.edges is not None and any(a >= b for a, b in itertools.pairwise(self.edges)):
            problems.append(Problem("edges", f"found {self.edges}", "rising numbers"))
        if self.names is not None and len(self.names) != len(self.edges or ()) + 1:
            problems.append(Problem("names", f"found {len(self.names)}", "one more than edges"))
        if problems:
            raise Refused(*problems)
        return self


class Arrays(Item):
    """Images that are flat lists of numbers inside the records of a JSON file, one plane per column."""

    columns: Annotated[list[str], Field(min_length=1, max_length=16)] = Field(
        description="Columns, one for each plane."
    )
    shape: tuple[Count, Count] = Field(description="Height and width.")


class Extra(Item):
    """Rows that are trained on and never validated; their ids get the prefix `extra:`."""

    table: str = Field(description="The table, read as `data.train` is, with the same columns.")
    image: str | None = Field(None, description="Template of the image; null: `data.image`.")
    weight: Positive = Field(1.0, description="Weight of each row in the loss.")


Where = dict[str, list[str] | dict[Literal["not"], list[str]]]  # column -> cells that are kept, or all but these
Images = str | Annotated[list[str], Field(min_length=1, max_length=16)] | Arrays

"""Entries and values of keys in section `data`: joins, derived columns, images in arrays, crops, extra tables."""

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
    """How a new column comes from another one, by exactly one of pattern, edges and values, or from the rows' order."""

    column: str | None = Field(None, description="The column that it comes from.")
    count_from: int | None = Field(None, description="The rows are numbered from here on; no column is needed.")
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
        ways = [name for name in ("pattern", "edges", "values", "count_from") if getattr(self, name) is not None]
        problems = []
        if len(ways) != 1:
            problems.append(
                Problem(
                    "", f"found {' and '.join(ways) or 'none of them'}", "one of pattern, edges, values, count_from"
                )
            )
        if (self.column is None) == (self.count_from is None):
            found = "no column" if self.column is None else f"column: {self.column} beside count_from"
            problems.append(Problem("", f"found {found}", "a column, or count_from alone"))
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
    """Images that are numbers in the rows of a table: lists in a JSON file's records, or cells of a CSV.

    A column holds a plane, all its numbers in one cell; `pixel*` are the columns that are called so, one number
    in each, ordered by the numbers in their names.
    """

    columns: Annotated[list[str], Field(min_length=1, max_length=16)] = Field(
        description="Columns, one for each plane; pixel*: one for each number."
    )
    shape: Annotated[tuple[Count, ...], Field(min_length=2, max_length=3)] = Field(
        description="Height and width; a third number: the channels that a column holds, pixel by pixel."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_column(cls, value: Any) -> Any:
        """Take a single column that is no list."""
        one = isinstance(value, dict) and isinstance(value.get("columns"), str)
        return {**value, "columns": [value["columns"]]} if one else value

    @property
    def channels(self) -> int:
        """Return the planes that all columns make."""
        return len(self.columns) * (self.shape[2] if len(self.shape) > 2 else 1)


class Crop(Item):
    """The part of each picture that is kept, in training, validation and prediction: center or columns."""

    center: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Share of height and width that is kept around the centre."
    )
    columns: Annotated[list[str], Field(min_length=4, max_length=4)] | None = Field(
        None, description="Columns of a box: left, top, width, height in pixels; blank: the whole picture."
    )
    margin: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Added on each side of a box, as a share of its width and height."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Crop:
        if (self.center is None) == (self.columns is None):
            found = "neither" if self.center is None else "both"
            raise Refused(Problem("", f"found {found}", "center or columns"))
        if self.margin and self.columns is None:
            raise Refused(Problem("margin", f"found {self.margin:g}", "columns, which it goes around"))
        return self


class Extra(Item):
    """Rows that are trained on and never validated; their ids get the prefix `extra:`."""

    table: str = Field(description="The table, read as `data.train` is, with the same columns.")
    image: str | None = Field(None, description="Template of the image; null: `data.image`.")
    weight: Positive = Field(1.0, description="Weight of each row in the loss.")


Where = dict[str, list[str] | dict[Literal["not"], list[str]]]  # column -> cells that are kept, or all but these
Images = str | Annotated[list[str], Field(min_length=1, max_length=16)] | Arrays

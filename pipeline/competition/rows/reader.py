"""Read rows of any table with their joined and derived columns, their images, and what they are predicted as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline.competition import tables
from pipeline.competition.image_paths import ImagePaths, Source
from pipeline.competition.rows.rows import Defects, Rows, id_column
from pipeline.competition.sample_submission import id_name
from pipeline.competition.tables import columns, json_arrays
from pipeline.competition.templates import fill
from pipeline.config.sections.data import Arrays
from pipeline.files.tables import texts
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.config import Config
    from pipeline.config.sections.data import Images

Kind = Literal["train", "test"]


@dataclass(frozen=True)
class Found:
    """Hold the images of rows, and the rows that have none."""

    images: list[Source]  # [I]
    absent: list[tuple[int, str]]  # row, path: what is wrong
    refused: list[tuple[int, str]]

    @property
    def wrong(self) -> list[tuple[int, str]]:
        """Return all rows without an image, in order."""
        return sorted([*self.absent, *self.refused])


class Reader:
    """Read what a config names below one root, and collect what is wrong with it."""

    def __init__(self, config: Config, root: Path, defects: Defects) -> None:
        self.config, self.data, self.root, self.defects = config, config.data, root, defects
        self.paths = ImagePaths(root)
        self.notes: list[str] = []
        self.joined: dict[str, Rows | None] = {}

    def rows(self, specs: Sequence[str], key: str, kind: Kind, images: Images | None = None) -> Rows | None:
        """Return the tables one below the other with all their columns, or None where one cannot be read."""
        found = [self.table(spec, key, images) for spec in specs]
        whole = [rows for rows in found if rows is not None]
        return self.complete(Rows.below(whole), kind) if len(whole) == len(found) else None

    def table(self, spec: str, key: str, images: Images | None = None) -> Rows | None:
        """Return one table as it is; where its images are arrays in records, they are written once."""
        path = self.root / spec
        try:
            if isinstance(images, Arrays):
                return json_arrays.read(path, images, self.config, self.defects)
            return tables.read(self.root, spec)
        except FileNotFoundError as error:
            self.defects.add("files", [f"{path}: {key} is {error}"])
        except ValueError as error:
            self.defects.add("files", [f"{path}: {error}"])
        except OSError as error:
            self.defects.add("files", [f"{path}: not readable: {error}"])
        return None

    def complete(self, rows: Rows, kind: Kind) -> Rows:
        """Return rows with the columns of data.joins and data.derive."""
        for join in self.data.joins:
            if join.rows not in ("both", kind):
                continue
            if join.table not in self.joined:
                self.joined[join.table] = self.table(join.table, "data.joins: table")
            if (other := self.joined[join.table]) is not None:
                rows = columns.join(rows, other, join, self.defects, self.notes)
        return columns.derive(rows, self.data.derive, self.defects, lenient=kind == "test")

    def images(self, rows: Rows, images: Images, key: str) -> Found | None:
        """Return the rows' images; None where the template does not fit the table, which is told."""
        if isinstance(images, Arrays):
            return Found([(path,) for path in rows.table[json_arrays.PATHS].tolist()], [], [])
        try:
            found = self.paths.resolve(rows.table, [images] if isinstance(images, str) else images)
        except ValueError as error:
            self.defects.add("templates", [f"{key}: {error}, in {rows.path}"])
            return None
        return Found(found.images, found.absent, found.refused)


def sample_column(sample: pd.DataFrame, config: Config) -> str | None:
    """Return the sample's id column, or None where none is named and none is called like data.id."""
    asked = config.submission.id
    if asked is not None:
        return asked if asked in sample else None
    found = id_column(sample, config.data)
    if found is None and config.data.predict_id is not None and len(sample.columns):
        return id_name(sample, config)  # what is predicted has a name of its own
    return found


def predicted(rows: Rows, config: Config, defects: Defects) -> tuple[Array, Array, Array]:
    """Return what is predicted [N] str, each one's first row [N], and which of them each row belongs to [I]."""
    data = config.data
    if data.predict_id is None:
        ids, number_N = texts(rows.table[data.id]), np.arange(len(rows.table))
        return ids, number_N, number_N
    try:
        names = np.asarray(fill(data.predict_id, rows.table), dtype=np.str_)
    except ValueError as error:
        defects.add("templates", [f"data.predict_id: {error}, in {rows.path}"])
        return np.zeros(0, np.str_), np.zeros(0, np.int64), np.zeros(0, np.int64)
    import pandas as pd

    rows_I, ids = pd.factorize(names)
    first_N = np.full(len(ids), len(names))
    np.minimum.at(first_N, rows_I, np.arange(len(names)))
    return np.asarray(ids, dtype=np.str_), first_N, rows_I.astype(np.int64)

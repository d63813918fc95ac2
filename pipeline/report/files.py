"""Read a run's files for the report; what is absent or damaged is None or empty, never an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from pipeline.competition.competition import Competition, load
from pipeline.competition.labels import class_names
from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.run_configs import TRAINED, as_trained
from pipeline.errors import FoldlineError, MismatchError, Problem
from pipeline.files import checksums, prediction_tables
from pipeline.files.atomic import read_json
from pipeline.files.failures import reading
from pipeline.files.tables import FIXED, read_epochs, read_text_table, texts
from pipeline.folds import fold_table
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS
from pipeline.scoring.scores import truth

T = TypeVar("T")
MOST = 24  # names that a chart shows; of more, the telling ones


class Card(NamedTuple):
    """Hold one section: its heading, the sentence that says what to see, its figure and its HTML."""

    title: str
    lead: str
    figure: Any = None  # matplotlib's Figure
    html: str = ""


class Run:
    """Read a run's files when they are first asked for; what is absent is None or empty."""

    def __init__(self, config: Config, competition: Competition | None = None) -> None:
        self._given = competition
        self.folder = config.run_dir
        self.task = TASKS[config.data.task]
        self.damaged: dict[Path, str] = {}  # what is wrong with files that are left out for it
        self._known = fingerprints.known(self.folder)
        self._read: dict[str, Any] = {}
        self.config = self.read(TRAINED, lambda _: as_trained(config)) or config  # whatever was asked since

    def read(self, name: str, reader: Callable[[Path], T]) -> T | None:
        """Return what a reader makes of a file; None where it is absent, or damaged, which is noted once."""
        if name not in self._read:
            self._read[name] = None
            try:
                self._read[name] = self._whole(name, reader)
            except (FoldlineError, ValueError, TypeError, LookupError) as error:  # of what other parsers find
                path = self.folder / name
                said = (
                    error.problems[0] if isinstance(error, FoldlineError) else Problem(str(path), f"damaged ({error})")
                )
                self.damaged[path] = str(replace(said, remedy="left out"))
        made: T | None = self._read[name]
        return made

    def _whole(self, name: str, reader: Callable[[Path], T]) -> T | None:
        path, (stage, digest) = self.folder / name, self._known.get(name, ("", ""))
        if stage and not path.is_file():
            raise MismatchError(Problem(str(path), f"is missing, {stage} wrote it"))
        if not path.exists():
            return None
        with reading(path, MismatchError, "a file of a run"):
            if stage and checksums.file_hash(path) != digest:
                raise MismatchError(Problem(str(path), f"is not as {stage} wrote it (SHA-256 differs)"))
            return reader(path)

    def json(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the run, empty where it is absent or damaged."""
        return self.read(name, lambda path: dict(read_json(path))) or {}

    @cached_property
    def scores(self) -> dict[str, Any]:
        return self.json("scores.json")

    @cached_property
    def classes(self) -> list[str]:
        return list(self.scores.get("classes") or class_names(self.task, self.folds.targets, self.config.data))

    @cached_property
    def folds(self) -> fold_table.FoldTable:
        return fold_table.read(self.config)

    @cached_property
    def epochs(self) -> dict[int, pd.DataFrame]:
        """Return each fold's epochs.csv, by fold."""
        wanted = {path.parent.name for path in self.folder.glob("fold*/epochs.csv")}
        wanted |= {name.partition("/")[0] for name in self._known if name.endswith("/epochs.csv")} - {"last"}
        found = {name: self.read(f"{name}/epochs.csv", read_epochs) for name in wanted if name[4:].isdigit()}
        tables = {int(name[4:]): table for name, table in found.items() if table is not None and len(table)}
        return {k: tables[k] for k in sorted(tables)}

    @cached_property
    def oof(self) -> tuple[list[str], Array, Array] | None:
        """Return the OOF's ids, its hard labels ([N] class numbers or [N,C] 0/1), or values, and probs [N,C].

        The truth is the fold table's. Of very many classes the probabilities are a Top, of few in each row.
        """
        return self.read("oof.csv", self._oof)

    def _oof(self, path: Path) -> tuple[list[str], Array, Array]:
        table = read_text_table(path)
        ids = texts(table["id"])
        if (unknown := np.setdiff1d(ids, self.folds.ids)).size:
            found, remedy = f"id '{unknown[0]}' is not in {self.folds.path}", "run again: foldline score"
            raise MismatchError(Problem(str(path), found, remedy=remedy))
        targets = self.task.labels(truth(self.config, self.folds, ids, self.classes))
        if prediction_tables.is_short(table.columns[len(FIXED) :].tolist()):
            return ids.tolist(), targets, prediction_tables.read_table(table, self.classes)
        columns = prediction_tables.class_columns(table.columns.tolist(), self.classes, FIXED)
        if columns is None:
            found, remedy = "its columns are not the classes of scores.json", "run again: foldline score"
            raise MismatchError(Problem(str(path), found, remedy=remedy))
        return ids.tolist(), targets, table[columns].to_numpy(np.float64)

    @cached_property
    def competition(self) -> Competition:
        return self._given or load(self.config)

    def images(self, rows: list[int]) -> list[Array]:
        """Return training images by their row number, from the cache; of several the first."""
        from pipeline.images.cache import open_config

        _, first_N = np.unique(self.competition.rows_I, return_index=True)
        images = open_config(self.config, [self.competition.images[first_N[row]] for row in rows], progress=False)
        return [images[i] for i in range(len(images))]

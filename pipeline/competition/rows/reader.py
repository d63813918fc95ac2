"""Read rows of any table with their joined and derived columns, their images, and what they are predicted as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline.competition import tables
from pipeline.competition.image_paths import Found, ImagePaths, Source
from pipeline.competition.rows import boxes, skipping, where
from pipeline.competition.rows.rows import Findings, Rows, check_columns, check_ids, id_column
from pipeline.competition.sample_submission import NO_SAMPLE, asked_ids, id_name
from pipeline.competition.tables import columns, duplicates, number_images
from pipeline.competition.tables.file_names import Missing
from pipeline.competition.templates import fill
from pipeline.config.sections.data_items import Arrays
from pipeline.errors import Problem, Refused, problems_of
from pipeline.files.tables import texts
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.config import Config
    from pipeline.config.sections.data_items import Images

Kind = Literal["train", "test"]
NO_IMAGE = "missing or refused images"  # a kind of problem


class Reader:
    """Read what a config names below one root, and collect what is wrong with it."""

    def __init__(self, config: Config, root: Path, findings: Findings) -> None:
        self.config, self.data, self.root, self.findings = config, config.data, root, findings
        self.paths = ImagePaths(root, self.data.follow_links)
        self.joined: dict[str, Rows | None] = {}

    def rows(self, specs: Sequence[str], key: str, kind: Kind, images: Images) -> Rows | None:
        """Return the tables that can be read one below the other with all their columns, or None where none can."""
        found = [self.table(spec, key, images) for spec in specs]
        whole = [rows for rows in found if rows is not None]
        self.findings.unseen += [f"{spec} ({key})" for spec, rows in zip(specs, found, strict=True) if rows is None]
        return self.complete(Rows.below(whole), kind) if whole else None

    def table(self, spec: str, key: str, images: Images | None = None) -> Rows | None:
        """Return one table as it is; where its images are numbers in it, they are written once."""
        path = self.root / spec
        try:
            if isinstance(images, Arrays):
                rows = number_images.read(self.root, spec, images, self.config, self.findings)
            else:
                rows = tables.read(self.root, spec, self.data.separator, labelled=key != "data.test")
            self.findings.notes += [f"{spec}: {note}" for note in (rows.notes if rows is not None else ())]
            return rows
        except Missing as error:
            more = f"; {NO_SAMPLE}" if key == "data.sample_submission" else ""
            said = error.problems
            problems = [replace(one, found=f"{key} is {one.found}", remedy=f"{one.remedy}{more}") for one in said]
        except ValueError as error:
            problems = list(problems_of(error))
        except OSError as error:
            problems = [Problem("", f"not readable: {error}")]
        self.findings.add("files", (one.below(str(path)) for one in problems))
        return None

    def complete(self, rows: Rows, kind: Kind) -> Rows:
        """Return rows with the columns of data.joins and data.derive."""
        for join in self.data.joins:
            if join.rows not in ("both", kind):
                continue
            if join.table not in self.joined:
                self.joined[join.table] = self.table(join.table, "data.joins: table")
            if (other := self.joined[join.table]) is not None:
                rows = columns.join(rows, other, join, self.findings)
        rows = columns.derive(rows, self.data.derive, self.findings, lenient=kind == "test")
        return rows if self.data.pivot is None else columns.pivot(rows, self.data, self.data.pivot, kind, self.findings)

    def unique(self, rows: Rows, soft: bool, repeats: bool | None = None) -> Rows:
        """Check the ids and return each once, as data.duplicates says; the rows as they are where they have no ids."""
        data, repeats = self.data, self.data.duplicates != "error" if repeats is None else repeats
        if data.id not in rows.table:
            return rows
        check_ids(rows, data.id, self.findings, unique=not repeats)
        alike = [name for name in (data.group, self.config.folds.given) if name is not None]
        return duplicates.once(rows, data, soft, self.findings, alike) if repeats else rows

    def test(self, sample: Rows | None) -> Rows | None:
        """Return the rows to predict, each id once: the test table's, or the sample submission's ids."""
        data = self.data
        if data.test is not None:
            rows = self.rows([data.test], "data.test", "test", data.test_image or data.image)
            if rows is None:
                return None
            check_columns(rows, {"data.id": [data.id]}, self.findings)
            chosen = where.kept(rows, data.test_where, "data.test_where", self.findings)
            if chosen is None:
                self.findings.unseen.append(f"the rows of {data.test}")
            return None if chosen is None else self.unique(chosen, soft=False)
        column = None if sample is None else sample_column(sample.table, self.config)
        if sample is None or column is None:
            return None
        if self.config.submission.rows is None:
            table = sample.table.rename(columns={column: data.id})
        else:
            table = sample.table.assign(**{data.id: asked_ids(sample.table, self.config)})
        first_N = ~table[data.id].duplicated().to_numpy() & table[data.id].ne("").to_numpy()
        return self.complete(replace(sample, table=table).take(np.flatnonzero(first_N)), "test")

    def images(self, rows: Rows, images: Images, key: str) -> Found | None:
        """Return the rows' images; None where the template does not fit the table, which is told."""
        if self.data.id not in rows.table:  # most templates name it
            self.findings.unseen.append(f"the images of {rows.path.name}, which has no ids")
            return None
        try:
            if isinstance(images, Arrays):
                found = Found([(path,) for path in rows.table[number_images.PATHS].tolist()], [], [])
            else:
                found = self.paths.resolve(rows.table, [images] if isinstance(images, str) else images)
        except Refused as error:
            self.findings.add("templates", (one.below(f"{rows.path}: {key}") for one in error.problems))
            self.findings.unseen.append(f"the images of {rows.path.name}")
            return None
        self.findings.notes += [f"{rows.path.name}: {note}" for note in found.notes]
        crop = self.data.crop
        if crop is not None and crop.columns is not None:
            found = boxes.add(rows, found, crop.columns, self.findings)
        lacking = {row for row, _ in (*found.absent, *found.refused)}
        self.findings.images += [image for row, image in enumerate(found.images) if row not in lacking]
        return found

    def test_images(self, rows: Rows, found: Found) -> list[Source]:
        """Return the images to predict; where absent ones may be, they are () and the others' mean answers for them."""
        skip = self.data.missing == "skip"
        self.findings.add(NO_IMAGE, rows.problems(found.wrong(skip)))
        if not (skip and found.absent):
            return found.images
        absent = dict(found.absent)
        (first,) = rows.problems(found.absent[:1])
        self.findings.add(NO_IMAGE, skipping.too_many(str(rows.path), "rows", len(absent), len(rows.table), first))
        self.findings.notes.append(f"{len(absent)} rows of {rows.path.name} have no image, first {first}")
        return [() if row in absent else image for row, image in enumerate(found.images)]


def sample_column(sample: pd.DataFrame, config: Config) -> str | None:
    """Return the sample's id column, or None where none is named and none is called like data.id."""
    asked = config.submission.id
    if asked is not None:
        return asked if asked in sample else None
    if config.submission.rows is not None and len(sample.columns):
        return id_name(sample, config)  # its cells hold more than the id
    found = id_column(sample, config.data)
    if found is None and config.data.predict_id is not None and len(sample.columns):
        return id_name(sample, config)  # what is predicted has a name of its own
    return found


def predicted(rows: Rows | None, config: Config, findings: Findings) -> tuple[Array, Array, Array]:
    """Return what is predicted [N] str, each one's first row [N], and which of them each row belongs to [I]."""
    import pandas as pd

    data, names = config.data, np.zeros(0, np.str_)
    if rows is not None and data.id not in rows.table:
        rows = None
    if rows is not None and data.predict_id is None:
        ids, number_N = texts(rows.table[data.id]), np.arange(len(rows.table))
        return ids, number_N, number_N
    if rows is not None and data.predict_id is not None:
        try:
            names = np.asarray(fill(data.predict_id, rows.table), dtype=np.str_)
        except Refused as error:
            findings.add("templates", (one.below(f"{rows.path}: data.predict_id") for one in error.problems))
    rows_I, ids = pd.factorize(names)
    first_N = np.unique(rows_I, return_index=True)[1]
    return np.asarray(ids, dtype=np.str_), first_N, rows_I.astype(np.int64)

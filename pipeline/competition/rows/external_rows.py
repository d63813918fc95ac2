"""Read further rows that are trained on and never validated: external data, pseudo-labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition.image_paths import Source
from pipeline.competition.labels import encode_targets
from pipeline.competition.rows import forms, train_rows
from pipeline.competition.rows.reader import Reader
from pipeline.competition.rows.rows import check_columns
from pipeline.errors import Problem
from pipeline.files.tables import texts
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    from pipeline.config.sections.data_items import Extra as Wanted

PREFIX, TEST = "extra:", "test:"


@dataclass(frozen=True)
class Extra:
    """Hold rows that are trained on and never validated."""

    ids: Array  # [E] str, each once, beginning with `extra:` (or `test:`)
    images: list[Source]  # [E]
    groups: Array | None  # [E] str, '' where the table has none; None where the competition has none
    targets_EC: Array  # float32
    weights_E: Array  # float32


def read(reader: Reader, classes: Sequence[str]) -> Extra | None:
    """Return the rows of all extra tables, or None where there are none or one cannot be read.

    Their labels must be classes of the training table; where those are not known (none), all else is looked at.
    """
    found = [_one(reader, wanted, classes) for wanted in reader.data.extra]
    parts = [part for part in found if part is not None]
    if not parts or len(parts) < len(found):
        return None
    ids = np.concatenate([part.ids for part in parts])
    names, times = np.unique(ids, return_counts=True)
    twice = names[times > 1].tolist()
    kind, remedy = "ids that stand twice", "keep it in one"
    repeated = (Problem("data.extra", f"id '{name}' stands in several tables", remedy=remedy) for name in twice)
    reader.findings.add(kind, repeated)
    groups = [part.groups for part in parts if part.groups is not None]
    return Extra(
        ids,
        [image for part in parts for image in part.images],
        np.concatenate(groups) if groups else None,
        topk.join([part.targets_EC for part in parts]),
        np.concatenate([part.weights_E for part in parts]),
    )


def _one(reader: Reader, wanted: Wanted, classes: Sequence[str]) -> Extra | None:
    data, findings = reader.data, reader.findings
    image = data.image if wanted.image is None else wanted.image
    read = reader.rows([wanted.table], "data.extra: table", "train", image)
    if read is None:
        return None
    check_columns(read, {"data.id": [data.id], "data.target": data.targets}, findings)
    read = forms.unify(read, data, findings, classes)
    rows = reader.unique(read, data.duplicates == "soft")
    rows, images = train_rows.with_images(rows, image, "data.extra: image", reader)
    weights_E = train_rows.weights(rows, data.weight, findings)
    if not classes or any(column not in rows.table for column in data.targets):
        return None
    targets_EC, wrong = encode_targets(TASKS[data.task], rows.table, data, classes)
    findings.add("bad labels", rows.problems(wrong))
    if images is None:
        return None
    weights_E = np.ones(len(rows.table)) if weights_E is None else weights_E
    groups = None
    if data.group is not None:
        groups = texts(rows.table[data.group]) if data.group in rows.table else np.full(len(rows.table), "")
    return Extra(
        np.asarray([_prefixed(name) for name in rows.table[data.id].tolist()], dtype=np.str_),
        images,
        groups,
        targets_EC,
        (weights_E * wanted.weight).astype(np.float32),
    )


def _prefixed(name: str) -> str:
    return name if name.startswith((PREFIX, TEST)) else PREFIX + name

"""Read further rows that are trained on and never validated: external data, pseudo-labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition.image_paths import Source
from pipeline.competition.labels import encode_targets
from pipeline.competition.rows import train_rows
from pipeline.competition.rows.reader import Reader
from pipeline.competition.rows.rows import Rows, check_columns, check_ids
from pipeline.competition.tables import duplicates
from pipeline.files.tables import texts
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    from pipeline.config.sections.data import Extra as Wanted

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

    Their labels must be classes of the training table.
    """
    found = [_one(reader, wanted, classes) for wanted in reader.data.extra]
    parts = [part for part in found if part is not None]
    if not parts or len(parts) < len(found):
        return None
    ids = np.concatenate([part.ids for part in parts])
    names, times = np.unique(ids, return_counts=True)
    twice = names[times > 1].tolist()
    lines = [f"data.extra: id '{name}' stands in several tables; keep it in one" for name in twice]
    reader.defects.add("ids that stand twice", lines)
    groups = [part.groups for part in parts if part.groups is not None]
    return Extra(
        ids,
        [image for part in parts for image in part.images],
        np.concatenate(groups) if groups else None,
        topk.join([part.targets_EC for part in parts]),
        np.concatenate([part.weights_E for part in parts]),
    )


def _one(reader: Reader, wanted: Wanted, classes: Sequence[str]) -> Extra | None:
    data, defects = reader.data, reader.defects
    image = data.image if wanted.image is None else wanted.image
    rows = reader.rows([wanted.table], "data.extra: table", "train", image)
    if rows is None:
        return None
    check_columns(rows, {"data.id": [data.id], "data.target": data.targets}, defects)
    check_ids(rows, data.id, defects, twice=data.duplicates == "error")
    if any(column not in rows.table for column in [data.id, *data.targets]):
        return None
    if data.duplicates != "error":
        rows = duplicates.once(rows, data, data.duplicates == "soft", defects, reader.notes)
    found = reader.images(rows, image, "data.extra: image")
    if found is None:
        return None
    rows, found = train_rows.present(rows, found, reader)
    defects.add("missing or refused images", rows.lines(found.wrong))
    targets_EC, wrong = encode_targets(TASKS[data.task], rows.table, data, classes)
    defects.add("bad labels", rows.lines(wrong))
    own_E = train_rows.weights(rows, data.weight, defects)
    weights_E = np.full(len(rows.table), wanted.weight) if own_E is None else own_E * wanted.weight
    return Extra(_ids(rows, data.id), found.images, _groups(rows, data.group), targets_EC, weights_E.astype(np.float32))


def _ids(rows: Rows, column: str) -> Array:
    names = rows.table[column].tolist()
    return np.asarray([name if name.startswith((PREFIX, TEST)) else PREFIX + name for name in names], dtype=np.str_)


def _groups(rows: Rows, column: str | None) -> Array | None:
    if column is None:
        return None
    return texts(rows.table[column]) if column in rows.table else np.full(len(rows.table), "")

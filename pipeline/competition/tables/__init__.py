"""Read any kind of table as text: CSV, JSON, a folder of classes, names of files.

What a text in `data.train`, `data.test`, `data.joins` and `data.extra` may be says config.Data.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.competition.rows.rows import Origin, Rows
from pipeline.competition.tables import file_names
from pipeline.competition.tables.json_records import read_json
from pipeline.competition.templates import nearest
from pipeline.files import archives
from pipeline.files.tables import read_text_table

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON = {".json", ".jsonl", ".ndjson"}


def read_table(root: Path, spec: str) -> pd.DataFrame:
    """Return a table's cells as text; raise FileNotFoundError or ValueError as `read` does."""
    return read(root, spec).table


def read(root: Path, spec: str) -> Rows:
    """Return a table with where its rows come from.

    Numbers stay as they are written, what is empty or null is '', and cells of a JSON file that hold lists
    are left out. Raises FileNotFoundError where there is no such file (with the name that was probably
    meant), ValueError where it is no such table or has no rows.
    """
    path = root / spec
    if file_names.is_listing(spec) or path.is_dir():
        return _listed(root, spec)
    suffix, inside = path.suffix.lower(), archives.split(str(path))
    if inside is not None and inside[1] not in (held := archives.members(inside[0])):
        if suffix in SEPARATORS or suffix in JSON:
            raise FileNotFoundError(f"missing in {Path(inside[0]).name}{nearest(inside[1], list(held))}")
        return _listed(root, spec)  # the archive itself, or a folder in it
    if inside is None and not path.is_file():
        names = sorted(entry.name for entry in os.scandir(path.parent)) if path.parent.is_dir() else []
        raise FileNotFoundError(f"missing{nearest(path.name, names)}")
    if suffix not in SEPARATORS and suffix not in JSON:
        raise ValueError(
            f"is a {suffix or 'bare'} file, expected {', '.join([*SEPARATORS, *JSON])}, a folder, "
            "or a template such as train/{label}.{number}.jpg"
        )
    content = path if inside is None else io.BytesIO(archives.read(*inside))
    if suffix in JSON:
        table, origin, rows_N = read_json(content, lines=suffix != ".json")
        return Rows(path, table, (Origin(path, *origin),), None if rows_N is None else file_names.numbers(rows_N))
    try:
        table = read_text_table(content, SEPARATORS[suffix])
    except (OSError, ValueError) as error:  # pandas' parser and decoding errors are ValueErrors
        raise ValueError(f"not readable: {' '.join(str(error).split())}; expected UTF-8 CSV") from None
    if table.empty:
        raise ValueError("not readable: it has no rows; expected UTF-8 CSV")
    return Rows(path, table)


def digest(root: Path, spec: str) -> str:
    """Return the SHA-256 of what `read` depends on, or `missing`; of a listing: of its files' names."""
    path = root / spec
    try:
        if file_names.is_listing(spec) or path.is_dir():
            return _hash("\n".join(file_names.names(root, spec)).encode())
        inside = archives.split(str(path))
        if inside is not None:
            found = archives.members(inside[0])
            if inside[1] in found:
                return _hash(archives.read(*inside))
            return _hash("\n".join(file_names.names(root, spec)).encode())
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError):
        return "missing"


def _listed(root: Path, spec: str) -> Rows:
    table = file_names.read(root, spec)
    return Rows(root / spec, table, (Origin(root, names=table["path"].tolist()),))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

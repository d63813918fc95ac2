"""Read any kind of table as text: CSV, JSON, a folder of classes, names of files.

What a text in `data.train`, `data.test`, `data.joins` and `data.extra` may be says config.Data.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.competition.rows.rows import Origin, Rows, numbered
from pipeline.competition.tables import file_names
from pipeline.competition.tables.file_names import Missing
from pipeline.competition.tables.json_records import read_json
from pipeline.errors import Problem, Refused, nearest
from pipeline.files import archives
from pipeline.files.checksums import file_hash
from pipeline.files.tables import read_text_table

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON = {".json", ".jsonl", ".ndjson"}
WANTED = "expected UTF-8 CSV"


def read_table(root: Path, spec: str) -> pd.DataFrame:
    """Return a table's cells as text; raise as `read` does."""
    return read(root, spec).table


def read(root: Path, spec: str) -> Rows:
    """Return a table with where its rows come from.

    Numbers stay as they are written, what is empty or null is '', and cells of a JSON file that hold lists
    are left out. Raises Missing where there is no such file (with the name that was probably meant), Refused where
    it is no such table or has no rows.
    """
    path = root / spec
    suffix, inside = path.suffix.lower(), archives.split(str(path))
    is_table = suffix in SEPARATORS or suffix in JSON
    held = archives.members(inside[0]) if inside is not None else {}
    if file_names.is_listing(spec) or path.is_dir() or (inside is not None and inside[1] not in held and not is_table):
        table = file_names.read(root, spec)
        return Rows(path, table, (Origin(root, names=table["path"].tolist()),))
    if inside is not None and inside[1] not in held:
        there = [name for name in held if name.lower().endswith((*SEPARATORS, *JSON))]
        raise Missing(f"missing in {Path(inside[0]).name}", nearest(inside[1], there))
    if inside is None and not path.is_file():
        names = sorted(entry.name for entry in os.scandir(path.parent)) if path.parent.is_dir() else []
        raise Missing("missing", nearest(path.name, names))
    if not is_table:
        wanted = f"{', '.join([*SEPARATORS, *JSON])}, a folder, or a template such as train/{{label}}.{{number}}.jpg"
        raise Refused(Problem("", f"is a {suffix or 'bare'} file", wanted))
    content = path if inside is None else io.BytesIO(archives.read(*inside))
    if suffix in JSON:
        table, origin, rows_N = read_json(content, lines=suffix != ".json")
        return Rows(path, table, (Origin(path, *origin),), None if rows_N is None else numbered(rows_N))
    try:
        table = read_text_table(content, SEPARATORS[suffix])
    except (OSError, ValueError) as error:  # pandas' parser and decoding errors are ValueErrors
        raise Refused(Problem("", f"not readable: {' '.join(str(error).split())}", remedy=WANTED)) from None
    if table.empty:
        raise Refused(Problem("", "not readable: it has no rows", remedy=WANTED))
    return Rows(path, table)


def digest(root: Path, spec: str) -> str:
    """Return the SHA-256 of what `read` depends on, or `missing`; of a listing: of its files' names."""
    path, inside = root / spec, archives.split(f"{root / spec}")
    try:
        if inside is not None and inside[1] in archives.members(inside[0]):
            return hashlib.sha256(archives.read(*inside)).hexdigest()
        if inside is not None or file_names.is_listing(spec) or path.is_dir():
            return hashlib.sha256("\n".join(file_names.names(root, spec)).encode()).hexdigest()
    except (OSError, ValueError):
        return "missing"
    return file_hash(path)

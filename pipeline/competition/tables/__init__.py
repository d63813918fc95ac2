"""Read any kind of table as text: CSV, JSON, Parquet, a folder of classes, names of files.

What a text in `data.train`, `data.test`, `data.joins` and `data.extra` may be says config.Data.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.competition.rows.rows import Origin, Rows, numbered
from pipeline.competition.tables import file_names, label_arrays, parquet, text_tables
from pipeline.competition.tables.file_names import Missing
from pipeline.competition.tables.json_records import read_json
from pipeline.errors import Problem, Refused, nearest
from pipeline.files import archives, bounds
from pipeline.files.checksums import file_hash

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON = {".json", ".jsonl", ".ndjson"}
PARQUET = {".parquet", ".pq"}
TABLES = {*SEPARATORS, *JSON, *PARQUET}
PACKED: dict[str, Callable[[Any], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def read_table(root: Path, spec: str) -> pd.DataFrame:
    """Return a table's cells as text; raise as `read` does."""
    return read(root, spec).table


def is_table(path: str | Path) -> bool:
    """Tell by its name whether a file is a table, packed by itself or not."""
    return _ending(path) in TABLES


def read(root: Path, spec: str, separator: str | None = None, labelled: bool = True) -> Rows:
    """Return a table with where its rows come from and notes on what was taken care of.

    Numbers stay as they are written, blanks around cells are taken off, what is empty or null is ''; a list in a
    cell becomes its parts with `separator` between them. A table that is packed, alone in a zip or by gzip, bzip2 or
    xz, is read there, also under its plain name. `labelled`: ask where a listing's classes are in doubt. Raises
    Missing where there is no such file (with the name that was probably meant), Refused where it is no such table or
    has no rows.
    """
    path = root / spec
    if label_arrays.is_array(spec) and label_arrays.file_of(path).is_file():
        return Rows(path, label_arrays.read(path), (Origin(path, "entry", 0),))
    where, inside, notes = _locate(path)
    if file_names.is_listing(spec) or path.is_dir() or (inside is not None and not is_table(inside[1])):
        table, more = file_names.read(root, spec, labelled)
        return Rows(path, table, (Origin(root, names=table["path"].tolist()),), notes=tuple(more))
    if inside is not None and inside[1] not in (held := archives.members(inside[0])):
        raise Missing(f"missing in {Path(inside[0]).name}", nearest(inside[1], list(filter(is_table, held))))
    if inside is None and not where.is_file():
        names = sorted(entry.name for entry in os.scandir(path.parent)) if path.parent.is_dir() else []
        raise Missing("missing", nearest(path.name, names))
    name = where.name if inside is None else inside[1]
    if (ending := _ending(name)) not in TABLES:
        wanted = f"{', '.join(sorted(TABLES))}, a folder, or a template such as train/{{label}}.{{number}}.jpg"
        raise Refused(Problem("", f"is a {ending or 'bare'} file", wanted))
    try:
        content = _content(where, inside)
    except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError) as error:
        raise Refused(Problem("", f"not readable: {error}")) from None
    if ending in PARQUET and not content.startswith(parquet.MAGIC):
        ending, notes = ".csv", (*notes, "it is no Parquet file, and read as text")
    if ending in PARQUET:
        table = parquet.read(content, separator)
        return Rows(path, table, (Origin(path, "row", 1),), notes=notes)
    if ending in JSON:
        table, origin, rows_N = read_json(content, lines=ending != ".json", separator=separator)
        return Rows(path, table, (Origin(path, *origin),), None if rows_N is None else numbered(rows_N), notes)
    table, lines_N, more = text_tables.read(content, SEPARATORS[ending])
    return Rows(path, table, (Origin(path),), numbered(lines_N - 2), (*notes, *more))


def digest(root: Path, spec: str) -> str:
    """Return the SHA-256 of what `read` depends on, or `missing`; of a listing: of its files' names."""
    path = root / spec
    if label_arrays.is_array(spec):
        return file_hash(label_arrays.file_of(path))
    try:
        where, inside, _ = _locate(path)
        if file_names.is_listing(spec) or path.is_dir() or (inside is not None and not is_table(inside[1])):
            return hashlib.sha256("\n".join(file_names.names(root, spec)).encode()).hexdigest()
        if inside is not None:
            return hashlib.sha256(archives.read(*inside)).hexdigest()
    except (OSError, ValueError):
        return "missing"
    return file_hash(where)


def _ending(path: str | Path) -> str:
    """Return the ending in lower case that says what kind of table it is."""
    stem, ending = os.path.splitext(str(path).lower())
    return os.path.splitext(stem)[1] if ending in PACKED else ending


def _locate(path: Path) -> tuple[Path, tuple[str, str] | None, tuple[str, ...]]:
    """Return the file that holds a table, or the archive and its member, and a note where it has another name."""
    inside = archives.split(str(path))
    if inside is not None:
        return path, _only_table(*inside), ()
    if path.exists() or not is_table(path):
        return path, None, ()
    for ending in PACKED:
        if (packed := path.with_name(path.name + ending)).is_file():
            return packed, None, (f"it is read from {packed.name}",)
    for name in (f"{path.name}.zip", f"{path.stem}.zip"):
        if (packed := path.with_name(name)).is_file() and is_table((member := _only_table(str(packed), ""))[1]):
            return path, member, (f"it is read from {name}",)
    return path, None, ()


def _only_table(archive: str, member: str) -> tuple[str, str]:
    """Return the archive's only table where it is named as a whole and holds nothing else."""
    if not member:
        held = [name for name in archives.members(archive) if not name.startswith("__MACOSX/")]
        if len(held) == 1 and is_table(held[0]):
            return archive, held[0]
    return archive, member


def _content(path: Path, inside: tuple[str, str] | None) -> bytes:
    """Return the table's bytes, unpacked."""
    content = path.read_bytes() if inside is None else archives.read(*inside)
    unpack = PACKED.get(os.path.splitext(inside[1] if inside else path.name)[1].lower())
    if unpack is None:
        return content
    with unpack(io.BytesIO(content)) as stream:
        return bounds.unpacked(stream, len(content), "unpack it")

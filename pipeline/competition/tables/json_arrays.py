"""Read images that are flat lists of numbers in JSON records, each written once as an array file."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.competition.rows.rows import Findings, Origin, Rows
from pipeline.competition.tables.file_names import Missing
from pipeline.competition.tables.json_records import RECORD, frame, unreadable
from pipeline.config.sections.data_items import Arrays
from pipeline.errors import Problem, Refused, SpaceError, problems_of
from pipeline.files.atomic import UNWRITABLE, read_json, write_json
from pipeline.files.checksums import digest, file_hash

if TYPE_CHECKING:
    from pipeline.config.config import Config

PATHS = "\x00array"  # the column that holds the array files' paths; no JSON key is called so
CHUNK = 1 << 24  # characters read at once: a file may be larger than memory, a record is not
TABLE = "table.json"
GAP = re.compile(r"[\s,]*")


def read(path: Path, arrays: Arrays, config: Config, findings: Findings) -> Rows | None:
    """Return the records' other cells as text, with the column PATHS, or None where some hold no image.

    The arrays, [H,W,C] float32, lie in a folder that is called by the hash of the file, the columns and the
    shape; a second call reads no number. Raises Missing, SpaceError, and Refused where it is no list of
    records.
    """
    if not path.is_file():
        raise Missing("missing", "")
    base = Path(config.data.cache.dir or config.runs_dir).absolute() / "records"
    key = digest({"file": file_hash(path), "columns": arrays.columns, "shape": arrays.shape})
    folder = base / key[:32]
    if not (folder / TABLE).is_file() and not _write(path, arrays, folder, findings):
        return None
    table = frame(read_json(folder / TABLE))
    table[PATHS] = [f"{folder}/{row:06}.npy" for row in range(len(table))]
    return Rows(path, table, (Origin(path, *RECORD),))


def _write(path: Path, arrays: Arrays, folder: Path, findings: Findings) -> bool:
    """Write the arrays and the table into `folder`, whole or not at all; tell whether the records hold images."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    rest, wrong = [], []
    try:
        beside.mkdir(parents=True, exist_ok=True)
        for row, record in enumerate(_records(path)):
            try:
                np.save(beside / f"{row:06}.npy", _image(record, arrays))
            except (TypeError, ValueError) as error:
                problems = problems_of(error) if isinstance(error, ValueError) else [Problem("", str(error))]
                wrong += [(row, problem) for problem in problems]
            rest.append({name: value for name, value in record.items() if not isinstance(value, list | dict)})
        if not wrong:
            write_json(beside / TABLE, rest)
            if not folder.exists():
                beside.rename(folder)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        found, remedy = f"cannot be written: {error.strerror}", "free space or set data.cache.dir"
        raise SpaceError(Problem(str(folder), found, remedy=remedy)) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    findings.add("records that hold no image", Rows(path, frame([]), (Origin(path, *RECORD),)).problems(wrong))
    return not wrong


def _image(record: dict[str, Any], arrays: Arrays) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a record's planes as [H,W,C] float32."""
    height, width = arrays.shape
    planes = []
    for column in arrays.columns:
        if not isinstance(values := record.get(column), list):
            raise Refused(Problem("", f"{column} is no list of numbers (data.image.columns)"))
        plane = np.asarray(values, dtype=np.float32).ravel()
        if plane.size != height * width:
            wanted = f"{height} × {width} (data.image.shape)"
            raise Refused(Problem("", f"{column} holds {plane.size} numbers", wanted))
        planes.append(plane.reshape(height, width))
    return np.stack(planes, -1)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSON list one by one."""
    decoder, at = json.JSONDecoder(), 1
    with path.open(encoding="utf-8-sig") as stream:
        text = stream.read(CHUNK).lstrip()
        if not text.startswith("["):
            raise unreadable("expected a list of records, which images in records are read from")
        while True:
            at = GAP.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing too
            if text.startswith("]", at):
                return
            try:
                record, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError as error:
                more = stream.read(CHUNK)
                if not more:
                    raise Refused(Problem("", f"not readable as JSON: {error.msg}")) from None
                text, at = text[at:] + more, 0
                continue
            if not isinstance(record, dict):
                raise unreadable("expected a list of records, found one that is none")
            yield record

"""Read images that are numbers in a table, lists in JSON records or cells of a CSV: written once as one array file."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.competition import tables
from pipeline.competition.rows.rows import Findings, Origin, RowProblem, Rows, numbered
from pipeline.competition.tables import json_stream
from pipeline.competition.tables.file_names import Missing
from pipeline.competition.tables.json_records import RECORD, frame
from pipeline.config.sections.data_items import Arrays
from pipeline.errors import Problem, Refused, SpaceError, nearest, problems_of
from pipeline.files.atomic import UNWRITABLE, read_json, write_json
from pipeline.files.checksums import digest
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.config import Config

PATHS = "\x00array"  # the column that holds the images' paths; no column of a table is called so
TABLE, STACK, RAW = "table.json", "images.npy", "raw"
ROWS = 1 << 12  # converted at once
KEY = "data.image.columns"


def read(root: Path, spec: str, arrays: Arrays, config: Config, findings: Findings) -> Rows | None:
    """Return the table's other cells as text, with the column PATHS, or None where some rows hold no image.

    The images, [N,H,W,C], lie in a folder that is called by the hash of the file, the columns and the shape; a
    second call reads no number. They are uint8 or uint16 where all numbers of the table are whole and fit, unless
    data.window says what is black and white; else float32. Raises Missing, SpaceError, and Refused where it is
    no such table.
    """
    path, window = root / spec, config.data.window
    base = Path(config.data.cache.dir or config.runs_dir).absolute() / "stacks"
    about = {"columns": arrays.columns, "shape": arrays.shape, "as stored": window is None}
    if (hashed := tables.digest(root, spec)) == "missing":
        tables.read(root, spec)  # says what is there
        raise Missing("missing", "")
    folder = base / digest({"file": hashed, **about})[:32]
    if not (folder / TABLE).is_file() and not _write(root, spec, arrays, window is None, folder, findings):
        return None
    kept = read_json(folder / TABLE)
    table = frame(kept["rows"])
    table[PATHS] = [f"{folder / STACK}[{row}]" for row in range(len(table))]
    origin_N2 = None if kept["lines"] is None else numbered(np.asarray(kept["lines"]))
    return Rows(path, table, (Origin(path, *kept["unit"]),), origin_N2, tuple(kept["notes"]))


def _write(root: Path, spec: str, arrays: Arrays, as_stored: bool, folder: Path, findings: Findings) -> bool:
    """Write the images and the table into `folder`, whole or not at all; tell whether all rows hold images."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        beside.mkdir(parents=True, exist_ok=True)
        is_list = Path(spec).suffix.lower() == ".json"
        with (beside / RAW).open("wb") as stream:
            writer = _Writer(stream, arrays)
            rows = _records(root / spec, writer) if is_list else _cells(tables.read(root, spec, " "), writer)
        unit = (rows.origins or (Origin(rows.path),))[0]
        findings.add("rows that hold no image", rows.problems(writer.wrong))
        if writer.wrong or not (dtype := writer.dtype(as_stored, rows.path, findings)):
            return False
        _convert(beside / RAW, beside / STACK, dtype, (writer.count, *writer.shape_HWC))
        (beside / RAW).unlink()
        lines = None if rows.origin_N2 is None else rows.origin_N2[:, 1].tolist()
        about: dict[str, Any] = {"rows": rows.table.to_dict("records"), "unit": [unit.unit, unit.first], "lines": lines}
        about["notes"] = list(rows.notes)
        write_json(beside / TABLE, about)
        if not folder.exists():
            beside.rename(folder)
        return True
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        found, remedy = f"cannot be written: {error.strerror}", "free space or set data.cache.dir"
        raise SpaceError(Problem(str(folder), found, remedy=remedy)) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


class _Writer:
    """Append images as float32, and see which numbers they are made of."""

    def __init__(self, stream: Any, arrays: Arrays) -> None:
        self.arrays, self.count, self.wrong = arrays, 0, list[RowProblem]()
        self.shape_HWC = (*arrays.shape[:2], arrays.channels)
        self._stream, self._low, self._high, self._whole = stream, np.inf, -np.inf, True

    def add(self, planes: Iterable[Array]) -> None:
        """Append images, given as one array [n, numbers] for each plane."""
        shape = self.arrays.shape if len(self.arrays.shape) > 2 else (*self.arrays.shape, 1)
        images_NHWC = np.concatenate([plane.reshape(-1, *shape) for plane in planes], -1)
        self.count += len(images_NHWC)
        self._low, self._high = min(self._low, images_NHWC.min()), max(self._high, images_NHWC.max())
        self._whole = self._whole and bool((images_NHWC == np.rint(images_NHWC)).all())
        self._stream.write(np.ascontiguousarray(images_NHWC, np.float32).data)

    def dtype(self, as_stored: bool, path: Path, findings: Findings) -> str | None:
        """Return the type that the images are kept in; None where data.window is missing, which is told."""
        if not as_stored:
            return "float32"
        if self._whole and self._low >= 0 and self._high <= 65535:
            return "uint8" if self._high <= 255 else "uint16"
        found = f"its numbers go from {self._low:g} to {self._high:g}"
        remedy = f"say which are black and white, as with data.window=[{self._low:g}, {self._high:g}]"
        findings.add("pixels", [Problem(str(path), found, "whole numbers of 8 or 16 bits", remedy)])
        return None


def _records(path: Path, writer: _Writer) -> Rows:
    """Write the images of JSON records one by one; return the records without them."""
    rest = []
    for row, record in enumerate(json_stream.read(path)):
        try:
            planes = [_listed(record.get(column), column, writer.arrays) for column in writer.arrays.columns]
            writer.add(planes)
        except (TypeError, ValueError) as error:
            problems = problems_of(error) if isinstance(error, ValueError) else [Problem("", str(error))]
            writer.wrong += [(row, problem) for problem in problems]
        rest.append({name: value for name, value in record.items() if not isinstance(value, list | dict)})
    return Rows(path, frame(rest), (Origin(path, *RECORD),))


def _cells(rows: Rows, writer: _Writer) -> Rows:
    """Write the images of a table of text; return it without their columns."""
    planes, used = [], set[str]()
    for column in writer.arrays.columns:
        names = _named(rows.table, column)
        if not names:
            remedy = nearest(column.replace("*", "0"), [str(name) for name in rows.table.columns])
            raise Refused(Problem("", f"no column '{column}' ({KEY})", remedy=remedy))
        like = re.sub(r"\d+", "*", column)
        if "*" not in column and len(wide := _named(rows.table, like)) > 1 and _holds_one(rows.table[column]):
            found = f"{column} holds one number ({KEY})"
            raise Refused(Problem("", found, "all of an image's", f"{like} names all {len(wide)} columns"))
        used |= {*names}
        planes.append((column, names))
    for start in range(0, len(rows.table), ROWS):
        part = rows.table.iloc[start : start + ROWS]
        images = [_plane(part, column, names, writer, start) for column, names in planes]
        if not writer.wrong:
            writer.add(images)
    return Rows(rows.path, rows.table.drop(columns=sorted(used)), rows.origins, rows.origin_N2, rows.notes)


def _named(table: pd.DataFrame, column: str) -> list[str]:
    """Return the columns that a name with `*`, any whole number, means, in the order of these numbers."""
    if column in table or "*" not in column:
        return [column] if column in table else []
    pattern = re.compile(r"(\d+)".join(map(re.escape, column.split("*"))))
    found = {str(name): match.groups() for name in table.columns if (match := pattern.fullmatch(str(name)))}
    return sorted(found, key=lambda name: [int(number) for number in found[name]])


def _holds_one(cells: pd.Series[str]) -> bool:
    return bool(cells.str.strip().str.fullmatch(r"[-+.\deE]+").all())


def _plane(part: pd.DataFrame, column: str, names: list[str], writer: _Writer, start: int) -> Array:
    """Return the numbers of some rows, [n, numbers] float32; those that are none are added to the problems."""
    wanted = int(np.prod(writer.arrays.shape[:3]))
    if "*" not in column or column in part:
        found = []
        for row, cell in enumerate(part[column].tolist()):
            try:
                found.append(_listed(re.split(r"[\s,;]+", cell.strip(" []()\t")), column, writer.arrays))
            except ValueError as error:
                writer.wrong += [(start + row, problem) for problem in problems_of(error)]
        return np.stack(found) if found else np.zeros((0, wanted), np.float32)
    if len(names) != wanted:
        found_, shape = f"{column} is {len(names)} columns", " × ".join(map(str, writer.arrays.shape))
        raise Refused(Problem("", found_, f"{shape} (data.image.shape)"))
    cells_NP = part[names].to_numpy(dtype=object)
    try:
        return cells_NP.astype(np.float32)
    except ValueError:
        import pandas as pd

        for row, cells in enumerate(cells_NP):
            lost = np.flatnonzero(np.isnan(pd.to_numeric(pd.Series(cells), errors="coerce").to_numpy(np.float64)))
            if len(lost):
                at = int(lost[0])
                writer.wrong.append((start + row, Problem("", f"{names[at]} is '{cells[at]}'", f"a number ({KEY})")))
        return np.zeros((0, wanted), np.float32)


def _listed(values: Any, column: str, arrays: Arrays) -> Array:
    """Return a list of numbers, as [numbers] float32; raise Refused where they are other than the shape asks for."""
    if not isinstance(values, list):
        raise Refused(Problem("", f"{column} is no list of numbers ({KEY})"))
    try:
        plane: Array = np.asarray(values, dtype=np.float32).ravel()
    except ValueError:
        raise Refused(Problem("", f"{column} is no list of numbers ({KEY})")) from None
    if plane.size != int(np.prod(arrays.shape)):
        wanted = f"{' × '.join(map(str, arrays.shape))} (data.image.shape)"
        raise Refused(Problem("", f"{column} holds {plane.size} numbers", wanted))
    return plane


def _convert(source: Path, target: Path, dtype: str, shape: tuple[int, ...]) -> None:
    """Write raw float32 numbers as an npy file of the type."""
    raw = np.memmap(source, np.float32, "r", shape=shape)
    whole = np.lib.format.open_memmap(target, "w+", np.dtype(dtype), shape)
    for start in range(0, len(raw), ROWS):
        whole[start : start + ROWS] = raw[start : start + ROWS].astype(dtype)
    whole.flush()

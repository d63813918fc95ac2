"""Read CSV files as people have them: any encoding, separator and line end, blank rows and columns, stray quotes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import Problem, Refused
from pipeline.files.tables import read_text_table
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

OTHER_SEPARATORS = ";\t|,"
EXCEL = re.compile(rb'\s*"?sep=(.)"?[ \t]*\r?\n')  # a first line that names the separator
LONGEST_CELL = 2**31 - 1


def read(content: bytes, separator: str) -> tuple[pd.DataFrame, Array, list[str]]:
    """Return what `read_titled` does but for the titles; the second column of a title is called 'title.1'."""
    table, titles, lines_N, notes = read_titled(content, separator)
    for name in dict.fromkeys(name for name in titles if name and titles.count(name) > 1):
        notes.append(
            f"the column '{name}' stands {titles.count(name)} times; the first is taken, others are '{name}.1', …"
        )
    return table, lines_N, notes


def read_titled(content: bytes, separator: str) -> tuple[pd.DataFrame, list[str], Array, list[str]]:
    """Return the cells as text without blanks around them, titles, each row's line [N] int64, what was taken care of.

    Columns are called as pandas does, the titles are as they are written, a blank one ''. Another separator than the
    file's ending promises is seen by the header. Rows and nameless columns that are blank as a whole are left out.
    Raises Refused where it is no table, where a line has more cells than the header, and where a quote swallows rows.
    """
    content, notes = _utf8(content)
    first = 1
    if (named := EXCEL.match(content)) is not None:
        content, separator, first = content[named.end() :], named[1].decode(), 2
    stripped = content.lstrip(b"\r\n")
    first += content[: len(content) - len(stripped)].count(b"\n")
    stripped = stripped.rstrip(b"\r\n")
    header = re.sub(r'"[^"]*"', "", re.split(rb"[\r\n]", stripped, maxsplit=1)[0].decode())
    if separator not in header and (found := max(OTHER_SEPARATORS, key=header.count)) in header:
        notes.append(f"its cells are separated by {found!r}")
        separator = found
    if not stripped:
        raise Refused(Problem("", "not readable: it is empty", "a CSV"))
    starts = _check_quotes(stripped, separator, first)
    try:
        table = read_text_table(io.BytesIO(stripped), separator, foreign=True)
    except ValueError as error:  # pandas' parser errors are ValueErrors
        cut = _check_lengths(stripped, separator, first)
        if cut is None:
            raise Refused(Problem("", f"not readable: {' '.join(str(error).split())}", "a CSV")) from None
        table = read_text_table(cut, separator, foreign=True)
        notes.append("its lines end in blank cells beyond the header's, which are left out")
    lines_N = np.arange(len(table)) + first + 1
    if starts is not None and len(starts) == len(table) + 1:
        lines_N = np.asarray(starts[1:], dtype=np.int64)
    table = _trimmed(table, stripped, separator)
    table.columns = _names([str(name) for name in table.columns])
    titles = [name.strip() for name in next(cells for *_, cells in _records(stripped, separator) if cells)]
    nameless = [name for name in table.columns if name.startswith("Unnamed: ") and not table[name].any()]
    titles = [title for title, name in zip(titles, table.columns, strict=True) if name not in nameless]
    table = table.drop(columns=nameless)
    blank_N: Array = table.iloc[:, 0].eq("").to_numpy()
    if blank_N.any():
        blank_N = (table.to_numpy() == "").all(1)
    if blank_N.any() and not blank_N.all():
        notes.append(f"{int(blank_N.sum())} blank rows are left out, first line {lines_N[int(blank_N.argmax())]}")
        table, lines_N = table.iloc[np.flatnonzero(~blank_N)].reset_index(drop=True), lines_N[~blank_N]
    if table.empty or blank_N.all():
        raise Refused(Problem("", "not readable: it has no rows", "a CSV"))
    return table, titles, lines_N, notes


def _utf8(content: bytes) -> tuple[bytes, list[str]]:
    """Return the content as UTF-8 without a byte order mark, and the encoding where it was another."""
    for mark, name in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if content.startswith(mark):
            if name == "utf-8":
                return _utf8(content[len(mark) :])
            return _decoded(content, name).encode(), ["it is UTF-16, and read as that"]
    if b"\x00" in content:
        zeros = [content[start:1000:2].count(0) for start in (0, 1)]  # every other byte of plain letters in UTF-16
        if min(zeros) or 5 * max(zeros) < len(content[:1000]):
            line = content.count(b"\n", 0, content.index(b"\x00")) + 1
            raise Refused(Problem("", f"not readable: line {line} holds a NUL byte", "text"))
        name = "utf-16-le" if zeros[1] else "utf-16-be"
        return _decoded(content, name).encode(), ["it is UTF-16 without a mark, and read as that"]
    try:
        content.decode()
        return content, []
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
    text = _decoded(content, "cp1252")
    shown = text.split("\n")[number - 1].strip()[:60]
    return text.encode(), [f"it is not UTF-8; read as Windows-1252, by which line {number} is '{shown}'"]


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode(name)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"not readable as {name.upper()}: {error.reason} in line {line}"
        raise Refused(Problem("", found, "UTF-8", "save it as UTF-8")) from None


def _check_quotes(content: bytes, separator: str, first: int) -> list[int] | None:
    """Return the line on which each record begins, None where no cell is quoted; refuse quotes that swallow rows."""
    if b'"' not in content:
        return None
    starts, problems, width = list[int](), list[Problem](), 0
    for begin, end, cells in _records(content, separator):
        starts.append(first + begin)
        width = width or len(cells or ())
        if end == begin:
            continue
        inner = [line for cell in cells or () for line in cell.split("\n")[1:]]
        if cells is None or (width > 1 and all(line.count(separator) == width - 1 for line in inner)):
            found = f"line {first + begin}: a quote opens a cell that swallows the rows to line {first + end}"
            problems.append(Problem("", found, remedy="take the stray quote out"))
    if problems:
        raise Refused(*problems)
    return starts


def _check_lengths(content: bytes, separator: str, first: int) -> io.BytesIO | None:
    """Refuse lines that have more cells than the header, each with its number; return the table without blank ones.

    None where no line has more.
    """
    records = [(first + begin, cells or []) for begin, _, cells in _records(content, separator)]
    width = len(records[0][1])
    if any(len(cells) > width for _, cells in records) and not any(any(cells[width:]) for _, cells in records):
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=separator, lineterminator="\n").writerows(cells[:width] for _, cells in records)
        return io.BytesIO(text.getvalue().encode())
    counts = [(line, len(cells)) for line, cells in records]
    rows = counts[1:]
    longer = [(line, count) for line, count in rows if count > width]
    if len(longer) == len(rows):
        remedy = "name every column"
        raise Refused(
            Problem("", f"its lines have more cells than its header, {longer[0][1]} for {width}", remedy=remedy)
        )
    remedy = f"put cells that hold {separator!r} in quotes"
    found = (f"line {line}: has {count} cells, more than its header's {width}" for line, count in longer)
    if longer:
        raise Refused(*(Problem("", text, remedy=remedy) for text in found))
    return None


def _records(content: bytes, separator: str) -> Iterator[tuple[int, int, list[str] | None]]:
    """Yield the first and last line of each record from 0 on, and its cells; None where a quote is not closed."""
    with _long_cells():
        reader = csv.reader(
            io.TextIOWrapper(io.BytesIO(content), "utf-8", newline=""), delimiter=separator, strict=True
        )
        while True:
            begin = reader.line_num
            try:
                cells: list[str] | None = next(reader)
            except StopIteration:
                return
            except csv.Error:
                cells = None
            yield begin, max(begin, reader.line_num - 1), cells


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let cells be as long as they are: run-length codes of masks exceed csv's limit."""
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _trimmed(table: pd.DataFrame, content: bytes, separator: str) -> pd.DataFrame:
    mark = separator.encode()
    ends = (mark, b"\n", b"\r", b'"')
    blanks = [blank for blank in (b" ", b"\t", b"\xc2\xa0") if blank != mark]
    around = [pair for blank in blanks for end in ends for pair in (blank + end, end + blank)]
    if not content.endswith(tuple(blanks)) and not any(pair in content for pair in around):
        return table
    return table.assign(**{name: table[name].str.strip() for name in table.columns})


def _names(names: list[str]) -> list[str]:
    """Return the columns' names without blanks around them, where that leaves them apart."""
    trimmed = [name.strip() for name in names]
    return [name if trimmed.count(short) > 1 else short for name, short in zip(names, trimmed, strict=True)]

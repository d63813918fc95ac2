"""CSV files as people have them are read right, or refused with the line."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.competition import tables
from pipeline.competition.tables import text_tables
from pipeline.errors import Refused, problems_of


def read(content: bytes | str, separator: str = ",") -> tuple[list[dict[str, str]], list[int], list[str]]:
    table, lines_N, notes = text_tables.read(content.encode() if isinstance(content, str) else content, separator)
    return table.to_dict("records"), lines_N.tolist(), notes  # type: ignore[return-value]


def refused(content: str) -> list[str]:
    with pytest.raises(Refused) as caught:
        read(content)
    return [str(problem) for problem in problems_of(caught.value)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_any_encoding_gives_the_same_cells(encoding: str) -> None:
    rows, lines, notes = read("id,label\na,Épicéa\nb,Frêne\n".encode(encoding))
    assert rows == [{"id": "a", "label": "Épicéa"}, {"id": "b", "label": "Frêne"}] and lines == [2, 3]
    assert bool(notes) != encoding.startswith("utf-8")
    if encoding == "cp1252":
        assert notes == ["it is not UTF-8; read as Windows-1252, by which line 2 is 'a,Épicéa'"]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_another_separator_is_seen_by_the_header_and_said(separator: str) -> None:
    rows, _, notes = read(separator.join(["id", "label"]) + "\r\n" + separator.join(["a", "0,5"]) + "\r\n")
    assert rows == [{"id": "a", "label": "0,5"}] and notes == [f"its cells are separated by {separator!r}"]
    assert read('"a;b",c\n1,2\n')[0] == [{"a;b": "1", "c": "2"}]
    assert read("sep=;\r\nid;x\r\na;1\r\n")[:2] == ([{"id": "a", "x": "1"}], [3])


def test_blank_rows_and_nameless_blank_columns_are_left_out_and_lines_stay_true() -> None:
    rows, lines, notes = read("\nid,label,\r\na,cat,\r\n,,\r\n\r\nb,dog,\r\n,,\r\n")
    assert rows == [{"id": "a", "label": "cat"}, {"id": "b", "label": "dog"}]
    assert lines == [3, 6] and notes == ["3 blank rows are left out, first line 4"]
    assert read(",label\n0,1\n1,0\n")[0] == [{"Unnamed: 0": "0", "label": "1"}, {"Unnamed: 0": "1", "label": "0"}]


def test_blanks_around_names_and_cells_are_taken_off() -> None:
    assert read("id, label \n a ,\u00a0cat\nb\t,dog")[0] == [{"id": "a", "label": "cat"}, {"id": "b", "label": "dog"}]
    assert read('"id" ,"x"\n" a ", "b c"\n')[0] == [{"id": "a", "x": "b c"}]
    assert read("id,\n1 \n")[0] == [{"id": "1"}]


def test_a_name_that_stands_twice_is_said() -> None:
    rows, _, notes = read("id,label,label\na,1,0\n")
    assert rows == [{"id": "a", "label": "1", "label.1": "0"}]
    assert notes == ["the column 'label' stands 2 times; the first is taken, others are 'label.1', …"]


def test_stray_quotes_that_swallow_rows_are_refused_with_their_lines() -> None:
    body = [f"im{n},{'cat' if n % 2 else 'dog'}" for n in range(12)]
    for both in (True, False):  # the second quote before the cell, or behind it
        wrong = list(body)
        wrong[3] = 'im3,"cat'
        wrong[8] = 'im8,"dog' if both else 'im8,dog"'
        (line,) = refused("\n".join(["id,label", *wrong]))
        assert "line 5: a quote opens a cell that swallows the rows to line 10" in line
    assert (
        "line 5: a quote opens a cell that swallows the rows to line 13"
        in refused("\n".join(["id,label", *body[:3], 'im3,"cat', *body[4:]]))[0]
    )


def test_quoted_cells_of_several_lines_are_read_and_lines_stay_true() -> None:
    rows, lines, _ = read('id,note,x\na,"one\ntwo, three\nfour",1\nb,5" nail,2\n')
    assert rows == [{"id": "a", "note": "one\ntwo, three\nfour", "x": "1"}, {"id": "b", "note": '5" nail', "x": "2"}]
    assert lines == [2, 5]


def test_blank_cells_beyond_the_header_are_left_out_and_nul_bytes_refused() -> None:
    rows, lines, notes = read('id,label\na,1,\n\n"b, c",2,,\n')
    assert rows == [{"id": "a", "label": "1"}, {"id": "b, c", "label": "2"}] and lines == [2, 4]
    assert notes[0] == "its lines end in blank cells beyond the header's, which are left out"
    assert refused("id,label\na,1\nb,\x00\n") == ["not readable: line 3 holds a NUL byte, expected text"]


def test_lines_longer_than_the_header_are_named() -> None:
    assert refused("id,l\na,1\nb,1,2\nc,3\nd,1,2,3\n") == [
        "line 3: has 3 cells, more than its header's 2; put cells that hold ',' in quotes",
        "line 5: has 4 cells, more than its header's 2; put cells that hold ',' in quotes",
    ]
    assert refused("id\na,1\nb,2\n") == ["its lines have more cells than its header, 2 for 1; name every column"]
    assert "no rows" in refused("id,label\n")[0] and "empty" in refused("\n")[0]


CELLS = st.text(
    st.characters(exclude_characters="\x00\r", exclude_categories=("Cs", "Zs", "Cc")), min_size=1, max_size=6
)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), st.sampled_from(",;\t"))
def test_what_pandas_writes_is_read_as_it_was(rows: list[tuple[str, str]], separator: str) -> None:
    table = pd.DataFrame(rows, columns=["id", "label"]).map(str.strip)
    table = table[(table["id"] != "") & (table["label"] != "")].reset_index(drop=True)
    if len(table):
        found, lines, _ = read(table.to_csv(index=False, sep=separator).encode(), separator)
        assert found == table.to_dict("records") and lines == list(range(2, len(table) + 2))


def test_packed_tables_are_read_under_their_own_and_their_plain_name(tmp_path: Path) -> None:
    content = b"id,label\na,1\n"
    for ending, pack in {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.items():
        (tmp_path / f"t{ending[1:]}.csv{ending}").write_bytes(pack(content))
        for name in (f"t{ending[1:]}.csv{ending}", f"t{ending[1:]}.csv"):
            rows = tables.read(tmp_path, name)
            assert rows.table.to_dict("records") == [{"id": "a", "label": "1"}]
            assert bool(rows.notes) == name.endswith(".csv")
            assert tables.digest(tmp_path, name) == tables.digest(tmp_path, f"t{ending[1:]}.csv{ending}") != "missing"
    for name in ("train.csv.zip", "test.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(name.removesuffix(".zip").removesuffix(".csv") + ".csv", content)
    for spec in ("train.csv.zip", "train.csv", "train.csv.zip/train.csv", "test.csv", "test.zip"):
        assert tables.read(tmp_path, spec).table["label"].tolist() == ["1"]
        assert tables.digest(tmp_path, spec) == tables.digest(tmp_path, "train.csv")
    (tmp_path / "bad.csv.gz").write_bytes(gzip.compress(content)[:-6])
    with pytest.raises(Refused, match="not readable"):
        tables.read(tmp_path, "bad.csv.gz")


def test_parquet_is_read_as_its_csv_would_be(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["a", "b"], "n": [1, 2], "x": [0.5, None], "is": [True, False], "l": [["u", "v"], []]})
    table.to_parquet(tmp_path / "t.parquet")
    found = tables.read(tmp_path, "t.parquet", separator="|")
    assert found.table.to_dict("records") == [
        {"id": "a", "n": "1", "x": "0.5", "is": "true", "l": "u|v"},
        {"id": "b", "n": "2", "x": "", "is": "false", "l": ""},
    ]
    assert found.place(1) == f"{tmp_path}/t.parquet: row 2"
    (tmp_path / "csv.parquet").write_text("id,label\na,1\n")  # renamed by someone
    rows = tables.read(tmp_path, "csv.parquet")
    assert rows.table["label"].tolist() == ["1"] and rows.notes == ("it is no Parquet file, and read as text",)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(Refused, match="not readable as Parquet"):
        tables.read(tmp_path, "bad.parquet")

"""Tables keep every cell as text, and the digits of floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.files.tables import read_text_table, write_table


def test_tables_keep_text_and_digits(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    values = np.random.default_rng(0).random(50)
    write_table(path, pd.DataFrame({"id": [f"{n:03d}" for n in range(50)], "p": values}))
    found = read_text_table(path)
    assert found["id"].iloc[7] == "007"
    np.testing.assert_array_equal(found["p"].astype(float), values)
    path.write_bytes(b"\xef\xbb\xbfid,label\r\n007,\r\nNA,null\r\n")
    assert read_text_table(path).to_dict("list") == {"id": ["007", "NA"], "label": ["", "null"]}


def test_lines_longer_than_the_header_do_not_shift_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("id,label\n1,a,\n2,b,\n")
    with pytest.raises(ValueError, match="more cells than its header"):
        read_text_table(path)

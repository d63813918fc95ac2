from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.competition.templates import fill, parse
from pipeline.errors import Refused

CELLS = st.lists(st.text(max_size=8), min_size=1, max_size=5)
PLACES = st.none() | st.integers(-9, 9)


def test_fields_are_cut_and_padded() -> None:
    table = pd.DataFrame({"id": ["7", "a45f"], "side": ["L", "R"], "odd[0]": ["x", "y"]}, dtype=str)
    assert fill("{id[0]}/{id[1]}/{id}.png", table) == ["7//7.png", "a/4/a45f.png"]
    assert fill("{id:06}_{side}", table) == ["000007_L", "00a45f_R"]
    assert fill("{id[-2:]}-{id[:2]:3}", table) == ["7-007", "5f-0a4"]
    assert fill("100%/{odd[0]}", table) == ["100%/x", "100%/y"]  # a column that is called so comes first
    assert fill("100%/{side}{id}", {"id": ["%s"], "side": ["{id}"]}) == ["100%/{id}%s"]


@given(CELLS, PLACES, PLACES, st.integers(0, 12))
def test_a_field_is_a_slice_filled_with_zeros(
    cells: list[str], start: int | None, stop: int | None, width: int
) -> None:
    field = f"{'' if start is None else start}:{'' if stop is None else stop}"
    assert fill(f"<{{x[{field}]:{width:02}}}>", {"x": cells}) == [
        f"<{cell[start:stop].zfill(width)}>" for cell in cells
    ]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{idd}", "'{idd}' is no column; did you mean 'id'?"),
        ("{id[x]}", "'{id[x]}' is no column"),
        ("{id[0}", "'{id[0}' is no column"),
        ("{id", "braces do not pair"),
        ("plain", "names no column"),
    ],
)
def test_what_is_no_template(template: str, message: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(template, ["id"])
    assert message in str(caught.value)

"""A name that is not in a table is named with the nearest one and the whole list."""

from __future__ import annotations

import pytest

from pipeline.lookup import lookup

TABLE = {"cosine": 1, "constant": 2, "step": 3}


def test_a_known_name_gives_its_entry() -> None:
    assert lookup(TABLE, "step", "schedule") == 3


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(ValueError) as caught:
        lookup(TABLE, "cosin", "schedule")
    assert str(caught.value) == ("found 'cosin', expected a schedule (did you mean 'cosine'?): cosine, constant, step")


def test_a_far_name_lists_what_there_is() -> None:
    with pytest.raises(ValueError) as caught:
        lookup(TABLE, "xyz", "schedule")
    assert str(caught.value) == "found 'xyz', expected a schedule: cosine, constant, step"

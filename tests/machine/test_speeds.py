from __future__ import annotations

import math

import pytest

from pipeline.machine.speeds import rate


@pytest.mark.parametrize(
    ("speed", "text"),
    [
        (1250.4, "1,250"),
        (96.4, "96"),
        (9.96, "10.0"),
        (7.41, "7.4"),
        (0.31, "0.31"),
        (0.0312, "0.031"),
        (0.00049, "0.00049"),
        (0.0, "0"),
        (math.nan, "nan"),
    ],
)
def test_a_slow_speed_keeps_two_figures(speed: float, text: str) -> None:
    assert rate(speed) == text

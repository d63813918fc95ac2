"""Composite classes of several heads: their order, their names, their probabilities."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.methods import heads

CLASSES = ("mask=no", "mask=yes", "age=0", "age=1", "age=2")
HEADS = (("mask", 0, 2), ("age", 2, 5))


def test_split_follows_the_order_of_the_heads() -> None:
    assert heads.split(CLASSES, ["mask", "age"]) == HEADS
    with pytest.raises(ValueError, match="found the class 'mask=no', expected one of the heads age"):
        heads.split(CLASSES, ["age"])


def test_names_are_numbers_or_filled_templates() -> None:
    assert heads.composite_names(CLASSES, HEADS, None) == ("0", "1", "2", "3", "4", "5")
    found = heads.composite_names(CLASSES, HEADS, "{age}-{mask}")
    assert found == ("0-no", "1-no", "2-no", "0-yes", "1-yes", "2-yes")
    with pytest.raises(ValueError, match=r"\{sex\}, expected the heads \{mask\}, \{age\}"):
        heads.composite_names(CLASSES, HEADS, "{sex}{mask}")
    with pytest.raises(ValueError, match="two combinations of classes read 'no'"):
        heads.composite_names(CLASSES, HEADS, "{mask}")


@settings(max_examples=30, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_a_composite_probability_is_the_product_of_its_heads(sizes: list[int], seed: int) -> None:
    rng, stops = np.random.default_rng(seed), np.cumsum(sizes)
    probs_NVC = np.concatenate([rng.dirichlet(np.ones(size), (4, 2)) for size in sizes], axis=-1)
    blocks = tuple(
        (f"h{n}", int(stop - size), int(stop)) for n, (size, stop) in enumerate(zip(sizes, stops, strict=True))
    )
    found_NVK = heads.composite(probs_NVC, blocks)
    assert found_NVK.shape == (4, 2, heads.count(blocks))
    np.testing.assert_allclose(found_NVK.sum(-1), 1)
    for k, chosen in enumerate(product(*(range(start, stop) for _, start, stop in blocks))):
        np.testing.assert_allclose(found_NVK[..., k], probs_NVC[..., list(chosen)].prod(-1))

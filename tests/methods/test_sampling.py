"""Class weights, shares of drawn rows and disturbed targets, against formulas worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.methods.sampling import DisturbLabels, DisturbValues, class_weights, row_shares
from pipeline.methods.topk import OneHot

ALL = ((0, 3),)
TARGETS_NC = np.eye(3, dtype=np.float32)[[0] * 6 + [1] * 3 + [2]]  # 6, 3 and 1 rows
CLASSES = ("a", "b", "c")


def test_balanced_weights_are_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    expected_C = compute_class_weight("balanced", classes=np.arange(3), y=TARGETS_NC.argmax(1))
    found_2C = class_weights(TARGETS_NC, "balanced", CLASSES, ALL)
    np.testing.assert_allclose(found_2C[1], expected_C, rtol=1e-6)
    one_hot_2C = class_weights(OneHot(TARGETS_NC.argmax(1), 3), "balanced", CLASSES, ALL)
    np.testing.assert_array_equal(found_2C, one_hot_2C)


def test_root_and_named_weights() -> None:
    """10/(3·6), 10/(3·3), 10/3 and their roots; a mean of 1 over the rows."""
    root_C = np.sqrt([10 / 18, 10 / 9, 10 / 3])
    found_C = class_weights(TARGETS_NC, "sqrt", CLASSES, ALL)[1]
    np.testing.assert_allclose(found_C, root_C / (root_C @ [6, 3, 1] / 10), rtol=1e-6)
    named_C = class_weights(TARGETS_NC, {"c": 5.0}, CLASSES, ALL)[1]
    np.testing.assert_allclose(named_C, np.array([1, 1, 5]) / 1.4, rtol=1e-6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**20), st.integers(2, 40), st.sampled_from(["balanced", "sqrt", "named"]), st.booleans())
def test_the_mean_weight_of_the_rows_is_1(seed: int, rows: int, how: str, soft: bool) -> None:
    """It shifts no learning rate, in each head and over the cells of independent columns."""
    draws = np.random.default_rng(seed)
    asked = {"0": 3.0, "4": 0.2} if how == "named" else how
    names = [str(n) for n in range(5)]
    targets_NC = np.hstack([np.eye(2)[draws.integers(0, 2, rows)], np.eye(3)[draws.integers(0, 3, rows)]])
    if soft:
        targets_NC = targets_NC * 0.8 + 0.2 * np.array([1 / 2] * 2 + [1 / 3] * 3)
    weights_2C = class_weights(targets_NC.astype(np.float32), asked, names, ((0, 2), (2, 5)))
    assert (targets_NC * weights_2C[1])[:, :2].sum(1).mean() == pytest.approx(1, rel=1e-5)
    assert (targets_NC * weights_2C[1])[:, 2:].sum(1).mean() == pytest.approx(1, rel=1e-5)
    weights_2C = class_weights(targets_NC.astype(np.float32), asked, names, ())
    cells_NC = targets_NC * weights_2C[1] + (1 - targets_NC) * weights_2C[0]
    assert cells_NC.mean() == pytest.approx(1, rel=1e-5) and (weights_2C > 0).all()


def test_positive_weights_of_columns() -> None:
    """As torch's pos_weight, absent ÷ there: each column's two answers weigh as much in all."""
    targets_NC = np.array([[1, 0, 1], [0, 0, 1], [0, 1, 1], [0, 1, 1]], dtype=np.float32)
    weights_2C = class_weights(targets_NC, "balanced", CLASSES, ())
    np.testing.assert_allclose(weights_2C[1] / weights_2C[0], [3, 1, 1], rtol=1e-6)  # nothing is known of the third


def test_shares_draw_each_class_equally_often() -> None:
    shares_N = row_shares(TARGETS_NC, "balanced", ALL)
    np.testing.assert_allclose(TARGETS_NC.T @ shares_N, [1 / 3] * 3)
    np.testing.assert_array_equal(shares_N, row_shares(OneHot(TARGETS_NC.argmax(1), 3), "balanced", ALL))
    root_C = np.sqrt([6, 3, 1])
    np.testing.assert_allclose(TARGETS_NC.T @ row_shares(TARGETS_NC, "sqrt", ALL), root_C / root_C.sum())


def test_shares_of_columns_follow_the_rarest_label() -> None:
    targets_NC = np.array([[1, 0], [1, 1], [1, 0], [0, 0], [0, 0]], dtype=np.float32)
    shares_N = row_shares(targets_NC, "balanced", ())
    np.testing.assert_allclose(shares_N, np.array([1 / 3, 1, 1 / 3, 1 / 2, 1 / 2]) / (8 / 3))


def test_shares_of_heads_are_their_mean() -> None:
    targets_NC = np.hstack([np.eye(2)[[0, 0, 0, 1]], np.eye(2)[[0, 1, 1, 1]]]).astype(np.float32)
    expected_N = np.array([1 / 3 + 1, 1 / 3 + 1 / 3, 1 / 3 + 1 / 3, 1 + 1 / 3]) / 4
    np.testing.assert_allclose(row_shares(targets_NC, "balanced", ((0, 2), (2, 4))), expected_N)


@pytest.mark.parametrize("percent", [10.0, 30.0, 100.0])
def test_disturbed_labels_have_the_papers_frequencies(percent: float) -> None:
    draws, target_C = np.random.default_rng(0), np.array([0, 1, 0, 0], dtype=np.float32)
    step = DisturbLabels(percent, ((0, 4),))
    made_NC = np.array([step(target_C, draws) for _ in range(8000)])
    assert set(made_NC.sum(1)) == {1.0} and made_NC.dtype == np.float32
    kept = 1 - 3 / 4 * percent / 100
    np.testing.assert_allclose(made_NC.mean(0), [(1 - kept) / 3, kept, (1 - kept) / 3, (1 - kept) / 3], atol=0.02)
    assert target_C.tolist() == [0, 1, 0, 0]


def test_disturbed_heads_and_columns_are_drawn_one_by_one() -> None:
    draws, target_C = np.random.default_rng(1), np.array([1, 0, 0, 0, 1], dtype=np.float32)
    heads_NC = np.array([DisturbLabels(40.0, ((0, 2), (2, 5)))(target_C, draws) for _ in range(6000)])
    assert set(heads_NC[:, :2].sum(1)) == set(heads_NC[:, 2:].sum(1)) == {1.0}
    first_N, second_N = heads_NC[:, 0] == 1, heads_NC[:, 4] == 1
    assert first_N.mean() == pytest.approx(0.8, abs=0.02)  # 1 − 1/2·0.4
    assert second_N.mean() == pytest.approx(1 - 2 / 3 * 0.4, abs=0.02)
    assert (first_N & second_N).mean() == pytest.approx(first_N.mean() * second_N.mean(), abs=0.02)
    cells_NC = np.array([DisturbLabels(40.0, ())(target_C, draws) for _ in range(6000)])
    np.testing.assert_allclose(cells_NC.mean(0), [0.8, 0.2, 0.2, 0.2, 0.8], atol=0.02)


def test_disturbed_values() -> None:
    draws, value_C = np.random.default_rng(2), np.array([10.0, -3.0], dtype=np.float32)
    step = DisturbValues(0.25, 0.5, np.array([4.0, 1.0]))
    made_NC = np.array([step(value_C, draws) for _ in range(8000)])
    changed_N = (made_NC != value_C).any(1)
    assert changed_N.mean() == pytest.approx(0.25, abs=0.02) and made_NC.dtype == np.float32
    np.testing.assert_allclose((made_NC[changed_N] - value_C).std(0), [2.0, 0.5], rtol=0.06)
    np.testing.assert_allclose((made_NC - value_C).mean(0), [0, 0], atol=0.05)

"""Every scheme keeps its rules, and none is less even than the splitters others use."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold
from sklearn.model_selection import StratifiedGroupKFold

from pipeline.folds.balance import Labels, count_units, deviation, fold_counts, lower_bound
from pipeline.folds.schemes import Assignment, assign
from pipeline.folds.strata import choose, column_codes, combine

EVEN = 1e-12


def named(n: int) -> tuple[str, ...]:
    return tuple(f"c{c}" for c in range(n))


def grouped(class_N: np.ndarray, group_N: np.ndarray, n: int, seed: int = 42, **more: Any) -> Assignment:
    labels = Labels.of_codes(class_N, named(int(class_N.max()) + 1))
    return assign("stratified_group", labels, class_N, class_N, group_N, n, seed, **more)


def exact_best(class_N: np.ndarray, group_N: np.ndarray, n: int) -> float:
    """Try every assignment with no empty fold."""
    labels = Labels.of_codes(class_N, named(int(class_N.max()) + 1))
    n_groups = int(group_N.max()) + 1
    folds = (np.array(np.unravel_index(code, (n,) * n_groups)) for code in range(n**n_groups))
    return min(deviation(f[group_N], labels, np.full(n, 1 / n)) for f in folds if len(set(f.tolist())) == n)


@st.composite
def cases(draw: st.DrawFn, most: int = 16) -> tuple[np.ndarray, np.ndarray, int]:
    n = draw(st.integers(2, 4))
    sizes = draw(st.lists(st.integers(1, 6), min_size=n, max_size=most))
    group_N = np.repeat(np.arange(len(sizes)), sizes)
    classes = draw(st.lists(st.integers(0, 3), min_size=len(group_N), max_size=len(group_N)))
    return np.unique(classes, return_inverse=True)[1], group_N, n


@settings(max_examples=40, deadline=None, derandomize=True)
@given(cases())
def test_grouped_folds_are_whole_and_never_worse_than_sklearn(
    case: tuple[np.ndarray, np.ndarray, int],
) -> None:
    class_N, group_N, n = case
    found = grouped(class_N, group_N, n)
    assert set(found.fold_N.tolist()) == set(range(n))
    assert len(set(zip(group_N.tolist(), found.fold_N.tolist(), strict=True))) == group_N.max() + 1
    labels, share_K = Labels.of_codes(class_N, named(4)), np.full(n, 1 / n)
    bound = lower_bound(count_units(labels, group_N, int(group_N.max()) + 1), share_K)
    assert bound <= found.deviation + EVEN
    splitters = [StratifiedGroupKFold(n)] + [
        StratifiedGroupKFold(n, shuffle=True, random_state=seed) for seed in (0, 1, 2, 3, 4, 42)
    ]
    for splitter in splitters:
        fold_N = np.zeros(len(class_N), dtype=np.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                for fold, (_, valid) in enumerate(splitter.split(class_N, class_N, group_N)):
                    fold_N[np.asarray(valid, dtype=np.int64)] = fold
            except ValueError:
                continue
        assert found.deviation <= deviation(fold_N, labels, share_K) + EVEN


@settings(max_examples=15, deadline=None, derandomize=True)
@given(cases(most=6))
def test_small_grouped_folds_are_the_best_of_all(case: tuple[np.ndarray, np.ndarray, int]) -> None:
    class_N, group_N, n = case
    assert grouped(class_N, group_N, n).deviation == pytest.approx(exact_best(class_N, group_N, n), abs=EVEN)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(2, 5))
def test_multilabel_is_never_worse_than_iterstrat(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    matrix_NL = rng.random((int(rng.integers(n, 60)), int(rng.integers(2, 6)))) < rng.uniform(0.05, 0.6)
    labels = Labels.of_matrix(matrix_NL, named(matrix_NL.shape[1]))
    rows = np.zeros(len(matrix_NL), dtype=np.int64)
    found = assign("multilabel", labels, rows, rows, None, n, seed)
    assert set(found.fold_N.tolist()) == set(range(n))
    fold_N = np.zeros(len(matrix_NL), dtype=np.int64)
    splitter = MultilabelStratifiedKFold(n, shuffle=True, random_state=seed % 2**32 if seed < 2**32 else 0)
    for fold, (_, valid) in enumerate(splitter.split(matrix_NL, matrix_NL)):
        fold_N[valid] = fold
    assert found.deviation <= deviation(fold_N, labels, np.full(n, 1 / n)) + EVEN


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 4), min_size=5, max_size=60), st.integers(2, 5), st.integers(0, 99))
def test_stratified_rows_are_within_one(classes: list[int], n: int, seed: int) -> None:
    class_N = np.unique(classes, return_inverse=True)[1]
    labels = Labels.of_codes(class_N, named(int(class_N.max()) + 1))
    found = assign("stratified", labels, class_N, class_N, None, n, seed)
    assert np.ptp(fold_counts(found.fold_N, labels, n), axis=0).max() <= 1
    assert found.deviation == pytest.approx(found.lower_bound, abs=EVEN)


def test_further_columns_are_evened_out_without_touching_the_classes() -> None:
    rng = np.random.default_rng(3)
    class_N, column_N = rng.integers(0, 6, 400), rng.integers(0, 15, 400)
    cell_N = combine([class_N, column_N])
    labels = Labels.of_codes(class_N, named(6)) + Labels.of_codes(column_N, named(15))
    plain = assign("stratified", labels, class_N, class_N, None, 5, 42)
    found = assign("stratified", labels, class_N, cell_N, None, 5, 42)
    assert np.ptp(fold_counts(found.fold_N, Labels.of_codes(class_N, named(6)), 5), axis=0).max() <= 1
    assert found.deviation < 0.5 * plain.deviation


def test_a_perfect_split_that_sklearn_misses_is_found() -> None:
    rng = np.random.default_rng(2)
    fold_counts_KGC = [rng.multinomial(30, [1 / 6] * 6, size=3).T for _ in range(4)]
    sizes_GC = np.concatenate(fold_counts_KGC)  # four folds of 6 groups, each fold 30 rows of each of 3 classes
    group_N = np.repeat(np.arange(len(sizes_GC)), sizes_GC.sum(1))
    class_N = np.concatenate([np.repeat(np.arange(3), row) for row in sizes_GC])
    found = grouped(class_N, group_N, 4)
    assert found.deviation == pytest.approx(0, abs=EVEN)
    assert min(found.others["sklearn StratifiedGroupKFold"].values()) > 0.001


def test_an_empty_fold_of_sklearn_is_filled() -> None:
    group_N = np.repeat(np.arange(4), [30, 1, 1, 1])
    found = grouped(np.arange(33) % 2, group_N, 4)
    assert np.bincount(found.fold_N, minlength=4).tolist().count(0) == 0


def test_sizes_alone_are_balanced_by_scheme_group() -> None:
    sizes = [7, 6, 5, 4, 4, 3, 2, 2, 2, 1]  # 36: three folds of 12
    group_N = np.repeat(np.arange(10), sizes)
    nothing = np.zeros(0, dtype=np.int64)
    rows = np.zeros(36, dtype=np.int64)
    found = assign("group", Labels(36, (), nothing, nothing), rows, rows, group_N, 3, 0)
    assert np.bincount(found.fold_N).tolist() == [12, 12, 12]


@pytest.mark.parametrize("share", [0.1, 0.25, 1 / 3])
def test_holdout_keeps_share_labels_and_groups(share: float) -> None:
    rng = np.random.default_rng(5)
    group_N = np.repeat(np.arange(60), rng.integers(1, 8, 60))
    class_N = rng.integers(0, 3, len(group_N))
    labels = Labels.of_codes(class_N, named(3))
    found = assign("holdout", labels, class_N, class_N, group_N, 5, 42, share)
    assert set(found.fold_N.tolist()) == {0, -1}
    assert not set(group_N[found.fold_N == 0]) & set(group_N[found.fold_N == -1])
    held = fold_counts(np.where(found.fold_N == 0, 0, 1), labels, 2)
    assert np.abs(held[0] / held.sum(0) - share).max() < 0.02


def test_the_seed_decides_and_repeats() -> None:
    rng = np.random.default_rng(1)
    group_N = np.repeat(np.arange(50), rng.integers(1, 9, 50))
    class_N = rng.integers(0, 3, len(group_N))
    first, again, other = (grouped(class_N, group_N, 5, seed).fold_N for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_golden_assignments() -> None:
    class_N, group_N = np.arange(24) % 3 // 2, np.repeat(np.arange(8), [5, 4, 4, 3, 3, 2, 2, 1])
    labels = Labels.of_codes(class_N, named(2))
    plain = assign("stratified", labels, class_N, class_N, None, 3, 42).fold_N
    whole = grouped(class_N, group_N, 3).fold_N
    assert "".join(map(str, plain)) == GOLDEN[0]
    assert "".join(map(str, whole)) == GOLDEN[1]


GOLDEN = ("210120211001022020122011", "000002222222211111100110")


def test_bounds_against_counts_by_hand() -> None:
    labels = Labels.of_codes(np.array([0, 0, 0, 1, 1, 1, 1]), named(2))
    units = count_units(labels, np.array([0, 0, 0, 1, 2, 3, 4]), 5)
    alone = np.sqrt(1 / 3 - 1 / 9)  # class 0 lies in one of three folds: √((1/m − 1/K)/K) with m = 1, K = 3
    expected = [alone, np.sqrt(1 * 2) / (3 * 4), (3 - 7 / 3) / (7 * np.sqrt(2))]
    assert lower_bound(units, np.full(3, 1 / 3)) == pytest.approx(np.mean(expected))


def test_many_labels_and_many_equal_units_stay_quick() -> None:
    rng = np.random.default_rng(0)
    group_N = np.concatenate([np.arange(4000), rng.integers(0, 4000, 16_000)])
    class_N = np.unique(np.minimum(rng.pareto(0.8, 20_000) * 5, 999).astype(int), return_inverse=True)[1]
    labels = Labels.of_codes(class_N, named(int(class_N.max()) + 1))
    found = assign("holdout", labels, class_N, class_N, group_N, 5, 42, work=20_000_000)
    assert found.deviation < 1.1 * found.lower_bound


def test_too_few_units_are_refused() -> None:
    with pytest.raises(ValueError, match="found 3 groups for 4 folds"):
        grouped(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 2]), 4)
    rows = np.zeros(2, dtype=np.int64)
    with pytest.raises(ValueError, match="found 2 rows for 3 folds"):
        assign("stratified", Labels.of_codes(rows, named(1)), rows, rows, None, 3, 0)


def test_columns_become_categories_or_quantile_bins() -> None:
    code_N, names = column_codes(np.array(["007", "7", "", "007"]), 10)
    assert names == ("(blank)", "007", "7")
    assert code_N.tolist() == [1, 2, 0, 1]
    cells = np.array([str(v) for v in range(100)] + [""])
    code_N, names = column_codes(cells, 4)
    assert np.bincount(code_N).tolist() == [25, 25, 25, 25, 1]
    assert names[0] == "0..24.75" and names[-1] == "(blank)"
    assert column_codes(np.array(["1", "nan", "2"]), 2)[1] == ("1", "2", "nan")


def test_combined_codes_keep_the_first_column_outermost() -> None:
    first, second = np.array([2, 0, 2, 0, 5]), np.array([1, 1, 0, 1, 9])
    assert combine([first, second]).tolist() == [2, 0, 1, 0, 3]


@pytest.mark.parametrize(
    ("asked", "groups", "several", "scheme"),
    [
        ("auto", None, False, "stratified"),
        ("auto", [0, 1, 2], False, "stratified"),
        ("auto", [0, 0, 1], False, "stratified_group"),
        ("auto", None, True, "multilabel"),
        ("auto", [0, 0, 1], True, "multilabel_group"),
        ("holdout", [0, 0, 1], True, "holdout"),
        ("stratified", [0, 1, 2], False, "stratified"),
    ],
)
def test_auto_picks_from_the_data(asked: str, groups: list[int] | None, several: bool, scheme: str) -> None:
    assert choose(asked, None if groups is None else np.array(groups), several, False)[0] == scheme


@pytest.mark.parametrize("scheme", ["stratified", "multilabel"])
def test_a_scheme_that_splits_groups_is_refused(scheme: str) -> None:
    with pytest.raises(ValueError, match=f"expected {scheme}_group, or data.group: null"):
        choose(scheme, np.array([0, 0, 1]), False, False)
    with pytest.raises(ValueError, match=r"without data\.group"):
        choose(f"{scheme}_group", None, False, False)

"""Compare the grouped folds with scikit-learn's on random cases, and time a million rows.

python tests/benchmarks/folds.py [--cases 210] [--work 600000000] [--rows 1000000] [--groups 200000]
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from pipeline.folds.balance import Labels
from pipeline.folds.schemes import WORK, Assignment, assign


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return classes, groups and a number of folds: uneven groups, each with its own mix of classes."""
    rng = np.random.default_rng(seed)
    n_groups, n_classes = int(rng.integers(10, 80)), int(rng.integers(2, 11))
    group_N = np.repeat(np.arange(n_groups), rng.geometric(rng.uniform(0.05, 0.6), n_groups))
    mixes = rng.dirichlet(np.full(n_classes, rng.uniform(0.1, 2)), n_groups)
    class_N = (rng.random((len(group_N), 1)) > mixes[group_N].cumsum(1)[:, :-1]).sum(1)
    return np.unique(class_N, return_inverse=True)[1], group_N, int(rng.integers(2, min(11, n_groups)))


def grouped(class_N: np.ndarray, group_N: np.ndarray, n: int, work: int = WORK) -> Assignment:
    """Assign with scheme stratified_group."""
    names = tuple(str(c) for c in range(int(class_N.max()) + 1))
    return assign("stratified_group", Labels.of_codes(class_N, names), class_N, class_N, group_N, n, 42, work=work)


def compare(cases: int, work: int) -> None:
    """Print how often the folds are better than, equal to or worse than scikit-learn's."""
    ratios: dict[str, list[float]] = {"unshuffled": [], "the best of 7": []}
    optimal, seconds = 0, 0.0
    for seed in range(cases):
        class_N, group_N, n = random_case(seed)
        begun = time.perf_counter()
        found = grouped(class_N, group_N, n, work)
        seconds += time.perf_counter() - begun
        theirs = found.others.get("sklearn StratifiedGroupKFold", {})
        if not theirs:
            continue
        optimal += found.deviation <= found.lower_bound + 1e-9
        for name, other in (("unshuffled", theirs["unshuffled"]), ("the best of 7", min(theirs.values()))):
            ratios[name].append(1.0 if abs(found.deviation - other) < 1e-12 else found.deviation / other)
    for name, found_ratios in ratios.items():
        ratio = np.array(found_ratios)
        print(
            f"against {name}, {len(ratio)} cases: better {(ratio < 1).mean():.1%}, "
            f"equal {(ratio == 1).mean():.1%}, worse {(ratio > 1).mean():.1%}; "
            f"mean ratio of deviations {ratio.mean():.3f}"
        )
    print(f"at the lower bound: {optimal}; {seconds / max(1, cases):.2f} s per case with scikit-learn's runs")


def million(rows: int, groups: int) -> None:
    """Print time and memory of one large case."""
    rng = np.random.default_rng(0)
    group_N = np.concatenate([np.arange(groups), rng.integers(0, groups, rows - groups)])
    usual_G = np.minimum(rng.geometric(0.3, groups) - 1, 9)
    class_N = np.where(rng.random(rows) < 0.5, usual_G[group_N], rng.integers(0, 10, rows))
    begun = time.perf_counter()
    found = grouped(class_N, group_N, 5)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{rows:,} rows in {groups:,} groups: {seconds:.1f} s, peak {peak:.2f} GB, "
        f"deviation {found.deviation:.3e}, lower bound {found.lower_bound:.3e}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=210)  # scikit-learn refuses a few of them
    parser.add_argument("--work", type=int, default=WORK, help="budget of a case, about 10 ns each")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--groups", type=int, default=200_000)
    arguments = parser.parse_args()
    million(arguments.rows, arguments.groups)
    compare(arguments.cases, arguments.work)

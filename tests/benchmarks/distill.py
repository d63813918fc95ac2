"""Measure how much distillation flatters out-of-fold scores, on rows that no teacher saw either.

    python tests/benchmarks/distill.py [--rounds 30] [--weight 0.3]

A row's soft label comes from a teacher that did not train on it, but the teacher of another fold trained on the
rows that the student validates. Each round draws a pool of the digits, distils with 5 folds inside it, and scores
teachers and students out of fold and on the rest. Single fold models are scored on the rest, not their mean, which
would be better by itself. The flattery is what the out-of-fold score has beyond that; the teachers', which is chance,
is subtracted. With a share of wrong labels there is more to leak.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor

Array = np.ndarray[Any, np.dtype[Any]]
FOLDS, POOL, CLASSES = 5, 600, 10
LEARNERS: dict[str, Callable[[int], Any]] = {  # seed -> a model of soft targets [N,C]
    "5 neighbours": lambda _: KNeighborsRegressor(5, weights="distance"),
    "kernel ridge": lambda _: KernelRidge(alpha=0.01, kernel="rbf", gamma=0.002),
    "40 trees": lambda seed: ExtraTreesRegressor(40, random_state=seed),
    "small network": lambda seed: MLPRegressor((64,), max_iter=60, random_state=seed),
}


def main() -> None:
    """Print a table: learner, wrong labels, scores, flattery."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--weight", type=float, default=0.3)
    options = parser.parse_args()
    print(
        f"{'learner':<15}{'wrong':>6}{'teacher':>9}{'student':>9}  accuracy on the rest; flattery of the student's OOF"
    )
    for name, make in LEARNERS.items():
        for wrong in (0.0, 0.3):
            found_R4 = np.array([one_round(make, wrong, options.weight, seed) for seed in range(options.rounds)])
            gaps_R = (found_R4[:, 2] - found_R4[:, 3]) - (found_R4[:, 0] - found_R4[:, 1])
            error = gaps_R.std(ddof=1) / len(gaps_R) ** 0.5
            means = found_R4.mean(0)
            print(
                f"{name:<15}{wrong:>6.0%}{means[1]:>9.4f}{means[3]:>9.4f}  {gaps_R.mean():+.4f} ± {1.645 * error:.4f}",
                flush=True,
            )


def one_round(make: Callable[[int], Any], wrong: float, weight: float, seed: int) -> tuple[float, ...]:
    """Return the accuracy of the teachers out of fold and on the rest, and of the students the same."""
    pixels_NP, label_N = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(label_N))
    pixels_NP, label_N = pixels_NP[order], label_N[order].copy()
    changed = rng.random(len(label_N)) < wrong
    label_N[changed] = rng.integers(0, CLASSES, changed.sum())
    pool, rest = slice(0, POOL), slice(POOL, None)
    truth_NC, fold_N = np.eye(CLASSES)[label_N[pool]], np.arange(POOL) % FOLDS

    def trained(targets_of: Callable[[int], Array]) -> tuple[Array, float]:
        oof_NC, scores = np.zeros_like(truth_NC), []
        for fold in range(FOLDS):
            learns = fold_N != fold
            model = make(seed).fit(pixels_NP[pool][learns], targets_of(fold)[learns])
            oof_NC[~learns] = model.predict(pixels_NP[pool][~learns])
            scores.append((model.predict(pixels_NP[rest]).argmax(1) == label_N[rest]).mean())
        return oof_NC, float(np.mean(scores))

    teacher_NC, teacher = trained(lambda _: truth_NC)
    student_NC, student = trained(lambda _: (1 - weight) * truth_NC + weight * teacher_NC)
    own = [(probs_NC.argmax(1) == label_N[pool]).mean() for probs_NC in (teacher_NC, student_NC)]
    return own[0], teacher, own[1], student


if __name__ == "__main__":
    main()

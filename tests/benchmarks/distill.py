"""Measure how much learning from another run makes out-of-fold scores optimistic, on rows that no model saw.

    python tests/benchmarks/distill.py [--rounds 30] [--weight 0.3]

Each round draws 600 of the digits, trains teachers and students on 5 folds of them, and scores both out of fold and on
rows held back; there each fold's model is scored alone, as their mean would be better by itself. The optimism is the
student's lead out of fold less its lead on held-back rows. `distill` draws targets to out-of-fold predictions; `pseudo`
adds 400 unlabelled rows with the label of the fold's own model, which saw nothing that the fold validates; `pseudo of
all` takes the mean of all models, as a submission would be, which Foldline does not do. A share of the labels is wrong
in the lower half: the more a model remembers single rows, the more there is to leak.

Found with 10 rounds: distill is optimistic by 0.0013 to 0.0048, with wrong labels by 0.006 to 0.021; kernel ridge seems
to gain 0.0035 where it loses 0.0013. pseudo: by nothing that 10 or 60 rounds show. pseudo of all: by 0.002 to 0.056.
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

from pipeline.methods.arrays import Array

FOLDS, POOL, UNLABELLED, CLASSES = 5, 600, 400, 10
LEARNERS: dict[str, Callable[[int], Any]] = {  # seed -> a model of soft targets [N,C]
    "5 neighbours": lambda _: KNeighborsRegressor(5, weights="distance"),
    "kernel ridge": lambda _: KernelRidge(alpha=0.01, kernel="rbf", gamma=0.002),
    "10 trees": lambda seed: ExtraTreesRegressor(10, random_state=seed),
}
WAYS = ("distill", "pseudo", "pseudo of all")


def main() -> None:
    """Print a table: how the student learns, the learner, wrong labels, leads, optimism with a 90 % interval."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--weight", type=float, default=0.3)
    options = parser.parse_args()
    print(f"{'way':<15}{'learner':<15}{'wrong':>6}{'teacher':>9}{'held back':>11}{'out of fold':>13}  optimistic by")
    for wrong in (0.0, 0.3):
        for name, make in LEARNERS.items():
            found = [one_round(make, wrong, options.weight, seed) for seed in range(options.rounds)]
            teacher = np.mean([base for base, _ in found])
            for way in WAYS:
                oof_R, held_R = np.array([leads[way] for _, leads in found]).T
                error = 1.645 * (oof_R - held_R).std(ddof=1) / len(found) ** 0.5
                print(
                    f"{way:<15}{name:<15}{wrong:>6.0%}{teacher:>9.4f}{held_R.mean():>+11.4f}{oof_R.mean():>+13.4f}  "
                    f"{(oof_R - held_R).mean():+.4f} ± {error:.4f}",
                    flush=True,
                )


def one_round(
    make: Callable[[int], Any], wrong: float, weight: float, seed: int
) -> tuple[float, dict[str, tuple[float, float]]]:
    """Return the teacher's accuracy on held-back rows, and the lead of each student out of fold and there."""
    pixels_NP, label_N = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(label_N))
    pixels_NP, label_N = pixels_NP[order], label_N[order].copy()
    changed = rng.random(len(label_N)) < wrong
    label_N[changed] = rng.integers(0, CLASSES, changed.sum())
    pool, free, held = np.split(np.arange(len(label_N)), [POOL, POOL + UNLABELLED])
    truth_NC, fold_N = np.eye(CLASSES)[label_N[pool]], np.arange(POOL) % FOLDS

    def trained(targets_NC: Array, more_K: list[Array] | None = None) -> tuple[Array, Array, float, float]:
        """Return the predictions out of fold [N,C] and of unlabelled rows [K,U,C], and both accuracies."""
        oof_NC, free_KUC, scores = np.zeros_like(truth_NC), [], []
        for fold in range(FOLDS):
            learns = np.flatnonzero(fold_N != fold)
            rows, answers = pixels_NP[pool][learns], targets_NC[learns]
            if more_K is not None:
                rows, answers = np.vstack([rows, pixels_NP[free]]), np.vstack([answers, more_K[fold]])
            model = make(seed).fit(rows, answers)
            oof_NC[fold_N == fold] = model.predict(pixels_NP[pool][fold_N == fold])
            free_KUC.append(model.predict(pixels_NP[free]))
            scores.append((model.predict(pixels_NP[held]).argmax(1) == label_N[held]).mean())
        right = float((oof_NC.argmax(1) == label_N[pool]).mean())
        return oof_NC, np.stack(free_KUC), right, float(np.mean(scores))

    oof_NC, free_KUC, *teacher = trained(truth_NC)
    own, every = (np.eye(CLASSES)[said.argmax(-1)] for said in (free_KUC, free_KUC.mean(0)))
    students = {
        "distill": trained((1 - weight) * truth_NC + weight * oof_NC),
        "pseudo": trained(truth_NC, list(own)),
        "pseudo of all": trained(truth_NC, [every] * FOLDS),
    }
    return teacher[1], {way: (made[2] - teacher[0], made[3] - teacher[1]) for way, made in students.items()}


if __name__ == "__main__":
    main()

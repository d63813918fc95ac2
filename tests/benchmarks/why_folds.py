"""Score one classifier on the handwritten digits three ways, and draw why folds matter: docs/why_folds.png.

    python tests/benchmarks/why_folds.py

The 1,797 digits were written by few hands, about 130 by each on one form. With rows drawn at random every
hand is on both sides of every split, so the score is that of known writers. All rows, no test: the
fold tables are those of `foldline folds`; the classifier is scikit-learn's SVC(gamma=0.001, C=10).
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from pipeline.config import loading as config
from pipeline.folds import fold_table
from pipeline.folds import stage as folds
from pipeline.report import plots
from pipeline.starting.example import FORM_STARTS

OUT = Path(__file__).resolve().parents[2] / "docs/why_folds.png"
WAYS = {  # what a dot stands for -> the config's folds section and group
    "rows at random, 5 folds": ("{scheme: stratified, n: 5}", "null"),
    "forms kept together, 5 folds": ("{scheme: stratified_group, n: 5}", "form"),
    "each form left out in turn, 14 folds": ("{scheme: group, n: 14}", "form"),
}


def main() -> None:
    """Print pooled accuracies and draw them over those of the folds."""
    digits = load_digits()
    found = {}
    with tempfile.TemporaryDirectory() as root:
        write(Path(root), digits.target)
        for name, (scheme, group) in WAYS.items():
            found[name] = scores(assign(Path(root), scheme, group), digits.data, digits.target)
            pooled, per_fold = found[name]
            print(f"{name}: {pooled:.4f} pooled; folds {per_fold.min():.4f} to {per_fold.max():.4f}")
    draw(found)
    print(OUT)


def write(root: Path, labels: np.ndarray) -> None:
    """Write the tables of a competition of all rows; assigning folds opens no image, so empty ones do."""
    (root / "images").mkdir()
    forms = np.searchsorted(FORM_STARTS, np.arange(len(labels)), side="right")
    for row in range(len(labels)):
        (root / f"images/{row:04d}.png").touch()
    rows = [f"{row:04d},{label},{form}\n" for row, (label, form) in enumerate(zip(labels, forms, strict=True))]
    (root / "train.csv").write_text("id,label,form\n" + "".join(rows))
    (root / "images/test.png").touch()
    (root / "sample_submission.csv").write_text("id,label\ntest,0\n")


def assign(root: Path, scheme: str, group: str) -> np.ndarray:
    """Return the fold of each row, [N]."""
    path = root / "config.yaml"
    path.write_text(
        f"{{name: digits, folds_dir: {root}/folds, folds: {scheme}, model: {{name: resnet10t}}, "
        f"data: {{root: {root}, image: 'images/{{id}}.png', target: label, group: {group}}}}}"
    )
    asked = config.load([path])
    with contextlib.redirect_stdout(None):
        folds.run(asked, force=True)
    table = fold_table.read(asked)
    return table.fold[np.argsort(table.ids.astype(int))]


def scores(fold_N: np.ndarray, pixels: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the pooled accuracy and that of each fold."""
    right_N = np.zeros(len(labels), dtype=bool)
    for k in range(fold_N.max() + 1):
        valid = fold_N == k
        model = SVC(gamma=0.001, C=10).fit(pixels[~valid], labels[~valid])
        right_N[valid] = model.predict(pixels[valid]) == labels[valid]
    return float(right_N.mean()), np.asarray([right_N[fold_N == k].mean() for k in range(fold_N.max() + 1)])


def draw(found: dict[str, tuple[float, np.ndarray]]) -> None:
    """Draw one line per way: small dots are folds, the large one is all rows pooled."""
    from matplotlib.figure import Figure

    with plots.style():
        figure = Figure(figsize=(7.2, 2.5), layout="constrained")
        axis = figure.add_subplot()
        for y, (pooled, per_fold) in enumerate(found.values()):
            colour = plots.ORANGE if y == 0 else plots.BLUE
            axis.plot(
                per_fold,
                np.full(len(per_fold), y),
                "o",
                color=colour,
                alpha=0.35,
                markersize=5,
                markeredgewidth=0,
            )
            axis.plot(pooled, y, "o", color=colour, markersize=10)
            axis.annotate(f"{pooled:.3f}", (pooled, y), (0, 8), textcoords="offset points", ha="center", weight="bold")
        axis.set_yticks(range(len(found)), found)
        axis.set_ylim(len(found) - 0.5, -0.6)
        axis.set_xlabel("accuracy of the same classifier on the same 1,797 digits")
        axis.grid(axis="x")
        OUT.parent.mkdir(exist_ok=True)
        plots.save(OUT, figure)


if __name__ == "__main__":
    main()

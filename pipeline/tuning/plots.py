"""Draw a study: how its best score grew, what its values did, which of them mattered; in the report's style.

Optuna's own plots set all slices in one row, where the labels of five settings overlap, and show a pruned trial's
estimate as if it were a score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.report.plots import BLUE, INK, ORANGE, PALE, SOFT, WIDTH, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3  # of the slices
MOST_TEXTS = 12  # choices that are named


def history(numbers: Sequence[int], values_T: Array, complete_T: Array, direction: int, name: str) -> Figure:
    """Draw each trial's value over the trials and the best so far; hollow: pruned, its value is an estimate."""
    from matplotlib.ticker import MaxNLocator

    figure = _figure(2.9)
    axis = figure.subplots()
    at = np.asarray(numbers)
    best_T = direction * np.fmax.accumulate(np.where(complete_T, direction * values_T, np.nan))
    axis.step(at, best_T, where="post", color=ORANGE, lw=1.6, label="best so far")
    axis.plot(at[complete_T], values_T[complete_T], "o", ms=4.5, color=BLUE, mew=0, label="trial")
    if not complete_T.all():
        axis.plot(at[~complete_T], values_T[~complete_T], "o", ms=4.5, mfc="white", mec=PALE, label="pruned, estimated")
    axis.set_ylim(*_focus(values_T, direction))
    axis.set_xlabel("trial")
    axis.set_ylabel(name)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(axis="y")
    figure.legend(loc="outside upper right", ncols=3)
    return figure


def importance(shares: Mapping[str, float]) -> Figure:
    """Draw how much of the values' variation each setting explains, the largest on top."""
    figure = _figure(0.3 * len(shares) + 0.9)
    axis = figure.subplots()
    ordered = sorted(shares.items(), key=lambda pair: -pair[1])
    bars = axis.barh(range(len(ordered)), [share for _, share in ordered], color=BLUE, height=0.65)
    axis.bar_label(bars, fmt="{:.2f}", padding=3, fontsize=8, color=SOFT)
    axis.set_yticks(range(len(ordered)), [shorten(key, 32) for key, _ in ordered])
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(len(ordered) - 0.5, -0.5)
    axis.set_xticks([])
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.margins(x=0.12)
    axis.set_title("importance (PED-ANOVA)")
    return figure


def slices(columns: Mapping[str, Sequence[Any]], log: Sequence[str], values_T: Array, direction: int) -> Figure:
    """Draw the values over each setting (None: not searched in that trial); darker trials are later."""
    lines = -(-len(columns) // COLUMNS)
    figure = _figure(2.1 * lines + 0.3)
    axes = figure.subplots(lines, COLUMNS, sharey=True, squeeze=False).ravel()
    for axis, (key, cells) in zip(axes, columns.items(), strict=False):
        _slice(axis, cells, values_T, int(np.argmax(direction * values_T)), key in log)
        axis.set_title(shorten(key, 26))
        axis.set_ylim(*_focus(values_T, direction))
        axis.grid(axis="y")
    for axis in axes[len(columns) :]:
        axis.set_visible(False)
    return figure


def _slice(axis: Axes, cells: Sequence[Any], values_T: Array, best: int, log: bool) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import NullFormatter

    known = [n for n, cell in enumerate(cells) if cell is not None]
    if all(isinstance(cells[n], int | float) and not isinstance(cells[n], bool) for n in known):
        places = {n: float(cells[n]) for n in known}
        if log:
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}")  # no math: the style shows its dollar signs
            axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        names = sorted({str(cells[n]) for n in known})
        places = {n: float(names.index(str(cells[n]))) for n in known}
        if len(names) <= MOST_TEXTS:
            axis.set_xticks(range(len(names)), [shorten(name, 14) for name in names], rotation=30, ha="right")
        axis.set_xlim(-0.5, len(names) - 0.5)
    shades = LinearSegmentedColormap.from_list("later", [PALE, BLUE, INK])
    x, y = [places[n] for n in known], values_T[known]
    axis.scatter(x, y, c=known, cmap=shades, s=18, linewidths=0, vmin=0, vmax=max(len(cells) - 1, 1))
    if best in places:
        axis.plot([places[best]], [values_T[best]], "D", ms=6, color=ORANGE)


def _focus(values_T: Array, direction: int) -> tuple[float, float]:
    """Return limits that show the better three quarters: one diverged trial would flatten all others."""
    turned_T = direction * values_T
    best, worst = float(turned_T.max()), float(turned_T.min())
    worst = max(worst, best - 2.5 * (best - float(np.quantile(turned_T, 0.25))))
    pad = 0.06 * (best - worst) or 0.01
    low, high = sorted((direction * worst, direction * best))
    return low - pad, high + pad


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))

"""Draw the report's charts: arrays in, a Matplotlib figure out, sized to be read on a phone.

Only Matplotlib's objects are used, never pyplot, whose global state leaks between callers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, FAINT = "#1f2933", "#6b7785", "#e4e7eb"
BLUE, ORANGE, PALE = "#2f6690", "#d1783b", "#b9cfdd"
FOLDS = ("#2f6690", "#d1783b", "#5b8c5a", "#8a5a83", "#c2a83e", "#4c9a9a", "#a44a3f", "#7d8597")
WIDTH, DPI = 7.0, 110
STYLE: dict[Any, Any] = {  # Matplotlib's settings for every chart
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "ytick.labelcolor": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "text.parse_math": False,  # class names may hold dollar signs
}


def style() -> AbstractContextManager[None]:
    """Hold the report's look while figures are made and saved."""
    import matplotlib

    return matplotlib.rc_context(STYLE)


def save(path: Path, figure: Figure) -> None:
    """Write the figure as a PNG."""
    figure.savefig(path, format="png", dpi=DPI, facecolor="white", pil_kwargs={"optimize": True})


def shorten(text: str, most: int = 22) -> str:
    """Cut a long name in its middle, where names of one family differ least."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most - most // 2 - 1) :]}"


def labels(names: Sequence[str], counts_C: Array, shares_KC: Array, folds: Sequence[int]) -> Figure:
    """Draw each label's count, and beside it each fold's share of that count: dots on one heap are balanced folds."""
    figure = _figure(0.26 * len(names) + 1.1)
    left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [3, 2]})
    rows = np.arange(len(names))
    left.barh(rows, counts_C, color=BLUE, height=0.7)
    left.bar_label(left.containers[0], fmt="{:,.0f}", padding=3, fontsize=8, color=SOFT)
    _names(left, names)
    left.set_title("rows")
    left.margins(x=0.16)
    left.set_xticks([])
    left.spines["bottom"].set_visible(False)
    for k, shares_C in zip(folds, shares_KC, strict=True):
        right.plot(shares_C, rows, "o", ms=4.5, alpha=0.8, color=FOLDS[k % len(FOLDS)], label=f"fold {k}", mew=0)
    if len(folds) > 1:
        right.axvline(1 / len(folds), color=SOFT, lw=0.8, zorder=0)
    right.set_title("share in each fold")
    right.xaxis.set_major_formatter(_percent)
    right.set_xlim(0, max(2 / max(len(folds), 1), float(shares_KC.max(initial=0)) * 1.1))
    right.tick_params(left=False)
    right.grid(axis="x")
    _fold_legend(figure, folds)
    return figure


def curves(panels: Mapping[str, Mapping[str, Sequence[tuple[Array, Array]]]], folds: Sequence[int]) -> Figure:
    """Draw panels one below the other over the epochs: title -> {line name: one (x, y) per fold}.

    A panel's first line is solid, its second dashed; the colour is the fold.
    """
    figure = _figure(1.75 * len(panels) + 0.5)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for style, (name, series) in zip(("-", "--"), lines.items(), strict=False):
            for k, (x, y) in zip(folds, series, strict=True):
                mark = "o" if len(x) == 1 else None
                axis.plot(x, y, style, color=FOLDS[k % len(FOLDS)], lw=1.4, marker=mark, ms=4)
            if len(lines) > 1:
                axis.plot([], [], style, color=SOFT, label=name)
        axis.set_title(title)
        axis.grid(axis="y")
        if len(lines) > 1:
            axis.legend(loc="upper right", ncols=2)
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    _fold_legend(figure, folds)
    return figure


def matrix(counts_CC: Array, names: Sequence[str]) -> Figure:
    """Draw a confusion matrix: rows are the truth, colour the share of the row, numbers the counts."""
    shares_CC = counts_CC / np.maximum(counts_CC.sum(1, keepdims=True), 1)
    figure, axis = _heatmap(shares_CC, names, 0.0)
    axis.set_xlabel("predicted")
    axis.set_ylabel("truth")
    for row, column in np.argwhere(counts_CC > 0) if len(names) <= 24 else ():
        wrong, share = row != column, shares_CC[row, column]
        color = ORANGE if wrong and share < 0.5 else _on_blue(share)
        look: dict[str, Any] = {"color": color, "weight": "bold" if wrong else "normal"}
        look["size"] = 9 if len(names) <= 10 else 7
        axis.text(column, row, f"{counts_CC[row, column]:,.0f}", ha="center", va="center", **look)
    return figure


def heat(values_MM: Array, names: Sequence[str]) -> Figure:
    """Draw a correlation of all pairs; colour runs from the least found to 1, as good members are all near 1."""
    low = min(float(values_MM.min()), 0.999)
    figure, axis = _heatmap(values_MM, names, low)
    for row, column in np.ndindex(*values_MM.shape) if len(names) <= 12 else ():
        value = float(values_MM[row, column])
        color = _on_blue((value - low) / (1 - low))
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=color)
    return figure


def stacked(names: Sequence[str], parts: Mapping[str, Array]) -> Figure:
    """Draw bars split into named parts, such as found, missed and false alarms per label."""
    figure, axis = _rows(names, 0.26, 1.2)
    left = np.zeros(len(names))
    for color, (name, values) in zip((BLUE, PALE, ORANGE), parts.items(), strict=False):
        axis.barh(np.arange(len(names)), values, left=left, color=color, height=0.7, label=name)
        left = left + values
    axis.grid(axis="x")
    axis.set_xlabel("rows")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def dots(names: Sequence[str], columns: Mapping[str, Array]) -> Figure:
    """Draw one row of marks per name, one mark per column, the first the largest; NaN is left out."""
    figure, axis = _rows(names, 0.26, 1.2)
    rows = np.arange(len(names))
    marks = (("o", 6.5, BLUE), ("|", 9.0, ORANGE), ("x", 5.0, SOFT))
    for (mark, size, color), (name, values) in zip(marks, columns.items(), strict=False):
        axis.plot(values, rows, mark, ms=size, color=color, mew=1.6 if mark != "o" else 0, label=name)
    axis.grid(True)
    axis.margins(x=0.04)
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def spreads(
    names: Sequence[str], points: Sequence[Array], spans: Sequence[tuple[float, float, float]], xlabel: str
) -> Figure:
    """Draw per name its (centre, low, high) as a bar with a mark, and its single values as small dots."""
    figure, axis = _rows(names, 0.34, 0.8)
    for row, (values, (centre, low, high)) in enumerate(zip(points, spans, strict=True)):
        axis.plot([low, high], [row, row], color=PALE, lw=7, solid_capstyle="round", zorder=1)
        axis.plot(values, np.full(len(values), row), "o", ms=3.5, color=SOFT, alpha=0.75, mew=0, zorder=2)
        axis.plot([centre], [row], "D", ms=6, color=BLUE, zorder=3)
        place: dict[str, Any] = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center"}
        axis.annotate(f"{centre:.4f}", (centre, row), fontsize=8, **place)
    axis.set_ylim(len(names) - 0.5, -0.75)
    axis.grid(axis="x")
    axis.set_xlabel(xlabel)
    axis.margins(x=0.06)
    return figure


def climb(scores: Array, names: Sequence[str], best: int, ylabel: str) -> Figure:
    """Draw a search's score after each step, what it added there, and the step whose weights are used."""
    figure = _figure(3.0)
    axis = figure.subplots()
    steps = np.arange(1, len(scores) + 1)
    axis.plot(steps, scores, "-o", color=BLUE, lw=1.4, ms=4)
    axis.plot(steps[best], scores[best], "D", color=ORANGE, ms=7)
    if len(names) <= 30:
        axis.set_xticks(steps, [shorten(name, 14) for name in names], rotation=90)
    else:
        axis.set_xlabel("step")
    axis.grid(axis="y")
    axis.set_ylabel(ylabel)
    return figure


def _figure(height: float, width: float = WIDTH) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    return Figure(figsize=(width, height), layout=engine)


def _rows(names: Sequence[str], each: float, more: float) -> tuple[Figure, Axes]:
    """Return a figure as high as its rows need, inches, and its axis with their names."""
    figure = _figure(each * len(names) + more)
    axis = figure.subplots()
    _names(axis, names)
    return figure, axis


def _names(axis: Axes, names: Sequence[str]) -> None:
    """Name the rows, the first on top."""
    axis.set_yticks(range(len(names)), [shorten(name) for name in names])
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.set_ylim(len(names) - 0.5, -0.5)


def _heatmap(values_CC: Array, names: Sequence[str], low: float) -> tuple[Figure, Axes]:
    """Show values from low to 1 as blue of a square table whose rows and columns have these names."""
    from matplotlib.colors import LinearSegmentedColormap

    side = float(np.clip(0.42 * len(names) + 1.6, 3.4, WIDTH))
    figure = _figure(side, side + 0.4)
    axis = figure.subplots()
    axis.imshow(values_CC, cmap=LinearSegmentedColormap.from_list("blues", ["#ffffff", PALE, BLUE]), vmin=low, vmax=1)
    short = [shorten(name, 14) for name in names]
    axis.set_xticks(range(len(names)), short, rotation=0 if max(map(len, short)) <= 3 else 90)
    axis.set_yticks(range(len(names)), short)
    axis.tick_params(length=0, labelcolor=INK)
    axis.spines[:].set_visible(False)
    return figure, axis


def _fold_legend(figure: Figure, folds: Sequence[int]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=FOLDS[k % len(FOLDS)], lw=2.5, label=f"fold {k}") for k in folds]
    figure.legend(handles=handles, loc="outside upper left", ncols=7)


def _percent(value: float, _: object) -> str:
    return f"{100 * value:.0f} %"


def _on_blue(share: float) -> str:
    return "white" if share > 0.6 else INK

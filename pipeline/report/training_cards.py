"""The report's sections on how the run was made: labels and folds, training, settings."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.competition.labels import class_names, encode_targets
from pipeline.config.loading import dump
from pipeline.config.run_configs import PREDICTED, TRAINED
from pipeline.folds.fold_table import read_report
from pipeline.folds.strata import strata
from pipeline.machine.speeds import rate
from pipeline.methods.arrays import Array
from pipeline.prediction import trained_alike
from pipeline.report import page, plots
from pipeline.report.files import MOST, Card, Run

FACTS = (  # what is shown of folds/NAME.json
    *("scheme", "reason", "n", "seed", "stratify", "deviation", "lower_bound", "others", "warnings", "fold_hash"),
)


def header(run: Run) -> str:
    """Return the page's head: the score to believe, and the recipe in a few lines."""
    parts = [f"<h1>{escape(run.folder.name)} · Foldline report</h1>"]
    submitted = str(run.json("ensemble.json").get("submitted") or "tta")
    scores = run.json("ensemble.json").get("variants") or run.scores.get("variants", {})
    headline = scores.get(submitted) or {}
    if headline.get("mean") is not None:
        spread = "" if headline["std"] is None else f" ± {headline['std']:.4f}"
        folds = len(run.scores.get("folds", run.epochs))
        parts.append(
            f'<div class="score">{headline["mean"]:.4f}<small>{spread} {escape(run.config.metric)}, '
            f"CV over {folds} fold{'s' * (folds != 1)}, {submitted}</small></div>"
        )
    held = run.json("held_back.json")
    if held.get("score") is not None:
        low, high = (page.number(bound) for bound in held["interval"])
        parts.append(f"<p>held back: {held['score']:.4f} ({low} to {high}, {held['n']:,} rows)</p>")
    parts += [f'<p class="note">{escape(text)}</p>' for text in run.json("ensemble.json").get("notes", [])]
    warned = [*run.json("ensemble.json").get("warnings", []), *run.scores.get("warnings", [])]
    warned += trained_alike.mixed(run.folder, [*run.epochs])
    parts += [f'<p class="note">Warning: {escape(text)}</p>' for text in dict.fromkeys(warned)]
    if run.scores.get("partial"):
        done = ", ".join(map(str, run.scores["folds"]))
        parts.append(f'<p class="note">Partial: folds {done} of {run.folds.n} only.</p>')
    if run.scores.get("selected_on_valid"):
        parts.append('<p class="note">The epoch was chosen on the rows scored here: the score is optimistic.</p>')
    return "".join(parts) + page.table(["", ""], [[name, text] for name, text in _summary(run).items() if text])


def _summary(run: Run) -> dict[str, str]:
    """Return the recipe, the time and the hardware, a line each."""
    config, env = run.config, run.json("env.json")
    train, size = config.train, config.model.size_hw
    weights = {True: "pretrained", False: "from scratch"}.get(config.model.pretrained is not False, "")
    augment = config.augment.train if isinstance(config.augment.train, str) else "custom"
    mix = "" if config.mix.kind == "none" else f", {config.mix.kind} {config.mix.prob:g}"
    seconds = sum(float(table["seconds"].sum()) for table in run.epochs.values() if "seconds" in table)
    speeds = [float(t["images_per_second"].median()) for t in run.epochs.values() if "images_per_second" in t]
    speed = float(np.median(speeds)) if speeds else 0.0
    hardware = [env.get("cpu"), f"{env['cores']} cores" if env.get("cores") else None, *env.get("gpus", [])]
    return {
        "data": f"{config.data.task}, {len(run.classes)} classes" if run.scores else config.data.task,
        "model": f"{config.model.name}, {weights}, {size[0]}×{size[1]} px",
        "input": f"{augment} augmentation{mix}",
        "training": f"{config.loss.name}, {train.optimizer} {train.lr:g} {train.schedule}, "
        f"{train.epochs} epochs, batch {train.batch_size}{', EMA' * train.ema}",
        "views": ", ".join(config.tta),
        "time": f"{_duration(seconds)} of training, {rate(speed)} images/s" if seconds and speeds else "",
        "hardware": ", ".join(str(part) for part in hardware if part),
    }


def training(run: Run) -> Card | None:
    """Loss, metric and learning rate per fold."""
    if not run.epochs:
        return None
    metric, folds = run.config.metric, list(run.epochs)
    wanted = {
        "loss": {"valid": "valid_loss", "train": "train_loss"},
        f"{metric} on the validated fold": {"valid": "valid_metric"},
        "learning rate": {"lr": "lr"},
    }
    panels: dict[str, dict[str, list[tuple[Array, Array]]]] = {}
    for title, lines in wanted.items():
        for name, column in lines.items():
            series = [_series(table, column) for table in run.epochs.values()]
            if any(len(x) for x, _ in series):
                panels.setdefault(title, {})[name] = series
    lead = "Folds should move together; a valid loss that turns up while the train loss falls is overfitting."
    return Card("Training", lead, plots.curves(panels, folds))


def labels(run: Run) -> Card | None:
    """How often each label occurs, over all and in each fold, with the folds' sizes."""
    table, data = run.folds, run.config.data
    names = class_names(run.task, table.targets, data)
    targets_NC, _ = encode_targets(run.task, table.targets, data, names)
    if run.task.regression:
        hard, bins = strata(run.task, targets_NC, names, data, run.config.folds.bins)
        names, targets_NC = list(bins), hard if hard.ndim == 2 else hard[:, None] == np.arange(len(bins))
    folds = list(range(table.n))
    counts_C = targets_NC.sum(0)
    counts_KC = np.stack([targets_NC[table.fold == k].sum(0) for k in folds])
    order = np.argsort(-counts_C, kind="stable")
    if len(names) > MOST:
        order = np.concatenate([order[: MOST // 2], order[-MOST // 2 :]])
    elif counts_C.max() < 1.5 * counts_C.min():
        order = np.arange(len(names))
    shares_KC = counts_KC / np.maximum(counts_C, 1)
    figure = plots.labels([names[c] for c in order], counts_C[order], shares_KC[:, order], folds)
    grouped = any(table.groups.tolist())
    rows = [
        [f"fold {k}", int(own_N.sum()), len(set(table.groups[own_N].tolist())) if grouped else None]
        for k, own_N in ((k, table.fold == k) for k in folds)
    ]
    html = page.table(["", "rows", "groups"], rows)
    kept = {name: value for name, value in (read_report(run.config) or {}).items() if name in FACTS}
    html += "".join(f'<p class="note">{escape(str(text))}</p>' for text in kept.pop("warnings", []))
    facts = [[name.replace("_", " "), _plain(value)] for name, value in kept.items() if value not in (None, [], {})]
    html += page.details("How the folds were made", page.table(["", ""], facts)) if facts else ""
    lead = "Dots on the grey line are evenly spread folds" + (
        f"; the {MOST // 2} commonest and rarest of {len(names)} labels." if len(names) > MOST else "."
    )
    return Card("Labels and folds", lead, figure, html)


def settings(run: Run) -> Card:
    """The whole resolved config, versions and hardware, folded away."""
    text = dump(run.config)
    if run.read(TRAINED, as_text) is not None:  # whole
        text = as_text(run.folder / TRAINED)
    html = page.details("config.yaml, as it was trained", f"<pre>{escape(text)}</pre>")
    if (later := run.read(PREDICTED, as_text)) is not None:
        html += page.details("predict.yaml, predicted with", f"<pre>{escape(later)}</pre>")
    facts = [[name, _plain(value)] for name, value in run.json("env.json").items() if value not in (None, [], {})]
    if facts:
        html += page.details("Hardware and versions", page.table(["", ""], facts))
    return Card("Settings", "Everything that another run needs to give the same numbers.", None, html)


def as_text(path: Path) -> str:
    """Return a text file of the run."""
    return path.read_text(encoding="utf-8")


def _series(table: pd.DataFrame, column: str) -> tuple[Array, Array]:
    """Return the epochs and finite values of a column, empty where there is none."""
    if column not in table:
        return np.empty(0), np.empty(0)
    y = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
    return table["epoch"].to_numpy(np.float64)[np.isfinite(y)], y[np.isfinite(y)]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def _plain(value: Any) -> str:
    """Return a value from JSON as one readable line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:.5g}" if isinstance(value, float) else str(value)

"""Measure an ablation's runs and tell which variants surely differ from the base."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.config.config import Config
from pipeline.files.atomic import write_text
from pipeline.files.tables import write_table
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.methods import resampling
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import find
from pipeline.methods.resampling import Interval, Resamples
from pipeline.methods.tasks import TASKS
from pipeline.prediction import runs
from pipeline.scoring.scores import truth
from pipeline.studies.variants import BASE, Job, text

LEVEL, ROUNDS = 0.9, 1000


@dataclass(frozen=True)
class Measured:
    """Hold what one run scored: by fold, on each resample of the rows, and what it cost."""

    scores_K: Array
    resampled_R: Array
    seconds: float


@dataclass(frozen=True)
class Row:
    """Hold a variant over the seeds that it and the base have; leads above 0 are better than the base."""

    variant: str
    changes: str
    seeds: list[int]
    score: float
    leads_SK: Array
    interval: Interval | None  # of the lead, mean over the seeds; the base has none
    seconds: float  # of one training of all folds
    failed: str = ""

    @property
    def lead(self) -> float:
        """Return the mean over folds of the mean over seeds."""
        return mean(self.leads_SK.mean(0)) if len(self.leads_SK) else math.nan

    @property
    def verdict(self) -> str:
        """Say whether the variant surely differs from the base on rows like these."""
        if self.failed or self.interval is None:
            return self.failed and f"failed: {self.failed}"
        found = "not sure" if not self.interval.excludes_zero else "better" if self.interval.low > 0 else "worse"
        return found if self.interval.reliable else f"{found}, unreliable"


class Ruler:
    """Measure runs on the same rows and the same resamples of their groups."""

    def __init__(self, config: Config, table: FoldTable) -> None:
        self.config, self.table, self.metric = config, table, find(config.metric)
        self.ids = np.sort(table.ids[table.fold >= 0])
        rows = fold_table.row_numbers(table.ids, self.ids)
        draws = np.random.default_rng(config.ensemble.seed)
        self.resamples: Resamples = resampling.resample(table.fold[rows], table.groups[rows], draws, ROUNDS)

    def measure(self, made: Config) -> Measured:
        """Score a run's OOF predictions over the views of its `tta`; raise MismatchError where they do not fit."""
        names = self.config.submission.composite
        found = runs.read(made.run_dir, self.table, composite=names, partial=True, test=False)
        single_label, probs_NC = TASKS[self.config.data.task].single_label, found.oof(made.tta)
        targets_NC = truth(self.config, self.table, found.ids, found.classes)
        return Measured(
            resampling.fold_scores(self.metric, targets_NC, probs_NC, single_label, found.fold_N),
            resampling.bootstrap(self.metric, targets_NC, probs_NC, single_label, self.resamples),
            runs.train_seconds(made.run_dir, list(range(self.table.n))),
        )

    def row(
        self, job: Job, base: Mapping[int, Measured], own: Mapping[int, Measured], failed: Mapping[int, str]
    ) -> Row:
        """Compare a variant with the base over the seeds that both have."""
        seeds, sign = [seed for seed in own if seed in base], resampling.sign(self.metric)
        why = "; ".join(f"seed {seed}: {reason}" for seed, reason in failed.items())
        if not seeds:
            return Row(job.variant, text(job.changes), [], math.nan, np.zeros((0, 0)), None, math.nan, why)
        leads_SK = np.stack([sign * (own[seed].scores_K - base[seed].scores_K) for seed in seeds])
        own_R, base_R = (np.mean([one[seed].resampled_R for seed in seeds], axis=0) for one in (own, base))
        spread = resampling.paired(own_R, base_R, sign, self.resamples.groups, LEVEL)
        score = float(np.mean([mean(own[seed].scores_K) for seed in seeds]))
        seconds = float(np.mean([own[seed].seconds for seed in seeds]))
        interval = None if job.variant == BASE else spread
        return Row(job.variant, text(job.changes), seeds, score, leads_SK, interval, seconds, why)


def mean(scores_K: Array) -> float:
    """Return the mean of the folds whose score is defined; NaN where none is."""
    defined = scores_K[np.isfinite(scores_K)]
    return float(defined.mean()) if len(defined) else math.nan


def seed_spread(measured: Mapping[str, Mapping[int, Measured]]) -> tuple[float, int] | None:
    """Return by how much a score varies with its seed alone, and of how many variants that is known.

    The standard deviation, pooled over the variants: two seeds of one say next to nothing.
    """
    per_variant = [[mean(one.scores_K) for one in by_seed.values()] for by_seed in measured.values()]
    several = [np.var(scores, ddof=1) for scores in per_variant if len(scores) > 1]
    several = [variance for variance in several if math.isfinite(variance)]
    return (math.sqrt(np.mean(several)), len(several)) if several else None


def heading(ruler: Ruler, seeds: Sequence[int], spread: tuple[float, int] | None) -> list[str]:
    """Say what the numbers are, and what they do not show."""
    direction = "greater" if ruler.metric.greater_is_better else "lower"
    lines = [
        f"{ruler.config.metric} ({direction} is better), OOF, mean over {ruler.table.n} folds and the seeds "
        f"{', '.join(map(str, seeds))}.",
        f"lead: over the base with the same seeds, above 0 is better; {100 * LEVEL:.0f} % interval of "
        f"{ROUNDS:,} resamples of {ruler.resamples.groups:,} groups. Of ten variants that change nothing, one "
        "would seem to differ.",
    ]
    if spread is not None:
        lines.append(
            f"With the seed alone a score varies by ± {spread[0]:.4f} (pooled over {spread[1]} variants), so a lead "
            f"by ± {spread[0] * math.sqrt(2 / len(seeds)):.4f}, which the intervals do not hold."
        )
    else:
        lines.append("With one seed nothing shows how much of a lead is luck: give --seeds several.")
    return lines


def write(folder: Path, rows: Sequence[Row], lines: Sequence[str], ruler: Ruler) -> list[Path]:
    """Write ablation.csv, all numbers, and ablation.md, the table to be shown."""
    write_table(folder / "ablation.csv", pd.DataFrame([_cells(row) for row in rows]))
    head = ["variant", "settings", ruler.config.metric, "lead", f"{100 * LEVEL:.0f} % interval", "", "folds", "time"]
    shown = [head, ["---"] * len(head)]
    for row in rows:
        name, *numbers = _shown(row, rows[0].seconds)
        shown.append([name, f"`{row.changes}`" if row.changes else "the config itself", *numbers])
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in shown]
    write_text(folder / "ablation.md", "\n\n".join(lines) + "\n\n" + "\n".join(body) + "\n")
    return [folder / "ablation.csv", folder / "ablation.md"]


def printed(rows: Sequence[Row], metric: str) -> list[str]:
    """Return the table for the screen."""
    head = ["variant", metric, "lead", f"{100 * LEVEL:.0f} % interval", "", "folds", "time"]
    listed = [head, *(_shown(row, rows[0].seconds) for row in rows)]
    widths = [max(len(cells[c]) for cells in listed) for c in range(len(head))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in listed
    ]


def _shown(row: Row, base_seconds: float) -> list[str]:
    """Return a variant's cells; folds: those won, of those that differ."""
    score = "-" if math.isnan(row.score) else f"{row.score:.4f}"
    if row.interval is None:
        time = "-" if math.isnan(row.seconds) else f"{row.seconds:.0f} s"
        return [row.variant, score, "", "", row.verdict, "", time]
    low, high, leads_K = row.interval.low, row.interval.high, row.leads_SK.mean(0)
    between = "undefined" if math.isnan(low) else f"{low:+.4f} to {high:+.4f}"
    won, differ = int((leads_K > 0).sum()), int(((leads_K != 0) & np.isfinite(leads_K)).sum())
    times = f", ×{row.seconds / base_seconds:.2f}" if base_seconds > 0 else ""
    verdict = row.verdict
    return [
        row.variant,
        score,
        f"{row.lead:+.4f}",
        between,
        verdict,
        f"{won} of {differ}",
        f"{row.seconds:.0f} s{times}",
    ]


def _cells(row: Row) -> dict[str, Any]:
    cells: dict[str, Any] = {"variant": row.variant, "seeds": " ".join(map(str, row.seeds)), "score": row.score}
    if row.interval is not None:
        cells |= {"lead": row.lead, "low": row.interval.low, "high": row.interval.high}
        cells |= {f"lead_fold{fold}": lead for fold, lead in enumerate(row.leads_SK.mean(0))}
        cells |= {f"lead_seed{seed}": mean(leads_K) for seed, leads_K in zip(row.seeds, row.leads_SK, strict=True)}
    return cells | {"verdict": row.verdict, "seconds": row.seconds, "settings": row.changes}

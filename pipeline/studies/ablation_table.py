"""Score an ablation's runs and tell which variants differ significantly from the base."""

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
from pipeline.methods.resampling import Interval
from pipeline.methods.tasks import TASKS
from pipeline.prediction.oof import read_run, train_seconds
from pipeline.scoring.scores import truth
from pipeline.studies.variants import BASE, text

LEVEL, ROUNDS = 0.9, 1000


@dataclass(frozen=True)
class Scores:
    """Hold what one run scored: by fold, on each resample of the rows, and what it cost."""

    scores_K: Array
    resampled_R: Array
    seconds: float


BySeed = Mapping[int, Scores]


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
        """Say whether the variant differs significantly from the base on rows like these."""
        if self.failed:
            return f"failed: {self.failed}"
        if self.interval is None:
            return ""
        found = "better" if self.interval.low > 0 else "worse"
        found = found if self.interval.excludes_zero else "not significant"
        return found if self.interval.reliable else f"{found}, unreliable"

    def numbers(self) -> dict[str, Any]:
        """Return the row of ablation.csv."""
        found: dict[str, Any] = {"variant": self.variant, "seeds": " ".join(map(str, self.seeds)), "score": self.score}
        if self.interval is not None:
            found |= {"lead": self.lead, "low": self.interval.low, "high": self.interval.high}
            found |= {f"lead_fold{fold}": lead for fold, lead in enumerate(self.leads_SK.mean(0))}
            found |= {
                f"lead_seed{seed}": mean(leads_K) for seed, leads_K in zip(self.seeds, self.leads_SK, strict=True)
            }
        return found | {"verdict": self.verdict, "seconds": self.seconds, "settings": self.changes}

    def shown(self, base_seconds: float) -> list[str]:
        """Return the cells to read; folds: those won, of those that differ."""
        score, time = (
            "-" if math.isnan(value) else form.format(value)
            for value, form in ((self.score, "{:.4f}"), (self.seconds, "{:.0f} s"))
        )
        if self.interval is None:
            return [self.variant, score, "", "", self.verdict, "", time]
        low, high, leads_K = self.interval.low, self.interval.high, self.leads_SK.mean(0)
        between = "undefined" if math.isnan(low) else f"{low:+.4f} to {high:+.4f}"
        folds = f"{(leads_K > 0).sum()} of {((leads_K != 0) & np.isfinite(leads_K)).sum()}"
        time += f", ×{self.seconds / base_seconds:.2f}" if base_seconds > 0 else ""
        return [self.variant, score, f"{self.lead:+.4f}", between, self.verdict, folds, time]


class Evaluator:
    """Score runs on the same rows and the same resamples of their groups."""

    def __init__(self, config: Config, table: FoldTable) -> None:
        self.config, self.table, self.metric = config, table, find(config.metric)
        rows = fold_table.row_numbers(table.ids, np.sort(table.ids[table.fold >= 0]))
        rng = np.random.default_rng(config.ensemble.seed)
        self.resamples = resampling.resample(table.fold[rows], table.groups[rows], rng, ROUNDS)

    def score(self, made: Config) -> Scores:
        """Score a run's OOF predictions over the views of its `tta`; raise MismatchError where they do not fit."""
        names = self.config.submission.composite
        found = read_run(made.run_dir, self.table, composite=names, partial=True, test=False)
        single_label, probs_NC = TASKS[self.config.data.task].single_label, found.oof(made.tta)
        targets_NC = truth(self.config, self.table, found.ids, found.classes)
        return Scores(
            resampling.fold_scores(self.metric, targets_NC, probs_NC, single_label, found.fold_N),
            resampling.bootstrap(self.metric, targets_NC, probs_NC, single_label, self.resamples),
            train_seconds(made.run_dir, list(range(self.table.n))),
        )

    def row(
        self, variant: str, changes: Mapping[str, Any], base: BySeed, scores: BySeed, failed: Mapping[int, str]
    ) -> Row:
        """Compare a variant with the base over the seeds that both have."""
        seeds = [seed for seed in scores if seed in base]
        why = "; ".join(f"seed {seed}: {reason}" for seed, reason in failed.items())
        if not seeds:
            return Row(variant, text(changes), [], math.nan, np.zeros((0, 0)), None, math.nan, why)
        leads_SK = np.stack([self.metric.direction * (scores[seed].scores_K - base[seed].scores_K) for seed in seeds])
        resampled_R, base_R = (np.mean([one[seed].resampled_R for seed in seeds], axis=0) for one in (scores, base))
        interval = resampling.paired(resampled_R, base_R, self.metric, self.resamples.groups, LEVEL)
        score = float(np.mean([mean(scores[seed].scores_K) for seed in seeds]))
        seconds = float(np.mean([scores[seed].seconds for seed in seeds]))
        shown = None if variant == BASE else interval
        return Row(variant, text(changes), seeds, score, leads_SK, shown, seconds, why)

    def heading(self, scores: Mapping[str, BySeed]) -> list[str]:
        """Say what the numbers are, and what they do not show."""
        direction, seeds = "greater" if self.metric.greater_is_better else "lower", list(scores[BASE])
        if (spread := seed_spread(scores)) is not None:
            seed_text = (
                f"With the seed alone a score varies by ± {spread[0]:.4f} (pooled over {spread[1]} variants), so a "
                f"lead by ± {spread[0] * math.sqrt(2 / len(seeds)):.4f}, which the intervals do not hold."
            )
        else:
            seed_text = "With one seed nothing shows how much of a lead is luck: give --seeds several."
        return [
            f"{self.config.metric} ({direction} is better), OOF, mean over {self.table.n} folds and the seeds "
            f"{', '.join(map(str, seeds))}.",
            f"lead: over the base with the same seeds, above 0 is better; {100 * LEVEL:.0f} % interval of "
            f"{ROUNDS:,} resamples of {self.resamples.groups:,} groups. Of ten variants that change nothing, one "
            "would seem to differ.",
            seed_text,
        ]


def mean(scores_K: Array) -> float:
    """Return the mean of the folds whose score is defined; NaN where none is."""
    defined = scores_K[np.isfinite(scores_K)]
    return float(defined.mean()) if len(defined) else math.nan


def seed_spread(scores: Mapping[str, BySeed]) -> tuple[float, int] | None:
    """Return by how much a score varies with its seed alone, and of how many variants that is known.

    The standard deviation, pooled over the variants: two seeds of one say next to nothing.
    """
    per_variant = [[mean(one.scores_K) for one in by_seed.values()] for by_seed in scores.values()]
    variances = [np.var(found, ddof=1) for found in per_variant if len(found) > 1]
    variances = [variance for variance in variances if math.isfinite(variance)]
    return (math.sqrt(np.mean(variances)), len(variances)) if variances else None


def write(folder: Path, rows: Sequence[Row], heading: Sequence[str], metric: str) -> list[str]:
    """Write ablation.csv, all numbers, and ablation.md, the table to be shown; return it as lines for the screen."""
    write_table(folder / "ablation.csv", pd.DataFrame([row.numbers() for row in rows]))
    head = ["variant", metric, "lead", f"{100 * LEVEL:.0f} % interval", "", "folds", "time"]
    cells = [head, *(row.shown(rows[0].seconds) for row in rows)]
    settings = ["settings", *(f"`{row.changes}`" if row.changes else "the config itself" for row in rows)]
    listed = [[one[0], setting, *one[1:]] for one, setting in zip(cells, settings, strict=True)]
    listed.insert(1, ["---"] * len(listed[0]))
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in listed]
    write_text(folder / "ablation.md", "\n\n".join(heading) + "\n\n" + "\n".join(table) + "\n")
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    return [*heading, *lines, f"written: {folder / 'ablation.csv'}, {folder / 'ablation.md'}"]

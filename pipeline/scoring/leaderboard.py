"""Keep a ledger of runs and blends beside their leaderboard scores, and say how well CV predicted them."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.config import fingerprints
from pipeline.config.run_configs import trained
from pipeline.errors import FoldlineError, InputError, MismatchError, Problem, some
from pipeline.files.atomic import read_json
from pipeline.methods.arrays import Array
from pipeline.methods.blenders import find as find_blender
from pipeline.methods.metrics import find
from pipeline.plugins import file_of
from pipeline.prediction.oof import find_run
from pipeline.scoring import ledger
from pipeline.scoring.baseline import NAME as CONSTANT
from pipeline.scoring.ledger import Entry
from pipeline.scoring.scores import shown

SHOWN = 12  # runs that are not in the ledger
ENOUGH = 5  # pairs, below which a correlation says next to nothing


def run(runs_dir: Path) -> Path:
    """Print the ledger, best first, with the correlation of CV and leaderboard; return its path.

    Each competition and metric has a table of its own: scores of different ones do not compare.
    """
    path, entries = runs_dir / ledger.NAME, ledger.read(runs_dir)
    tables: dict[tuple[str, str], list[Entry]] = {}
    for entry in sorted(entries, key=lambda one: (one.competition, one.metric)):
        tables.setdefault((entry.competition, entry.metric), []).append(entry)
    lines = [line for (name, metric), rows in tables.items() for line in [*_table(name, metric, rows, runs_dir), ""]]
    if not entries:
        lines.append(f"{path}: nothing yet; begin with: foldline leaderboard add RUN --public SCORE")
    scored = {path.parent.name for name in ("scores.json", "ensemble.json") for path in runs_dir.glob(f"*/{name}")}
    if absent := sorted(scored - {entry.run for entry in entries}):
        lines.append(f"not entered: {some(absent, SHOWN)}")
    print("\n".join(lines).rstrip())
    return path


def add(
    runs_dir: Path, name: str, public: float | None = None, private: float | None = None, note: str | None = None
) -> Path:
    """Enter a run, or enter it anew with what its files say now; return the ledger's path.

    Leaderboard scores and the note stay as they were where none is given. Raises InputError where the run is not
    scored, MismatchError where the ledger is damaged.
    """
    given: dict[str, Any] = {
        "public": public,
        "private": private,
        "note": None if note is None else " ".join(note.split()),
    }
    for value in (public, private):
        if value is not None and not math.isfinite(value):
            raise InputError(Problem("leaderboard", f"found {value}", "a finite score"))
    folder = find_run(name, runs_dir, "leaderboard")
    run_name = folder.name if folder.resolve().parent == runs_dir.resolve() else str(folder)
    fresh = replace(_scored(folder, run_name), **{what: value for what, value in given.items() if value is not None})

    def make(old: Entry | None) -> Entry:
        if old is None:
            return fresh
        date = old.date if old.scores == fresh.scores else fresh.date
        return replace(fresh, date=date, **{what: getattr(old, what) for what, value in given.items() if value is None})

    old, made = ledger.change(runs_dir, run_name, make)
    public_private = f"public {shown(made.public)}, private {shown(made.private)}"
    print(f"{run_name}: {made.metric} {shown(made.primary)}, {public_private}")
    kept = [what for what in ("public", "private") if given[what] is None and getattr(made, what) is not None]
    if old is not None and kept and old.scores != made.scores:
        change = f"its own score was {shown(old.primary)} and is {shown(made.primary)}"
        print(f"note: {change}; {' and '.join(kept)} may belong to the earlier submission")
    return runs_dir / ledger.NAME


def main(arguments: argparse.Namespace) -> None:
    """Run the command `leaderboard`, with or without `add`."""
    given = {"public": arguments.public, "private": arguments.private, "note": arguments.note}
    runs_dir = Path(arguments.runs_dir)
    if arguments.action is None:
        if named := [f"--{name}" for name, value in given.items() if value is not None]:
            found, remedy = f"found {', '.join(named)} without add RUN", "name the run that it belongs to"
            raise InputError(Problem("leaderboard", found, remedy=remedy))
        run(runs_dir)
    elif arguments.entered is None:
        remedy = "name one: foldline leaderboard add RUN --public SCORE"
        raise InputError(Problem("leaderboard add", "found no run", remedy=remedy))
    else:
        add(runs_dir, arguments.entered, **given)


def _scored(folder: Path, name: str) -> Entry:
    """Read what the run's files say: a blend's where it was blended, else its own scores."""
    path = next((folder / file for file in ("ensemble.json", "scores.json") if (folder / file).is_file()), None)
    if path is None:
        remedy = "score it with: foldline score, or blend it with: foldline ensemble"
        raise InputError(Problem(str(folder), "not scored", remedy=remedy))
    competition, is_blend = trained(folder).name, path.stem == "ensemble"
    fingerprints.require(folder, path.name)
    report = read_json(path)
    try:
        if report.get("partial"):
            found = f"scores of folds {report['folds']} only"
            raise InputError(Problem(str(path), found, remedy="train and score the others first"))
        scores = report["variants"][report.get("submitted", "tta")]
        cv, cross_fitted = _fitted(report, scores["mean"]) if is_blend else (scores["mean"], None)
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        return Entry(now, competition, name, report["metric"], cv, scores["std"], cross_fitted)
    except (KeyError, TypeError, AttributeError) as error:
        remedy = f"delete it and make it again: foldline {'ensemble' if is_blend else 'score'}"
        raise MismatchError(Problem(str(path), f"lacks {error}", remedy=remedy)) from None


def _fitted(report: dict[str, Any], mean: float | None) -> tuple[float | None, float | None]:
    """Return a blend's score by the fits to all rows, and its cross-fitted one, None where nothing was fitted.

    The variants' scores are cross-fitted ones; the last thing fitted knows what it scores on its own rows, but
    for a blender that was compared with no other (None).
    """
    variant, blender = report["submitted"], report["blender"]
    compared = report.get("comparison", {"blenders": {}})["blenders"].get(blender)
    weighted = [one for one in report.get("views", {}).values() if one["weighted"] and not variant.startswith("plain")]
    several = len(report["members"]) > 1  # to one there is nothing to fit
    in_sample: list[float | None] = []
    if weighted or (several and (compared["fitted"] if compared else _learns(report))):
        views = weighted[0]["in_sample"] if weighted and not several else None
        in_sample.append(compared["in_sample"] if compared else views)
    for what, baseline in (("calibration", "none"), ("smoothing", "none"), ("decision", "plain")):
        found = report.get(what) or {"chosen": baseline}
        if found["chosen"] != baseline and (what != "smoothing" or variant.endswith("_smoothed")):
            in_sample.append(found["candidates"][found["chosen"]]["in_sample"])
    return (in_sample[-1], mean) if in_sample else (mean, None)


def _learns(report: dict[str, Any]) -> bool:
    """Tell whether a blend's blender learnt its weights; a user's own is never executed for it, its weights tell."""
    if file_of(report["blender"]) is None:
        return find_blender(report["blender"]).fitted
    weights = [float(one) for one in report["weights"].values()]
    return max(weights) - min(weights) > 1e-12


def _told(runs_dir: Path, metric: str, entries: Sequence[Entry], *keys: str) -> Any:
    """Return what the files of the first run that still tell hold at nested keys, None where none does."""
    folders = [folder for entry in entries for folder in (runs_dir / entry.run, Path(entry.run))]
    for path in [folder / name for folder in folders for name in ("ensemble.json", "scores.json")]:
        with contextlib.suppress(FoldlineError, OSError, AttributeError, KeyError, TypeError, ValueError):
            report = read_json(path) if path.is_file() else {}
            if report.get("metric") == metric:
                return reduce(getitem, keys, report)
    return None


def _table(name: str, metric: str, entries: Sequence[Entry], runs_dir: Path) -> list[str]:
    own = file_of(metric) is not None  # never executed for a table: the runs' files say its direction
    told = _told(runs_dir, metric, entries, "greater_is_better") if own else find(metric).greater_is_better
    greater, constant = told is not False, _told(runs_dir, metric, entries, "baseline", "mean")
    direction = "greater" if greater else "lower"
    width = max(len("run"), *(len(entry.run) for entry in entries))
    lines = [
        f"{name}: {metric} ({direction} is better{', as no run says' if told is None else ''})",
        f"    {'run':<{width}}{'cross-fitted':>14}{'CV ± std':>18}{'public':>10}{'private':>10}  {'date':<16}  note",
    ]
    for number, entry in enumerate(sorted(entries, key=lambda one: -one.gain(greater)), start=1):
        spread = f"{shown(entry.cv)} ± {shown(entry.std)}"
        scores = f"{shown(entry.cross_fitted):>14}{spread:>18}{shown(entry.public):>10}{shown(entry.private):>10}"
        lines.append(f"{number:>3} {entry.run:<{width}}{scores}  {entry.date:<16}  {entry.note}".rstrip())
    if isinstance(constant, int | float):
        lines.append(f"{CONSTANT}, by the other folds' labels: {shown(constant)}")
    return [*lines, *_agreement("public", entries), *_agreement("private", entries)]


def _agreement(which: str, entries: Sequence[Entry]) -> list[str]:
    """Say how CV, cross-fitted where it is, and a leaderboard agree over the runs that have both, if any has."""
    rows = [(entry.primary, getattr(entry, which)) for entry in entries]
    pairs = np.array([pair for pair in rows if None not in pair], dtype=np.float64).reshape(-1, 2)
    spearman, pearson = correlation(pairs, "spearman"), correlation(pairs)
    if math.isnan(pearson):
        return [f"CV and {which}: nothing to correlate, n = {len(pairs)}"] if len(pairs) else []
    doubt = f", unreliable below {ENOUGH}" if len(pairs) < ENOUGH else ""
    return [f"CV and {which}: Spearman {spearman:.2f}, Pearson {pearson:.2f}, n = {len(pairs)}{doubt}"]


def correlation(pairs_N2: Array, method: Literal["pearson", "spearman"] = "pearson") -> float:
    """Return the correlation of two columns; NaN under two rows or where one of them is constant."""
    import pandas as pd

    return float(pd.DataFrame(pairs_N2).corr(method).to_numpy()[0, 1])

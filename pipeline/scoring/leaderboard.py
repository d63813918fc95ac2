"""Keep a ledger of runs and blends beside their leaderboard scores, and say how well CV foretold them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import loading as configs
from pipeline.errors import InputError, MismatchError
from pipeline.files.atomic import read_json
from pipeline.methods.blenders import find as find_blender
from pipeline.methods.metrics import find
from pipeline.prediction.oof import find_run
from pipeline.scoring import ledger
from pipeline.scoring.ledger import Entry

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
    lines = [line for (name, metric), rows in tables.items() for line in [*_table(name, metric, rows), ""]]
    if not entries:
        lines.append(f"{path}: nothing yet; begin with: foldline leaderboard add RUN --public SCORE")
    if absent := _absent(runs_dir, entries):
        lines.append(f"not entered: {', '.join(absent[:SHOWN])}{', …' if len(absent) > SHOWN else ''}")
    print("\n".join(lines).rstrip())
    return path


def add(
    runs_dir: Path, name: str, public: float | None = None, private: float | None = None, note: str | None = None
) -> Path:
    """Enter a run, or enter it anew with what its files say now; return the ledger's path.

    Leaderboard scores and the note stay as they were where none is given. Raises InputError where the run is not
    scored, MismatchError where the ledger is damaged.
    """
    if wrong := [value for value in (public, private) if value is not None and not math.isfinite(value)]:
        raise InputError(f"leaderboard: found {wrong[0]}, expected a finite score")
    folder = find_run(name, runs_dir, "leaderboard")
    run_name = folder.name if folder.resolve().parent == runs_dir.resolve() else str(folder)
    fresh = replace(_scored(folder, run_name), public=public, private=private, note=" ".join((note or "").split()))

    replaced: list[Entry] = []

    def make(old: Entry | None) -> Entry:
        if old is None:
            return fresh
        replaced.append(old)
        return replace(
            fresh,
            date=old.date if _scores(old) == _scores(fresh) else fresh.date,
            public=old.public if public is None else public,
            private=old.private if private is None else private,
            note=old.note if note is None else fresh.note,
        )

    made = ledger.change(runs_dir, run_name, make)
    print(
        f"{run_name}: {made.metric} {_text(made.primary)}, public {_text(made.public)}, private {_text(made.private)}"
    )
    kept = [what for what, given in (("public", public), ("private", private)) if given is None]
    kept = [what for what in kept if getattr(made, what) is not None]
    for old in replaced if kept else []:
        if _scores(old) != _scores(made):
            change = f"its own score was {_text(old.primary)} and is {_text(made.primary)}"
            print(f"note: {change}; {' and '.join(kept)} may belong to the earlier submission")
    return runs_dir / ledger.NAME


def main(arguments: argparse.Namespace) -> None:
    """Run the command `leaderboard`, with or without `add`."""
    given = {"public": arguments.public, "private": arguments.private, "note": arguments.note}
    runs_dir = Path(arguments.runs_dir)
    if arguments.action is None:
        if named := [f"--{name}" for name, value in given.items() if value is not None]:
            raise InputError(f"leaderboard: found {', '.join(named)} without add RUN; name the run that it belongs to")
        run(runs_dir)
    elif arguments.entered is None:
        raise InputError("leaderboard add: found no run; name one: foldline leaderboard add RUN --public SCORE")
    else:
        add(runs_dir, arguments.entered, **given)


def _scored(folder: Path, name: str) -> Entry:
    """Read what the run's files say: a blend's where it was blended, else its own scores."""
    blend, own = folder / "ensemble.json", folder / "scores.json"
    if not (blend.is_file() or own.is_file()):
        raise InputError(f"{folder}: not scored; score it with: foldline score, or blend it with: foldline ensemble")
    competition = configs.load([folder / "config.yaml"]).name
    path = blend if blend.is_file() else own
    report = read_json(path)
    try:
        if report.get("partial"):
            raise InputError(f"{path}: scores of folds {report['folds']} alone; train and score the others first")
        scores = report["variants"][report.get("submitted", "tta")]
        cv, cross_fitted = _fitted(report, scores["mean"]) if path == blend else (scores["mean"], None)
        return Entry(
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            competition=competition,
            run=name,
            metric=report["metric"],
            cv=cv,
            std=scores["std"],
            cross_fitted=cross_fitted,
            public=None,
            private=None,
            note="",
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise MismatchError(
            f"{path}: lacks {error}; delete it and make it again: foldline {'ensemble' if path == blend else 'score'}"
        ) from None


def _fitted(report: dict[str, Any], mean: float | None) -> tuple[float | None, float | None]:
    """Return a blend's score by the fits to all rows, and its cross-fitted one, None where nothing was fitted.

    The variants' scores are cross-fitted ones; the last thing fitted knows what it scores on its own rows, but
    for a blender that was compared with no other (None).
    """
    variant, blender = report["submitted"], report["blender"]
    learnt: list[float | None] = []
    compared = report.get("comparison", {"blenders": {}})["blenders"].get(blender)
    weighted = [one for one in report.get("views", {}).values() if one["weighted"] and variant.startswith("tta")]
    one = len(report["members"]) == 1  # there is nothing to fit to it
    fitted = compared["fitted"] if compared else find_blender(blender).fitted
    if (fitted and not one) or weighted:
        alone = weighted[0] if weighted and one else {"in_sample": None}
        learnt.append((compared or alone)["in_sample"])
    for what in ("calibration", "smoothing"):
        found = report.get(what)
        if found and found["chosen"] != "none" and (what == "calibration" or variant.endswith("_smoothed")):
            learnt.append(found["candidates"][found["chosen"]]["in_sample"])
    decision = report.get("decision")
    if decision and decision["chosen"] != "plain":
        learnt.append(decision["candidates"][decision["chosen"]]["in_sample"])
    return (learnt[-1], mean) if learnt else (mean, None)


def _scores(entry: Entry) -> tuple[float | None, ...]:
    return entry.cv, entry.std, entry.cross_fitted


def _absent(runs_dir: Path, entries: Sequence[Entry]) -> list[str]:
    """Return the runs that are scored but not in the ledger."""
    scored = {path.parent.name for name in ("scores.json", "ensemble.json") for path in runs_dir.glob(f"*/{name}")}
    return sorted(scored - {entry.run for entry in entries})


def _table(name: str, metric: str, entries: Sequence[Entry]) -> list[str]:
    direction = "greater" if find(metric).greater_is_better else "lower"
    width = max(len("run"), *(len(entry.run) for entry in entries))
    lines = [
        f"{name}: {metric} ({direction} is better)",
        f"    {'run':<{width}}{'cross-fitted':>14}{'CV ± std':>18}{'public':>10}{'private':>10}  {'date':<16}  note",
    ]
    for number, entry in enumerate(sorted(entries, key=lambda one: -one.gain), start=1):
        spread = f"{_text(entry.cv)} ± {_text(entry.std)}"
        scores = f"{_text(entry.cross_fitted):>14}{spread:>18}{_text(entry.public):>10}{_text(entry.private):>10}"
        lines.append(f"{number:>3} {entry.run:<{width}}{scores}  {entry.date:<16}  {entry.note}".rstrip())
    return [*lines, *_agreement("public", entries), *_agreement("private", entries)]


def _agreement(which: str, entries: Sequence[Entry]) -> list[str]:
    """Say how CV, cross-fitted where it is, and a leaderboard agree over the runs that have both, if any has."""
    rows = [(entry.primary, getattr(entry, which)) for entry in entries]
    pairs = np.array([pair for pair in rows if None not in pair], dtype=np.float64).reshape(-1, 2)
    n = len(pairs)
    spearman, pearson = correlation(_ranks(pairs)), correlation(pairs)
    doubt = f", unreliable below {ENOUGH}" if n < ENOUGH else ""
    if math.isnan(pearson):
        return [f"CV and {which}: nothing to correlate, n = {n}"] if n else []
    return [f"CV and {which}: Spearman {spearman:.2f}, Pearson {pearson:.2f}, n = {n}{doubt}"]


def correlation(pairs_N2: np.ndarray[Any, Any]) -> float:
    """Return Pearson's correlation of two columns; NaN under two rows or where one of them is constant."""
    if len(pairs_N2) < 2 or (pairs_N2 == pairs_N2[0]).all(0).any():
        return math.nan
    centred_N2 = pairs_N2 - pairs_N2.mean(0)
    sums = (centred_N2**2).sum(0)
    return float(np.clip((centred_N2[:, 0] * centred_N2[:, 1]).sum() / math.sqrt(sums[0] * sums[1]), -1, 1))


def _ranks(pairs_N2: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return ranks in each column, ties sharing their mean."""
    import pandas as pd

    return pd.DataFrame(pairs_N2).rank().to_numpy()


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"

"""Write what a study found: its table, the best settings as an overlay, and its pictures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from pipeline.config.search_space import space as spaces
from pipeline.config.search_space.entries import Range
from pipeline.files.atomic import atomic, write_text
from pipeline.files.tables import write_table
from pipeline.report import plots
from pipeline.tuning import plots as study_plots
from pipeline.tuning.identity import trial_config
from pipeline.tuning.study import Setup
from pipeline.tuning.trial_states import COUNTED, DIED, check_known, first_number, kinds, reason, tried

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna.trial import FrozenTrial

NAMES = {  # of the kinds of trials, in the summary
    "complete": "finished",
    "pruned": "pruned",
    "failed": "failed",
    "lost": "lost",
    "running": "running",
    "waiting": "waiting",
    "died": "interrupted, to be continued",
}


def write(setup: Setup) -> list[Path]:
    """Write trials.csv, best.yaml and the pictures into the study's folder; return what could be written.

    Raises MismatchError, before anything is written, as `check_known` does.
    """
    check_known(setup.config.study_dir, setup.trials)
    folder = setup.config.study_dir
    write_table(folder / "trials.csv", table(setup))
    written = [folder / "trials.csv"]
    if setup.ranked:
        write_text(folder / "best.yaml", overlay(setup, setup.ranked[0]))
        written.append(folder / "best.yaml")
    with plots.style():
        for name, figure in _figures(setup).items():
            with atomic(folder / f"{name}.png") as beside:
                plots.save(beside, figure)
            written.append(folder / f"{name}.png")
    return written


def table(setup: Setup) -> pd.DataFrame:
    """Return one row per trial that counts or runs, in the order in which their settings were proposed.

    A trial that was killed and tried again is one row; `number` is Optuna's, of its last try.
    """
    trials = setup.trials
    known = kinds(trials)
    listed = [trial for trial in trials if known[trial.number] in (*COUNTED, "running")]
    best = {trial.number for trial in setup.study.best_trials} if len(setup.study.directions) > 1 else None
    rows = []
    for order, trial in enumerate(sorted(listed, key=first_number)):
        kind, scores = known[trial.number], trial.user_attrs.get("scores", {})
        row: dict[str, Any] = {"trial": order, "number": trial.number, "state": kind}
        row |= dict(zip(("value", "time"), trial.values or [], strict=False))
        row |= {} if best is None else {"pareto": trial.number in best}
        row |= {f"fold{fold}": scores.get(str(fold)) for fold in setup.folds}
        row |= {"seconds": trial.user_attrs.get("seconds"), "run": trial.user_attrs.get("settings")}
        row["reason"] = DIED if kind == "lost" else reason(trial)
        rows.append(row | found_settings(setup, trial))
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["trial", "number", "state", "value"])


def found_settings(setup: Setup, trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial's settings by their config keys; its bare parameters where it was ended before it had all."""
    try:
        return spaces.settings(setup.space, trial.params)
    except KeyError:
        return dict(trial.params)


def overlay(setup: Setup, trial: FrozenTrial) -> str:
    """Return best.yaml: what the study found, to be laid over the config that it searched."""
    folder, metric = setup.config.study_dir, setup.config.metric
    tree = spaces.nested(found_settings(setup, trial))
    return (
        f"# The best of {tried(setup.trials)} trials of the study {folder.name}: {metric} {trial.values[0]:.4f}, "
        "which is optimistic as it was chosen for it.\n"
        f"# foldline run -c CONFIG -c {folder}/best.yaml --set run={folder.name}-best\n"
        + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    )


def importances(setup: Setup) -> Mapping[str, float]:
    """Return how much each parameter matters by PED-ANOVA; empty where the trials are too few or alike."""
    from optuna.importance import get_param_importances

    if len({trial.values[0] for trial in setup.trials if trial.values}) < 2:
        return {}
    several = len(setup.study.directions) > 1
    try:
        found = get_param_importances(setup.study, target=(lambda trial: trial.values[0]) if several else None)
    except (RuntimeError, ValueError):  # no parameter that varies
        return {}
    return {key: share for key, share in found.items() if math.isfinite(share)}


def summary(setup: Setup) -> list[str]:
    """Return the study on a few lines: what was tried, the best settings, the config's own values beside them."""
    trials, best = setup.trials, setup.ranked
    counts = Counter(kinds(trials).values())
    parts = [f"{counts[kind]} {name}" for kind, name in NAMES.items() if counts[kind]]
    lines = [f"study {setup.config.study_dir.name}: {', '.join(parts) or 'no trial yet'}"]
    if not best:
        why = next((f"; the first failed: {reason(one)}" for one in trials if "reason" in one.user_attrs), "")
        return [*lines, f"no trial was scored on all its folds{why}"]
    lines.append(f"{setup.config.metric} over folds {', '.join(map(str, setup.folds))}, best first")

    def scored(trial: FrozenTrial) -> str:
        return f"  {trial.values[0]:.4f}  {trial.user_attrs.get('seconds', 0):5.0f} s"

    for trial in best[:5]:
        settings = found_settings(setup, trial).items()
        found = ", ".join(f"{key}={value:.4g}" if type(value) is float else f"{key}={value}" for key, value in settings)
        lines.append(f"{scored(trial)}  trial {trial.number}: {found}")
    if (complete := sum(trial.state.name == "COMPLETE" for trial in trials)) > 1 and not importances(setup):
        lines.append(f"  importance.png is not drawn: the {complete} trials are too few, or scored alike")
    run = trial_config(setup.config, {}).run
    for trial in (one for one in best if one.user_attrs.get("settings") == run):
        gain = (best[0].values[0] - trial.values[0]) * setup.direction
        lines.append(f"{scored(trial)}  the config's own values: the best is {gain:+.4f} better")
    return lines


def _figures(setup: Setup) -> dict[str, Figure]:
    known = kinds(setup.trials)
    scored = [trial for trial in setup.trials if known.get(trial.number) in ("complete", "pruned")]
    if not scored:
        return {}
    values_T = np.array([trial.values[0] for trial in scored])
    complete_T = np.array([known[trial.number] == "complete" for trial in scored])
    numbers, direction = [trial.number for trial in scored], setup.direction
    made = {"history": study_plots.history(numbers, values_T, complete_T, direction, setup.config.metric)}
    if shares := importances(setup):
        made["importance"] = study_plots.importance(shares)
    rows = [found_settings(setup, trial) for trial in scored]
    keys = dict.fromkeys(key for row in rows for key in row)
    columns = {key: [_cell(row.get(key)) for row in rows] for key in keys}
    if columns := {key: cells for key, cells in columns.items() if len(set(map(repr, cells))) > 1}:
        log = [entry.key for entry in setup.space.all() if isinstance(entry, Range) and entry.log]
        made["slice"] = study_plots.slices(columns, log, values_T, direction)
    return made


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else repr(value)

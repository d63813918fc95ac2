"""Write what a study found: its table, the best settings as an overlay, and its pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from pipeline.config.search_space import space as spaces
from pipeline.config.search_space.entries import Range
from pipeline.config.search_space.space import Space
from pipeline.files.atomic import atomic, write_text
from pipeline.files.tables import write_table
from pipeline.report import plots
from pipeline.tuning import plots as study_plots
from pipeline.tuning import trial_names
from pipeline.tuning.trial_results import Setup
from pipeline.tuning.trial_states import COUNTED, DIED, RETRIES, Kind, history, kinds, ranked, reason, tried

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna.trial import FrozenTrial

NAMES: dict[Kind, str] = {
    "complete": "finished",
    "pruned": "pruned",
    "failed": "failed",
    "lost": "lost",
    "running": "running",
    "waiting": "waiting",
    "died": "interrupted, to be continued",
}


def write(setup: Setup, space: Space) -> list[Path]:
    """Write trials.csv, best.yaml and the pictures into the study's folder; return what could be written."""
    folder, trials = setup.config.study_dir, setup.study.get_trials(deepcopy=False)
    write_table(folder / "trials.csv", table(setup, space, trials))
    written = [folder / "trials.csv"]
    best = ranked(trials, setup.greater)
    if best:
        write_text(folder / "best.yaml", overlay(setup, space, best[0]))
        written.append(folder / "best.yaml")
    with plots.style():
        for name, figure in _figures(setup, space, trials).items():
            with atomic(folder / f"{name}.png") as beside:
                plots.save(beside, figure)
            written.append(folder / f"{name}.png")
    return written


def table(setup: Setup, space: Space, trials: list[FrozenTrial]) -> pd.DataFrame:
    """Return one row per trial that counts or runs, in the order in which their settings were proposed.

    A trial that was killed and tried again is one row; `number` is Optuna's, of its last try.
    """
    known = kinds(trials)
    listed = [trial for trial in trials if known[trial.number] in (*COUNTED, "running")]
    listed.sort(key=lambda trial: (history(trial) or [trial.number])[0])
    front = {trial.number for trial in setup.study.best_trials} if len(setup.study.directions) > 1 else set()
    rows = []
    for order, trial in enumerate(listed):
        scores = trial.user_attrs.get("scores", {})
        row: dict[str, Any] = {"trial": order, "number": trial.number, "state": known[trial.number]}
        row |= dict(zip(("value", "time"), trial.values or [], strict=False))
        if front:
            row["pareto"] = trial.number in front
        row |= {f"fold{fold}": scores.get(str(fold)) for fold in setup.folds}
        row |= {"seconds": trial.user_attrs.get("seconds"), "run": trial.user_attrs.get("settings")}
        row["reason"] = DIED.format(times=RETRIES + 1) if known[trial.number] == "lost" else reason(trial)
        rows.append(row | found_settings(space, trial))
    first = ["trial", "number", "state", "value"]
    made = pd.DataFrame(rows)
    return made if len(made) else pd.DataFrame(columns=first)


def found_settings(space: Space, trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial's settings by their config keys; its bare parameters where it was ended before it had all."""
    try:
        return spaces.settings(space, trial.params)
    except KeyError:
        return dict(trial.params)


def overlay(setup: Setup, space: Space, trial: FrozenTrial) -> str:
    """Return best.yaml: what the study found, to be laid over the config that it searched."""
    metric, count = setup.config.metric, tried(setup.study.get_trials(deepcopy=False))
    lines = [
        f"# The best of {count} trials of the study {setup.config.study_dir.name}: {metric} "
        f"{trial.values[0]:.4f}, which is optimistic as it was chosen for it.",
        f"# foldline run -c CONFIG -c {setup.config.study_dir}/best.yaml --set run={setup.config.study_dir.name}-best",
    ]
    tree = spaces.nested(found_settings(space, trial))
    return "\n".join(lines) + "\n" + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def base_trial(setup: Setup) -> FrozenTrial | None:
    """Return the trial of the config's own values, where they lie in the space and it was finished."""
    name = trial_names.of(setup.config, {}).run
    trials = ranked(setup.study.get_trials(deepcopy=False), setup.greater)
    return next((trial for trial in trials if trial.user_attrs.get("settings") == name), None)


def importances(setup: Setup) -> Mapping[str, float]:
    """Return how much each parameter matters by PED-ANOVA; empty where the trials are too few or alike."""
    from optuna.importance import get_param_importances

    values = {trial.values[0] for trial in setup.study.get_trials(deepcopy=False) if trial.values}
    if len(values) < 2:
        return {}
    several = len(setup.study.directions) > 1
    try:
        found = get_param_importances(setup.study, target=(lambda trial: trial.values[0]) if several else None)
    except (RuntimeError, ValueError):  # no parameter that varies
        return {}
    return {key: share for key, share in found.items() if math.isfinite(share)}


def _figures(setup: Setup, space: Space, trials: list[FrozenTrial]) -> dict[str, Figure]:
    known = kinds(trials)
    scored = [trial for trial in trials if known[trial.number] in ("complete", "pruned")]
    if not scored:
        return {}
    values_T = np.array([trial.values[0] for trial in scored])
    whole_T = np.array([known[trial.number] == "complete" for trial in scored])
    numbers = [trial.number for trial in scored]
    made = {"history": study_plots.history(numbers, values_T, whole_T, setup.greater, setup.config.metric)}
    if shares := importances(setup):
        made["importance"] = study_plots.importance(shares)
    rows = [found_settings(space, trial) for trial in scored]
    keys = [key for key in dict.fromkeys(key for row in rows for key in row)]
    varied = [key for key in keys if len({repr(row.get(key)) for row in rows}) > 1]
    if varied:
        log = [entry.key for entry in space.all() if isinstance(entry, Range) and entry.log]
        columns = {key: [_cell(row.get(key)) for row in rows] for key in varied}
        made["slice"] = study_plots.slices(columns, log, values_T, setup.greater)
    return made


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else repr(value)


def summary(setup: Setup, space: Space) -> list[str]:
    """Return the study on a few lines: what was tried, the best settings, the config's own beside them."""
    trials = setup.study.get_trials(deepcopy=False)
    counts = list(kinds(trials).values())
    parts = [f"{counts.count(kind)} {name}" for kind, name in NAMES.items() if counts.count(kind)]
    lines = [f"study {setup.config.study_dir.name}: {', '.join(parts) or 'no trial yet'}"]
    best = ranked(trials, setup.greater)
    if not best:
        why = next((reason(trial) for trial in trials if "reason" in trial.user_attrs), "")
        return [*lines, f"no trial was scored on all its folds{f'; the first failed: {why}' if why else ''}"]
    lines.append(f"{setup.config.metric} over folds {', '.join(map(str, setup.folds))}, best first")
    for trial in best[:5]:
        found = ", ".join(f"{key}={_short(value)}" for key, value in found_settings(space, trial).items())
        lines.append(f"  {trial.values[0]:.4f}  {_seconds(trial)}  trial {trial.number}: {found}")
    scored = sum(trial.state.name == "COMPLETE" for trial in trials)
    if scored > 1 and not importances(setup):
        lines.append(f"  importance.png is not drawn: the {scored} trials are too few, or scored alike")
    if (own := base_trial(setup)) is not None:
        gain = (best[0].values[0] - own.values[0]) * (1 if setup.greater else -1)
        lines.append(f"  {own.values[0]:.4f}  {_seconds(own)}  the config's own values: the best is {gain:+.4f} better")
    return lines


def _seconds(trial: FrozenTrial) -> str:
    return f"{trial.user_attrs.get('seconds', 0):5.0f} s"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""Train the winner again where nobody chose it: on fresh seeds, and if asked on folds of another seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.config.config import Config
from pipeline.config.search_space.space import Space
from pipeline.files.atomic import read_json, write_json
from pipeline.folds import fold_table
from pipeline.tuning import inputs, trial_names
from pipeline.tuning.locks import turn
from pipeline.tuning.outputs import found_settings
from pipeline.tuning.trial_results import Setup, fold_score, mean_score
from pipeline.tuning.trial_states import ranked, tried

FILE = "fresh.json"


def run(setup: Setup, space: Space) -> None:
    """Train the winner `tune.fresh_seeds` times, each on all folds, at the cost per epoch of a trial.

    The best of many trials is the one that was also lucky: with its seed, and with the rows of the folds it was
    chosen on. Fresh seeds take the first luck away, fresh folds both. What is finished is not repeated.
    """
    from pipeline.tuning.trial import tidy

    with turn(setup.config.study_dir, ".fresh"):  # the same command in another terminal comes here too
        known = _stored(setup)
        for made, folds_seed in _jobs(setup, space):
            if made.run in known:
                continue
            what = f"seed {made.train.seed}" + (f", folds of seed {folds_seed}" if folds_seed is not None else "")
            print(f"the winner again, {what} …", flush=True)
            scores = _train(setup, made, remake=folds_seed is not None)
            stored = [None if math.isnan(score) else score for score in scores]
            known[str(made.run)] = {
                "run": made.run,
                "seed": made.train.seed,
                "folds_seed": folds_seed,
                "per_fold": stored,
            }
            write_json(setup.config.study_dir / FILE, list(known.values()))
            tidy(made.run_dir)
            print(f"  {setup.config.metric} {mean_score(scores):.4f}", flush=True)


def read(setup: Setup, space: Space) -> list[dict[str, Any]] | None:
    """Return the runs of the winner that there is now, as asked for now; None where they are not all there."""
    known, names = _stored(setup), [str(made.run) for made, _ in _jobs(setup, space)]
    if not names or any(name not in known for name in names):
        return None
    runs = [known[name] for name in names]
    return [{**one, "per_fold": [math.nan if score is None else score for score in one["per_fold"]]} for one in runs]


def summary(setup: Setup, space: Space) -> list[str]:
    """Return the study's best value beside what the same settings score where they were not chosen."""
    best, runs = ranked(setup.study.get_trials(deepcopy=False), setup.greater), read(setup, space)
    if not best:
        return []
    count = tried(setup.study.get_trials(deepcopy=False))
    lines = [
        "the winner, chosen and not chosen",
        f"  in the study            {best[0].values[0]:.4f}  the best of {count}: optimistic",
    ]
    if runs is None:
        if setup.config.tune.fresh_seeds or setup.config.tune.fresh_folds is not None:
            lines.append("  not trained again yet: the same command does it when the trials are finished")
        return lines
    every = list(range(setup.table.n))
    seeded = [one["per_fold"] for one in runs if one["folds_seed"] is None]
    if seeded:
        lines.append(f"  {len(seeded)} fresh seeds           {_spread(seeded, every)}")
        if setup.folds != every:
            lines.append(f"    on the study's folds  {_spread(seeded, setup.folds)}")
    for one in runs:
        if one["folds_seed"] is not None:
            lines.append(f"  fresh folds, seed {one['folds_seed']:<6}{mean_score(one['per_fold']):.4f}")
    return lines


def _jobs(setup: Setup, space: Space) -> list[tuple[Config, int | None]]:
    """Return the winner's configs to train, and the seed of their folds where those are others."""
    best = ranked(setup.study.get_trials(deepcopy=False), setup.greater)
    if not best:
        return []
    tune, winner = setup.config.tune, trial_names.of(setup.config, found_settings(space, best[0]))
    name = f"fresh-{str(best[0].user_attrs['settings']).removeprefix('trial-')}"
    jobs: list[tuple[Config, int | None]] = []
    for extra in range(tune.fresh_seeds):
        seed = (winner.train.seed + 1 + extra) % 2**32
        train = winner.train.model_copy(update={"seed": seed})
        jobs.append((trial_names.named(setup.config, winner, f"{name}-s{seed}", train=train), None))
    if tune.fresh_folds is not None:
        folds = winner.folds.model_copy(update={"seed": tune.fresh_folds})
        place = str(setup.config.study_dir / f"folds-{tune.fresh_folds}")
        made = trial_names.named(setup.config, winner, f"{name}-f{tune.fresh_folds}", folds=folds, folds_dir=place)
        jobs.append((made, tune.fresh_folds))
    return jobs


def _train(setup: Setup, made: Config, remake: bool) -> list[float]:
    """Train, predict and score all folds; what they print goes to fresh.log."""
    from pipeline.folds import stage as folds
    from pipeline.prediction import stage as predict
    from pipeline.training import stage as train
    from pipeline.tuning.worker import forget, logged

    with logged(setup.config.study_dir / "fresh.log"):
        if remake:
            folds.run(made)
        table = fold_table.read(made)
        train.run(made, watch=lambda fold, _: inputs.hold(setup.study, made, fold))
        predict.run(made, parts=("valid",))
    forget()
    return [fold_score(made, table, fold) for fold in range(table.n)]


def _stored(setup: Setup) -> dict[str, dict[str, Any]]:
    """Return what was trained so far by its run's name, also for earlier winners."""
    path = setup.config.study_dir / FILE
    return {one["run"]: one for one in read_json(path)} if path.is_file() else {}


def _spread(per_run: Sequence[Sequence[float]], folds: Sequence[int]) -> str:
    """Return the mean over runs of their means over these folds, and its standard deviation between runs."""
    means = [mean_score([scores[fold] for fold in folds]) for scores in per_run]
    spread = f" ± {np.std(means, ddof=1):.4f}" if len(means) > 1 else ""
    return f"{np.mean(means):.4f}{spread}  " + " ".join(f"{value:.4f}" for value in means)

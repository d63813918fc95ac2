"""Train the winner again where nobody chose it: on fresh seeds, and if asked on folds of another seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.config.config import Config
from pipeline.files.atomic import read_json, write_json
from pipeline.files.locks import waiting
from pipeline.folds import fold_table
from pipeline.tuning.identity import hold_data, run_of, trial_config
from pipeline.tuning.outputs import found_settings
from pipeline.tuning.study import Setup
from pipeline.tuning.time_limit import Limit, fold_seconds
from pipeline.tuning.trial_results import fold_score, mean_score
from pipeline.tuning.trial_states import tried

FILE = "fresh.json"


def run(setup: Setup, limit: Limit | None = None) -> None:
    """Train the winner `tune.fresh_seeds` times, each on all folds, at the cost per epoch of a trial.

    The best of many trials is the one that was also lucky: with its seed, and with the rows of the folds it was
    chosen on. Fresh seeds take the first luck away, fresh folds both. What is finished is not repeated, and nothing
    begun that would not be finished in time.
    """
    from pipeline.batches.inputs import Inputs
    from pipeline.tuning.trial import tidy

    inputs, path = Inputs(), setup.config.study_dir / FILE
    with waiting(setup.config.study_dir / ".fresh_seeds.lock"):  # the same command in another terminal comes here too
        known = _stored(setup)
        for made, folds_seed in _jobs(setup):
            if made.run in known:
                continue
            if limit is not None and not limit.leaves(setup.table.n * fold_seconds(setup)):
                print("no time is left to train the winner again: the same command with a longer --timeout does it")
                return
            what = f"seed {made.train.seed}" + (f", folds of seed {folds_seed}" if folds_seed is not None else "")
            print(f"the winner again, {what} …", flush=True)
            scores = _train(setup, made, folds_seed is not None, inputs)
            stored = [None if math.isnan(score) else score for score in scores]
            run = {"run": made.run, "seed": made.train.seed, "folds_seed": folds_seed, "per_fold": stored}
            known[str(made.run)] = run
            write_json(path, list(known.values()))
            tidy(made.run_dir)
            print(f"  {setup.config.metric} {mean_score(scores):.4f}", flush=True)


def summary(setup: Setup) -> list[str]:
    """Return the study's best value beside what the same settings score where they were not chosen."""
    if not setup.ranked:
        return []
    lines = [
        "the winner, chosen and not chosen",
        f"  in the study            {setup.ranked[0].values[0]:.4f}  the best of {tried(setup.trials)}: optimistic",
    ]
    jobs, known, every = _jobs(setup), _stored(setup), list(range(setup.table.n))
    if any(made.run not in known for made, _ in jobs):
        return [*lines, "  not trained again yet: the same command does it when the trials are finished"]
    found = [known[str(made.run)] for made, _ in jobs]
    scores = [[math.nan if score is None else score for score in one["per_fold"]] for one in found]
    if seeded := [scores_K for (_, folds_seed), scores_K in zip(jobs, scores, strict=True) if folds_seed is None]:
        lines.append(f"  {len(seeded)} fresh seeds           {_spread(seeded, every)}")
        if setup.folds != every:
            lines.append(f"    on the study's folds  {_spread(seeded, setup.folds)}")
    for (_, folds_seed), scores_K in zip(jobs, scores, strict=True):
        if folds_seed is not None:
            lines.append(f"  fresh folds, seed {folds_seed:<6}{mean_score(scores_K):.4f}")
    return lines


def _jobs(setup: Setup) -> list[tuple[Config, int | None]]:
    """Return the winner's configs to train, and the seed of their folds where those are others."""
    if not setup.ranked:
        return []
    config, tune, best = setup.config, setup.config.tune, setup.ranked[0]
    winner = trial_config(config, found_settings(setup, best))
    name = f"fresh-{str(best.user_attrs['settings']).removeprefix('trial-')}"
    jobs: list[tuple[Config, int | None]] = []
    for number in range(tune.fresh_seeds):
        train = winner.train.model_copy(update={"seed": (winner.train.seed + 1 + number) % 2**32})
        jobs.append((run_of(config, winner, f"{name}-s{train.seed}", train=train), None))
    if (seed := tune.fresh_folds) is not None:
        folds, place = winner.folds.model_copy(update={"seed": seed}), str(config.study_dir / f"folds-{seed}")
        jobs.append((run_of(config, winner, f"{name}-f{seed}", folds=folds, folds_dir=place), seed))
    return jobs


def _train(setup: Setup, made: Config, remake: bool, inputs: Any) -> list[float]:
    """Train, predict and score all folds; what they print goes to fresh.log."""
    from pipeline.folds import stage as folds
    from pipeline.prediction import stage as predict
    from pipeline.training import stage as train
    from pipeline.tuning.workers import free_memory, logged

    with logged(setup.config.study_dir / "fresh.log"):
        if remake:
            folds.run(made, competition=inputs.competition(made))
        table = fold_table.read(made)
        train.run(made, watch=lambda fold, _: hold_data(setup.study, made, fold), inputs=inputs)
        predict.run(made, parts=("valid",), inputs=inputs)
    free_memory()
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

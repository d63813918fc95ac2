"""Train variants of a config over several seeds, and tell which of them make a significant difference."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.batches.inputs import Inputs
from pipeline.checking import preflight
from pipeline.checking import stage as check
from pipeline.config.config import Config
from pipeline.errors import FoldlineError, InputError, Problem, SpaceError
from pipeline.folds import fold_table
from pipeline.folds import stage as folds
from pipeline.prediction import stage as predict
from pipeline.studies import ablation_table, variants
from pipeline.studies.ablation_table import Evaluator, Scores
from pipeline.studies.variants import BASE, Job
from pipeline.training import stage as train


def run(config: Config, path: Path, seeds: Sequence[int] = ()) -> Path:
    """Train the base and every variant of the file with every seed; return the folder of ablation.csv and .md.

    Each is the ordinary run RUN-VARIANT-sSEED, whose test rows are left unpredicted; the same command goes on where
    it was ended. The table is written after each. A variant that cannot be trained is listed as failed, and the
    others are trained nevertheless; its error comes last. Variants of prediction alone share their training.
    Raises InputError where a variant makes no sense, before any is trained.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError(Problem("ablate", "found several processes", "a plain call"))
    seeds = list(dict.fromkeys(seeds or config.train.seeds or [config.train.seed]))
    jobs = variants.read(config, path, seeds)
    if problems := _preflight(jobs, path):
        raise InputError(*problems)
    check.run(jobs[0].config)
    inputs = Inputs()
    folds.run(jobs[0].config, competition=inputs.competition(jobs[0].config))
    evaluator = Evaluator(jobs[0].config, fold_table.read(config))
    folder = config.run_dir.with_name(f"{config.run_dir.name}-{path.stem}")
    changes = {job.variant: job.changes for job in jobs}
    scores: dict[str, dict[int, Scores]] = {name: {} for name in changes}
    failures: dict[str, dict[int, FoldlineError]] = {name: {} for name in changes}
    for number, job in enumerate(jobs, 1):
        print(f"── {job.variant}, seed {job.seed} ({number} of {len(jobs)})", flush=True)
        try:
            _train(job, [other.config for other in jobs if other.seed in scores[other.variant]], inputs)
            scores[job.variant][job.seed] = evaluator.score(job.config)
        except FoldlineError as error:
            if job.variant == BASE or isinstance(error, SpaceError):
                raise
            failures[job.variant][job.seed] = error
            print(f"{job.variant}: failed: {_why(error)}", flush=True)
        rows = [
            evaluator.row(name, changes[name], scores[BASE], by_seed, {s: _why(e) for s, e in failures[name].items()})
            for name, by_seed in scores.items()
            if by_seed or failures[name]
        ]
        lines = ablation_table.write(folder, rows, evaluator.heading(scores), config.metric)
    print("\n".join(lines))
    if errors := [error for by_seed in failures.values() for error in by_seed.values()]:
        raise type(errors[0])(*(problem for error in errors for problem in error.problems))
    return folder


def _preflight(jobs: Sequence[Job], path: Path) -> list[Problem]:
    """Return what libraries and the user's functions lack for a variant; teachers may be runs of this ablation."""
    return [
        problem.below(f"{path}: {variant}", ": ")
        for variant, config in {job.variant: job.config for job in jobs}.items()
        if config.distill.teacher is None and config.pseudo.teacher is None
        for problem in preflight.problems(config)
    ]


def _train(job: Job, finished: Sequence[Config], inputs: Inputs) -> None:
    made = job.config
    same = [other for other in finished if variants.trained(other) == variants.trained(made)]
    if same and not made.run_dir.exists():
        _copy_weights(same[0].run_dir, made.run_dir)
    train.run(made, inputs=inputs)
    predict.run(made, parts=("valid",), inputs=inputs)


def _copy_weights(source: Path, target: Path) -> None:
    """Give a run the weights of another one that was trained with the same settings; it appears whole or not."""
    beside = target.with_name(f".{target.name}.copy")
    shutil.rmtree(beside, ignore_errors=True)
    for path in [*source.glob("fold*"), *source.glob("last/fold*")]:
        shutil.copytree(path, beside / path.relative_to(source), ignore=shutil.ignore_patterns("*.npz", "state"))
    (beside / "stamps").mkdir()
    for path in [*source.glob("stamps/train-fold*.json"), source / "env.json"]:
        shutil.copy2(path, beside / path.relative_to(source))
    beside.rename(target)
    print(f"weights of {source.name}, which was trained with the same settings")


def _why(error: FoldlineError) -> str:
    return " ".join(error.lines[0].split())[:200]

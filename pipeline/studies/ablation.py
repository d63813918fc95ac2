"""Train variants of a config over several seeds, and tell which of them surely help."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.checking import preflight
from pipeline.checking import stage as check
from pipeline.config.config import Config
from pipeline.errors import FoldlineError, InputError, SpaceError
from pipeline.folds import fold_table
from pipeline.folds import stage as folds
from pipeline.prediction import stage as predict
from pipeline.studies import ablation_table, variants
from pipeline.studies.ablation_table import Measured, Ruler
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
        raise InputError("ablate: found accelerate launch, expected a plain call")
    seeds = list(dict.fromkeys(seeds or config.train.seeds or [config.train.seed]))
    jobs = variants.read(config, path, seeds)
    if defects := _preflight(jobs, path):
        raise InputError(*defects)
    check.run(jobs[0].config)
    folds.run(jobs[0].config)
    ruler = Ruler(jobs[0].config, fold_table.read(config))
    folder = config.run_dir.with_name(f"{config.run_dir.name}-{path.stem}")
    measured: dict[str, dict[int, Measured]] = {job.variant: {} for job in jobs}
    failures: dict[str, dict[int, FoldlineError]] = {job.variant: {} for job in jobs}
    for number, job in enumerate(jobs, 1):
        print(f"── {job.variant}, seed {job.seed} ({number} of {len(jobs)})", flush=True)
        try:
            _train(job, [other.config for other in jobs if other.seed in measured[other.variant]])
            measured[job.variant][job.seed] = ruler.measure(job.config)
        except FoldlineError as error:
            if job.variant == BASE or isinstance(error, SpaceError):
                raise
            failures[job.variant][job.seed] = error
            print(f"{job.variant}: failed: {_why(error)}", flush=True)
        lines, shown, written = _write(ruler, folder, jobs, measured, failures)
    print("\n".join([*lines, *shown, f"written: {', '.join(map(str, written))}"]))
    errors = [error for by_seed in failures.values() for error in by_seed.values()]
    if errors:
        raise type(errors[0])(*(problem for error in errors for problem in error.lines))
    return folder


def _preflight(jobs: Sequence[Job], path: Path) -> list[str]:
    """Return what libraries and the user's functions lack for a variant; teachers may be runs of this ablation."""
    return [
        f"{path}: {job.variant}: {text}"
        for job in {job.variant: job for job in jobs}.values()
        if job.config.distill.teacher is None and job.config.pseudo.teacher is None
        for text in preflight.defects(job.config)
    ]


def _train(job: Job, finished: Sequence[Config]) -> None:
    made = job.config
    same = [other for other in finished if variants.trained(other) == variants.trained(made)]
    if same and not made.run_dir.exists():
        _copy_weights(same[0].run_dir, made.run_dir)
    train.run(made)
    predict.run(made, parts=("valid",))


def _copy_weights(source: Path, target: Path) -> None:
    """Give a run the weights of another one that was trained with the same settings; it appears whole or not."""
    beside = target.with_name(f".{target.name}.copy")
    shutil.rmtree(beside, ignore_errors=True)
    for path in [*source.glob("fold*"), *source.glob("last/fold*")]:
        unlike = shutil.ignore_patterns("*.npz", "state")
        shutil.copytree(path, beside / path.relative_to(source), ignore=unlike)
    (beside / "stamps").mkdir()
    for path in [*source.glob("stamps/train-fold*.json"), source / "env.json"]:
        shutil.copy2(path, beside / path.relative_to(source))
    beside.rename(target)
    print(f"weights of {source.name}, which was trained with the same settings")


def _write(
    ruler: Ruler,
    folder: Path,
    jobs: Sequence[Job],
    measured: dict[str, dict[int, Measured]],
    failures: dict[str, dict[int, FoldlineError]],
) -> tuple[list[str], list[str], list[Path]]:
    base, rows = measured[BASE], []
    for job in {job.variant: job for job in reversed(jobs)}.values():
        if measured[job.variant] or failures[job.variant]:
            reasons = {seed: _why(error) for seed, error in failures[job.variant].items()}
            rows.append(ruler.row(job, base, measured[job.variant], reasons))
    order = list(measured)
    rows.sort(key=lambda row: order.index(row.variant))
    lines = ablation_table.heading(ruler, list(base), ablation_table.seed_spread(measured))
    return lines, ablation_table.printed(rows, ruler.config.metric), ablation_table.write(folder, rows, lines, ruler)


def _why(error: FoldlineError) -> str:
    return " ".join(error.lines[0].split())[:200]

"""Search the config with Optuna: a trial is a run, scored fold by fold, in one database for all workers."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.config import Config
from pipeline.config.loading import dump
from pipeline.config.search_space import space as spaces
from pipeline.config.search_space.entries import Fixed
from pipeline.config.search_space.resolve import read as read_space
from pipeline.config.search_space.resolve import settle
from pipeline.config.search_space.space import Space
from pipeline.errors import FoldlineError, InputError, TrainingError
from pipeline.files.atomic import write_text
from pipeline.folds import fold_table
from pipeline.tuning import fresh_seeds, outputs, storage, worker_pool
from pipeline.tuning.locks import sweep, turn
from pipeline.tuning.trial_results import Setup
from pipeline.tuning.trial_states import ranked


def run(
    config: Config, trials: int | None, workers: int = 1, url: str | None = None, timeout: float | None = None
) -> Path:
    """Bring the study to `trials` trials in all and write what it found; return its folder.

    The same command continues a study that was ended in any way: what is finished counts, what died goes on.
    The config's own values, where they lie in the space, are the first trial, so that a study ends at least as well
    as it began. At the end,
    also after a timeout, the winner is trained again on fresh seeds.
    Raises InputError on a space that cannot be searched, MismatchError where the study was made with another
    one, another config or other folds, TrainingError where no trial could be finished.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError("tune: found accelerate launch, expected a plain call; --workers N trains N trials at a time")
    url = url or storage.default_url(config)
    timeout = timeout if timeout is not None else config.tune.timeout
    if trials is None and timeout is None:
        raise InputError("tune: found neither --trials nor --timeout; say how many trials the study shall have")
    for name, count in (("--trials", trials), ("--workers", workers)):
        if count is not None and count < 1:
            raise InputError(f"{name}: found {count}, expected at least 1")
    with _opened(config, url, create=True) as (setup, space):
        _say(setup, space, trials, url)
        with turn(config.study_dir):
            if not setup.study.get_trials(deepcopy=False):
                _enqueue_own(setup, space)
        write_text(config.study_dir / "config.yaml", dump(config))
        until = time.time() + timeout if timeout is not None else None
        try:
            worker_pool.work(config, url, trials if trials is not None else worker_pool.ENDLESS, workers, until)
        finally:
            sweep(config.study_dir)
            outputs.write(setup, space)
        if not ranked(setup.study.get_trials(deepcopy=False), setup.greater):
            raise TrainingError(*outputs.summary(setup, space))
        fresh_seeds.run(setup, space)
        _report(setup, space, url)
    return config.study_dir


def report(config: Config, url: str | None = None) -> Path:
    """Write and print what there is of a study, without training anything; return its folder."""
    url = url or storage.default_url(config)
    path = Path(f"{config.study_dir}.db")
    if url == storage.default_url(config) and not path.is_file():
        raise InputError(f"{path}: not found, expected a study; start it with: foldline tune --trials N")
    with _opened(config, url, create=False) as (setup, space):
        _report(setup, space, url)
    return config.study_dir


def main(config: Config, arguments: argparse.Namespace) -> None:
    """Run the command `tune`, or as one of its workers."""
    from optuna.exceptions import StorageInternalError

    try:
        if arguments.worker is not None:
            from pipeline.tuning.worker import work

            work(config, arguments.storage, arguments.trials, arguments.worker, arguments.until)
        elif arguments.report:
            report(config, arguments.storage)
        else:
            run(config, arguments.trials, arguments.workers, arguments.storage, arguments.timeout)
    except StorageInternalError as error:
        why = " ".join(str(error.__cause__ or error).split())[:200]
        raise FoldlineError(f"tune: the database does not answer ({why}); the same command continues") from error


@contextlib.contextmanager
def _opened(config: Config, url: str, create: bool) -> Iterator[tuple[Setup, Space]]:
    space, table = read_space(config), fold_table.read(config)
    if unknown := [fold for fold in config.tune.folds or [] if fold >= table.n]:
        found = ", ".join(map(str, unknown))
        raise InputError(f"tune.folds: found {found}, expected numbers from 0 to {table.n - 1} as in {table.path}")
    database = storage.open_storage(url)
    try:
        study = storage.open_study(config, database, storage.identity(config, table), create)
        yield Setup(config, table, study), space
    finally:
        storage.close(database)


def _enqueue_own(setup: Setup, space: Space) -> None:
    """Make the config's own values the first trial; the grid's sampler wants all its trials for itself."""
    tree = settle(setup.config, {}).model_dump(mode="json")
    own = spaces.params(space, {entry.key: _at(tree, entry.key) for entry in space.all()})
    if not own or setup.config.tune.sampler == "grid":
        return
    setup.study.enqueue_trial(own)
    outside = [entry.key for entry in space.entries if not isinstance(entry, Fixed) and entry.name not in own]
    if outside:
        print(f"  the first trial: the config's own values, but for {', '.join(outside)}: outside the space, so drawn")


def _at(tree: dict[str, object], key: str) -> object:
    value: object = tree
    for part in key.split("."):
        value = value[part] if isinstance(value, dict) else None
    return value


def _say(setup: Setup, space: Space, trials: int | None, url: str) -> None:
    tune, config = setup.config.tune, setup.config
    keys = ", ".join(dict.fromkeys(entry.key for entry in space.all()))
    budget = [f"{name} {value}" for name in ("epochs", "subset", "size") if (value := getattr(tune, name)) is not None]
    lines = [
        f"study {config.study_dir.name}: {trials or 'any number of'} trials of {tune.sampler} in {storage.shown(url)}",
        f"  a trial: folds {', '.join(map(str, setup.folds))}" + "".join(f", {text}" for text in budget),
        f"  searched: {keys}",
    ]
    if len(tune.objectives) > 1:
        lines.append("  two objectives: nothing is pruned, as what scores less may be faster")
    elif tune.pruner != "none":
        rule = " and, inside a fold, by its curve" if tune.epoch_rule else ""
        lines.append(f"  pruned by {tune.pruner} after a fold{rule}")
    print("\n".join(lines), flush=True)


def _report(setup: Setup, space: Space, url: str) -> None:
    written = outputs.write(setup, space)
    lines = [*outputs.summary(setup, space), *fresh_seeds.summary(setup, space)]
    lines.append(f"written: {', '.join(map(str, written))}")
    lines.append(
        f"look at it with: optuna-dashboard {shlex.quote(storage.shown(url))}  (pip install 'foldline[dashboard]')"
    )
    print("\n".join(lines))

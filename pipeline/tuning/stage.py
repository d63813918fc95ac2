"""Search the config with Optuna: a trial is a run, scored fold by fold, in one database for all workers."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from pipeline.config.config import Config
from pipeline.config.loading import dump
from pipeline.config.search_space import space as spaces
from pipeline.config.search_space.entries import Fixed
from pipeline.config.search_space.resolve import settle
from pipeline.config.trees import at
from pipeline.errors import InputError, Problem, TrainingError
from pipeline.files.atomic import write_text
from pipeline.files.locks import waiting
from pipeline.tuning import fresh_seeds, outputs, time_limit
from pipeline.tuning.study import Setup, default_url, opened, shown, telling
from pipeline.tuning.time_limit import Limit
from pipeline.tuning.trial_states import check_known
from pipeline.tuning.workers import ENDLESS, run_workers, work


def run(
    config: Config, trials: int | None, workers: int = 1, url: str | None = None, timeout: float | None = None
) -> Path:
    """Bring the study to `trials` trials in all and write what it found; return its folder.

    The same command continues a study that was ended in any way: what is finished counts, what died goes on.
    The config's own values, where they lie in the space, are the first trial, so that a study ends at least as well
    as it began. At the end the winner is trained again on fresh seeds; a timeout includes that.
    Raises InputError on a space that cannot be searched, MismatchError where the study was made with another
    one, another config or other folds, TrainingError where no trial could be finished.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        remedy = "--workers N trains N trials at a time"
        raise InputError(Problem("tune", "found several processes", "a plain call", remedy))
    url, timeout = url or default_url(config), timeout if timeout is not None else config.tune.timeout
    if trials is None and timeout is None:
        remedy = "say how many trials the study shall have"
        raise InputError(Problem("tune", "found neither --trials nor --timeout", remedy=remedy))
    for name, count in (("--trials", trials), ("--workers", workers)):
        if count is not None and count < 1:
            raise InputError(Problem(name, f"found {count}", "at least 1"))
    with opened(config, url) as setup:
        check_known(config.study_dir, setup.trials)
        _say(setup, trials, url, timeout)
        with waiting(config.study_dir / ".queue.lock"):
            if not setup.trials:
                _enqueue_base(setup)
        write_text(config.study_dir / "config.yaml", dump(config))
        limit = Limit.of(timeout)
        try:
            run_workers(config, url, trials if trials is not None else ENDLESS, workers, limit)
        finally:
            outputs.write(setup)
        if not setup.ranked:
            raise TrainingError(*(Problem("", line) for line in outputs.summary(setup)))
        fresh_seeds.run(setup, limit)
        _report(setup, url)
    return config.study_dir


def report(config: Config, url: str | None = None) -> Path:
    """Write and print what there is of a study, without training anything; return its folder."""
    path = Path(f"{config.study_dir}.db")
    if url in (None, default_url(config)) and not os.path.lexists(path):
        raise InputError(Problem(str(path), "not found", "a study", "start it with: foldline tune --trials N"))
    url = url or default_url(config)
    with opened(config, url, create=False) as setup:
        _report(setup, url)
    return config.study_dir


def main(config: Config, arguments: argparse.Namespace) -> None:
    """Run the command `tune`, or as one of its workers."""
    given = arguments
    with telling(given.storage or default_url(config)):
        if given.worker is not None:
            limit = None if given.until is None else Limit(given.until, given.timeout)
            work(config, given.storage, given.trials, given.worker, limit)
        elif given.report:
            report(config, given.storage)
        else:
            run(config, given.trials, given.workers, given.storage, given.timeout)


def _enqueue_base(setup: Setup) -> None:
    """Make the config's own values the first trial; the grid's sampler wants all its trials for itself."""
    tree, entries = settle(setup.config, {}).model_dump(mode="json"), setup.space.all()
    base = spaces.params(setup.space, {entry.key: at(tree, entry.key) for entry in entries})
    if not base or setup.config.tune.sampler == "grid":
        return
    setup.study.enqueue_trial(base)
    outside = [one.key for one in setup.space.entries if not isinstance(one, Fixed) and one.name not in base]
    if outside:
        print(f"  the first trial: the config's own values, but for {', '.join(outside)}: outside the space, so drawn")


def _say(setup: Setup, trials: int | None, url: str, timeout: float | None) -> None:
    tune, folder = setup.config.tune, setup.config.study_dir
    budget = [f"{name} {value}" for name in ("epochs", "subset", "size") if (value := getattr(tune, name)) is not None]
    lines = [
        f"study {folder.name}: {trials or 'any number of'} trials of {tune.sampler} in {shown(url)}",
        f"  a trial: folds {', '.join([*map(str, setup.folds), *budget])}",
        f"  searched: {', '.join(dict.fromkeys(entry.key for entry in setup.space.all()))}",
    ]
    if len(tune.objectives) > 1:
        lines.append("  two objectives: nothing is pruned, as what scores less may be faster")
    elif tune.pruner != "none":
        rule = " and, inside a fold, by its curve" if tune.epoch_rule else ""
        lines.append(f"  pruned by {tune.pruner} after a fold{rule}")
    print("\n".join([*lines, *time_limit.said(setup, timeout)]), flush=True)


def _report(setup: Setup, url: str) -> None:
    written = outputs.write(setup)
    lines = [*outputs.summary(setup), *fresh_seeds.summary(setup)]
    lines.append(f"written: {', '.join(map(str, written))}")
    lines.append(f"look at it with: optuna-dashboard {shlex.quote(shown(url))}  (pip install 'foldline[dashboard]')")
    print("\n".join(lines))

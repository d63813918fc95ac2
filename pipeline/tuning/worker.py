"""Work on a study's trials, one after the other, until enough are finished."""

from __future__ import annotations

import contextlib
import gc
import os
import textwrap
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.config import Config
from pipeline.config.search_space.resolve import read as read_space
from pipeline.errors import FoldlineError, LockedError, MismatchError, SpaceError, TrainingError
from pipeline.folds import fold_table
from pipeline.methods import samplers
from pipeline.tuning import storage as storages
from pipeline.tuning.queue import Job, Line
from pipeline.tuning.trial_results import Setup
from pipeline.tuning.trial_states import ranked

if TYPE_CHECKING:
    from pipeline.tuning.trial import Check

PATIENCE = 10.0  # seconds to wait where another process still trains the same settings
MEMORY = "out of memory; lower train.batch_size or model.size"
TOO_MANY = 5  # failures in a row with no trial finished before: it is not the settings


def work(config: Config, url: str, trials: int, number: int = 0, until: float | None = None) -> None:
    """Train trials until `trials` of the study are finished or the time `until` (seconds since 1970) is over.

    A trial fails with its reason where memory runs out, its loss is not finite or its model cannot be built;
    the study goes on. What a trial prints goes to trial.log in its folder. Raises TrainingError where nothing
    but failures comes, MismatchError and SpaceError at once: they are no property of the settings.
    """
    from optuna.exceptions import ExperimentalWarning

    table, space = fold_table.read(config), read_space(config)
    storage = storages.open_storage(url)
    study = storages.open_study(config, storage, storages.identity(config, table))
    setup, line = Setup(config, table, study), Line(config, space, study, storage, number)
    parent = os.getppid()

    def check() -> None:
        if os.getppid() != parent:  # the command was killed: nobody would know of this worker
            raise KeyboardInterrupt

    with contextlib.ExitStack() as held, warnings.catch_warnings():
        held.callback(storages.close, storage)
        held.enter_context(line.hold())
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed", UserWarning)
        _set_pruner(setup)
        failures = 0
        while (job := line.next(trials, until)) is not None:
            failed = _one(setup, line, job, check)
            failures = failures + 1 if failed else 0
            if failures >= TOO_MANY and not ranked(study.get_trials(deepcopy=False), setup.greater):
                raise TrainingError(f"{failures} trials in a row failed and none is finished; the last one: {failed}")
            check()


def _one(setup: Setup, line: Line, job: Job, check: Check) -> str | None:
    """Train one trial and store how it ended; return why it failed, or None."""
    from optuna.exceptions import StorageInternalError

    from pipeline.tuning.trial import evaluate, tidy

    begin, trial, folder, failed = time.monotonic(), job.trial, job.config.run_dir, None
    try:
        with line.beating(trial), logged(folder / "trial.log"):
            values = evaluate(setup, trial, job.config, check)
    except LockedError:  # a worker that was taken for dead still trains these settings
        line.interrupt(trial)
        time.sleep(PATIENCE)
        return None
    except StorageInternalError:  # nothing can be noted now; the next worker finds the trial without one
        raise
    except (KeyboardInterrupt, MismatchError, SpaceError):
        line.interrupt(trial)
        raise
    except Exception as error:
        failed = _reason(error)
        line.fail(trial, failed)
        told = f"failed: {failed}"
    else:
        line.finish(trial, values)
        told = f"{setup.config.metric} {values[0]:.4f}"
        told += f", pruned {trial.user_attrs['pruned']}" if "pruned" in trial.user_attrs else ""
    tidy(folder)
    forget()
    found = ", ".join(f"{key}={_text(value)}" for key, value in trial.params.items())
    print(f"trial {trial.number}: {told}  ({time.monotonic() - begin:.0f} s)  {found}", flush=True)
    return failed


def _reason(error: Exception) -> str:
    """Say on one line why a trial failed; torch raises bare RuntimeErrors where memory is gone."""
    text = str(error)
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return MEMORY
    if isinstance(error, FoldlineError):
        return "; ".join(error.lines)
    return textwrap.shorten(f"{type(error).__name__}: {text}", 300, placeholder=" …")


def _set_pruner(setup: Setup) -> None:
    from optuna.pruners import NopPruner

    setup.study.pruner = samplers.pruner(setup.config.tune.pruner, len(setup.folds)) or NopPruner()


@contextlib.contextmanager
def logged(path: Path) -> Iterator[None]:
    """Send what is printed to a file, and an exception's traceback too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream, contextlib.redirect_stdout(stream):
        try:
            yield
        except Exception:
            traceback.print_exc(file=stream)
            raise


def forget() -> None:
    """Free what a trial held: a failed one leaves its model with accelerate, which also keeps one precision."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    gc.collect()


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

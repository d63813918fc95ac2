"""Train a study's trials in worker processes: one after the other in each, and a new one for one that is killed."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.config import Config
from pipeline.errors import FoldlineError, InputError, LockedError, MismatchError, Problem, SpaceError, TrainingError
from pipeline.files import memory
from pipeline.machine.processes import cores
from pipeline.methods import samplers
from pipeline.tuning.queue import Job, Queue
from pipeline.tuning.study import Setup, opened
from pipeline.tuning.time_limit import Limit

if TYPE_CHECKING:
    from pipeline.batches.inputs import Inputs
    from pipeline.tuning.trial import Check

ENDLESS = 10**9  # trials, where only the time ends a study
POLL = 0.2  # seconds
MOST_DEATHS = 50  # of workers, of whatever cause, before the command gives up
MOST_FAILURES = 5  # in a row with no trial finished before: it is not the settings
PATIENCE = 10.0  # seconds to wait where another process still trains the same settings
TERMINATED = 143  # the exit code of a worker that was ended by SIGTERM
ERRORS: dict[int, type[FoldlineError]] = {
    error.exit_code: error for error in (InputError, MismatchError, LockedError, SpaceError, TrainingError)
}


def run_workers(config: Config, url: str, trials: int, workers: int, limit: Limit | None = None) -> None:
    """Run the workers until the study has its trials; raise the error of the first one that fails.

    Also a single one is a process of its own: where the system kills it for want of memory, the trial fails at
    last, not the command. Cores and GPUs are shared out.
    """

    def start(number: int) -> subprocess.Popen[bytes]:
        """Start a worker in its own session: only this process hears of a Ctrl-C, and then ends them in order."""
        threads = config.train.threads or max(1, cores() // workers)
        command = [sys.executable, "-m", "pipeline", "tune", "-c", str(config.study_dir / "config.yaml")]
        command += ["--set", f"train.threads={threads}", "--storage", url]
        command += ["--trials", str(trials), "--worker", str(number)]
        command += ["--until", str(limit.until), "--timeout", str(limit.seconds)] if limit is not None else []
        return subprocess.Popen(command, env={**os.environ, **_gpu(number)}, start_new_session=True)

    processes = {number: start(number) for number in range(workers)}
    deaths = 0
    try:
        while processes:
            time.sleep(POLL)
            for number, process in list(processes.items()):
                code = process.poll()
                if code is None:
                    continue
                del processes[number]
                if (code < 0 or code == TERMINATED) and deaths < MOST_DEATHS:
                    deaths += 1
                    name = signal.Signals(-code if code < 0 else signal.SIGTERM).name
                    print(f"worker {number} was ended by {name}, often for want of memory; another one starts")
                    processes[number] = start(number)
                elif code == 130:
                    raise KeyboardInterrupt
                elif code != 0:
                    error = ERRORS.get(code, FoldlineError)
                    why = f"worker {number} ended with code {code}"
                    raise error(Problem("tune", why, remedy="what it said stands above"))
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGINT)
        for process in processes.values():
            process.wait()


def _gpu(number: int) -> dict[str, str]:
    """Return the environment that gives a worker a GPU of its own where the machine has several."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = given.split(",") if given else [str(n) for n in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
    return {"CUDA_VISIBLE_DEVICES": cards[number % len(cards)]} if len(cards) > 1 else {}


def work(config: Config, url: str, trials: int, number: int = 0, limit: Limit | None = None) -> None:
    """Train trials until `trials` of the study are finished or its time is over.

    A trial fails with its reason where memory runs out, its loss is not finite or its model cannot be built;
    the study goes on. What a trial prints goes to trial.log in its folder. Raises TrainingError where nothing
    but failures comes, MismatchError and SpaceError at once: they are no property of the settings.
    """
    from pipeline.batches.inputs import Inputs

    parent, inputs, failures = os.getppid(), Inputs(), 0

    def check() -> None:
        if os.getppid() != parent:  # the command was killed: nobody would know of this worker
            raise KeyboardInterrupt

    with opened(config, url) as setup:
        setup.study.pruner = samplers.pruner(config.tune.pruner, len(setup.folds))
        queue = Queue(setup, number)
        while (job := queue.next(trials, limit)) is not None:
            failed = _train(setup, queue, job, check, inputs)
            failures = failures + 1 if failed else 0
            if failures >= MOST_FAILURES and not setup.ranked:
                found = f"{failures} trials in a row failed and none is finished; the last one: {failed}"
                raise TrainingError(Problem("tune", found))
            check()


def _train(setup: Setup, queue: Queue, job: Job, check: Check, inputs: Inputs) -> str | None:
    """Train one trial and store how it ended; return why it failed, or None."""
    from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError

    from pipeline.tuning.trial import evaluate, tidy

    begin, trial, folder, failed = time.monotonic(), job.trial, job.config.run_dir, None
    try:
        with queue.beating(trial), logged(folder / "trial.log"):
            values = evaluate(setup, trial, job.config, check, inputs)
    except (LockedError, UpdateFinishedTrialError):  # a worker was taken for dead, as after a computer's sleep
        queue.give_back(trial)
        time.sleep(PATIENCE)
        return None
    except StorageInternalError:  # nothing can be noted now; without heartbeats the trial is tried again
        raise
    except (KeyboardInterrupt, MismatchError, SpaceError):
        queue.give_back(trial)
        raise
    except Exception as error:
        failed = _reason(error)
        queue.fail(trial, failed)
        ending = f"failed: {failed}"
    else:
        queue.finish(trial, values)
        ending = f"{setup.config.metric} {values[0]:.4f}"
        ending += f", pruned {trial.user_attrs['pruned']}" if "pruned" in trial.user_attrs else ""
    tidy(folder)
    free_memory()
    found = ", ".join(f"{key}={_text(value)}" for key, value in trial.params.items())
    print(f"trial {trial.number}: {ending}  ({time.monotonic() - begin:.0f} s)  {found}", flush=True)
    return failed


def _reason(error: Exception) -> str:
    """Say on one line why a trial failed; torch raises bare RuntimeErrors where memory is gone."""
    known = error if isinstance(error, FoldlineError) else memory.ran_out(error)
    if known is not None:
        return "; ".join(known.lines)
    return textwrap.shorten(f"{type(error).__name__}: {error}", 300, placeholder=" …")


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


def free_memory() -> None:
    """Free what a trial held: a failed one leaves its model with accelerate, which also keeps one precision."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    gc.collect()


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

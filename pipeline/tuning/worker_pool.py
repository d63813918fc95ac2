"""Start the workers of a study, each a process of its own, and replace those that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline.config.config import Config
from pipeline.errors import FoldlineError, InputError, LockedError, MismatchError, SpaceError, TrainingError
from pipeline.machine.processes import cores

ENDLESS = 10**9  # trials, where only the time ends a study
POLL = 0.2  # seconds
DEATHS = 50  # of workers, of whatever cause, before the command gives up
ERRORS: dict[int, type[FoldlineError]] = {
    error.exit_code: error for error in (InputError, MismatchError, LockedError, SpaceError, TrainingError)
}


def work(config: Config, url: str, trials: int, workers: int, until: float | None) -> None:
    """Run the workers until the study has its trials; raise the error of the first one that fails.

    Also a single one is a process of its own: where the system kills it for want of memory, the trial fails at
    last, not the command. Cores and GPUs are shared out.
    """
    crew = {number: _start(config, url, trials, number, workers, until) for number in range(workers)}
    deaths = 0
    try:
        while crew:
            time.sleep(POLL)
            for number, process in list(crew.items()):
                code = process.poll()
                if code is None:
                    continue
                del crew[number]
                if code < 0 and deaths < DEATHS:
                    deaths += 1
                    name = signal.Signals(-code).name
                    print(f"worker {number} was ended by {name}, often for want of memory; another one starts")
                    crew[number] = _start(config, url, trials, number, workers, until)
                elif code == 130:
                    raise KeyboardInterrupt
                elif code != 0:
                    error = ERRORS.get(code, FoldlineError)
                    raise error(f"tune: worker {number} ended with code {code}; what it said stands above")
    finally:
        for process in crew.values():
            process.send_signal(signal.SIGINT)
        for process in crew.values():
            process.wait()


def _start(
    config: Config, url: str, trials: int, number: int, workers: int, until: float | None
) -> subprocess.Popen[bytes]:
    """Start a worker in a session of its own: of a Ctrl-C only this process hears, which then ends them in order."""
    threads = config.train.threads or max(1, cores() // workers)
    command = [sys.executable, "-m", "pipeline", "tune", "-c", str(config.study_dir / "config.yaml")]
    command += ["--set", f"train.threads={threads}", "--storage", url]
    command += ["--trials", str(trials), "--worker", str(number)]
    if until is not None:
        command += ["--until", str(until)]
    return subprocess.Popen(command, env={**os.environ, **_gpu(number)}, start_new_session=True)


def _gpu(number: int) -> dict[str, str]:
    """Return the environment that gives a worker a GPU of its own where the machine has several."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = given.split(",") if given else [str(n) for n in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
    return {"CUDA_VISIBLE_DEVICES": cards[number % len(cards)]} if len(cards) > 1 else {}

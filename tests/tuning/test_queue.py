"""Hold how trials are handed out: each once, as many as asked, the dead ones again; without training anything."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres import server
from synthetic import make_config, make_folds, pets

from pipeline.config.config import Config
from pipeline.config.loading import dump
from pipeline.tuning import study
from pipeline.tuning.queue import Queue
from pipeline.tuning.trial_states import GIVEN_BACK, RETRIES, history, kinds, reason

ROOT = Path(__file__).parents[2]
SPACE = {"train.lr": {"float": [1e-4, 1e-1], "log": True}, "train.batch_size": {"choice": [16, 32]}}
# A worker that trains nothing: it says what it was given, waits, and finishes it.
WORKER = """
import sys, time, warnings
warnings.simplefilter("ignore")
from pipeline.config.loading import load
from pipeline.tuning import queue, study
study.HEARTBEAT, study.GRACE = queue.HEARTBEAT, queue.GRACE = 1, 3
path, url, number, trials, seconds = sys.argv[1:]
with study.opened(load([path]), url) as setup:
    queue_ = queue.Queue(setup, int(number))
    while (job := queue_.next(int(trials), None)) is not None:
        with queue_.beating(job.trial):
            print(job.config.run, flush=True)
            time.sleep(float(seconds))
            queue_.finish(job.trial, [job.config.train.lr])
"""


OPENED = contextlib.ExitStack()  # studies that a test has to close


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Allow what the worker allows: heartbeats are experimental in Optuna, and ours are our own."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed", UserWarning)
        yield
    OPENED.close()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A config with folds and a space, and nothing to train on."""
    made = make_config(tmp_path, studies_dir=str(tmp_path / "studies"), tune={"space": SPACE})
    make_folds(made, pets())
    return made


def queue_of(config: Config, worker: int = 0, url: str | None = None) -> Queue:
    return Queue(OPENED.enter_context(study.opened(config, url or study.default_url(config))), worker)


def kinds_of(queue: Queue) -> list[str]:
    return list(kinds(queue.setup.trials).values())


def fall_silent(queue: Queue) -> None:
    """Let the trials that run have sent their last heartbeats long ago, as if their workers had been killed."""
    from sqlalchemy import text

    with queue.setup.storage.engine.begin() as connection:
        connection.execute(text("UPDATE trial_heartbeats SET heartbeat = '2000-01-01 00:00:00'"))


def start(config: Config, url: str, number: int, trials: int, seconds: float) -> subprocess.Popen[str]:
    path = Path(config.studies_dir) / "config.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(dump(config))
    command = [sys.executable, "-c", WORKER, str(path), url, str(number), str(trials), str(seconds)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)


def test_trials_are_handed_out_until_there_are_enough(config: Config) -> None:
    queue, runs = queue_of(config), []
    while (job := queue.next(5, None)) is not None:
        runs.append(job.config.run)
        queue.finish(job.trial, [job.config.train.lr])
    assert len(set(runs)) == len(runs) == 5
    assert kinds_of(queue) == ["complete"] * 5
    assert queue_of(config).next(5, None) is None  # the same command again has nothing to do


def test_a_resumed_study_proposes_what_an_uninterrupted_one_does(config: Config, tmp_path: Path) -> None:
    other = make_config(tmp_path, studies_dir=str(tmp_path / "other"), tune={"space": SPACE})

    def runs(of: Config, stops: list[int]) -> list[str | None]:
        found = []
        for stop in stops:
            queue = queue_of(of)  # a new process would know as little
            while (job := queue.next(stop, None)) is not None:
                found.append(job.config.run)
                queue.finish(job.trial, [job.config.train.lr])
        return found

    whole = runs(config, [14])
    assert runs(other, [3, 7, 11, 14]) == whole  # past TPE's ten random trials too
    assert len(set(whole)) == 14


def test_a_given_back_trial_goes_on_with_its_settings(config: Config) -> None:
    queue = queue_of(config)
    first = queue.next(1, None)
    assert first is not None
    queue.give_back(first.trial)
    again = queue.next(1, None)
    assert again is not None and again.config == first.config
    queue.finish(again.trial, [1.0])
    assert kinds_of(queue) == ["retried", "complete"]


def test_a_trial_is_not_lost_where_its_worker_is_killed_while_it_gives_it_back(config: Config) -> None:
    from optuna.trial import TrialState

    queue = queue_of(config)
    first = queue.next(1, None)
    assert first is not None
    first.trial.set_user_attr("skipped", GIVEN_BACK)  # and nothing more
    queue.setup.storage.set_trial_state_values(first.trial._trial_id, TrialState.FAIL)
    again = queue.next(1, None)
    assert again is not None and again.config == first.config


def test_giving_back_is_not_dying(config: Config) -> None:
    queue = queue_of(config)
    for _ in range(RETRIES + 2):
        job = queue.next(1, None)
        assert job is not None
        queue.give_back(job.trial)
    assert "lost" not in kinds_of(queue)


def test_a_trial_without_a_first_heartbeat_is_tried_again(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker was killed just after it asked: in Optuna's eyes it would run for ever."""
    queue = queue_of(config)

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(queue.setup.storage, "record_heartbeat", killed)
        with pytest.raises(KeyboardInterrupt):
            queue.next(1, None)
    queue._retry()
    assert kinds_of(queue) == ["running"]  # it may be about to begin
    monkeypatch.setattr("pipeline.tuning.queue.GRACE", 0)
    assert queue.next(1, None) is not None
    assert kinds_of(queue) == ["retried", "running"]


@pytest.mark.parametrize(
    ("worker", "slow", "why"),
    [
        (0, "add_trial", "the settings of trial 0"),
        (1, "add_trial", "one more than asked"),
        (0, "ask", "one more than asked"),
    ],
)
def test_what_another_machine_asked_for_meanwhile_is_not_tried_too(
    config: Config, monkeypatch: pytest.MonkeyPatch, worker: int, slow: str, why: str
) -> None:
    """It asks between our proposal and our question; a proposal that is waiting is its own then."""
    ours, other = queue_of(config), queue_of(config, worker)
    monkeypatch.setattr("pipeline.tuning.queue.waiting", lambda _: contextlib.nullcontext())  # each has its own
    real = getattr(ours.study, slow)

    def late(*given: Any) -> Any:
        assert other.next(1, None) is not None
        return real(*given)

    monkeypatch.setattr(ours.study, slow, late)
    assert ours._ask(1, {}) is None
    assert reason(ours.study.trials[1]) == why


def test_a_failed_trial_counts_and_keeps_its_reason(config: Config) -> None:
    queue = queue_of(config)
    job = queue.next(1, None)
    assert job is not None
    queue.fail(job.trial, "out of memory")
    assert queue.next(1, None) is None
    assert [reason(trial) for trial in queue.study.trials] == ["out of memory"]


def test_settings_are_not_tried_twice_and_a_used_up_space_ends_the_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_config(
        tmp_path, studies_dir=str(tmp_path / "studies"), tune={"space": {"train.batch_size": {"choice": [8, 16, 32]}}}
    )
    make_folds(made, pets())
    queue, runs = queue_of(made), []
    while (job := queue.next(10, None)) is not None:
        runs.append(job.config.train.batch_size)
        queue.finish(job.trial, [1.0])
    assert sorted(runs) == [8, 16, 32]
    assert [trial.state.name for trial in queue.study.trials] == ["COMPLETE"] * 3  # nothing else is stored
    assert "the settings of trial" in capsys.readouterr().out


def test_a_grid_is_tried_once_and_then_ends(tmp_path: Path) -> None:
    space = {"train.lr": {"float": [1e-3, 1e-1], "log": True}, "train.batch_size": {"choice": [16, 32]}}
    made = make_config(
        tmp_path, studies_dir=str(tmp_path / "studies"), tune={"space": space, "sampler": "grid", "grid": 3}
    )
    make_folds(made, pets())
    queue, found = queue_of(made), []
    while (job := queue.next(100, None)) is not None:
        found.append((job.config.train.lr, job.config.train.batch_size))
        queue.finish(job.trial, [1.0])
    assert len(set(found)) == len(found) == 6


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random"])
def test_every_sampler_moves_on_after_a_resume(tmp_path: Path, sampler: str) -> None:
    made = make_config(tmp_path, studies_dir=str(tmp_path / "studies"), tune={"space": SPACE, "sampler": sampler})
    make_folds(made, pets())
    rates = []
    for stop in (2, 4):
        queue = queue_of(made)
        while (job := queue.next(stop, None)) is not None:
            rates.append(job.config.train.lr)
            queue.finish(job.trial, [job.config.train.lr])
    assert len(set(rates)) == 4


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_settings_that_do_not_fit_together_are_left_out(
    sampler: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"train.epochs": {"choice": [3, 9]}, "train.warmup_epochs": {"choice": [1, 5]}}
    tune = {"space": space, "sampler": sampler}
    made = make_config(tmp_path, studies_dir=str(tmp_path / "studies"), tune=tune)
    make_folds(made, pets())
    queue, found = queue_of(made), []
    while (job := queue.next(4, None)) is not None:
        found.append((job.config.train.epochs, job.config.train.warmup_epochs))
        queue.finish(job.trial, [1.0])
    assert sorted(found) == [(3, 1.0), (9, 1.0), (9, 5.0)]
    assert [trial.state.name for trial in queue.study.trials] == ["COMPLETE"] * 3
    assert "the space is used up" in capsys.readouterr().out


def test_a_grid_of_which_most_is_refused_is_gone_through(tmp_path: Path) -> None:
    space = {"train.epochs": {"choice": list(range(2, 42))}, "train.warmup_epochs": {"choice": [40.5, 39.5]}}
    made = make_config(
        tmp_path, studies_dir=str(tmp_path / "studies"), tune={"space": space, "sampler": "grid"}, train__epochs=60
    )
    make_folds(made, pets())
    queue, found = queue_of(made), []
    while (job := queue.next(100, None)) is not None:
        found.append((job.config.train.epochs, job.config.train.warmup_epochs))
        queue.finish(job.trial, [1.0])
    assert sorted(found) == [(40, 39.5), (41, 39.5), (41, 40.5)]
    assert len(queue.study.trials) == 3


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_a_sampler_that_insists_on_the_best_gives_way_to_chance(tmp_path: Path, sampler: str) -> None:
    made = make_config(tmp_path, studies_dir=str(tmp_path / "studies"), tune={"space": SPACE, "sampler": sampler})
    make_folds(made, pets())
    queue, runs = queue_of(made), []
    while (job := queue.next(20, None)) is not None:
        runs.append(job.config.run)
        queue.finish(job.trial, [job.config.train.lr])  # the best lies on the edge, where GP ends
    assert len(set(runs)) == len(runs) == 20 == len(queue.study.trials)


def test_optuna_says_nothing_of_itself(config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        queue = queue_of(config)
        while (job := queue.next(3, None)) is not None:
            queue.finish(job.trial, [job.config.train.lr])
        OPENED.close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_a_killed_worker_loses_and_repeats_nothing(config: Config, backend: str) -> None:
    if backend == "sqlite":
        _kill_and_continue(config, study.default_url(config))
    else:
        with server() as url:
            _kill_and_continue(config, url)


def _kill_and_continue(config: Config, url: str) -> None:
    """Two workers side by side, one killed inside a trial; then a new one beside the survivor."""
    killed = start(config, url, 0, 8, 0.4)
    assert killed.stdout is not None
    held = [killed.stdout.readline().strip() for _ in range(2)][-1]
    other = start(config, url, 1, 8, 0.05)
    time.sleep(0.1)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    workers = [other, start(config, url, 0, 8, 0.05)]
    printed = [name for process in workers for name in process.communicate(timeout=120)[0].split()]
    assert [process.returncode for process in workers] == [0, 0]
    queue = queue_of(config, url=url)
    found = kinds_of(queue)
    assert found.count("complete") == 8 and found.count("retried") <= 1
    whole = [trial.user_attrs["settings"] for trial in queue.study.trials if trial.state.name == "COMPLETE"]
    assert len(set(whole)) == 8 and held in whole
    assert printed.count(held) == found.count("retried")  # tried again by one of them, if it was not just finished


def test_a_trial_that_kills_every_process_is_lost_at_last(config: Config) -> None:
    queue = queue_of(config)
    for _ in range(RETRIES + 1):
        assert queue.next(1, None) is not None
        fall_silent(queue)
    assert queue.next(1, None) is None
    assert kinds_of(queue) == ["retried"] * RETRIES + ["lost"]
    assert history(queue.study.trials[-1]) == list(range(RETRIES))


def test_a_worker_that_was_taken_for_dead_leaves_its_trial_to_the_next_one(config: Config) -> None:
    """The next one finds in the trial's folder what was finished."""
    queue = queue_of(config)
    job = queue.next(1, None)
    assert job is not None
    fall_silent(queue)
    again = queue_of(config).next(1, None)
    assert again is not None and again.config == job.config
    queue.finish(job.trial, [0.5])
    queue.fail(job.trial, "out of memory")
    queue.give_back(job.trial)
    assert kinds_of(queue) == ["retried", "running"]
    queue.finish(again.trial, [0.5])
    assert queue.next(1, None) is None
    assert [trial.values for trial in queue.study.trials] == [None, [0.5]]

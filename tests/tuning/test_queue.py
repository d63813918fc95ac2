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
from pipeline.config.search_space.resolve import read as read_space
from pipeline.tuning import storage as storages
from pipeline.tuning.queue import Line
from pipeline.tuning.trial_states import INTERRUPTED, RETRIES, history, kinds, reason

ROOT = Path(__file__).parents[2]
SPACE = {"train.lr": {"float": [1e-4, 1e-1], "log": True}, "train.batch_size": {"choice": [16, 32]}}
# A worker that trains nothing: it says what it was given, waits, and finishes it.
WORKER = """
import sys, time, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from pipeline.config.loading import load
from pipeline.config.search_space.resolve import read as read_space
from pipeline.folds import fold_table as foldtable
from pipeline.tuning import storage
from pipeline.tuning.queue import Line
path, url, number, trials, seconds = sys.argv[1:]
config = load([path])
opened = storage.open_storage(url)
study = storage.open_study(config, opened, storage.identity(config, foldtable.read(config)))
line = Line(config, read_space(config), study, opened, int(number))
with line.hold():
    while (job := line.next(int(trials), None)) is not None:
        with line.beating(job.trial):
            print(job.config.run, flush=True)
            time.sleep(float(seconds))
            line.finish(job.trial, [job.config.train.lr])
"""


OPENED: list[Any] = []  # databases that a test has to close


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Allow what the worker allows: heartbeats are experimental in Optuna, and ours are our own."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed", UserWarning)
        yield
    while OPENED:
        storages.close(OPENED.pop())


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A config with folds and a space, and nothing to train on."""
    made = make_config(tmp_path, studies_dir=str(tmp_path / "studies"), tune={"space": SPACE})
    make_folds(made, pets())
    return made


def line_of(config: Config, worker: int = 0, url: str | None = None) -> Line:
    from pipeline.folds import fold_table

    opened = storages.open_storage(url or storages.default_url(config))
    OPENED.append(opened)
    study = storages.open_study(config, opened, storages.identity(config, fold_table.read(config)))
    return Line(config, read_space(config), study, opened, worker)


def kinds_of(line: Line) -> list[str]:
    return list(kinds(line.study.get_trials(deepcopy=False)).values())


def start(config: Config, url: str, number: int, trials: int, seconds: float) -> subprocess.Popen[str]:
    path = Path(config.studies_dir) / "config.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(dump(config))
    command = [sys.executable, "-c", WORKER, str(path), url, str(number), str(trials), str(seconds)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)


def test_trials_are_handed_out_until_there_are_enough(config: Config) -> None:
    line, runs = line_of(config), []
    with line.hold():
        while (job := line.next(5, None)) is not None:
            runs.append(job.config.run)
            line.finish(job.trial, [job.config.train.lr])
    assert len(set(runs)) == len(runs) == 5
    assert kinds_of(line) == ["complete"] * 5
    assert line_of(config).next(5, None) is None  # the same command again has nothing to do


def test_a_resumed_study_proposes_what_an_uninterrupted_one_does(config: Config, tmp_path: Path) -> None:
    other = make_config(tmp_path, studies_dir=str(tmp_path / "other"), tune={"space": SPACE})

    def runs(of: Config, stops: list[int]) -> list[str | None]:
        found = []
        for stop in stops:
            line = line_of(of)  # a new process would know as little
            with line.hold():
                while (job := line.next(stop, None)) is not None:
                    found.append(job.config.run)
                    line.finish(job.trial, [job.config.train.lr])
        return found

    whole = runs(config, [14])
    assert runs(other, [3, 7, 11, 14]) == whole  # past TPE's ten random trials too
    assert len(set(whole)) == 14


def test_a_given_back_trial_goes_on_with_its_settings(config: Config) -> None:
    line = line_of(config)
    first = line.next(1, None)
    assert first is not None
    line.interrupt(first.trial)
    again = line.next(1, None)
    assert again is not None and again.config == first.config
    line.finish(again.trial, [1.0])
    assert kinds_of(line) == ["retried", "complete"]


def test_a_trial_is_not_lost_where_its_worker_is_killed_while_it_gives_it_back(config: Config) -> None:
    from optuna.trial import TrialState

    line = line_of(config)
    first = line.next(1, None)
    assert first is not None
    first.trial.set_user_attr("skipped", INTERRUPTED)  # and nothing more
    line.storage.set_trial_state_values(first.trial._trial_id, TrialState.FAIL)
    again = line.next(1, None)
    assert again is not None and again.config == first.config


def test_giving_back_is_not_dying(config: Config) -> None:
    line = line_of(config)
    for _ in range(RETRIES + 2):
        job = line.next(1, None)
        assert job is not None
        line.interrupt(job.trial)
    assert "lost" not in kinds_of(line)


def test_a_worker_that_is_known_has_a_heartbeat(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the two, it would run for ever in the eyes of another machine."""
    line = line_of(config)

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(line.storage, "record_heartbeat", killed)
    with pytest.raises(KeyboardInterrupt):
        line.next(1, None)
    assert "worker" not in line.study.trials[0].user_attrs


@pytest.mark.parametrize(("worker", "why"), [(0, "the settings of trial 0"), (1, "one more than asked")])
def test_what_another_machine_asked_for_meanwhile_is_not_tried_too(
    config: Config, monkeypatch: pytest.MonkeyPatch, worker: int, why: str
) -> None:
    ours, other = line_of(config), line_of(config, worker)
    monkeypatch.setattr("pipeline.tuning.queue.turn", lambda _: contextlib.nullcontext())  # each has its own
    ask = ours.study.ask

    def slow() -> Any:
        assert other.next(1, None) is not None
        return ask()

    monkeypatch.setattr(ours.study, "ask", slow)
    assert ours._ask(1) is None
    assert reason(ours.study.trials[1]) == why


def test_a_failed_trial_counts_and_keeps_its_reason(config: Config) -> None:
    line = line_of(config)
    job = line.next(1, None)
    assert job is not None
    line.fail(job.trial, "out of memory")
    assert line.next(1, None) is None
    assert [reason(trial) for trial in line.study.trials] == ["out of memory"]


def test_settings_are_not_tried_twice_and_a_used_up_space_ends_the_study(tmp_path: Path) -> None:
    made = make_config(
        tmp_path, studies_dir=str(tmp_path / "studies"), tune={"space": {"train.batch_size": {"choice": [8, 16, 32]}}}
    )
    make_folds(made, pets())
    line, runs = line_of(made), []
    while (job := line.next(10, None)) is not None:
        runs.append(job.config.train.batch_size)
        line.finish(job.trial, [1.0])
    assert sorted(runs) == [8, 16, 32]
    assert "settings of trial" in reason(line.study.trials[-1])


def test_a_grid_is_tried_once_and_then_ends(tmp_path: Path) -> None:
    space = {"train.lr": {"float": [1e-3, 1e-1], "log": True}, "train.batch_size": {"choice": [16, 32]}}
    made = make_config(
        tmp_path, studies_dir=str(tmp_path / "studies"), tune={"space": space, "sampler": "grid", "grid": 3}
    )
    make_folds(made, pets())
    line, found = line_of(made), []
    while (job := line.next(100, None)) is not None:
        found.append((job.config.train.lr, job.config.train.batch_size))
        line.finish(job.trial, [1.0])
    assert len(set(found)) == len(found) == 6


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random"])
def test_every_sampler_moves_on_after_a_resume(tmp_path: Path, sampler: str) -> None:
    made = make_config(tmp_path, studies_dir=str(tmp_path / "studies"), tune={"space": SPACE, "sampler": sampler})
    make_folds(made, pets())
    rates = []
    for stop in (2, 4):
        line = line_of(made)
        while (job := line.next(stop, None)) is not None:
            rates.append(job.config.train.lr)
            line.finish(job.trial, [job.config.train.lr])
    assert len(set(rates)) == 4


def test_settings_that_do_not_fit_together_are_left_out(tmp_path: Path) -> None:
    space = {"train.epochs": {"choice": [3, 9]}, "train.warmup_epochs": {"choice": [1, 5]}}
    made = make_config(tmp_path, studies_dir=str(tmp_path / "studies"), tune={"space": space})
    make_folds(made, pets())
    line, found = line_of(made), []
    while (job := line.next(4, None)) is not None:
        found.append((job.config.train.epochs, job.config.train.warmup_epochs))
        line.finish(job.trial, [1.0])
    assert sorted(found) == [(3, 1.0), (9, 1.0), (9, 5.0)]
    assert any("refused" in reason(trial) for trial in line.study.trials)


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_a_killed_worker_loses_and_repeats_nothing(config: Config, backend: str) -> None:
    if backend == "sqlite":
        _kill_and_continue(config, storages.default_url(config))
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
    crew = [other, start(config, url, 0, 8, 0.05)]
    printed = [name for process in crew for name in process.communicate(timeout=120)[0].split()]
    assert [process.returncode for process in crew] == [0, 0]
    line = line_of(config, url=url)
    found = kinds_of(line)
    assert found.count("complete") == 8 and found.count("retried") <= 1
    whole = [trial.user_attrs["settings"] for trial in line.study.trials if trial.state.name == "COMPLETE"]
    assert len(set(whole)) == 8 and held in whole
    assert printed.count(held) == found.count("retried")  # tried again by one of them, if it was not just finished


def test_a_trial_that_kills_every_process_is_lost_at_last(config: Config) -> None:
    line = line_of(config)
    for _ in range(RETRIES + 1):
        dead = line_of(config)
        with dead.hold():
            assert dead.next(1, None) is not None
    assert line.next(1, None) is None
    assert kinds_of(line) == ["retried"] * RETRIES + ["lost"]
    assert history(line.study.trials[-1]) == list(range(RETRIES))


def test_a_worker_that_was_taken_for_dead_keeps_its_result(config: Config) -> None:
    from optuna.trial import TrialState

    line = line_of(config)
    job = line.next(1, None)
    assert job is not None
    line.storage.set_trial_state_values(job.trial._trial_id, TrialState.FAIL)  # as another machine would
    line.finish(job.trial, [0.5])
    assert line.next(1, None) is None
    assert [trial.values for trial in line.study.trials] == [None, [0.5]]

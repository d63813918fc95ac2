"""The time of a study: what its confirmation costs is said beforehand, and left over at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from synthetic import make_config, make_folds, pets

from pipeline.tuning import study, time_limit
from pipeline.tuning.queue import Queue
from pipeline.tuning.study import Setup
from pipeline.tuning.time_limit import Limit


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    """A study whose trials have one fold of three, and whose winner is trained on nine."""
    space = {"train.lr": {"float": [1e-4, 1e-1], "log": True}}
    made = make_config(tmp_path, studies_dir=str(tmp_path / "studies"), tune={"space": space, "folds": [0]})
    make_folds(made, pets())
    with study.opened(made, study.default_url(made)) as opened:
        yield opened


def finish(setup: Setup, seconds: float) -> None:
    job = Queue(setup, 0).next(len(setup.trials) + 1)
    assert job is not None
    job.trial.set_user_attr("seconds", seconds)
    Queue(setup, 0).finish(job.trial, [0.5])


def test_the_cost_is_said_in_trials_and_once_it_is_known_in_seconds(setup: Setup) -> None:
    start = "  then the winner again: 3 fresh seeds × 3 folds, as long as 9 trials"
    assert time_limit.said(setup, None) == [f"{start} (tune.fresh_seeds)"]
    finish(setup, 20)
    (line,) = time_limit.said(setup, 600)
    assert line.startswith(f"{start}, about 180 s (tune.fresh_seeds); --timeout includes it")


def test_no_trial_begins_that_leaves_the_confirmation_too_little(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Limit(until=1000.0, seconds=1000.0)

    def ends(now: float) -> bool:
        monkeypatch.setattr(time_limit.time, "time", lambda: now)
        return limit.ends_trials(setup)

    assert [ends(now) for now in (10, 600, 999, 1000)] == [False, False, False, True]  # nothing is known yet
    monkeypatch.undo()
    finish(setup, 20)  # a trial and nine folds take 200 s
    assert [ends(now) for now in (499, 799, 801, 1000)] == [False, False, True, True]
    monkeypatch.undo()
    monkeypatch.setattr(time_limit, "fold_seconds", lambda _: 90.0)
    assert [ends(now) for now in (499, 501)] == [False, True]


def test_a_workers_queue_ends_with_the_time(setup: Setup) -> None:
    finish(setup, 20)
    assert Queue(setup, 0).next(5, Limit.of(1e-9)) is None
    assert Queue(setup, 0).next(5, Limit.of(3600)) is not None

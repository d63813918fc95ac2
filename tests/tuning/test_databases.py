"""A study's database that is full, not writable, damaged, emptied or being made: told by its kind, nothing lost."""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from postgres import server
from synthetic import make_config, make_folds, pets

from pipeline.cli import main
from pipeline.config.config import Config
from pipeline.config.loading import dump
from pipeline.errors import SpaceError
from pipeline.files.tables import write_table
from pipeline.tuning import outputs, study

SPACE = {"train.lr": {"float": [1e-4, 1e-1], "log": True}}
FOUND = b"found before"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A config with folds and a space, and nothing to train on."""
    made = make_config(tmp_path, studies_dir=str(tmp_path / "studies"), tune__space=SPACE)
    make_folds(made, pets())
    (tmp_path / "config.yaml").write_text(dump(made))
    return made


def opened(config: Config, url: str) -> None:
    with study.opened(config, url):
        pass


def add_trial(config: Config, url: str, run: str = "trial-one") -> None:
    with study.opened(config, url) as setup:
        one = create_trial(
            value=0.5,
            params={"train.lr": 0.01},
            distributions={"train.lr": FloatDistribution(1e-4, 1e-1, log=True)},
            user_attrs={"settings": run, "scores": {}, "seconds": 1.0},
        )
        setup.study.add_trial(one)


def tune(config: Config, *more: str) -> int:
    return main(["tune", "-c", str(config.study_dir.parents[1] / "config.yaml"), *more])


@pytest.fixture
def searched(config: Config) -> Config:
    """A study with one trial, which its table lists."""
    add_trial(config, study.default_url(config))
    with study.opened(config, study.default_url(config)) as setup:
        write_table(config.study_dir / "trials.csv", outputs.table(setup))
    return config


def execute(*statements: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with sqlite3.connect(path) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    return damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50_000])


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGED = {
    "cut": cut,
    "no database": lambda path: path.write_bytes(b"no database at all" * 100),
    "cells": execute("UPDATE trial_user_attributes SET value_json = '{'"),
    "state": execute("UPDATE trials SET state = 'xx'"),
    "pipe": pipe,
    "loop": lambda path: (path.unlink(), path.symlink_to(path.name)),
}
EMPTIED = {
    "zero bytes": lambda path: path.write_bytes(b""),
    "deleted": lambda path: path.unlink(),
    "rows": execute(*(f"DELETE FROM {name}" for name in ("studies", "study_directions", "trials", "trial_values"))),
    "trials": execute("DELETE FROM trials"),
    "another": execute("UPDATE trial_user_attributes SET value_json = '\"trial-two\"' WHERE key = 'settings'"),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_database_is_named(searched: Config, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, table = Path(f"{searched.study_dir}.db"), searched.study_dir / "trials.csv"
    before = table.read_bytes()
    DAMAGED[how](path)
    for more in (["--trials", "2"], ["--report"]):
        assert tune(searched, *more) == 3
        said = capsys.readouterr().err
        assert str(path) in said and len(said.splitlines()) == 1
    assert table.read_bytes() == before


@pytest.mark.parametrize("how", EMPTIED)
def test_an_emptied_database_begins_nothing_anew(
    searched: Config, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = searched.study_dir / "trials.csv"
    before = table.read_bytes()
    EMPTIED[how](Path(f"{searched.study_dir}.db"))
    if how != "deleted":  # there is nothing to report then, which is said
        assert tune(searched, "--report") == 3
    assert tune(searched, "--trials", "2") == 3
    assert "restore" in capsys.readouterr().err and table.read_bytes() == before


def test_trials_of_a_lost_table_are_known_by_their_folders(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    made = config.study_dir / "trial-one" / "fold0" / "valid.npz"
    made.parent.mkdir(parents=True)
    made.write_bytes(FOUND)
    assert tune(config, "--trials", "1") == 3
    assert "1 trials that the study's database does not know (first 'trial-one')" in capsys.readouterr().err


def test_a_full_disk_ends_with_5_and_loses_nothing(searched: Config, capsys: pytest.CaptureFixture[str]) -> None:
    url, path = study.default_url(searched), Path(f"{searched.study_dir}.db")
    other = searched.study_dir.with_name("other.db")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, before[1]))
    try:
        with study.opened(searched, url) as setup, pytest.raises(SpaceError) as error, study.telling(url):
            for n in range(100):
                setup.study.set_user_attr(f"much {n}", "x" * 2000)
        assert error.value.exit_code == 5 and f"{path}: the database cannot be written" in str(error.value)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
        assert tune(searched, "--trials", "2", "--storage", f"sqlite:///{other}") == 5
        assert f"{other}: the database cannot be written" in capsys.readouterr().err
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert tune(searched, "--report") == 0


def test_many_that_begin_at_once_make_one_database(config: Config) -> None:
    url = study.default_url(config)
    children = [forked(opened, config, url) for _ in range(5)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 5
    opened(config, url)


def test_a_kill_while_the_database_is_made_leaves_one_that_works(config: Config) -> None:
    url, path, draw = study.default_url(config), Path(f"{config.study_dir}.db"), random.Random(0)
    for _ in range(3):
        path.unlink(missing_ok=True)
        child = forked(opened, config, url)
        while not path.exists():
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        add_trial(config, url)


def forked(call: Callable[..., None], *arguments: object) -> int:
    if (child := os.fork()) == 0:
        code = 1
        try:
            call(*arguments)
            code = 0
        finally:
            os._exit(code)
    return child


def test_a_server_fails_by_its_kind(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    import psycopg

    with server() as url:
        children = [forked(opened, config, url) for _ in range(3)]
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 3
        add_trial(config, url)
        assert tune(config, "--report", "--storage", url) == 0
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
            assert tune(config, "--trials", "3", "--storage", url) == 5
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER DATABASE postgres SET default_transaction_read_only = off")
            connection.execute("TRUNCATE studies CASCADE")
            assert tune(config, "--trials", "2", "--storage", url) == 3
        said = capsys.readouterr().err
        assert "the database cannot be written (cannot execute" in said and "read-only transaction" in said
        assert "does not know (first 'trial-one')" in said
    assert tune(config, "--trials", "2", "--storage", url) == 2  # no server is there

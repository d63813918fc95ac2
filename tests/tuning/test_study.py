"""Hold what a study's database may be, and which searches may continue in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from synthetic import command, make_config, make_folds, pets

from pipeline.cli import main
from pipeline.config import trees
from pipeline.config.config import Config
from pipeline.config.loading import dump, load
from pipeline.config.search_space import space as spaces
from pipeline.config.search_space.resolve import read as read_space
from pipeline.errors import InputError, MismatchError
from pipeline.tuning import stage as tune
from pipeline.tuning import study
from pipeline.tuning.identity import trial_config

SPACE = {"train.lr": {"float": [1e-4, 1e-1], "log": True}, "train.batch_size": {"choice": [16, 32]}}


def changed(folder: Path, **changes: Any) -> Config:
    return make_config(folder, **{"studies_dir": str(folder / "studies"), "tune__space": SPACE, **changes})


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A config with folds and a space, and nothing to train on."""
    made = changed(tmp_path)
    make_folds(made, pets())
    return made


def opened(config: Config) -> None:
    """Open the config's study, create it where there is none, and close it."""
    with study.opened(config, study.default_url(config)):
        pass


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tune__space": {"train.lr": {"float": [1e-4, 1.0], "log": True}}}, r"tune\.space\.train\.lr"),
        ({"loss__label_smoothing": 0.1}, r"loss\.label_smoothing: 0\.0 -> 0\.1"),
        ({"tune__epochs": 3}, r"tune\.epochs: None -> 3"),
    ],
)
def test_another_search_is_refused_with_its_differences(
    config: Config, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    opened(config)
    with pytest.raises(MismatchError, match=named):
        opened(changed(tmp_path, **change))


def test_other_folds_are_refused(config: Config) -> None:
    opened(config)
    make_folds(config, pets(), folds=2)
    with pytest.raises(MismatchError, match="fold_hash"):
        opened(config)


def test_what_changes_no_value_may_change(config: Config, tmp_path: Path) -> None:
    opened(config)
    rules = {"tune__sampler": "random", "tune__seed": 1, "tune__pruner": "none", "train__lr": 0.002}
    places = {"runs_dir": "elsewhere", "train__threads": 1, "data__test": "test.csv", "data__cache__dir": None}
    opened(changed(tmp_path, **rules, **places))
    assert trial_config(changed(tmp_path, **places), {}).run == trial_config(config, {}).run


def test_a_weights_file_may_lie_elsewhere_but_not_hold_others(tmp_path: Path) -> None:
    first, moved, other = (tmp_path / name for name in ("a.bin", "b.bin", "c.bin"))
    first.write_text("weights")
    moved.write_text("weights")
    other.write_text("others")
    configs = [changed(tmp_path, model__pretrained=str(path)) for path in (first, moved, other)]
    make_folds(configs[0], pets())
    opened(configs[0])
    opened(configs[1])
    assert trial_config(configs[0], {}).run == trial_config(configs[1], {}).run != trial_config(configs[2], {}).run
    with pytest.raises(MismatchError, match=r"model\.pretrained"):
        opened(configs[2])


@pytest.mark.parametrize("searched", [False, True])
def test_a_changed_file_of_the_users_own_is_another_trial_and_another_study(tmp_path: Path, searched: bool) -> None:
    file = tmp_path / "losses.py"
    file.write_text("def soft(): ...")
    given = {"loss.name": {"choice": ["cross_entropy", f"{file}:soft"]}} if searched else SPACE
    names = {} if searched else {"loss__name": f"{file}:soft"}
    config = changed(tmp_path, tune__space=given, **names)
    make_folds(config, pets())
    settings = {"loss.name": f"{file}:soft"} if searched else {}
    opened(config)
    before, plain = trial_config(config, settings).run, trial_config(config, {"loss.name": "cross_entropy"}).run
    assert trial_config(config, settings).run == before
    file.write_text("def soft(): return 1")
    assert trial_config(config, settings).run != before
    assert trial_config(config, {"loss.name": "cross_entropy"}).run == plain
    with pytest.raises(MismatchError, match=r"losses\.py: '" if searched else r"loss's file: '"):
        opened(config)


def test_the_digits_study_begins_with_the_configs_own_values() -> None:
    config = load([Path(__file__).parents[2] / "configs/digits_untuned.yaml"])
    space, tree = read_space(config), config.model_dump(mode="json")
    own = spaces.params(space, {entry.key: trees.at(tree, entry.key) for entry in space.all()})
    assert {entry.key for entry in space.entries} == set(own)


@pytest.mark.parametrize("url", ["nonsense", "oracle9://here/there", "postgresql+psycopg://nobody@127.0.0.1:1/none"])
def test_a_database_that_cannot_be_used_is_an_input_error(url: str) -> None:
    with pytest.raises(InputError, match="--storage"):
        study.open_storage(url)


def test_passwords_are_not_shown() -> None:
    assert study.shown("postgresql://me:secret@host/base") == "postgresql://me:***@host/base"


def test_own_values_outside_the_space_are_named(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    space = {"model.drop_rate": {"float": [0.0, 0.4]}, "train.lr": {"float": [1e-4, 1e-1], "log": True}}
    made = changed(Path(config.runs_dir).parent, tune__space=space)
    with study.opened(made, study.default_url(made)) as setup:
        tune._enqueue_base(setup)
        assert setup.study.trials[0].system_attrs["fixed_params"] == {"train.lr": made.train.lr}
    assert "but for model.drop_rate: outside the space" in capsys.readouterr().out


def test_a_study_is_shown_without_torch(config: Config, tmp_path: Path) -> None:
    opened(config)
    path = tmp_path / "config.yaml"
    path.write_text(dump(config))
    shown = command("tune", "-c", path, "--report")
    assert shown.returncode == 0 and "study pets: no trial yet" in shown.stdout, shown.stderr


def test_a_database_that_goes_away_is_said(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from optuna.exceptions import StorageInternalError

    def away(*_: object) -> None:
        raise StorageInternalError("server closed the connection")

    path = tmp_path / "config.yaml"
    path.write_text(dump(config))
    monkeypatch.setattr(tune, "run", away)
    assert main(["tune", "-c", str(path), "--trials", "1"]) == 5
    assert "server closed the connection); the same command continues" in capsys.readouterr().err

"""A search space: read, named, asked of Optuna, replayed from parameters, cut to a grid."""

from __future__ import annotations

import itertools
import math
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.config.search_space.entries import Choice, Entry, Fixed, Range
from pipeline.config.search_space.space import grid, nested, params, parse, settings, suggest, walk
from pipeline.errors import Refused
from pipeline.methods.samplers import PRUNERS, SAMPLERS, pruner, sampler

BRANCHED = yaml.safe_load("""
train.lr: {float: [1e-5, 1.0e-2], log: true}
train.batch_size: {int: [16, 70], step: 16}
model.name:
  choice:
    resnet18:
      model.drop_rate: {float: [0, 0.3], step: 0.1}
      mix.kind: {choice: {none: {}, cutmix: {mix.alpha: {float: [0.2, 1]}}}}
    convnext_atto: {model.drop_rate: {float: [0, 0.5]}, train.layer_decay: 0.8}
tta: {choice: [[identity], [identity, hflip]]}
""")

unhurried = hypothesis_settings(deadline=None)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def defects(text: str) -> list[str]:
    with pytest.raises(Refused) as caught:
        parse(yaml.safe_load(text))
    return [str(problem) for problem in caught.value.problems]


def points(space: tuple[Entry, ...]) -> int:
    """Return the number of different settings of a grid."""
    choices = [entry for entry in space if isinstance(entry, Choice)]
    return math.prod(sum(points(opened) for opened in entry.opens) for entry in choices)


def test_a_space_is_read_in_order_with_what_choices_open() -> None:
    lr, batch, name, tta = parse(BRANCHED).entries
    assert lr == Range("train.lr", 1e-5, 1e-2, log=True, name="train.lr")
    assert batch == Range("train.batch_size", 16, 64, whole=True, step=16, name="train.batch_size")  # 70: no step
    assert isinstance(name, Choice) and isinstance(tta, Choice)
    assert name.values == ("resnet18", "convnext_atto")
    assert name.opens[1][1] == Fixed("train.layer_decay", 0.8)
    assert tta.labels == ('["identity"]', '["identity", "hflip"]')


def test_a_key_in_several_branches_has_a_parameter_for_each() -> None:
    names = {entry.name for entry in parse(BRANCHED).all() if not isinstance(entry, Fixed)}
    branches = {"model.drop_rate (model.name=resnet18)", "model.drop_rate (model.name=convnext_atto)"}
    assert names == {"train.lr", "train.batch_size", "model.name", "mix.kind", "mix.alpha", "tta", *branches}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("train.lr: {float: [1, 0.1]}", "train.lr: found [1, 0.1], expected the lower end first"),
        ("train.lr: {float: [0, 1], log: true}", "lower end 0, expected one above 0 as log is true"),
        ("train.lr: {float: [0.1, 1], log: true, step: 0.1}", "train.lr.step: found 0.1, expected none as log is true"),
        ("train.lr: {float: [0, 1], step: 2}", "train.lr.step: found 2, expected at most 1"),
        ("train.lr: {float: [0, 1], step: 0}", "train.lr.step: found 0, expected a number above 0"),
        ("train.lr: {float: [0, .inf]}", "expected [low, high], two numbers"),
        ("train.lr: {float: [0]}", "expected [low, high], two numbers"),
        ("train.lr: {float: [true, 2]}", "expected [low, high], two numbers"),
        ("train.epochs: {int: [1, 2.5]}", "expected [low, high], two whole numbers"),
        ("train.lr: {float: [0.1, 1], lgo: true}", "train.lr.lgo: unknown; did you mean 'log'?"),
        ("train.lr: {float: [0.1, 1], log: maybe}", "train.lr.log: found 'maybe', expected true or false"),
        ("train.lr: {float: [0, 1], int: [0, 1]}", "train.lr: found the keys float, int, expected {float:"),
        ("train.lr: {uniform: [0, 1]}", "train.lr: found the keys uniform, expected {float:"),
        ("train.lr: 0.1", "train.lr: found 0.1, expected {float:"),
        ("tta: {choice: []}", "tta: found [], expected a list of values"),
        ("train.ema: {choice: [true, 1]}", "train.ema: 1 stands twice among the choices"),
        ("model.name: {choice: {a: 3}}", "model.name: 'a' opens 3, expected keys and entries"),
        ("model.name: {choice: {a: {train.lr: {float: [1, 0]}}}}", "train.lr: found [1, 0], expected the lower end"),
        ("{}", "found no entry"),
        ("{mix.alpha: {float: [0, 1]}, mix: {choice: [{kind: none}]}}", "mix: set twice in one trial"),
        ("{train.lr: {float: [0, 1]}, model.name: {choice: {a: {train.lr: 3}}}}", "train.lr: set twice in one trial"),
        ("model.name: {choice: {a: {model.name: b}}}", "model.name: set twice in one trial"),
    ],
)
def test_a_malformed_entry_is_refused(text: str, line: str) -> None:
    (found,) = defects(text)
    assert line in found


def test_every_defect_is_listed() -> None:
    lines = defects("{a: {float: [1, 0]}, b: 3, c: {choice: {x: {d: {int: [0]}}}}, e: {choice: [1], step: 2}}")
    assert [line.split(":")[0] for line in lines] == ["a", "b", "d", "e.step"]


def test_the_keys_of_branches_are_read_as_yaml_reads_values() -> None:
    (entry,) = parse({"model.size": {"choice": {"32": {}, "true": None, "null": {}, "resnet18": {}}}}).entries
    assert isinstance(entry, Choice) and entry.values == (32, True, None, "resnet18")


def test_one_trial_is_asked_only_what_its_choices_open_and_replays() -> None:
    space = parse(BRANCHED)
    study = optuna.create_study(sampler=sampler("tpe", 0))
    seen = []

    def objective(trial: optuna.Trial) -> float:
        found = suggest(space, trial)
        assert settings(space, trial.params) == found
        seen.append(found)
        return float(found["train.lr"])

    study.optimize(objective, n_trials=25)
    for found in seen:
        small = found["model.name"] == "convnext_atto"
        assert ("train.layer_decay" in found) == small and ("mix.kind" in found) != small
        assert ("mix.alpha" in found) == (found.get("mix.kind") == "cutmix")
        assert small or found["model.drop_rate"] in (0, 0.1, 0.2, 0.3)  # no 0.30000000000000004
        assert found["tta"] in (["identity"], ["identity", "hflip"])
        assert type(found["train.batch_size"]) is int and found["train.batch_size"] in (16, 32, 48, 64)
    assert {found["model.name"] for found in seen} == {"resnet18", "convnext_atto"}


def test_settings_refuse_parameters_of_another_space() -> None:
    space = parse({"train.ema": {"choice": [True, False]}})
    with pytest.raises(KeyError):
        settings(space, {"train.lr": 1})
    with pytest.raises(KeyError, match="expected one of"):
        settings(space, {"train.ema": "often"})


def test_parameters_for_a_start_from_known_settings() -> None:
    space = parse(BRANCHED)
    known = {"train.lr": 3e-4, "train.batch_size": 30, "model.name": "resnet18", "model.drop_rate": 0.19, "tta": ["d4"]}
    assert params(space, known) == {
        "train.lr": 3e-4,
        "train.batch_size": 32,
        "model.name": "resnet18",
        "model.drop_rate (model.name=resnet18)": 0.2,
    }
    assert params(space, {"train.lr": 1.0, "model.drop_rate": 0.1}) == {}


def test_settings_become_the_tree_of_an_overlay() -> None:
    assert nested({"a.b": 1, "c": [2], "a.d.e": None}) == {"a": {"b": 1, "d": {"e": None}}, "c": [2]}


def test_a_grid_follows_branches_and_ends_by_itself() -> None:
    space = grid(parse(BRANCHED), 3)
    # lr 3, batch 3, resnet18: drop 3 × (none 1 + cutmix 3), convnext: drop 3; tta 2
    assert points(space.entries) == 3 * 3 * (3 * 4 + 3) * 2
    small = grid(parse({key: BRANCHED[key] for key in ("model.name", "tta")}), 3)
    study = optuna.create_study(sampler=sampler("grid", 5))
    seen: list[dict[str, Any]] = []
    study.optimize(lambda trial: seen.append(suggest(small, trial)) or 0.0, n_trials=1000)  # type: ignore[func-returns-value]
    assert len(seen) == points(small.entries) == 30
    assert all(one != other for one, other in itertools.combinations(seen, 2))


ranges = st.builds(
    lambda low, width, log, whole, steps: (
        {"int": [low, low + width], **({"log": True} if log else {"step": min(steps, width)} if steps else {})}
        if whole
        else {"float": [low / 7, (low + width) / 7], **({"log": True} if log else {})}
    ),
    low=st.integers(1, 1000),
    width=st.integers(1, 1000),
    log=st.booleans(),
    whole=st.booleans(),
    steps=st.integers(0, 50),
)


@unhurried
@given(ranges, st.integers(2, 9))
def test_a_grids_points_lie_in_the_range_in_order(entry: dict[str, Any], points: int) -> None:
    (found,) = parse({"x": entry}).entries
    assert isinstance(found, Range)
    values = found.spread(points)
    assert values[0] == found.low and values[-1] == found.high and list(values) == sorted(set(values))
    assert len(values) <= points and all(found.picked(value) == value for value in values)


@unhurried
@given(ranges, st.integers(0, 2**31))
def test_what_optuna_draws_replays_exactly(entry: dict[str, Any], seed: int) -> None:
    space = parse({"x": entry})
    trial = optuna.create_study(sampler=sampler("random", seed)).ask()
    found = suggest(space, trial)
    assert settings(space, trial.params) == found
    assert params(space, found) == pytest.approx(trial.params)


def test_a_walk_may_leave_entries_out() -> None:
    assert walk(parse(BRANCHED), lambda entry: 1 if entry.key == "model.name" else None) == {
        "model.name": "convnext_atto",
        "train.layer_decay": 0.8,
    }


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "grid"])
def test_every_sampler_follows_branches(name: str, caplog: pytest.LogCaptureFixture) -> None:
    if name == "cmaes":
        pytest.importorskip("cmaes", reason="the package cmaes is not installed")
    space = parse(BRANCHED)
    study = optuna.create_study(sampler=sampler(name, 3))
    optuna.logging.enable_propagation()
    study.optimize(lambda trial: float(suggest(space, trial)["train.lr"]), n_trials=12)
    assert len({trial.params["train.lr"] for trial in study.trials}) > 10
    assert "independently" not in caplog.text


@pytest.mark.parametrize("name", PRUNERS)
@pytest.mark.parametrize("folds", [3, 5])
def test_every_pruner_can_end_a_hopeless_trial_by_folds(name: str, folds: int) -> None:
    made = pruner(name, folds)
    assert isinstance(made, optuna.pruners.NopPruner) == (name in ("race", "none"))
    if name in ("race", "none"):
        return
    study = optuna.create_study(direction="maximize", sampler=sampler("random", 0), pruner=made)
    ended = 0
    for number in range(24):
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        for fold in range(folds):
            trial.report(0.1 + fold / 1000 if number % 2 else 0.9 + fold / 1000, step=fold)
            if trial.should_prune():
                ended += 1
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, 0.1 if number % 2 else 0.9)
    assert ended >= 3


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'tpe'"):
        sampler("tpee", 0)
    with pytest.raises(ValueError, match="did you mean 'median'"):
        pruner("medain", 5)

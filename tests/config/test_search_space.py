"""The search space against the config: keys that exist, values that are possible, budgets, the default space."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.config.config import Config
from pipeline.config.keys import KEYS, below
from pipeline.config.loading import dump, load, parse
from pipeline.config.search_space.entries import Choice, Fixed, Range
from pipeline.config.search_space.resolve import NOT_SEARCHED, budget, default, keys, read, settle
from pipeline.config.search_space.space import params, walk
from pipeline.config.search_space.space import parse as parse_space
from pipeline.config.sections.section import Affects
from pipeline.config.sections.tune import Tune
from pipeline.errors import InputError
from pipeline.report import stage as report

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def made(space: str | None = None, **changes: Any) -> Config:
    """Return a config with a space given as YAML; `tune__sampler="grid"` changes a key."""
    tree: dict[str, Any] = {
        "name": "leaves",
        "data": {"root": "data/leaves", "image": "{id}.png", "target": "label"},
        "model": {"name": "resnet18"},
        "tune": {"space": None if space is None else yaml.safe_load(space)},
    }
    for key, value in changes.items():
        section, name = key.split("__")
        tree.setdefault(section, {})[name] = value
    return parse(tree, "a.yaml")


def refused(space: str | None, **changes: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(made(space, **changes))
    return list(caught.value.lines)


def test_every_key_that_says_nothing_about_what_is_scored_can_be_searched() -> None:
    """Each leaf is tried with its own default, which the config takes."""
    config = made()
    tree = config.model_dump(mode="json")
    tried = 0
    for key in keys():
        value: Any = tree
        for part in key.split("."):
            value = value[part]
        fixed = any(key == name or key.startswith(f"{name}.") or name.startswith(f"{key}.") for name in NOT_SEARCHED)
        text = yaml.safe_dump({key: {"choice": [value]}})
        if fixed:
            assert "cannot be searched" in refused(text)[0]
        else:
            (entry,) = read(made(text)).entries
            assert isinstance(entry, Choice) and len(entry.values) == 1
            tried += 1
    assert tried > 50
    assert {"train.lr", "model.name", "mix", "augment.train", "tta", "data.cache.size"} <= set(keys())


@pytest.mark.parametrize(
    ("key", "near"),
    [("train.lrr", "train.lr"), ("lr", "train.lr"), ("optim.weight_decay", "train.weight_decay"), ("zzz", None)],
)
def test_an_unknown_key_is_named_with_the_nearest(key: str, near: str | None) -> None:
    (line,) = refused(f"{key}: {{float: [0.1, 1]}}")
    assert line.startswith(f"tune.space.{key}: unknown key; ")
    assert f"did you mean '{near}'?" in line if near else "there are: " in line


def test_unknown_keys_inside_branches_are_found_too() -> None:
    (line,) = refused("model.name: {choice: {resnet18: {model.droprate: {float: [0, 1]}}}}")
    assert "model.droprate: unknown key; did you mean 'model.drop_rate'?" in line


@pytest.mark.parametrize(
    ("space", "at", "why"),
    [
        ("train.lr: {float: [0, 1]}", "tune.space.train.lr at 0.0", "greater than 0"),
        ("loss.label_smoothing: {float: [0, 1.5]}", "loss.label_smoothing at 1.5", "less than or equal to 1"),
        ("train.epochs: {float: [4, 9]}", "tune.space.train.epochs at 6.5", "valid integer"),
        ("train.schedule: {choice: [cosine, cosinus]}", "schedule at 'cosinus'", "did you mean 'cosine'?"),
        ("train.min_lr: {float: [0.1, 0.2]}", "tune.space.train.min_lr at 0.1", "expected at most lr"),
        ("model.name: {choice: {a: {train.lr: -1}}}", "model.name at 'a'", "greater than 0"),
        ("model.name: {choice: {a: {train.lr: {float: [-1, 1]}}}}", "tune.space.train.lr at -1.0", "greater than 0"),
        ("mix: {choice: [{kind: cutmix}, {kid: mixup}]}", "mix at {'kid': 'mixup'}", "did you mean 'kind'?"),
        ("tta: {choice: [[identity], [flip]]}", "tta at ['flip']", "flip"),
        ("loss.name: {choice: [cross_entropy, focl]}", "loss.name at 'focl'", "expected a loss"),
    ],
)
def test_a_value_that_the_config_refuses_is_an_error_before_the_first_trial(space: str, at: str, why: str) -> None:
    lines = refused(space)
    assert any(at in line and why in line for line in lines)


def test_values_are_refused_only_where_no_other_entry_makes_them_possible() -> None:
    """The config's own min_lr is above the range of lr, yet the space never leaves it there."""
    both = "{train.lr: {float: [1e-4, 1e-3], log: true}, train.min_lr: {float: [0, 1e-5]}}"
    assert len(read(made(both, train__lr=1e-1, train__min_lr=1e-2)).entries) == 2
    assert "train.lr at 0.0001" in refused("train.lr: {float: [1e-4, 1e-3]}", train__lr=1e-1, train__min_lr=1e-2)[0]


def test_every_defect_is_listed_at_once() -> None:
    lines = refused("{train.lr: {float: [-1, 2]}, train.batch_size: {choice: [1, 8]}, model.size: {int: [-8, 8]}}")
    assert [line.split(" at ")[0].removeprefix("tune.space.") for line in lines] == [
        "train.lr",
        "train.batch_size",
        "model.size",
        "model.size",
    ]
    lines = refused("{train.lrr: {float: [1, 2]}, metric: {choice: [accuracy]}}")
    assert len(lines) == 2
    assert refused("{train.lr: {float: [2, 1]}, a: 3}")[0].startswith("tune.space.train.lr: found [2, 1]")


def test_a_budget_replaces_keys_and_may_not_be_searched() -> None:
    config = made(None, tune__epochs=3, tune__size=[32, 48], tune__subset=0.5, tune__sampler="random")
    assert budget(config) == {"train.epochs": 3, "train.subset": 0.5, "model.size": (32, 48)}
    trial = settle(config, {"train.lr": 0.01, "mix.kind": "mixup"})
    assert (trial.train.epochs, trial.train.subset, trial.model.size) == (3, 0.5, (32, 48))
    assert (trial.train.lr, trial.mix.kind, trial.mix.prob, trial.tune) == (0.01, "mixup", config.mix.prob, Tune())
    assert "searched, while tune.epochs fixes it" in refused("train.epochs: {int: [3, 9]}", tune__epochs=3)[0]
    few = refused(None, tune__epochs=2, train__epochs=9, train__warmup_epochs=3)[0]
    assert few.startswith("tune: train: found warmup_epochs 3 of 2 epochs")
    assert made(None, tune__epochs=1).tune.epochs == 1  # one epoch curtails the warm-up


def test_what_does_not_fit_together_is_refused_at_its_trial() -> None:
    config = made("{train.epochs: {int: [2, 9]}, train.warmup_epochs: {float: [0, 4]}}")
    read(config)
    with pytest.raises(InputError, match="trial 7: train: found warmup_epochs 3 of 2 epochs"):
        settle(config, {"train.epochs": 2, "train.warmup_epochs": 3}, "trial 7")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_default_space_fits_every_shipped_config(path: Path) -> None:
    config = load([path], ["tune.space=null"])
    space = read(config)
    rng = np.random.default_rng(0)
    for _ in range(200):
        settings = walk(
            space, lambda e: int(rng.integers(len(e.values))) if isinstance(e, Choice) else rng.uniform(e.low, e.high)
        )
        settle(config, settings)
        assert "train.lr" in settings


def test_the_default_space_follows_the_config() -> None:
    assert default(made())["train.lr"]["float"] == [1e-5, 2e-2]
    assert default(made(train__optimizer="sgd", train__lr=0.1, train__min_lr=0.01))["train.lr"]["float"] == [0.01, 1.0]
    own = default(made(augment__train=[{"HorizontalFlip": {"p": 0.5}}], train__ema=False, model__pretrained=False))
    assert not {"augment.train", "train.ema_decay", "train.layer_decay"} & set(own)
    assert default(made(augment__train="digits"))["augment.train"]["choice"][0] == "digits"


def test_the_default_space_holds_what_the_config_has() -> None:
    """A study that starts from the config's own values can, as they lie in its space."""
    for config in (made(augment__train="flat_heavy"), made(train__lr=0.1), *(load([path]) for path in CONFIGS)):
        space = parse_space(default(config))
        own = config.model_dump(mode="json")
        found = {entry.key: own[entry.key.split(".")[0]][entry.key.split(".")[1]] for entry in space.all()}
        assert {entry.name for entry in space.entries} <= set(params(space, found))


def test_a_grid_is_cut_to_points() -> None:
    config = made("{train.lr: {float: [1e-4, 1e-2], log: true}, train.ema: {choice: [true, false]}}")
    assert isinstance(read(config).entries[0], Range)
    cut = read(config.model_copy(update={"tune": config.tune.model_copy(update={"sampler": "grid", "grid": 3})}))
    lr, ema = cut.entries
    assert isinstance(lr, Choice) and lr.values == pytest.approx([1e-4, 1e-3, 1e-2]) and ema == read(config).entries[1]


def test_a_space_survives_the_written_config(tmp_path: Path) -> None:
    space = """
train.ema: {choice: {true: {train.ema_decay: {float: [0.9, 0.999]}}, false: {}}}
model.size: {choice: {32: {train.batch_size: 64}, 64: null}}
model.drop_rate: {choice: {null: {}, 0.1: {}}}
"""
    config = made(space)
    (tmp_path / "config.yaml").write_text(dump(config))
    again = read(load([tmp_path / "config.yaml"]))
    assert again == read(config)
    first = again.entries[0]
    assert isinstance(first, Choice) and first.values == (True, False)
    assert Fixed("train.batch_size", 64) in list(again.all())


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"tune__sampler": "tpee"}, "tune.sampler: found 'tpee', expected a sampler; did you mean 'tpe'?"),
        ({"tune__pruner": "rase"}, "tune.pruner: found 'rase', expected a pruner; did you mean 'race'?"),
        ({"tune__folds": [0, 0]}, "tune.folds: found [0, 0], expected each fold once"),
        ({"tune__objectives": ["time"]}, "objectives: found ['time'], expected [score] or [score, time]"),
        ({"tune__objectives": ["score", "time"], "tune__sampler": "cmaes"}, "cmaes follows one objective"),
        ({"tune__objectives": ["score", "speed"]}, "tune.objectives.1: found 'speed'"),
        ({"tune__sampling": "tpe"}, "tune.sampling: unknown key; did you mean 'sampler'?"),
        ({"tune__subset": 0}, "tune.subset: found 0"),
    ],
)
def test_the_section_is_strict(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=r"a\.yaml") as caught:
        made(**changes)
    assert line in str(caught.value)


def test_the_study_lies_in_a_folder_of_its_name() -> None:
    assert made().study_dir == Path("studies/leaves")
    assert made(tune__name="first").study_dir == Path("studies/first")


def test_nothing_of_a_study_is_in_a_fingerprint_of_a_stage() -> None:
    assert not [name for name in below("tune") if KEYS[name].affects & ~Affects.STUDY]
    one, other = made(), made("train.lr: {float: [0.1, 1]}", tune__seed=3)
    assert one != other and report.fields(one) == report.fields(other)


def test_reading_a_config_does_not_import_optuna() -> None:
    loaded = "sorted({'optuna', 'torch', 'scipy'} & set(sys.modules))"
    program = f"import sys, pipeline.config.search_space.resolve; print({loaded})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""The config: strict at every depth, every problem at once, overlays and settings, the same after a round trip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from pipeline.config.config import Config
from pipeline.config.loading import dump, load, parse
from pipeline.errors import InputError

BASE: dict[str, Any] = {
    "name": "leaves",
    "data": {"root": "data/leaves", "image": "{id}.png", "target": "label"},
    "model": {"name": "resnet18"},
}
Write = Callable[[str, object], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a config file, given as text or as a tree."""

    def file(name: str, tree: object) -> Path:
        path = tmp_path / name
        path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
        return path

    return file


def changed(**settings: object) -> dict[str, Any]:
    """Return BASE with settings given as a__b=value."""
    tree: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in BASE.items()}
    for key, value in settings.items():
        inner, (*parents, last) = tree, key.split("__")
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return tree


def made(**settings: object) -> Config:
    return parse(changed(**settings), "a.yaml")


def refused(**settings: object) -> list[str]:
    """Return the defects of BASE with these settings."""
    with pytest.raises(InputError) as caught:
        made(**settings)
    assert all(defect.startswith("a.yaml: ") for defect in caught.value.lines)
    return [defect.removeprefix("a.yaml: ") for defect in caught.value.lines]


def test_the_base_is_enough() -> None:
    config = made()
    assert config.run_dir == Path("runs/leaves") and config.folds_path == Path("folds/leaves.csv")
    assert made(run="second").run_dir == Path("runs/second")
    assert made(run="second").folds_path == Path("folds/leaves.csv")


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("trian", "train"),
        ("train__learning_rates", None),
        ("train__epoch", "epochs"),
        ("data__cache__dirr", "dir"),
        ("ensemble__smoothing__alfa", "alpha"),
        ("mix__probability", None),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(key: str, near: str | None) -> None:
    (line,) = refused(**{key: 1})
    assert line.startswith(f"{key.replace('__', '.')}: unknown key; ")
    assert f"did you mean '{near}'?" in line if near else "there are: " in line


def test_every_problem_is_reported_at_once() -> None:
    lines = refused(
        model__name=3,
        train__lr=-1,
        train__schedule="cosin",
        mix__kind="cutmx",
        mix__patch="boxx",
        loss__name="crossentropy",
        metric="acuracy",
        tta=["hflp", "augment:0", "d4"],
        epochs=3,
        data__cache__dirr="x",
    )
    keys = [line.split(":")[0] for line in lines]
    rates, parts, views = ["train.lr", "train.schedule"], ["mix.kind", "mix.patch", "loss.name", "metric"], ["tta"] * 2
    assert sorted(keys) == sorted(["model.name", *rates, *parts, *views, "epochs", "data.cache.dirr"])
    text = "\n".join(lines)
    for near in ("cosine", "cutmix", "box", "cross_entropy", "accuracy", "hflip"):
        assert f"did you mean '{near}'?" in text


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InputError) as caught:
        parse({"data": {"root": "x"}}, "a.yaml")
    keys = [defect.split(": ")[1] for defect in caught.value.lines]
    assert keys == ["name", "data.image", "data.target", "model"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model__size", "large"),
        ("model__size", -3),
        ("model__size", [224, 224, 3]),
        ("model__pretrained", None),
        ("model__freeze", "head"),
        ("data__cache__size", "automatic"),
        ("folds__stratify", {"a": 1}),
        ("data__target", []),
    ],
)
def test_a_key_of_several_types_has_one_line(key: str, value: object) -> None:
    (line,) = refused(**{key: value})
    assert line.startswith(f"{key.replace('__', '.')}: found {'null' if value is None else repr(value)}; ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0, -1e-3])
@pytest.mark.parametrize("key", ["train__lr", "train__clip_grad", "mix__alpha"])
def test_rates_are_finite_and_positive(key: str, value: float) -> None:
    (line,) = refused(**{key: value})
    assert key.replace("__", ".") in line


@pytest.mark.parametrize("key", ["folds__seed", "train__seed"])
@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_are_those_that_the_libraries_take(key: str, seed: int) -> None:
    (line,) = refused(**{key: seed})
    assert line.startswith(f"{key.replace('__', '.')}: found {seed}")


@pytest.mark.parametrize("size", [0, [224, 0]])
def test_sizes_are_positive(size: object) -> None:
    assert all(line.startswith("model.size") for line in refused(model__size=size))


def test_the_lowest_rate_is_not_above_the_base_rate() -> None:
    (line,) = refused(train__lr=1e-4, train__min_lr=1e-3)
    assert "min_lr" in line and "0.0001" in line


@pytest.mark.parametrize(("warmup", "epochs"), [(3, 2), (2.0, 2)])
def test_a_warm_up_leaves_epochs_at_the_base_rate(warmup: float, epochs: int) -> None:
    (line,) = refused(train__warmup_epochs=warmup, train__epochs=epochs)
    assert line.startswith(f"train: found warmup_epochs {warmup:g} of {epochs} epochs")
    assert f"set train.warmup_epochs={epochs / 4:g} or 0" in line
    assert len(refused(train__warmup_epochs=warmup, train__epochs=epochs, train__lr=1e-4, train__min_lr=1e-3)) == 2
    own = made(train__warmup_epochs=warmup, train__epochs=epochs, train__schedule="one_cycle").train
    assert own.warmup_epochs == warmup  # one cycle warms up by itself
    for shorter in (0, epochs / 4):
        assert made(train__warmup_epochs=shorter, train__epochs=epochs).train.warmup_epochs == shorter


@pytest.mark.parametrize("section", ["train", "mix", "data__cache", "ensemble__smoothing"])
def test_a_section_that_is_null_is_refused(section: str) -> None:
    """Nothing tells whether defaults or nothing at all are meant: `augment: null` trains with neither."""
    (line,) = refused(**{section: None})
    assert line.startswith(f"{section.replace('__', '.')}: found null")
    assert "leave the section out" in line


def test_an_overlay_that_empties_a_section_is_refused(write: Write) -> None:
    base = write("base.yaml", changed(train__lr=1e-3))
    with pytest.raises(InputError, match=r"train: found null"):
        load([base, write("over.yaml", "train:\n")])
    assert load([base, write("over.yaml", "train: {}\n")]).train.lr == 1e-3


def test_overlays_change_key_by_key_and_settings_come_last(write: Write) -> None:
    base = write("base.yaml", changed(train__lr=1e-3, train__epochs=3, tta=["hflip", "vflip"], data__cache__max_gb=2))
    over = write("over.yaml", {"train": {"epochs": 5}, "tta": ["rot90"], "data": {"cache": {"dir": None}}})
    config = load([base, over], ["train.epochs=7", "model.size=[64, 32]", "mix.kind=mixup", "data.separator=' '"])
    assert (config.train.lr, config.train.epochs, config.tta) == (1e-3, 7, ["rot90"])
    assert (config.data.cache.max_gb, config.data.cache.dir) == (2, None)
    assert (config.model.size_hw, config.mix.kind, config.data.separator) == ((64, 32), "mixup", " ")
    assert load([over, base]).train.epochs == 3


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "0.0001", "1.0e-4"])
def test_a_rate_in_scientific_notation_is_a_number(text: str, write: Write) -> None:
    """YAML 1.1 reads 1e-4 as text."""
    base = write("base.yaml", BASE)
    assert load([base], [f"train.lr={text}"]).train.lr == 1e-4
    file = write("file.yaml", f"train: {{lr: {text}}}\n")
    assert load([base, file]).train.lr == 1e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.lr"], "expected key=value"),
        (["=3"], "expected key=value"),
        (["name.first=3"], "name is a value, not a section"),
        (["tta=[identity"], "not YAML; quote it"),
        (["train.lrr=3"], "train.lrr: unknown key; did you mean 'lr'?"),
    ],
)
def test_settings_are_checked(settings: list[str], message: str, write: Write) -> None:
    with pytest.raises(InputError) as caught:
        load([write("base.yaml", BASE)], settings)
    (defect,) = caught.value.lines
    assert message in defect


def test_all_bad_settings_are_listed(write: Write) -> None:
    with pytest.raises(InputError) as caught:
        load([write("base.yaml", BASE)], ["train.lr", "name.first=3"])
    assert len(caught.value.lines) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "found list, expected keys and values"),
        ("", "found NoneType, expected keys and values"),
        ("a: [1\n", "not readable as YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "not readable as YAML"),
        ("train: {lr: 1}\ntrain: {epochs: 2}\n", "the key 'train' stands twice"),
        ("train:\n  lr: 1\n  lr: 2\n", "the key 'lr' stands twice"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(text: str, message: str, write: Write) -> None:
    path = write("a.yaml", text)
    with pytest.raises(InputError) as caught:
        load([path])
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.yaml: not found"):
        load([tmp_path / "gone.yaml"])


def test_a_config_is_frozen() -> None:
    config = made()
    with pytest.raises(ValidationError):
        config.train.lr = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError):
        config.name = "other"  # type: ignore[misc]


def test_mixing_needs_two_rows() -> None:
    (line,) = refused(train__batch_size=1)
    assert line == "train.batch_size: found 1, expected at least 2: BatchNorm needs two rows in every step"
    assert made(train__batch_size=2).train.batch_size == 2


def test_views_are_expanded_once() -> None:
    assert made(tta=["augment:3"]).tta == ["augment.0", "augment.1", "augment.2"]
    config = made(tta=["hflip", "d4", "hflip"])
    assert config.tta[0] == "hflip" and len(config.tta) == 8
    assert made(tta=["hflip"]).views == ["identity", "hflip"]
    assert made(tta=["hflip", "identity"]).views == ["identity", "hflip"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model__size": [64, 48], "data__cache__size": [96, 72], "tta": ["d4", "augment:2", "crop5"]},
        {"data__target": ["a", "b"], "data__task": "multilabel", "loss__name": "binary_cross_entropy"}
        | {"metric": "mean_column_auc"},
        {"augment__train": [{"HorizontalFlip": {"p": 0.5}}, {"OneOf": {"transforms": [{"Blur": None}]}}]},
        {"train__lr": 1.2345678901234567e-5, "model__freeze": ["conv1"], "model__pretrained": "wéights.pth"},
        {"submission__columns": {"yes": "no", "007": "1e-4"}, "data__classes": ["on", "1", "null"]},
    ],
)
def test_a_dumped_config_loads_as_the_same(settings: dict[str, object], write: Write) -> None:
    config = made(**settings)
    assert load([write("run.yaml", dump(config))]) == config


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("configs/*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_configs_are_valid(path: Path) -> None:
    assert load([path]).name


def test_what_a_first_problem_hides_is_found_too() -> None:
    """Unknown keys, wrong values and contradictions between keys come in one go, none that follows from another."""
    lines = refused(
        trian={},
        model__sizee=3,
        model__thaw_epoch=3,
        loss__gamma=2,
        train__epoch=3,
        train__lr=-1,
        train__min_lr=0.5,
        data__flips_change_labels="horizontal",
        tta=["hflip"],
    )
    starts = ("trian: unknown key", "model.sizee: unknown key", "loss.gamma: found 2", "train.lr: found -1")
    starts += ("train.epoch: unknown key", "model: found thaw_epoch 3, but nothing is frozen", "tta: found hflip")
    starts += ("augment.train: found 'medium' with HorizontalFlip",)
    assert len(lines) == len(starts), lines
    assert all(any(line.startswith(start) for line in lines) for start in starts)


def test_a_wrong_task_hides_what_it_admits_and_nothing_else() -> None:
    lines = refused(data__task="multi", data__flips_change_labels="vertical", tta=["vflip"], loss__name="mse")
    assert (
        len(lines) == 2 and lines[0].startswith("data.task: found 'multi'") and lines[1].startswith("tta: found vflip")
    )

"""Join a search space to the config: keys that exist, values that it takes, the space of a user who writes none."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from pipeline.config import trees
from pipeline.config.config import Config
from pipeline.config.loading import parse
from pipeline.config.search_space import space as spaces
from pipeline.config.search_space.entries import Choice, Entry, Range
from pipeline.config.search_space.space import Settings, Space
from pipeline.errors import InputError
from pipeline.methods.mixing import MIXERS

FRAME = {  # what makes trials comparable, or is no property of a model
    "tune": "a study does not search its own settings",
    "metric": "scores of several metrics are not comparable",
    "folds": "scores on several folds are not comparable; tune.fresh_folds tries the winner on others",
    "name": "it names the folds and the study",
    "run": "trials name their runs by their settings",
    "train.seeds": "a trial has one seed; tune.fresh_seeds trains the winner on others",
    "runs_dir": "trials lie in the study's folder",
    "folds_dir": "all trials share one fold table",
    "studies_dir": "it is where the study lies",
    **{
        f"data.{key}": "it says which rows and labels are scored"
        for key in ("train", "id", "task", "target", "classes", "separator", "group")
    },
}
BUDGET = {"epochs": "train.epochs", "subset": "train.subset", "size": "model.size"}  # tune.… replaces …
ADAPTIVE = ("adam", "adan", "nadam", "radam", "lamb", "novograd", "sophia", "rmsprop", "lookahead", "adopt", "mars")


def read(config: Config) -> Space:
    """Return the space of `tune.space`, or the default one, cut to points where the sampler is `grid`.

    Raises InputError with every defect: malformed entries, unknown keys with the nearest, keys that a study
    cannot search, values that the config refuses whatever the other entries take.
    """
    tree = default(config) if config.tune.space is None else config.tune.space
    try:
        found = spaces.parse(tree)
    except ValueError as error:
        raise InputError(*(f"tune.space.{line}" for line in str(error).splitlines())) from None
    defects = list(dict.fromkeys(filter(None, (_key_problem(entry.key, config) for entry in found.all()))))
    defects = defects or _refused(found, config)
    if defects:
        raise InputError(*defects)
    return spaces.grid(found, config.tune.grid) if config.tune.sampler == "grid" else found


def budget(config: Config) -> Settings:
    """Return what `tune` fixes in every trial: epochs, subset of rows and image size, by the keys it replaces."""
    wanted = ((key, getattr(config.tune, name)) for name, key in BUDGET.items())
    return {key: value for key, value in wanted if value is not None}


def settle(config: Config, settings: Mapping[str, Any], place: str = "trial") -> Config:
    """Return the config of a trial: the settings over the budget's over the config's own.

    `tune` is back at its defaults in it, as a trial is a run like any other, and trained with `train.seed` alone.
    Raises InputError where values that are good alone do not fit together, such as a warm-up longer than the epochs
    drawn with it.
    """
    tree = config.model_dump(mode="json", exclude={"tune": True, "train": {"seeds"}})
    return parse(trees.overlaid(tree, spaces.nested(budget(config) | dict(settings))), place)


def default(config: Config) -> dict[str, Any]:
    """Return the space of a user who writes none: what moves scores most, in ranges that suit the config.

    Learning rates of adaptive optimizers and of SGD differ by two orders; a user's own list of augmentations,
    and a moving average that is off, stay as they are. Time per trial hardly varies within it.
    """
    train, preset = config.train, config.augment.train
    adaptive = any(name in train.optimizer.lower() for name in ADAPTIVE)
    rates = [1e-5, 2e-2] if adaptive else [1e-6, 2e-3] if "lion" in train.optimizer.lower() else [1e-3, 1.0]
    rates[0] = max(rates[0], train.min_lr)
    drop, alpha = config.model.drop_rate, _with(config.mix.alpha, 0.2, 2.0)
    found: dict[str, Any] = {
        "train.lr": {"float": _with(train.lr, *rates), "log": True},
        "train.weight_decay": {"float": _with(train.weight_decay or 1e-4, 1e-4, 0.3), "log": True},
        "loss.label_smoothing": {"float": _with(config.loss.label_smoothing, 0.0, 0.2)},
        "model.drop_rate": {"float": _with(drop, 0.0, 0.5)} if drop is not None else {"choice": [None, 0.1, 0.3, 0.5]},
        "mix.kind": {"choice": {"none": {}} | {kind: {"mix.alpha": {"float": alpha}} for kind in MIXERS}},
    }
    if train.ema:  # 1 − decay spreads over orders: a list keeps its steps even
        found["train.ema_decay"] = {"choice": sorted({0.9, 0.98, 0.995, 0.999, train.ema_decay})}
    if config.model.pretrained:
        found["train.layer_decay"] = {"choice": list(dict.fromkeys([train.layer_decay, None, 0.9, 0.75]))}
    if isinstance(preset, str):
        family = ("flat_light", "flat_medium", "flat_heavy") if preset.startswith("flat") else ("light", "medium")
        text = () if preset.startswith("flat") else ("text",)
        found["augment.train"] = {"choice": list(dict.fromkeys([preset, "none", *family, *text]))}
    return found


def _with(own: float, low: float, high: float) -> list[float]:
    """Return the range, wide enough for the config's own value, which is the first trial."""
    return [min(low, own), max(high, own)]


def keys(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of the config, sections too."""
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, f"{prefix}{name}.")


def _key_problem(key: str, config: Config) -> str | None:
    """Return why a key cannot be searched, or None."""
    known = list(keys())
    if key not in known:
        ends = [name for name in known if name.endswith(f".{key.rsplit('.', 1)[-1]}")]
        near = (ends if len(ends) == 1 else []) or difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known sections: {', '.join(Config.model_fields)}"
        return f"tune.space.{key}: unknown key; {hint}"
    for frame, why in FRAME.items():
        if key == frame or key.startswith(f"{frame}.") or frame.startswith(f"{key}."):
            return f"tune.space.{key}: cannot be searched: {why}"
    for name, fixed in BUDGET.items():
        if getattr(config.tune, name) is not None and (key == fixed or fixed.startswith(f"{key}.")):
            return f"tune.space.{key}: searched, while tune.{name} fixes it; leave one of them out"
    return None


def _refused(space: Space, config: Config) -> list[str]:
    """Return the values that the config refuses, whatever value the other entries take."""
    try:
        settle(config, {}, "tune")
    except InputError as error:
        return list(error.lines)  # the budget does not fit the config: every trial would fail
    defects: list[str] = []
    for entry in space.entries:
        defects += _refused_by(entry, {}, space, config)
    return list(dict.fromkeys(defects))


def _refused_by(entry: Entry, above: dict[str, Any], space: Space, config: Config) -> list[str]:
    """Try an entry's values, each under the choices that open it, and what they open in turn."""
    defects: list[str] = []
    if isinstance(entry, Range):
        for value in dict.fromkeys((entry.low, entry.middle, entry.high)):
            defects += _problem(entry, {**above, entry.name: value}, space, config)
    elif isinstance(entry, Choice):
        for index, opened in enumerate(entry.opens):
            picked = {**above, entry.name: index}
            problems = _problem(entry, picked, space, config)
            defects += problems
            if not problems:  # else all that it opens would be refused for the same reason
                for inner in opened:
                    defects += _refused_by(inner, picked, space, config)
    return defects


def _problem(entry: Range | Choice, picked: dict[str, Any], space: Space, config: Config) -> list[str]:
    """Return the defects of the picked values where no setting of the other entries makes them valid."""
    value = entry.values[picked[entry.name]] if isinstance(entry, Choice) else picked[entry.name]
    first: list[str] = []
    for other in (None, "low", "middle", "high"):  # None: as in the config

        def pick(asked: Range | Choice, other: str | None = other) -> Any:
            if asked.name in picked or other is None:
                return picked.get(asked.name)
            if isinstance(asked, Range):
                return getattr(asked, other)
            return {"low": 0, "middle": len(asked.values) // 2, "high": len(asked.values) - 1}[other]

        try:
            settle(config, spaces.walk(space, pick), f"tune.space.{entry.key} at {value!r}")
        except InputError as error:
            first = first or list(error.lines)
        else:
            return []
    return first

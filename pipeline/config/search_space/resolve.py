"""Join a search space to the config: keys that exist, values that it takes, the space of a user who writes none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.config import trees
from pipeline.config.config import Config
from pipeline.config.keys import KEYS, affecting
from pipeline.config.loading import parse
from pipeline.config.search_space import space as spaces
from pipeline.config.search_space.entries import Choice, Entry, Fixed, Range
from pipeline.config.search_space.space import Settings, Space
from pipeline.config.sections.section import Affects
from pipeline.errors import InputError, Problem, Refused, nearest
from pipeline.methods.mixing import MIXERS

NOT_SEARCHED = {  # what makes trials comparable, or is no property of a model
    "tune": "a study does not search its own settings",
    "metric": "scores of several metrics are not comparable",
    "folds": "scores on several folds are not comparable; tune.fresh_folds tries the winner on others",
    "name": "it names the folds and the study",
    "run": "trials name their runs by their settings",
    "train.seeds": "a trial has one seed; tune.fresh_seeds trains the winner on others",
    "runs_dir": "trials lie in the study's folder",
    "folds_dir": "all trials share one fold table",
    "studies_dir": "it is where the study lies",
    **{key: "it says which rows and labels are scored" for key in affecting(Affects.FOLDS) if key.startswith("data.")},
}
BUDGET = {"epochs": "train.epochs", "subset": "train.subset", "size": "model.size"}  # tune.… replaces …
ADAPTIVE = ("adam", "adan", "nadam", "radam", "lamb", "novograd", "sophia", "rmsprop", "lookahead", "adopt", "mars")


def read(config: Config) -> Space:
    """Return the space of `tune.space`, or the default one, cut to points where the sampler is `grid`.

    Raises InputError with every problem: malformed entries, unknown keys with the nearest, keys that a study
    cannot search, values that the config refuses whatever the other entries take.
    """
    tree = default(config) if config.tune.space is None else config.tune.space
    try:
        found = spaces.parse(tree)
    except Refused as error:
        raise InputError(*(problem.below("tune.space") for problem in error.problems)) from None
    if problems := _key_problems(found, config) or _value_problems(found, config):
        raise InputError(*dict.fromkeys(problems))
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
    drop, alpha = config.model.drop_rate, _including(config.mix.alpha, 0.2, 2.0)
    found: dict[str, Any] = {
        "train.lr": {"float": _including(train.lr, *rates), "log": True},
        "train.weight_decay": {"float": _including(train.weight_decay or 1e-4, 1e-4, 0.3), "log": True},
        "loss.label_smoothing": {"float": _including(config.loss.label_smoothing, 0.0, 0.2)},
        "model.drop_rate": {"float": _including(drop, 0.0, 0.5)}
        if drop is not None
        else {"choice": [None, 0.1, 0.3, 0.5]},
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


def _including(value: float, low: float, high: float) -> list[float]:
    """Return the range, wide enough for the config's value, which is the first trial."""
    return [min(low, value), max(high, value)]


def keys() -> list[str]:
    """Return every dotted key of the config, sections too."""
    names = [key.split(".") for key in KEYS]
    return list(dict.fromkeys(".".join(name[:depth]) for name in names for depth in range(1, len(name) + 1)))


def _key_problems(space: Space, config: Config) -> list[Problem]:
    """Return which keys of a space do not exist, or cannot be searched."""
    known, problems = keys(), []
    fixed = {key: name for name, key in BUDGET.items() if getattr(config.tune, name) is not None}
    for entry in space.all():
        key, place = entry.key, f"tune.space.{entry.key}"
        if key not in known:
            ends = [name for name in known if name.endswith(f".{key.rsplit('.', 1)[-1]}")]
            near = f"did you mean '{ends[0]}'?" if len(ends) == 1 else nearest(key, known)
            problems.append(Problem(place, "unknown key", remedy=near))
        elif (one := _overlapping(key, NOT_SEARCHED)) is not None:
            problems.append(Problem(place, f"cannot be searched: {NOT_SEARCHED[one]}"))
        elif (one := _overlapping(key, fixed)) is not None:
            problems.append(Problem(place, f"searched, while tune.{fixed[one]} fixes it; leave one of them out"))
    return problems


def _overlapping(key: str, others: Iterable[str]) -> str | None:
    """Return the first of the others that is the key, lies in it or has it inside."""
    return next((one for one in others if f"{key}.".startswith(f"{one}.") or one.startswith(f"{key}.")), None)


def _value_problems(space: Space, config: Config) -> list[Problem]:
    """Return what the config refuses, whatever value the other entries take."""
    try:
        settle(config, {}, "tune")
    except InputError as error:
        return list(error.problems)  # the budget does not fit the config: every trial would fail
    return _refused(space.entries, {}, space, config)


def _refused(entries: Sequence[Entry], above: dict[str, Any], space: Space, config: Config) -> list[Problem]:
    """Try the entries' values, each under the choices that open it, and what they open in turn."""
    problems: list[Problem] = []
    for entry in entries:
        if isinstance(entry, Fixed):
            continue
        for value in _probes(entry):
            picked = {**above, entry.name: value}
            found = _problems(entry, picked, space, config)
            problems += found
            if isinstance(entry, Choice) and not found:  # else all that it opens is refused for the same reason
                problems += _refused(entry.opens[value], picked, space, config)
    return problems


def _problems(entry: Range | Choice, picked: dict[str, Any], space: Space, config: Config) -> list[Problem]:
    """Return what is wrong with the picked values where no setting of the other entries makes them valid."""
    value = entry.values[picked[entry.name]] if isinstance(entry, Choice) else picked[entry.name]
    first: list[Problem] = []
    for share in (None, 0.0, 0.5, 1.0):  # of the way through the others' values; None: as in the config

        def pick(other: Range | Choice, share: float | None = share) -> Any:
            if other.name in picked or share is None:
                return picked.get(other.name)
            values = _probes(other)
            return values[round(share * (len(values) - 1))]

        try:
            settle(config, spaces.walk(space, pick), f"tune.space.{entry.key} at {value!r}")
        except InputError as error:
            first = first or list(error.problems)
        else:
            return []
    return first


def _probes(entry: Range | Choice) -> Sequence[Any]:
    """Return what is tried of an entry: all of a choice, both ends and the middle of a range."""
    return range(len(entry.values)) if isinstance(entry, Choice) else entry.spread(3)

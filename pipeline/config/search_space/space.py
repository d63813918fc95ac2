"""Say in plain values what a study searches: entries keyed by dotted config paths.

    train.lr: {float: [1.0e-5, 1.0e-2], log: true}      # also step: 0.05
    train.batch_size: {int: [16, 64], step: 16}
    augment.train: {choice: [none, light]}
    model.name:
      choice:                                           # a choice may open others
        resnet18: {model.drop_rate: {float: [0, 0.3]}}  # searched where resnet18 is chosen
        convnext_atto: {train.layer_decay: 0.8}         # set where convnext_atto is chosen

A choice's values that open something are the keys of a mapping, texts read as YAML does: 32 is a number.
Which keys a config has and which values it takes is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.config.search_space import entries
from pipeline.config.search_space.entries import Choice, Entry, Fixed, Range
from pipeline.errors import Problem, Refused

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Settings = dict[str, Any]  # dotted key -> value
Pick = Callable[[Range | Choice], Any]  # a number of a range, the number of a choice's value, or None: leave it out


@dataclass(frozen=True)
class Space:
    """Hold the entries of a space, in the order in which they were written."""

    entries: tuple[Entry, ...]

    def all(self) -> list[Entry]:
        """Return every entry, those that choices open behind their choice."""
        return [entry for entry, _ in entries.every(self.entries)]


def parse(space: Mapping[str, Any]) -> Space:
    """Read a space; raise Refused with everything that is wrong with it."""
    if not space:
        example = "a key such as train.lr: {float: [1.0e-5, 1.0e-2], log: true}"
        raise Refused(Problem("", "found no entry", example))
    found = entries.read(space)
    if problems := entries.clashes(found):
        raise Refused(*problems)
    keys = [entry.key for entry, _ in entries.every(found) if not isinstance(entry, Fixed)]
    return Space(_named(found, {key for key in keys if keys.count(key) > 1}))


def walk(space: Space, pick: Pick) -> Settings:
    """Return the settings that `pick` makes; what a choice opens is asked after it."""
    return _walk(space.entries, pick)


def suggest(space: Space, trial: BaseTrial) -> Settings:
    """Ask an Optuna trial for every entry that its choices leave open; return key -> value.

    Parameters are named by their keys, in several branches with the branch behind it: ranges may then differ.
    """

    def ask(entry: Range | Choice) -> Any:
        if isinstance(entry, Choice):
            return entry.picked(trial.suggest_categorical(entry.name, entry.labels))
        if entry.whole:
            ends, step = (int(entry.low), int(entry.high)), int(entry.step or 1)
            return trial.suggest_int(entry.name, *ends, step=step, log=entry.log)
        return entry.picked(trial.suggest_float(entry.name, entry.low, entry.high, step=entry.step, log=entry.log))

    return _walk(space.entries, ask)


def settings(space: Space, params: Mapping[str, Any]) -> Settings:
    """Return the settings of a finished trial's `params`; raise KeyError where they are of another space."""
    return _walk(space.entries, lambda entry: entry.picked(params[entry.name]))


def params(space: Space, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters for `study.enqueue_trial` whose settings are nearest to `found`, dotted key -> value.

    A key that is missing, a value outside its range or no choice: the entry is left to the sampler, and so is
    what it would open.
    """
    named: dict[str, Any] = {}

    def pick(entry: Range | Choice) -> Any:
        value = found.get(entry.key)
        if isinstance(entry, Choice):
            if entry.key not in found or value not in entry.values:
                return None
            index = entry.values.index(value)
            named[entry.name] = entry.labels[index]
            return index
        if isinstance(value, bool) or not isinstance(value, int | float) or not entry.low <= value <= entry.high:
            return None
        named[entry.name] = entry.picked(value)
        return value

    _walk(space.entries, pick)
    return named


def grid(space: Space, points: int) -> Space:
    """Return the space with each range cut to evenly spread values, in the logarithm where `log` says so."""

    def cut(entry: Entry) -> Entry:
        if isinstance(entry, Range):
            values = entry.spread(points)
            return Choice(entry.key, values, ((),) * len(values), entry.name)
        if isinstance(entry, Choice):
            return replace(entry, opens=tuple(tuple(map(cut, opened)) for opened in entry.opens))
        return entry

    return Space(tuple(map(cut, space.entries)))


def nested(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as the tree of an overlay; a section's keys are set one by one."""
    tree: dict[str, Any] = {}
    for key, value in found.items():
        *parents, last = key.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = value
    return tree


def _walk(space: Sequence[Entry], pick: Pick) -> Settings:
    found: Settings = {}
    for entry in space:
        if isinstance(entry, Fixed):
            found[entry.key] = entry.value
        elif (picked := pick(entry)) is not None:
            found[entry.key] = entry.values[picked] if isinstance(entry, Choice) else picked
            found |= _walk(entry.opens[picked], pick) if isinstance(entry, Choice) else {}
    return found


def _named(space: Sequence[Entry], several: Collection[str], branch: str = "") -> tuple[Entry, ...]:
    """Name the parameters: Optuna wants the same choices whenever it hears a name again."""
    named: list[Entry] = []
    for entry in space:
        if isinstance(entry, Choice):
            inside = [f"{branch}, {entry.key}={label}".removeprefix(", ") for label in entry.labels]
            opens = (_named(*opened) for opened in zip(entry.opens, [several] * len(inside), inside, strict=True))
            entry = replace(entry, opens=tuple(opens))
        if not isinstance(entry, Fixed) and branch and entry.key in several:
            entry = replace(entry, name=f"{entry.key} ({branch})")
        named.append(entry)
    return tuple(named)

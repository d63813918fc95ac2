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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.config.search_space import entries
from pipeline.config.search_space.entries import Choice, Entry, Fixed, Range

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Settings = dict[str, Any]  # dotted key -> value
Pick = Callable[[Range | Choice], Any]  # a number of a range, the number of a choice's value, or None: leave it out


@dataclass(frozen=True)
class Space:
    """Hold the entries of a space, in the order in which they were written."""

    entries: tuple[Entry, ...]

    @property
    def branches(self) -> bool:
        """Tell whether a choice opens others."""
        return any(any(entry.opens) for entry in self.entries if isinstance(entry, Choice))

    @property
    def points(self) -> int | None:
        """Return the number of different settings, or None where a range without steps makes them endless."""
        return _points(self.entries)

    def all(self) -> Iterator[Entry]:
        """Yield every entry, those that choices open behind their choice."""
        return _all(self.entries)


def parse(space: Mapping[str, Any]) -> Space:
    """Read a space; raise ValueError with every defect, one per line: `key: found, expected`."""
    defects: list[str] = []
    found = entries.read(space, defects)
    if not space:
        defects.append("found no entry, expected a key such as train.lr: {float: [1.0e-5, 1.0e-2], log: true}")
    entries.clashes(found, defects)
    if defects:
        raise ValueError("\n".join(dict.fromkeys(defects)))
    return Space(_named(found, _several(found)))


def walk(space: Space, pick: Pick) -> Settings:
    """Return the settings that `pick` makes; what a choice opens is asked after it."""
    return _walk(space.entries, pick)


def suggest(space: Space, trial: BaseTrial) -> Settings:
    """Ask an Optuna trial for every entry that its choices leave open; return key -> value.

    Parameters are named by their keys, in several branches with the branch behind it: ranges may then differ.
    """

    def pick(entry: Range | Choice) -> Any:
        if isinstance(entry, Choice):
            return entry.labels.index(trial.suggest_categorical(entry.name, entry.labels))
        if entry.whole:
            low, high, step = int(entry.low), int(entry.high), int(entry.step or 1)
            return trial.suggest_int(entry.name, low, high, step=step, log=entry.log)
        return entry.tidy(trial.suggest_float(entry.name, entry.low, entry.high, step=entry.step, log=entry.log))

    return _walk(space.entries, pick)


def settings(space: Space, params: Mapping[str, Any]) -> Settings:
    """Return the settings of a finished trial's `params`; raise KeyError where they are of another space."""

    def pick(entry: Range | Choice) -> Any:
        value = params[entry.name]
        if isinstance(entry, Range):
            return entry.tidy(value)
        if value not in entry.labels:
            raise KeyError(f"{entry.name}: found {value!r}, expected one of {list(entry.labels)}")
        return entry.labels.index(value)

    return _walk(space.entries, pick)


def params(space: Space, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters for `study.enqueue_trial` whose settings are nearest to `found`, dotted key -> value.

    A key that is missing, a value outside its range or no choice: the entry is left to the sampler, and so is
    what it would open.
    """
    named: dict[str, Any] = {}

    def pick(entry: Range | Choice) -> Any:
        value = found.get(entry.key)
        if isinstance(entry, Choice):
            index = next((i for i, known in enumerate(entry.values) if entry.key in found and known == value), None)
            if index is not None:
                named[entry.name] = entry.labels[index]
            return index
        if isinstance(value, bool) or not isinstance(value, int | float) or not entry.low <= value <= entry.high:
            return None
        named[entry.name] = entry.nearest(value)
        return value

    _walk(space.entries, pick)
    return named


def grid(space: Space, points: int) -> Space:
    """Return the space with each range cut to evenly spread values, in the logarithm where `log` says so.

    Ranges with fewer steps, or fewer whole numbers, keep those they have.
    """
    return Space(tuple(_gridded(entry, points) for entry in space.entries))


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
            continue
        picked = pick(entry)
        if picked is None:
            continue
        if isinstance(entry, Choice):
            found[entry.key] = entry.values[picked]
            found |= _walk(entry.opens[picked], pick)
        else:
            found[entry.key] = picked
    return found


def _all(space: Sequence[Entry]) -> Iterator[Entry]:
    for entry in space:
        yield entry
        if isinstance(entry, Choice):
            for opened in entry.opens:
                yield from _all(opened)


def _points(space: Sequence[Entry]) -> int | None:
    total = 1
    for entry in space:
        if isinstance(entry, Choice):
            counts = [_points(opened) for opened in entry.opens]
            here = None if None in counts else sum(count for count in counts if count is not None)
        else:
            here = 1 if isinstance(entry, Fixed) else entry.count
        if here is None:
            return None
        total *= here
    return total


def _several(space: Sequence[Entry]) -> set[str]:
    """Return the keys that stand in more than one branch."""
    keys = [entry.key for entry in _all(space) if not isinstance(entry, Fixed)]
    return {key for key in keys if keys.count(key) > 1}


def _named(space: Sequence[Entry], several: set[str], branch: str = "") -> tuple[Entry, ...]:
    """Name the parameters: Optuna wants the same choices whenever it hears a name again."""
    named: list[Entry] = []
    for entry in space:
        if isinstance(entry, Fixed):
            named.append(entry)
            continue
        name = f"{entry.key} ({branch})" if branch and entry.key in several else entry.key
        if isinstance(entry, Choice):
            inner = f"{branch}, " if branch else ""
            opens = tuple(
                _named(opened, several, f"{inner}{entry.key}={label}")
                for opened, label in zip(entry.opens, entry.labels, strict=True)
            )
            entry = replace(entry, opens=opens)
        named.append(replace(entry, name=name))
    return tuple(named)


def _gridded(entry: Entry, points: int) -> Entry:
    if isinstance(entry, Fixed):
        return entry
    if isinstance(entry, Choice):
        opens = tuple(tuple(_gridded(inner, points) for inner in opened) for opened in entry.opens)
        return replace(entry, opens=opens)
    values = entry.spread(points)
    return Choice(entry.key, values, ((),) * len(values), entry.name)

"""Read the entries of a search space: a range of numbers, a choice that may open others, or a fixed value."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np

from pipeline.config.trees import parsed
from pipeline.errors import Problem, Refused, nearest

Item = TypeVar("Item")
Made = TypeVar("Made")
OPTIONS = {"float": ("log", "step"), "int": ("log", "step"), "choice": ()}
EXPECTED = "{float: [low, high]}, {int: [low, high]} or {choice: [value, …]}"


@dataclass(frozen=True)
class Range:
    """Hold a range of numbers, both ends included."""

    key: str
    low: float
    high: float
    whole: bool = False
    log: bool = False
    step: float | None = None  # 1 or more in a range of whole numbers
    name: str = ""  # of Optuna's parameter

    def picked(self, value: float) -> float:
        """Return the value of the range next to one inside it, without the noise of adding steps: 0.3, not 0.30…04."""
        if self.step is None:
            return float(value)
        found = _exact(self.low) + round((value - self.low) / self.step) * _exact(self.step)
        return int(found) if self.whole else float(found)

    def spread(self, points: int) -> tuple[float, ...]:
        """Return at most `points` values from end to end, evenly, in the logarithm where `log` says so.

        A range with fewer steps has all of them.
        """
        few = self.step is not None and (self.high - self.low) / self.step + 1 <= points
        evenly = np.geomspace if self.log and not few else np.linspace
        return tuple(dict.fromkeys(self.picked(value) for value in evenly(self.low, self.high, points).tolist()))


@dataclass(frozen=True)
class Choice:
    """Hold values, and for each the entries that it opens."""

    key: str
    values: tuple[Any, ...]
    opens: tuple[tuple[Entry, ...], ...]
    name: str = ""

    @property
    def labels(self) -> tuple[Any, ...]:
        """Return the values as Optuna stores them: what is no text, number, truth value or null is its JSON."""
        plain = (str, int, float, bool, type(None))
        return tuple(v if isinstance(v, plain) else json.dumps(v, sort_keys=True) for v in self.values)

    def picked(self, label: Any) -> int:
        """Return the number of a stored value; raise KeyError where it is none of this choice."""
        if label not in self.labels:
            raise KeyError(f"{self.name}: found {label!r}, expected one of {list(self.labels)}")
        return self.labels.index(label)


@dataclass(frozen=True)
class Fixed:
    """Hold a value that is set where a choice opens it."""

    key: str
    value: Any


Entry = Range | Choice | Fixed
Branch = dict[str, int]  # key of a choice -> number of the value that opens an entry


def read(space: Mapping[Any, Any], opened: bool = False) -> tuple[Entry, ...]:
    """Return the entries; raise Refused with what is wrong with any of them."""
    return _each(lambda pair: _entry(str(pair[0]), pair[1], opened), space.items())


def every(space: Sequence[Entry], branch: Branch | None = None) -> Iterator[tuple[Entry, Branch]]:
    """Yield every entry with the choices that open it, those inside a choice behind it."""
    for entry in space:
        yield entry, branch or {}
        for index, opened in enumerate(entry.opens if isinstance(entry, Choice) else ()):
            yield from every(opened, {**(branch or {}), entry.key: index})


def clashes(space: Sequence[Entry]) -> list[Problem]:
    """Return the keys that two entries would set in one trial."""
    problems = []
    for (one, first), (other, second) in itertools.combinations(every(space), 2):
        meet = all(second.get(key, index) == index for key, index in first.items())
        if meet and (f"{one.key}.".startswith(f"{other.key}.") or f"{other.key}.".startswith(f"{one.key}.")):
            also = "" if one.key == other.key else f", also by {one.key}"
            problems.append(Problem(other.key, f"set twice in one trial{also}", remedy="keep one of them"))
    return list(dict.fromkeys(problems))


def _each(function: Callable[[Item], Made], items: Iterable[Item]) -> tuple[Made, ...]:
    """Return what the function makes of each; raise Refused with the problems of all."""
    made: list[Made] = []
    problems: list[Problem] = []
    for item in items:
        try:
            made.append(function(item))
        except Refused as error:
            problems += error.problems
    if problems:
        raise Refused(*problems)
    return tuple(made)


def _entry(key: str, value: Any, opened: bool) -> Entry:
    if not isinstance(value, Mapping):
        if opened:
            return Fixed(key, value)
        raise Refused(Problem(key, f"found {value!r}", EXPECTED, "a fixed value belongs in the config itself"))
    kinds = [kind for kind in OPTIONS if kind in value]
    if len(kinds) != 1:
        found = f"found the keys {', '.join(map(str, value))}" if value else "found nothing"
        raise Refused(Problem(key, found, EXPECTED))
    kind = kinds[0]
    unknown = [str(option) for option in value if option not in (kind, *OPTIONS[kind])]
    if unknown:
        raise Refused(*(Problem(f"{key}.{one}", "unknown", remedy=nearest(one, OPTIONS[kind])) for one in unknown))
    return _choice(key, value["choice"]) if kind == "choice" else _range(key, kind == "int", value[kind], value)


def _choice(key: str, values: Any) -> Choice:
    if not isinstance(values, list | Mapping) or not values:
        raise Refused(Problem(key, f"found {values!r}", "a list of values, or a mapping of values to what they open"))
    found = [_scalar(name) for name in values] if isinstance(values, Mapping) else values
    if twice := [value for number, value in enumerate(found) if value in found[:number]]:
        raise Refused(*(Problem(key, f"{value!r} stands twice among the choices") for value in twice))

    def opened(name: Any) -> tuple[Entry, ...]:
        inner = values[name]
        if inner is not None and not isinstance(inner, Mapping):
            raise Refused(Problem(key, f"'{name}' opens {inner!r}", "keys and entries, or {} for nothing"))
        return read(inner or {}, opened=True)

    opens = _each(opened, values) if isinstance(values, Mapping) else ((),) * len(values)
    return Choice(key, tuple(found), opens, key)


def _range(key: str, whole: bool, ends: Any, options: Mapping[str, Any]) -> Range:
    log, given, kind = options.get("log", False), options.get("step"), "whole number" if whole else "number"
    numbers = [_number(end, whole) for end in ends] if isinstance(ends, list) else []
    low, high = numbers if len(numbers) == 2 else (None, None)
    step = _number(1 if whole and given is None else given, whole)
    problems = []
    if low is None or high is None:
        problems.append(Problem(key, f"found {ends!r}", f"[low, high], two {kind}s"))
    elif low > high:
        problems.append(Problem(key, f"found [{low:g}, {high:g}]", "the lower end first"))
    elif log is True and low <= 0:
        problems.append(Problem(key, f"found the lower end {low:g}", "one above 0 as log is true"))
    elif given is not None and step is not None and step > high - low:
        problems.append(Problem(f"{key}.step", f"found {step:g}", f"at most {high - low:g}, from end to end"))
    if not isinstance(log, bool):
        problems.append(Problem(f"{key}.log", f"found {log!r}", "true or false"))
    if given is not None and (step is None or step <= 0):
        problems.append(Problem(f"{key}.step", f"found {given!r}", f"a {kind} above 0"))
    elif log is True and step not in (None, 1 if whole else None):
        problems.append(Problem(f"{key}.step", f"found {step:g}", "none as log is true"))
    if problems or low is None or high is None:
        raise Refused(*problems)
    if step is not None:  # the last step that fits; Optuna would shorten the range with a warning
        steps = (_exact(high) - _exact(low)) // _exact(step)
        high = (int if whole else float)(_exact(low) + steps * _exact(step))
    return Range(key, low, high, whole, log, step, key)


def _number(value: Any, whole: bool) -> float | None:
    """Return a finite number, or None; YAML reads 1e-4 as a text."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number) or (whole and number != int(number)):
        return None
    return int(number) if whole else number


def _scalar(name: Any) -> Any:
    """Read a mapping's key as YAML would read a value: a config written out has texts for keys."""
    try:
        value = parsed(name) if isinstance(name, str) else name
    except ValueError:
        return name
    return value if value is None or isinstance(value, int | float | bool) else name


def _exact(value: float) -> Decimal:
    return Decimal(str(value))

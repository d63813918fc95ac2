"""Read one entry of a search space: a range of numbers, a choice that may open others, or a fixed value."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml

KINDS = ("float", "int", "choice")
OPTIONS = {"float": ("log", "step"), "int": ("log", "step"), "choice": ()}
EXPECTED = "expected {float: [low, high]}, {int: [low, high]} or {choice: [value, …]}"


@dataclass(frozen=True)
class Range:
    """Hold a range of numbers, both ends included."""

    key: str
    low: float
    high: float
    whole: bool = False
    log: bool = False
    step: float | None = None
    name: str = ""  # of Optuna's parameter

    @property
    def count(self) -> int | None:
        """Return how many values it has, None where they are endless."""
        step = self.step or (1 if self.whole else None)
        return None if step is None else int((_exact(self.high) - _exact(self.low)) / _exact(step)) + 1

    @property
    def middle(self) -> float:
        """Return a value between the ends, no whole number unless the range is of those."""
        return self.spread(3)[1] if self.count is None else self._at((self.count or 1) // 2)

    def spread(self, points: int) -> tuple[float, ...]:
        """Return at most `points` values from end to end, evenly, in the logarithm where `log` says so."""
        if points < 2 or self.low == self.high:
            return (self.low,)
        shares = [n / (points - 1) for n in range(points)]
        if self.count is not None and self.count <= points:
            return tuple(self._at(n) for n in range(self.count))
        if self.log:
            ratio = math.log(self.high / self.low)
            values = [self.low * math.exp(ratio * share) for share in shares]
        else:
            values = [self.low + (self.high - self.low) * share for share in shares]
        values[-1] = self.high
        return tuple(dict.fromkeys(self.nearest(value) for value in values))

    def nearest(self, value: float) -> float:
        """Return the value of the range next to one inside it."""
        if self.count is None:
            return float(value)
        step = _exact(self.step or 1)
        return self._at(int(((_exact(value) - _exact(self.low)) / step).to_integral_value()))

    def tidy(self, value: float) -> float:
        """Return a suggested value without the last digits' noise of adding steps: 0.3, not 0.30000000000000004."""
        return value if self.step is None and not self.whole else self.nearest(value)

    def _at(self, number: int) -> float:
        value = _exact(self.low) + number * _exact(self.step or 1)
        return int(value) if self.whole else float(value)


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


@dataclass(frozen=True)
class Fixed:
    """Hold a value that is set where a choice opens it."""

    key: str
    value: Any


Entry = Range | Choice | Fixed


def read(space: Mapping[Any, Any], defects: list[str], opened: bool = False) -> tuple[Entry, ...]:
    """Return the entries that can be read; add what is wrong with the others."""
    found = (_entry(str(key), value, defects, opened) for key, value in space.items())
    return tuple(entry for entry in found if entry is not None)


def clashes(space: Sequence[Entry], defects: list[str], above: tuple[str, ...] = ()) -> set[str]:
    """Add the keys that two entries would set in one trial; return all keys of the space."""
    seen: set[str] = set(above)
    mine: set[str] = set()
    for entry in space:
        keys = {entry.key}
        if isinstance(entry, Choice):
            for opened in entry.opens:
                keys |= clashes(opened, defects, (*above, entry.key))
        for key in sorted(keys):
            if twice := next((other for other in sorted(seen) if _overlap(key, other)), None):
                other = "" if twice == key else f", inside of which it is, or the other way round: {twice}"
                defects.append(f"{key}: set twice in one trial{other}; keep one of them")
        seen |= keys
        mine |= keys
    return mine


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _entry(key: str, value: Any, defects: list[str], opened: bool) -> Entry | None:
    if not isinstance(value, Mapping):
        if opened:
            return Fixed(key, value)
        defects.append(f"{key}: found {value!r}, {EXPECTED}; a fixed value belongs in the config itself")
        return None
    kinds = [kind for kind in KINDS if kind in value]
    if len(kinds) != 1:
        defects.append(f"{key}: found {'the keys ' + ', '.join(map(str, value)) if value else 'nothing'}, {EXPECTED}")
        return None
    kind, before = kinds[0], len(defects)
    for option in value:
        if option != kind and option not in OPTIONS[kind]:
            near = difflib.get_close_matches(str(option), OPTIONS[kind], n=1)
            known = f"known beside {kind}: {', '.join(OPTIONS[kind]) or 'nothing'}"
            defects.append(f"{key}.{option}: unknown; " + (f"did you mean '{near[0]}'?" if near else known))
    entry = _choice(key, value["choice"], defects) if kind == "choice" else _range(key, kind, value, defects)
    return entry if len(defects) == before else None


def _choice(key: str, values: Any, defects: list[str]) -> Choice | None:
    if not isinstance(values, list | Mapping) or not values:
        defects.append(f"{key}: found {values!r}, expected a list of values, or a mapping of values to what they open")
        return None
    opens: list[tuple[Entry, ...]] = []
    if isinstance(values, list):
        found, opens = values, [()] * len(values)
    else:
        found = [_scalar(name) for name in values]
        for name, inner in values.items():
            if inner is not None and not isinstance(inner, Mapping):
                defects.append(f"{key}: '{name}' opens {inner!r}, expected keys and entries, or {{}} for nothing")
                inner = None
            opens.append(read(inner or {}, defects, opened=True))
    defects += [
        f"{key}: {value!r} stands twice among the choices" for i, value in enumerate(found) if value in found[:i]
    ]
    return Choice(key, tuple(found), tuple(opens), key)


def _range(key: str, kind: str, value: Mapping[str, Any], defects: list[str]) -> Range | None:
    whole, log = kind == "int", value.get("log", False)
    ends, step = value[kind], value.get("step")
    numbers = [_number(end, whole) for end in ends] if isinstance(ends, list) and len(ends) == 2 else [None]
    before = len(defects)
    if None in numbers:
        defects.append(f"{key}: found {ends!r}, expected [low, high], two {'whole ' if whole else ''}numbers")
    if not isinstance(log, bool):
        defects.append(f"{key}.log: found {log!r}, expected true or false")
    stride = _number(step, whole) if step is not None else None
    if step is not None and (stride is None or stride <= 0):
        defects.append(f"{key}.step: found {step!r}, expected a {'whole ' if whole else ''}number above 0")
    if len(defects) > before:
        return None
    low, high = (number for number in numbers if number is not None)
    if low > high:
        defects.append(f"{key}: found [{low:g}, {high:g}], expected the lower end first")
    elif stride is not None and stride > high - low:
        defects.append(f"{key}.step: found {stride:g}, expected at most {high - low:g}, from end to end")
    if log and low <= 0:
        defects.append(f"{key}: found the lower end {low:g}, expected one above 0 as log is true")
    if log and stride not in (None, 1 if whole else None):
        defects.append(f"{key}.step: found {stride:g}, expected none as log is true")
    if len(defects) > before:
        return None
    if stride is not None:  # the last step that fits; Optuna would shorten the range with a warning
        steps = (_exact(high) - _exact(low)) // _exact(stride)
        last = _exact(low) + steps * _exact(stride)
        high = int(last) if whole else float(last)
    return Range(key, low, high, whole, log, stride, key)


def _number(value: Any, whole: bool) -> float | None:
    """Return a finite number; YAML reads 1e-4 as a text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if whole:
        return int(value) if value == int(value) else None
    return float(value)


def _scalar(name: Any) -> Any:
    """Read a mapping's key as YAML would read a value: a config written out has texts for keys."""
    if not isinstance(name, str):
        return name
    try:
        value = yaml.safe_load(name)
    except yaml.YAMLError:
        return name
    return value if value is None or isinstance(value, int | float | bool) else name


def _exact(value: float) -> Decimal:
    return Decimal(str(value))

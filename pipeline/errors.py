"""Say what is wrong in one way, and end with an exit code that tells the kind.

A problem is one line: the place, what was found there, what was expected, the remedy. Whoever looks for problems
collects them; whoever cannot go on raises all of them at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

T = TypeVar("T")
SHOWN = 5  # names of a long list that a message gives


@dataclass(frozen=True)
class Problem:
    """Say what is wrong at one place: a file with its row, or a config key."""

    place: str  # blank: the place is said by whoever called
    found: str
    expected: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{self.place}: {self.found}" if self.place else self.found
        text += f", expected {self.expected}" if self.expected else ""
        return text + (f"; {self.remedy}" if self.remedy else "")

    def below(self, place: str, joint: str = ".") -> Problem:
        """Return the problem with its place inside another one: `lr` below `train` is `train.lr`."""
        return replace(self, place=f"{place}{joint}{self.place}" if self.place else place)


class Refused(ValueError):
    """Carry the problems of a value whose place the caller knows."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)  # what it is made anew from in another process
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def problems_of(error: ValueError) -> tuple[Problem, ...]:
    """Return what an error says is wrong, its places as far as it knows them."""
    return error.problems if isinstance(error, Refused) else (Problem("", str(error)),)


class FoldlineError(Exception):
    """Carry every problem found."""

    exit_code = 1

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)  # what it is made anew from in another process
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        """Return a line for each problem."""
        return [str(problem) for problem in self.problems]


class InputError(FoldlineError):
    """The user's input or config is wrong."""

    exit_code = 2


class MismatchError(FoldlineError):
    """Our own files do not fit together: hashes, fingerprints, members, NaN in predictions."""

    exit_code = 3


class LockedError(FoldlineError):
    """Another process works on the same run."""

    exit_code = 4


class SpaceError(FoldlineError):
    """There is no space, or the place is not writable."""

    exit_code = 5


class TrainingError(FoldlineError):
    """Training failed: loss not finite, out of memory, dead worker."""

    exit_code = 6


def some(names: Sequence[object], most: int = 8) -> str:
    """Return the first of many names as a message lists them."""
    return ", ".join(map(str, names[:most])) + (", …" if len(names) > most else "")


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a remedy: the name that was probably meant, else the nearest few of those there are."""
    known = list(names)
    if near := difflib.get_close_matches(name, known, n=1):
        return f"did you mean '{near[0]}'?"
    if not known:
        return "there are none"
    return f"there are: {', '.join(nearest_few(name, known))}{', …' if len(known) > SHOWN else ''}"


def nearest_few(name: str, names: Sequence[str]) -> list[str]:
    """Return the few names most like one, in their own order; all of a short list."""
    if len(names) <= SHOWN:
        return list(names)
    like = sorted(names, key=lambda other: -difflib.SequenceMatcher(None, name, other).ratio())[:SHOWN]
    return [other for other in names if other in like]


def lookup(table: Mapping[str, T], name: str, what: str) -> T:
    """Return `table[name]`; raise Refused with the nearest names otherwise."""
    if name in table:
        return table[name]
    raise Refused(Problem("", f"found '{name}'", f"a {what}", nearest(name, table)))

"""Find the columns that hold what is to be predicted, and what the sample submission's columns are in training."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import InputError, Problem, some
from pipeline.starting import kinds, meaning
from pipeline.starting.folder import words
from pipeline.starting.kinds import Guess

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("category_id", "label", "labels", "class", "target", "species", "category", "breed", "attribute_ids", "dx")
SEEN = 0.5  # share of the sample's columns that a column's cells must name


@dataclass(frozen=True)
class Target:
    """Hold the target's columns and its guesses."""

    columns: list[str]
    guesses: list[Guess]


def find(
    train: pd.DataFrame, test_columns: Sequence[str], sample: pd.DataFrame, used: Sequence[str], metric: str | None
) -> Target | None:
    """Return what is to be predicted, or None; `sample` is without its ids, `used` are columns that are ids.

    `metric` is the competition's, where a description names it. Raises InputError where one number is asked for and
    nothing says of which of several classes.
    """
    asked = [str(column) for column in sample.columns]
    free = [str(name) for name in train.columns if name not in used and name not in test_columns]
    if (named := _same(asked, [str(name) for name in train.columns if name not in used])) is not None:
        columns = [named[column] for column in asked]
        if len(columns) > 1:
            return Target(columns, [*kinds.several(train, columns), *_renamed(named)])
        return _one(train, columns[0], sample, metric)
    if len(asked) > 1:
        return _of_columns(train, free, asked)
    wanted = set(sample[asked[0]])

    def rank(column: str) -> tuple[bool, int, int]:
        named = NAMES.index(column.lower()) if column.lower() in NAMES else len(NAMES)
        return not (wanted & set(train[column])), named, free.index(column)

    varied = [column for column in free if 1 < train[column].nunique() < len(train)]
    named_so = [column for column in varied if column.lower() in NAMES]
    best = min(named_so or varied, key=lambda column: rank(column)[named_so != [] :], default=None)
    return None if best is None else _one(train, best, sample, metric)


def _one(train: pd.DataFrame, column: str, sample: pd.DataFrame, metric: str | None) -> Target:
    return _one_number(train, column, sample) or Target([column], kinds.one(train, column, sample, metric))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower()) or name


def _same(asked: Sequence[str], known: Sequence[str]) -> dict[str, str] | None:
    """Return what each asked name is called among the known ones, or None where one has no equal.

    Case, spaces and punctuation may differ, and what all asked names begin or end with.
    """
    start, end = _start(asked), _start([name[::-1] for name in asked])[::-1]
    ways: list[Callable[[str], str]] = [
        lambda name: name,
        lambda name: name.lower(),
        _plain,
        lambda name: _plain(name.removeprefix(start)),
        lambda name: _plain(name.removesuffix(end)),
    ]
    for way in ways:
        by_name = {(way(name) if way in ways[:2] else _plain(name)): name for name in known}
        found = {name: by_name[way(name)] for name in asked if way(name) in by_name}
        if len(found) == len(asked) and len(set(found.values())) == len(asked):
            return found
    return None


def _start(names: Sequence[str]) -> str:
    """Return what several names begin with, whole words: prob_ of prob_cat and prob_crow."""
    if len(names) < 2:
        return ""
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return re.sub(r"[A-Za-z0-9]*$", "", "".join(letters[0] for letters in same))


def _renamed(named: dict[str, str]) -> list[Guess]:
    """Return the names of the sample's columns where training calls them otherwise."""
    if all(column == name for column, name in named.items()):
        return []
    return [("submission.columns", named, "the sample submission's columns are called otherwise")]


def _of_columns(train: pd.DataFrame, free: Sequence[str], asked: Sequence[str]) -> Target | None:
    """Return the column of labels that are the sample's columns, of which some may have no row."""
    best: tuple[int, str, dict[str, str]] | None = None
    for column in free:
        labels = sorted({cell.strip() for cell in train[column] if not meaning.is_blank(cell)})
        named = _among(labels, asked)
        if named is not None and len(labels) >= SEEN * len(asked) and len(labels) > (best[0] if best else 1):
            best = len(labels), column, named
    if best is None:
        return None
    count, column, named = best
    guesses: list[Guess] = [("data.target", column, f"its {count} values are columns of the sample submission")]
    guesses += kinds.columns(train, column)
    absent = [name for name in asked if name not in named]
    why = f"its columns: no training row has {some(absent)}" if absent else "its columns, whatever rows are left out"
    guesses.append(("data.classes", "sample", why))
    return Target([column], guesses + _renamed({name: named.get(name, name) for name in asked}))


def _among(labels: Sequence[str], asked: Sequence[str]) -> dict[str, str] | None:
    """Return the label of each asked column that has one, or None where a label is no column."""
    if set(labels) <= set(asked):
        return {name: name for name in asked if name in set(labels)}
    start = _start(asked)
    for strip in ("", start):
        by_name = {_plain(name.removeprefix(strip)): name for name in asked}
        found = {by_name[_plain(label)]: label for label in labels if _plain(label) in by_name}
        if len(by_name) == len(asked) and len(found) == len(labels):
            return found
    return None


def _one_number(train: pd.DataFrame, column: str, sample: pd.DataFrame) -> Target | None:
    """Return a binary target where a fraction is asked for and the classes are one negative one and several others.

    None where that is not so. Raises InputError where no class is the negative one.
    """
    labels = sorted({cell.strip() for cell in train[column] if not meaning.is_blank(cell)})
    wanted = [cell for cell in sample.iloc[:, 0] if not meaning.is_blank(cell)]
    fractions = (
        bool(wanted)
        and all(kinds.NUMBER.fullmatch(cell) for cell in wanted)
        and any("." in cell and float(cell) <= 1 for cell in wanted)
    )
    if not 2 < len(labels) <= kinds.MANY or not fractions or all(kinds.AMOUNT.fullmatch(label) for label in labels):
        return None
    asked = str(sample.columns[0])
    positive = [label for label in labels if _plain(label) == _plain(asked) or set(words(label)) & {*words(asked)}]
    negative = [label for label in labels if meaning.is_negative(label)]
    if len(positive) == 1:
        why = f"the sample submission asks for '{asked}'"
        values = {label: str(int(label == positive[0])) for label in labels}
    elif len(negative) == 1:
        why = f"one number is asked for: the probability that it is not {negative[0]}"
        values = {label: str(int(label != negative[0])) for label in labels}
    else:
        found = f"'{asked}' is one number for the {len(labels)} classes {some(labels)} of '{column}'"
        remedy = "write data.derive with the classes that count as 1, as docs/data.md shows"
        raise InputError(Problem("sample submission", found, "a class that is none of the others", remedy))
    name = "positive" if "positive" not in train else "is_positive"
    derive = {name: {"column": column, "values": values}}
    guesses: list[Guess] = [("data.derive", derive, why), ("data.target", name, why)]
    guesses += [("data.task", "binary", "0 and 1"), *kinds.BINARY]
    return Target([name], guesses)

"""Guess what is to be predicted: the target's columns and kind, the metric that goes with it, the cells wanted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.competition.labels import natural
from pipeline.starting.folder import words

if TYPE_CHECKING:
    import pandas as pd

Guess = tuple[str, Any, str]  # dotted key, value, why
INTEGER, NUMBER = re.compile(r"-?\d+"), re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
NAMES = ("category_id", "label", "labels", "class", "target", "species", "category", "breed", "attribute_ids")
GRADES = {"diagnosis", "grade", "level", "severity", "stage", "rating", "score", "quality", "degree", "kl"}
CATEGORIES = {"category", "class", "label", "species", "id", "type", "kind", "breed"}
SEPARATORS = (" ", ",", ";", "|")
MANY = 30  # whole numbers beyond so many are amounts, unless the name says classes
RULES = "correct it where the rules differ"
VALUES: list[Guess] = [
    ("loss.name", "mse", "the mean of the values is what squared errors want"),
    ("metric", "rmse", f"usual for numbers; {RULES}"),
    ("submission.cell", "value", "numbers"),
]
LABELS: list[Guess] = [
    ("loss.name", "binary_cross_entropy", "independent labels"),
    ("metric", "f1_micro", f"usual for several labels; {RULES}"),
    ("submission.cell", "label", "labels, joined"),
]
GRADED: list[Guess] = [
    ("metric", "quadratic_weighted_kappa", f"usual for grades; {RULES}"),
    ("submission.cell", "label", "a grade"),
]
PROBABILITIES: list[Guess] = [
    ("metric", "log_loss", f"a probability is asked for every class; {RULES}"),
    ("submission.cell", "probability", "one column per class"),
]
COLUMNS: list[Guess] = [
    ("metric", "mean_column_auc", f"usual for one column per class; {RULES}"),
    ("submission.cell", "probability", "one column per class"),
]
BINARY: list[Guess] = [
    ("metric", "roc_auc", "usual for two labels; log_loss, accuracy … where the rules say so"),
    ("submission.cell", "probability", "label where the rules ask for decisions"),
]


@dataclass(frozen=True)
class Target:
    """Hold the target's columns, its guesses and what stands against them."""

    columns: list[str]
    guesses: list[Guess]


def find(train: pd.DataFrame, test_columns: Sequence[str], sample: pd.DataFrame, used: Sequence[str]) -> Target | None:
    """Return what is to be predicted, or None; `sample` is without its ids, `used` are columns that are ids."""
    asked = [str(column) for column in sample.columns]
    known = {str(column).lower(): str(column) for column in train.columns}
    if all(column.lower() in known for column in asked):
        columns = [known[column.lower()] for column in asked]
        return _one(train, columns[0], sample) if len(columns) == 1 else _several(train, columns)
    if len(asked) > 1:
        for column in map(str, train.columns):
            cells = set(train[column])
            if len(cells & set(asked)) >= 0.9 * len(asked) and cells <= set(asked):
                why = f"its {len(cells)} values are the columns of the sample submission"
                task: Guess = ("data.task", "multiclass", "the classes exclude each other")
                guesses = [("data.target", column, why), task, *PROBABILITIES, *_rare(list(train[column]))]
                return Target([column], guesses)
        return None
    wanted = set(sample[asked[0]])
    free = [str(name) for name in train.columns if name not in used and name not in test_columns]

    def rank(column: str) -> tuple[bool, int, int]:
        named = NAMES.index(column.lower()) if column.lower() in NAMES else len(NAMES)
        return not (wanted & set(train[column])), named, free.index(column)

    varied = [column for column in free if 1 < train[column].nunique() < len(train)]
    named = [column for column in varied if column.lower() in NAMES]
    best = min(named or varied, key=lambda column: rank(column)[1:] if named else rank(column), default=None)
    return None if best is None else _one(train, best, sample)


def _one(train: pd.DataFrame, column: str, sample: pd.DataFrame) -> Target:
    asked = str(sample.columns[0])
    same = asked.lower() == column.lower()
    why = "as the sample submission" if same else f"not in the test table; the sample submission asks for '{asked}'"
    cells = [cell for cell in train[column] if cell.strip()]
    wanted = [cell for cell in sample[asked] if cell.strip()]
    guesses: list[Guess] = [("data.target", column, why)]
    separator = _separator(cells)
    kinds = sorted(set(cells), key=natural)
    whole = all(INTEGER.fullmatch(kind.strip()) for kind in kinds)
    numeric = whole or all(NUMBER.fullmatch(kind.strip()) for kind in kinds)
    fractions = any("." in cell for cell in wanted if NUMBER.fullmatch(cell))
    name_words = set(words(column))
    # numbers are names of classes and no amounts
    are_classes = whole and (name_words & CATEGORIES or len(kinds) <= 2 or (len(kinds) <= MANY and not fractions))
    if separator is not None:
        guesses.append(("data.task", "multilabel", "cells hold several labels"))
        guesses.append(("data.separator", separator, "between the labels of a cell"))
        if len(cells) == len(train):
            guesses.append(("decision.min_labels", 1, "every row has a label in training"))
        guesses += LABELS
    elif len(kinds) == 2:
        guesses += _binary(kinds, asked, wanted, fractions)
    elif numeric and not are_classes:
        low, high = min(map(float, kinds)), max(map(float, kinds))
        span = [int(low), int(high)] if whole else [low, high]
        guesses.append(("data.task", "regression", f"numbers from {low:g} to {high:g}"))
        guesses.append(("data.range", span, "what occurs in training; correct it to what is possible"))
        guesses += VALUES
    elif whole and len(kinds) <= 10 and name_words & GRADES:
        why = f"whole numbers {kinds[0]} to {kinds[-1]} of a column that is called a grade"
        guesses += [("data.task", "ordinal", why), *GRADED]
    else:
        guesses += _multiclass(cells, kinds, wanted)
    return Target([column], guesses)


def _several(train: pd.DataFrame, columns: list[str]) -> Target:
    import pandas as pd

    values_NC = train[columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    guesses: list[Guess] = [("data.target", columns, "the columns of the sample submission")]
    if np.isnan(values_NC).any():
        guesses += [("data.task", "multiclass", "several columns of labels"), ("data.heads", True, "a head for each")]
    elif values_NC.min() < 0 or values_NC.max() > 1:
        guesses += [("data.task", "regression", "numbers outside 0 to 1"), *VALUES]
    elif (np.abs(values_NC.sum(1) - 1) < 1e-3).all():
        guesses += [("data.task", "multiclass", "every row sums to 1: one label per row"), *COLUMNS]
    else:
        guesses.append(("data.task", "multilabel", "rows hold several labels, or none"))
        guesses += [("loss.name", "binary_cross_entropy", "independent columns"), *COLUMNS]
    return Target(columns, guesses)


def _binary(kinds: list[str], asked: str, wanted: list[str], fractions: bool) -> list[Guess]:
    found: list[Guess] = [("data.task", "binary", f"two labels, {kinds[0]} and {kinds[1]}")]
    if all(NUMBER.fullmatch(kind.strip()) for kind in kinds):
        return found + BINARY
    if asked.lower() == kinds[0].lower():
        kinds = kinds[::-1]
    why = f"the probability is that of {kinds[1]}"
    if asked.lower() != kinds[1].lower():
        why += ": guessed by the alphabet, turn them round where the rules ask for the other"
    found.append(("data.classes", kinds, why))
    if fractions or not set(wanted) <= set(kinds):
        return found + BINARY
    return [
        *found,
        ("metric", "accuracy", "the sample submission holds labels"),
        ("submission.cell", "label", "as there"),
    ]


def _multiclass(cells: list[str], kinds: list[str], wanted: list[str]) -> list[Guess]:
    counts = Counter(cells)
    uneven = max(counts.values()) > 10 * min(counts.values())
    found: list[Guess] = [("data.task", "multiclass", f"{len(kinds)} labels, one per row")]
    metric = "f1_macro" if uneven else "accuracy"
    why = "the labels are unequally frequent" if uneven else "the labels are about equally frequent"
    found.append(("metric", metric, f"{why}; {RULES}"))
    counts_of = {len(cell.split()) for cell in wanted}
    top = min(counts_of, default=0)
    if len(counts_of) == 1 and top > 1 and all(set(cell.split()) <= set(kinds) for cell in wanted[:100]):
        found += [("submission.cell", "top", f"{top} labels in each cell"), ("submission.top", top, "as there")]
    elif all(INTEGER.fullmatch(cell) for cell in wanted) and not any(INTEGER.fullmatch(kind) for kind in kinds):
        found.append(("submission.cell", "class_id", "numbers for labels that are texts: 0 is the first class"))
    else:
        found.append(("submission.cell", "label", "one label per row"))
    return found + _rare(cells)


def _rare(cells: Sequence[str]) -> list[Guess]:
    counts = Counter(cells)
    fewest, name = min((times, name) for name, times in counts.items())
    rows = f"'{name}' has {fewest} of {sum(counts.values())} rows"
    why = f"{rows}: rarer labels than folds are trained on in all"
    return [("folds.rare", "train", why)] if fewest < 5 else []


def _separator(cells: Sequence[str]) -> str | None:
    """Return what joins several labels in a cell: parts must come back in other cells, words of a name do not."""
    kinds = set(cells)
    for separator in SEPARATORS:
        joined = [kind for kind in kinds if separator in kind.strip()]
        parts = Counter(part for kind in kinds for part in set(kind.split(separator)) if part)
        inside = {part for kind in joined for part in kind.split(separator) if part}
        again = sum(parts[part] > 1 for part in inside)
        if joined and again >= 0.5 * len(inside):
            return separator
    return None

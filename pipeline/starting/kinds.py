"""Guess of what kind a target is: the task, the metric that goes with it, the cells that are wanted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.competition.cells import COMMA, decimal_points, is_nothing, recast, truth_values
from pipeline.competition.labels import natural
from pipeline.errors import InputError, Problem
from pipeline.methods.metrics import find
from pipeline.starting import meaning
from pipeline.starting.folder import words

if TYPE_CHECKING:
    import pandas as pd

Guess = tuple[str, Any, str]  # dotted key, value, why
INTEGER, NUMBER = re.compile(r"-?\d+"), re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
AMOUNT = re.compile(r"-?[\d.,]+([eE][-+]?\d+)?")
WHOLE = re.compile(r"-?\d+(\.0*)?")
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


def one(train: pd.DataFrame, column: str, sample: pd.DataFrame, metric: str | None = None) -> list[Guess]:
    """Return the guesses for one target column; `sample` has the one column that is asked for.

    A `metric` that is known decides where numbers could be classes or amounts.
    """
    asked = str(sample.columns[0])
    same = asked.lower() == column.lower()
    why = "as the sample submission" if same else f"not in the test table; the sample submission asks for '{asked}'"
    read = recast(train[column], decimal_points(train[column]))
    cells = [cell.strip() for cell in read if not meaning.is_blank(cell)]
    wanted = [cell.strip() for cell in sample[asked] if not meaning.is_blank(cell)]
    guesses: list[Guess] = [("data.target", column, why)]
    separator = _separator(cells)
    kinds = sorted(set(cells), key=natural)
    whole = all(WHOLE.fullmatch(kind) for kind in kinds)
    numeric = whole or all(NUMBER.fullmatch(kind) for kind in kinds)
    if whole:
        kinds = sorted({str(int(float(kind))) for kind in kinds}, key=natural)
    fractions = any("." in cell for cell in wanted if NUMBER.fullmatch(cell))
    name_words = set(words(column))
    # numbers are names of classes and no amounts
    are_classes = whole and (name_words & CATEGORIES or len(kinds) <= 2 or (len(kinds) <= MANY and not fractions))
    if metric is not None and numeric:
        are_classes = bool(are_classes and set(find(metric).tasks) != {"regression"})
    scale = meaning.scale(kinds)
    if separator is not None:
        guesses.append(("data.task", "multilabel", "cells hold several labels"))
        guesses.append(("data.separator", separator, "between the labels of a cell"))
        if len(cells) == len(train):
            guesses.append(("decision.min_labels", 1, "every row has a label in training"))
        elif count := sum(bool(cell) and is_nothing(cell) for cell in train[column]):  # a blank one has no label
            guesses += unlabelled(count, len(train))
        return guesses + LABELS
    if not numeric and all(COMMA.fullmatch(kind) for kind in kinds):
        found = f"its cells are numbers with commas, as '{kinds[0]}', which may part thousands"
        raise InputError(Problem(f"column '{column}'", found, "numbers without", "take them out of the table"))
    if len(cells) < len(train):
        guesses += unlabelled(len(train) - len(cells), len(train))
    if len(kinds) == 2 and (are_classes or not numeric):
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
    elif scale is not None:
        guesses += [("data.task", "ordinal", "words that have an order"), ("data.classes", scale, "from least to most")]
        guesses += GRADED
    else:
        guesses += _multiclass(cells, kinds, wanted)
    return guesses


def several(train: pd.DataFrame, columns: list[str]) -> list[Guess]:
    """Return the guesses for several target columns, which are those of the sample submission."""
    cells_NC = train[columns].map(lambda cell: "" if meaning.is_blank(cell) else cell.strip())
    values_NC = cells_NC.apply(lambda cells: recast(cells, truth_values(cells) | decimal_points(cells)))
    texts = [cell for column in columns for cell in set(values_NC[column]) if cell and not NUMBER.fullmatch(cell)]
    guesses: list[Guess] = [("data.target", columns, "the columns of the sample submission")]
    if texts:
        return [
            *guesses,
            ("data.task", "multiclass", f"several columns of labels, as {texts[0]}"),
            ("data.heads", True, "a head for each"),
        ]
    known = values_NC.replace({"": "nan"}).to_numpy(np.float64)
    blank = int(np.isnan(known).any(1).sum())
    found = set(known[~np.isnan(known)].tolist())
    if -1 in found and found <= {-1, 0, 1}:
        guesses.append(("data.derive", _uncertain(train, columns), "-1 is uncertain, taken as 0.5; blank as absent"))
        return [*guesses, ("data.task", "multilabel", "columns of 1, 0 and -1"), *_independent()]
    if blank and found <= {0, 1}:
        derive = {name: {"column": name, "values": {"": "0"}} for name in columns}
        guesses.append(("data.derive", derive, f"{blank} rows have blank cells, taken as absent"))
        return [*guesses, ("data.task", "multilabel", "columns of 1, 0 and blank"), *_independent()]
    if blank:
        guesses += unlabelled(blank, len(train))
    if min(found) < 0 or max(found) > 1:
        return [*guesses, ("data.task", "regression", "numbers outside 0 to 1"), *VALUES]
    sums_N = np.nansum(known, 1)[~np.isnan(known).any(1)]
    if (np.abs(sums_N - 1) < 1e-3).all():
        return [*guesses, ("data.task", "multiclass", "every row sums to 1: one label per row"), *COLUMNS]
    if not found <= {0, 1}:
        return [*guesses, ("data.task", "regression", "fractions that sum to no 1"), *VALUES]
    return [*guesses, ("data.task", "multilabel", "rows hold several labels, or none"), *_independent()]


def columns(train: pd.DataFrame, column: str) -> list[Guess]:
    """Return the guesses for a column of labels that are the sample's columns."""
    task: Guess = ("data.task", "multiclass", "the classes exclude each other")
    cells = [cell for cell in train[column] if not meaning.is_blank(cell)]
    blank = unlabelled(len(train) - len(cells), len(train)) if len(cells) < len(train) else []
    return [task, *PROBABILITIES, *blank, *_rare(cells)]


def unlabelled(count: int, rows: int) -> list[Guess]:
    """Return what leaves out rows without a label."""
    return [("data.unlabelled", "skip", f"{count} of {rows} rows have no label")]


def _independent() -> list[Guess]:
    return [("loss.name", "binary_cross_entropy", "independent columns"), *COLUMNS]


def _uncertain(train: pd.DataFrame, columns: Sequence[str]) -> dict[str, Any]:
    return {
        name: {"column": name, "values": {"": "0"} | {cell: "0.5" for cell in set(train[name]) if _is(cell, -1)}}
        for name in columns
    }


def _is(cell: str, number: float) -> bool:
    return NUMBER.fullmatch(cell.strip()) is not None and float(cell) == number


def _binary(kinds: list[str], asked: str, wanted: list[str], fractions: bool) -> list[Guess]:
    found: list[Guess] = [("data.task", "binary", f"two labels, {kinds[0]} and {kinds[1]}")]
    numbers = all(NUMBER.fullmatch(kind) for kind in kinds)
    if not numbers:
        rank = {kind: meaning.positive(kind, asked) for kind in kinds}
        clear = rank[kinds[0]] != rank[kinds[1]]
        kinds = sorted(kinds, key=lambda kind: rank[kind]) if clear else kinds
        why = f"the probability is that of {kinds[1]}"
        why += "" if clear else ": guessed by the alphabet, turn them round where the rules ask for the other"
        found.append(("data.classes", kinds, why))
    if not wanted:
        found += [("metric", "accuracy", f"the sample submission's cells are blank; {RULES}")]
        return [*found, ("submission.cell", "label", "blank cells in the sample submission")]
    if numbers or fractions or not set(wanted) <= set(kinds):
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
    if not wanted:
        found += [("metric", metric, f"{why}; {RULES}"), ("submission.cell", "label", "blank cells in the sample")]
        return found + _rare(cells)
    top, joiner = _top(kinds, wanted)
    if top > 1:
        found += [("metric", f"map@{top}", f"{top} labels are asked for in each cell, the best first; {RULES}")]
        found += [("submission.cell", "top", f"{top} labels in each cell"), ("submission.top", top, "as there")]
        found += [] if joiner == " " else [("submission.joiner", joiner, "between the labels of a cell")]
        return found + _rare(cells)
    found.append(("metric", metric, f"{why}; {RULES}"))
    if all(INTEGER.fullmatch(cell) for cell in wanted) and not any(INTEGER.fullmatch(kind) for kind in kinds):
        found.append(("submission.cell", "class_id", "numbers for labels that are texts: 0 is the first class"))
    else:
        found.append(("submission.cell", "label", "one label per row"))
    return found + _rare(cells)


def _top(kinds: Sequence[str], wanted: Sequence[str]) -> tuple[int, str]:
    """Return how many labels each cell of the sample asks for, and what separates them."""
    known = set(kinds)
    for joiner in SEPARATORS:
        parts = [[part.strip() for part in cell.split(joiner) if part.strip()] for cell in wanted[:200]]
        counts = {len(own) for own in parts}
        every = [part for own in parts for part in own]
        some_known = sum(part in known for part in every) * 2 >= len(every)
        if len(counts) == 1 and counts != {1} and not known & set(wanted) and some_known:
            return counts.pop(), joiner
    return 1, " "


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
        numbers = re.compile(rf"\d+({re.escape(separator)}\d+)*")
        if separator != "," and all(map(numbers.fullmatch, kinds)) and not all(map(str.isdigit, kinds)):
            return separator
        joined = [kind for kind in kinds if separator in kind]
        parts = Counter(part for kind in kinds for part in set(kind.split(separator)) if part)
        inside = {part for kind in joined for part in kind.split(separator) if part}
        again = sum(parts[part] > 1 for part in inside)
        if joined and again >= 0.5 * len(inside):
            return separator
    return None

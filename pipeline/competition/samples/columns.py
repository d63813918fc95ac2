"""Say what each column of the sample submission holds: one class, the sum of some, or labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.competition.labels import natural
from pipeline.errors import Problem, some
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import find
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.config import Config
    from pipeline.config.sections.submit import Held

DECIMAL = re.compile(r"[+-]?(\d+[.,]\d*|[.,]\d+)([eE][+-]?\d+)?|[+-]?\d+[eE][+-]?\d+")


@dataclass(frozen=True)
class Shown:
    """Hold which classes a column sums, by their numbers; `rest`: it is 1 minus their sum."""

    classes: tuple[int, ...]
    rest: bool = False

    def of(self, cell_N: Callable[[int], Array]) -> Array:
        """Return the column's cells from those of one class."""
        if len(self.classes) == 1 and not self.rest:
            return cell_N(self.classes[0])
        total_N = sum((cell_N(c) for c in self.classes[1:]), start=cell_N(self.classes[0]))
        return (1 - total_N if self.rest else total_N).clip(0, 1)  # sums of rounded parts


def held(value: Held) -> tuple[list[str], bool, bool]:
    """Return the classes that `submission.columns` gives a column, whether they are excluded, and whether summed."""
    rest = isinstance(value, dict)
    names = value["not"] if isinstance(value, dict) else value
    listed = [names] if isinstance(names, str) else list(names)
    return listed, rest, rest or not isinstance(names, str)


def shown(columns: Sequence[str], config: Config, classes: Sequence[str]) -> dict[str, Shown]:
    """Return what each column holds: by `submission.columns`, else the class that it is called, or the positive one."""
    named, number = config.submission.columns or {}, {name: c for c, name in enumerate(classes)}
    found = {}
    for column in columns:
        if column in named:
            names, rest, _ = held(named[column])
            found[column] = Shown(tuple(number[name] for name in names), rest)
        else:
            found[column] = Shown((number[called(column, classes) or classes[-1]],))
    return found


def called(column: str, classes: Sequence[str]) -> str | None:
    """Return the class that a column is called, or that is the one word of its name which is a class: prob_cat.

    Numbers are no words: target_0 may be any target.
    """
    if column in classes:
        return column
    words = f" {' '.join(re.findall(r'[a-z0-9]+', column.lower()))} "
    inside = [name for name in classes if not re.fullmatch(r"[\d.]*", name) and f" {_words(name)} " in words]
    inside = [
        name
        for name in inside
        if not any(name != other and f" {_words(name)} " in f" {_words(other)} " for other in inside)
    ]
    return inside[0] if len(inside) == 1 else None


def _words(name: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", name.lower())) or name


def cell_kind(cells: pd.DataFrame, config: Config, classes: Sequence[str]) -> str:
    """Return what the cells of the columns to fill in hold: `submission.cell`, or what the sample's say."""
    task, reads, column = TASKS[config.data.task], find(config.metric).reads, str(cells.columns[0])
    if config.submission.cell != "auto":
        return config.submission.cell
    if task.regression:
        return "value"
    if config.data.sample_submission is None and len(cells.columns) > 1 and reads == "labels":
        return "label"
    if len(cells.columns) > 1 or column in {*classes, *(config.submission.columns or {})}:
        return "probability"
    if reads == "ranking":
        return "top"
    if len(classes) != 2 or not task.single_label:
        return "label"
    decimal = any(DECIMAL.fullmatch(cell.strip()) for cell in cells[column])
    return "probability" if reads != "labels" or decimal else "label"


def positive(wanted: pd.DataFrame, config: Config, classes: Sequence[str]) -> str | None:
    """Say which class of a binary task is the positive one, why, and what the sample's column will hold; else None."""
    if TASKS[config.data.task].name != "binary" or len(classes) != 2:
        return None
    other, chosen = classes
    numbers = all(re.fullmatch(r"-?[\d.]+", name) for name in classes)
    why = "the second by value" if numbers else "the second by the alphabet"
    if config.data.classes is not None:
        why = "the second of data.classes"
    elif not numbers:
        why += f" (data.classes: {as_yaml([chosen, other])} would make it {other})"
    text = f"positive class: {chosen}, {why}"
    columns = [str(name) for name in wanted.columns]
    if len(columns) != 1:
        return text
    (column,), named = columns, config.submission.columns or {}
    if (kind := cell_kind(wanted, config, classes)) != "probability":
        return f"{text}; {column} is to hold {'the label' if kind == 'label' else kind}"
    one = shown([column], config, classes)[column]
    number = one.classes[0] ^ one.rest if len(one.classes) == 1 else None
    what = f"P({classes[number]})" if number is not None else "1"
    said = (
        "by submission.columns" if column in named else "as the column's name says" if called(column, classes) else ""
    )
    return f"{text}; {column} is to hold {what}{f', {said}' * bool(said)}"


def problems(wanted: Sequence[str], config: Config, classes: Sequence[str]) -> list[Problem]:
    """Return which columns have no class, which classes no column, and what cannot be summed."""
    place, named, task = config.data.sample_name, config.submission.columns or {}, TASKS[config.data.task]
    found, known = [], f"known: {some(classes)}"
    for column, value in named.items():
        names, _, sums = held(value)
        if column not in wanted:
            text = f"'{column}' is no column of {place}"
            found.append(Problem("submission.columns", text, remedy=f"it has {some(list(wanted))}"))
        unknown = [name for name in names if name not in classes]
        found += [
            Problem("submission.columns", f"unknown class '{name}' under '{column}'", remedy=known) for name in unknown
        ]
        if twice := [name for name, times in Counter(names).items() if times > 1]:
            found.append(Problem("submission.columns", f"'{column}' names '{twice[0]}' twice"))
        if sums and not task.single_label:
            why = "has values" if task.regression else "may have several classes in a row: their probabilities overlap"
            text = f"'{column}' sums classes, but a {task.name} task {why}"
            found.append(Problem("submission.columns", text, remedy="name one"))
    if len(wanted) == 1 or any(held(value)[2] for value in named.values()):
        lost = [column for column in wanted if len(wanted) > 1 and column not in {*named, *classes}]
        return found + [_no_class(column, place, known) for column in lost]
    filled = [str(named.get(column, column)) for column in wanted]
    lost = [column for column in wanted if column not in named and column not in classes]
    times = Counter(filled)
    if lost and all(times[name] == 1 for name in classes) and len(config.data.targets) == 1 and task.single_label:
        every = sorted({*classes, *filled}, key=natural) if config.data.classes is None else [*classes, *lost]
        rows = f"{len(lost)} columns have no row to train on ({some(lost)})"
        remedy = f"if they are classes: data.classes: sample, or {as_yaml(every)}"
        return [*found, Problem(place, rows, remedy=remedy + ", in their order" * (task.name == "ordinal"))]
    found += [_no_class(column, place, known) for column in lost]
    return found + [
        Problem(place, f"class '{name}' has {times[name]} columns", "1", "see submission.columns")
        for name in classes
        if times[name] != 1
    ]


def _no_class(column: str, place: str, known: str) -> Problem:
    remedy = f"name its class under submission.columns; {known}"
    return Problem(place, f"column '{column}' is no class", remedy=remedy)


def as_yaml(names: Sequence[str]) -> str:
    """Return a list of texts as YAML has it in one line."""
    import yaml

    return str(yaml.safe_dump(list(names), default_flow_style=True, allow_unicode=True, width=10**6)).strip()

"""Read the cells of target columns: labels, several labels, shares of labels, numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import some
from pipeline.methods import heads, topk
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.sections.data import Data
    from pipeline.methods.tasks import Task

Defect = tuple[int, str]  # row number, what is wrong
SHARED = ["0", "1"]  # the classes of a binary column that may hold fractions
SHARE = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE]-?[0-9]+)?)\s*")
SUM_TOLERANCE = 1e-3  # of shares written with few decimals
MOST_CELLS = 2**27  # 512 MB: above, rows of one class each are kept as its number


def class_names(task: Task, table: pd.DataFrame, data: Data) -> list[str]:
    """Return the class names in their fixed order.

    Several target columns, and values, are the classes themselves; a label column's labels are sorted, numbers
    by value and before texts, unless `data.classes` gives the order; of heads they are called HEAD=CLASS. Blank
    cells are left to `encode_targets`. A binary column of numbers in [0, 1] holds shares of the class 1: soft labels,
    classes 0 and 1.
    """
    if data.heads:
        columns = {head: label_names(table[head], data) for head in data.targets}
        return [heads.name(head, label) for head, own in columns.items() for label in own]
    if len(data.targets) > 1 or task.regression:
        return list(data.targets)
    if data.classes is not None:
        return list(data.classes)
    names = label_names(table[data.targets[0]], data)
    if task.name == "binary" and names and all(share(name) is not None for name in names):
        return SHARED
    return names


def encode_targets(task: Task, table: pd.DataFrame, data: Data, classes: Sequence[str]) -> tuple[Array, list[Defect]]:
    """Return soft targets, or values, [N,C] float32 and the defects as (row number, what is wrong).

    A label that is unknown, and a cell that cannot be read, leave zeros.
    """
    if task.regression:
        return encode_values(table, data.targets, data.range)
    if data.heads:
        found = []
        for head, start, stop in data.heads_of(classes):
            own = [name.removeprefix(f"{head}=") for name in classes[start:stop]]
            found.append(encode_labels(table[head], data, own, task.name, task.single_label))
        defects = sorted((defect for _, wrong in found for defect in wrong), key=lambda defect: defect[0])
        return np.hstack([targets_NC for targets_NC, _ in found]), defects
    if len(data.targets) > 1:
        return encode_shares(table, data.targets, task.single_label)
    return encode_labels(table[data.targets[0]], data, classes, task.name, task.single_label)


def share(text: str) -> float | None:
    """Return a cell's number in [0, 1], or None."""
    match = re.fullmatch(r"\s*(0|1|[01]?\.[0-9]+)\s*", text)
    return float(text) if match and float(text) <= 1 else None


def labels(text: str, data: Data) -> list[str]:
    """Split a cell into its labels; blank, and data.empty, give none."""
    if data.empty is not None and text.strip() == data.empty:
        return []
    parts = [text] if data.separator is None else text.split(data.separator)
    return [part.strip() for part in parts if part.strip()]


def soft(text: str, data: Data) -> list[tuple[str, float]] | None:
    """Return the labels and shares of a soft cell, `7=0.5|12=0.5`, or None where it is none.

    Where repeated ids were not made soft, a cell of one part is a class that is called so. Shares are above 0;
    those of labels that exclude each other sum to 1.
    """
    parts = text.split("|")
    if "=" not in text or (len(parts) == 1 and data.duplicates != "soft"):
        return None
    found = []
    for part in parts:
        label, equals, number = part.rpartition("=")
        match = SHARE.fullmatch(number)
        if not equals or not label.strip() or match is None or not 0 < float(match[1]) <= 1 + SUM_TOLERANCE:
            return None
        found.append((label.strip(), float(match[1])))
    independent = data.separator is not None
    total = sum(part for _, part in found)
    return found if independent or abs(total - 1) <= SUM_TOLERANCE else None


def parts(text: str, data: Data) -> list[tuple[str, float]]:
    """Return a cell's labels with their shares, 1 each where it is not soft."""
    return soft(text, data) or [(label, 1.0) for label in labels(text, data)]


def label_names(column: pd.Series[str], data: Data) -> list[str]:
    """Return the labels that occur in a column, numbers by value and before texts."""
    return sorted({label for text in column.unique() for label, _ in parts(text, data)}, key=natural)


def encode_labels(
    column: pd.Series[str], data: Data, classes: Sequence[str], task: str, single_label: bool
) -> tuple[Array, list[Defect]]:
    """Return soft targets [N,C] float32 of a column of labels, and the defects in row order.

    Every different cell is read once, as long tables hold few of them. Of many rows and exclusive classes, none
    soft, a OneHot is returned; a row with a defect has any class there.
    """
    import pandas as pd

    number = {name: c for c, name in enumerate(classes)}
    code_N, cells = pd.factorize(column)
    entries: list[list[tuple[int, float]]] = []
    wrong: dict[int, list[str]] = {}
    shared = task == "binary" and list(classes) == SHARED
    for code, text in enumerate(cells):
        if shared and (value := share(text)) is not None:
            entries.append([(0, 1 - value), (1, value)])
            continue
        found, problems = parts(text, data), []
        if not found and single_label:
            problems.append(f"{column.name} is blank, expected a label")
        elif single_label and len({label for label, _ in found}) > 1 and soft(text, data) is None:
            problems.append(f"{column.name} is '{text}', a {task} task has one label per row")
            found = []
        problems += [
            f"{column.name} is '{label}', expected one of {some(classes)}" for label, _ in found if label not in number
        ]
        entries.append([(number[label], part) for label, part in found if label in number])
        if problems:
            wrong[code] = problems
    bad = np.flatnonzero(np.isin(code_N, list(wrong))).tolist()
    defects = [(row, text) for row in bad for text in wrong[int(code_N[row])]]
    if single_label and len(column) * len(classes) > MOST_CELLS and all(_is_hard(entry) for entry in entries):
        first_U = np.array([entry[0][0] if entry else 0 for entry in entries], dtype=np.int64)
        return topk.as_array(topk.OneHot(first_U[code_N], len(classes))), defects
    targets_NC = np.zeros((len(column), len(classes)), dtype=np.float32)
    width_U = np.array([len(entry) for entry in entries], dtype=np.int64)
    flat = [pair for entry in entries for pair in entry]
    class_E = np.array([c for c, _ in flat], dtype=np.int64)
    share_E = np.array([value for _, value in flat], dtype=np.float32)
    width_N = width_U[code_N]
    row_P = np.repeat(np.arange(len(column)), width_N)
    within_P = np.arange(len(row_P)) - np.repeat(np.cumsum(width_N) - width_N, width_N)
    entry_P = np.repeat((np.cumsum(width_U) - width_U)[code_N], width_N) + within_P
    targets_NC[row_P, class_E[entry_P]] = share_E[entry_P]
    return targets_NC, defects


def _is_hard(entry: list[tuple[int, float]]) -> bool:
    return len(entry) < 2 and all(part == 1 for _, part in entry)


def encode_shares(table: pd.DataFrame, columns: Sequence[str], single_label: bool) -> tuple[Array, list[Defect]]:
    """Return soft targets [N,C] float32 of one column per class, which sum to 1 where classes exclude each other."""
    numbers_NC, defects = _numbers(table, columns, (0.0, 1.0))
    targets_NC = numbers_NC.astype(np.float32)
    if single_label:
        sums = targets_NC.sum(1)
        bad = {row for row, _ in defects}
        for row in np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE).tolist():
            if row not in bad:
                defects.append((row, f"the target columns sum to {sums[row]:g}, expected 1"))
    return targets_NC, defects


def encode_values(
    table: pd.DataFrame, columns: Sequence[str], span: tuple[float, float] | None
) -> tuple[Array, list[Defect]]:
    """Return the values [N,C] float32 of columns of numbers, inside `span` where it is known."""
    numbers_NC, defects = _numbers(table, columns, span)
    return numbers_NC.astype(np.float32), defects


def _numbers(
    table: pd.DataFrame, columns: Sequence[str], span: tuple[float, float] | None
) -> tuple[Array, list[Defect]]:
    import pandas as pd

    low, high = span or (-np.inf, np.inf)
    wanted = "a number" if span is None else f"a number in [{low:g}, {high:g}]"
    numbers_NC = np.zeros((len(table), len(columns)))
    defects = []
    for c, column in enumerate(columns):
        cells = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
        for row in np.flatnonzero(~(np.isfinite(cells) & (cells >= low) & (cells <= high))).tolist():
            defects.append((row, f"{column} is '{table[column].iloc[row]}', expected {wanted}"))
        numbers_NC[:, c] = np.nan_to_num(cells, posinf=0, neginf=0)
    return numbers_NC, defects


def natural(text: str) -> tuple[int, float, str]:
    """Sort decimal numbers by value, before texts; words that float() takes ('nan', 'inf') are texts."""
    return (0, float(text), text) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text) else (1, 0.0, text)

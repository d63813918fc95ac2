"""Read the cells of target columns: labels, several labels, shares of labels, numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition.cells import is_nothing
from pipeline.competition.rows.rows import RowProblem
from pipeline.errors import Problem, some
from pipeline.methods import heads, topk
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.sections.data import Data
    from pipeline.methods.tasks import Task

SKIP = "data.unlabelled: skip leaves such rows out"
SHARED = ["0", "1"]  # the classes of a binary column that may hold fractions
SHARE = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE]-?[0-9]+)?)\s*")
SUM_TOLERANCE = 1e-3  # of shares written with few decimals
MOST_CELLS = 2**27  # 512 MB: above, rows of one class each are kept as its number


def class_names(task: Task, table: pd.DataFrame, data: Data) -> list[str]:
    """Return the class names in their fixed order.

    Several target columns, and values, are the classes themselves; a label column's labels are sorted, numbers
    by value and before texts, unless `data.classes` lists them; of heads they are called HEAD=CLASS. Blank
    cells are left to `encode_targets`. A binary column of numbers in [0, 1] holds shares of the class 1: soft labels,
    classes 0 and 1.
    """
    if data.heads:
        columns = {head: label_names(table[head], data) for head in data.targets}
        return [heads.name(head, label) for head, own in columns.items() for label in own]
    if len(data.targets) > 1 or task.regression:
        return list(data.targets)
    if isinstance(data.classes, list):
        return list(data.classes)
    names = label_names(table[data.targets[0]], data)
    if task.name == "binary" and names and all(share(name) is not None for name in names):
        return SHARED
    return names


def encode_targets(
    task: Task, table: pd.DataFrame, data: Data, classes: Sequence[str]
) -> tuple[Array, list[RowProblem]]:
    """Return soft targets, or values, [N,C] float32 and the problems by row number.

    A label that is unknown, and a cell that cannot be read, leave zeros.
    """
    if task.regression:
        return encode_values(table, data.targets, data.range)
    if data.heads:
        found = []
        for head, start, stop in data.heads_of(classes):
            own = [name.removeprefix(f"{head}=") for name in classes[start:stop]]
            found.append(encode_labels(table[head], data, own, task))
        problems = sorted((one for _, wrong in found for one in wrong), key=lambda one: one[0])
        return np.hstack([targets_NC for targets_NC, _ in found]), problems
    if len(data.targets) > 1:
        return encode_shares(table, data.targets, task.single_label)
    return encode_labels(table[data.targets[0]], data, classes, task)


def share(text: str) -> float | None:
    """Return a cell's number in [0, 1], or None."""
    match = re.fullmatch(r"\s*(0|1|[01]?\.[0-9]+)\s*", text)
    return float(text) if match and float(text) <= 1 else None


def lacks_label(text: str, data: Data) -> bool:
    """Tell whether a target cell holds nothing where a label, or a value, should be; several labels may be none."""
    if text in (data.empty, *(data.classes or ())):
        return False
    return is_nothing(text) and (bool(text) or data.separator is None)


def labels(text: str, data: Data) -> list[str]:
    """Split a cell into its labels; blank, and data.empty, give none."""
    if (data.empty is not None and text.strip() == data.empty) or lacks_label(text, data):
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
    column: pd.Series[str], data: Data, classes: Sequence[str], task: Task
) -> tuple[Array, list[RowProblem]]:
    """Return soft targets [N,C] float32 of a column of labels, and the defects in row order.

    Every different cell is read once, as long tables hold few of them. Of many rows and exclusive classes, none
    soft, a OneHot is returned; a row with a defect has any class there.
    """
    import pandas as pd

    number = {name: c for c, name in enumerate(classes)}
    code_N, cells = pd.factorize(column)
    entries: list[list[tuple[int, float]]] = []
    wrong: dict[int, list[Problem]] = {}
    shared = task.name == "binary" and list(classes) == SHARED
    for code, text in enumerate(cells):
        if shared and (value := share(text)) is not None:
            entries.append([(0, 1 - value), (1, value)])
            continue
        found, problems = parts(text, data), []
        if lacks_label(text, data) or (not found and task.single_label):
            what = f"'{text}', which stands for nothing" if text else "blank"
            problems.append(Problem("", f"{column.name} is {what}", "a label", SKIP))
        elif task.single_label and len({label for label, _ in found}) > 1 and soft(text, data) is None:
            problems.append(Problem("", f"{column.name} is '{text}', a {task.name} task has one label per row"))
            found = []
        unknown = [label for label, _ in found if label not in number]
        problems += [Problem("", f"{column.name} is '{label}'", f"one of {some(classes)}") for label in unknown]
        entries.append([(number[label], part) for label, part in found if label in number])
        if problems:
            wrong[code] = problems
    bad = np.flatnonzero(np.isin(code_N, list(wrong))).tolist()
    by_row = [(row, problem) for row in bad for problem in wrong[int(code_N[row])]]
    if task.single_label and len(column) * len(classes) > MOST_CELLS and all(map(_is_hard, entries)):
        first_U = np.array([entry[0][0] if entry else 0 for entry in entries], dtype=np.int64)
        return topk.OneHot(first_U[code_N], len(classes)), by_row
    targets_UC = np.zeros((len(cells), len(classes)), dtype=np.float32)
    for targets_C, entry in zip(targets_UC, entries, strict=True):
        for c, value in entry:
            targets_C[c] = value
    return targets_UC if len(cells) == len(column) else targets_UC[code_N], by_row


def _is_hard(entry: list[tuple[int, float]]) -> bool:
    return len(entry) < 2 and all(part == 1 for _, part in entry)


def encode_shares(table: pd.DataFrame, columns: Sequence[str], single_label: bool) -> tuple[Array, list[RowProblem]]:
    """Return soft targets [N,C] float32 of one column per class, which sum to 1 where classes exclude each other."""
    targets_NC, problems = encode_values(table, columns, (0.0, 1.0))
    if single_label:
        sums = targets_NC.sum(1)
        bad = {row for row, _ in problems}
        for row in np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE).tolist():
            if row not in bad:
                problems.append((row, Problem("", f"the target columns sum to {sums[row]:g}", "1")))
    return targets_NC, problems


def encode_values(
    table: pd.DataFrame, columns: Sequence[str], span: tuple[float, float] | None
) -> tuple[Array, list[RowProblem]]:
    """Return the values [N,C] float32 of columns of numbers, inside `span` where it is known; 0 where there is none."""
    import pandas as pd

    low, high = span or (-np.inf, np.inf)
    wanted = "a number" if span is None else f"a number in [{low:g}, {high:g}]"
    values_NC = np.zeros((len(table), len(columns)), dtype=np.float32)
    problems: list[RowProblem] = []
    for c, column in enumerate(columns):
        cells = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
        for row in np.flatnonzero(~(np.isfinite(cells) & (cells >= low) & (cells <= high))).tolist():
            cell = table[column].iloc[row]
            problems.append((row, Problem("", f"{column} is '{cell}'", wanted, SKIP if is_nothing(cell) else "")))
        values_NC[:, c] = np.nan_to_num(cells, posinf=0, neginf=0)
    return values_NC, problems


def natural(text: str) -> tuple[int, float, str]:
    """Sort decimal numbers by value, before texts; words that float() takes ('nan', 'inf') are texts."""
    return (0, float(text), text) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text) else (1, 0.0, text)

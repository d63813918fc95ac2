"""What each listed competition's grader refuses, and what we promise beyond: the sample's rows in its order."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection
from pathlib import Path

Cells = Callable[[list[str]], "str | None"]  # the cells beside the id -> what is wrong with them
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
DISEASES = {"complex", "frog_eye_leaf_spot", "healthy", "powdery_mildew", "rust", "scab"}
SPECIES = {
    "Black-grass",
    "Charlock",
    "Cleavers",
    "Common Chickweed",
    "Common wheat",
    "Fat Hen",
    "Loose Silky-bent",
    "Maize",
    "Scentless Mayweed",
    "Shepherds Purse",
    "Small-flowered Cranesbill",
    "Sugar beet",
}


def validate(name: str, sample_path: Path, submission_path: Path) -> list[str]:
    """Return everything that is wrong with a listed competition's submission, as `judge` does."""
    return judge(RULES[name], sample_path, submission_path)


def judge(rule: Cells, sample_path: Path, submission_path: Path) -> list[str]:
    """Return everything that is wrong with a submission, cell by cell; nothing: it would be accepted.

    Graders join by id; that rows stand in the sample's order, repeated ids too, is our own promise.
    """
    sample, submission = _read(sample_path), _read(submission_path)
    if not submission or submission[0] != sample[0]:
        return [f"columns: found {submission[:1]}, expected {sample[0][:5]}"]
    index = sample[0][0] == ""
    key = 1 if index else 0
    found, wanted = [row[key : key + 1] for row in submission[1:]], [row[key : key + 1] for row in sample[1:]]
    defects = []
    if found != wanted:
        what = "in another order" if sorted(found) == sorted(wanted) else "that are not the sample's"
        defects.append(f"ids: found {len(found)} {what}, expected the sample's {len(wanted)}")
    if index and [row[0] for row in submission] != [row[0] for row in sample]:
        defects.append("index column: differs from the sample's")
    for line, row in enumerate(submission[1:], start=2):
        wrong = "another number of cells" if len(row) != len(sample[0]) else rule(row[key + 1 :])
        if wrong:
            defects.append(f"line {line}: {wrong}")
    return defects


def _read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def _numbers(low: float, high: float) -> Cells:
    def judge(cells: list[str]) -> str | None:
        for cell in cells:
            if not NUMBER.fullmatch(cell):
                return f"'{cell}' is no number"
            if not low <= float(cell) <= high:
                return f"{cell} lies outside {low:g} to {high:g}"
        return None

    return judge


def _shares(cells: list[str]) -> str | None:
    if wrong := _numbers(0, 1)(cells):
        return wrong
    total = sum(map(float, cells))
    return f"the row sums to {total:.7f}" if abs(total - 1) > 1e-5 else None


def _integers(low: int, high: int | None = None) -> Cells:
    def judge(cells: list[str]) -> str | None:
        if not re.fullmatch(r"\d+", cells[0]):
            return f"'{cells[0]}' is no class number"
        return None if int(cells[0]) >= low and (high is None or int(cells[0]) <= high) else f"no class {cells[0]}"

    return judge


def _several_integers(cells: list[str]) -> str | None:
    return next((wrong for cell in cells[0].split(" ") if (wrong := _integers(0)([cell]))), None)


def names(known: Collection[str]) -> Cells:
    return lambda cells: None if cells[0] in known else f"unknown class '{cells[0]}'"


def _labels(known: Collection[str], alone: str | None = None, empty: bool = False) -> Cells:
    def judge(cells: list[str]) -> str | None:
        labels = cells[0].split(" ") if cells[0] or not empty else []
        if unknown := [label for label in labels if label not in known]:
            return f"unknown label '{unknown[0]}'"
        if len(set(labels)) != len(labels):
            return f"'{cells[0]}' holds a label twice"
        return f"'{cells[0]}' holds more than '{alone}'" if alone in labels and len(labels) > 1 else None

    return judge


RULES: dict[str, Cells] = {
    "aerial-cactus-identification": _numbers(0, 1),
    "aptos2019-blindness-detection": _integers(0, 4),
    "cassava-leaf-disease-classification": _integers(0, 4),
    "dog-breed-identification": _shares,
    "dogs-vs-cats-redux-kernels-edition": _numbers(0, 1),
    "herbarium-2020-fgvc7": _integers(0),
    "herbarium-2022-fgvc9": _integers(0),
    "imet-2020-fgvc7": _labels({str(n) for n in range(3474)}, empty=True),
    "inaturalist-2019-fgvc6": _several_integers,
    "iwildcam-2019-fgvc6": _integers(0),
    "iwildcam-2020-fgvc7": _integers(0),
    "leaf-classification": _shares,
    "petfinder-pawpularity-score": _numbers(1, 100),
    "plant-pathology-2020-fgvc7": _numbers(-1e9, 1e9),
    "plant-pathology-2021-fgvc8": _labels(DISEASES, alone="healthy"),
    "plant-seedlings-classification": names(SPECIES),
    "ranzcr-clip-catheter-line-classification": _numbers(0, 1),
    "rsna-breast-cancer-detection": _numbers(0, 1),
    "siim-isic-melanoma-classification": _numbers(0, 1),
    "statoil-iceberg-classifier-challenge": _numbers(0, 1),
}

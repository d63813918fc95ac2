"""Fabricate competitions of forms that no listed one has, each with its rule, its score and what chance reaches."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from competitions import rules, scores
from competitions.files import save, truncate, write_csv, write_zip
from competitions.pictures import gray, hexes, in_turn, picture, ragged
from competitions.tabled import Truth

DIGITS = ["zero", "one", "two", "three"]


@dataclass(frozen=True)
class Form:
    """Hold how a competition is written, what its grader refuses and says, and the score that has to be beaten."""

    write: Callable[[Path, np.random.Generator], Truth]
    rule: rules.Cells
    score: Callable[[list[Any], list[scores.Row], scores.Row], float]
    chance: float
    greater_is_better: bool = True


def class_folders_at_root(root: Path, rng: np.random.Generator) -> Truth:
    """Each picture in four versions, a folder for each beside the test's; asked: is it no plain one?"""
    versions = {"Cover": 0, "JMiPOD": 1, "JUNIWARD": 2, "UERD": 3}
    for n in range(1, 31):
        for name, digit in versions.items():
            save(root / name / f"{n:05}.jpg", picture(rng, digit, ragged(rng), hue=0.3 * (digit > 0)))
    hidden = in_turn(rng, versions, 32)
    for n, name in enumerate(hidden, 1):
        save(root / f"Test/{n:04}.jpg", picture(rng, versions[name], ragged(rng), hue=0.3 * (name != "Cover")))
    write_csv(root / "sample_submission.csv", ["Id", "Label"], [(f"{n:04}.jpg", 1 / (n + 1)) for n in range(1, 33)])
    return {f"{n:04}.jpg": int(name != "Cover") for n, name in enumerate(hidden, 1)}


def array_folders(root: Path, rng: np.random.Generator) -> Truth:
    """Six planes of half precision in npy files, in sub-folders called by the id's first character."""
    names, labels = hexes(rng, 96, 12), in_turn(rng, (0, 1), 96)
    for n, (name, label) in enumerate(zip(names, labels, strict=True)):
        plane = gray(picture(rng, label, 40, level=1.0 if label else 0.6)) / 255 * 6 - 2
        cube = np.stack([plane * (k % 2) + rng.normal(0, 0.1, plane.shape) for k in range(6)]).astype(np.float16)
        path = root / ("train" if n < 72 else "test") / name[0] / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, cube)
    write_csv(root / "train_labels.csv", ["id", "target"], zip(names[:72], labels[:72], strict=True))
    write_csv(root / "sample_submission.csv", ["id", "target"], [(name, 0.5) for name in names[72:]])
    return dict(zip(names[72:], labels[72:], strict=True))


def blank_sample(root: Path, rng: np.random.Generator) -> Truth:
    """The sample's cells hold nothing; the rules stand in description.md."""
    labels = in_turn(rng, range(4), 128)
    for n, label in enumerate(labels):
        save(root / f"images/{n:05}.png", picture(rng, label, hue=label / 4))
    write_csv(root / "train.csv", ["file", "digit"], [(f"{n:05}.png", DIGITS[label]) for n, label in _first(labels)])
    write_csv(root / "sample_submission.csv", ["file", "digit"], [(f"{n:05}.png", None) for n in range(96, 128)])
    text = "# Digits\n\n## Evaluation\n\nSubmissions are scored by the macro F1 score.\n\n## Prizes\n\nNone.\n"
    (root / "description.md").write_text(text, encoding="utf-8")
    return {f"{n:05}.png": DIGITS[label] for n, label in enumerate(labels) if n >= 96}


def _first(labels: list[Any]) -> list[tuple[int, Any]]:
    return list(enumerate(labels))[:96]


def top_three(root: Path, rng: np.random.Generator) -> Truth:
    """One name per picture, three are asked for; one picture of very many is cut short."""
    labels = in_turn(rng, range(4), 128)
    for n, label in enumerate(labels):
        save(root / f"{'train' if n < 96 else 'test'}/{n:05}.jpg", picture(rng, label, ragged(rng), hue=label / 4))
    truncate(root / "train/00007.jpg")
    rows = [(f"{n:05}.jpg", f"w_{DIGITS[label]}") for n, label in _first(labels)]
    write_csv(root / "train.csv", ["Image", "Id"], rows)
    guess = " ".join(f"w_{name}" for name in DIGITS[1:])
    write_csv(root / "sample_submission.csv", ["Image", "Id"], [(f"{n:05}.jpg", guess) for n in range(96, 128)])
    return {f"{n:05}.jpg": f"w_{DIGITS[label]}" for n, label in enumerate(labels) if n >= 96}


def archives_without_top_folder(root: Path, rng: np.random.Generator) -> Truth:
    """The table's paths begin with a folder that the archives lack, and nobody unpacked them."""
    labels, parts = in_turn(rng, range(4), 128), {"train": range(96), "test": range(96, 128)}
    for part, numbers in parts.items():
        for n in numbers:
            save(root.parent / f"packed/{part}/{n // 10}/{n}.png", picture(rng, labels[n], hue=labels[n] / 4))
        write_zip(root / f"{part}.zip", root.parent / f"packed/{part}")
    rows = [(f"train/{n // 10}/{n}.png", DIGITS[label]) for n, label in _first(labels)]
    write_csv(root / "train.csv", ["file_name", "label"], rows)
    asked = [f"test/{n // 10}/{n}.png" for n in parts["test"]]
    write_csv(root / "sample_submission.csv", ["file_name", "label"], [(name, "one") for name in asked])
    return {name: DIGITS[labels[n]] for name, n in zip(asked, parts["test"], strict=True)}


def classes_without_rows(root: Path, rng: np.random.Generator) -> Truth:
    """A column for each of six classes, of which two have no training row; the folder of pictures is cut in parts."""
    names, labels = hexes(rng, 128, 10), in_turn(rng, range(4), 128)
    for n, (name, label) in enumerate(zip(names, labels, strict=True)):
        folder = f"images_part_{1 + n % 3}" if n < 96 else "test_images"
        save(root / folder / f"{name}.{'jpg' if n % 4 else 'png'}", picture(rng, label, ragged(rng), hue=label / 4))
    rows = [(names[n], DIGITS[label]) for n, label in _first(labels)]
    write_csv(root / "metadata.csv", ["image_id", "kind"], rows)
    columns = ["five", *DIGITS, "six"]
    write_csv(root / "sample_submission.csv", ["image_id", *columns], [(name, *[1 / 6] * 6) for name in names[96:]])
    return {name: DIGITS[label] for name, label in zip(names[96:], labels[96:], strict=True)}


def train_val_test(root: Path, rng: np.random.Generator) -> Truth:
    """Class folders for training and validation; numbers that the test's files have too."""
    for part, count in {"train": 20, "val": 6}.items():
        for label, name in enumerate(DIGITS):
            for n in range(count):
                save(root / f"{part}/{name}/{n}.jpg", picture(rng, label, ragged(rng), hue=label / 4))
    labels = in_turn(rng, range(4), 32)
    for n, label in enumerate(labels):
        save(root / f"test/{n}.jpg", picture(rng, label, ragged(rng), hue=label / 4))
    write_csv(root / "sample_submission.csv", ["id", "label"], [(n, "two") for n in range(32)])
    return {str(n): DIGITS[label] for n, label in enumerate(labels)}


def same_names(root: Path, rng: np.random.Generator) -> Truth:
    """Training and test pictures are called alike; a description asks for the area under the curve."""
    truth = {}
    for part, count in {"train": 80, "test": 24}.items():
        labels = in_turn(rng, (0, 1), count)
        for n, label in enumerate(labels, 1):
            save(root / f"{part}/{n}.jpg", picture(rng, label, ragged(rng), hue=0.1 + 0.5 * label))
        truth = {str(n): label for n, label in enumerate(labels, 1)}
        if part == "train":
            write_csv(root / "train_labels.csv", ["name", "invasive"], enumerate(labels, 1))
    write_csv(root / "sample_submission.csv", ["name", "invasive"], [(n, 0) for n in range(1, 25)])
    text = "Evaluation\n==========\n\nSubmissions are evaluated on area under the ROC curve.\n"
    (root / "description.txt").write_text(text, encoding="utf-8")
    return truth


def _map_at_three(truth: list[Any], rows: list[scores.Row], _: scores.Row) -> float:
    """Return the mean of 1/rank of the true label among the first three."""
    ranked = zip(truth, (row[0].split(" ")[:3] for row in rows), strict=True)
    return sum(1 / (1 + said.index(true)) for true, said in ranked if true in said) / len(truth)


def _three_names(cells: list[str]) -> str | None:
    names = cells[0].split(" ")
    good = len(names) == 3 == len(set(names)) and set(names) <= {f"w_{name}" for name in DIGITS}
    return None if good else f"'{cells[0]}' is no list of three names"


FORMS = {
    "class-folders-at-root": Form(class_folders_at_root, rules.RULES["aerial-cactus-identification"],
                                  scores.SCORES["aerial-cactus-identification"], 0.5),
    "array-folders": Form(array_folders, rules.RULES["aerial-cactus-identification"],
                          scores.SCORES["aerial-cactus-identification"], 0.5),
    "blank-sample": Form(blank_sample, rules.names(DIGITS), scores.SCORES["herbarium-2020-fgvc7"], 0.25),
    "top-three": Form(top_three, _three_names, _map_at_three, (1 + 1 / 2 + 1 / 3) / 4),
    "archives-without-top-folder": Form(archives_without_top_folder, rules.names(DIGITS),
                                        scores.SCORES["cassava-leaf-disease-classification"], 0.25),
    "classes-without-rows": Form(classes_without_rows, rules.RULES["dog-breed-identification"],
                                 scores.SCORES["dog-breed-identification"], float(np.log(6)), greater_is_better=False),
    "train-val-test": Form(train_val_test, rules.names(DIGITS),
                           scores.SCORES["cassava-leaf-disease-classification"], 0.25),
    "same-names": Form(same_names, rules.RULES["aerial-cactus-identification"],
                       scores.SCORES["aerial-cactus-identification"], 0.5),
}  # fmt: skip


def fabricate(name: str, root: Path, seed: int = 0) -> Truth:
    """Write a competition of this form into `root` and return the truth of its test rows."""
    root.mkdir(parents=True, exist_ok=True)
    return FORMS[name].write(root, np.random.default_rng((seed, zlib.crc32(name.encode()))))

"""Competitions whose labels are names of files or folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from competitions.files import save, write_csv, write_zip
from competitions.pictures import hexes, in_turn, picture, ragged
from competitions.tabled import Truth

SPECIES = [
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
]


def dogs_vs_cats(root: Path, rng: np.random.Generator) -> Truth:
    """The label is the first part of a file's name; test ids are unpadded integers."""
    counts = {"cat": 0, "dog": 0}
    for kind in in_turn(rng, counts, 80):
        save(root / f"train/{kind}.{counts[kind]}.jpg", _pet(rng, kind))
        counts[kind] += 1
    kinds = in_turn(rng, counts, 24)
    for n, kind in enumerate(kinds, start=1):
        save(root / f"test/{n}.jpg", _pet(rng, kind))
    for part in ("train", "test"):
        write_zip(root / f"{part}.zip", root / part, f"{part}/")
    write_csv(root / "sample_submission.csv", ["id", "label"], [(n, 0.5) for n in range(1, 25)])
    return {str(n): int(kind == "dog") for n, kind in enumerate(kinds, start=1)}


def plant_seedlings(root: Path, rng: np.random.Generator) -> Truth:
    """A folder per class, whose names hold spaces and hyphens; some png have an alpha channel."""
    names = [f"{name}.png" for name in hexes(rng, 168, 9)]
    labels = in_turn(rng, range(12), 144) + in_turn(rng, range(12), 24)
    for n, (name, label) in enumerate(zip(names, labels, strict=True)):
        drawn = picture(rng, label % 10, ragged(rng), hue=label / 12)
        if n % 40 == 0:
            drawn = np.dstack([drawn, np.full(drawn.shape[:2], 255, np.uint8)])
        save(root / (f"train/{SPECIES[label]}" if n < 144 else "test") / name, drawn)
    write_csv(root / "sample_submission.csv", ["file", "species"], [(name, "Sugar beet") for name in names[144:]])
    return {name: SPECIES[label] for name, label in zip(names[144:], labels[144:], strict=True)}


def _pet(rng: np.random.Generator, kind: str) -> np.ndarray:
    return picture(rng, 1 if kind == "cat" else 0, ragged(rng), hue=0.1 if kind == "cat" else 0.6)

"""Competitions whose rows hold several labels: in a cell, or a column each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from competitions.files import save, write_csv
from competitions.pictures import gray, hexes, in_turn, picture
from competitions.tabled import Truth

DISEASES = ["complex", "frog_eye_leaf_spot", "powdery_mildew", "rust", "scab"]
LINES = [
    "ETT - Abnormal",
    "ETT - Borderline",
    "ETT - Normal",
    "NGT - Abnormal",
    "NGT - Borderline",
    "NGT - Incompletely Imaged",
    "NGT - Normal",
    "CVC - Abnormal",
    "CVC - Borderline",
    "CVC - Normal",
    "Swan Ganz Catheter Present",
]
ASKED = LINES[:9]  # the submission and the grader know no more
VOCABULARY = 3474


def imet(root: Path, rng: np.random.Generator) -> Truth:
    """Label ids joined by spaces, of a vocabulary of 3,474 that hardly occurs."""
    kinds = ["country", "culture", "dimension", "medium", "tags"]
    used = sorted(rng.choice(VOCABULARY, size=8, replace=False).tolist())
    names = hexes(rng, 144, 32)
    sets_NC = rng.random((144, 8)) < 0.3
    sets_NC[np.arange(144), in_turn(rng, range(8), 144)] = True  # no row without a label, no label without rows
    for n, (name, held_C) in enumerate(zip(names, sets_NC, strict=True)):
        digits = [label if held else None for label, held in enumerate(held_C)]
        save(root / ("train" if n < 120 else "test") / f"{name}.png", picture(rng, digits, (36, 48)))
    cells = [[used[n] for n in np.flatnonzero(held_C)] for held_C in sets_NC]
    joined = [" ".join(map(str, cell)) for cell in cells]
    write_csv(root / "train.csv", ["id", "attribute_ids"], list(zip(names[:120], joined[:120], strict=True)))
    attributes = [(n, f"{kinds[n * 5 // VOCABULARY]}::attribute {n}") for n in range(VOCABULARY)]
    write_csv(root / "labels.csv", ["attribute_id", "attribute_name"], attributes)
    write_csv(root / "sample_submission.csv", ["id", "attribute_ids"], [(name, "0 1 2") for name in names[120:]])
    return {name: [str(label) for label in cell] for name, cell in zip(names[120:], cells[120:], strict=True)}


def plant_pathology_2021(root: Path, rng: np.random.Generator) -> Truth:
    """Label names joined by spaces; 'healthy' excludes the others; ids carry .jpg."""
    cells = [["healthy"], ["scab"], ["rust"], ["frog_eye_leaf_spot"], ["complex"], ["powdery_mildew"]]
    cells += [["scab", "frog_eye_leaf_spot"], ["rust", "complex"], ["healthy"], ["powdery_mildew", "complex"]]
    drawn, names = in_turn(rng, cells, 144), [f"{name}.jpg" for name in hexes(rng, 144, 16)]
    for n, (name, cell) in enumerate(zip(names, drawn, strict=True)):
        digits = [label if disease in cell else None for label, disease in enumerate(DISEASES)]
        digits.append(8 if cell == ["healthy"] else None)
        leaf = picture(rng, digits, (36, 48), hue=[label / 6 for label in range(6)])
        save(root / ("train_images" if n < 120 else "test_images") / name, leaf)
    joined = [" ".join(cell) for cell in drawn]
    write_csv(root / "train.csv", ["image", "labels"], list(zip(names[:120], joined[:120], strict=True)))
    write_csv(root / "sample_submission.csv", ["image", "labels"], [(name, "healthy") for name in names[120:]])
    return dict(zip(names[120:], drawn[120:], strict=True))


def ranzcr(root: Path, rng: np.random.Generator) -> Truth:
    """11 columns of labels, 9 of which are asked for; patients; ids full of dots; one-channel jpg."""
    ids = [f"1.2.826.0.1.3680043.8.498.{number}" for number in rng.choice(10**9, size=152, replace=False)]
    held_NC = (rng.random((152, len(LINES))) < 0.3).astype(int)
    for n, (id_, held_C) in enumerate(zip(ids, held_NC, strict=True)):
        digits = [label % 10 if held else None for label, held in enumerate(held_C)]
        save(root / ("train" if n < 120 else "test") / f"{id_}.jpg", gray(picture(rng, digits, (48, 48), dark=0.1)))
    patients = [f"{number:09x}" for number in rng.choice(16**9, size=45, replace=False)]
    rows = [
        (id_, *held_C, patients[rng.integers(45)])
        for id_, held_C in zip(ids[:120], held_NC[:120].tolist(), strict=True)
    ]
    write_csv(root / "train.csv", ["StudyInstanceUID", *LINES, "PatientID"], rows)
    marks = [
        (id_, line, str(rng.integers(0, 48, size=(3, 2)).tolist()))
        for id_, held_C in zip(ids[:40], held_NC[:40], strict=True)
        for line, held in zip(LINES, held_C, strict=True)
        if held
    ]
    write_csv(root / "train_annotations.csv", ["StudyInstanceUID", "label", "data"], marks)
    write_csv(root / "sample_submission.csv", ["StudyInstanceUID", *ASKED], [(id_, *[0] * 9) for id_ in ids[120:]])
    return {id_: held_C[:9] for id_, held_C in zip(ids[120:], held_NC[120:].tolist(), strict=True)}

"""Competitions whose labels stand in a CSV: one label, one number or one column per class in a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from competitions.files import save, write_csv, write_json, write_junk, write_zip
from competitions.pictures import gray, hexes, in_turn, picture, ragged

Truth = dict[str, Any]  # test id as the sample submission writes it -> what it is
DISEASES = {
    "0": "Cassava Bacterial Blight (CBB)",
    "1": "Cassava Brown Streak Disease (CBSD)",
    "2": "Cassava Green Mottle (CGM)",
    "3": "Cassava Mosaic Disease (CMD)",
    "4": "Healthy",
}
# 120 breeds: a colour of ink each to the firsts, a digit each to the seconds
FIRSTS = [
    "affen",
    "afghan",
    "african",
    "airedale",
    "black-and-tan_",
    "border_",
    "bouvier_",
    "english_",
    "german_",
    "irish_",
    "shih-",
    "west_",
]
SECONDS = ["collie", "greyhound", "hound", "poodle", "retriever", "setter", "spaniel", "terrier", "tzu", "wolfhound"]
TENS = ["Acer", "Alnus", "Betula", "Cornus", "Eucalyptus", "Ilex", "Magnolia", "Populus", "Quercus", "Tilia"]
ONES = [
    "Canariensis",
    "Capillipes",
    "Circinatum",
    "Incana",
    "Mono",
    "Nigra",
    "Opalus",
    "Pictum",
    "x_Hispanica",
    "Rubra",
]
FACTS = [
    "Subject Focus",
    "Eyes",
    "Face",
    "Near",
    "Action",
    "Accessory",
    "Group",
    "Collage",
    "Human",
    "Occlusion",
    "Info",
    "Blur",
]
LEAVES = ["healthy", "multiple_diseases", "rust", "scab"]


def aerial_cactus(root: Path, rng: np.random.Generator) -> Truth:
    """One number per row; ids carry .jpg; folders beside zips of bare files."""
    names = [f"{name}.jpg" for name in hexes(rng, 104, 32)]
    cactus = in_turn(rng, (1, 1, 1, 0), 104)
    for n, (name, found) in enumerate(zip(names, cactus, strict=True)):
        save(root / ("train" if n < 80 else "test") / name, picture(rng, 7 if found else 0, 32, hue=found / 3))
    for part in ("train", "test"):
        write_zip(root / f"{part}.zip", root / part)
    write_csv(root / "train.csv", ["id", "has_cactus"], list(zip(names[:80], cactus[:80], strict=True)))
    write_csv(root / "sample_submission.csv", ["id", "has_cactus"], [(name, 0.5) for name in names[80:]])
    return dict(zip(names[80:], cactus[80:], strict=True))


def aptos(root: Path, rng: np.random.Generator) -> Truth:
    """Grades 0 to 4, unequally frequent; ragged png whose ids lack the extension."""
    names, grades = hexes(rng, 124, 12), in_turn(rng, (0, 0, 0, 1, 2, 2, 3, 4), 124)
    for n, (name, grade) in enumerate(zip(names, grades, strict=True)):
        drawn = picture(rng, grade, ragged(rng), hue=0.1, level=0.3 + 0.17 * grade, dark=0.05 + 0.08 * grade)
        save(root / ("train_images" if n < 100 else "test_images") / f"{name}.png", drawn)
    write_csv(root / "train.csv", ["id_code", "diagnosis"], list(zip(names[:100], grades[:100], strict=True)))
    write_csv(root / "test.csv", ["id_code"], [(name,) for name in names[100:]])
    write_csv(root / "sample_submission.csv", ["id_code", "diagnosis"], [(name, 2) for name in names[100:]])
    return dict(zip(names[100:], grades[100:], strict=True))


def cassava(root: Path, rng: np.random.Generator) -> Truth:
    """Class numbers, one of them more than half of the rows; TFRecord folders lie beside the pictures."""
    names = [f"{number}.jpg" for number in rng.choice(np.arange(10**8, 4 * 10**9, 997), size=124, replace=False)]
    labels = in_turn(rng, (0, 1, 2, 3, 3, 3, 3, 4), 124)
    for n, (name, label) in enumerate(zip(names, labels, strict=True)):
        save(root / ("train_images" if n < 100 else "test_images") / name, picture(rng, label, hue=label / 5))
    write_junk(root / "train_tfrecords/ld_train00-1338.tfrec", rng)
    write_junk(root / "test_tfrecords/ld_test00-1.tfrec", rng)
    write_json(root / "label_num_to_disease_map.json", DISEASES)
    write_csv(root / "train.csv", ["image_id", "label"], list(zip(names[:100], labels[:100], strict=True)))
    write_csv(root / "sample_submission.csv", ["image_id", "label"], [(name, 4) for name in names[100:]])
    return dict(zip(names[100:], labels[100:], strict=True))


def dog_breed(root: Path, rng: np.random.Generator) -> Truth:
    """120 class names in a column of labels.csv, 120 columns in the sample."""
    breeds = {first + second: (n, m) for n, first in enumerate(FIRSTS) for m, second in enumerate(SECONDS)}
    labels = in_turn(rng, breeds, 360) + in_turn(rng, breeds, 120)
    names = hexes(rng, len(labels), 32)
    for n, (name, label) in enumerate(zip(names, labels, strict=True)):
        first, second = breeds[label]
        save(root / ("train" if n < 360 else "test") / f"{name}.jpg", picture(rng, second, 32, hue=first / 12))
    write_csv(root / "labels.csv", ["id", "breed"], list(zip(names[:360], labels[:360], strict=True)))
    rows = [(name, *[1 / 120] * 120) for name in names[360:]]
    write_csv(root / "sample_submission.csv", ["id", *sorted(breeds)], rows)
    return dict(zip(names[360:], labels[360:], strict=True))


def leaf(root: Path, rng: np.random.Generator) -> Truth:
    """99 species, ragged one-channel jpg of train and test in one folder, 192 numbers beside each."""
    species = {f"{tens}_{ones}": (n, m) for n, tens in enumerate(TENS) for m, ones in enumerate(ONES)}
    del species["Tilia_Rubra"]
    labels = in_turn(rng, species, 396) + in_turn(rng, species, 99)
    ids = (rng.permutation(len(labels)) + 1).tolist()
    facts = rng.random((len(labels), 192)).round(6).tolist()
    for id_, label in zip(ids, labels, strict=True):
        tens, ones = species[label]
        drawn = picture(rng, ones, ragged(rng, 28, 44), level=1 - 0.03 * tens, dark=0.05 * tens)
        save(root / f"images/{id_}.jpg", gray(drawn))
    columns = [f"{kind}{n}" for kind in ("margin", "shape", "texture") for n in range(1, 65)]
    rows = [(id_, label, *row) for id_, label, row in zip(ids, labels, facts, strict=True)]
    write_csv(root / "train.csv", ["id", "species", *columns], rows[:396])
    write_csv(root / "test.csv", ["id", *columns], [(id_, *row) for id_, _, *row in rows[396:]])
    uniform = [(id_, *[1 / 99] * 99) for id_ in ids[396:]]
    write_csv(root / "sample_submission.csv", ["id", *sorted(species)], uniform)
    return {str(id_): label for id_, label in zip(ids[396:], labels[396:], strict=True)}


def petfinder(root: Path, rng: np.random.Generator) -> Truth:
    """A number from 1 to 100; a column called Group that is none."""
    names, values = hexes(rng, 124, 32), rng.integers(1, 101, size=124).tolist()
    facts = rng.integers(0, 2, size=(124, len(FACTS))).tolist()
    for n, (name, value) in enumerate(zip(names, values, strict=True)):
        drawn = picture(rng, (value - 1) // 10, ragged(rng), hue=0.6 * value / 100, dark=0.02 + 0.4 * value / 100)
        save(root / ("train" if n < 100 else "test") / f"{name}.jpg", drawn)
    rows = [(name, *row, value) for name, row, value in zip(names, facts, values, strict=True)]
    write_csv(root / "train.csv", ["Id", *FACTS, "Pawpularity"], rows[:100])
    write_csv(root / "test.csv", ["Id", *FACTS], [row[:-1] for row in rows[100:]])
    guesses = rng.uniform(1, 100, size=24).round(2).tolist()
    write_csv(root / "sample_submission.csv", ["Id", "Pawpularity"], list(zip(names[100:], guesses, strict=True)))
    return dict(zip(names[100:], map(float, values[100:]), strict=True))


def plant_pathology_2020(root: Path, rng: np.random.Generator) -> Truth:
    """One-hot columns, one of them rare; train and test pictures in one folder."""
    drawn = in_turn(rng, [0, 2, 3] * 6 + [1, 1], 100) + in_turn(rng, [0, 2, 3, 1], 32)
    ids = [f"Train_{n}" for n in range(100)] + [f"Test_{n}" for n in range(32)]
    for id_, label in zip(ids, drawn, strict=True):
        save(root / f"images/{id_}.jpg", picture(rng, label, (30, 44), hue=label / 4))
    onehot = {id_: [int(label == n) for n in range(4)] for id_, label in zip(ids, drawn, strict=True)}
    write_csv(root / "train.csv", ["image_id", *LEAVES], [(id_, *onehot[id_]) for id_ in ids[:100]])
    write_csv(root / "test.csv", ["image_id"], [(id_,) for id_ in ids[100:]])
    write_csv(root / "sample_submission.csv", ["image_id", *LEAVES], [(id_, *[0.25] * 4) for id_ in ids[100:]])
    return {id_: onehot[id_] for id_ in ids[100:]}

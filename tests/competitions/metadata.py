"""Competitions whose labels stand in JSON metadata: plants and animals in COCO's manner, and Statoil's records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from competitions.files import save, write_csv, write_json, write_junk, write_tar
from competitions.pictures import SIDE, Array, gray, hexes, in_turn, picture
from competitions.tabled import Truth

TAIL = (14, 13, 12, 12, 11, 11, 10, 8, 6, 1)  # train rows of each category: a long tail, one of a single picture


def herbarium_2020(root: Path, rng: np.random.Generator) -> Truth:
    """Category ids with gaps; image ids are numbers in train and texts in test; a name that is not ASCII."""
    categories = _gapped(rng, 32093)
    families = ["Rosaceae", "Poaceae", "Fabaceae"]
    names = ["Ångstroemia longipes", *(f"Genus{n} species{n}" for n in range(1, len(TAIL)))]
    labels = _long_tail(rng)
    images, annotations = [], []
    for n, label in enumerate(labels):
        category, id_ = categories[label], 1000 + 3 * n
        file = f"images/{category // 100:03}/{category % 100:02}/{id_}.jpg"
        images.append({"file_name": file, "height": SIDE, "id": id_, "license": 1, "width": SIDE})
        annotations.append({"category_id": category, "id": 5000 + n, "image_id": id_, "region_id": n % 3})
        save(root / "nybg2020/train" / file, _plant(rng, label))
    tree = {
        "annotations": _shuffled(rng, annotations),
        "categories": [
            {"family": families[n % 3], "genus": name.split()[0], "id": category, "name": name}
            for n, (category, name) in enumerate(zip(categories, names, strict=True))
        ],
        "images": images,
        "info": {"contributor": "", "year": 2020},
        "licenses": [{"id": 1, "name": "cc", "url": ""}],
        "regions": [{"id": n, "name": f"Region {n}"} for n in range(3)],
    }
    write_json(root / "nybg2020/train/metadata.json", tree)
    asked = in_turn(rng, range(len(TAIL)), 30)
    tests = []
    for n, label in enumerate(asked):
        file = f"images/000/{n}.jpg"
        tests.append({"file_name": file, "height": SIDE, "id": str(n), "license": 1, "width": SIDE})
        save(root / "nybg2020/test" / file, _plant(rng, label))
    test_tree = {"images": _shuffled(rng, tests), "info": tree["info"], "licenses": tree["licenses"]}
    write_json(root / "nybg2020/test/metadata.json", test_tree)
    write_csv(root / "sample_submission.csv", ["Id", "Predicted"], [(n, 0) for n in range(30)])
    return {str(n): categories[label] for n, label in enumerate(asked)}


def herbarium_2022(root: Path, rng: np.random.Generator) -> Truth:
    """The key is image_id; the test file is a bare list; the submission's Id is the number of test-000000.jpg."""
    categories = sorted(rng.choice(15505, size=len(TAIL), replace=False).tolist())
    labels, counts = _long_tail(rng), [0] * len(TAIL)
    images, annotations = [], []
    for label in labels:
        category, counts[label] = categories[label], counts[label] + 1
        image_id = f"{category:05}__{counts[label]:03}"
        file = f"{category // 100:03}/{category % 100:02}/{image_id}.jpg"
        images.append({"image_id": image_id, "file_name": file, "license": 0})
        fact = {"genus_id": label // 3, "institution_id": label % 2, "category_id": category, "image_id": image_id}
        annotations.append(fact)
        save(root / "train_images" / file, _plant(rng, label))
    names = [f"Genus{n // 3} species{n}" for n in range(len(TAIL))]
    tree = {
        "annotations": _shuffled(rng, annotations),
        "images": images,
        "categories": [
            {"category_id": category, "scientificName": f"{name} L.", "family": "Pinaceae", "genus": name.split()[0]}
            for category, name in zip(categories, names, strict=True)
        ],
        "genera": [{"genus_id": n, "genus": f"Genus{n}"} for n in range(4)],
        "institutions": [{"institution_id": n, "collectionCode": code} for n, code in enumerate(("uga", "ny"))],
        "distances": [{"genus_id_x": x, "genus_id_y": y, "distance": 1.5} for x in range(4) for y in range(x)],
        "licenses": [{"id": 0, "name": "cc", "url": ""}],
    }
    write_json(root / "train_metadata.json", tree)
    asked = in_turn(rng, range(len(TAIL)), 30)
    tests = [{"image_id": str(n), "file_name": f"000/test-{n:06}.jpg", "license": 0} for n in range(30)]
    for record, label in zip(tests, asked, strict=True):
        save(root / "test_images" / str(record["file_name"]), _plant(rng, label))
    write_json(root / "test_metadata.json", tests)
    write_csv(root / "sample_submission.csv", ["Id", "Predicted"], [(n, 0) for n in range(30)])
    return {str(n): categories[label] for n, label in enumerate(asked)}


def inaturalist_2019(root: Path, rng: np.random.Generator) -> Truth:
    """Two annotated files, of the second of which some pictures are absent; plain tars called .tar.gz."""
    categories = _gapped(rng, 1010)
    kingdoms = ["Birds", "Fungi", "Plants", "Reptiles"]
    listed = [
        {"id": category, "name": f"Species {category}", "supercategory": kingdoms[n % 4]}
        for n, category in enumerate(categories)
    ]
    shared = {"info": {"year": 2019}, "licenses": [{"id": 1, "name": "cc", "url": ""}], "categories": listed}
    files, number = iter(hexes(rng, 160, 32)), 0
    labels = {"train2019": _long_tail(rng), "val2019": in_turn(rng, range(len(TAIL) - 1), 18)}
    for name, drawn in labels.items():
        images, annotations = [], []
        for n, label in enumerate(drawn):
            file = f"train_val2019/{kingdoms[label % 4]}/{categories[label]}/{next(files)}.jpg"
            images.append(_photo(file, number))
            annotations.append({"id": number, "image_id": number, "category_id": categories[label]})
            if name == "train2019" or n > 1:
                save(root / file, _plant(rng, label))
            number += 1
        write_json(root / f"{name}.json", {**shared, "images": images, "annotations": _shuffled(rng, annotations)})
    asked = in_turn(rng, range(len(TAIL)), 30)
    tests = [_photo(f"test2019/{next(files)}.jpg", 268243 + n) for n in range(30)]
    for record, label in zip(tests, asked, strict=True):
        save(root / record["file_name"], _plant(rng, label))
    write_json(root / "test2019.json", {**shared, "images": _shuffled(rng, tests)})
    for folder in ("train_val2019", "test2019"):
        write_tar(root / f"{folder}.tar.gz", root / folder)
    guesses = rng.integers(0, 1010, size=30).tolist()
    rows = [(record["id"], guess) for record, guess in zip(tests, guesses, strict=True)]
    write_csv(root / "kaggle_sample_submission.csv", ["id", "predicted"], rows)
    return {str(record["id"]): categories[label] for record, label in zip(tests, asked, strict=True)}


def statoil(root: Path, rng: np.random.Generator) -> Truth:
    """No picture files: two bands of 75 x 75 numbers in each record; an angle that may be the text na."""
    names, ice = hexes(rng, 104, 8), in_turn(rng, (0, 1), 104)
    records = []
    for name, found in zip(names, ice, strict=True):
        drawn = gray(picture(rng, 1 if found else 0, 75, dark=0.1 + 0.2 * found))
        first = drawn / 255 * 60 - 40 + rng.normal(0, 1, size=drawn.shape)
        bands = [first, cv2.blur(drawn, (3, 3)) / 255 * 40 - 40 + 15 * found]
        angle = "na" if rng.random() < 0.1 else round(float(rng.uniform(30, 45)), 4)
        flat = {f"band_{n}": band.ravel().round(2).tolist() for n, band in enumerate(bands, start=1)}
        records.append({"id": name, **flat, "inc_angle": angle, "is_iceberg": found})
    write_json(root / "train.json", records[:80])
    tests = [{key: value for key, value in record.items() if key != "is_iceberg"} for record in records[80:]]
    write_json(root / "test.json", tests)
    for part in ("train", "test"):
        write_junk(root / f"{part}.json.7z", rng, b"7z\xbc\xaf\x27\x1c")
    write_csv(root / "sample_submission.csv", ["id", "is_iceberg"], [(name, 0.5) for name in names[80:]])
    return dict(zip(names[80:], ice[80:], strict=True))


def _plant(rng: np.random.Generator, label: int) -> Array:
    return picture(rng, label, SIDE, hue=label / len(TAIL))


def _photo(file: str, id_: int) -> dict[str, Any]:
    facts = {"license": 1, "file_name": file, "rights_holder": "someone"}
    return {**facts, "height": SIDE, "width": SIDE, "id": id_}


def _gapped(rng: np.random.Generator, below: int) -> list[int]:
    """Draw ascending category ids; 0 is none of them."""
    drawn: list[int] = (1 + rng.choice(below - 1, size=len(TAIL), replace=False)).tolist()
    return sorted(drawn)


def _long_tail(rng: np.random.Generator) -> list[int]:
    drawn: list[int] = rng.permutation(np.repeat(np.arange(len(TAIL)), TAIL)).tolist()
    return drawn


def _shuffled(rng: np.random.Generator, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [records[n] for n in rng.permutation(len(records))]

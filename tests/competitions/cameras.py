"""Camera traps: places, whose background gives them away, and test places that are new."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from competitions.files import save, truncate, write_csv, write_json, write_zip
from competitions.pictures import SIDE, Array, in_turn, picture
from competitions.tabled import Truth

ANIMALS = {0: "empty", 3: "coyote", 8: "raccoon", 11: "cat", 19: "deer"}  # category ids with gaps
PHOTO = [
    "date_captured",
    "file_name",
    "frame_num",
    "id",
    "location",
    "rights_holder",
    "seq_id",
    "seq_num_frames",
    "width",
    "height",
]


def iwildcam_2019(root: Path, rng: np.random.Generator) -> Truth:
    """Ids that repeat in both tables, and a sample with an index column that has no name."""
    ids = _uuids(rng, 144)
    labels = in_turn(rng, ANIMALS, 144)
    places = [f"{rng.integers(20)}" for _ in range(120)] + [f"{rng.integers(100, 105)}" for _ in range(24)]
    rows = [
        ("2013-10-04 13:31:53", f"{id_}.jpg", 1 + n % 3, id_, place, "Erin Boydston", f"seq{n // 3}", 3, SIDE, SIDE)
        for n, (id_, place) in enumerate(zip(ids, places, strict=True))
    ]
    for n, (id_, label, place) in enumerate(zip(ids, labels, places, strict=True)):
        save(root / ("train_images" if n < 120 else "test_images") / f"{id_}.jpg", _animal(rng, label, int(place)))
    for part in ("train_images", "test_images"):
        write_zip(root / f"{part}.zip", root / part)
    trained = [(label, *row) for label, row in zip(labels[:120], rows[:120], strict=True)]
    others = list(ANIMALS)
    trained += [(others[(others.index(label) + 1) % 5], *row) for label, *row in trained[:3]]
    trained += [trained[5]]
    write_csv(root / "train.csv", ["category_id", *PHOTO], trained)
    asked = [*rows[120:], rows[121], rows[130]]
    write_csv(root / "test.csv", PHOTO, asked)
    sample = [(n, row[3], 0) for n, row in enumerate(asked)]
    write_csv(root / "sample_submission.csv", ["", "Id", "Category"], sample)
    return dict(zip(ids[120:], labels[120:], strict=True))


def iwildcam_2020(root: Path, rng: np.random.Generator) -> Truth:
    """Annotations in another order than the images, some files truncated or missing, random sample cells."""
    ids, labels = _uuids(rng, 144), in_turn(rng, ANIMALS, 144)
    places = rng.integers(20, size=120).tolist() + rng.integers(100, 105, size=24).tolist()
    images = []
    for n, (id_, label, place) in enumerate(zip(ids, labels, places, strict=True)):
        facts = {"seq_num_frames": 3, "location": place, "datetime": "2013-04-09 07:11:00.000", "id": id_}
        shot = {"frame_num": n % 3, "seq_id": f"seq{n // 3}", "width": SIDE, "height": SIDE}
        images.append({**facts, **shot, "file_name": f"{id_}.jpg"})
        save(root / ("train" if n < 120 else "test") / f"{id_}.jpg", _animal(rng, label, place))
    truncate(root / f"train/{ids[7]}.jpg")
    (root / f"train/{ids[50]}.jpg").unlink()
    truncate(root / f"test/{ids[130]}.jpg")
    annotations = [
        {"count": 1, "image_id": ids[n], "id": f"annotation {n}", "category_id": labels[n]}
        for n in rng.permutation(120).tolist()
    ]
    categories = [{"id": id_, "name": name, "count": labels[:120].count(id_)} for id_, name in ANIMALS.items()]
    shared = {"categories": categories, "info": {"version": "1.0"}}
    tree = {"annotations": annotations, "images": images[:120], **shared}
    write_json(root / "iwildcam2020_train_annotations.json", tree)
    write_json(root / "iwildcam2020_test_information.json", {"images": images[120:], **shared})
    found = [{"category": "1", "bbox": [0.1, 0.1, 0.5, 0.5], "conf": 0.9}]
    results = {
        "info": {"detector": "megadetector_v3"},
        "detection_categories": {"1": "animal", "2": "person"},
        "images": [{"id": id_, "detections": found, "max_detection_conf": 0.9} for id_ in ids],
    }
    write_json(root / "iwildcam2020_megadetector_results.json", results)
    order = [ids[120 + n] for n in rng.permutation(24)]
    write_csv(root / "sample_submission.csv", ["Id", "Category"], [(id_, rng.integers(1000)) for id_ in order])
    return dict(zip(ids[120:], labels[120:], strict=True))


def _animal(rng: np.random.Generator, label: int, place: int) -> Array:
    number = list(ANIMALS).index(label)
    return picture(rng, [number or None], SIDE, hue=number / 5, dark=0.25, ground=np.random.default_rng(place))


def _uuids(rng: np.random.Generator, count: int) -> list[str]:
    names = []
    for _ in range(count):
        text = rng.bytes(16).hex()
        names.append("-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])))
    return names

"""Patients, several pictures each, and columns that give the label away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from competitions.files import save, write_csv, write_dicom, write_junk
from competitions.pictures import gray, in_turn, picture, ragged
from competitions.tabled import Truth

BREAST = "site_id,patient_id,image_id,laterality,view,age"  # of both tables
LEAKS = "biopsy,invasive,BIRADS,implant,density,machine_id,difficult_negative_case"
SKIN = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge"


def rsna_breast(root: Path, rng: np.random.Generator) -> Truth:
    """Several pictures make one prediction; empty cells; DICOM beside png converted from it."""
    patients = rng.choice(np.arange(5, 65000), size=36, replace=False).tolist()
    image_ids = iter(rng.choice(2**31, size=300, replace=False).tolist())
    breasts = [(patient, side) for patient in patients for side in "LR"]
    cancers = in_turn(rng, (1, 0, 0), 48) + in_turn(rng, (1, 0), 24)
    trained, asked, truth = [], [], {}
    for n, ((patient, side), cancer) in enumerate(zip(breasts, cancers, strict=True)):
        for view in ("CC", "MLO"):
            image_id, age = next(image_ids), None if patient % 9 == 0 else 40 + patient % 45
            drawn = gray(picture(rng, 8 if cancer else 1, ragged(rng), dark=0.3 if cancer else 0.1))
            machine, shared = 21 + patient % 4, (1 + patient % 2, patient, image_id, side, view, age)
            if n < 48:
                save(root / f"train_images/{patient}/{image_id}.png", drawn)
                raw = drawn.astype(np.uint16) * 16
                write_dicom(root / f"train_images/{patient}/{image_id}.dcm", raw, inverted=patient % 2 == 1)
                birads, density = (None, None) if patient % 2 == 0 else (0 if cancer else 1, "B")
                trained.append((*shared, cancer, cancer, cancer, birads, 0, density, machine, bool(birads == 0)))
            else:
                save(root / f"test_images/{patient}/{image_id}.png", drawn)
                asked.append((*shared, 0, machine, f"{patient}_{side}"))
                truth[f"{patient}_{side}"] = cancer
    write_csv(root / "train.csv", f"{BREAST},cancer,{LEAKS}".split(","), trained)
    write_csv(root / "test.csv", f"{BREAST},implant,machine_id,prediction_id".split(","), asked)
    write_csv(root / "sample_submission.csv", ["prediction_id", "cancer"], [(id_, 0.021168) for id_ in truth])
    return truth


def siim_isic(root: Path, rng: np.random.Generator) -> Truth:
    """Every picture twice, jpg and dicom; whole patients are new in the test set; empty cells."""
    labels = in_turn(rng, (0, 0, 0, 1), 120) + in_turn(rng, (0, 0, 1), 30)
    ids = [f"ISIC_{number:07}" for number in rng.choice(10**7, size=150, replace=False)]
    sites = ["torso", "head/neck", "lower extremity", None]
    rows = []
    for n, (id_, label) in enumerate(zip(ids, labels, strict=True)):
        patient = f"IP_{rng.integers(40) if n < 120 else rng.integers(40, 50):07}"
        drawn, part = (
            picture(rng, 4 if label else 0, ragged(rng), hue=0.05 + 0.5 * label),
            "train" if n < 120 else "test",
        )
        save(root / f"jpeg/{part}/{id_}.jpg", drawn)
        write_dicom(root / f"{part}/{id_}.dcm", drawn, jpeg=True)
        sex, age = (None, None) if n % 17 == 0 else (("male", "female")[n % 2], 45.0 + 5 * (n % 6))
        diagnosis = ("melanoma", "malignant") if label else (("nevus", "unknown")[n % 2], "benign")
        rows.append((id_, patient, sex, age, sites[n % 4], *diagnosis, label))
    for part in ("train", "test"):
        write_junk(root / f"tfrecords/{part}00-2071.tfrec", rng)
    write_csv(root / "train.csv", f"{SKIN},diagnosis,benign_malignant,target".split(","), rows[:120])
    write_csv(root / "test.csv", SKIN.split(","), [row[:5] for row in rows[120:]])
    write_csv(root / "sample_submission.csv", ["image_name", "target"], [(id_, 0) for id_ in ids[120:]])
    return dict(zip(ids[120:], labels[120:], strict=True))

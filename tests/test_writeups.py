"""Run the write-ups' recipes, the overlays of configs/writeups, as a user would: with a smaller network and picture."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[1] / "configs" / "writeups"
SMALLER = [
    *("folds.n=2", "model.size=32", "train.batch_size=8", "train.precision=fp32", "train.accumulate=1"),
    *("train.epochs=2", "train.warmup_epochs=0", "model.pretrained=false", "train.threads=1"),
]
PEOPLE = "image_id,mask,gender,age,person"


def as_people(root: Path) -> None:
    """Turn the shapes into persons of four pictures each, with a mask, a gender and an age in years."""
    with open(root / "train.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    told = [
        f"{row['image_id']},{row['label']},{'mf'[n % 2]},{20 + 15 * (n % 4)},{row['group']}"
        for n, row in enumerate(rows)
    ]
    (root / "train.csv").write_text("\n".join([PEOPLE, *told]) + "\n")
    with open(root / "test.csv", newline="") as file:
        names = [row["image_id"] for row in csv.DictReader(file)]
    (root / "sample_submission.csv").write_text("image_id,label\n" + "".join(f"{name},0\n" for name in names))


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("plant_leaves", "test_efficientnet"),
        ("unequal_classes", "test_vit"),
        ("transfer", None),
        ("faces", "test_resnet"),
        ("overfitting", "resnet10t"),
    ],
)
def test_a_write_ups_recipe_runs_to_a_submission(name: str, model: str | None, competition: Path, cli) -> None:
    if name == "faces":
        as_people(competition)
    config = yaml.safe_load((competition / "config.yaml").read_text())
    overlay = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    smaller = [
        *SMALLER,
        *([f"model.name={model}"] if model else []),
        *(["model.thaw_epoch=1"] if name == "transfer" else []),
    ]
    if name == "transfer":
        smaller[1] = "model.size=64"
    done = cli(
        *("run", "-c", competition / "config.yaml", "-c", FOLDER / f"{name}.yaml"),
        *(part for setting in smaller for part in ("--set", setting)),
    )
    assert done.returncode == 0, done.stderr
    run = Path(config["runs_dir"]) / "shapes"
    kept = yaml.safe_load((run / "config.yaml").read_text())
    for section, keys in overlay.items():  # nothing of the recipe was lost on the way, but what was made smaller
        if isinstance(keys, dict):
            shrunk = {setting.split("=")[0] for setting in smaller}
            for key, value in keys.items():
                if f"{section}.{key}" not in shrunk and not isinstance(value, dict | list):
                    assert kept[section][key] == value, f"{section}.{key}"
        elif section != "tta":
            assert kept[section] == keys
    scores = json.loads((run / "scores.json").read_text())
    assert scores["metric"] == overlay.get("metric", "accuracy")
    views = [part for view in overlay.get("tta", []) for part in range(int(view.partition(":")[2] or 1))]
    assert not views or len(kept["tta"]) == len(views)
    with open(run / "submission.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 12


def test_every_write_up_is_run() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(
        ["plant_leaves", "unequal_classes", "transfer", "faces", "overfitting"]
    )

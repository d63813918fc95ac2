"""Rows without a readable image leave training and scores, up to a floor; those of the test are answered by a mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import several

from pipeline.batches import fold_rows, seen
from pipeline.batches.inputs import Inputs
from pipeline.checking import stage as check
from pipeline.competition.competition import load as read_tables
from pipeline.config.config import Config
from pipeline.config.loading import load
from pipeline.errors import InputError
from pipeline.files.atomic import read_json
from pipeline.files.tables import read_text_table
from pipeline.folds import fold_table
from pipeline.folds import stage as folds
from pipeline.images.cache import open_config
from pipeline.prediction import stage as predict
from pipeline.prediction.new_images import predict_new
from pipeline.prediction.predictions import Predictions
from pipeline.scoring import stage as score
from pipeline.studies import dry
from pipeline.training import stage as train

SKIP = "data.missing=skip"


def damage(root: Path, *names: str) -> None:
    for name in names:
        path = root / f"images/{name}.png"
        path.write_bytes(path.read_bytes()[:60])


def config_of(root: Path, *settings: str) -> Config:
    return load([root / "config.yaml"], [SKIP, *settings])


def wrong(config: Config) -> list[str]:
    with pytest.raises(InputError) as caught:
        check.run(config)
    with pytest.raises(InputError) as again:
        Inputs().competition(config)
    assert again.value.lines == caught.value.lines
    return caught.value.lines


def test_damaged_rows_leave_every_count_and_every_fold(competition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(competition, "0003", "0050")
    (competition / "images/0004.png").unlink()
    (competition / "images/0051.png").unlink()
    config, inputs = config_of(competition), Inputs()
    found = read_json(check.run(config, inputs=inputs))
    assert (found["rows"], found["images"], found["test_rows"]) == (46, 46, 12)
    assert found["classes"] == {"cross": 15, "disk": 15, "square": 16}
    assert found["groups"] == {"count": 12, "smallest": 3, "largest": 4}
    assert "2 unreadable are passed over" in capsys.readouterr().out
    notes = found["notes"]
    assert notes[0].startswith("1 rows of train.csv have no image and are left out, first ")
    assert notes[1].startswith("1 rows of test.csv have no image, first ") and "images/0051.png" in notes[1]
    assert notes[2].startswith("1 training images cannot be read and their rows are left out, first ")
    assert "0003.png: " in notes[2] and "0050.png: " in notes[3]
    last = "2 test rows have no readable image, first '0050': each is answered by the mean prediction of the others"
    assert notes[4] == last and len(notes) == 5
    folds.run(config, competition=inputs.competition(config))
    table, competed = fold_table.read(config), inputs.competition(config)
    assert len(table.ids) == 46 and not {"0003", "0004"} & set(table.ids.tolist())
    images = inputs.training_images(config)
    assert len(images) == 46 and not images.absent_N.any()
    names = {
        fold_rows.names(competed)[n] for n in fold_rows.train_numbers(competed, table, 0, table.train_ids(0), images)
    }
    assert names == set(table.train_ids(0).tolist())


def test_a_class_that_would_lose_all_rows_is_a_defect(competition: Path) -> None:
    rows = (
        (competition / "train.csv").read_text().replace("0002,square", "0002,star").replace("0003,cross", "0003,star")
    )
    (competition / "train.csv").write_text(rows)
    damage(competition, "0002")
    assert read_json(check.run(config_of(competition)))["classes"]["star"] == 1
    damage(competition, "0003")
    (line,) = wrong(config_of(competition))
    assert f"{competition}: no row of the class star has a readable image; correct the template" in line
    for name in ("0002", "0003"):
        (competition / f"images/{name}.png").unlink()
    (line,) = wrong(config_of(competition))
    assert f"{competition}/train.csv: no row of the class star has a readable image; correct the template" in line


@pytest.mark.parametrize(("first", "what"), [(0, "training images"), (48, "test rows")])
def test_half_of_a_table_without_readable_images_is_a_defect(competition: Path, first: int, what: str) -> None:
    count = 24 if first == 0 else 6
    damage(competition, *(f"{first + n:04d}" for n in range(count - 1)))
    seen.load(config_of(competition))
    damage(competition, f"{first + count - 1:04d}")
    (line,) = wrong(config_of(competition))
    assert f"{count} of {2 * count} {what} have no readable image, too many for data.missing: skip" in line
    assert str(competition) in line and f"{first:04d}" in line


@pytest.mark.parametrize(("key", "table"), [("image", "train.csv"), ("test_image", "test.csv")])
def test_a_wrong_ending_beside_masks_is_a_defect_with_its_remedy(competition: Path, key: str, table: str) -> None:
    (competition / "images/other.png").touch()
    (competition / "images/other.tif").touch()  # so that an ending says what a file is
    settings = [f"data.{key}='images/{{image_id}}.jpg'"]
    settings += ["data.test_image='images/{image_id}.png'"] if key == "image" else []
    lines = wrong(config_of(competition, *settings))
    assert f"{competition}/{table}: " in lines[0] and "rows have no readable image" in lines[0]
    assert ".png', correct the ending in the template" in lines[0]


def test_one_damaged_image_of_several_costs_its_id_nothing(competition: Path) -> None:
    """Patient p00 has the images 0000, 0003, 0006 and 0009; p40 of the test 0048 and three others."""
    several(competition)
    rows = (competition / "train.csv").read_text().splitlines()
    patients = [line.split(",")[-1] for line in rows[1:]]
    same = [f"{n:04d}" for n, name in enumerate(patients) if name == patients[0]]
    tree = yaml.safe_load((competition / "config.yaml").read_text())
    (competition / "config.yaml").write_text(yaml.safe_dump(tree))
    damage(competition, same[0], "0048")
    found = seen.load(config_of(competition))
    assert len(found.ids) == 12 and len(found.images) == 47 and same[0] not in found.image_ids
    assert (found.ids[found.rows_I] == np.array([patients[int(name)] for name in found.image_ids])).all()
    assert not any("test rows have no readable" in note for note in found.notes)
    damage(competition, *same[1:])
    found = seen.load(config_of(competition))
    assert len(found.ids) == len(found.table) == len(found.targets_NC) == 11 and patients[0] not in found.ids
    assert (found.ids[found.rows_I] == np.array([patients[int(name)] for name in found.image_ids])).all()
    assert found.groups is not None and found.groups.tolist() == found.ids.tolist()


def test_damaged_extra_rows_leave(competition: Path) -> None:
    (competition / "more.csv").write_text("image_id,label,group\n0050,cross,\n0051,disk,\n0052,disk,\n")
    config = config_of(competition, "data.extra=[{table: more.csv}]", "data.test_image='images/005{image_id[3]}.png'")
    damage(competition, "0051")
    inputs = Inputs()
    extra = inputs.competition(config).extra
    assert extra is not None and extra.ids.tolist() == ["extra:0050", "extra:0052"]
    assert extra.targets_EC.tolist() == [[1, 0, 0], [0, 1, 0]] and len(inputs.training_images(config)) == 50


def test_without_skip_every_damaged_image_is_refused_together(competition: Path) -> None:
    damage(competition, "0003", "0050")
    lines = wrong(load([competition / "config.yaml"]))
    assert len(lines) == 2 and "0003.png" in lines[0] and "0050.png" in lines[1]


def test_every_process_sees_the_same(competition: Path) -> None:
    """What was decoded before, at which size, and whether there is a cache changes nothing."""
    damage(competition, "0003", "0050")

    def told(*settings: str) -> list[Any]:
        found = Inputs().competition(config_of(competition, *settings))
        return [found.ids.tolist(), found.image_ids.tolist(), found.test_images, found.notes]

    assert told() == told() == told("model.size=16") == told("data.cache.dir=null")


def test_the_test_is_answered_by_the_mean_of_the_others(competition: Path, tmp_path: Path) -> None:
    """By `predict`, and the same by `predict --from`; a run says before that what it would do."""
    damage(competition, "0003", "0050")
    (competition / "images/0051.png").unlink()
    config, inputs = config_of(competition, "train.epochs=1", "tta=[identity, hflip]"), Inputs()
    check.run(config, inputs=inputs)
    folds.run(config, competition=inputs.competition(config))
    train.run(config, inputs=inputs)
    predict.run(config, inputs=inputs)
    score.run(config)
    found = Predictions.load(config.run_dir / "fold1/test.npz")
    lost = np.isin(found.ids, ["0050", "0051"])
    assert found.ids.tolist() == read_tables(config).test_ids.tolist() and lost.sum() == 2
    for view in found.views:
        probs_NC = found.view(view)
        mean = probs_NC[~lost].mean(0, dtype=np.float64)
        np.testing.assert_allclose(probs_NC[lost], np.stack([mean, mean]), atol=1e-6)
    held = read_text_table(config.run_dir / "test.csv").set_index("id").astype(float)
    again = read_text_table(predict_new(config.run_dir, None, tmp_path / "found.csv", [])).set_index("id").astype(float)
    np.testing.assert_allclose(again.loc[held.index], held[again.columns], atol=1e-6)
    assert "0003" not in read_text_table(config.run_dir / "oof.csv")["id"].tolist()
    text = dry.describe(config)
    assert "fold 1: trained already, reused" in text and "reused, 3 folds" in text and "would stop" not in text
    damage(competition, *(f"{n:04d}" for n in range(52, 56)))
    with pytest.raises(InputError, match="6 of 12 rows have no readable image"):
        predict_new(config.run_dir, None, tmp_path / "found.csv", [])


def test_seeing_needs_a_filled_cache_where_nothing_may_be_written(competition: Path) -> None:
    damage(competition, "0003")
    config = config_of(competition)
    tables = read_tables(config)
    assert seen.cached(config, tables) is None and not Path(str(config.data.cache.dir)).exists()
    full = seen.see(config, tables, open_config).competition
    again = seen.cached(config, tables)
    assert again is not None and again.ids.tolist() == full.ids.tolist() and again.notes == full.notes

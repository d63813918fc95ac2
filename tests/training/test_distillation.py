"""What a fold learns from another run: by whom each row was predicted, and which numbers come of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic import CLASSES, TEST_IDS, make_config, make_folds, make_run, make_sample, pets

from pipeline.batches import fold_rows, seen
from pipeline.competition.competition import load
from pipeline.config.config import Config
from pipeline.config.loading import dump, parse
from pipeline.errors import InputError, MismatchError
from pipeline.files.atomic import write_text
from pipeline.files.tables import write_table
from pipeline.folds.fold_table import FoldTable
from pipeline.images.cache import open_config
from pipeline.prediction.predictions import Predictions
from pipeline.training.teaching.distillation import FoldData, Teachers

ROWS = 30


def written(folder: Path, **changes: Any) -> tuple[Config, FoldTable, dict[int, Predictions]]:
    """Write a competition of three classes and a teacher `t` of three folds; return the student's config."""
    teacher = make_config(folder, run="t", data__cache={"dir": None}, folds={"n": 3})
    root = Path(teacher.data.root)
    root.mkdir()
    table = make_folds(teacher, pets(ROWS))
    write_table(root / "train.csv", pd.DataFrame({"id": table.ids, **table.targets}))
    make_sample(teacher)
    for name in [*table.ids, *TEST_IDS]:
        Image.new("RGB", (8, 8), (int(name) % 256, 0, 0)).save(root / f"{name}.png")
    truth_NC = np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]
    made = make_run(teacher, table, truth_NC)
    student = make_config(folder, run="s", data__cache={"dir": None}, folds={"n": 3}, **changes)
    return student, table, made


def learnt(config: Config, table: FoldTable, fold: int) -> tuple[Teachers, FoldData]:
    teachers = Teachers(config, load(config), table)
    images = open_config(config, fold_rows.sources(teachers.competition), progress=False)
    return teachers, teachers.fold(fold, images)


def test_without_a_teacher_everything_stays(tmp_path: Path) -> None:
    config, table, _ = written(tmp_path)
    competition = load(config)
    teachers = Teachers(config, competition, table)
    images = open_config(config, fold_rows.sources(teachers.competition), progress=False)
    found = teachers.fold(0, images)
    assert found.competition is competition and teachers.competition is competition and found.images is images
    assert found.note is None and teachers.hashes == fold_rows.hashes(competition) == {}


def test_targets_are_drawn_to_models_that_did_not_train_on_the_row(tmp_path: Path) -> None:
    config, table, made = written(tmp_path, distill={"teacher": "t", "weight": 0.3})
    for fold in range(3):
        _, found = learnt(config, table, fold)
        own = found.competition
        for name, target_C in zip(own.ids, own.targets_NC, strict=True):
            row = int(name)
            truth_C = np.eye(3)[CLASSES.index(table.targets["label"][row])]
            home = int(table.fold[row])
            by = made[home]  # the model that validated this row
            oof_C = by.probs_NVC[by.ids.tolist().index(name)].mean(0, dtype=np.float64)
            wanted_C = truth_C if home == fold else 0.7 * truth_C + 0.3 * oof_C
            np.testing.assert_allclose(target_C, wanted_C, atol=1e-6)
        assert found.note == "20 targets mixed with predictions of t"
        assert own.targets_NC.dtype == np.float32


def test_rows_that_are_never_validated_keep_the_truth(tmp_path: Path) -> None:
    config, table, _ = written(tmp_path, distill={"teacher": "t", "weight": 1.0})
    fold_N = table.fold.copy()
    fold_N[:6] = -1
    kept = replace(table, fold=fold_N)
    for fold in range(3):
        path = tmp_path / f"runs/t/fold{fold}/valid.npz"
        old = Predictions.load(path)
        mine = np.isin(old.ids, kept.valid_ids(fold))
        meta = {**old.meta, "fold_hash": kept.fold_hash}
        Predictions(old.ids[mine], old.views, old.classes, old.probs_NVC[mine], meta).save(path)
    _, found = learnt(config, kept, 0)
    np.testing.assert_array_equal(found.competition.targets_NC[:6].max(1), 1)
    assert (found.competition.targets_NC[fold_N > 0].max(1) < 1).all()


def test_a_single_validated_fold_has_nothing_to_distil(tmp_path: Path) -> None:
    config, table, _ = written(tmp_path, distill={"teacher": "t"})
    held = replace(table, fold=np.where(table.fold == 0, 0, -1))
    path = tmp_path / "runs/t/fold0/valid.npz"
    old = Predictions.load(path)
    replace(old, meta={**old.meta, "fold_hash": held.fold_hash}).save(path)
    with pytest.raises(InputError, match="no row that fold 0 trains on is predicted out of fold"):
        Teachers(config, load(config), held)


def test_a_labelled_test_image_that_a_fold_validates_is_left_out(tmp_path: Path) -> None:
    config, table, _ = written(tmp_path, pseudo={"teacher": "t", "threshold": 0.4})
    first, shown = table.ids[4], f"test:{TEST_IDS[0]}"
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    for name in (first, TEST_IDS[0]):
        Image.fromarray(pixels).save(Path(config.data.root) / f"{name}.png")
    competition = seen.see(config, load(config), lambda *asked: open_config(*asked, progress=False)).competition
    teachers = Teachers(config, competition, table)
    images = open_config(config, fold_rows.sources(teachers.competition), progress=False)
    assert set(teachers.hashed(table, images)[1]) - set(teachers.hashes) == {"equal_extra"}
    for fold in range(3):
        found = teachers.fold(fold, images)
        assert shown in fold_rows.names(found.competition)
        numbers = fold_rows.train_numbers(found.competition, table, fold, table.train_ids(fold), found.images)
        assert (shown in fold_rows.names(found.competition)[numbers]) == (table.fold[4] != fold)


@pytest.mark.parametrize("soft", [False, True])
def test_a_fold_learns_test_labels_from_its_own_model_alone(tmp_path: Path, soft: bool) -> None:
    config, table, _ = written(tmp_path, pseudo={"teacher": "t", "threshold": 0.6, "weight": 0.5, "soft": soft})
    chosen = []
    for fold in range(3):
        test = Predictions.load(tmp_path / f"runs/t/fold{fold}/test.npz")
        mean = dict(zip(test.ids.tolist(), test.probs_NVC.mean(1, dtype=np.float64), strict=True))
        sure = [name for name in TEST_IDS if mean[name].max() >= 0.6]
        teachers, found = learnt(config, table, fold)
        extra = found.competition.extra
        assert extra is not None and extra.ids.tolist() == [f"test:{name}" for name in sure]
        wanted = [mean[name] if soft else np.eye(3)[mean[name].argmax()] for name in sure]
        np.testing.assert_allclose(extra.targets_EC, wanted, atol=1e-6)
        assert extra.weights_E.tolist() == [0.5] * len(sure)
        assert len(teachers.competition.extra.ids if teachers.competition.extra else []) == 5
        chosen.append(sure)
        numbers = fold_rows.train_numbers(found.competition, table, fold, table.train_ids(fold), found.images)
        held = fold_rows.present(fold_rows.of(found.competition, found.images), found.images, numbers)
        reds = {name: int(held.images[n][0, 0, 0]) for n, name in enumerate(held.ids.tolist())}
        assert len(reds) == 20 + len(sure)
        assert all(red == int(name.removeprefix("test:")) % 256 for name, red in reds.items()), "every id its image"
        assert not set(reds) & set(table.valid_ids(fold))
    assert chosen[0] != chosen[1], "the models agree; the test shows nothing"


def test_other_folds_classes_and_lacking_files_are_refused_together(tmp_path: Path) -> None:
    config, table, _ = written(tmp_path, distill={"teacher": "t"})
    competition = load(config)
    Predictions.load(path := tmp_path / "runs/t/fold0/valid.npz")
    old = Predictions.load(path)
    replace(old, meta={**old.meta, "fold_hash": "0" * 64}).save(path)
    (tmp_path / "runs/t/fold1/valid.npz").unlink()
    path = tmp_path / "runs/t/fold2/valid.npz"
    replace(Predictions.load(path), classes=("cat", "dog", "elk")).save(path)
    with pytest.raises(MismatchError) as error:
        Teachers(config, competition, table)
    folds, lacking, classes = error.value.lines
    assert "made on folds 000000000000" in folds and "missing" in lacking and "elk" in classes


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    config, table, _ = written(tmp_path, pseudo={"teacher": "t", "threshold": 1.0})
    with pytest.raises(InputError, match="no row of the test reaches 1, the surest has 0"):
        Teachers(config, load(config), table)
    tree = config.model_dump(mode="json")
    for changes, reason in (
        ({"distill": {"teacher": "s"}, "pseudo": {}}, "distill.teacher: found this run itself"),
        ({"pseudo": {"threshold": 0.5}}, "pseudo: found threshold, but no teacher"),
        ({"distill": {"teacher": "t", "weight": 0}}, "distill.weight"),
        (
            {"data": {**tree["data"], "task": "regression"}, "metric": "rmse", "loss": {"name": "mse"}},
            "pseudo.threshold: asks how probable a label is, a regression task has values",
        ),
    ):
        with pytest.raises(InputError, match=reason):
            parse({**tree, **changes}, "x")
    unknown = parse({**tree, "pseudo": {"teacher": "nobody"}}, "x")
    with pytest.raises(InputError, match=r"pseudo\.teacher: found 'nobody', expected a run in"):
        Teachers(unknown, load(config), table)
    own = make_config(tmp_path, run="t", train__seeds=[1, 2], data__task="ordinal")
    write_text(tmp_path / "runs/t/config.yaml", dump(own))
    with pytest.raises(InputError) as error:
        Teachers(config, load(config), table)
    assert error.value.lines == [
        "pseudo.teacher: 't' learns ordinal targets, expected multiclass as here",
        "pseudo.teacher: 't' is a run for each of several seeds; name one of 't-s1', 't-s2'",
    ]


def test_hashes_follow_the_predictions_and_the_settings(tmp_path: Path) -> None:
    config, table, _ = written(tmp_path, distill={"teacher": "t"}, pseudo={"teacher": "t", "threshold": 0.5})
    competition = load(config)
    first = Teachers(config, competition, table).hashes
    assert Teachers(config, competition, table).hashes == first
    order = np.random.default_rng(0).permutation(ROWS)
    shuffled = replace(competition, ids=competition.ids[order], targets_NC=competition.targets_NC[order])
    assert Teachers(config, shuffled, table).hashes == first, "the order of the input says nothing"
    path = tmp_path / "runs/t/fold0/test.npz"
    old = Predictions.load(path)
    replace(old, probs_NVC=old.probs_NVC[:, :, ::-1]).save(path)
    again = Teachers(config, competition, table).hashes
    assert [key for key in first if first[key] != again[key]] == ["pseudo.teacher"]

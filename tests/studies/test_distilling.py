"""`distill` and `pseudo` from a teacher to a submission: they resume, and refuse what has changed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import SHAPES
from synthetic import CLASSES, TEST_IDS, make_config, make_folds, make_run, pets

from pipeline.cli import main
from pipeline.config.config import Config
from pipeline.config.loading import load
from pipeline.files.tables import write_table
from pipeline.folds import stage as folds
from pipeline.prediction import stage as predict
from pipeline.prediction.predictions import Predictions
from pipeline.scoring import optimism
from pipeline.scoring import stage as score
from pipeline.training import stage as train


@pytest.fixture
def taught(competition: Path) -> Path:
    """Train the teacher, `shapes`, and hold the test's labels back."""
    truth = [f"{number:04d},{SHAPES[number % 3]}" for number in range(48, 60)]
    (competition / "solution.csv").write_text("image_id,label\n" + "\n".join(truth) + "\n")
    path = competition / "config.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["data"]["solution"] = "solution.csv"
    path.write_text(yaml.safe_dump(tree))
    for stage in (folds.run, train.run, predict.run):
        stage(load([path]))
    return competition


def student(root: Path, *settings: str) -> Config:
    return load([root / "config.yaml"], [f"runs_dir={root.parent}/runs", "run=student", *settings])


def cut_and_whole(config: Config, other: Config) -> list[bytes]:
    """Train the first with a break after its first epoch and the other without; return their weights."""

    def stop(_: int, epochs: Sequence[object]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.run(config, [0], watch=stop)
    assert not (config.run_dir / "fold0/model.safetensors").exists()
    for one in (config, other):
        train.run(one, [0])
    return [(one.run_dir / "fold0/model.safetensors").read_bytes() for one in (config, other)]


def test_distill_trains_a_student_that_any_command_takes(taught: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, command = taught.parent / "runs", ["distill", "-c", str(taught / "config.yaml"), "--from", "shapes"]
    capsys.readouterr()
    assert main([*command, "--weight", "0.5"]) == 0
    printed = capsys.readouterr().out
    assert "fold 0: 32 targets mixed with predictions of shapes" in printed
    assert "single models on 12 held-back rows" in printed and "optimistic by" in printed
    run = runs / "shapes-distill"
    assert yaml.safe_load((run / "distill.yaml").read_text()) == {
        "run": "shapes-distill",
        "distill": {"teacher": "shapes", "weight": 0.5},
    }
    assert (run / "submission.csv").is_file() and (run / "report.html").is_file()
    (lead,) = [line for line in printed.splitlines() if line.startswith("shapes-distill leads shapes by ")]
    score.run(load([taught / "config.yaml"]))
    capsys.readouterr()
    means = [
        json.loads((runs / name / "scores.json").read_text())["variants"]["tta"]["mean"]
        for name in ("shapes-distill", "shapes")
    ]
    assert f"by {means[0] - means[1]:+.4f}, 90 % interval " in lead and "resamples of 12 groups" in lead
    assert any("distilled" in text for text in json.loads((run / "scores.json").read_text())["warnings"])
    names = [f"fold{fold}/model.safetensors" for fold in range(3)]
    assert all((run / name).read_bytes() != (runs / "shapes" / name).read_bytes() for name in names)

    again = ["run", "-c", str(taught / "config.yaml"), "-c", str(run / "distill.yaml")]
    assert main(again) == 0
    assert capsys.readouterr().out.count("trained already") == 3
    assert main([*again, "--dry"]) == 0
    assert capsys.readouterr().out.count("trained already, reused") == 3
    assert main([*command, "--weight", "0.25"]) == 3
    assert "distill.weight: '0.5' -> '0.25'" in capsys.readouterr().err
    path = runs / "shapes/fold1/valid.npz"
    old = Predictions.load(path)
    Predictions(old.ids, old.views, old.classes, old.probs_NVC[:, :, ::-1], old.meta).save(path)
    assert main(again) == 3
    assert "distill.teacher" in capsys.readouterr().err


def test_a_student_resumes_with_the_same_bytes(taught: Path) -> None:
    sections = ("distill={teacher: shapes, weight: 1.0}", "pseudo={teacher: shapes, threshold: 0.0}")
    cut, whole = cut_and_whole(student(taught, *sections), student(taught, *sections, "run=other"))
    assert cut == whole
    plain = student(taught, "run=plain")
    train.run(plain, [0])
    assert (plain.run_dir / "fold0/model.safetensors").read_bytes() != whole


def test_a_folder_is_labelled_by_each_folds_own_model(taught: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, runs = taught / "found", taught.parent / "runs"
    folder.mkdir()
    for number in range(48, 60):  # the test's images: the teacher's own predictions of them say what is expected
        shutil.copy(taught / f"images/{number:04d}.png", folder)
    (folder / "notes.txt").write_text("no image")
    command = ["pseudo", "-c", str(taught / "config.yaml"), "--from", str(runs / "shapes"), "--images", str(folder)]
    assert main([*command, "--threshold", "0.4", "--set", "run=student", "--set", "pseudo.weight=0.5"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"\nstudent leads shapes by [+-]0\.\d{4}, 90 % interval ", printed)
    for fold in range(3):
        made = Predictions.load(runs / f"student/fold{fold}/pseudo.npz")
        own = Predictions.load(runs / f"shapes/fold{fold}/test.npz")
        assert sorted(made.ids) == sorted(own.ids)
        order = [own.ids.tolist().index(name) for name in made.ids]
        np.testing.assert_allclose(made.probs_NVC[:, 0], own.view("identity")[order], atol=1e-6)
        sure = int((own.view("identity").max(1) >= 0.4).sum())
        assert f"fold {fold}: {sure} of 12 rows labelled by" in printed
    stamp = (runs / "student/fold0/pseudo.npz").stat().st_mtime_ns
    shutil.rmtree(runs / "student/fold1")
    train.run(load([taught / "config.yaml", runs / "student/pseudo.yaml"]))
    assert (runs / "student/fold1/pseudo.npz").is_file()
    assert (runs / "student/fold0/pseudo.npz").stat().st_mtime_ns == stamp


def test_the_flattery_is_the_lead_out_of_fold_less_that_of_single_models(tmp_path: Path) -> None:
    teacher = make_config(tmp_path, run="t", tta=["identity"])
    config = make_config(tmp_path, run="s", distill={"teacher": "t"}, tta=["identity"], data__solution="solution.csv")
    table, root = make_folds(teacher, pets(300)), Path(teacher.data.root)
    root.mkdir()
    write_table(root / "solution.csv", pd.DataFrame({"id": TEST_IDS, "label": ["cat", "dog", "eel", "cat", "dog"]}))
    truth_NC = np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]
    held = np.array([0, 1, 2, 0, 1])
    oof, single = [], []
    for made, seed in ((teacher, 1), (config, 2)):
        valid = make_run(made, table, truth_NC, views=("identity",), seed=seed)
        right = [
            (found.probs_NVC[:, 0].argmax(1) == truth_NC[[int(name) for name in found.ids]].argmax(1)).mean()
            for found in valid.values()
        ]
        tests = [Predictions.load(made.run_dir / f"fold{fold}/test.npz") for fold in range(3)]
        answers = [test.probs_NVC[np.argsort(test.ids), 0].argmax(1) for test in tests]
        oof.append(np.mean(right))
        single.append(np.mean([(answer == held).mean() for answer in answers]))
    text = optimism.measured(config)
    assert text is not None
    lead, outside = oof[1] - oof[0], single[1] - single[0]
    assert f"out of fold {lead:+.4f}, single models on 5 held-back rows {outside:+.4f}" in text
    assert f"optimistic by {lead - outside:+.4f}" in text
    assert optimism.measured(make_config(tmp_path, run="s", distill={"teacher": "t"})) is None, "nothing held back"

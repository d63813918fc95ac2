"""What a run was trained with stays in its config.yaml, whatever later stages are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline.blending import stage as ensemble
from pipeline.config.config import Config
from pipeline.config.loading import load
from pipeline.config.run_configs import of_run
from pipeline.folds import stage as folds
from pipeline.prediction import stage as predict
from pipeline.prediction.new_images import predict_new
from pipeline.report import stage as report
from pipeline.report.files import Run
from pipeline.report.training_cards import header, settings
from pipeline.scoring import diff
from pipeline.scoring import stage as score
from pipeline.training import stage as train

Loads = pytest.CaptureFixture[str]


def asked(competition: Path, *settings: str) -> Config:
    return load([competition / "config.yaml"], ["train.epochs=1", "folds.n=2", "tta=[identity]", *settings])


@pytest.fixture
def run_dir(competition: Path) -> Path:
    config = asked(competition)
    for stage in (folds, train, predict, score, ensemble):
        stage.run(config)
    assert not (config.run_dir / "predict.yaml").exists()
    return config.run_dir


def test_predict_says_apart_what_it_was_asked_for(run_dir: Path, competition: Path, capsys: Loads) -> None:
    trained = (run_dir / "config.yaml").read_bytes()
    capsys.readouterr()
    config = asked(competition, "train.epochs=99", "train.lr=1", "tta=[identity, hflip]", "metric=log_loss")
    predict.run(config)
    assert (run_dir / "config.yaml").read_bytes() == trained
    assert yaml.safe_load((run_dir / "predict.yaml").read_text()) == {
        "metric": "log_loss",
        "tta": ["identity", "hflip"],
    }
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    stays = f"that stays so, and in {run_dir / 'config.yaml'}"
    assert notes == [
        f"note: train.epochs: trained with 1, not 99: {stays}",
        f"note: train.lr: trained with 0.01, not 1.0: {stays}",
    ]
    found = of_run(run_dir)
    assert (found.train.epochs, found.tta, found.metric) == (1, ["identity", "hflip"], "log_loss")
    for stage in (score, ensemble, report):
        stage.run(config)
    assert (run_dir / "config.yaml").read_bytes() == trained
    predict.run(asked(competition))
    assert not (run_dir / "predict.yaml").exists() and (run_dir / "config.yaml").read_bytes() == trained


def test_report_and_diff_believe_what_was_trained(run_dir: Path, competition: Path, capsys: Loads) -> None:
    other = asked(competition, "run=other")
    for stage in (train, predict):
        stage.run(other)
    config = asked(competition, "train.epochs=99", "tta=[identity, hflip]")
    predict.run(config)
    page, shown = header(Run(config)), settings(Run(config)).html
    assert "1 epochs" in page and "99" not in page
    assert "epochs: 1\n" in shown and "epochs: 99" not in shown and "predict.yaml" in shown
    capsys.readouterr()
    diff.run(["other", "shapes"], run_dir.parent)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["config:", "  tta: ['identity'] -> ['identity', 'hflip']"]
    assert lines[3].startswith("accuracy")


def test_another_size_in_prediction_is_told_and_used_for_new_images(
    run_dir: Path, competition: Path, tmp_path: Path, capsys: Loads
) -> None:
    other = asked(competition, "run=other")
    for stage in (train, predict):
        stage.run(other)
    config = asked(competition, "model.size=48", "tta=[identity, hflip]")
    predict.run(config)
    score.run(config)
    assert load([run_dir / "config.yaml"]).model.size == 32
    capsys.readouterr()
    diff.run(["other", "shapes"], run_dir.parent)
    assert "  model.size: 32 -> 48 (in prediction)\n" in capsys.readouterr().out
    out = predict_new(run_dir, None, tmp_path / "new.csv", [])
    new, known = (pd.read_csv(path, dtype={"id": str}).set_index("id") for path in (out, run_dir / "test.csv"))
    np.testing.assert_allclose(new.loc[known.index, known.columns], known, atol=1e-5)


def test_a_member_is_averaged_over_the_views_it_was_predicted_with(run_dir: Path, competition: Path) -> None:
    predict.run(asked(competition, "tta=[identity, hflip]"))
    blend = asked(competition, "run=blend", "ensemble.members=[shapes]")
    ensemble.run(blend)
    score.run(asked(competition, "tta=[identity, hflip]"))
    both, tta = (pd.read_csv(path).set_index("id") for path in (blend.run_dir / "blend.csv", run_dir / "test.csv"))
    pd.testing.assert_frame_equal(both, tta)
    predict.run(asked(competition))
    ensemble.run(blend)
    score.run(asked(competition))
    plain = pd.read_csv(blend.run_dir / "blend.csv").set_index("id")
    pd.testing.assert_frame_equal(plain, pd.read_csv(run_dir / "test.csv").set_index("id"))
    assert not np.allclose(plain, both)

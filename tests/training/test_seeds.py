"""Several seeds of one config: a run of each, blended as one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import run
from pipeline.blending import stage as ensemble
from pipeline.config.config import Config
from pipeline.config.loading import load
from pipeline.config.search_space.resolve import read as read_space
from pipeline.config.search_space.resolve import settle
from pipeline.errors import InputError
from pipeline.files.tables import read_text_table
from pipeline.prediction.new_images import predict_new
from pipeline.prediction.predictions import Predictions
from pipeline.studies import dry
from pipeline.training import stage as train

QUICK = ["train.epochs=1", "folds.n=2"]
CLASSES = ["cross", "disk", "square"]


@pytest.fixture
def seeded(competition: Path) -> Config:
    return load([competition / "config.yaml"], ["train.seeds=[1,2]", "tta=[identity,hflip]", *QUICK])


def oof(run_dir: Path) -> np.ndarray:
    """Return [N,V,C], rows sorted by id."""
    found = [Predictions.load(path) for path in sorted(run_dir.glob("fold*/valid.npz"))]
    order = np.argsort(np.concatenate([one.ids for one in found]))
    return np.concatenate([one.probs_NVC for one in found])[order].astype(np.float64)


def table(path: Path) -> np.ndarray:
    return read_text_table(path).sort_values("id")[CLASSES].astype(float).to_numpy()


def test_every_seed_is_a_run_of_its_own_and_a_member(
    seeded: Config, competition: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.run(seeded) == seeded.run_dir == Path(seeded.runs_dir) / "shapes"
    out = capsys.readouterr().out
    assert "accuracy, OOF, mean of shapes-s1, shapes-s2" in out
    folders = [Path(seeded.runs_dir) / f"shapes-s{seed}" for seed in (1, 2)]
    assert [one.run_dir for one in seeded.per_seed] == folders
    means = [json.loads((folder / "scores.json").read_text())["variants"]["tta"]["mean"] for folder in folders]
    assert f"1: {means[0]:.4f}, 2: {means[1]:.4f}; mean {np.mean(means):.4f}, ± {np.std(means, ddof=1):.4f}" in out
    first, second = (oof(folder) for folder in folders)
    assert np.abs(first - second).max() > 1e-3, "another seed is another network"
    np.testing.assert_allclose(table(seeded.run_dir / "blend_oof.csv"), (first + second).mean(1) / 2, atol=1e-6)
    report = json.loads((seeded.run_dir / "ensemble.json").read_text())
    assert report["members"] == ["shapes-s1", "shapes-s2"]
    assert report["notes"] == ["members: this config with the seeds 1, 2"]
    assert "this config with the seeds 1, 2" in (seeded.run_dir / "report.html").read_text()
    assert not list(seeded.run_dir.glob("fold*"))

    alone = load([competition / "config.yaml"], ["run=shapes-s2", "train.seed=2", *QUICK])
    train.run(alone)
    assert capsys.readouterr().out.count("trained already") == 2, "what an ordinary run of that seed trains"

    run.run(seeded)
    assert capsys.readouterr().out.count("trained already") == 4
    plan = dry.describe(seeded)
    assert plan.count("trained already, reused") == 4 and plan.count("ensemble  ") == 1 and "runs\n" not in plan
    more = load([competition / "config.yaml"], ["train.seeds=[1,2,3]", "tta=[identity,hflip]", *QUICK])
    plan = dry.describe(more)
    assert plan.count("trained already, reused") == 4 and plan.count("1 epochs on 24 rows") == 2
    assert "ensemble  runs" in plan

    paths = [predict_new(folder, None, seeded.run_dir / f"{folder.name}.csv", []) for folder in folders]
    both = predict_new(seeded.run_dir, None, seeded.run_dir / "both.csv", [])
    np.testing.assert_allclose(table(both), np.mean([table(path) for path in paths], axis=0), atol=1e-6)
    assert "4 fold models" in capsys.readouterr().out


def test_members_may_be_named_beside_other_runs(seeded: Config, competition: Path) -> None:
    run.run(seeded, only=[0])
    assert not (seeded.run_dir / "submission.csv").exists(), "some folds end with a partial score"
    for one in seeded.per_seed:
        assert json.loads((one.run_dir / "scores.json").read_text())["partial"]
    with pytest.raises(Exception, match=r"shapes-s1.*fold1"):
        ensemble.run(seeded)


def test_seeds_that_make_no_sense_are_refused(competition: Path) -> None:
    for text, match in (("[1,1]", "expected each seed once"), ("[]", "at least 1"), ("[-1]", "greater than or equal")):
        with pytest.raises(InputError, match=match):
            load([competition / "config.yaml"], [f"train.seeds={text}"])


def test_a_study_trains_one_seed(seeded: Config, competition: Path) -> None:
    assert settle(seeded, {"train.lr": 1e-3}).train.seeds is None
    searched = load([competition / "config.yaml"], ["tune.space={train.seeds: {choice: [[1], [2]]}}"])
    with pytest.raises(InputError, match=r"train\.seeds: cannot be searched: a trial has one seed"):
        read_space(searched)

"""The order of the stages and the line of times, with stages that do nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic import make_config

from pipeline import run as pipeline_run
from pipeline.batches.inputs import Inputs
from pipeline.blending import stage as ensemble
from pipeline.checking import stage as check
from pipeline.competition.rows.reader import Reader
from pipeline.config.loading import load
from pipeline.folds import stage as folds
from pipeline.images import cache
from pipeline.prediction import stage as predict
from pipeline.report import stage as report
from pipeline.scoring import stage as score
from pipeline.starting import example
from pipeline.training import stage as train

STAGES = ("check", "folds", "train", "predict", "score", "ensemble", "report")


@pytest.mark.parametrize(
    ("only", "after"),
    [(None, ["ensemble", "held_back", "report"]), ([0], [])],
)
def test_every_stage_runs_once_in_order(
    only: list[int] | None,
    after: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done: list[str] = []
    for stage, name in zip((check, folds, train, predict, score, ensemble, report), STAGES, strict=True):
        monkeypatch.setattr(stage, "run", lambda *_, name=name, **__: done.append(name))
    monkeypatch.setattr(example, "held_back", lambda _: done.append("held_back"))  # before the report, which shows it
    monkeypatch.setattr(Inputs, "competition", lambda *_: None)
    config = make_config(tmp_path)
    assert pipeline_run.run(config, only) == config.run_dir
    assert done == ["check", "folds", "train", "predict", "score", *after]
    stages = [name for name in done if name != "held_back"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[: len(stages)] == [f"── {name}" for name in stages]
    assert lines[len(stages)] == "── times " + "  ".join(f"{name} 0.0 s" for name in stages)


def test_a_job_reads_the_tables_once_and_opens_each_set_of_images_once(
    competition: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """check, folds, train, predict and report each did it anew, seconds each at 60,000 rows."""
    read, opened = [], []
    make, look = Reader.__init__, cache.open_images
    monkeypatch.setattr(Reader, "__init__", lambda *args: (read.append(1), make(*args))[1])
    monkeypatch.setattr(
        cache, "open_images", lambda *args, **named: (opened.append(named["label"]), look(*args, **named))[1]
    )
    config = load([competition / "config.yaml"], ["train.epochs=1", "folds.n=2", "train.seeds=[1, 2]"])
    pipeline_run.run(config)
    assert len(read) == 1
    assert [label for label in opened if label] == ["training images", "test images"]

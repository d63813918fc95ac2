from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import several

from pipeline import run as pipeline_run
from pipeline.blending import stage as ensemble
from pipeline.cli import main
from pipeline.config import fingerprints
from pipeline.config.loading import load as load_config
from pipeline.errors import InputError
from pipeline.folds import stage as folds
from pipeline.images import decoding
from pipeline.prediction import stage as predict
from pipeline.report import stage as report
from pipeline.scoring import stage as score
from pipeline.studies.dry import describe
from pipeline.studies.estimate import Work
from pipeline.training import stage as train

SETTINGS = ["train.epochs=1", "folds.n=2"]


def plan(root: Path, *settings: str, only: list[int] | None = None, force: bool = False) -> dict[str, list[str]]:
    """Return the lines of each stage."""
    config = load_config([root / "config.yaml"], [*SETTINGS, *settings])
    found: dict[str, list[str]] = {}
    name = ""
    for line in describe(config, only, force).splitlines()[1:]:
        name = line[:10].strip() or name
        found.setdefault(name, []).append(line[10:])
    return found


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def finished(competition: Path) -> Path:
    config = load_config([competition / "config.yaml"], SETTINGS)
    for stage in (folds, train, predict, score, ensemble):
        stage.run(config)
    return competition


def test_before_anything_exists(competition: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(competition.parent)

    def refuse(*_: object) -> None:
        raise AssertionError("a dry run decodes nothing")

    monkeypatch.setattr(decoding, "decode_file", refuse)
    monkeypatch.setattr("pipeline.images.filling.decode_files", refuse)
    found = plan(competition, "tta=[identity, hflip]", "train.epochs=3", "train.keep=best")
    assert files(competition.parent) == before
    assert found["check"] == ["reads the tables; 60 of 60 images are to be decoded"]
    assert found["folds"] == [f"makes {competition.parent}/folds/shapes.csv: auto, 2 folds"]
    assert found["train"] == ["fold 0: 3 epochs on 24 rows", "fold 1: 3 epochs on 24 rows"]
    assert found["predict"] == ["valid, folds 0, 1: 2 views", "test, folds 0, 1: 2 views"]
    assert found["score"] == found["ensemble"] == found["report"] == ["runs"]
    assert "the model's step, just measured" in found["time"][0] and "decoding not counted" in found["time"][1]
    assert "cache 0.2 MB, weights" in found["disk"][0]  # 60 colour images of 32×32


def test_a_finished_run_is_reused_whole(finished: Path) -> None:
    assert plan(finished)["report"] == ["runs"]
    report.run(load_config([finished / "config.yaml"], SETTINGS))
    before = files(finished.parent)
    found = plan(finished)
    assert files(finished.parent) == before
    assert found["check"] == ["reads the tables; 0 of 60 images are to be decoded"]
    assert found["train"] == ["fold 0: trained already, reused", "fold 1: trained already, reused"]
    assert found["predict"] == ["valid, folds 0, 1: reused", "test, folds 0, 1: reused"]
    assert all("reused" in found[name][0] for name in ("folds", "score", "ensemble", "report"))
    assert "time" not in found


def test_only_what_is_missing_is_named(finished: Path) -> None:
    more = plan(finished, "tta=[d4]")
    assert more["train"] == ["fold 0: trained already, reused", "fold 1: trained already, reused"]
    assert more["predict"] == ["valid, folds 0, 1: 7 views", "test, folds 0, 1: 7 views"]
    assert more["report"] == ["runs"] and "as its epochs so far" in more["time"][0]
    run = finished.parent / "runs/shapes"
    (run / "fold1/model.safetensors").unlink()
    again = plan(finished)
    assert again["train"] == ["fold 0: trained already, reused", "fold 1: 1 epochs on 24 rows"]
    assert again["predict"] == ["valid, folds 1: 1 view; folds 0: reused", "test, folds 1: 1 view; folds 0: reused"]
    part = plan(finished, only=[0])
    assert len(part["train"]) == 1 and "partial" in part["score"][0] and "ensemble" not in part
    assert plan(finished, force=True)["train"] == again["train"]  # equal folds are kept
    assert "what it holds is replaced" in plan(finished, "train.lr=0.5", force=True)["train"][0]


def test_a_damaged_or_changed_result_is_not_called_reused(finished: Path) -> None:
    run = finished.parent / "runs/shapes"
    (run / "fold0/valid.npz").write_bytes(b"damaged")
    (run / "submission.csv").unlink()
    found = plan(finished)
    assert found["predict"][0] == "valid, folds 0: 1 view; folds 1: reused"
    assert found["score"] == found["ensemble"] == ["runs"]


def test_an_unfinished_fold_goes_on(finished: Path) -> None:
    folder = finished.parent / "runs/shapes/fold0"
    (folder / "state").mkdir()
    (folder / "model.safetensors").rename(folder / "state/last.safetensors")
    (folder / "epochs.csv").write_text("epoch,images_per_second\n" + "1,100\n" * 1)
    held = fingerprints.read_stamp(folder.parent, "train-fold0")
    assert held is not None
    fingerprints.stamp(folder.parent, "train-fold0", {**held.fields, "train.epochs": 3})
    assert plan(finished, "train.epochs=3", only=[0])["train"] == ["fold 0: goes on after epoch 1 of 3"]


def test_what_would_stop_is_said(finished: Path) -> None:
    lines = plan(finished, "train.lr=0.5")["train"]
    assert lines[0].startswith("would stop with exit code 3") and "  train.lr: 0.01 -> 0.5" in lines
    lines = plan(finished, "folds.seed=1")["folds"]
    assert lines == [f"would stop with exit code 3: {finished.parent}/folds/shapes.csv: made with folds.seed 42, the "
                     "config means 1"]  # fmt: skip
    (finished / "train.csv").write_text("image_id,label,group\n0000,,g00\n")
    with pytest.raises(InputError):
        plan(finished)


def test_without_a_cache_the_images_are_taken_for_unchanged(finished: Path) -> None:
    found = plan(finished, "data.cache.dir=null")
    assert "which the cache cannot tell" in found["train"][0]
    assert found["predict"] == ["valid, folds 0, 1: reused", "test, folds 0, 1: reused"]


def test_the_command_prints_the_plan_and_runs_nothing(
    competition: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_run, "run", lambda *_: pytest.fail("it ran"))
    assert main(["run", "--dry", "-c", str(competition / "config.yaml"), "--fold", "1"]) == 0
    assert "fold 1: 2 epochs on 32 rows" in capsys.readouterr().out
    assert not (competition.parent / "runs").exists()


def test_several_images_of_one_id_and_other_sizes_are_counted(competition: Path) -> None:
    several(competition)
    found = plan(competition, "train.epochs=2", "train.sizes=[{until: 0.5, size: 16}]")
    assert found["check"] == [
        "reads the tables; 60 of 60 images are to be decoded",
        "48 of 48 images also at 16×16 px",
    ]
    assert found["train"] == ["fold 0: 2 epochs on 6 rows, 24 images", "fold 1: 2 epochs on 6 rows, 24 images"]
    assert f"cache {(60 * 32**2 + 48 * 16**2) * 3 / 1e6:.1f} MB" in found["disk"][0]
    assert "predictions 0.0 MB" in found["disk"][0]


def test_the_time_is_that_of_every_image_at_its_size(competition: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two epochs has 32×32 px: half of four times the pixels of the first."""
    several(competition)
    config = load_config([competition / "config.yaml"], ["train.sizes=[{until: 0.5, size: 16}]"])
    folds.run(config)
    (config.run_dir / "fold0").mkdir(parents=True)
    (config.run_dir / "fold0/epochs.csv").write_text("epoch,images_per_second\n1,400\n2,100\n")
    asked: list[Work] = []
    real = Work.seconds
    monkeypatch.setattr(Work, "seconds", lambda work, *speeds: asked.append(work) or real(work, *speeds))
    text = describe(config)
    assert "fold 2: 2 epochs on 8 rows, 32 images" in text and "(100 images/s, as its epochs so far)" in text
    assert asked == [Work(decode=0, train=3 * 32 * 1.25, validate=2 * 48, predict=48 + 3 * 12)]


@pytest.mark.parametrize("command", [["run", "--dry"], ["bench"]])
def test_what_is_measured_is_said_before_torch_is_imported(competition: Path, command: list[str]) -> None:
    program = f"""
import sys
sys.modules |= dict.fromkeys(("torch", "timm", "matplotlib"))
from pipeline.cli import main
sys.exit(main({[*command, "-c", str(competition / "config.yaml")]!r}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1  # as there is no torch
    assert done.stdout.startswith("shapes: test_resnet at 32×32, batch 8: ")
    assert ("on random numbers are timed" if "--dry" in command else "measuring decoding") in done.stdout


def test_a_slow_model_is_not_said_to_pass_no_images(competition: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.studies.throughput.bare_model", lambda *_, **__: (0.031, 0.4, 1000))
    (time, *_) = plan(competition)["time"]
    assert "(0.031 images/s, the model's step" in time and "(0.40 images/s per fold and view)" in time

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import several

from pipeline.cli import main
from pipeline.config.config import Config
from pipeline.config.loading import load as load_config
from pipeline.studies import bench, estimate, throughput
from pipeline.studies.estimate import FoldWork, Work, duration

QUICK = ["tta=[identity, hflip]", "mix.kind=cutmix", "train.accumulate=2"]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure for a moment only."""
    for name, least in (("decoding", 0.05), ("reading", 0.05), ("forward", 0.05), ("training", 0.2)):
        real = getattr(throughput, name)
        position = real.__defaults__
        monkeypatch.setattr(real, "__defaults__", (least, *position[1:]))
    monkeypatch.setattr(bench.run, "__defaults__", (False, 0.2))
    monkeypatch.setattr(bench, "PREDICT_SECONDS", 0.02)


def test_json_holds_every_number(competition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [text for setting in QUICK for text in ("--set", setting)]
    assert main(["bench", "-c", str(competition / "config.yaml"), "--json", *settings]) == 0
    found = json.loads(capsys.readouterr().out)  # one object and nothing else
    assert set(found["images_per_second"]) == {
        *("decode", "read_and_augment", "bare_step", "training_loop", "forward"),
        *("predict_one_pass", "predict_decoding_each_time"),
    }
    assert all(speed > 0 for speed in found["images_per_second"].values())
    assert 0.1 < found["loop_to_step"] < 3 and len(found["loop_to_step_rounds"]) == 5
    assert found["one_pass_to_each_time"] > 0
    assert found["config"]["folds"] == 3 and found["config"]["views"] == ["identity", "hflip"]
    assert found["environment"]["threads"] == 1 and found["environment"]["setting"] == "cpu, fp32, channels first"
    estimate = found["estimate_seconds"]
    assert estimate["total"] == pytest.approx(estimate["check"] + estimate["train"] + estimate["predict"])
    assert not (competition.parent / "runs").exists()  # a measurement leaves no run behind


def test_the_text_names_what_the_job_waits_for(competition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "-c", str(competition / "config.yaml"), "--set", "data.cache.dir=null"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = "shapes: test_resnet at 32×32, batch 8: measuring decoding, reading and augmentation, the model's step"
    assert lines[0].startswith(first) and lines[1] == "measuring: decoding 48 originals …"
    (found,) = [line for line in lines if line.startswith("shapes: test_resnet at 32×32, batch 8; ")]
    assert found.startswith("shapes: test_resnet at 32×32, batch 8; cpu, fp32, channels first, 1 threads")
    assert any("of the step" in line for line in lines) and lines[-1].startswith("the whole job: about")


def test_a_competition_smaller_than_a_batch_is_measured(competition: Path) -> None:
    config = load_config([competition / "config.yaml"], ["train.batch_size=100", "model.size=16"])
    assert bench.run(config, quiet=True)["images_per_second"]["training_loop"] > 0


def whole(config: Config, sizes: list[tuple[int, int]], tests: int, decode: int = 0) -> Work:
    views = len(config.views)
    return estimate.work(config, [FoldWork(*size, config.train.epochs, views, views) for size in sizes], tests, decode)


def test_the_estimate_counts_every_image(competition: Path) -> None:
    settings = ["folds.n=4", "train.epochs=3", "tta=[d4]", "train.keep=best"]
    config = load_config([competition / "config.yaml"], settings)
    sizes = estimate.fold_sizes(config, 48)
    assert sizes == [(36, 12)] * 4
    work = whole(config, sizes, tests=10, decode=58)
    assert (work.decode, work.train, work.validate) == (58, 3 * 4 * 36, 3 * 48)
    assert work.predict == (2 * 48 + 4 * 10) * 8  # keep: best predicts the last epoch's weights too
    seconds = work.seconds(decode=58, train=432, forward=8)
    assert seconds == {"check": 1, "train": 1 + 144 / 8, "predict": 136, "total": 1 + 19 + 136}
    config = load_config([competition / "config.yaml"], ["folds.scheme=holdout", "folds.valid_share=0.25"])
    assert estimate.fold_sizes(config, 48) == [(36, 12)]
    assert (
        estimate.fold_sizes(load_config([competition / "config.yaml"], ["train.subset=0.5"]), 48, 7) == [(23, 16)] * 3
    )


def test_epochs_of_smaller_images_cost_by_their_pixels(competition: Path) -> None:
    sizes = "train.sizes=[{until: 0.4, size: 16}, {until: 0.7, size: [20, 24]}]"
    config = load_config([competition / "config.yaml"], ["train.epochs=5", sizes])
    assert estimate.epochs(config) == 2 / 4 + 2 * (20 * 24 / 32**2) + 1 and estimate.epochs(config, 3) == 1 + 480 / 1024
    work = whole(config, [(32, 16)] * 3, tests=12)
    assert (work.train, work.validate) == (estimate.epochs(config) * 96, 5 * 48)  # all is validated at 32×32


def test_several_images_of_one_id_all_count(competition: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    several(competition)
    counted = []
    real = estimate.work
    monkeypatch.setattr(estimate, "work", lambda *given: counted.append(given[1:]) or real(*given))
    bench.run(load_config([competition / "config.yaml"], ["train.sizes=[{until: 0.5, size: 16}]"]), quiet=True)
    assert counted == [([FoldWork(32, 16, 2, 1, 1)] * 3, 12, 48 + 48 + 12)]


def test_durations_are_said_as_people_do() -> None:
    assert [duration(s) for s in (0.4, 42, 100, 3600, 11000)] == ["0 s", "42 s", "2 min", "60 min", "3 h 03 min"]


def test_a_comparison_takes_the_median_of_its_rounds() -> None:
    found = throughput.Comparison((10.0, 20.0, 10.0), (9.0, 16.0, 1.0))
    assert found.ratio == 0.8 and found.speeds == (10.0, 9.0)

"""The report, drawn from a run whose predictions are made up but whose other files the real stages wrote."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.blending import stage as ensemble
from pipeline.competition.competition import load as load_competition
from pipeline.config.config import Config
from pipeline.config.loading import dump, load
from pipeline.errors import MismatchError
from pipeline.files.atomic import read_json, write_json
from pipeline.folds import fold_table
from pipeline.folds import stage as folds
from pipeline.prediction.predictions import Predictions
from pipeline.report import stage as report
from pipeline.report.files import Run
from pipeline.scoring import stage as score

EVERYTHING = {"score", "training", "confusion", "classes", "wrong", "views", "batch", "samples", "labels"}


def predict(config: Config, only: list[int] | None = None, seed: int = 0) -> None:
    """Write predictions that are right but for every eighth row, curves and a batch."""
    table, competition = fold_table.read(config), load_competition(config)
    truth = dict(zip(competition.ids.tolist(), competition.targets_NC, strict=True))
    views, classes = config.views, competition.classes

    def made(ids: list[str], path: Path) -> None:
        rng = np.random.default_rng([len(ids), seed])
        target_NC = np.stack([truth.get(name, competition.targets_NC[0]) for name in ids])
        target_NC[::8] = np.roll(target_NC[::8], 1, axis=1)
        probs_NVC = rng.uniform(0.05, 0.2, (len(ids), len(views), len(classes))) + 0.7 * target_NC[:, None]
        if config.data.task != "multilabel":
            probs_NVC /= probs_NVC.sum(-1, keepdims=True)
        meta = {"fold_hash": table.fold_hash, "task": config.data.task, "run": config.name}
        Predictions(np.array(ids), tuple(views), tuple(classes), probs_NVC.astype(np.float32), meta).save(path)

    for k in range(table.n) if only is None else only:
        folder = config.run_dir / f"fold{k}"
        made(table.valid_ids(k).tolist(), folder / "valid.npz")
        made(competition.test_ids.tolist(), folder / "test.npz")
        epoch = np.arange(1, 4)
        columns = {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "valid_loss": 1.1 / epoch,
            "valid_metric": 1 - 0.5 / epoch,
        }
        curves = pd.DataFrame({**columns, "lr": 1e-3 / epoch, "seconds": 2.0, "images_per_second": 90.0})
        curves.to_csv(folder / "epochs.csv", index=False)
    images = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3)).astype(np.uint8)
    targets = np.eye(len(classes), dtype=np.float32)[np.arange(8) % len(classes)] * 0.6
    np.savez(config.run_dir / "fold0/batch.npz", images=images, targets=targets, classes=np.array(classes))


@pytest.fixture
def config(competition: Path) -> Config:
    made = load([competition / "config.yaml"], ["tta=[identity, hflip]"])
    folds.run(made)
    predict(made)
    score.run(made)
    ensemble.run(made)
    (made.run_dir / "config.yaml").write_text(dump(made))
    return made


class Page(HTMLParser):
    """Collect what a page refers to, and check that its tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.titles: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "link", "iframe"}
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)


def read(path: Path) -> Page:
    page = Page(path.read_text(encoding="utf-8"))
    assert not page.open
    return page


def plots_of(config: Config) -> set[str]:
    return {path.stem for path in (config.run_dir / "plots").iterdir()}


def test_a_whole_run_fills_every_section(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    held = {"metric": "accuracy", "score": 0.75, "interval": [0.47, 0.91], "n": 12}
    write_json(config.run_dir / "held_back.json", {**held, "cv_mean": 0.875, "cv_std": 0.01, "cv_pooled": 0.875})
    write_json(config.run_dir / "env.json", {"cpu": "a <fast> CPU", "cores": 2, "gpus": [], "threads": 2})
    path = report.run(config)
    assert path == config.run_dir / "report.html"
    assert path.stat().st_size < 5e6
    page, text = read(path), path.read_text()
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert len(page.sources) == len(EVERYTHING)
    assert plots_of(config) == EVERYTHING
    for plot in (config.run_dir / "plots").iterdir():
        with Image.open(plot) as image:
            assert image.width <= 1000
            assert len(image.convert("L").getcolors(256) or range(256)) > 2, f"{plot} is blank"
    mean = read_json(config.run_dir / "ensemble.json")["variants"]["tta"]["mean"]
    assert f'<div class="score">{mean:.4f}' in text
    assert "held back: 0.7500" in text and "a &lt;fast&gt; CPU" in text and "Left out" not in page.titles
    assert "equal to plain" in text  # accuracy does not see smoothing

    made = path.stat().st_mtime_ns
    report.run(config)
    assert path.stat().st_mtime_ns == made and "nothing has changed" in capsys.readouterr().out
    (config.run_dir / "held_back.json").unlink()
    report.run(config)
    assert "held back" not in path.read_text()


def test_a_blend_shows_what_it_is_worth_and_how_it_was_found(config: Config) -> None:
    for seed, name in enumerate(("left", "right")):
        member = config.model_copy(update={"run": name})
        predict(member, seed=seed)
        (member.run_dir / "config.yaml").write_text(dump(member))
    asked = {"members": ["left", "right"], "blender": "greedy", "views": "select", "calibrate": "auto"}
    changes = {"run": "blend", "metric": "log_loss", "ensemble": config.ensemble.model_copy(update=asked)}
    blend = config.model_copy(update=changes)
    ensemble.run(blend)
    page = read(report.run(blend))
    assert {"Blenders", "Members", "Search for weights", "Views, calibration, smoothing"} <= set(page.titles)
    assert {"blenders", "members", "search"} <= plots_of(blend)
    text = (blend.run_dir / "report.html").read_text()
    found = read_json(blend.run_dir / "ensemble.json")
    for one in found["comparison"]["blenders"].values():
        assert f"{one['cross_fitted']:.4f}" in text
    assert '<tr class="chosen"><td>greedy' in text and "views of left" in text and "temperature" in text
    assert "With so few groups the intervals are unreliable." in text  # the competition has 12 groups
    assert "The diamond is the step whose weights are used." in text
    ensemble.run(blend.model_copy(update={"ensemble": blend.ensemble.model_copy(update={"blender": "mean"})}))
    assert "Search for weights" in read(report.run(blend)).titles
    assert "The search of greedy on all rows" in (blend.run_dir / "report.html").read_text()


def test_what_is_absent_is_left_out(config: Config) -> None:
    report.run(config)
    for name in ("scores.json", "ensemble.json", "oof.csv", "fold0/batch.npz"):
        (config.run_dir / name).unlink()
    page = read(report.run(config))
    assert plots_of(config) == {"training", "samples", "labels"}
    assert "Left out" in page.titles  # stamps say that they were written
    for stage in ("score", "ensemble"):
        (config.run_dir / f"stamps/{stage}.json").unlink()
    page = read(report.run(config))
    assert plots_of(config) == {"training", "samples", "labels"}
    assert "Left out" not in page.titles


def test_a_partial_run_says_so(competition: Path) -> None:
    made = load([competition / "config.yaml"])
    folds.run(made)
    predict(made, only=[0])
    score.run(made, partial=True)
    text = report.run(made).read_text()
    assert "Partial: folds 0 of 3 only." in text
    assert {"training", "confusion", "score"} <= plots_of(made)
    assert "views" not in plots_of(made)  # there is only one


def test_images_that_are_gone_cost_their_sections_alone(config: Config) -> None:
    for image in (Path(config.data.root) / "images").iterdir():
        image.unlink()
    page = read(report.run(config))
    assert "Left out" in page.titles
    assert plots_of(config) == EVERYTHING - {"samples", "wrong"}


def test_a_run_that_is_not_there_is_refused(competition: Path) -> None:
    with pytest.raises(MismatchError, match="no such run"):
        report.run(load([competition / "config.yaml"]))


def test_multilabel_shows_errors_per_label(competition: Path) -> None:
    table = pd.read_csv(competition / "train.csv", dtype=str)
    rng = np.random.default_rng(0)
    names = ["spots", "rust & rot", "<healthy>"]
    for name in names:
        table[name] = rng.integers(0, 2, len(table))
    table.to_csv(competition / "train.csv", index=False)
    sample = pd.read_csv(competition / "sample_submission.csv", dtype=str)[["image_id"]]
    sample.assign(**dict.fromkeys(names, 0)).to_csv(competition / "sample_submission.csv", index=False)
    settings = [f"data.target={names}", "data.task=multilabel", "loss.name=binary_cross_entropy"]
    made = load([competition / "config.yaml"], [*settings, "metric=mean_column_auc"])
    folds.run(made)
    predict(made)
    score.run(made)
    page = read(report.run(made))
    assert "Errors per label" in page.titles and "Confusion" not in page.titles
    assert "&lt;healthy&gt;" in (made.run_dir / "report.html").read_text()


def wide(config: Config, change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]] = np.asarray) -> Run:
    """Return a run of 150 classes, 4 rows each, as the sections see it."""
    names = [f"class {c:03d}" for c in range(150)]
    run = Run(config)
    truth = np.repeat(np.arange(150), 4)
    probs_NC = change(np.eye(150)[truth])
    run.__dict__["oof"] = ([f"{i}" for i in range(600)], truth, probs_NC)
    per_class = {
        name: {"support": 4, "f1": c / 150, "precision": None, "recall": c / 150} for c, name in enumerate(names)
    }
    run.__dict__["scores"] = {"classes": names, "per_class": per_class, "metric": "accuracy"}
    return run


def test_many_classes_show_the_telling_ones(config: Config) -> None:
    from pipeline.report import score_cards

    def confuse(probs_NC: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        probs_NC[4 * 77 : 4 * 77 + 3] = np.eye(150)[149]
        return probs_NC

    card = score_cards.confusion(wide(config, confuse))
    assert card is not None and "class 077 taken for class 149, 3 rows" in card.lead
    assert "the 24 of 150 classes with most errors" in card.lead
    shown = [label.get_text() for label in card.figure.axes[0].get_yticklabels()]
    assert {"class 077", "class 149"} <= set(shown) and len(shown) == 24

    card = score_cards.classes(wide(config))
    assert card is not None
    shown = [label.get_text() for label in card.figure.axes[0].get_yticklabels()]
    assert shown[0] == "class 000" and shown[-1] == "class 149" and len(shown) == 24
    assert len(re.findall("<tr", card.html)) == 151


def test_the_command_draws_it(config: Config, competition: Path, cli: Callable[..., Any]) -> None:
    done = cli("report", "-c", competition / "config.yaml")
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout

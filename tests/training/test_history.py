"""Epochs' history: early stopping, plateaus, files, and the same decisions after a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.config.config import Config
from pipeline.config.loading import parse
from pipeline.training.history import Epoch, History


def config(metric: str = "accuracy", **train: Any) -> Config:
    tree = {"name": "x", "data": {"root": "r", "image": "{id}", "target": "t"}, "model": {"name": "resnet18"}}
    return parse({**tree, "metric": metric, "train": {"epochs": 20, **train}}, "a.yaml")


def epoch(number: int, loss: float = 1.0, metric: float = 0.5) -> Epoch:
    return Epoch(number, 0.9, loss, metric, 1e-3, 2.0, 50.0)


def told(settings: Config, losses: list[float], metrics: list[float] | None = None) -> History:
    """Return the history after epochs with these validation losses and metrics, or as far as it goes."""
    history = History(settings)
    for number, loss in enumerate(losses, start=1):
        history.add(epoch(number, loss, 0.5 if metrics is None else metrics[number - 1]))
        if history.stopped:
            break
    return history


@pytest.mark.parametrize(
    ("metrics", "best", "epochs"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5], 4, 5),
        ([0.1, 0.5, 0.4, 0.3, 0.9], 1, 4),  # two epochs without a better one end it
        ([0.5, 0.5, 0.5, 0.9], 0, 3),  # equal is not better
        ([0.5, 0.4, 0.6, 0.5, 0.55], 2, 5),
    ],
)
def test_patience_counts_epochs_without_improvement(metrics: list[float], best: int, epochs: int) -> None:
    history = told(config(patience=2), [1.0] * len(metrics), metrics)
    assert (history.best, len(history.epochs)) == (best, epochs)


def test_without_patience_nothing_stops() -> None:
    history = told(config(), [1.0] * 20, [0.5] * 20)
    assert len(history.epochs) == 20 and not history.stopped


def test_less_than_min_delta_is_no_improvement() -> None:
    metrics = [0.50, 0.505, 0.509, 0.9]
    assert told(config(patience=2, min_delta=0.01), [1.0] * 4, metrics).best == 0
    assert told(config(patience=2, min_delta=0.001), [1.0] * 4, metrics).best == 3


def test_small_steps_add_up_to_an_improvement() -> None:
    """The best one stays the yardstick: 0.006 per epoch passes 0.01 after two."""
    metrics = [0.500, 0.506, 0.512, 0.518, 0.524]
    assert told(config(patience=2, min_delta=0.01), [1.0] * 5, metrics).best == 4


def test_a_metric_may_be_better_when_lower() -> None:
    history = told(config("log_loss", patience=2), [1.0] * 5, [0.9, 0.5, 0.6, 0.7, 0.1])
    assert (history.best, len(history.epochs)) == (1, 4)


def test_the_loss_may_be_monitored() -> None:
    history = told(config(monitor="loss", patience=1), [0.9, 0.8, 0.85, 0.1], [0.1, 0.2, 0.9, 0.95])
    assert (history.best, len(history.epochs)) == (1, 3)


def test_the_loss_decides_where_the_metric_is_undefined() -> None:
    history = told(config("roc_auc", patience=2), [0.6, 0.5, 0.4, 0.45], [float("nan")] * 4)
    assert history.best == 2 and not history.stopped


def test_add_says_whether_the_epoch_is_the_best() -> None:
    history = History(config())
    assert [history.add(epoch(n, metric=value)) for n, value in enumerate([0.5, 0.4, 0.6], 1)] == [True, False, True]


def test_plateaus_drop_after_the_patience_and_begin_to_count_again() -> None:
    settings = config(schedule="plateau", plateau_patience=1, gamma=0.5)
    losses = [1.0, 0.9, 0.95, 0.95, 0.95, 0.95, 0.8, 0.85, 0.85]
    factors = [told(settings, losses[:n]).plateau_factor for n in range(1, len(losses) + 1)]
    assert factors == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


def test_other_schedules_know_no_plateau() -> None:
    assert told(config(schedule="cosine", plateau_patience=0), [1.0] * 6).plateau_factor == 1


def test_a_restored_history_decides_alike() -> None:
    settings = config(schedule="plateau", plateau_patience=1, patience=3)
    losses, metrics = [1.0, 0.9, 0.95, 0.97, 0.96], [0.5, 0.7, 0.6, 0.6, 0.6]
    whole = told(settings, losses, metrics)
    first = told(settings, losses[:2], metrics[:2])
    first.updates = whole.updates = 12
    second = History(settings)
    second.restore(json.loads(json.dumps(first.state())))
    for number in range(3, 6):
        second.add(epoch(number, losses[number - 1], metrics[number - 1]))
    assert second.state() == whole.state()
    assert second.stopped and whole.stopped


def test_a_state_is_not_shared_with_its_source() -> None:
    first, second = told(config(), [1.0]), History(config())
    second.restore(first.state())
    second.add(epoch(2))
    assert len(first.epochs) == 1 and not any("epoch   2" in line for line in first.log)


def test_epochs_and_log_are_written(tmp_path: Path) -> None:
    history = told(config("log_loss"), [1.25, 0.1 + 0.2], [0.5, 1 / 3])
    history.write(tmp_path)
    table = pd.read_csv(tmp_path / "epochs.csv")
    assert list(table.columns) == [
        *("epoch", "train_loss", "valid_loss", "valid_metric", "lr", "seconds", "images_per_second"),
    ]
    assert table.valid_loss.tolist() == [1.25, 0.1 + 0.2] and table.valid_metric.tolist() == [0.5, 1 / 3]
    log = (tmp_path / "train.log").read_text().splitlines()
    assert len(log) == 2 and "epoch   1/20" in log[0] and "log_loss 0.3333" in log[1] and log[1].endswith("best")


def test_only_the_main_process_talks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "1")
    history = History(config())
    history.say("hello")
    assert history.log == [] and capsys.readouterr().out == ""

"""Which epoch is the best, and when training stops."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config.config import Config
from pipeline.config.loading import parse
from pipeline.training.history import Epoch, History


def config(**train: Any) -> Config:
    tree = {
        "name": "x",
        "data": {"root": "x", "image": "{id}.png", "target": "label", "task": "binary"},
        "model": {"name": "resnet18"},
        "metric": "roc_auc",
        "train": train,
    }
    return parse(tree, "test")


def history(losses: list[float], metrics: list[float], **train: Any) -> History:
    made = History(config(**train))
    for n, (loss, metric) in enumerate(zip(losses, metrics, strict=True)):
        made.add(Epoch(n + 1, 1.0, loss, metric, 0.1, 1.0, 1.0))
    return made


def test_the_metric_decides_unless_the_loss_is_monitored() -> None:
    losses, metrics = [0.6, 0.5, 0.7], [0.7, 0.8, 0.9]
    assert history(losses, metrics).best == 2
    assert history(losses, metrics, monitor="loss").best == 1


def test_the_loss_decides_where_the_metric_is_undefined() -> None:
    made = history([0.6, 0.5, 0.4, 0.45], [float("nan")] * 4, keep="best", patience=2)
    assert made.best == 2
    assert not made.stopped


@pytest.mark.parametrize(("patience", "stopped"), [(2, True), (3, False)])
def test_training_stops_when_patience_ends(patience: int, stopped: bool) -> None:
    assert history([0.5] * 3, [0.9, 0.8, 0.8], patience=patience).stopped == stopped

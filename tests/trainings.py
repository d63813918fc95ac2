"""Configs and rows of trainings that take seconds."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.batches.rows import Decoded, Rows
from pipeline.config.config import Config
from pipeline.config.loading import parse

SIDE = 32
CLASSES = ("a", "b", "c")


def config(**sections: Any) -> Config:
    """Return a config for tiny trainings; sections are merged key by key."""
    tree: dict[str, Any] = {
        "name": "x",
        "data": {"root": "r", "image": "{id}", "target": "t"},
        "model": {"name": "test_resnet", "pretrained": False, "size": SIDE},
        "train": {"epochs": 1, "batch_size": 8, "lr": 1e-3, "precision": "fp32", "warmup_epochs": 0},
    }
    for name, values in sections.items():
        tree[name] = {**tree.get(name, {}), **values} if isinstance(values, dict) else values
    return parse(tree, "a.yaml")


def rows(count: int, seed: int) -> Rows:
    """Return noisy images of one colour channel per class."""
    draws = np.random.default_rng(seed)
    images = []
    for n in range(count):
        image = draws.integers(0, 100, (SIDE, SIDE, 3))
        image[..., n % 3] += 120
        images.append(image.astype(np.uint8))
    targets_NC = np.eye(3, dtype=np.float32)[np.arange(count) % 3]
    return Rows(Decoded(images), np.array([f"{seed}-{n:03d}" for n in range(count)]), targets_NC)

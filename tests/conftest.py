"""A tiny competition on disk, and the real command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, settings
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SHAPES = ("cross", "disk", "square")
SIDE = 32

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

# On a busy machine the time of a draw says nothing about the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in a background job, whose commands would ignore Ctrl-C too
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-competitions", action="store_true", help="run every listed competition, with a table")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--all-competitions"):
        for item in items:
            if item.get_closest_marker("slow_competitions"):
                item.add_marker(pytest.mark.skip(reason="runs with --all-competitions"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--all-competitions"):
        return
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for _, line in getattr(report, "user_properties", []):
                terminalreporter.write_line(f"{outcome:<8}{line}")


def draw(shape: str, rng: np.random.Generator) -> np.ndarray:
    """Return one bright shape on a dark, noisy ground, [32,32,3] uint8; each shape has its own colour."""
    y, x = np.mgrid[:SIDE, :SIDE]
    cy, cx = rng.integers(11, 21, size=2)
    reach = rng.integers(6, 10)
    dy, dx = np.abs(y - cy), np.abs(x - cx)
    mask = {
        "cross": (np.minimum(dy, dx) <= 1) & (np.maximum(dy, dx) <= reach),
        "disk": dy**2 + dx**2 <= reach**2,
        "square": np.maximum(dy, dx) == reach,
    }[shape]
    image = rng.integers(0, 60, size=(SIDE, SIDE, 3))
    image[mask] = 90
    image[mask, SHAPES.index(shape)] = rng.integers(200, 256)
    return image.astype(np.uint8)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny networks are slower on several threads, above all beside other work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def competition(tmp_path: Path) -> Path:
    return write_competition(tmp_path)


def write_relative(folder: Path, sections: dict[str, dict[str, object]]) -> Path:
    """Write the competition with paths relative to the folder, two folds and two views; return its config.yaml.

    `sections` change single keys of sections.
    """
    config = write_competition(folder) / "config.yaml"
    tree = yaml.safe_load(config.read_text())
    tree |= {"runs_dir": "runs", "folds_dir": "folds", "tta": ["identity", "hflip"], "folds": {"n": 2}}
    tree["data"] |= {"root": "shapes", "cache": {"dir": "cache"}}
    for name, changed in sections.items():
        tree[name] |= changed
    config.write_text(yaml.safe_dump(tree, sort_keys=False))
    return config


def write_competition(folder: Path) -> Path:
    """48 images in 12 groups and 3 classes, 12 test images, their tables and a config.yaml ready to run.

    The ids have leading zeros; the test ids follow those of the training rows.
    """
    root = folder / "shapes"
    (root / "images").mkdir(parents=True)
    train, test, sample = ["image_id,label,group"], ["image_id"], ["image_id,label"]
    for i in range(60):
        shape = SHAPES[i % 3]
        Image.fromarray(draw(shape, np.random.default_rng(i))).save(root / f"images/{i:04d}.png")
        if i < 48:
            train.append(f"{i:04d},{shape},g{i // 4:02d}")
        else:
            test.append(f"{i:04d}")
            sample.append(f"{i:04d},{SHAPES[0]}")
    for name, lines in {"train": train, "test": test, "sample_submission": sample}.items():
        (root / f"{name}.csv").write_text("\n".join(lines) + "\n")
    config = {
        "name": "shapes",
        "runs_dir": str(folder / "runs"),
        "folds_dir": str(folder / "folds"),
        "data": {
            "root": str(root),
            "test": "test.csv",
            "id": "image_id",
            "image": "images/{image_id}.png",
            "target": "label",
            "group": "group",
            "cache": {"dir": str(folder / "cache")},
        },
        "folds": {"n": 3},
        "model": {"name": "test_resnet", "pretrained": False, "size": SIDE},
        "augment": {"train": "none"},
        "train": {
            "epochs": 2,
            "batch_size": 8,
            "lr": 1e-2,
            "warmup_epochs": 0,
            "precision": "fp32",
            "threads": 1,
        },
        "metric": "accuracy",
    }
    (root / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return root


def several(root: Path) -> None:
    """Let four images show one patient, who is what is predicted: 12 patients to train on, 3 in the test.

    The images of one patient do not stand together.
    """
    for name, first in (("train", 0), ("test", 48)):
        head, *lines = (root / f"{name}.csv").read_text().splitlines()
        made = [f"{line},p{n // 12}{n % 3}" for n, line in enumerate(lines, first)]
        (root / f"{name}.csv").write_text("\n".join([f"{head},patient", *made]) + "\n")
    (root / "sample_submission.csv").write_text("patient,label\n" + "".join(f"p4{n},cross\n" for n in range(3)))
    tree = yaml.safe_load((root / "config.yaml").read_text())
    tree["data"] |= {"predict_id": "{patient}", "group": "patient"}
    (root / "config.yaml").write_text(yaml.safe_dump({**tree, "submission": {"id": "patient"}}, sort_keys=False))


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run `python -m pipeline` in a process of its own, in an empty folder, and return what it did."""

    def run(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
        command = [sys.executable, "-m", "pipeline", *map(str, args)]
        settings = {
            "cwd": tmp_path,
            "env": env,
            "capture_output": True,
            "text": True,
            "timeout": 300,
            **options,
        }
        return subprocess.run(command, **settings)

    return run

"""Measure the parts of a job in images per second, each on a few images and for a few seconds.

Machines are noisy: what is compared is alternated in short rounds, and a ratio is the median of the rounds'.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import nn

from pipeline.batches import augmentation
from pipeline.batches.loader import Images, Plan, Rows, TrainingBatches, subset
from pipeline.competition.image_paths import Source
from pipeline.config.config import Config
from pipeline.images.cache import decode_config
from pipeline.machine import devices
from pipeline.machine.processes import cores
from pipeline.methods.arrays import Array
from pipeline.models import building, network
from pipeline.models.network import Setting
from pipeline.models.outputs import Output
from pipeline.prediction.predictor import predict
from pipeline.training.fold import Fold
from pipeline.training.trainer import Fit, accelerator, optimizer

EPOCHS = 10_000  # of the measured loop: more than any measurement reaches
LOOP_ROWS = 512  # it runs over at least so many rows, where there are as many


@dataclass(frozen=True)
class Comparison:
    """Hold images per second of two ways, round by round."""

    first: tuple[float, ...]
    second: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Return the median of second ÷ first over the rounds."""
        return statistics.median(b / a for a, b in zip(self.first, self.second, strict=True))

    @property
    def speeds(self) -> tuple[float, float]:
        """Return the medians of both."""
        return statistics.median(self.first), statistics.median(self.second)


def spread(rows: int, most: int) -> Array:
    """Return up to `most` row numbers, evenly spread over the table."""
    return np.linspace(0, rows - 1, min(most, rows)).astype(np.int64)


def decoding(config: Config, sources: Sequence[Source], seconds: float = 2.0) -> float:
    """Return images/s of decoding originals on all cores, what every epoch would wait for without a cache."""
    threads, read = cores(), partial(decode_config, config)
    with ThreadPoolExecutor(threads, "decode") as pool:
        list(pool.map(read, sources[:threads]))  # the first read is the disk's
        begin, done = time.perf_counter(), 0
        while (spent := time.perf_counter() - begin) < seconds or done == 0:
            chunk = [sources[(done + n) % len(sources)] for n in range(8 * threads)]
            list(pool.map(read, chunk))
            done += len(chunk)
    return done / max(spent, time.perf_counter() - begin)


def reading(config: Config, rows: Rows, seconds: float = 1.5) -> float:
    """Return images/s of one process that reads from the cache, augments and stacks training batches."""
    plan = Plan(len(rows), config.train.batch_size, config.train.seed, 0)
    batches = TrainingBatches(rows, plan, augmentation.of(config))
    work = ((epoch, step) for epoch in itertools.count() for step in range(plan.steps))
    batches[next(work)]
    begin, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < seconds or done == 0:
        done += len(batches[next(work)].rows)
    return done / max(spent, 1e-9)


def training(config: Config, rows: Rows, classes: Sequence[str], seconds: float = 24.0, rounds: int = 5) -> Comparison:
    """Compare the bare model step with the training loop, alternating the two; about `seconds` in all.

    Each round has at least two optimizer steps of either, so a slow model takes longer than asked.
    """
    config = config.model_copy(update={"model": config.model.model_copy(update={"pretrained": False})})
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(config, _whole_batches(rows, config.train.batch_size), classes, Path(folder))
        bare = BareStep(config, len(classes), loop.batch_size)
        both: list[tuple[int, Loop | BareStep]] = [(0, bare), (1, loop)]
        for _, each in both:
            each.steps(2)  # kernels are chosen and memory is taken in the first ones
        pace = _timed(bare, 1)[1] + _timed(loop, 1)[1]
        count = max(2, round(seconds / rounds / pace))
        speeds: dict[int, list[float]] = {0: [], 1: []}
        for number in range(rounds):
            for which, each in both if number % 2 == 0 else reversed(both):
                images, spent = _timed(each, count)
                speeds[which].append(images / spent)
    return Comparison(tuple(speeds[0]), tuple(speeds[1]))


class Loop:
    """Drive the training loop itself, without validation and checkpoints."""

    def __init__(self, config: Config, rows: Rows, classes: Sequence[str], folder: Path) -> None:
        long = config.model_copy(update={"train": config.train.model_copy(update={"epochs": EPOCHS})})
        setting = Setting.of(config)
        change = augmentation.of(config)
        fold = Fold(0, rows, rows, tuple(classes), folder)
        self.fit = Fit(long, fold, change, accelerator(setting), {})
        self.stream, self.wrapped = self.fit.open()
        self.wrapped.train()
        plan = self.fit.batches.plan
        self.batch_size = plan.rows // plan.steps
        self.work = ((e, first) for e in range(EPOCHS) for first in range(0, plan.steps, config.train.accumulate))

    def steps(self, count: int) -> int:
        """Make some optimizer steps; return how many images they took."""
        batches = 0
        for _ in range(count):
            batches += self.fit.step(*next(self.work), self.stream, self.wrapped)[2]
        return batches * self.batch_size


class BareStep:
    """Train on one random batch that lies on the device: what the model and its optimizer cost alone."""

    def __init__(self, config: Config, classes: int, batch_size: int) -> None:
        self.config, self.setting = config, Setting.of(config)
        self.model, _ = network.build(config, [str(n) for n in range(classes)], self.setting, 0, fresh=False)
        self.model.train()
        self.optimizer = optimizer(config, self.model)
        train = config.train
        self.ema = ModelEmaV3(self.model, decay=train.ema_decay, use_warmup=True) if train.ema else None
        self.scaler = torch.amp.GradScaler(self.setting.device.type, enabled=self.setting.precision == "fp16")
        self.loss = Output.of(config, {}).losses
        form = torch.channels_last if self.setting.channels_last else torch.contiguous_format
        images_BCHW = torch.randn(batch_size, config.data.in_chans, *config.model.size_hw, device=self.setting.device)
        self.images = images_BCHW.contiguous(memory_format=form)
        self.targets = torch.rand(batch_size, classes, device=self.setting.device).softmax(-1)
        self.called: nn.Module = torch.compile(self.model) if train.compile else self.model  # type: ignore[assignment]
        self.made = 0

    def steps(self, count: int) -> int:
        """Make some optimizer steps; return how many images they took."""
        train = self.config.train
        for _ in range(count):
            for _ in range(train.accumulate):
                with self.setting.autocast():
                    logits = self.called(self.images)
                losses = [self.loss(head.float(), self.targets).mean() for head in building.heads_of(logits)]
                loss = sum(losses[1:], losses[0]) / train.accumulate
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            if train.clip_grad is not None:
                self.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self.model.parameters(), train.clip_grad)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad()
            self.made += 1
            if self.ema is not None:
                self.ema.update(self.model, step=self.made)
        return count * train.accumulate * len(self.images)


@dataclass(frozen=True)
class Quick:
    """Hold what random numbers tell about a model: images/s of training and prediction, its size on disk."""

    train: float  # NaN where no step was asked for
    forward: float
    weight_bytes: int


def quick(config: Config, classes: Sequence[str], steps: int = 2) -> Quick:
    """Time a few steps and forward passes of the bare model, after one of each to warm up; no image is read."""
    devices.prepare(config.train)
    bare = BareStep(config, len(classes), config.train.batch_size)
    train = float("nan")
    if steps:
        bare.steps(1)
        images, spent = _timed(bare, steps)
        train = images / spent
    bare.model.eval()
    with torch.inference_mode(), bare.setting.autocast():
        bare.model(bare.images)
        _finish()
        begin = time.perf_counter()
        bare.model(bare.images)
        _finish()
        forward_ = len(bare.images) / (time.perf_counter() - begin)
    weights = sum(value.numel() * value.element_size() for value in bare.model.state_dict().values())
    return Quick(train, forward_, weights)


class Originals(Images):
    """Decode an image at every access, as a data set without a cache does."""

    def __init__(self, config: Config, sources: Sequence[Source]) -> None:
        self.config, self.sources = config, sources

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, number: int, /) -> Array:
        return decode_config(self.config, self.sources[number])


def forward(config: Config, rows: Rows, classes: Sequence[str], seconds: float = 2.0) -> float:
    """Return images/s of one network under one view, from the cache."""
    run = _Prediction(config, classes)
    rows = subset(rows, spread(len(rows), config.predict.batch_size))
    run(rows, 1, ["identity"])
    begin, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < seconds or done == 0:
        run(rows, 1, ["identity"])
        done += len(rows)
    return done / max(spent, 1e-9)


def predicting(config: Config, originals: Rows, classes: Sequence[str], folds: int, rounds: int = 3) -> Comparison:
    """Compare decoding once per fold and view with one pass for all of them, from the original files.

    The first is measured on one fold and each view in turn, and multiplied.
    """
    run, views = _Prediction(config, classes), config.views
    run(originals, 1, views[:1])

    def speed(networks: int, wanted: list[str], passes: int) -> float:
        begin = time.perf_counter()
        run(originals, networks, wanted)
        return len(originals) / (time.perf_counter() - begin) / passes

    each, once = [], []
    for number in range(rounds):
        each.append(speed(1, [views[number % len(views)]], folds * len(views)))
        once.append(speed(folds, views, 1))
    return Comparison(tuple(each), tuple(once))


class _Prediction:
    """Predict with copies of one untrained network."""

    def __init__(self, config: Config, classes: Sequence[str]) -> None:
        self.config, self.setting = config, Setting.of(config)
        self.model, _ = network.build(config, classes, self.setting, 0, fresh=False)
        self.normalize = network.normalize(self.model, self.setting, config.data.in_chans)
        self.augment = augmentation.of(config)

    def __call__(self, rows: Rows, networks: int, views: Sequence[str]) -> None:
        same = [self.model] * networks
        predict(same, rows, views, self.config, self.setting, self.normalize, augment=self.augment)


def _timed(steps: Loop | BareStep, count: int) -> tuple[int, float]:
    """Return images and seconds of some steps, all of the device's work included."""
    _finish()
    begin = time.perf_counter()
    images = steps.steps(count)
    _finish()
    return images, time.perf_counter() - begin


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _whole_batches(rows: Rows, batch_size: int) -> Rows:
    """Return a few hundred rows that make whole batches, so that both ways step through equal ones."""
    batches = max(1, min(len(rows) // batch_size, -(-LOOP_ROWS // batch_size)))
    return subset(rows, spread(len(rows), batches * batch_size))

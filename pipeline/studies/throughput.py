"""Measure the parts of a job in images per second, each on a few images and for a few seconds.

Machines are noisy: what is compared is alternated in short rounds, and a ratio is the median of the rounds'.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.batches import augmentation
from pipeline.batches.loader import Plan, TrainingBatches
from pipeline.batches.rows import Rows, subset
from pipeline.competition.image_paths import Source
from pipeline.config.config import Config
from pipeline.images.cache import decode_config
from pipeline.machine import devices
from pipeline.machine.processes import cores
from pipeline.methods.arrays import Array
from pipeline.models import building, network
from pipeline.models.network import Setting
from pipeline.models.outputs import Output
from pipeline.prediction.predictor import Predictor
from pipeline.training.ema import Ema
from pipeline.training.fold import Fold
from pipeline.training.optimizer import optimizer
from pipeline.training.trainer import Fit, accelerator

Steps = Callable[[int], int]  # a number of optimizer steps -> how many images they took

EPOCHS = 10_000  # of the measured loop: more than any measurement reaches
LOOP_ROWS = 512  # it runs over at least so many rows, where there are as many


@dataclass(frozen=True)
class Comparison:
    """Hold images per second of two ways, round by round."""

    first: Sequence[float]
    second: Sequence[float]

    @property
    def rounds(self) -> list[float]:
        """Return second ÷ first in each round."""
        return [second / first for first, second in zip(self.first, self.second, strict=True)]

    @property
    def ratio(self) -> float:
        """Return the median of second ÷ first over the rounds."""
        return statistics.median(self.rounds)

    @property
    def speeds(self) -> tuple[float, float]:
        """Return the medians of both."""
        return statistics.median(self.first), statistics.median(self.second)


def speed(work: Callable[[], float], seconds: float = 0.0) -> float:
    """Return images/s of work that returns how many images it took: once, or repeated for so many seconds."""
    _finish()
    begin, done, spent = time.perf_counter(), 0.0, 0.0
    while done == 0 or spent < seconds:
        done += work()
        _finish()
        spent = time.perf_counter() - begin
    return done / max(spent, 1e-9)


def _finish() -> None:
    """Wait for the device's work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def compare(first: Callable[[], float], second: Callable[[], float], rounds: int) -> Comparison:
    """Measure two ways in turn, the order changing from round to round."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            found[which].append(speed((first, second)[which]))
    return Comparison(*found)


def evenly_spread(rows: int, most: int) -> Array:
    """Return up to `most` row numbers, evenly spread over the table."""
    return np.linspace(0, rows - 1, min(most, rows)).astype(np.int64)


def decoding(config: Config, sources: Sequence[Source], seconds: float = 2.0) -> float:
    """Return images/s of decoding originals on all cores, what every epoch would wait for without a cache."""
    threads, endless = cores(), itertools.cycle(sources)
    with ThreadPoolExecutor(threads, "decode") as pool:

        def decode(count: int) -> int:
            return len(list(pool.map(partial(decode_config, config), itertools.islice(endless, count))))

        decode(threads)  # the first read is the disk's
        return speed(partial(decode, 8 * threads), seconds)


def reading(config: Config, rows: Rows, seconds: float = 1.5) -> float:
    """Return images/s of one process that reads from the cache, augments and stacks training batches."""
    plan = Plan(len(rows), config.train.batch_size, config.train.seed, 0)
    batches = TrainingBatches(rows, plan, augmentation.of(config))
    work = ((epoch, step) for epoch in itertools.count() for step in range(plan.steps))
    batches[next(work)]
    return speed(lambda: len(batches[next(work)].rows), seconds)


def training(config: Config, rows: Rows, classes: Sequence[str], seconds: float = 24.0, rounds: int = 5) -> Comparison:
    """Compare the bare model step with the training loop, alternating the two; about `seconds` in all.

    Each round has at least two optimizer steps of either, so a slow model takes longer than asked.
    """
    config = config.model_copy(update={"model": config.model.model_copy(update={"pretrained": False})})
    batches = max(1, min(len(rows) // config.train.batch_size, -(-LOOP_ROWS // config.train.batch_size)))
    rows = subset(rows, evenly_spread(len(rows), batches * config.train.batch_size))  # both step through equal batches
    with tempfile.TemporaryDirectory() as folder:
        loop, batch_size = _training_loop(config, rows, classes, Path(folder))
        bare = BareStep(config, len(classes), batch_size)
        for count in (2, 1):  # kernels are chosen and memory is taken in the first ones
            begin = time.perf_counter()
            bare(count)
            loop(count)
            _finish()
        count = max(2, round(seconds / rounds / (time.perf_counter() - begin)))
        return compare(partial(bare, count), partial(loop, count), rounds)


def _training_loop(config: Config, rows: Rows, classes: Sequence[str], folder: Path) -> tuple[Steps, int]:
    """Return the training loop itself, without validation and checkpoints, and its batch size."""
    endless = config.model_copy(update={"train": config.train.model_copy(update={"epochs": EPOCHS})})
    fold = Fold(0, rows, rows, tuple(classes), folder)
    fit = Fit(endless, fold, augmentation.of(config), accelerator(Setting.of(config)), {})
    stream, wrapped = fit.open()
    wrapped.train()
    plan = fit.batches.plan
    batch_size = plan.rows // plan.steps
    work = ((epoch, first) for epoch in range(EPOCHS) for first in range(0, plan.steps, config.train.accumulate))

    def steps(count: int) -> int:
        return batch_size * sum(fit.step(*next(work), stream, wrapped)[2] for _ in range(count))

    return steps, batch_size


class BareStep:
    """Train on one random batch that lies on the device: what the model and its optimizer cost by themselves."""

    def __init__(self, config: Config, classes: int, batch_size: int) -> None:
        self.train, self.setting = config.train, Setting.of(config)
        self.model, _ = network.build(config, [str(n) for n in range(classes)], self.setting, 0, fresh=False)
        self.model.train()
        self.optimizer = optimizer(config, self.model)
        self.ema = Ema(self.model, self.train.ema_decay) if self.train.ema else None
        self.scaler = torch.amp.GradScaler(self.setting.device.type, enabled=self.setting.precision == "fp16")
        self.loss = Output.of(config, {}).losses
        form = torch.channels_last if self.setting.channels_last else torch.contiguous_format
        images_BCHW = torch.randn(batch_size, config.data.in_chans, *config.model.size_hw, device=self.setting.device)
        self.images = images_BCHW.contiguous(memory_format=form)
        self.targets = torch.rand(batch_size, classes, device=self.setting.device).softmax(-1)
        compiled = torch.compile(self.model) if self.train.compile else self.model
        self.called: nn.Module = compiled  # type: ignore[assignment]
        self.made = 0

    def __call__(self, count: int) -> int:
        """Make some optimizer steps; return how many images they took."""
        for _ in range(count):
            for _ in range(self.train.accumulate):
                with self.setting.autocast():
                    logits = self.called(self.images)
                losses = [self.loss(head.float(), self.targets).mean() for head in building.heads_of(logits)]
                loss = sum(losses[1:], losses[0]) / self.train.accumulate
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            if self.train.clip_grad is not None:
                self.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self.model.parameters(), self.train.clip_grad)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad()
            self.made += 1
            if self.ema is not None:
                self.ema.update(self.model, step=self.made)
        return count * self.train.accumulate * len(self.images)


def bare_model(config: Config, classes: Sequence[str], steps: int) -> tuple[float, float, int]:
    """Return images/s of some bare steps (NaN: of none) and of a forward pass, and the weights' bytes."""
    devices.prepare(config.train)
    bare = BareStep(config, len(classes), config.train.batch_size)
    train = float("nan")
    if steps:
        bare(1)
        train = speed(partial(bare, steps))
    bare.model.eval()
    with torch.inference_mode(), bare.setting.autocast():
        bare.model(bare.images)
        forward = speed(lambda: len(bare.model(bare.images)))
    return train, forward, network.weight_bytes(bare.model)


def forward(config: Config, rows: Rows, classes: Sequence[str], seconds: float = 2.0) -> float:
    """Return images/s of one network under one view, from the cache."""
    rows = subset(rows, evenly_spread(len(rows), config.predict.batch_size))
    work = partial(_prediction(config, classes), rows, 1, ["identity"])
    work()
    return speed(work, seconds)


def predicting(config: Config, originals: Rows, classes: Sequence[str], folds: int, rounds: int = 3) -> Comparison:
    """Compare decoding once per fold and view with one pass for all of them, from the original files.

    The first is measured on one fold and each view in turn, and multiplied.
    """
    work, views = _prediction(config, classes), config.views
    view = itertools.cycle(views)
    work(originals, 1, views[:1])
    each = lambda: work(originals, 1, [next(view)]) / (folds * len(views))  # noqa: E731
    return compare(each, partial(work, originals, folds, views), rounds)


def _prediction(config: Config, classes: Sequence[str]) -> Callable[[Rows, int, Sequence[str]], int]:
    """Return what predicts rows with so many copies of one untrained network."""
    setting = Setting.of(config)
    model, _ = network.build(config, classes, setting, 0, fresh=False)
    normalize, augment = network.normalize(model, setting, config.data.in_chans), augmentation.of(config)

    def work(rows: Rows, networks: int, views: Sequence[str]) -> int:
        Predictor([model] * networks, config, setting, normalize, augment=augment).predict(rows, views)
        return len(rows)

    return work

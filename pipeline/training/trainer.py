"""Train one fold: from rows to weights, resumable with the same bytes at every epoch's end and inside epochs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pipeline.batches import progressive_resizing
from pipeline.batches.loader import Augmentation, Batch
from pipeline.config.config import Config
from pipeline.errors import MismatchError, Problem, TrainingError
from pipeline.machine import interruption, processes
from pipeline.methods.seeding import seed64
from pipeline.models import network
from pipeline.models.network import Setting
from pipeline.prediction.predictor import Predictor
from pipeline.training.checkpoints.checkpoint import Checkpoint
from pipeline.training.checkpoints.clock import Clock
from pipeline.training.checkpoints.part import Part, own
from pipeline.training.fold import Fold
from pipeline.training.history import Epoch, History
from pipeline.training.steps import Steps
from pipeline.training.swa import Average, learning_norms, recompute
from pipeline.training.validation import validate

if TYPE_CHECKING:
    from accelerate import Accelerator

Watch = Callable[[int, Sequence[Epoch]], None]


def accelerator(setting: Setting) -> Accelerator:
    """Join the other processes, if any, and set the precision; one per process for all folds."""
    from accelerate import Accelerator, DistributedDataParallelKwargs

    processes.barrier()
    precision = "no" if setting.precision == "fp32" else setting.precision
    # its buckets, so the order of sums over 3 processes, stay those of the first step: a resume gives the same bytes
    one_order = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(mixed_precision=precision, cpu=setting.device.type == "cpu", kwargs_handlers=[one_order])


def fit(
    config: Config,
    fold: Fold,
    augment: Augmentation,
    accelerator: Accelerator,
    meta: dict[str, Any],
    watch: Watch | None = None,
    under: Mapping[str, Any] | None = None,
) -> History:
    """Train the fold and write model.safetensors, epochs.csv and train.log into its folder.

    An unfinished earlier attempt continues at its last checkpoint. `watch(fold number, epochs)` sees every
    finished epoch and may raise to end the training. `meta` goes with the weights, `under` with checkpoints alone.
    Raises TrainingError where the loss is not finite or memory runs out, InputError where model or optimizer cannot
    be built, KeyboardInterrupt on a signal, after a checkpoint.
    """
    try:
        return Fit(config, fold, augment, accelerator, meta, under).run(watch)
    except torch.OutOfMemoryError as error:
        found = f"out of memory with batch size {config.train.batch_size} at {config.model.size}"
        remedy = "lower train.batch_size (and raise train.accumulate), or model.size"
        raise TrainingError(Problem(f"fold {fold.number}", found, remedy=remedy)) from error


class Fit(Steps):
    """Hold what lives as long as one fold's training."""

    def __init__(
        self,
        config: Config,
        fold: Fold,
        augment: Augmentation,
        accelerator: Accelerator,
        meta: dict[str, Any],
        under: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(config, fold, augment, accelerator)
        self.meta = {**meta, **self.output.meta, "fold": fold.number, "classes": list(fold.classes)}
        self.average = Average() if config.train.average is not None else None
        self.evaluated: nn.Module = self.model if self.ema is None else self.ema.module  # whose weights are kept
        self.predictor = Predictor([self.evaluated], config, self.setting, self.normalize, [self.output])
        about = {"stamp": meta.get("stamp"), "under": dict(under or {})}
        path, best = (fold.folder / "state" / f"{name}.safetensors" for name in ("last", "best"))
        held = (self.model, self.ema, self.optimizer, accelerator, self.average)
        self.checkpoint = Checkpoint(path, *held, best if config.train.keep == "best" else None, about)
        self.clock = Clock(config.train.checkpoint_minutes)
        self.part: Part | None = None  # of the epoch that a checkpoint ended in

    def run(self, watch: Watch | None = None) -> History:
        self._resume()
        origin = self.origin + progressive_resizing.described(self.config)
        done = None if self.part is None else (self.part.step, self.batches.plan.steps)
        self.history.start(self.fold, origin, str(self.setting), done)
        stream, wrapped = self.open()
        self.clock.start()
        for epoch in range(len(self.history.epochs), self.config.train.epochs):
            if self.history.stopped:
                break
            if epoch == self.config.model.thaw_epoch:
                wrapped = self.wrapped(epoch)  # what averages gradients over processes must learn of the others
            self._epoch(epoch, stream, wrapped)
            if watch is not None:
                watch(self.fold.number, self.history.epochs)
        self._finish()
        interruption.check()
        return self.history

    def open(self) -> tuple[Iterator[Batch], nn.Module]:
        """Return the batches still to come and the model as training calls it."""
        done = len(self.history.epochs)
        wrapped = self.wrapped(done)
        return self.stream(range(done, self.config.train.epochs), 0 if self.part is None else self.part.step), wrapped

    def _resume(self) -> None:
        """Take up the newest checkpoint that is whole, if there is one; say what was damaged."""
        found, notes = self.checkpoint.load()
        if found is not None:
            self.history.restore(found.history)
            if found.parts:
                steps, accumulate = self.batches.plan.steps, self.config.train.accumulate
                self.part = own(found.parts, steps, accumulate, self.setting.device)
        for note in notes:
            self.history.say(note)

    @property
    def _networks(self) -> dict[str, nn.Module]:
        return {"model": self.model} if self.ema is None else {"model": self.model, "ema": self.ema.module}

    def _epoch(self, epoch: int, stream: Iterator[Batch], wrapped: nn.Module) -> None:
        """Train and validate one epoch, then make it durable."""
        plan = self.batches.plan
        with interruption.deferred():
            part = self._train(epoch, stream, wrapped)
            losses = processes.gather(float(part.loss))
            if not math.isfinite(sum(losses)):
                place, found = f"fold {self.fold.number}, epoch {epoch + 1}", "the training loss is not finite"
                remedy = "lower train.lr, lengthen train.warmup_epochs, or set train.precision: fp32"
                raise TrainingError(Problem(place, found, remedy=remedy))
            processes.average_buffers(self.model, self.evaluated)
        try:
            interruption.check()
            valid_loss, metric = validate(self.predictor, self.fold)
        except KeyboardInterrupt:
            with interruption.deferred():  # all processes are alike now: the main one speaks for the others
                self._write(epoch, [replace(part, loss=torch.tensor(loss), tensors={}) for loss in losses])
            raise
        with interruption.deferred():
            rate = self.set_rate(epoch, (self.updates - 1) * self.config.train.accumulate)
            speed = plan.rows / part.seconds
            row = Epoch(epoch + 1, sum(losses) / plan.rows, valid_loss, metric, rate, part.seconds, speed)
            self._conclude(row)
        if processes.count() == 1:
            interruption.check()

    def _train(self, epoch: int, stream: Iterator[Batch], wrapped: nn.Module) -> Part:
        """Make an epoch's steps, or those left of it; raise KeyboardInterrupt on a signal, after a checkpoint."""
        train, plan = self.config.train, self.batches.plan
        torch.manual_seed(seed64(train.seed, self.fold.number, epoch, "dropout", plan.rank))
        wrapped.train()
        self.hold(epoch)
        part, self.part = self.part or Part(0, 0.0, torch.zeros((), device=self.setting.device), plan.steps), None
        part.restore(self._networks)
        begin = time.perf_counter() - part.seconds
        with self.history.progress(epoch, plan.steps, part.step) as tick:
            for first in range(part.step, plan.steps, train.accumulate):
                loss, _, batches = self.step(epoch, first, stream, wrapped)
                part.loss += loss
                part.step, part.seconds = first + batches, time.perf_counter() - begin
                tick(batches)
                wish = self.clock.look()
                if wish.due or wish.signal is not None:
                    self._write(epoch, processes.gather(part.taken(self._networks)))
                if wish.signal is not None:
                    processes.barrier()  # a process that ends alone would let the others be ended before it is written
                    raise interruption.error(wish.signal)
        return part

    def _write(self, epoch: int, parts: Sequence[Part]) -> None:
        """Write a checkpoint inside an epoch, from every process's part of it."""
        if interruption.pending() is not None:
            self.history.say(
                f"  checkpoint in epoch {epoch + 1} after step {parts[0].step} of {self.batches.plan.steps}"
            )
        if self.accelerator.is_main_process:
            self.checkpoint.save(self.history.state(), parts)
        self.clock.start()

    def _conclude(self, row: Epoch) -> None:
        """Take in a finished epoch and write it down."""
        train = self.config.train
        improved = self.history.add(row)
        if self.average is not None and row.epoch > train.epochs - train.averaged:
            self.average.add(self.model)
        if self.accelerator.is_main_process:
            if improved and self.checkpoint.best is not None:
                network.save(self.checkpoint.best, self.evaluated, {**self.meta, "epoch": row.epoch})
            self.checkpoint.save(self.history.state())
            self.history.write(self.fold.folder)
        self.clock.start()
        processes.barrier()

    def _settle(self, average: Average) -> None:
        """Give the model the mean of its weights, and BatchNorm the statistics of one more epoch's images."""
        epochs = self.config.train.epochs
        average.load_into(self.model)
        self.model.train()
        self.hold(epochs)
        if norms := learning_norms(self.model):
            stream = self.stream(range(epochs, epochs + 1))
            recompute(self.model, norms, (self.normalize(batch.images_BHWC) for batch in stream))
            processes.average_buffers(self.model)
        loss, metric = validate(self.predictor, self.fold)
        text = f"  mean of the last {average.count} epochs' weights  valid loss {loss:.4f}"
        self.history.say(f"{text}  {self.config.metric} {metric:.4f}")

    def _finish(self) -> None:
        """Write the kept weights; the state is only needed until then."""
        if self.average is not None:
            self._settle(self.average)
        if self.accelerator.is_main_process:
            folder, best = self.fold.folder, self.checkpoint.best
            self.history.write(folder)  # a kill may have come between the last checkpoint and this
            last = folder if best is None else folder.parent / "last" / folder.name
            network.save(last / "model.safetensors", self.evaluated, {**self.meta, "epoch": len(self.history.epochs)})
            if best is not None:
                self._verify(best)
                best.replace(folder / "model.safetensors")
            self.checkpoint.delete()
        self.accelerator.free_memory()  # it keeps every model and optimizer it has prepared
        processes.barrier()

    def _verify(self, best: Path) -> None:
        """Raise MismatchError where the best epoch's weights were damaged since; they can only be trained anew."""
        try:
            self.checkpoint.verify_best(self.history.state())
        except MismatchError as error:
            self.checkpoint.delete()
            found = error.problems[0].found
            raise MismatchError(Problem(str(best), found, remedy="the same command trains the fold anew")) from error

"""Train one fold: from rows to weights, resumable at every epoch's end with the same bytes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.batches import progressive_resizing
from pipeline.batches.loader import Augmentation, Batch, Plan, TrainingBatches, training_loader
from pipeline.config.config import Config
from pipeline.errors import Problem, TrainingError
from pipeline.machine import devices, processes
from pipeline.methods.schedules import Options, factor
from pipeline.methods.seeding import rng, seed64
from pipeline.methods.tasks import TASKS
from pipeline.models import building, network
from pipeline.models.network import Setting
from pipeline.models.outputs import Output
from pipeline.prediction.predictor import Predictor
from pipeline.training import sampling_and_mixing
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.ema import Ema
from pipeline.training.fold import Fold
from pipeline.training.history import Epoch, History
from pipeline.training.optimizer import optimizer
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
) -> History:
    """Train the fold and write model.safetensors, epochs.csv and train.log into its folder.

    An unfinished earlier attempt continues at its last finished epoch. `watch(fold number, epochs)` sees every
    finished epoch and may raise to end the training. Raises TrainingError where the loss
    is not finite or memory runs out, InputError where model or optimizer cannot be built.
    """
    try:
        return Fit(config, fold, augment, accelerator, meta).run(watch)
    except torch.OutOfMemoryError as error:
        found = f"out of memory with batch size {config.train.batch_size} at {config.model.size}"
        remedy = "lower train.batch_size (and raise train.accumulate), or model.size"
        raise TrainingError(Problem(f"fold {fold.number}", found, remedy=remedy)) from error


class Fit:
    """Hold what lives as long as one fold's training."""

    def __init__(
        self, config: Config, fold: Fold, augment: Augmentation, accelerator: Accelerator, meta: dict[str, Any]
    ) -> None:
        self.config, self.fold, self.accelerator = config, fold, accelerator
        task, train = TASKS[config.data.task], config.train
        assert fold.train.targets_NC is not None
        scale = task.scale(fold.train.targets_NC, config.loss.name, config.data.range)
        self.output = Output.of(config, {"heads": config.data.heads_of(fold.classes), "scale": scale})
        self.meta = {**meta, **self.output.meta, "fold": fold.number, "classes": list(fold.classes)}
        self.setting = Setting.of(config)
        self.model, self.origin = network.build(config, fold.classes, self.setting, fold.number, fresh=True)
        self.normalize = network.normalize(self.model, self.setting, config.data.in_chans)
        if accelerator.scaler is not None:  # fp16; the last fold's scale must not shape this one's first steps
            accelerator.scaler = torch.amp.GradScaler(accelerator.device.type)
        self.frozen = network.frozen(config, self.model) if config.model.thaw_epoch is not None else None
        self.optimizer = accelerator.prepare_optimizer(optimizer(config, self.model))
        self.rates = [group["lr"] * group.get("lr_scale", 1.0) for group in self.optimizer.param_groups]
        self.ema = Ema(self.model, train.ema_decay) if train.ema else None
        self.average = Average() if train.average is not None else None
        self.evaluated: nn.Module = self.model if self.ema is None else self.ema.module  # whose weights are kept
        self.predictor = Predictor([self.evaluated], config, self.setting, self.normalize, [self.output])
        rows, shares_N = sampling_and_mixing.shares(config, fold.train, self.output)
        place = (fold.number, accelerator.process_index, accelerator.num_processes)
        plan = Plan(len(rows), train.batch_size, train.seed, *place, shares_N)
        sampling_and_mixing.check_mixing(config, plan)
        disturb = sampling_and_mixing.disturb(config, rows, self.output)
        self.batches = TrainingBatches(rows, plan, augment, disturb, fold.early_sizes)
        self.class_weights = sampling_and_mixing.weights(config, rows, self.output, fold.classes, self.setting.device)
        self.updates = math.ceil(plan.steps / train.accumulate)  # optimizer steps per epoch
        self.history = History(config)
        path = fold.folder / "state" / "last.safetensors"
        self.checkpoint = Checkpoint(path, self.model, self.ema, self.optimizer, accelerator, self.average)

    def run(self, watch: Watch | None = None) -> History:
        if (state := self.checkpoint.load()) is not None:
            self.history.restore(state)
        self.history.start(self.fold, self.origin + progressive_resizing.described(self.config), str(self.setting))
        stream, wrapped = self.open()
        for epoch in range(len(self.history.epochs), self.config.train.epochs):
            if self.history.stopped:
                break
            if epoch == self.config.model.thaw_epoch:
                wrapped = self._wrapped(epoch)  # what averages gradients over processes must learn of the others
            self._epoch(epoch, stream, wrapped)
            if watch is not None:
                watch(self.fold.number, self.history.epochs)
        self._finish()
        return self.history

    def open(self) -> tuple[Iterator[Batch], nn.Module]:
        """Return the batches still to come and the model as training calls it."""
        done = len(self.history.epochs)
        wrapped = self._wrapped(done)
        return self._stream(range(done, self.config.train.epochs)), wrapped

    def _stream(self, epochs: range) -> Iterator[Batch]:
        where = self.setting.device
        return training_loader(
            self.batches, epochs, devices.workers(self.config.train.workers, where), pin=where.type == "cuda"
        )

    def _wrapped(self, epoch: int) -> nn.Module:
        """Return the model as training calls it: autocast, and gradients averaged over processes."""
        self._hold(epoch)
        wrapped: nn.Module = self.accelerator.prepare_model(self.model)
        if isinstance(wrapped, DistributedDataParallel):
            wrapped.broadcast_buffers = False  # else only the main process's statistics would last
        if self.config.train.compile:
            wrapped = torch.compile(wrapped)  # type: ignore[assignment]
        return wrapped

    def _hold(self, epoch: int) -> None:
        """Freeze or thaw what an epoch says; `train()` thaws BatchNorm's statistics."""
        if self.frozen is not None:
            self.frozen.hold(epoch < (self.config.model.thaw_epoch or 0))

    def _epoch(self, epoch: int, stream: Iterator[Batch], wrapped: nn.Module) -> None:
        """Train and validate one epoch, then make it durable."""
        train, plan = self.config.train, self.batches.plan
        torch.manual_seed(seed64(train.seed, self.fold.number, epoch, "dropout", plan.rank))
        wrapped.train()
        self._hold(epoch)
        begin, total = time.perf_counter(), torch.zeros((), device=self.setting.device)
        with self.history.progress(epoch, plan.steps) as tick:
            for first in range(0, plan.steps, train.accumulate):
                loss, rate, batches = self.step(epoch, first, stream, wrapped)
                total += loss
                tick(batches)
        sums = processes.gather(float(total))
        if not math.isfinite(sum(sums)):
            place, found = f"fold {self.fold.number}, epoch {epoch + 1}", "the training loss is not finite"
            remedy = "lower train.lr, lengthen train.warmup_epochs, or set train.precision: fp32"
            raise TrainingError(Problem(place, found, remedy=remedy))
        seconds = time.perf_counter() - begin
        processes.average_buffers(self.model, self.evaluated)
        valid_loss, metric = validate(self.predictor, self.fold)
        row = Epoch(epoch + 1, sum(sums) / plan.rows, valid_loss, metric, rate, seconds, plan.rows / seconds)
        improved = self.history.add(row)
        if self.average is not None and epoch >= train.epochs - train.averaged:
            self.average.add(self.model)
        if self.accelerator.is_main_process:
            if improved and train.keep == "best":
                network.save(self.fold.folder / "state" / "best.safetensors", self.evaluated, self.meta)
            self.checkpoint.save(self.history.state())
            self.history.write(self.fold.folder)
        processes.barrier()

    def step(self, epoch: int, first: int, stream: Iterator[Batch], wrapped: nn.Module) -> tuple[Tensor, float, int]:
        """Make the optimizer step that begins with batch `first`; return its loss, its rate and its batches."""
        train = self.config.train
        group = [next(stream) for _ in range(min(train.accumulate, self.batches.plan.steps - first))]
        rate = self._set_rate(epoch * self.updates + first // train.accumulate)
        return self._update(epoch, group, wrapped), rate, len(group)

    def _set_rate(self, update: int) -> float:
        """Set every group's learning rate for an optimizer step; return the first group's."""
        train = self.config.train
        options = Options(self.updates, train.min_lr / train.lr, train.step_epochs, train.gamma)
        warmup = round(train.warmup * self.updates)
        share = factor(train.schedule, update, self.updates * train.epochs, warmup, options)
        share = max(share * self.history.plateau_factor, min(share, options.min_factor))
        for group, base in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = base * share
        return train.lr * share

    def _update(self, epoch: int, group: list[Batch], wrapped: nn.Module) -> Tensor:
        """Make one optimizer step from several batches; return the sum of this process's losses.

        Every row weighs the same, or its own weight, whatever the sizes of the batches, of the last group and
        of the processes' shares: losses are summed and divided by the rows of the whole group. Distributed
        gradients are averaged over processes, hence the factor.
        """
        rows = sum(batch.total for batch in group)
        total = torch.zeros((), device=self.setting.device)
        for number, batch in enumerate(group):
            images, targets, weights_B = self._mixed(epoch, batch)
            last = number == len(group) - 1
            with nullcontext() if last else self.accelerator.no_sync(wrapped):
                loss = self._losses(wrapped(images), targets, weights_B).sum()
                self.accelerator.backward(loss * (self.accelerator.num_processes / rows))
            total += loss.detach()
        if self.config.train.clip_grad is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.train.clip_grad)
        if self._stepped():
            self.history.updates += 1
            if self.ema is not None:
                self.ema.update(self.model, step=self.history.updates)
        self.optimizer.zero_grad()
        return total

    def _losses(self, found: Any, targets: Tensor, weights_B: Tensor | None) -> Tensor:
        """Return the loss of every row times its weight, those of auxiliary heads added by theirs."""
        heads = (head.float() for head in building.heads_of(found))
        first, *others = (self.output.losses(head, targets, weights_B, self.class_weights) for head in heads)
        for other in others:
            first = first + self.config.model.aux_weight * other
        return first

    def _stepped(self) -> bool:
        """Make the optimizer's step; return whether weights changed: fp16 skips those that overflow.

        The scale falls then. accelerate's own flag misses it where the optimizer is fused, and skips by itself.
        """
        scaler = self.accelerator.scaler
        before = 0.0 if scaler is None else scaler.get_scale()
        self.optimizer.step()
        return scaler is None or scaler.get_scale() >= before

    def _mixed(self, epoch: int, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the images as the model sees them, their targets and weights; keep the first batch for the report."""
        draws = rng(self.config.train.seed, self.fold.number, *batch.of, "mix", self.batches.plan.rank)
        images = self.normalize(batch.images_BHWC)
        images, targets, weights = sampling_and_mixing.mixed(self.config, self.output, images, batch, epoch, draws)
        if batch.of == (0, 0) and self.accelerator.is_main_process:
            shown = self.output.restore(targets[:16])
            self.history.keep_batch(self.fold, self.normalize.undo(images[:16]), shown.cpu().numpy())
        return images, targets, weights

    def _settle(self, average: Average) -> None:
        """Give the model the mean of its weights, and BatchNorm the statistics of one more epoch's images."""
        epochs = self.config.train.epochs
        average.load_into(self.model)
        self.model.train()
        self._hold(epochs)
        if norms := learning_norms(self.model):
            stream = self._stream(range(epochs, epochs + 1))
            recompute(self.model, norms, (self.normalize(batch.images_BHWC) for batch in stream))
            processes.average_buffers(self.model)
        loss, metric = validate(self.predictor, self.fold)
        text = f"  mean of the last {average.count} epochs' weights  valid loss {loss:.4f}"
        self.history.say(f"{text}  {self.config.metric} {metric:.4f}")
        if self.accelerator.is_main_process:
            self.history.write(self.fold.folder)

    def _finish(self) -> None:
        """Write the kept weights; the state is only needed until then."""
        if self.average is not None:
            self._settle(self.average)
        if self.accelerator.is_main_process:
            folder = self.fold.folder
            best = folder / "state" / "best.safetensors"
            last = folder.parent / "last" / folder.name if best.is_file() else folder
            network.save(last / "model.safetensors", self.evaluated, self.meta)
            if best.is_file():
                best.replace(folder / "model.safetensors")
            self.checkpoint.delete()
        self.accelerator.free_memory()  # it keeps every model and optimizer it has prepared
        processes.barrier()

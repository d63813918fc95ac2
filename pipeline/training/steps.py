"""Make optimizer steps: learning rates, losses, gradients of several batches and processes, the moving average."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.batches.loader import Augmentation, Batch, Plan, TrainingBatches, training_loader
from pipeline.config.config import Config
from pipeline.machine import devices
from pipeline.methods.schedules import Options, factor
from pipeline.methods.seeding import rng
from pipeline.methods.tasks import TASKS
from pipeline.models import building, network
from pipeline.models.network import Setting
from pipeline.models.outputs import Output
from pipeline.training import sampling_and_mixing
from pipeline.training.ema import Ema
from pipeline.training.fold import Fold
from pipeline.training.history import History
from pipeline.training.optimizer import optimizer

if TYPE_CHECKING:
    from accelerate import Accelerator


class Steps:
    """Hold a fold's network with all that its steps need, and make them."""

    def __init__(self, config: Config, fold: Fold, augment: Augmentation, accelerator: Accelerator) -> None:
        self.config, self.fold, self.accelerator = config, fold, accelerator
        task, train = TASKS[config.data.task], config.train
        assert fold.train.targets_NC is not None
        scale = task.scale(fold.train.targets_NC, config.loss.name, config.data.range)
        self.output = Output.of(config, {"heads": config.data.heads_of(fold.classes), "scale": scale})
        self.setting = Setting.of(config)
        self.model, self.origin = network.build(config, fold.classes, self.setting, fold.number, fresh=True)
        self.normalize = network.normalize(self.model, self.setting, config.data.in_chans)
        if accelerator.scaler is not None:  # fp16; the last fold's scale must not shape this one's first steps
            accelerator.scaler = torch.amp.GradScaler(accelerator.device.type)
        self.frozen = network.frozen(config, self.model) if config.model.thaw_epoch is not None else None
        self.optimizer = accelerator.prepare_optimizer(optimizer(config, self.model))
        self.rates = [group["lr"] * group.get("lr_scale", 1.0) for group in self.optimizer.param_groups]
        self.ema = Ema(self.model, train.ema_decay) if train.ema else None
        rows, shares_N = sampling_and_mixing.shares(config, fold.train, self.output)
        place = (fold.number, accelerator.process_index, accelerator.num_processes)
        plan = Plan(len(rows), train.batch_size, train.seed, *place, shares_N)
        sampling_and_mixing.check_mixing(config, plan)
        disturb = sampling_and_mixing.disturb(config, rows, self.output)
        self.batches = TrainingBatches(rows, plan, augment, disturb, fold.early_sizes)
        self.class_weights = sampling_and_mixing.weights(config, rows, self.output, fold.classes, self.setting.device)
        self.updates = math.ceil(plan.steps / train.accumulate)  # optimizer steps per epoch
        self.history = History(config)

    def stream(self, epochs: range, first: int = 0) -> Iterator[Batch]:
        """Return the batches of these epochs, from step `first` of the first one on."""
        where, train = self.setting.device, self.config.train
        pin = where.type == "cuda"
        return training_loader(self.batches, epochs, devices.workers(train.workers, where), pin, first)

    def wrapped(self, epoch: int) -> nn.Module:
        """Return the model as training calls it: autocast, and gradients averaged over processes."""
        self.hold(epoch)
        wrapped: nn.Module = self.accelerator.prepare_model(self.model)
        if isinstance(wrapped, DistributedDataParallel):
            wrapped.broadcast_buffers = False  # else only the main process's statistics would last
        if self.config.train.compile:
            wrapped = torch.compile(wrapped)  # type: ignore[assignment]
        return wrapped

    def hold(self, epoch: int) -> None:
        """Freeze or thaw what an epoch says; `train()` thaws BatchNorm's statistics."""
        if self.frozen is not None:
            self.frozen.hold(epoch < (self.config.model.thaw_epoch or 0))

    def step(self, epoch: int, first: int, stream: Iterator[Batch], wrapped: nn.Module) -> tuple[Tensor, float, int]:
        """Make the optimizer step that begins with batch `first`; return its loss, its rate and its batches."""
        train = self.config.train
        group = [next(stream) for _ in range(min(train.accumulate, self.batches.plan.steps - first))]
        rate = self.set_rate(epoch, first)
        return self._update(epoch, group, wrapped), rate, len(group)

    def set_rate(self, epoch: int, first: int) -> float:
        """Set every group's learning rate for the optimizer step that begins with batch `first`; return the first's."""
        train = self.config.train
        update = epoch * self.updates + first // train.accumulate
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

"""Remember a fold's epochs: rows for epochs.csv and the screen, the best one, early stopping, plateaus."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.config.config import Config
from pipeline.config.rules import recipe_rules
from pipeline.files.atomic import atomic, write_text
from pipeline.files.tables import write_table
from pipeline.machine import processes
from pipeline.machine.speeds import rate
from pipeline.methods.metrics import find

if TYPE_CHECKING:
    from pipeline.training.fold import Fold


@dataclass(frozen=True)
class Epoch:
    """Hold one row of epochs.csv; losses are means per row, `lr` is the last step's."""

    epoch: int  # from 1
    train_loss: float
    valid_loss: float
    valid_metric: float
    lr: float
    seconds: float  # of training, without validation
    images_per_second: float


class History:
    """Collect epochs and decide from them; its state travels in the checkpoint."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.epochs: list[Epoch] = []
        self.updates = 0  # optimizer steps made
        self.best: int | None = None  # index of the best epoch by train.monitor
        self.plateau_factor = 1.0
        self.quiet = 0  # epochs since the validation loss last improved or the rate last dropped
        self.log: list[str] = []

    @property
    def stopped(self) -> bool:
        """Tell whether early stopping has ended the training."""
        patience = self.config.train.patience
        return patience is not None and self.best is not None and len(self.epochs) - 1 - self.best >= patience

    def add(self, epoch: Epoch) -> bool:
        """Take in a finished epoch; return whether it is the best so far."""
        train = self.config.train
        lowest = min((past.valid_loss for past in self.epochs), default=np.inf)
        self.quiet = 0 if epoch.valid_loss < lowest else self.quiet + 1
        if train.schedule == "plateau" and self.quiet > train.plateau_patience:
            self.plateau_factor *= train.gamma
            self.quiet = 0
        self.epochs.append(epoch)
        improved = self.best is None or self._value(epoch) > self._value(self.epochs[self.best]) + train.min_delta
        if improved:
            self.best = len(self.epochs) - 1
        self.say(
            f"  epoch {epoch.epoch:3d}/{train.epochs}  train loss {epoch.train_loss:.4f}  "
            f"valid loss {epoch.valid_loss:.4f}  {self.config.metric} {epoch.valid_metric:.4f}  "
            f"lr {epoch.lr:.2e}  {rate(epoch.images_per_second)} images/s{'  best' if improved else ''}"
        )
        if self.stopped:
            self.say(f"  stopped: {train.monitor} has not improved for {train.patience} epochs")
        return improved

    def _value(self, epoch: Epoch) -> float:
        """Return what is monitored, turned so that greater is better.

        A metric that the fold's rows leave undefined (the AUC of a class that is absent) gives way to the loss:
        else the first epoch would stay the best for good.
        """
        if self.config.train.monitor == "loss" or not np.isfinite(epoch.valid_metric):
            return -epoch.valid_loss
        return epoch.valid_metric if find(self.config.metric).greater_is_better else -epoch.valid_metric

    def start(self, fold: Fold, origin: str, setting: str, done: tuple[int, int] | None = None) -> None:
        """Announce the fold; `done` are the steps made of the epoch that a checkpoint was written in, and all of it."""
        resumed = f", resumed after epoch {len(self.epochs)}" if self.epochs else ""
        if done is not None:
            resumed = f", resumed in epoch {len(self.epochs) + 1} after step {done[0]} of {done[1]}"
        self.say(f"fold {fold.number}: {len(fold.train)} rows to train, {len(fold.valid)} to validate{resumed}")
        several = f", {processes.count()} processes" if processes.count() > 1 else ""
        self.say(f"  {origin}; {setting}{several}")
        for note in recipe_rules.shortened(self.config):
            self.say(f"  note: {note}")

    def say(self, line: str) -> None:
        """Print a line and keep it for train.log; only in the main process."""
        if processes.is_main():
            from tqdm import tqdm

            tqdm.write(line)
            self.log.append(line)

    @contextlib.contextmanager
    def progress(self, epoch: int, steps: int, done: int = 0) -> Iterator[Callable[[int], object]]:
        """Show a bar over an epoch's steps, some of them done before, where somebody watches."""
        from tqdm import tqdm

        disable = None if processes.is_main() else True  # None: only on a terminal
        with tqdm(total=steps, initial=done, desc=f"  epoch {epoch + 1}", leave=False, disable=disable) as bar:
            yield bar.update

    def keep_batch(self, fold: Fold, images: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> None:
        """Store the first training batch as the model sees it, for the report."""
        with atomic(fold.folder / "batch.npz") as beside, beside.open("wb") as stream:
            np.savez(stream, images=images, targets=targets, classes=np.asarray(fold.classes, dtype=np.str_))

    def write(self, folder: Path) -> None:
        """Write epochs.csv and train.log."""
        write_table(folder / "epochs.csv", pd.DataFrame([asdict(epoch) for epoch in self.epochs]))
        write_text(folder / "train.log", "\n".join(self.log) + "\n")

    def state(self) -> dict[str, Any]:
        """Return everything as plain values."""
        found = {name: value for name, value in vars(self).items() if name != "config"}
        return {**found, "epochs": [asdict(epoch) for epoch in self.epochs]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        vars(self).update({**state, "epochs": epochs, "log": list(state["log"])})

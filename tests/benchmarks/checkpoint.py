"""Measure what checkpoints inside epochs cost: python tests/benchmarks/checkpoint.py -c configs/digits.yaml.

Steps with and without a checkpoint after them alternate in one run; a checkpoint's seconds by 600 are its share of the
time at the default of one in ten minutes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from pipeline.batches import augmentation
from pipeline.batches.inputs import Inputs
from pipeline.config.loading import load
from pipeline.folds import fold_table
from pipeline.machine import devices
from pipeline.models.network import Setting
from pipeline.training.checkpoints.part import Part
from pipeline.training.fold import Fold
from pipeline.training.trainer import Fit, accelerator

STEPS = 10  # of each kind in a round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", "--config", action="append", required=True)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    config, inputs = load(given.config, given.set), Inputs()
    threads = devices.prepare(config.train)
    competition, table = inputs.competition(config), fold_table.read(config)
    images = inputs.training_images(config, sizes=True)
    with tempfile.TemporaryDirectory(dir=config.runs_dir) as folder:
        config = config.model_copy(update={"runs_dir": folder})
        fold = Fold.of(config, table, competition, images, 0)
        fit = Fit(config, fold, augmentation.of(config), accelerator(Setting.of(config)), {})
        stream, wrapped = fit.open()
        wrapped.train()
        work = iter(
            (e, s)
            for e in range(config.train.epochs)
            for s in range(0, fit.batches.plan.steps, config.train.accumulate)
        )
        loss, _, _ = fit.step(*next(work), stream, wrapped)
        part, plain, saves = Part(1, 0.0, loss, fit.batches.plan.steps), [], []
        for _ in range(given.rounds):
            for _ in range(STEPS):
                begin = time.perf_counter()
                part.loss += fit.step(*next(work), stream, wrapped)[0]
                plain.append(time.perf_counter() - begin)
                fit.checkpoint.save(fit.history.state(), [part.taken({"model": fit.model})])
                saves.append(time.perf_counter() - begin - plain[-1])
        size = Path(fit.checkpoint.path).stat().st_size / 1e6
    step, save = statistics.median(plain), statistics.median(saves)
    epoch = step * fit.updates
    print(f"{config.name}: {config.model.name}, {threads} threads; a checkpoint of {size:.0f} MB takes {save:.3f} s")
    print(f"  {save / step:.2f} optimizer steps; one in ten minutes: {save / 600:.3%} of the time")
    print(f"  one at each epoch's end, of {epoch:.1f} s: {save / (epoch + save):.2%}")


if __name__ == "__main__":
    main()

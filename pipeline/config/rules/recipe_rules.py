"""Refuse keys of the recipe that contradict each other, whatever the task."""

from __future__ import annotations

import itertools

from pipeline.config.config import Config
from pipeline.config.sections.section import square
from pipeline.errors import Problem
from pipeline.methods.schedules import WITH_WARMUP


def problems(config: Config) -> list[Problem]:
    """Return which sizes change nothing, which run would learn from itself, and what would never thaw."""
    found = []
    sizes = [one.size for one in config.train.sizes or ()]
    for size, after in itertools.pairwise([*sizes, config.model.size] if sizes else []):
        if square(size) == square(after):
            found.append(
                Problem("train.sizes", f"found {size} before {after}, which changes nothing", remedy="leave it out")
            )
    for key, teacher in (("distill", config.distill.teacher), ("pseudo", config.pseudo.teacher)):
        if teacher is not None and teacher in (config.run_dir.name, str(config.run_dir)):
            found.append(
                Problem(f"{key}.teacher", "found this run itself", remedy="name another one, or set another `run`")
            )
    thaw = config.model.thaw_epoch
    if thaw is not None and thaw >= config.train.epochs > 1:
        found.append(
            Problem(
                "model.thaw_epoch",
                f"found {thaw} of {config.train.epochs} epochs, so that nothing would ever thaw",
                remedy="expected fewer than train.epochs",
            )
        )
    return found


def shortened(config: Config) -> list[str]:
    """Return what a training of one epoch, such as a trial run, has no room for, and what happens instead."""
    train, thaw, off = config.train, config.model.thaw_epoch, config.mix.off_last_epochs
    if train.epochs > 1:
        return []
    notes = {
        f"train.warmup_epochs {train.warmup_epochs:g}: the rate rises over the first quarter": (
            train.warmup < train.warmup_epochs and train.schedule not in WITH_WARMUP
        ),
        "train.sizes: all is trained at model.size": train.sizes is not None,
        "train.average swa: one epoch's weights are their own mean": train.average is not None,
        f"model.thaw_epoch {thaw}: what is frozen stays so": thaw is not None and thaw > 0,
        f"mix.off_last_epochs {off}: nothing is mixed": config.mix.kind != "none" and off > 0,
    }
    return [f"one epoch has no room for {note}" for note, holds in notes.items() if holds]

"""Refuse keys of the recipe that contradict each other, whatever the task."""

from __future__ import annotations

import itertools

from pipeline.config.config import Config
from pipeline.config.sections.section import square
from pipeline.errors import Problem


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
    if thaw is not None and thaw >= config.train.epochs:
        found.append(
            Problem(
                "model.thaw_epoch",
                f"found {thaw} of {config.train.epochs} epochs, so that nothing would ever thaw",
                remedy="expected fewer than train.epochs",
            )
        )
    return found

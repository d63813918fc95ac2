"""Refuse keys of the recipe that contradict each other, whatever the task."""

from __future__ import annotations

import itertools

from pipeline.config.config import Config
from pipeline.config.sections.section import square


def problems(config: Config) -> list[str]:
    """Return which sizes change nothing, which run would learn from itself, and what would never thaw."""
    found = []
    sizes = [one.size for one in config.train.sizes or ()]
    for size, after in itertools.pairwise([*sizes, config.model.size] if sizes else []):
        if square(size) == square(after):
            found.append(f"train.sizes: found {size} before {after}, which changes nothing; leave it out")
    for key, teacher in (("distill", config.distill.teacher), ("pseudo", config.pseudo.teacher)):
        if teacher is not None and teacher in (config.run_dir.name, str(config.run_dir)):
            found.append(f"{key}.teacher: found this run itself; name another one, or set another `run`")
    thaw = config.model.thaw_epoch
    if thaw is not None and thaw >= config.train.epochs:
        found.append(
            f"model.thaw_epoch: found {thaw} of {config.train.epochs} epochs, so that nothing would ever thaw; "
            "expected fewer than train.epochs"
        )
    return found

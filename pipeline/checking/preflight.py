"""Find what a config asks of libraries and other runs that they do not have, without building or training anything."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.batches import augmentation
from pipeline.checking import plugin_trial
from pipeline.config.config import Config
from pipeline.errors import InputError
from pipeline.models.sources import check_name
from pipeline.training import teacher
from pipeline.training.trainer import check_optimizer


def defects(config: Config) -> list[str]:
    """Return what is wrong with the names of model, optimizer, transforms and teachers, all together."""
    looks: tuple[Callable[[], object], ...] = (
        lambda: check_name(config.model.name),
        lambda: check_optimizer(config.train.optimizer),
        lambda: augmentation.of(config),
    )
    found = teacher.problems(config)
    for look in looks:
        try:
            look()
        except InputError as error:
            found += error.lines
        except ValueError as error:
            found.append(str(error))
    return found + plugin_trial.problems(config)

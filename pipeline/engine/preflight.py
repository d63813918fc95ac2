"""Find what a config asks of libraries and other runs that they do not have, without building or training anything."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.contracts import teachers
from pipeline.contracts.config import Config
from pipeline.contracts.errors import InputError
from pipeline.engine import augment, owntrial
from pipeline.engine.fit import check_optimizer
from pipeline.parts.models import check_name


def defects(config: Config) -> list[str]:
    """Return what is wrong with the names of model, optimizer, transforms and teachers, all together."""
    looks: tuple[Callable[[], object], ...] = (
        lambda: check_name(config.model.name),
        lambda: check_optimizer(config.train.optimizer),
        lambda: augment.of(config),
    )
    found = teachers.problems(config)
    for look in looks:
        try:
            look()
        except InputError as error:
            found += error.defects
        except ValueError as error:
            found.append(str(error))
    return found + owntrial.problems(config)

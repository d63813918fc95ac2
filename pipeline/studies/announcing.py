"""Say at once what is about to be measured, before anything heavy is imported."""

from __future__ import annotations

from pipeline.config.config import Config


def dry(config: Config) -> str:
    """Return what a dry run looks at."""
    return (
        f"{_model(config)}: reading tables, stamps and files; where no epochs tell how fast it trains, 2 steps of the "
        "model on random numbers are timed"
    )


def bench(config: Config) -> str:
    """Return what is measured."""
    return (
        f"{_model(config)}: measuring decoding, reading and augmentation, the model's step and the training loop, "
        "prediction; about a minute, longer where a step is slow"
    )


def _model(config: Config) -> str:
    height, width = config.model.size_hw
    return f"{config.run_dir.name}: {config.model.name} at {height}×{width}, batch {config.train.batch_size}"

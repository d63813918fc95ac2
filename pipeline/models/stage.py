"""List the configured network's stages: output shapes, parameters, multiply-adds."""

from __future__ import annotations

from pipeline.competition.competition import load
from pipeline.config.config import Config
from pipeline.models import network
from pipeline.models.network import Setting
from pipeline.models.summary import Stage, summarize


def run(config: Config) -> list[str]:
    """Return the lines of the table. Weights are initial, so nothing is downloaded; no image is read."""
    classes, model = load(config).classes, config.model
    free = config.model_copy(update={"model": model.model_copy(update={"freeze": None})})  # it swaps BatchNorm
    made, _ = network.build(free, classes, Setting.of(config), 0, fresh=False)
    if (frozen := network.frozen(config, made)) is not None:
        frozen.hold(True)
    stages, whole = summarize(made, model.size_hw, config.data.in_chans)
    height, width = model.size_hw
    lines = [
        f"{config.name}: {model.name} at {height}×{width}, {config.data.in_chans} channels, {len(classes)} classes",
        f"{'stage':<20}{'output':>18}{'parameters':>14}{'learning':>14}{'multiply-adds':>16}",
        *map(_line, stages),
        _line(whole),
    ]
    if model.freeze is not None:
        until = "for good" if model.thaw_epoch is None else f"for {model.thaw_epoch} epochs"
        lines.append(f"frozen {until}: {model.freeze}")
    weights = sum(value.numel() * value.element_size() for value in made.state_dict().values())
    return [*lines, f"{whole.multiply_adds / 1e9:.3f} G multiply-adds per image, {weights / 1e6:.1f} MB of weights"]


def _line(stage: Stage) -> str:
    shape = "in training only" if stage.shape is None else "×".join(map(str, stage.shape[1:]))
    counts = f"{stage.parameters:>14,}{stage.learning:>14,}{stage.multiply_adds:>16,}"
    return f"{stage.name:<20}{shape:>18}{counts}"

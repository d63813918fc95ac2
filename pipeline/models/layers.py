"""Change a model that is built: pooling, dropout before the head, small stems, checkpoints, fp32 convolutions."""

from __future__ import annotations

import timm.models.resnet
import torch
from timm.layers import SelectAdaptivePool2d
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import InputError, Problem
from pipeline.models.weights import classifiers, replace

DROP_RATE = 0.5  # of multi_dropout where none is set


class GeM(nn.Module):
    """Pool by the mean of x^p to the power 1/p, with p learnt from 3 on (Radenović 2018, arXiv:1711.02512).

    p = 1 is the mean, large p the maximum. Values below 1e-6 count as that: the features of most convolutional
    networks are positive, others lose their sign. Computed in fp32, as powers overflow half precision.
    """

    def __init__(self, dim: tuple[int, ...], keepdim: bool) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), 3.0))
        self.dim, self.keepdim = dim, keepdim

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            pooled = features.float().clamp(min=1e-6).pow(self.p).mean(self.dim, keepdim=self.keepdim).pow(1 / self.p)
        return pooled.to(features.dtype)


def pool_gem(model: nn.Module) -> None:
    """Replace a model's global pooling by GeM; raise InputError where there is none of a kind known here."""
    selected = [m for m in model.modules() if isinstance(m, SelectAdaptivePool2d) and not m.is_identity()]
    plain = getattr(model, "avgpool", None)
    if len(selected) == 1:
        old = selected[0].pool
        made = GeM(tuple(getattr(old, "dim", (2, 3))), not getattr(old, "flatten", False))
        replace(selected[0], "pool", made)
    elif isinstance(plain, nn.AdaptiveAvgPool2d) and plain.output_size in (1, (1, 1)):
        model.avgpool = GeM((2, 3), keepdim=True)
    else:
        found = "found gem, but the model has no global pooling of feature maps that it could replace"
        raise InputError(Problem("model.pool", found, remedy="leave it out"))


def _mix_in(module: nn.Module, mixin: type) -> None:
    """Put a class before the module's own: unlike a new layer it keeps the weights' names, and copies keep it."""
    cls = type(module)
    module.__class__ = type(f"{mixin.__name__.lstrip('_')}{cls.__name__}", (mixin, cls), {})


class _MultiDropout:
    """Give a linear layer the mean of its values under several dropout masks, in training."""

    masks: int
    rate: float

    def forward(self, features: Tensor) -> Tensor:
        if self.training:  # type: ignore[attr-defined]
            # the layer is linear: its value at the mean of the masked features is the mean of its values
            features = torch.stack([F.dropout(features, self.rate) for _ in range(self.masks)]).mean(0)
        result: Tensor = super().forward(features)  # type: ignore[misc]
        return result


def multi_dropout(model: nn.Module, masks: int, rate: float | None) -> None:
    """Average the head's logits over dropout masks (after Inoue 2019, arXiv:1905.09788, who averages the losses).

    The dropout just before the head is switched off, as this stands in its place.
    """
    heads = {name: model.get_submodule(name) for name in classifiers(model)}
    if not heads or not all(isinstance(head, nn.Linear | nn.Conv2d) for head in heads.values()):
        kinds = ", ".join(f"{name}, a {type(head).__name__}" for name, head in heads.items()) or "none that is known"
        raise InputError(Problem("model.multi_dropout", f"found as the model's head {kinds}", "a linear layer"))
    for name, head in heads.items():
        siblings = list(model.get_submodule(name.rpartition(".")[0]).children())
        before = siblings[siblings.index(head) - 1] if siblings.index(head) else None
        if isinstance(before, nn.Dropout):
            before.p = 0.0
        _mix_in(head, _MultiDropout)
        head.masks, head.rate = masks, DROP_RATE if rate is None else rate  # type: ignore[assignment]


def small_stem(model: nn.Module) -> None:
    """Give a ResNet the stem for small images: 3×3 of stride 1 and no pooling (He 2016 on CIFAR-10).

    Images of 32 pixels then reach the first stage at 32 instead of 8. A 7×7 convolution's weights are lost, those of
    a deep stem are kept. Raises InputError for other families.
    """
    import torchvision

    if not isinstance(model, timm.models.resnet.ResNet | torchvision.models.ResNet):
        found = f"found small for a {type(model).__name__}"
        raise InputError(Problem("model.stem", found, "a ResNet, timm's or torchvision's", "leave it out"))
    first = model.conv1
    if isinstance(first, nn.Conv2d):
        made = nn.Conv2d(first.in_channels, first.out_channels, 3, stride=1, padding=1, bias=first.bias is not None)
        nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
        model.conv1 = made
    else:
        for module in first.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
    model.maxpool = nn.Identity()


class _OnceInTraining:
    """Count a batch once in BatchNorm's statistics, though a checkpoint computes the layer twice."""

    def forward(self, features: Tensor) -> Tensor:
        layer: nn.BatchNorm2d = self  # type: ignore[assignment]
        again = layer.training and torch._C._current_graph_task_id() != -1  # inside the backward pass
        momentum, counted = layer.momentum, layer.num_batches_tracked
        if again:
            layer.momentum, layer.num_batches_tracked = 0.0, None
        try:
            result: Tensor = super().forward(features)  # type: ignore[misc]
        finally:
            layer.momentum, layer.num_batches_tracked = momentum, counted
        return result


def checkpoint_gradients(model: nn.Module) -> None:
    """Keep fewer activations and compute them again going backward, with the same bytes.

    Raises InputError where the model has no checkpoints of its own.
    """
    try:
        model.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AttributeError, AssertionError) as error:
        found = "found true, but the model has no gradient checkpoints"
        raise InputError(Problem("model.grad_checkpointing", found, remedy="set it to false")) from error
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            _mix_in(module, _OnceInTraining)


class _Fp32:
    """Run a convolution in fp32 inside a bf16 autocast region."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            result: Tensor = super().forward(images.float())  # type: ignore[misc]
        return result.to(images.dtype)


def fp32_grouped_convolutions(model: nn.Module) -> nn.Module:
    """Keep grouped and depthwise convolutions in fp32 under a CPU's bf16 autocast.

    Their bf16 backward is slow on CPUs: tf_efficientnet_lite0 trains 1.7 to 2.6 times faster this way, 1.25 to
    1.5 times faster than in plain fp32 (2 cores with AMX; tests/benchmarks/step.py).
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            _mix_in(module, _Fp32)
    return model

"""Freezing by number and share, small stems, gem, dropout masks, checkpoints: each held to what it must change."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config.sections.model import Model
from pipeline.errors import InputError
from pipeline.models import building, freezing, weights
from pipeline.models.layers import GeM
from pipeline.models.summary import summarize


def build(name: str = "test_resnet", seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    return building.build(Model(**{"name": name, "pretrained": False, "size": 32, **options}), 3)[0]


def images(rows: int = 4, side: int = 32) -> Tensor:
    return torch.rand(rows, 3, side, side, generator=torch.Generator().manual_seed(0))


def learning(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def test_the_first_layers_are_frozen_with_their_statistics() -> None:
    """test_resnet begins conv1.0, conv1.1 (norm), conv1.3, conv1.4 (norm): three layers are five tensors less one."""
    model, every = build(), learning(build())
    assert every[:4] == ["conv1.0.weight", "conv1.1.weight", "conv1.1.bias", "conv1.3.weight"]
    assert freezing.freeze(model, 3) == len(every) - 4
    assert learning(model) == every[4:]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()(images())
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert "conv1.1.running_mean" not in moved and "conv1.4.running_mean" in moved


@pytest.mark.parametrize("share", [0.05, 0.2075, 0.5])
def test_a_share_is_of_the_weight_tensors(share: float) -> None:
    model, every = build("test_convnext"), learning(build("test_convnext"))
    left = freezing.freeze(model, share)
    assert learning(model) == [name for name in every if name in learning(model)]
    assert 0 <= share * len(every) - (len(every) - left) < 3  # whole layers of one to three tensors


def test_the_head_always_learns() -> None:
    model = build()
    layers = sum(1 for module in model.modules() if list(module.parameters(recurse=False)))
    assert freezing.freeze(build(), layers - 1) == 2
    with pytest.raises(InputError, match=rf"model\.freeze: found {layers}, expected at most {layers - 1}"):
        freezing.freeze(model, layers)
    with pytest.raises(InputError, match=r"model\.freeze: found 0\.001 of .* weight tensors, which is less"):
        freezing.freeze(model, 0.001)


def test_what_thaws_learns_again_with_its_statistics() -> None:
    model = build()
    frozen, every = freezing.Frozen(model, "backbone"), learning(model)
    model.train()
    frozen.hold(True)
    assert learning(model) == ["fc.weight", "fc.bias"]
    before = model.state_dict()["conv1.1.running_mean"].clone()
    model(images())
    assert torch.equal(model.state_dict()["conv1.1.running_mean"], before)
    model.train()
    frozen.hold(False)
    assert learning(model) == every
    model(images())
    assert not torch.equal(model.state_dict()["conv1.1.running_mean"], before)


@pytest.mark.parametrize(("name", "kept"), [("resnet10t", True), ("torchvision/resnet18", False)])
def test_a_small_stem_keeps_the_first_stage_at_full_size(name: str, kept: bool) -> None:
    plain, small = build(name), build(name, stem="small")
    shapes = {stage.name: stage.shape for stage in summarize(small, (32, 32))[0]}
    assert shapes["layer1"][2:] == (32, 32) and shapes["layer4"][2:] == (4, 4)
    assert {s.name: s.shape for s in summarize(plain, (32, 32))[0]}["layer1"][2:] == (8, 8)
    first = "conv1.0.weight" if kept else "conv1.weight"
    assert torch.equal(small.state_dict()[first], plain.state_dict()[first]) if kept else True
    assert small.state_dict()[first].shape[2:] == (3, 3)


def test_other_families_have_no_small_stem() -> None:
    with pytest.raises(InputError, match=r"model\.stem: found small for a VisionTransformer, expected a ResNet"):
        build("test_vit", stem="small")


def test_gem_is_the_power_mean() -> None:
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    layer = GeM((2, 3), keepdim=False)
    assert layer(features).item() == pytest.approx((100 / 4) ** (1 / 3))  # 1 + 8 + 27 + 64
    with torch.no_grad():
        layer.p.fill_(1.0)
    assert layer(features).item() == pytest.approx(2.5)
    layer(features).sum().backward()
    assert layer.p.grad is not None and layer.p.grad.item() > 0


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "torchvision/resnet18"])
def test_gem_pools_a_models_last_features(name: str) -> None:
    """With p = 1 it is the mean pooling that the model had, where features are positive."""
    plain, gem = build(name).eval(), build(name, pool="gem").eval()
    power = next(module for module in gem.modules() if isinstance(module, GeM))
    assert not torch.allclose(plain(images(2, 64)), gem(images(2, 64)), atol=1e-4)
    if "resnet" in name:
        with torch.no_grad():
            power.p.fill_(1.0)
        torch.testing.assert_close(plain(images(2, 64)), gem(images(2, 64)), rtol=1e-4, atol=1e-5)
    freezing.freeze(gem, "backbone")
    assert power.p.requires_grad


def test_gem_needs_a_global_pooling() -> None:
    with pytest.raises(InputError, match=r"model\.pool: found gem, but the model has no global pooling"):
        build("test_vit", pool="gem")


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "torchvision/mobilenet_v3_small"])
def test_logits_are_the_mean_over_the_masks(name: str) -> None:
    model = build(name, multi_dropout=3, drop_rate=0.4)
    head = weights.names(model, "classifier")[0]
    layer, features = model.get_submodule(head), torch.rand(5, model.get_submodule(head).in_features)
    torch.manual_seed(1)
    found = layer.train()(features)
    torch.manual_seed(1)
    logits = [F.linear(F.dropout(features, 0.4), layer.weight, layer.bias) for _ in range(3)]
    torch.testing.assert_close(found, torch.stack(logits).mean(0))
    assert torch.equal(layer.eval()(features), F.linear(features, layer.weight, layer.bias))
    assert list(model.state_dict()) == list(build(name).state_dict())


def test_the_models_own_dropout_gives_way_to_the_masks() -> None:
    model = build("torchvision/mobilenet_v3_small", multi_dropout=2)
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.0]
    assert build("test_resnet", multi_dropout=2, drop_rate=0.3).drop_rate == 0.0
    copied = copy.deepcopy(model.get_submodule("classifier.3"))
    assert (copied.masks, copied.rate) == (2, 0.5)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_checkpoints_change_memory_and_no_byte(name: str) -> None:
    """Plain checkpoints would count every batch twice in BatchNorm's statistics."""
    plain, saving = build(name, drop_rate=0.2), build(name, drop_rate=0.2, grad_checkpointing=True)
    calls: list[int] = [0, 0]
    for n, model in enumerate((plain, saving)):
        part = model.get_submodule("layer2" if name == "test_resnet" else "blocks.1")
        inner = next(module for module in part.modules() if isinstance(module, nn.Conv2d | nn.Linear))
        inner.register_forward_hook(lambda *_, n=n: calls.__setitem__(n, calls[n] + 1))
        torch.manual_seed(5)
        model.train()(images()).square().sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
    assert calls == [1, 2]
    ours = saving.state_dict()
    assert all(torch.equal(value, ours[key]) for key, value in plain.state_dict().items())


def test_checkpoints_are_refused_where_there_are_none() -> None:
    with pytest.raises(InputError, match=r"model\.grad_checkpointing: found true, but the model has no gradient"):
        build("torchvision/resnet18", grad_checkpointing=True)


@pytest.mark.parametrize(
    ("name", "giga", "parameters"),
    [("resnet18", 1.814, 11_689_512), ("vit_tiny_patch16_224", 1.254, 5_717_416)],  # of 1,000 classes, as published
)
def test_the_summary_counts_what_is_published(name: str, giga: float, parameters: int) -> None:
    model, _ = building.build(Model(name=name, pretrained=False), 1000)
    stages, whole = summarize(model, (224, 224))
    assert (whole.parameters, whole.learning) == (parameters, parameters)
    assert whole.multiply_adds / 1e9 == pytest.approx(giga, abs=6e-4)
    assert sum(stage.multiply_adds for stage in stages) == whole.multiply_adds
    assert whole.shape == (1, 1000)

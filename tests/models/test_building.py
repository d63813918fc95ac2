"""The model factory: local weights by the 90 % rule, heads, options, freezing, fp32 grouped convolutions."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.config.sections.model import Model
from pipeline.errors import InputError
from pipeline.models import building, freezing, layers

TINY = ["test_resnet", "test_efficientnet", "test_vit", "test_convnext"]


def build(
    name: str = "test_resnet", classes: int = 3, seed: int = 0, in_chans: int = 3, **options: Any
) -> tuple[nn.Module, str]:
    torch.manual_seed(seed)
    return building.build(Model(**{"name": name, "pretrained": False, "size": 32, **options}), classes, in_chans)


def images(rows: int = 2, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(rows, 3, height, width, generator=torch.Generator().manual_seed(0))


def weights_of(name: str, classes: int, prefix: str = "") -> dict[str, Tensor]:
    model, _ = build(name, classes, seed=9)
    return {prefix + key: value for key, value in model.state_dict().items()}


def write(path: Path, weights: dict[str, Tensor], nested: str | None = None) -> Path:
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save({nested: weights, "epoch": 3} if nested else weights, path)
    return path


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("file", ["w.pth", "w.safetensors"])
def test_a_full_file_loads_whole_whatever_its_head(name: str, file: str, tmp_path: Path) -> None:
    weights = weights_of(name, 1000)
    model, origin = build(name, 3, pretrained=str(write(tmp_path / file, weights)))
    own = model.state_dict()
    head = timm.get_pretrained_cfg(name).classifier
    backbone = [key for key in own if not key.startswith(f"{head}.")]
    assert len(backbone) < len(own)
    assert f"{len(backbone)} of {len(backbone)} backbone tensors from {tmp_path / file}" in origin
    assert all(torch.equal(own[key], weights[key]) for key in backbone)
    fresh, _ = build(name, 3)
    assert all(torch.equal(own[key], fresh.state_dict()[key]) for key in own if key not in backbone)


@pytest.mark.parametrize("nested", ["state_dict", "model", "state_dict_ema"])
def test_weights_may_lie_in_a_trainers_checkpoint(nested: str, tmp_path: Path) -> None:
    path = write(tmp_path / "w.pth", weights_of("test_resnet", 5), nested)
    _, origin = build(pretrained=str(path))
    assert "tensors from" in origin


def test_prefixed_keys_are_refused_with_the_numbers(tmp_path: Path) -> None:
    """timm would warn, load nothing and train from scratch."""
    path = write(tmp_path / "w.pth", weights_of("test_resnet", 3, "module.backbone."))
    with pytest.raises(InputError, match=r"0 of (\d+) backbone tensors .*\(0%\).*at least 90%") as caught:
        build(pretrained=str(path))
    assert "such as module.backbone.conv1.0.weight" in str(caught.value) and "expected conv1.0.weight" in str(
        caught.value
    )


def test_ninety_percent_are_enough_and_less_are_not(tmp_path: Path) -> None:
    weights = weights_of("test_resnet", 3)
    backbone = [key for key in weights if not key.startswith("fc.")]
    spare = len(backbone) // 10
    most = {key: weights[key] for key in backbone[spare:]}
    _, origin = build(pretrained=str(write(tmp_path / "most.pth", most)))
    assert f"{len(backbone) - spare} of {len(backbone)}" in origin
    for key in backbone[spare : spare + 2]:
        most[key] = torch.zeros(1, 2, 3)  # another shape counts as absent
    with pytest.raises(InputError, match=f"{len(backbone) - spare - 2} of {len(backbone)} backbone tensors"):
        build(pretrained=str(write(tmp_path / "few.pth", most)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.pretrained: .*gone\.pth not found"):
        build(pretrained=str(tmp_path / "gone.pth"))


@pytest.mark.parametrize("name", [*TINY, "deit_tiny_distilled_patch16_224"])
def test_a_zero_head_gives_equal_probabilities(name: str) -> None:
    model, _ = build(name, 4, zero_head=True)
    probs_BC = model.eval()(images()).softmax(-1)
    torch.testing.assert_close(probs_BC, torch.full((2, 4), 0.25), rtol=0, atol=0)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", TINY)
def test_a_frozen_backbone_stays_and_the_head_learns(name: str) -> None:
    model, _ = build(name)
    head = timm.get_pretrained_cfg(name).classifier.split(".")[0]
    learning = freezing.freeze(model, "backbone")
    assert learning == len(list(model.get_submodule(head).parameters()))
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    for _ in range(2):
        model(images(4)).square().sum().backward()
        optimizer.step()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and all(key.startswith(f"{head}.") for key in changed)  # BatchNorm's statistics too


def test_named_modules_are_frozen() -> None:
    model, _ = build()
    every = [name for name, _ in model.named_parameters()]
    count = freezing.freeze(model, ["conv1", "layer1.0"])
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert learning == [name for name in every if not name.startswith(("conv1.", "layer1.0."))]
    assert len(every) > len(learning) == count


def test_unknown_modules_are_all_named() -> None:
    model, _ = build()
    with pytest.raises(InputError, match=r"model\.freeze: found stem, layr1, expected modules such as conv1, bn1"):
        freezing.freeze(model, ["stem", "conv1", "layr1"])


@pytest.mark.parametrize(
    ("name", "near"), [("resnett18", "resnet18"), ("tf_efficientnet_lite", "tf_efficientnet_lite0")]
)
def test_an_unknown_name_is_named_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(InputError, match=rf"model\.name: found '{name}', expected a timm model, such as .*{near}\b"):
        build(name)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("test_resnet", {"pool": "median"}, "Invalid pool type: median"),
        ("test_vit", {"pool": "catavgmax"}, "pooling"),
        ("vgg11", {"drop_path_rate": 0.1}, "drop_path_rate"),
        ("test_vit", {"size": (100, 100)}, r"model\.size: test_vit cannot take 100 x 100 .*divisible by patch size"),
        ("test_maxvit", {"size": (50, 50)}, r"model\.size: test_maxvit cannot take 50 x 50"),
    ],
)
def test_what_a_model_cannot_take_is_refused_when_it_is_built(name: str, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(name, **options)


@pytest.mark.parametrize("pool", ["avg", "max", "avgmax", "catavgmax"])
def test_pooling_is_passed_on(pool: str) -> None:
    (model, _), (plain, _) = build(pool=pool), build()
    same = torch.equal(model.eval()(images(2, 96, 96)), plain.eval()(images(2, 96, 96)))
    assert same == (pool == "avg")


def test_dropout_is_passed_on() -> None:
    model, _ = build("test_efficientnet", drop_rate=0.5)
    assert model.drop_rate == 0.5
    paths = [
        module for module in build("test_convnext", drop_path_rate=0.3)[0].modules() if hasattr(module, "drop_prob")
    ]
    assert max(module.drop_prob for module in paths) == pytest.approx(0.3)


@pytest.mark.parametrize("name", TINY)
def test_sizes_need_not_be_square(name: str) -> None:
    model, _ = build(name, size=(32, 64))
    assert model.eval()(images(2, 32, 64)).shape == (2, 3)


def test_the_seed_alone_decides_initial_weights() -> None:
    one, two, other = (build("test_vit", seed=seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


def test_models_are_returned_ready_to_train() -> None:
    model, _ = build()
    fresh = timm.create_model("test_resnet", num_classes=3)
    assert model.training
    assert torch.equal(model.state_dict()["bn1.running_mean"], fresh.state_dict()["bn1.running_mean"])


def test_normalization_is_the_models_own() -> None:
    assert building.normalization(build("test_vit")[0]) == ((0.5,) * 3, (0.5,) * 3)
    assert building.normalization(timm.create_model("resnet18"))[0] == (0.485, 0.456, 0.406)


def grouped() -> nn.Module:
    model, _ = build("test_efficientnet")
    return model


def test_grouped_convolutions_compute_the_same_in_fp32() -> None:
    plain, changed = grouped(), layers.fp32_grouped_convolutions(grouped())
    kinds = [type(module).__name__ for module in changed.modules()]
    depthwise = [module for module in plain.modules() if isinstance(module, nn.Conv2d) and module.groups > 1]
    assert sum(kind.startswith("Fp32") for kind in kinds) == len(depthwise) > 0
    assert torch.equal(plain.eval()(images()), changed.eval()(images()))
    assert list(plain.state_dict()) == list(changed.state_dict())


def test_grouped_convolutions_stay_near_fp32_under_autocast() -> None:
    exact = grouped().eval()(images(4))
    changed = layers.fp32_grouped_convolutions(grouped()).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        close = changed(images(4))
    torch.testing.assert_close(close.float(), exact, rtol=0, atol=0.05 * exact.abs().max().item())


def test_gradients_flow_through_grouped_convolutions() -> None:
    plain, changed = grouped().train(), layers.fp32_grouped_convolutions(grouped().train())
    for model, autocast in ((plain, False), (changed, True)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = model(images(8)).float().square().sum()
        loss.backward()
    for name, parameter in changed.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    one, two = (
        next(m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1) for model in (plain, changed)
    )
    assert two.weight.grad.dtype == torch.float32
    alike = torch.cosine_similarity(one.weight.grad.flatten(), two.weight.grad.flatten(), 0)
    assert alike > 0.9


def test_copies_compute_with_their_own_weights() -> None:
    """A patched method would stay bound to the original's weights, and an EMA would evaluate those."""
    model = layers.fp32_grouped_convolutions(grouped()).eval()
    duplicate = copy.deepcopy(model)
    before = duplicate(images())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert torch.equal(duplicate(images()), before)
    assert not torch.equal(model(images()), before)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_channels(name: str, channels: int) -> None:
    model, _ = build(name, in_chans=channels)
    assert model.eval()(torch.rand(2, channels, 32, 32)).shape == (2, 3)
    for found, usual in zip(building.normalization(model, channels), building.normalization(model), strict=True):
        assert found == pytest.approx([sum(usual) / 3] * channels)


def test_local_weights_of_colour_are_adapted_to_other_channels(tmp_path: Path) -> None:
    """One channel that is gray sees what three equal ones saw."""
    path = write(tmp_path / "w.safetensors", weights_of("test_resnet", 3))
    gray, origin = build(pretrained=str(path), in_chans=1)
    colour, _ = build(pretrained=str(path))
    one = torch.rand(2, 1, 32, 32)
    expected = colour.eval().forward_features(one.expand(-1, 3, -1, -1))
    assert torch.allclose(gray.eval().forward_features(one), expected, atol=1e-5)
    assert "90 of 90 backbone tensors" in origin
    assert build(pretrained=str(path), in_chans=5)[1] == origin


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("mvitv2_tiny", (64, 96), r"at 64 x 96 pixels \(AssertionError in mvitv2\.py: assert feat_size.*to 96, which"),
        ("halonet26t", 64, r"take 64 x 64 pixels \(AssertionError in halo_attn\.py: _assert\(H % .*to 256, which it"),
        ("crossvit_tiny_240", 64, r"crossvit_tiny_240 cannot take 64 x 64 pixels .*set model\.size to 240, which it"),
    ],
)
def test_a_refusal_has_a_reason_and_a_size_that_fits(name: str, size: Any, message: str) -> None:
    """These fail by assertions without words."""
    with pytest.raises(InputError, match=rf"model\.size: .*{message}"):
        build(name, size=size)

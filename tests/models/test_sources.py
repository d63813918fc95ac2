"""torchvision's models with auxiliary heads, and plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from pipeline.config.sections.model import Model
from pipeline.errors import InputError
from pipeline.models import building, freezing

PLUGIN = """
from dataclasses import dataclass
import torch
from torch import nn

@dataclass
class Plan:
    width: int

def build(classes, in_chans, size, pretrained=False):
    model = nn.Sequential(nn.Conv2d(in_chans, Plan(4).width, 3, 2), nn.ReLU(), nn.Flatten(),
                          nn.Linear(4 * ((size[0] - 1) // 2) * ((size[1] - 1) // 2), classes))
    model.default_cfg = {"mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}
    model.asked = pretrained
    return model

def wrong(classes, in_chans, size):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size[0] * size[1], classes + 1))

def broken(classes):
    return nn.Identity()

def text(classes, in_chans, size):
    return "resnet18"
"""


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    path = tmp_path / "my_models.py"
    path.write_text(PLUGIN)
    return str(path)


def build(name: str, classes: int = 3, seed: int = 0, in_chans: int = 3, **options: Any) -> tuple[nn.Module, str]:
    torch.manual_seed(seed)
    return building.build(Model(**{"name": name, "pretrained": False, "size": 64, **options}), classes, in_chans)


def test_auxiliary_heads_speak_in_training_only(tmp_path: Path) -> None:
    googlenet = torchvision.models.googlenet(num_classes=5, init_weights=False).state_dict()
    save_file(dict(googlenet), tmp_path / "w.safetensors")
    model, origin = build("torchvision/googlenet", pretrained=str(tmp_path / "w.safetensors"), in_chans=1)
    own = {key: value.clone() for key, value in model.state_dict().items()}
    images = torch.rand(2, 1, 64, 64)
    assert [tuple(head.shape) for head in building.heads_of(model.train()(images))] == [(2, 3)] * 3
    assert [tuple(head.shape) for head in building.heads_of(model.eval()(images))] == [(2, 3)]
    heads = ("fc.", "aux1.fc2.", "aux2.fc2.")
    assert all(torch.equal(own[k], v) for k, v in googlenet.items() if not k.startswith((*heads, "conv1.conv.")))
    assert torch.allclose(own["conv1.conv.weight"], googlenet["conv1.conv.weight"].sum(1, keepdim=True), atol=1e-6)
    assert f"{len(googlenet) - 6} of {len(googlenet) - 6} backbone tensors" in origin
    assert building.normalization(model, 1) == ((0.5,), (0.5,))
    learning = freezing.freeze(model, "backbone")
    assert learning == sum(name.startswith(("fc.", "aux")) for name, _ in model.named_parameters())


def test_hub_weights_of_torchvision_are_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    trained, _ = build("torchvision/resnet18", 1000, seed=4)
    weights = torchvision.models.ResNet18_Weights
    monkeypatch.setattr(weights, "get_state_dict", lambda *_, **__: trained.state_dict())
    model, origin = build("torchvision/resnet18", pretrained=True)
    assert origin == "torchvision/resnet18: torchvision's pretrained weights (120 of 120 backbone tensors)"
    assert torch.equal(model.state_dict()["layer4.1.bn2.weight"], trained.state_dict()["layer4.1.bn2.weight"])
    assert torch.equal(model.state_dict()["conv1.weight"], trained.state_dict()["conv1.weight"])

    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(weights, "get_state_dict", offline)
    with pytest.raises(InputError, match=r"cannot be fetched \(ConnectionError\)"):
        build("torchvision/resnet18", pretrained=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("torchvision/alexnett", {}, r"expected a torchvision model, such as torchvision/alexnet"),
        ("torchvision/resnet18", {"drop_rate": 0.3}, "cannot be built with .*dropout"),
        (
            "torchvision/resnet18",
            {"pool": "max"},
            r"model\.pool: found 'max' for .*, expected gem or null",
        ),
        ("torchvision/squeezenet1_0", {"size": (8, 8)}, r"cannot take 8 x 8 pixels"),
    ],
)
def test_what_torchvision_has_not_is_refused(name: str, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(name, **options)


def test_a_plugin_is_built_described_and_frozen(plugin: str, tmp_path: Path) -> None:
    model, origin = build(f"{plugin}:build", in_chans=3, pretrained=True)
    assert model.asked is True and "weights as its function makes them" in origin
    assert building.normalization(model)[0] == (0.1, 0.2, 0.3)
    assert freezing.freeze(model, "backbone") == 2
    zero, _ = build(f"{plugin}:build", zero_head=True)
    assert not zero.get_submodule("3").weight.any()
    save_file(dict(model.state_dict()), tmp_path / "w.safetensors")
    loaded, origin = build(f"{plugin}:build", 7, pretrained=str(tmp_path / "w.safetensors"), in_chans=1)
    assert "2 of 2 backbone tensors" in origin and loaded.asked is False


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("gone", {}, r"model\.name: found '.*', but .* has no function 'gone'"),
        ("wrong", {}, r"returns \(1, 4\) for 1 images, expected \(1, 3\)"),
        ("broken", {}, r"raised TypeError.*called with \(classes, in_chans, \(height, width\)\), here \(3, 3, "),
        ("text", {}, r"returned str, expected a torch\.nn\.Module"),
        ("build", {"drop_rate": 0.2}, "found drop_rate for .*, expected its function to set them"),
        ("build", {"grad_checkpointing": True}, r"model\.grad_checkpointing: found true, but the model has no"),
        ("build", {"pool": "gem"}, r"model\.pool: found gem, but the model has no global pooling"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_said(plugin: str, function: str, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(f"{plugin}:{function}", **options)

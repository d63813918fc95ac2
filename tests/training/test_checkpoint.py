"""Checkpoints: training goes on with the same bytes, with every optimizer and memory format."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from pipeline.config.config import Config
from pipeline.config.loading import parse
from pipeline.errors import InputError, MismatchError
from pipeline.files.atomic import atomic
from pipeline.models.network import load_tensors
from pipeline.training.checkpoints.checkpoint import Checkpoint
from pipeline.training.ema import Ema
from pipeline.training.optimizer import optimizer


def config(name: str) -> Config:
    tree = {"name": "x", "data": {"root": "r", "image": "{id}", "target": "t"}, "model": {"name": "resnet18"}}
    return parse({**tree, "train": {"optimizer": name, "lr": 0.01}}, "a.yaml")


class Training:
    """A tiny network, its moving average and an optimizer, channels last."""

    def __init__(self, name: str, seed: int = 0) -> None:
        torch.manual_seed(seed)
        layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1)
        self.model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 2)).to(memory_format=torch.channels_last)
        self.accelerator = Accelerator(cpu=True)
        self.optimizer = self.accelerator.prepare_optimizer(optimizer(config(name), self.model))
        self.ema = ModelEmaV3(self.model, decay=0.9)

    def steps(self, first: int, count: int) -> Training:
        for step in range(first, first + count):
            torch.manual_seed(step)
            images = torch.rand(4, 3, 10, 10).contiguous(memory_format=torch.channels_last)
            self.model(images).square().sum().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.ema.update(self.model, step=step)
        return self

    def checkpoint(self, path: Path) -> Checkpoint:
        return Checkpoint(path, self.model, self.ema, self.optimizer, self.accelerator)

    def save(self, path: Path) -> None:
        self.checkpoint(path).save({"epochs": [1, 2.5, None]})

    def load(self, path: Path) -> object:
        restored, notes = self.checkpoint(path).load()
        assert not notes
        return None if restored is None else restored.history

    def everything(self) -> list[Tensor]:
        return [*self.model.state_dict().values(), *self.ema.module.state_dict().values()]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    "name",
    ["adamw", "adam", "sgd", "momentum", "nadamw", "lion", "adafactorbv", "lamb", "adan", "muon", "rmsproptf"],
)
def test_a_restored_training_goes_on_alike(name: str, tmp_path: Path) -> None:
    path = tmp_path / "state/last.safetensors"
    first = Training(name).steps(1, 3)
    first.save(path)
    second = Training(name, seed=5)
    assert second.load(path) == {"epochs": [1, 2.5, None]}
    assert all(torch.equal(one, two) for one, two in zip(first.everything(), second.everything(), strict=True))
    first.steps(4, 3)
    second.steps(4, 3)
    assert all(torch.equal(one, two) for one, two in zip(first.everything(), second.everything(), strict=True))


def test_what_an_optimizer_keeps_beside_its_state_is_kept(tmp_path: Path) -> None:
    """Kron draws from a generator of its own, which it adds to its state dict."""
    path = tmp_path / "last.safetensors"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, second = Training("kron"), Training("kron")
        first.optimizer.optimizer.rng.random()
        first.save(path)
        second.load(path)
    assert second.optimizer.optimizer.rng.random() == first.optimizer.optimizer.rng.random()


@pytest.mark.parametrize("name", ["adamw", "momentum"])
def test_state_has_the_strides_of_its_weights(name: str, tmp_path: Path) -> None:
    """Fused optimizers walk weights and state by address: other strides would mix up the elements."""
    first, second = Training(name).steps(1, 1), Training(name)
    first.save(tmp_path / "last.safetensors")
    second.load(tmp_path / "last.safetensors")
    weights = second.model[0].weight
    assert not weights.is_contiguous()
    kept = [value for value in second.optimizer.state[weights].values() if value.shape == weights.shape]
    assert kept and all(value.stride() == weights.stride() for value in kept)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("schedulefree_adamw", "expected one of timm's"),
        ("adamww", "expected one of timm's"),
        ("fusedadam", "CUDA"),
        ("bnbadam", "CUDA"),
        ("adahessian", "second"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="these optimizers exist on a GPU")
def test_an_optimizer_that_cannot_be_used_is_refused(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=rf"train\.optimizer: .*{name}.*{reason}"):
        optimizer(config(name), nn.Linear(2, 2))


def test_biases_and_norms_are_not_decayed() -> None:
    groups = Training("adamw").optimizer.param_groups
    decays = {p.ndim == 1: group["weight_decay"] for group in groups for p in group["params"]}
    assert decays == {True: 0.0, False: 0.02}


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert Training("sgd").load(tmp_path / "last.safetensors") is None


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 4]) + content[-8:])


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(tmp_path: Path) -> None:
    path = tmp_path / "state/last.safetensors"
    first = Training("adamw")
    for step in (1, 2):
        first.steps(step, 1).checkpoint(path).save({"updates": step})
    damage(path)
    second = Training("adamw", seed=5)
    restored, notes = second.checkpoint(path).load()
    assert restored is not None and restored.history == {"updates": 1}
    assert len(notes) == 1 and "last.safetensors: damaged" in notes[0] and "the checkpoint before it" in notes[0]
    second.steps(2, 1).checkpoint(path).save({"updates": 2})
    assert all(torch.equal(one, two) for one, two in zip(first.everything(), second.everything(), strict=True))
    damage(path)  # the good one was not moved away by the damaged one
    assert Training("adamw").checkpoint(path).load()[0].history == {"updates": 1}


def test_where_both_are_damaged_the_fold_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "state/last.safetensors"
    made = Training("sgd")
    for step in (1, 2):
        made.checkpoint(path).save({"updates": step})
    damage(path)
    damage(path.with_name("previous.safetensors"))
    restored, notes = Training("sgd").checkpoint(path).load()
    assert restored is None and not path.parent.exists()
    assert len(notes) == 2 and all("damaged" in note and "the fold begins anew" in note for note in notes)


def test_a_checkpoint_killed_between_its_two_renames_is_the_previous_one(tmp_path: Path) -> None:
    path = tmp_path / "state/last.safetensors"
    Training("sgd").checkpoint(path).save({"updates": 1})
    path.rename(path.with_name("previous.safetensors"))
    restored, notes = Training("sgd").checkpoint(path).load()
    assert restored is not None and restored.history == {"updates": 1} and not notes


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state/last.safetensors"
    Training("sgd").checkpoint(path).save({})
    other = Training("sgd")
    other.model = nn.Linear(2, 2)
    with pytest.raises(MismatchError, match=r"last\.safetensors: does not fit .*--force"):
        other.checkpoint(path).load()


@pytest.mark.parametrize("scaled", [(False, True), (True, False), (True, True)])
def test_a_loss_scale_need_not_be_there(scaled: tuple[bool, bool], tmp_path: Path) -> None:
    """As where bf16 is continued in fp16 (train.deterministic: false), and the other way round."""
    path, (before, after) = tmp_path / "last.safetensors", scaled
    made = [Training("adamw").steps(1, 1), Training("adamw")]
    for one, has in zip(made, scaled, strict=True):
        one.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=8.0) if has else None
    made[0].save(path)
    assert made[1].load(path) is not None
    if before and after:
        assert made[1].accelerator.scaler.get_scale() == 8.0


def test_an_interrupted_save_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    Training("sgd").save(path)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), atomic(path) as beside:
        beside.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_delete_removes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "state/last.safetensors"
    checkpoint = Training("sgd").checkpoint(path)
    checkpoint.save({})
    checkpoint.delete()
    assert not path.parent.exists()
    checkpoint.delete()


class Shared(nn.Module):
    """A layer that stands under two names, as in CoaT."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(2, 2)
        self.other, self.head = self.one, nn.Linear(2, 2)

    def forward(self, values: Tensor) -> Tensor:
        found: Tensor = self.head(self.other(self.one(values)))
        return found


def test_shared_weights_are_written_and_stay_shared(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second = Shared(), Shared()
    accelerator = Accelerator(cpu=True)
    kept = []
    for model, seed in ((first, 1), (second, 2)):
        torch.manual_seed(seed)
        made = accelerator.prepare_optimizer(optimizer(config("adamw"), model))
        model(torch.rand(3, 2)).square().sum().backward()
        made.step()
        kept.append(Checkpoint(tmp_path / "last.safetensors", model, Ema(model, 0.9), made, accelerator))
    kept[0].save({})
    restored, _ = kept[1].load()
    assert restored is not None and restored.history == {}
    for one, other in ((first, second), (kept[0].ema.module, kept[1].ema.module)):
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())
        assert other.one.weight is other.other.weight
    assert {"model.one.weight", "model.other.weight"} <= set(load_tensors(tmp_path / "last.safetensors")[0])


def test_the_moving_average_moves_shared_weights_once() -> None:
    model = Shared()
    ema = Ema(model, 0.5)
    for parameter in [*model.parameters(), *ema.module.parameters()]:
        nn.init.zeros_(parameter)
    nn.init.ones_(model.one.weight)
    nn.init.ones_(model.head.weight)
    ema.update(model, step=1000)
    assert torch.equal(ema.module.other.weight, torch.full((2, 2), 0.5))
    assert torch.equal(ema.module.head.weight, torch.full((2, 2), 0.5))


def test_the_moving_average_is_timms_but_for_that() -> None:
    first, second = Training("adamw"), Training("adamw")
    second.ema = Ema(second.model, 0.9)
    first.ema = ModelEmaV3(first.model, decay=0.9, use_warmup=True)
    first.steps(1, 5)
    second.steps(1, 5)
    assert all(torch.equal(one, two) for one, two in zip(first.everything(), second.everything(), strict=True))

"""Let a user's own functions fail in every way, wherever they are called: one line with their name, exit code 2."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import write_competition

from pipeline import cli

OWN = """
import sys
import numpy as np
import torch
from torch import nn

class Bad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x.sum(-1)
    @staticmethod
    def backward(ctx, slope): raise RuntimeError("no way back")

# views
def view_two(images, more): return images
def view_none(images): pass
def view_list(images): return [images]
def view_flat(images): return images.flatten(1)
def view_fewer(images): return images[:-1]
def view_double(images): return images.double()
def view_nan(images): return images * float("nan")
def view_raises(images): raise RuntimeError("several\\nlines")
def view_exits(images): sys.exit(0)
def view_deep(images): return view_deep(images)
def view_empty(images): return images[..., :0]
# losses
def loss_one(outputs): return outputs.sum(-1)
def loss_number(outputs, targets): return 0.5
def loss_mean(outputs, targets): return ((outputs - targets) ** 2).mean()
def loss_detached(outputs, targets): return (outputs.detach() - targets).sum(-1)
def loss_numpy(outputs, targets): return outputs.numpy().sum(-1)
def loss_backward(outputs, targets): return Bad.apply(outputs)
def loss_exits(outputs, targets): sys.exit(0)
# mixers
def mix_three(images, partner, rng): return images, 1.0
def mix_images(images, partner, rng, alpha, patch): return images
def mix_text(images, partner, rng, alpha, patch): return images, "half"
def mix_nan(images, partner, rng, alpha, patch): return images, float("nan")
def mix_double(images, partner, rng, alpha, patch): return images.double(), 0.5
def mix_fewer(images, partner, rng, alpha, patch): return images[1:], 0.5
# metrics
def metric_one(targets): return 0.5
def metric_raises(targets, probs): return 1 / 0
def metric_text(targets, probs): return "0.5"
def metric_none(targets, probs): pass
def metric_rows(targets, probs): return probs[:, 0]
def metric_exits(targets, probs): sys.exit(0)
# blenders
def blend_two(members, weights): return members[0]
def blend_raises(members, weights, single_label): return members["a"]
def blend_fewer(members, weights, single_label): return members[0][1:]
def blend_nan(members, weights, single_label): return members[0] * np.nan
def blend_text(members, weights, single_label): return "both"
def blend_writes(members, weights, single_label):
    members[0][:] = 0
    return members[0]
def mean(members, weights, single_label): return sum(members) / len(members)
def blend_fits(members, weights, single_label): return mean(members, weights, single_label)
blend_fits.fit = lambda members: [0.5, 0.5]
def blend_fits_one(members, weights, single_label): return mean(members, weights, single_label)
blend_fits_one.fit = lambda members, objective: [1.0]
def blend_fits_nan(members, weights, single_label): return mean(members, weights, single_label)
blend_fits_nan.fit = lambda members, objective: [np.nan, 1.0]
def blend_fits_much(members, weights, single_label): return mean(members, weights, single_label)
blend_fits_much.fit = lambda members, objective: [3.0, 1.0]
# models
class Net(nn.Sequential):
    def __init__(self, classes, in_chans):
        super().__init__(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * in_chans, classes))

class Last(Net):
    def forward(self, x):
        if len(x) > 2:  # more than are tried first
            raise IndexError("three are too many")
        return super().forward(x)

class Squeezed(Net):
    def forward(self, x):
        return super().forward(x)[:2]

def net_two(classes, in_chans): return Net(classes, in_chans)
def net_exits(classes, in_chans, size_hw): sys.exit(0)
def net_none(classes, in_chans, size_hw): pass
def net_last(classes, in_chans, size_hw): return Last(classes, in_chans)
def net_squeezed(classes, in_chans, size_hw): return Squeezed(classes, in_chans)
def net_described(classes, in_chans, size_hw):
    net = Net(classes, in_chans)
    net.default_cfg = {"mean": (0.5,), "std": (0.0,)}
    return net
def net_named(classes, in_chans, size_hw):
    net = Net(classes, in_chans)
    net.default_cfg = {"classifier": "head"}
    return net
"""
NAMES = [line.split("(")[0].removeprefix("def ") for line in OWN.splitlines() if line.startswith("def ")]
Main = Callable[..., tuple[int, str]]


def of(kind: str) -> list[str]:
    return [name for name in NAMES if name.startswith(f"{kind}_")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with a competition and three finished runs, which are equal."""
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_competition(folder)
        Path("bad.py").write_text(OWN)
        for command in ("folds", "train", "predict", "score"):
            assert cli.main([command, "-c", "shapes/config.yaml", *settings()]) == 0
        for copy in ("other", "views"):
            shutil.copytree("runs/shapes", f"runs/{copy}")
        yield folder


@pytest.fixture
def main(place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Main:
    monkeypatch.chdir(place)

    def run(command: str, *arguments: str) -> tuple[int, str]:
        code = cli.main([command, "-c", "shapes/config.yaml", *arguments])
        return code, capfd.readouterr().err

    return run


def settings(*given: str) -> list[str]:
    quick = ["folds.n=2", "train.epochs=1"]
    return [part for one in (*quick, *given) for part in ("--set", one)]


def is_told(code: int, shown: str, name: str) -> bool:
    (line,) = [line for line in shown.splitlines() if line.startswith("foldline: ")]
    return code == 2 and f"bad.py:{name}" in line and "internal" not in line and "Traceback" not in shown


@pytest.mark.parametrize("name", of("view"))
def test_a_view(main: Main, name: str) -> None:
    code, shown = main("predict", *settings(f"tta=[identity, bad.py:{name}]", "run=views"))
    assert is_told(code, shown, name), shown


@pytest.mark.parametrize(("key", "name"), [("loss.name", one) for one in of("loss")])
def test_a_loss(main: Main, key: str, name: str) -> None:
    code, shown = main("train", *settings(f"{key}=bad.py:{name}", f"run={name}"), "--fold", "0")
    assert is_told(code, shown, name), shown


@pytest.mark.parametrize("name", of("mix"))
def test_a_mixer(main: Main, name: str) -> None:
    code, shown = main("train", *settings(f"mix.kind=bad.py:{name}", "mix.prob=1", f"run={name}"), "--fold", "0")
    assert is_told(code, shown, name), shown


@pytest.mark.parametrize("name", of("net"))
def test_a_model(main: Main, name: str) -> None:
    code, shown = main("train", *settings(f"model.name=bad.py:{name}", f"run={name}"), "--fold", "0")
    assert is_told(code, shown, name), shown


@pytest.mark.parametrize("name", of("metric"))
@pytest.mark.parametrize("command", ["score", "train"])
def test_a_metric(main: Main, name: str, command: str) -> None:
    further = ["run=shapes"] if command == "score" else [f"run={name}"]
    folds = ["--fold", "0"] if command == "train" else []
    code, shown = main(command, *settings(f"metric=bad.py:{name}", *further), *folds)
    assert is_told(code, shown, name), shown


@pytest.mark.parametrize("name", of("blend"))
def test_a_blender(main: Main, name: str) -> None:
    asked = settings(f"ensemble.blender=bad.py:{name}", "run=blend")
    code, shown = main("ensemble", *asked, "--members", "shapes", "other")
    assert is_told(code, shown, name), shown


def test_what_is_wrong_is_said(main: Main) -> None:
    _, shown = main("predict", *settings("tta=[identity, bad.py:view_two]", "run=views"))
    assert shown.splitlines()[-1] == (
        "foldline: bad.py:view_two: raised TypeError: view_two() missing 1 required positional argument: 'more'; "
        "it is called as view(images_BCHW)"
    )
    _, shown = main("score", *settings("metric=bad.py:metric_none"))
    assert shown == "foldline: bad.py:metric_none: returned None, expected a number, NaN where it is undefined\n"


def test_a_view_that_changes_its_images_changes_no_others(main: Main) -> None:
    Path("fine.py").write_text("def dark(images):\n    images[:] = 0\n    return images\n")
    shutil.copytree("runs/shapes", "runs/dark")
    code, shown = main("predict", *settings("tta=[fine.py:dark, hflip]", "run=dark"))
    assert code == 0, shown
    shutil.copytree("runs/shapes", "runs/flipped")
    assert main("predict", *settings("tta=[hflip]", "run=flipped"))[0] == 0
    from pipeline.prediction.predictions import Predictions

    dark, flipped = (Predictions.load(Path(f"runs/{run}/fold0/valid.npz")) for run in ("dark", "flipped"))
    assert (dark.view("hflip") == flipped.view("hflip")).all()


def test_a_file_that_exits_is_told(main: Main) -> None:
    Path("gone.py").write_text("raise SystemExit(0)\n")
    code, shown = main("predict", *settings("tta=[identity, gone.py:f]"))
    assert code == 2 and "tta: found 'gone.py:f', whose file raised SystemExit: 0" in shown


def test_two_files_of_one_name_cannot_both_be_kept(main: Main) -> None:
    Path("more").mkdir()
    shutil.copy("bad.py", "more/bad.py")
    code, shown = main("train", *settings("loss.name=bad.py:loss_mean", "metric=more/bad.py:metric_none", "run=two"))
    assert code == 2 and "of which the run's folder can hold one bad.py; rename one of them" in shown

"""Add a loss, a mixer, a view, a metric and a blender from one file outside the package, and run with all five."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Cli

from pipeline.blending import stage as ensemble
from pipeline.checking import preflight
from pipeline.config import plugin_files
from pipeline.config.config import Config
from pipeline.config.fingerprints import fields
from pipeline.config.keys import below
from pipeline.config.loading import load, parse
from pipeline.config.run_configs import of_run
from pipeline.errors import InputError
from pipeline.folds.fold_table import read as read_folds
from pipeline.methods import mixing, tta
from pipeline.methods.blenders import find
from pipeline.methods.blenders.blender import Objective
from pipeline.methods.metrics import find as find_metric
from pipeline.methods.tasks import TASKS
from pipeline.prediction import stage as predict
from pipeline.prediction.predictions import Predictions
from pipeline.training import stage as train

OWN = '''
import numpy as np

def poly(logits_BC, targets_BC):
    """PolyLoss: cross entropy + 1 - p of the true class."""
    logs_BC = logits_BC.log_softmax(-1)
    return -(targets_BC * logs_BC).sum(-1) + 1 - (targets_BC * logs_BC.exp()).sum(-1)

def stripes(images_BCHW, partner_BCHW, rng, alpha, patch):
    """Every other row from the partner."""
    mixed_BCHW = images_BCHW.clone()
    mixed_BCHW[:, :, 1::2] = partner_BCHW[:, :, 1::2]
    return mixed_BCHW, 0.5

def brighter(images_BCHW):
    return images_BCHW + 0.1

def misses(targets_NC, probs_NC):
    return float((targets_NC.argmax(1) != probs_NC.argmax(1)).sum())
misses.greater_is_better = False
misses.reads = "labels"

def boldest(members, weights_M, single_label):
    """Each row from the member that is surest of it."""
    stacked_MNC = np.stack(members)
    return stacked_MNC[stacked_MNC.max(-1).argmax(0), np.arange(stacked_MNC.shape[1])]
'''


def own_config(competition: Path, file: Path, *settings: str) -> Config:
    named = [f"loss.name={file}:poly", f"mix.kind={file}:stripes", "mix.prob=1.0", f"metric={file}:misses"]
    named += [f"tta=[identity, {file}:brighter]", f"ensemble.blender={file}:boldest"]
    return load([competition / "config.yaml"], [*named, *settings])


def test_a_competition_runs_with_one_of_each(competition: Path, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    settings = [f"loss.name={file}:poly", f"mix.kind={file}:stripes", "mix.prob=1.0", f"metric={file}:misses"]
    settings += [f"tta=[identity, '{file}:brighter']", "folds.n=2", "train.epochs=1"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    done = cli("run", "-c", competition / "config.yaml", *arguments)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "shapes"
    config = of_run(run)
    table = read_folds(config)
    scores = json.loads((run / "scores.json").read_text())
    for fold in range(2):
        made = Predictions.load(run / f"fold{fold}" / "valid.npz")
        assert made.views == ("identity", f"{file}:brighter")
        assert not np.array_equal(made.probs_NVC[:, 0], made.probs_NVC[:, 1]), "the view changes nothing"
        labels = table.targets["label"].to_numpy()[np.searchsorted(table.ids, made.ids)]
        missed = (np.asarray(made.classes)[made.probs_NVC.mean(1).argmax(1)] != labels).sum()
        assert scores["variants"]["tta"]["per_fold"][fold] == missed
    assert scores["greater_is_better"] is False

    second = run.with_name("shapes2")
    tree = config.model_dump(mode="json")
    other = parse({**tree, "run": "shapes2", "loss": {"name": "cross_entropy"}, "mix": {"kind": "none"}}, "test")
    train.run(other)
    predict.run(other)
    assert (second / "fold0/model.safetensors").read_bytes() != (run / "fold0/model.safetensors").read_bytes()
    steps = {"members": ["shapes", "shapes2"], "blender": f"{file}:boldest", "compare": ["mean", f"{file}:boldest"]}
    blend = parse({**tree, "run": "blend", "ensemble": steps}, "test")
    ensemble.run(blend)
    report = json.loads((tmp_path / "runs/blend/ensemble.json").read_text())
    assert report["blender"] == f"{file}:boldest" and set(report["comparison"]["blenders"]) == {
        "mean",
        f"{file}:boldest",
    }
    oof = pd.read_csv(tmp_path / "runs/blend/blend_oof.csv", dtype={"id": str}).set_index("id")
    alone = {}
    for name in ("shapes", "shapes2"):
        parts = [Predictions.load(tmp_path / f"runs/{name}/fold{k}/valid.npz") for k in range(2)]
        rows = pd.concat([pd.DataFrame(part.probs_NVC.mean(1), index=part.ids, columns=part.classes) for part in parts])
        alone[name] = rows.loc[oof.index]
    bold = (alone["shapes"].max(axis=1) >= alone["shapes2"].max(axis=1)).to_numpy()[:, None]
    by_hand = np.where(bold, alone["shapes"], alone["shapes2"])
    np.testing.assert_allclose(oof[list(alone["shapes"].columns)], by_hand, atol=1e-6)

    file.unlink()  # the run predicts alone, with its own copy
    assert (run / "own" / "mine.py").read_text() == OWN
    asked = ("predict", "--from", run, "--test", competition / "images", "--out", tmp_path / "new.csv")
    refused = cli(*asked)
    assert refused.returncode == 2 and "add --trust" in refused.stderr, refused.stderr
    new = cli(*asked, "--trust")
    assert new.returncode == 0, new.stderr
    found = pd.read_csv(tmp_path / "new.csv", dtype={"id": str}).set_index("id")
    tests = [Predictions.load(run / f"fold{k}/test.npz") for k in range(2)]
    expected = np.mean([part.probs_NVC.mean(1)[np.argsort(part.ids)] for part in tests], axis=0)
    np.testing.assert_allclose(found.loc[sorted(tests[0].ids)].to_numpy(), expected, atol=1e-5)


def test_another_file_is_another_training(competition: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    config = own_config(competition, file)
    keys = below("model", "loss", "mix", "tta", "metric", "ensemble")
    before = fields(config, keys)
    assert {key for key in before if key.endswith("file")} == {
        f"{section}'s file" for section in ("loss", "mix", "tta", "metric", "ensemble")
    }
    file.write_text(OWN.replace("+ 0.1", "+ 0.2"))
    after = fields(config, keys)
    assert {key for key in before if before[key] != after[key]} == {key for key in before if key.endswith("file")}
    plain = load([competition / "config.yaml"])
    assert not [key for key in fields(plain, keys) if key.endswith("file")]


def test_the_loss_and_the_blender_are_called_as_the_formula_says(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        OWN
        + "def weighed(members, weights_M, single_label):\n"
        + "    return sum(w * p for w, p in zip(weights_M, members))\n"
        + "weighed.fit = lambda members, objective: np.eye(len(members))[np.argmax([*map(objective.score, members)])]\n"
    )
    loss = TASKS["multiclass"].loss(f"{file}:poly")
    logits, targets = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    shares = [0.5, 1 / (1 + np.exp(2))]
    assert loss.activation == "softmax" and TASKS["multilabel"].loss(f"{file}:poly").activation == "sigmoid"
    assert loss.function(logits, targets).tolist() == pytest.approx([-np.log(p) + 1 - p for p in shares])
    images = torch.arange(2 * 4.0).reshape(2, 1, 4, 1)
    mixed, held = mixing.mix_batch(
        images, targets, np.random.default_rng(3), f"{file}:stripes", patch="box", alpha=1.0, prob=1.0
    )
    assert mixed[:, 0, ::2, 0].tolist() == images[:, 0, ::2, 0].tolist()
    assert (held * 2 == held.round() * 2).all()
    assert torch.equal(tta.apply(f"{file}:brighter", images), images + 0.1)
    blender = find(f"{file}:weighed")
    truth_NC = np.eye(2)[[0, 1, 0, 1]]
    members = [np.full((4, 2), 0.5), 0.8 * truth_NC + 0.1]
    fit = blender.fit(members, Objective(truth_NC, find_metric("log_loss"), True, np.zeros(4)))
    assert fit.weights_M.tolist() == [0, 1] and blender.fitted
    np.testing.assert_allclose(blender.apply(fit, members, True), members[1])


BAD = """
import torch
def mean_loss(o, t): return ((o - t) ** 2).mean()
def flat(o, t): return (o * 0).sum(-1)
def values(o, t): return ((o - t) ** 2).mean(-1)
values.activation = "identity"
def odd(o, t): return o.sum(-1)
odd.activation = "tanh"
def in_place(images, partner, rng, alpha, patch):
    images[:] = partner
    return images, 0.0
def no_share(images, partner, rng, alpha, patch): return images
def too_much(images, partner, rng, alpha, patch): return images.clone(), 1.5
def flat_view(images): return images.flatten(1)
def broken(images): raise RuntimeError("no")
def ranked(members, weights_M, single_label): return members[0]
ranked.uses_ranks = 1
"""


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("loss.name={}:mean_loss", "returned the shape (), expected a loss for each of 4 rows"),
        ("loss.name={}:flat", "nothing could be learnt"),
        ("mix.kind={}:in_place", "changes the images that it is given"),
        ("mix.kind={}:no_share", "expected (images_BCHW, lam)"),
        ("mix.kind={}:too_much", "a share of 0 to 1"),
        ("tta=['{}:flat_view']", "expected images like (2, 3, 32, 32)"),
        ("tta=['{}:broken']", "raised RuntimeError: no"),
    ],
)
def test_what_a_function_does_wrong_is_said_by_check(
    competition: Path, tmp_path: Path, setting: str, words: str
) -> None:
    file = tmp_path / "bad.py"
    file.write_text(BAD)
    config = load([competition / "config.yaml"], [setting.format(file)])
    (found,) = preflight.plugin_problems(config)
    assert words in str(found) and str(found).startswith(setting.partition("=")[0])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("loss.name={}:values", "with identity outputs, a multiclass task needs softmax or sigmoid"),
        ("loss.name={}:odd", "expected softmax, sigmoid or identity"),
        ("loss.name={}:absent", "has no function 'absent'"),
        ("mix.kind=nowhere.py:f", "there is no file nowhere.py"),
        ("tta=['{}:absent']", "has no function 'absent'"),
        ("ensemble.blender={}:ranked", "uses_ranks is 1, expected True or False"),
        ("ensemble.compare=['{}:absent']", "has no function 'absent'"),
    ],
)
def test_a_config_refuses_what_is_not_there(competition: Path, tmp_path: Path, setting: str, words: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(BAD)
    with pytest.raises(InputError) as refused:
        load([competition / "config.yaml"], [setting.format(file)])
    assert words in str(refused.value) and setting.partition("=")[0] in str(refused.value)


def test_class_weights_need_a_loss_that_is_linear(competition: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    with pytest.raises(InputError, match="may not be linear"):
        own_config(competition, file, "loss.class_weights=balanced")


def test_what_was_trained_with_stays_when_predicting(competition: Path, tmp_path: Path) -> None:
    """Files of views follow the last prediction; those that the weights depend on are kept as they were."""
    one, two = tmp_path / "mine.py", tmp_path / "looks.py"
    one.write_text(OWN)
    two.write_text(OWN)
    config = load([competition / "config.yaml"], [f"loss.name={one}:poly", f"tta=[identity, '{two}:brighter']"])
    plugin_files.keep(config, trained=False)
    one.write_text(OWN + "# later\n")
    two.write_text(OWN + "# later\n")
    plugin_files.keep(config, trained=True)
    folder = config.run_dir / plugin_files.FOLDER
    assert (folder / "mine.py").read_text() == OWN
    assert (folder / "looks.py").read_text() == OWN + "# later\n"

"""Give a stranger's run, whose code leaves a mark when it runs, to every command that takes a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import write_competition

from pipeline import cli, plugins
from pipeline.commands import COMMANDS
from pipeline.config.loading import load
from pipeline.config.search_space.resolve import settle
from pipeline.errors import InputError

OWN = """
import torch
from torch import nn

def build(classes, in_chans, size_hw):
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_chans, classes))

def poly(logits_BC, targets_BC):
    logs_BC = logits_BC.log_softmax(-1)
    return -(targets_BC * logs_BC).sum(-1) + 1 - (targets_BC * logs_BC.exp()).sum(-1)

def brighter(images_BCHW):
    return images_BCHW + 0.1

def misses(targets_NC, probs_NC):
    return float((targets_NC.argmax(1) != probs_NC.argmax(1)).sum())
misses.greater_is_better = False
"""
QUICK = ["folds.n=2", "train.epochs=1"]
Main = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with a competition, a run of the user's, `plain`, and a stranger's in theirs/.

    What the stranger's config names is not there any more, and its code leaves a mark.
    """
    folder = tmp_path_factory.mktemp("stranger")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_competition(folder)
        Path("mine.py").write_text(OWN)
        own = ["model.name=mine.py:build", "loss.name=mine.py:poly", "tta=[identity, mine.py:brighter]"]
        own += ["metric=mine.py:misses", "run=stranger"]
        for settings in (["run=plain", "loss.label_smoothing=0.1"], own):
            arguments = [part for one in (*QUICK, *settings) for part in ("--set", one)]
            for command in ("folds", "train", "predict", "score", "ensemble"):
                assert cli.main([command, "-c", "shapes/config.yaml", *arguments]) == 0
        shutil.move("runs/stranger", "theirs/stranger")
        Path("mine.py").unlink()
        mark(Path("theirs/stranger/own/mine.py"))
        yield folder


def mark(code: Path) -> None:
    """Let code leave a mark beside the competition when it is executed."""
    left = f"import pathlib; pathlib.Path({str(Path('ran').absolute())!r}).write_text('x')\n"
    code.write_text(left + (code.read_text() if code.is_file() else ""))


@pytest.fixture
def main(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Main:
    monkeypatch.chdir(place)
    Path("ran").unlink(missing_ok=True)

    def run(*arguments: str) -> tuple[int, str]:
        code = cli.main(list(arguments))
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


def settings(*given: str) -> list[str]:
    return [part for one in (*QUICK, *given) for part in ("--set", one)]


def changed(to: str, change: Callable[[dict[str, object]], object]) -> Path:
    """Return a copy of the stranger's run whose config is changed."""
    run = Path(to)
    shutil.copytree("theirs/stranger", run)
    tree = yaml.safe_load((run / "config.yaml").read_text())
    change(tree)
    (run / "config.yaml").write_text(yaml.safe_dump(tree))
    return run


def test_predicting_from_it_needs_trust(main: Main, tmp_path: Path) -> None:
    out = str(tmp_path / "new.csv")
    asked = ("predict", "--from", "theirs/stranger", "--test", "shapes/images", "--out", out)
    code, shown = main(*asked)
    assert code == 2 and not Path("ran").exists()
    assert "own/mine.py:build', code of a run's folder, which runs only when it is trusted; read it, then" in shown
    assert "add --trust" in shown and "Traceback" not in shown
    code, shown = main(*asked, "--trust")
    assert code == 0 and Path("ran").exists(), shown
    assert len(Path(out).read_text().splitlines()) == 61
    Path("ran").unlink()
    assert main(*asked)[0] == 2 and not Path("ran").exists(), "trust is for one command"


def test_blending_it_runs_nothing(main: Main) -> None:
    code, shown = main(
        "ensemble", "-c", "shapes/config.yaml", *settings("run=blend"), "--members", "plain", "theirs/stranger"
    )
    assert code == 0 and not Path("ran").exists(), shown
    report = json.loads(Path("runs/blend/ensemble.json").read_text())
    assert report["members"] == ["plain", "theirs/stranger"]


def test_comparing_it_runs_nothing(main: Main) -> None:
    code, shown = main("diff", "plain", "theirs/stranger")
    assert code == 0 and not Path("ran").exists(), shown
    assert "accuracy (greater is better), OOF" in shown and "loss.name: 'cross_entropy' -> 'mine.py:poly'" in shown
    code, again = main("diff", "theirs/stranger", "plain")
    assert code == 0 and not Path("ran").exists() and "accuracy (greater is better)" in again, again
    other = changed("theirs/other", lambda tree: tree["train"].update(lr=0.5))
    code, shown = main("diff", "theirs/stranger", str(other))
    assert code == 0 and not Path("ran").exists() and "train.lr: 0.01 -> 0.5" in shown, shown
    assert "mine.py:misses (lower is better), OOF" in shown and "lead     " in shown
    assert "other leads stranger by +0.0000, as the runs' files say" in shown and "interval" in shown
    code, shown = main("diff", "theirs/stranger", str(other), "--set", "metric=log_loss")
    assert code == 0 and not Path("ran").exists() and "90 % interval" in shown, shown
    (other / "scores.json").write_text("{}")
    code, shown = main("diff", "theirs/stranger", str(other))
    assert code == 3 and "scores.json: is not as score wrote it" in shown, shown
    (other / "stamps/score.json").unlink()
    code, shown = main("diff", "theirs/stranger", str(other))
    assert code == 3 and "holds no scores by fold" in shown and "--set metric=log_loss" in shown, shown
    with pytest.raises(SystemExit):
        main("diff", "plain", "theirs/stranger", "--trust")


def test_the_leaderboard_runs_nothing(main: Main) -> None:
    for run in ("plain", "theirs/stranger"):
        code, shown = main("leaderboard", "add", run, "--public", "0.5")
        assert code == 0, shown
    code, shown = main("leaderboard")
    assert code == 0 and not Path("ran").exists(), shown
    assert "mine.py:misses (lower is better)" in shown and "accuracy (greater is better)" in shown
    Path("evil.py").write_text("")
    mark(Path("evil.py"))
    table = Path("runs/leaderboard.csv")
    table.write_text(table.read_text().replace("mine.py:misses", "evil.py:f"))
    code, shown = main("leaderboard")
    assert code == 0 and not Path("ran").exists(), shown
    assert "evil.py:f (greater is better, as no run says)" in shown
    table.unlink()


def test_an_own_blender_is_not_run_for_the_leaderboard(main: Main) -> None:
    run = changed("theirs/blended", lambda _: None)
    blend = json.loads((run / "ensemble.json").read_text()) | {"blender": "mine.py:f", "members": ["a", "b"]}
    blend |= {"weights": {"a": 0.3, "b": 0.7}}
    blend.pop("comparison", None)
    (run / "ensemble.json").write_text(json.dumps(blend))
    code, shown = main("leaderboard", "add", str(run))
    assert code in (0, 3) and not Path("ran").exists() and "internal" not in shown, shown


def test_learning_from_its_predictions_runs_nothing(main: Main) -> None:
    code, shown = main("distill", "-c", "shapes/config.yaml", *settings(), "--from", "theirs/stranger")
    assert code == 0 and not Path("ran").exists(), shown
    code, shown = main("pseudo", "-c", "shapes/config.yaml", *settings(), "--from", "theirs/stranger")
    assert code in (0, 2) and not Path("ran").exists() and "trust" not in shown, shown


def test_labels_from_its_networks_need_trust(main: Main) -> None:
    asked = ["pseudo", "-c", "shapes/config.yaml", *settings("run=labels"), "--from", "theirs/stranger"]
    asked += ["--images", "shapes/images", "--threshold", "0"]
    code, shown = main(*asked)
    assert code == 2 and "add --trust" in shown and not Path("ran").exists(), shown
    code, shown = main(*asked, "--trust")
    assert code == 0 and Path("ran").exists(), shown


@pytest.mark.parametrize("name", [name for name, one in COMMANDS.items() if one.config])
def test_its_config_needs_trust_whatever_the_command(main: Main, name: str) -> None:
    further = {"distill": ["--from", "plain"], "pseudo": ["--from", "plain"], "ablate": ["--variants", "shapes"]}
    code, shown = main(name, "-c", "theirs/stranger/config.yaml", *further.get(name, []))
    assert code == 2 and not Path("ran").exists(), shown
    assert "which runs only when it is trusted; read it, then add --trust" in shown and "Traceback" not in shown


def test_its_config_works_when_it_is_trusted(main: Main) -> None:
    shutil.copytree("theirs/stranger", "runs/stranger")
    (Path("runs/stranger") / "oof.csv").unlink()
    code, shown = main("score", "-c", "runs/stranger/config.yaml", "--trust")
    assert code == 0 and "mine.py:misses" in shown and Path("ran").exists(), shown
    Path("ran").unlink()
    evil = Path("mine.py")  # of the user's, but another one: the run's config means its own copy
    mark(evil)
    evil.write_text(evil.read_text().replace("'x'", "'evil'"))
    (Path("runs/stranger") / "oof.csv").unlink()
    code, shown = main("score", "-c", "runs/stranger/config.yaml", "--trust")
    assert code == 0 and not (Path("ran").is_file() and Path("ran").read_text() == "evil"), shown
    evil.unlink()
    Path("ran").unlink(missing_ok=True)
    code, shown = main("verify", "stranger")
    assert code == 3 and "add --trust" in shown and not Path("ran").exists(), shown
    code, shown = main("verify", "stranger", "--trust")
    assert code == 3 and "own/mine.py: is not as" in shown and "trust" not in shown, shown
    shutil.rmtree("runs/stranger")


@pytest.mark.parametrize("named", ["{folder}/evil.py:f", "../evil.py:f", "theirs/stranger/own/../../evil.py:f"])
@pytest.mark.parametrize("trust", [(), ("--trust",)])
def test_nothing_outside_its_own_folder_runs(main: Main, tmp_path: Path, named: str, trust: tuple[str, ...]) -> None:
    """A config that names the user's own files, or a link that leads out of `own`, runs nothing, trusted or not."""
    for evil in (Path("evil.py"), Path("theirs/evil.py")):
        evil.write_text("f = lambda *_: None\n")
        mark(evil)
    name = named.format(folder=Path.cwd())
    for key in ("model", "loss"):
        run = changed(str(tmp_path / key), lambda tree, key=key: tree[key].update(name=name))
        (run / "own" / "evil.py").symlink_to(Path("evil.py").absolute())
        shutil.copy("shapes/train.csv", run / "own" / "mine.py")  # so that what else it names is no code
        code, shown = main("predict", "--from", str(run), "--test", "shapes/images", "--out", "new.csv", *trust)
        assert code == 2 and not Path("ran").exists() and "evil.py:f" in shown, shown


def test_a_run_without_marks_of_one_is_a_run(main: Main, tmp_path: Path) -> None:
    """A folder given to --from is a run's, whatever lies in it: its config names nothing that runs."""
    Path("evil.py").write_text("f = lambda *_: None\n")
    mark(Path("evil.py"))
    tree = yaml.safe_load(Path("theirs/stranger/config.yaml").read_text())
    tree["model"]["name"] = tree["loss"]["name"] = f"{Path('evil.py').absolute()}:f"
    tree |= {"metric": "accuracy", "tta": ["identity"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    code, shown = main("predict", "--from", str(tmp_path), "--test", "shapes/images", "--out", "new.csv")
    assert code == 2 and not Path("ran").exists() and "evil.py" in shown, shown


def test_the_users_own_config_runs_its_code_and_not_the_copy(main: Main) -> None:
    """A run of the user's own goes on without --trust, until its module was changed since it was trained."""
    shutil.copytree("theirs/stranger", "runs/stranger")
    Path("runs/stranger/own/mine.py").write_text(OWN)
    code, shown = main("verify", "stranger", "--trust")
    assert code == 0, shown
    Path("mine.py").write_text(OWN)
    own = settings("model.name=mine.py:build", "loss.name=mine.py:poly", "run=stranger")
    asked = ["predict", "-c", "shapes/config.yaml", *own, "--set", "tta=[identity, hflip, mine.py:brighter]"]
    code, shown = main(*asked)
    assert code == 0, shown
    mark(Path("runs/stranger/own/mine.py"))
    code, shown = main(*[*asked[:-1], "tta=[identity, vflip, mine.py:brighter]"])
    assert code == 2 and "add --trust" in shown and not Path("ran").exists(), shown
    code, shown = main(*[*asked[:-1], "tta=[identity, vflip, mine.py:brighter]"], "--trust")
    assert code == 0 and Path("ran").exists(), shown
    Path("mine.py").unlink()
    shutil.rmtree("runs/stranger")


class Payload:
    """Leave the mark when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (Path("ran").absolute(), "x")


@pytest.mark.parametrize("pickled", ["valid.npz", "test.npz", "model.safetensors"])
def test_nothing_is_unpickled(main: Main, tmp_path: Path, pickled: str) -> None:
    run = tmp_path / "run"
    shutil.copytree("runs/plain", run)
    file = run / "fold0" / pickled
    if pickled == "model.safetensors":
        torch.save({"payload": Payload()}, file)
        asked = ["predict", "--from", str(run), "--test", "shapes/images", "--out", str(tmp_path / "new.csv")]
    else:
        held = dict(np.load(file))
        np.savez(file, **{**held, "ids": np.array([Payload()] * len(held["ids"]), dtype=object)})
        asked = ["ensemble", "-c", "shapes/config.yaml", *settings("run=blend"), "--members", "plain", str(run)]
    code, shown = main(*asked)
    assert code == 3 and str(file) in shown and not Path("ran").exists(), shown
    assert main("verify", str(run))[0] == 3 and not Path("ran").exists()


@pytest.mark.parametrize(
    "setting",
    [
        "model.pretrained=weights.pth",
        "model.name=hf-hub:someone/something",
        "model.name=local-dir:theirs",
        "augment.train=[{Lambda: {image: os.system}}]",
        "augment.train=[{Lambda: {image: 'evil.py:f'}}]",
        "augment.train=[{Compose: {transforms: [{HorizontalFlip: {p: 1}}]}}]",
        "augment.train=[{'fromfile': {path: evil.py}}]",
    ],
)
def test_no_key_leads_to_other_code(main: Main, setting: str) -> None:
    """Pickled weights, hubs of models, and transforms that take functions."""
    torch.save({"payload": Payload()}, "weights.pth")
    code, shown = main("train", "-c", "shapes/config.yaml", *settings("run=x", setting), "--fold", "0")
    assert code == 2 and setting.split("=")[0] in shown and not Path("ran").exists(), shown


def test_a_studys_database_names_no_code(main: Main) -> None:
    Path("evil.py").write_text("f = lambda *_: None\n")
    mark(Path("evil.py"))
    with plugins.asking(None):
        config = load(["shapes/config.yaml"])
        with pytest.raises(InputError, match="code that neither your config nor the command line names"):
            settle(config, {"loss.name": "evil.py:f"})
    assert not Path("ran").exists()


def test_yaml_makes_no_objects(main: Main, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree("runs/plain", run)
    (run / "config.yaml").write_text("name: !!python/object/apply:os.system ['touch ran']\n")
    for asked in (["diff", "plain", str(run)], ["leaderboard", "add", str(run)], ["verify", str(run)]):
        code, shown = main(*asked)
        assert code in (2, 3) and "not readable as YAML" in shown and not Path("ran").exists(), shown


def test_what_a_stranger_wrote_is_text_in_the_report(main: Main) -> None:
    """Notes, warnings and settings that hold HTML are shown as they are."""
    shutil.copytree("runs/plain", "runs/shown", ignore=shutil.ignore_patterns("stamps"))
    bad = "<script>alert(1)</script>"
    for name in ("scores.json", "ensemble.json"):
        path = Path("runs/shown") / name
        held = json.loads(path.read_text())
        held["notes"] = held["warnings"] = [bad]
        path.write_text(json.dumps(held))
    config = Path("runs/shown/config.yaml")
    config.write_text(config.read_text() + f"# {bad}\n")
    code, shown = main("report", "-c", "shapes/config.yaml", *settings("run=shown", "loss.label_smoothing=0.1"))
    assert code == 0, shown
    page = Path("runs/shown/report.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page

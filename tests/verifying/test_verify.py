"""Plant damage in a finished run, and hold that `verify` names it; what is whole is VERIFIED."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Cli, write_relative
from PIL import Image

from pipeline.cli import main
from pipeline.config import fingerprints
from pipeline.files import checksums
from pipeline.folds import fold_table
from pipeline.prediction.predictions import Predictions

OLD = Path(__file__).parents[1] / "fixtures" / "run_0_1_0"
Damage = Callable[[], object]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a small competition to the end, and blend it with a teammate's tables; paths are relative."""
    place = tmp_path_factory.mktemp("trained")
    write_relative(place, {"data": {"solution": "solution.csv"}, "train": {"keep": "best"}})
    test = pd.read_csv(place / "shapes/test.csv", dtype=str)
    test.assign(label=["cross", "disk", "square"] * 4).to_csv(place / "shapes/solution.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(["run", "-c", "shapes/config.yaml"]) == 0
        (place / "mate").mkdir()
        for name in ("oof", "test"):
            shutil.copy(place / f"runs/shapes/{name}.csv", place / f"mate/{name}.csv")
        blend = ["--set", "run=blend", "--set", "ensemble.members=[shapes, mate]", "--set", "ensemble.blender=auto"]
        assert main(["ensemble", "-c", "shapes/config.yaml", *blend]) == 0
    return place


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a copy of it."""
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def edit(name: str, old: str, new: str) -> None:
    """Replace a text of a file that must have it once or more, all of them."""
    text = Path(name).read_text()
    assert old in text, name
    Path(name).write_text(text.replace(old, new))


def edit_json(name: str, change: Callable[[dict[str, Any]], object]) -> None:
    tree = json.loads(Path(name).read_text())
    change(tree)
    Path(name).write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n")


def cell(name: str, row: int, column: int, value: object) -> None:
    """Write a cell of a CSV, rows counted without its header."""
    lines = [line.split(",") for line in Path(name).read_text().splitlines()]
    assert lines[row + 1][column] != str(value)
    lines[row + 1][column] = str(value)
    Path(name).write_text("\n".join(map(",".join, lines)) + "\n")


def along(run: str, stage: str) -> None:
    """Let a stage's stamp say of what it wrote that it is as it is now, as whoever covers their tracks would."""
    old = fingerprints.read_stamp(Path(run), stage)
    assert old is not None
    fingerprints.stamp(Path(run), stage, old.fields, [Path(run) / name for name in old.written], old.under)


def stamped(run: str, stage: str, key: str, value: object) -> None:
    """Change a field of a stamp, its own checksum along."""
    old = fingerprints.read_stamp(Path(run), stage)
    assert old is not None and key in old.fields
    fields = old.fields | {key: value}
    fingerprints.stamp(Path(run), stage, fields, [Path(run) / name for name in old.written], old.under)


def flip(name: str, offset: int) -> None:
    content = bytearray(Path(name).read_bytes())
    content[offset] ^= 1
    Path(name).write_bytes(content)


def probability(name: str) -> None:
    """Write another probability into a prediction file, its checksum along."""
    made = Predictions.load(Path(name))
    made.probs_NVC[3, 0] = made.probs_NVC[3, 0][::-1].copy()
    made.save(Path(name))


def swap_ids(name: str) -> None:
    """Let two rows of a prediction file change their ids, its checksum along."""
    made = Predictions.load(Path(name))
    made.ids[[0, 1]] = made.ids[[1, 0]]
    made.save(Path(name))


def cut(name: str) -> None:
    content = Path(name).read_bytes()
    Path(name).write_bytes(content[: len(content) // 2])


def image(name: str) -> None:
    """Change one pixel; the cache has seen the picture before."""
    assert main(["check", "-c", "shapes/config.yaml"]) == 0
    with Image.open(name) as opened:
        pixels = np.array(opened)
    pixels[0, 0] ^= 255
    Image.fromarray(pixels).save(name)


def fold(with_hashes: bool) -> None:
    """Let two rows of one label change their folds, with or without the report's hashes."""
    path = Path("folds/shapes.csv")
    table = pd.read_csv(path, dtype=str)
    first = table.index[table["fold"] == "0"][0]
    other = table.index[(table["fold"] == "1") & (table["label"] == table["label"][first])][0]
    moved = table["group"].isin(table["group"][[first, other]])
    table.loc[moved, "fold"] = np.where(table.loc[moved, "fold"] == "0", "1", "0")
    rewrite_folds(table, with_hashes)


def rewrite_folds(table: pd.DataFrame, with_hashes: bool) -> None:
    """Write a fold table, and the hashes of its report along."""
    path = Path("folds/shapes.csv")
    table.to_csv(path, index=False)
    if with_hashes:
        cells = table.sort_values("id", ignore_index=True)
        arrays = (cells[name].to_numpy(np.str_) for name in ("id", "group"))
        made = fold_table.FoldTable(*arrays, cells[["label"]], cells["fold"].to_numpy(np.int64), path)
        hashes = {"table_hash": made.table_hash, "fold_hash": made.fold_hash}
        report = json.loads(Path("folds/shapes.json").read_text()) | hashes
        del report["sha256"]
        report["sha256"] = checksums.digest(report)
        edit_json("folds/shapes.json", lambda tree: tree.update(report))


def target() -> None:
    """Give a row of the fold table another label, its hash along."""
    table = pd.read_csv("folds/shapes.csv", dtype=str)
    table.loc[0, "label"] = "disk" if table["label"][0] != "disk" else "cross"
    rewrite_folds(table, with_hashes=True)


def member() -> None:
    """Give a teammate's row other probabilities."""
    table = pd.read_csv("mate/oof.csv", dtype={"id": str})
    table.loc[0, ["cross", "disk", "square"]] = [0.25, 0.25, 0.5]
    table.to_csv("mate/oof.csv", index=False)


def cached_pixels() -> None:
    """Change the first pixel that the cache holds."""
    assert main(["check", "-c", "shapes/config.yaml"]) == 0
    (path,) = Path("cache").glob("*/uint8x3-*.bin")
    flip(str(path), 0)


R = "runs/shapes"
DAMAGES: dict[str, tuple[Damage, list[str]]] = {
    "an image's pixel": (lambda: image("shapes/images/0005.png"), ["shapes/images/0005.png", f"{R}/fold"]),
    "a test image's pixel": (lambda: image("shapes/images/0050.png"), ["images/0050.png", f"{R}/fold0/test.npz"]),
    "a pixel in the cache": (cached_pixels, ["cache/32x32-v2: 1 of 60 images are not as they were decoded"]),
    "an image is gone": (lambda: Path("shapes/images/0005.png").unlink(), ["images/0005.png: missing"]),
    "a label of train.csv": (lambda: edit("shapes/train.csv", "0001,disk", "0001,cross"), ["folds/shapes.csv: 1 ids"]),
    "a column of train.csv": (lambda: edit("shapes/train.csv", "group", "writer"), ["writer"]),
    "a row of the sample": (lambda: edit("shapes/sample_submission.csv", "0050,cross", "0050,disk"), ["sample_subm"]),
    "a row of test.csv": (lambda: edit("shapes/test.csv", "0059\n", ""), ["shapes/"]),
    "a fold, swapped": (lambda: fold(False), ["folds/shapes.csv: fold hash"]),
    "a fold, hashes along": (lambda: fold(True), [f"{R}/fold0/model.safetensors: made on folds", "fold1/valid.npz"]),
    "a target, hash along": (target, ["folds/shapes.csv: 1 ids", "not what folds 0, 1 learnt from"]),
    "the fold table's report": (lambda: edit("folds/shapes.json", '"size": 24', '"size": 25'), ["folds/shapes.json"]),
    "a bit of weights": (lambda: flip(f"{R}/fold1/model.safetensors", -99), [f"{R}/fold1/model.safetensors"]),
    "weights cut": (lambda: cut(f"{R}/fold0/model.safetensors"), [f"{R}/fold0/model.safetensors"]),
    "weights of another fold": (
        lambda: shutil.copy(f"{R}/fold1/model.safetensors", f"{R}/fold0/model.safetensors"),
        [f"{R}/fold0/model.safetensors: made by fold 1"],
    ),
    "weights of another epoch": (
        lambda: shutil.copy(f"{R}/last/fold0/model.safetensors", f"{R}/fold0/model.safetensors"),
        [f"{R}/fold0/model.safetensors: is not as", f"{R}/fold0/valid.npz: not predicted from the weights"],
    ),
    "weights gone": (lambda: Path(f"{R}/fold1/model.safetensors").unlink(), [f"{R}/fold1/model.safetensors"]),
    "a probability": (lambda: probability(f"{R}/fold0/valid.npz"), [f"{R}/fold0/valid.npz: not as", f"{R}/oof.csv"]),
    "a test probability": (lambda: probability(f"{R}/fold1/test.npz"), [f"{R}/fold1/test.npz: not", f"{R}/test.csv"]),
    "a last epoch's": (lambda: probability(f"{R}/last/fold1/valid.npz"), [f"{R}/last/fold1/valid.npz: not as"]),
    "ids of predictions": (lambda: swap_ids(f"{R}/fold0/valid.npz"), [f"{R}/fold0/valid.npz: not as", f"{R}/oof.csv"]),
    "predictions of another fold": (
        lambda: shutil.copy(f"{R}/fold1/valid.npz", f"{R}/fold0/valid.npz"),
        [f"{R}/fold0/valid.npz: made by fold 1", "trained on)"],
    ),
    "predictions cut": (lambda: cut(f"{R}/fold1/valid.npz"), [f"{R}/fold1/valid.npz: damaged"]),
    "predictions gone": (lambda: Path(f"{R}/fold1/test.npz").unlink(), [f"{R}/fold1/test.npz: missing"]),
    "an OOF cell": (
        lambda: cell(f"{R}/oof.csv", 2, 4, 0.5),
        [f"{R}/oof.csv: is not", "column disk holds 0.5 instead of"],
    ),
    "an OOF cell, hash along": (
        lambda: (cell(f"{R}/oof.csv", 2, 4, 0.5), along(R, "score")),
        [f"{R}/oof.csv: line 4 (id '0002'), column disk holds 0.5 instead of"],
    ),
    "an OOF row gone": (
        lambda: (edit(f"{R}/oof.csv", Path(f"{R}/oof.csv").read_text().splitlines()[5] + "\n", ""), along(R, "score")),
        [f"{R}/oof.csv: the table of 47 rows"],
    ),
    "a test cell, hash along": (
        lambda: (cell(f"{R}/test.csv", 1, 1, 0.5), along(R, "score")),
        [f"{R}/test.csv: line 3"],
    ),
    "a score": (
        lambda: edit_json(f"{R}/scores.json", lambda tree: tree["variants"]["tta"].update(mean=0.99)),
        [f"{R}/scores.json: is not", "variants.tta.mean holds 0.99 instead of"],
    ),
    "a score, hash along": (
        lambda: (
            edit_json(f"{R}/scores.json", lambda tree: tree["per_class"]["disk"].update(f1=0.123)),
            along(R, "score"),
        ),
        [f"{R}/scores.json: per_class.disk.f1 holds 0.123 instead of"],
    ),
    "a score taken out, hash along": (
        lambda: (edit_json(f"{R}/scores.json", lambda tree: tree.pop("warnings")), along(R, "score")),
        [f"{R}/scores.json: warnings holds nothing"],
    ),
    "the held-back score": (
        lambda: edit_json(f"{R}/held_back.json", lambda tree: tree.update(score=1.5)),
        [f"{R}/held_back.json: score holds 1.5 instead of"],
    ),
    "a cell of the submission, hash along": (
        lambda: (edit(f"{R}/submission.csv", "0050,", "0050,x"), along(R, "ensemble")),
        [f"{R}/submission.csv: line 4 (image_id '0050'), column label holds x"],
    ),
    "a variant": (
        lambda: edit(f"{R}/submissions/plain.csv", "0050,", "0050,x"),
        [f"{R}/submissions/plain.csv: is not"],
    ),
    "blend.csv emptied": (lambda: Path(f"{R}/blend.csv").write_text(""), [f"{R}/blend.csv: is not"]),
    "blend_oof.csv, hash along": (
        lambda: (cell(f"{R}/blend_oof.csv", 7, 1, 0.5), along(R, "ensemble")),
        [f"{R}/blend_oof.csv: line 9"],
    ),
    "weights of the blend, hash along": (
        lambda: (
            edit_json("runs/blend/weights.json", lambda tree: tree.update(mate=0.9)),
            along("runs/blend", "ensemble"),
        ),
        ["runs/blend/weights.json: mate holds 0.9 instead of"],
    ),
    "a cross-fitted score, hash along": (
        lambda: (
            edit_json("runs/blend/ensemble.json", lambda tree: tree["variants"]["tta"].update(pooled=0.5)),
            along("runs/blend", "ensemble"),
        ),
        ["runs/blend/ensemble.json: variants.tta.pooled holds 0.5"],
    ),
    "a teammate's cell": (member, ["mate/oof.csv: not as it was when runs/blend/ensemble.json was made"]),
    "submission gone": (lambda: Path(f"{R}/submission.csv").unlink(), [f"{R}/submission.csv: is missing"]),
    "the score's stamp": (lambda: Path(f"{R}/stamps/score.json").unlink(), [f"{R}/stamps/score.json: missing"]),
    "a train stamp": (lambda: Path(f"{R}/stamps/train-fold1.json").unlink(), [f"{R}/stamps/train-fold1.json: missing"]),
    "the stamp of the config": (lambda: Path(f"{R}/stamps/config.json").unlink(), [f"{R}/stamps/config.json: missing"]),
    "a stamp's text": (
        lambda: edit(f"{R}/stamps/score.json", "accuracy", "f1_macro"),
        [f"{R}/stamps/score.json: damaged"],
    ),
    "a stamp's field": (
        lambda: stamped(R, "train-fold1", "train.lr", 0.5),
        [
            "config.yaml: fold 1 trained with train.lr: 0.5",
            "fold1/model.safetensors: trained from what its stamp does not",
        ],
    ),
    "a key of config.yaml": (
        lambda: edit(f"{R}/config.yaml", "  lr: 0.01", "  lr: 0.02"),
        [f"{R}/config.yaml: is not as", f"{R}/config.yaml: folds 0, 1 trained with train.lr: 0.01, 0.02 here"],
    ),
    "a key of config.yaml that no weights read": (
        lambda: edit(f"{R}/config.yaml", "blender: mean", "blender: auto"),
        [f"{R}/config.yaml: is not as"],
    ),
    "config.yaml cut": (lambda: cut(f"{R}/config.yaml"), [f"{R}/config.yaml: is not as"]),
    "predict.yaml": (
        lambda: Path(f"{R}/predict.yaml").write_text("tta: [identity, vflip]\n"),
        [f"{R}/fold0/valid.npz: lacks the views vflip"],
    ),
    "env.json": (lambda: edit(f"{R}/env.json", "fp32", "bf16"), [f"{R}/env.json: is not as"]),
    "curves": (lambda: cell(f"{R}/fold1/epochs.csv", 0, 1, 0.5), [f"{R}/fold1/epochs.csv: is not as"]),
    "the first batch": (lambda: flip(f"{R}/fold1/batch.npz", 2000), [f"{R}/fold1/batch.npz: is not as"]),
    "the report": (lambda: flip(f"{R}/report.html", 500), [f"{R}/report.html: is not as"]),
    "a plot": (lambda: flip(f"{R}/plots/score.png", 500), [f"{R}/plots/score.png: is not as"]),
    "check.json": (lambda: flip(f"{R}/check.json", 50), [f"{R}/check.json: is not as"]),
}


def tree(folder: Path) -> dict[str, str]:
    """Return the hash and time of every file."""
    return {
        str(path): f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_whole_run_is_verified_and_nothing_written(place: Path, cli: Cli) -> None:
    before = tree(place)
    done = cli("verify", "shapes", cwd=place)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\nVERIFIED\n")
    assert "differs" not in done.stdout and "not there" not in done.stdout
    assert tree(place) == before


def test_a_blend_is_verified_with_its_members(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "runs/blend"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("\nVERIFIED\n")
    assert "ok        runs/blend/submission.csv: 12 rows computed again" in said
    assert "ok        runs/shapes/fold0/model.safetensors" in said


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage, expected = DAMAGES[name]
    damage()
    capsys.readouterr()
    code = main(["verify", "blend" if any("blend/" in text for text in expected) else "shapes"])
    said = capsys.readouterr()
    assert code == 3, said.out
    assert "VERIFIED" not in said.out
    for text in expected:
        assert any(text in line for line in said.err.splitlines()), said.err


def test_a_run_that_was_copied_alone_says_what_is_not_there(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place / "runs/shapes", tmp_path / "elsewhere/other")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["verify", "other"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("VERIFIED but for folds/shapes.csv (the fold table")
    assert "; shapes (the competition's data)" in last
    flip("other/fold0/model.safetensors", -9)
    assert main(["verify", "other"]) == 3
    assert "other/fold0/model.safetensors: " in capsys.readouterr().err


def test_settings_say_where_folds_and_data_are(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place / "runs/shapes", tmp_path / "elsewhere/other")
    monkeypatch.chdir(tmp_path / "elsewhere")
    where = ["--set", f"folds_dir={place}/folds", "--set", f"data.root={place}/shapes"]
    assert main(["verify", "other", *where]) == 0
    assert capsys.readouterr().out.endswith("\nVERIFIED\n")


def test_without_data_weights_and_scores_are_verified(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "shapes", "--no-data"]) == 0
    said = capsys.readouterr().out
    assert "images read" not in said
    assert "ok        runs/shapes/scores.json: computed again" in said
    assert "ok        runs/shapes/submission.csv: 12 rows computed again" in said
    assert said.splitlines()[-1] == "VERIFIED but for shapes (left out by --no-data)"


def test_settings_of_score_and_ensemble_are_those_of_their_stamps(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run may be scored and blended otherwise than its config.yaml says; that is no damage."""
    asked = ["--set", "metric=f1_macro", "--set", "ensemble.blender=rank_mean"]
    for name in ("held_back.json", "stamps/held-back.json"):  # `run` alone scores what is held back
        Path(f"{R}/{name}").unlink()
    for command in ("score", "ensemble", "report"):
        assert main([command, "-c", "shapes/config.yaml", *asked]) == 0
    capsys.readouterr()
    code = main(["verify", "shapes"])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "scores.json: computed again, asked for with metric=f1_macro" in said.out


def test_code_of_the_run_runs_only_where_it_is_trusted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = """
from pathlib import Path

def share(targets_NC, probs_NC):
    Path("ran").touch()
    return float((targets_NC.argmax(1) == probs_NC.argmax(1)).mean())
"""
    Path("mine.py").write_text(code)
    for name in ("held_back.json", "stamps/held-back.json"):
        Path(f"{R}/{name}").unlink()
    for command in ("predict", "score", "ensemble", "report"):
        assert main([command, "-c", "shapes/config.yaml", "--set", "metric=mine.py:share"]) == 0
    Path("mine.py").unlink()
    Path("ran").unlink()
    capsys.readouterr()
    assert main(["verify", "shapes"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"VERIFIED but for {R}/scores.json (found 'mine.py:share', code") and "--trust" in last
    assert not Path("ran").exists()
    code_of_run = main(["verify", "shapes", "--trust"])
    said = capsys.readouterr()
    assert code_of_run == 0, said.err
    assert said.out.endswith("\nVERIFIED\n")
    edit(f"{R}/own/mine.py", "argmax", "argmin")
    assert main(["verify", "shapes"]) == 3
    assert f"{R}/own/mine.py: is not as" in capsys.readouterr().err


def test_some_folds_are_verified_as_they_were_scored(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("runs/shapes")
    for command in (["train", "--fold", "1"], ["predict", "--fold", "1"], ["score", "--partial"]):
        assert main([command[0], "-c", "shapes/config.yaml", *command[1:]]) == 0
    capsys.readouterr()
    code = main(["verify", "shapes"])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "VERIFIED but for runs/shapes/fold0 (not trained)" in said.out


def test_an_old_run_is_verified_but_for_hashes_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    code = main(["verify", "shapes"])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert said.out.splitlines()[-1].startswith("VERIFIED but for ")
    assert "scores.json: computed again" in said.out


def test_a_folder_that_is_no_run_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "mate"]) == 2
    assert "mate holds nothing of a run" in capsys.readouterr().err


def test_a_run_of_several_seeds_is_verified_with_each_of_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("runs")
    seeds = ["--set", "train.seeds=[1, 2]", "--set", "train.epochs=1", "--set", "tta=[identity]"]
    for command in ("train", "predict", "score", "ensemble"):
        assert main([command, "-c", "shapes/config.yaml", *seeds]) == 0
    capsys.readouterr()
    code = main(["verify", "shapes"])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert said.out.endswith("\nVERIFIED\n")
    probability("runs/shapes-s2/fold1/valid.npz")
    assert main(["verify", "shapes"]) == 3
    said = capsys.readouterr()
    assert "runs/shapes-s2/fold1/valid.npz: not as it was when runs/shapes-s2/scores.json was made" in said.err
    assert "runs/shapes-s2/fold1/valid.npz: not as it was when runs/shapes/ensemble.json was made" in said.err


def seen(trials: int, place: Path, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    """Flip a random bit of a random file of the run and of the blend, one at a time: each is seen and named."""
    rng, runs = random.Random(seed), ("shapes", "blend")
    files = {
        run: sorted(
            path
            for path in Path(f"runs/{run}").rglob("*")
            if path.is_file() and path.name not in (".lock", "train.log") and path.stat().st_size
        )
        for run in runs
    }
    missed = []
    for trial in range(trials):
        run = runs[trial % 2]
        path = rng.choice(files[run])
        content = path.read_bytes()
        at, bit = rng.randrange(len(content)), rng.randrange(8)
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :])
        capsys.readouterr()
        if main(["verify", run]) != 3 or str(path) not in capsys.readouterr().err:
            missed.append(f"{path}, byte {at}, bit {bit}")
        path.write_bytes(content)
    assert missed == []


def test_a_random_bit_is_seen_wherever_it_is(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen(5, place, capsys, seed=3)


@pytest.mark.slow
def test_each_of_many_random_bits_is_seen(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen(200, place, capsys, seed=4)

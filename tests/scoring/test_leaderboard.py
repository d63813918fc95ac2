"""The leaderboard command on synthetic runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from synthetic import CLASSES, TEST_IDS, command, make_config, make_folds, make_run, make_sample, pets

from pipeline.blending import stage as ensemble
from pipeline.cli import main
from pipeline.config import loading as configs
from pipeline.config.config import Config
from pipeline.errors import InputError, MismatchError
from pipeline.files.atomic import write_json
from pipeline.scoring import leaderboard, ledger
from pipeline.scoring import stage as score

WIDE = "id,cat,dog,eel\n" + "".join(f"{name},0,0,0\n" for name in TEST_IDS)
GIVEN = {"public": 0.5, "private": 0.25, "note": "first  submission\nof two"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return the config of the scored runs pets and other."""
    config = make_config(tmp_path, metric="log_loss")
    make_sample(config, WIDE)
    table = make_folds(config, pets(60))
    truth_NC = np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]
    for seed, name in enumerate(("pets", "other")):
        one = config.model_copy(update={"run": name})
        make_run(one, table, truth_NC, seed=seed)
        score.run(one)
    return config


def blend(config: Config, blender: str) -> Path:
    changed = config.ensemble.model_copy(update={"members": ["pets", "other"], "blender": blender})
    made = config.model_copy(update={"run": blender, "ensemble": changed})
    ensemble.run(made)
    return made.run_dir


def entry(config: Config, run: str) -> ledger.Entry:
    (found,) = [one for one in ledger.read(Path(config.runs_dir)) if one.run == run]
    return found


def write(runs_dir: Path, rows: list[tuple[str, float | None, float | None]], metric: str = "accuracy") -> None:
    """Write a ledger of (run, cv, public)."""
    for name, cv, public in rows:
        made = ledger.Entry("2026-11-22 03:00", "pets", name, metric, cv, 0.01, None, public, None, "")
        ledger.change(runs_dir, name, lambda _, made=made: made)


def test_a_run_is_entered_with_what_its_files_say(config: Config) -> None:
    leaderboard.add(Path(config.runs_dir), "pets", **GIVEN)
    found, scores = entry(config, "pets"), json.loads((config.run_dir / "scores.json").read_text())["variants"]["tta"]
    assert (found.cv, found.std, found.cross_fitted) == (scores["mean"], scores["std"], None)
    assert (found.competition, found.metric, found.public, found.private) == ("pets", "log_loss", 0.5, 0.25)
    assert found.note == "first submission of two" and found.date.startswith("20")


def test_the_best_constant_stands_below_the_table(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    runs_dir, path = Path(config.runs_dir), config.run_dir / "scores.json"
    leaderboard.add(runs_dir, "pets", **GIVEN)
    capsys.readouterr()
    leaderboard.run(runs_dir)
    constant = json.loads(path.read_text())["baseline"]["mean"]
    assert f"best constant, by the other folds' labels: {constant:.4f}" in capsys.readouterr().out.splitlines()
    path.write_text("{")
    leaderboard.run(runs_dir)
    assert "best constant" not in capsys.readouterr().out


def test_a_fitted_blend_is_entered_with_both_its_scores(config: Config) -> None:
    folder, runs_dir = blend(config, "slsqp"), Path(config.runs_dir)
    leaderboard.add(runs_dir, str(folder))
    found, report = entry(config, "slsqp"), json.loads((folder / "ensemble.json").read_text())
    assert found.cross_fitted == report["variants"]["tta"]["mean"]
    assert found.cv == report["comparison"]["blenders"]["slsqp"]["in_sample"] != found.cross_fitted
    assert found.primary == found.cross_fitted
    leaderboard.add(runs_dir, blend(config, "mean").name)
    assert entry(config, "mean").cross_fitted is None  # nothing was fitted


def test_the_fitted_step_that_came_last_is_in_sample() -> None:
    fitted = {"chosen": "temperature", "candidates": {"temperature": {"in_sample": 0.3}}}
    report = {"blender": "mean", "members": ["a"], "submitted": "tta", "views": {}, "calibration": fitted}
    assert leaderboard._fitted(report, 0.4) == (0.3, 0.4)
    assert leaderboard._fitted({**report, "calibration": {"chosen": "none"}}, 0.4) == (0.4, None)
    smoothed = {"chosen": "smoothing", "candidates": {"smoothing": {"in_sample": 0.2}}}
    assert leaderboard._fitted({**report, "smoothing": smoothed}, 0.4) == (0.3, 0.4)  # another file is submitted
    assert leaderboard._fitted({**report, "smoothing": smoothed, "submitted": "tta_smoothed"}, 0.4) == (0.2, 0.4)
    weighted = {"a": {"weighted": True, "in_sample": 0.1}}
    assert leaderboard._fitted({**report, "calibration": None, "views": weighted}, 0.4) == (0.1, 0.4)
    assert leaderboard._fitted({**report, "calibration": None, "blender": "greedy"}, 0.4) == (0.4, None)
    several = {**report, "calibration": None, "blender": "greedy", "members": ["a", "b"]}
    assert leaderboard._fitted(several, 0.4) == (None, 0.4)  # compared with no other


def test_entering_again_keeps_what_is_not_given(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    runs_dir = Path(config.runs_dir)
    leaderboard.add(runs_dir, "pets", **GIVEN)
    leaderboard.add(runs_dir, "pets", private=0.0)
    found = entry(config, "pets")
    assert (found.public, found.private, found.note) == (0.5, 0.0, "first submission of two")
    assert "note:" not in capsys.readouterr().out
    path = config.run_dir / "scores.json"
    (config.run_dir / "stamps/score.json").unlink()  # else it would not be believed
    report = json.loads(path.read_text())
    old, report["variants"]["tta"]["mean"] = report["variants"]["tta"]["mean"], 0.125
    write_json(path, report)
    leaderboard.add(runs_dir, "pets", note="")
    assert f"note: its own score was {old:.4f} and is 0.1250; public and private may belong" in capsys.readouterr().out
    assert (entry(config, "pets").cv, entry(config, "pets").note) == (0.125, "")


def test_what_cannot_be_entered(config: Config) -> None:
    runs_dir, path = Path(config.runs_dir), config.run_dir / "scores.json"
    with pytest.raises(InputError, match="leaderboard: found 'gone', expected a run in"):
        leaderboard.add(runs_dir, "gone")
    with pytest.raises(InputError, match="expected a finite score"):
        leaderboard.add(runs_dir, "pets", public=float("nan"))
    report = json.loads(path.read_text())
    write_json(path, {**report, "partial": True, "folds": [0]})
    with pytest.raises(MismatchError, match="not as score wrote it"):
        leaderboard.add(runs_dir, "pets")
    (config.run_dir / "stamps/score.json").unlink()
    with pytest.raises(InputError, match=r"folds \[0\] only"):
        leaderboard.add(runs_dir, "pets")
    write_json(path, {"metric": "log_loss"})
    with pytest.raises(MismatchError, match="lacks 'variants'; delete it"):
        leaderboard.add(runs_dir, "pets")
    path.unlink()
    with pytest.raises(InputError, match="not scored"):
        leaderboard.add(runs_dir, "pets")
    assert not (runs_dir / ledger.NAME).exists()


@pytest.mark.parametrize(("metric", "order"), [("accuracy", "cabd"), ("log_loss", "bacd")])
def test_the_best_stands_first(metric: str, order: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, [("a", 0.7, 0.6), ("b", 0.6, None), ("c", 0.8, 0.9), ("d", None, 0.7)], metric)
    leaderboard.run(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"pets: {metric} (")
    assert "".join(line.split()[1] for line in lines[2:6]) == order
    assert lines[6] == "CV and public: Spearman 1.00, Pearson 1.00, n = 2, unreliable below 5"
    assert len(lines) == 7  # no private scores
    write(tmp_path, [("c", None, 0.9)], metric)
    leaderboard.run(tmp_path)
    assert "CV and public: nothing to correlate, n = 1\n" in capsys.readouterr().out


def test_the_correlation_is_numpy_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    cv, public = rng.random((2, 7)).round(1)  # with ties
    write(tmp_path, [(str(n), float(a), float(b)) for n, (a, b) in enumerate(zip(cv, public, strict=True))])
    leaderboard.run(tmp_path)
    from scipy.stats import spearmanr

    expected = f"Spearman {spearmanr(cv, public).statistic:.2f}, Pearson {np.corrcoef(cv, public)[0, 1]:.2f}"
    assert f"CV and public: {expected}, n = 7\n" in capsys.readouterr().out
    assert np.isnan(leaderboard.correlation(np.array([[1.0, 2], [1, 3]])))
    assert np.isnan(leaderboard.correlation(np.array([[1.0, 2]])))


def test_competitions_and_metrics_do_not_mix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, [("a", 0.7, None)])
    write(tmp_path, [("b", 0.7, None)], "log_loss")
    leaderboard.run(tmp_path)
    shown = capsys.readouterr().out
    assert "pets: accuracy (greater is better)" in shown and "pets: log_loss (lower is better)" in shown


def test_the_command(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    runs_dir = ["--runs-dir", config.runs_dir]
    assert main(["leaderboard", *runs_dir]) == 0
    shown = capsys.readouterr().out
    assert "nothing yet" in shown and "not entered: other, pets" in shown
    assert main(["leaderboard", *runs_dir, "--public", "0.5"]) == 2
    assert main(["leaderboard", "add", *runs_dir]) == 2
    shown = capsys.readouterr().err
    assert "found --public without add RUN" in shown and "leaderboard add: found no run" in shown
    done = command("leaderboard", "add", "pets", *runs_dir, "--public", "0.5", "--note", "with hflip")
    assert (done.returncode, done.stderr) == (0, "")
    assert configs.load([config.run_dir / "config.yaml"]).name == "pets"
    done = command("leaderboard", *runs_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert "  1 pets" in done.stdout and "with hflip" in done.stdout and "not entered: other" in done.stdout

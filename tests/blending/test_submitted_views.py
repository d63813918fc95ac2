"""Which views are submitted where `submission.variant` is auto: all of `tta` but for those that clearly lose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from blends import ROWS, add, base, blended, numbers, probabilities
from synthetic import CLASSES, TEST_IDS, command

from pipeline.blending import stage as ensemble
from pipeline.blending import views
from pipeline.config.config import Config
from pipeline.config.loading import dump
from pipeline.config.rules import decisions
from pipeline.files.atomic import read_json, write_json
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.metrics import METRICS
from pipeline.prediction.predictions import Predictions
from pipeline.report import score_cards
from pipeline.report.files import Run
from pipeline.scoring import leaderboard, ledger
from pipeline.scoring.evaluation import Evaluator


def mean(config: Config, table: FoldTable, run: str, *names: str) -> np.ndarray:
    """Return the test's mean over folds and these views, read from the run's files."""
    made = [Predictions.load(Path(config.runs_dir) / run / f"fold{fold}/test.npz") for fold in range(table.n)]
    chosen = [one.probs_NVC[:, [one.views.index(name) for name in names]].astype(np.float64) for one in made]
    return np.mean([probs_TVC.mean(1) for probs_TVC in chosen], axis=0)


def files(config: Config) -> list[str]:
    return sorted(path.stem for path in (config.run_dir / "submissions").iterdir())


FOUR = ["plain", "plain_smoothed", "tta", "tta_smoothed"]


def test_a_view_that_hurts_is_not_submitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As with digits, whose mirror images are none: the table showed plain far better, and tta was submitted."""
    config, table, truth_NC = base(tmp_path, metric="accuracy")
    add(config, table, truth_NC, "digits", {"identity": 3.0, "hflip": -2.0})
    made, report = blended(config, "digits")
    plain, tta = (report["variants"][name]["mean"] for name in ("plain", "tta"))
    assert plain > tta + 0.1, "else it shows nothing"
    assert (report["submitted"], files(made)) == ("plain", FOUR)
    found = report["auto"]["members"]["digits"]
    assert found["views"] == ["identity"] and list(found["left_out"]) == ["hflip"]
    lead = found["left_out"]["hflip"]
    assert lead["lead"] == pytest.approx(tta - plain) and lead["interval"][1] < 0 and lead["reliable"]
    np.testing.assert_allclose(numbers(made.run_dir / "submission.csv"), mean(config, table, "digits", "identity"))
    folder = made.run_dir / "submissions"
    np.testing.assert_allclose(numbers(folder / "tta.csv"), mean(config, table, "digits", "identity", "hflip"))
    np.testing.assert_array_equal(numbers(made.run_dir / "blend.csv"), numbers(folder / "plain.csv"))
    low, high = lead["interval"]
    said = f"hflip is left out: {lead['lead']:+.4f} ({low:.4f} to {high:.4f}) with it"
    assert f"views of digits: identity alone is submitted; {said}\n" in capsys.readouterr().out
    card = score_cards.variants(Run(made))
    assert card is not None and "submission.csv is plain" in card.lead and said in card.html


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_only_the_view_that_hurts_is_left_out(tmp_path: Path, metric: str) -> None:
    config, table, truth_NC = base(tmp_path, metric=metric)
    add(config, table, truth_NC, "run", {"identity": 2.0, "hflip": 2.0, "vflip": -2.0, "rot180": 2.0})
    made, report = blended(config, "run")
    found = report["auto"]["members"]["run"]
    assert (report["submitted"], found["views"]) == ("auto", ["identity", "hflip", "rot180"])
    assert list(found["left_out"]) == ["vflip"] and found["over_plain"]["lead"] > 0
    assert files(made) == ["auto", *FOUR]
    expected = mean(config, table, "run", "identity", "hflip", "rot180")
    for path in (made.run_dir / "submission.csv", made.run_dir / "submissions/auto.csv", made.run_dir / "blend.csv"):
        np.testing.assert_allclose(numbers(path), expected, atol=1e-7)
    every = mean(config, table, "run", "identity", "hflip", "vflip", "rot180")
    np.testing.assert_allclose(numbers(made.run_dir / "submissions/tta.csv"), every, atol=1e-7)
    gain = METRICS[metric].direction * (report["variants"]["auto"]["mean"] - report["variants"]["tta"]["mean"])
    assert gain > 0.01
    leaderboard.add(Path(made.runs_dir), "blend")
    (entry,) = ledger.read(Path(made.runs_dir))
    assert entry.cv == report["variants"]["auto"]["mean"]
    named = made.model_copy(update={"submission": made.submission.model_copy(update={"variant": "tta"})})
    ensemble.run(named)
    again = read_json(named.run_dir / "ensemble.json")
    assert again["submitted"] == "tta" and "auto" not in again and files(named) == FOUR, "that of auto is gone"
    np.testing.assert_allclose(numbers(named.run_dir / "submission.csv"), every, atol=1e-7)


def test_views_that_help_or_do_no_harm_are_submitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, table, truth_NC = base(tmp_path)
    add(config, table, truth_NC, "run", {"identity": 2.0, "hflip": 2.0})
    made, report = blended(config, "run")
    found = report["auto"]["members"]["run"]
    assert (report["submitted"], found["left_out"], files(made)) == ("tta", {}, FOUR)
    assert found["over_plain"]["lead"] > 0
    assert (made.run_dir / "submission.csv").read_bytes() == (made.run_dir / "submissions/tta.csv").read_bytes()
    out = capsys.readouterr().out
    assert "views of run: identity, hflip submitted, +" in out and "optimistic" not in out


def test_without_views_nothing_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, table, truth_NC = base(tmp_path)
    add(config, table, truth_NC, "run", {"identity": 2.0})
    _, report = blended(config, "run")
    assert report["submitted"] == "tta" and report["variants"]["tta"]["equal_to"] == "plain" and "auto" not in report
    assert "views of" not in capsys.readouterr().out


def test_each_member_takes_its_own_views(tmp_path: Path) -> None:
    config, table, truth_NC = base(tmp_path)
    add(config, table, truth_NC, "hurt", {"identity": 3.0, "hflip": -1.0})
    add(config, table, truth_NC, "helped", {"identity": 2.0, "hflip": 2.0}, seed=1)
    mate = tmp_path / "mate"
    mate.mkdir()
    tables = [probabilities(np.random.default_rng(2), one, 2.0) for one in (truth_NC, np.zeros((5, 3)))]
    for name, probs, first in (
        ("oof.csv", tables[0], {"id": table.ids, "fold": table.fold}),
        ("test.csv", tables[1], {"id": TEST_IDS}),
    ):
        cells = pd.DataFrame(probs.astype(np.float64), columns=list(CLASSES))
        pd.concat([pd.DataFrame(first), cells], axis=1).to_csv(mate / name, index=False)
    made, report = blended(config, "hurt", "helped", str(mate))
    assert report["submitted"] == "auto" and report["comparison"]["on"] == "auto"
    assert {name: one["views"] for name, one in report["auto"]["members"].items()} == {
        "hurt": ["identity"],
        "helped": ["identity", "hflip"],
    }
    parts = [mean(config, table, "hurt", "identity"), mean(config, table, "helped", "identity", "hflip"), tables[1]]
    np.testing.assert_allclose(numbers(made.run_dir / "submission.csv"), np.mean(parts, axis=0), atol=1e-6)
    made, report = blended(config, "hurt", str(mate))
    assert report["submitted"] == "plain", "the tables have no views, so they are the same in both"
    np.testing.assert_allclose(numbers(made.run_dir / "submission.csv"), (parts[0] + parts[2]) / 2, atol=1e-6)


def test_weighted_views_are_taken_as_a_whole(tmp_path: Path) -> None:
    config, table, truth_NC = base(tmp_path)
    add(config, table, truth_NC, "run", {"identity": 2.0, "hflip": 2.0, "vflip": -2.0})
    made, report = blended(config, "run", views="select")
    assert report["views"]["run"]["weighted"] and report["submitted"] == "tta"
    found = report["auto"]["members"]["run"]
    assert found["left_out"] == {} and found["views"] == ["identity", "hflip"] and found["over_plain"]["lead"] > 0
    assert files(made) == FOUR


def evaluator(rows: int, metric: str = "accuracy") -> tuple[Evaluator, np.ndarray]:
    truth_NC = np.eye(3)[np.arange(rows) % 3]
    return Evaluator(METRICS[metric], True, truth_NC, np.arange(rows) % 5, np.full(rows, ""), 0), truth_NC


@pytest.mark.parametrize(("lost", "won", "views_"), [(12, 9, "tta"), (12, 0, "plain"), (3, 9, "tta")])
def test_only_a_clear_loss_leaves_views_out(lost: int, won: int, views_: str) -> None:
    """Of 300 rows some are wrong with the view and right without it, others the reverse."""
    by, truth_NC = evaluator(300)
    plain, with_view = truth_NC.copy(), truth_NC.copy()
    for wrong, rows in ((with_view, range(lost)), (plain, range(100, 100 + won))):
        wrong[list(rows)] = np.roll(wrong[list(rows)], 1, axis=1)
    means = {("identity",): plain, ("hflip",): with_view, ("identity", "hflip"): with_view}
    found = views.take(means.__getitem__, ["identity", "hflip"], by)
    assert found.kind == views_
    lead = found.report["left_out"].get("hflip") or found.report["over_plain"]
    assert lead["lead"] == pytest.approx((won - lost) / 300)


def test_views_of_equal_worth_are_rarely_left_out() -> None:
    by, truth_NC = evaluator(150, "log_loss")
    rng, names, left_out = np.random.default_rng(0), ("identity", "hflip", "vflip", "rot180"), 0
    for _ in range(25):
        drawn = {name: probabilities(rng, truth_NC, 1.5).astype(np.float64) for name in names}
        shared = drawn["identity"]  # alike, so that averaging gains next to nothing
        alike = {name: 0.9 * shared + 0.1 * one for name, one in drawn.items()}

        def average(asked: tuple[str, ...], alike: dict[str, np.ndarray] = alike) -> np.ndarray:
            return np.mean([alike[name] for name in asked], axis=0)

        left_out += len(views.take(average, names, by).report["left_out"])
    assert left_out <= 0.05 * 25 * 3, "no more than a one-sided 5 % would by chance"


def test_equal_predictions_are_no_loss_by_rounding() -> None:
    by, truth_NC = evaluator(60, "log_loss")
    probs_NC = probabilities(np.random.default_rng(0), truth_NC, 1.0).astype(np.float64)

    def average(names: tuple[str, ...]) -> np.ndarray:
        return np.mean([probs_NC] * len(names), axis=0) - 1e-15 * len(names)

    assert views.take(average, ["identity", "hflip", "rot180"], by).kind == "tta"


def test_without_identity_among_them_views_are_held_against_it() -> None:
    by, truth_NC = evaluator(300)
    wrong_NC = np.roll(truth_NC, 1, axis=1)
    means = {"identity": truth_NC, "hflip": wrong_NC, "vflip": 0.9 * truth_NC + 0.1 / 3}

    def average(names: tuple[str, ...]) -> np.ndarray:
        return np.mean([means[name] for name in names], axis=0)

    assert views.take(average, ["hflip"], by).views == ("identity",)
    assert views.take(average, ["vflip"], by).kind == "tta"


def test_where_no_group_varies_views_are_used() -> None:
    by, truth_NC = evaluator(30)
    lone = Evaluator(by.metric, True, truth_NC, np.arange(30) // 6, (np.arange(30) // 6).astype(str), 0)
    wrong_NC = np.roll(truth_NC, 1, axis=1)
    found = views.take(lambda names: wrong_NC if "hflip" in names else truth_NC, ["identity", "hflip"], lone)
    assert found.kind == "tta" and found.report["over_plain"]["interval"] == [None, None]


def test_the_config_s_default_and_the_command(tmp_path: Path) -> None:
    config, table, truth_NC = base(tmp_path, metric="accuracy", run="digits")
    assert config.submission.variant == "auto"
    add(config, table, truth_NC, "digits", {"identity": 4.0, "hflip": -2.0})
    (tmp_path / "config.yaml").write_text(dump(config.model_copy(update={"tta": ["identity", "hflip"]})))
    done = command("ensemble", "-c", tmp_path / "config.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("submitted")] == ["plain"]
    done = command("ensemble", "-c", tmp_path / "config.yaml", "--set", "submission.variant=tta")
    assert [line.split()[0] for line in done.stdout.splitlines() if line.endswith("submitted")] == ["tta"]


def test_new_images_are_predicted_with_the_views_that_were_submitted(tmp_path: Path) -> None:
    config, _, _ = base(tmp_path, tta=["identity", "hflip", "vflip"])
    one = {"tta": ["identity", "hflip", "vflip"], "views": ["identity", "vflip"]}

    def asked(config: Config, **report: object) -> list[str] | None:
        write_json(config.run_dir / "ensemble.json", {"members": ["pets"], **report})
        return decisions.views_of_run(config.run_dir, config)

    assert decisions.views_of_run(config.run_dir, config) is None, "it is not blended yet"
    assert asked(config) is None
    assert asked(config, auto={"members": {"pets": one}}) == ["identity", "vflip"]
    assert asked(config, auto={"members": {"pets": {**one, "tta": ["identity", "vflip"]}}}) is None
    assert asked(config, members=["pets", "other"], auto={"members": {"pets": one, "other": one}}) is None
    named = config.model_copy(update={"submission": config.submission.model_copy(update={"variant": "tta"})})
    assert asked(named, auto={"members": {"pets": one}}) is None
    seeds = config.model_copy(update={"train": config.train.model_copy(update={"seeds": [1, 2]})})
    each = {"pets-s1": one, "pets-s2": one}
    assert asked(seeds, members=list(each), auto={"members": each}) == ["identity", "vflip"]
    assert (
        asked(seeds, members=list(each), auto={"members": {**each, "pets-s2": {**one, "views": ["identity"]}}}) is None
    )


def test_a_run_is_blended_with_views_of_its_own(tmp_path: Path) -> None:
    """A member keeps the views that it was predicted with, whatever this config names."""
    config, table, truth_NC = base(tmp_path, tta=["identity"])
    add(config, table, truth_NC, "run", {"identity": 2.0, "hflip": 2.0, "vflip": -2.0})
    _, report = blended(config, "run")
    assert report["auto"]["members"]["run"]["tta"] == ["identity", "hflip", "vflip"]
    assert report["auto"]["members"]["run"]["views"] == ["identity", "hflip"] and len(truth_NC) == ROWS

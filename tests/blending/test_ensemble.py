"""The ensemble stage on synthetic runs."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import CLASSES, TEST_IDS, command, make_config, make_folds, make_run, make_sample, pets

from pipeline.blending import stage as ensemble
from pipeline.config import loading as configs
from pipeline.config.config import Config
from pipeline.config.loading import dump
from pipeline.errors import InputError, MismatchError
from pipeline.files.tables import read_text_table
from pipeline.folds.fold_table import FoldTable
from pipeline.prediction.predictions import Predictions
from pipeline.scoring import stage as score

VARIANTS = ["plain", "tta", "plain_smoothed", "tta_smoothed"]
WIDE = "id,eel,cat,dog\n" + "".join(f"{name},0,0,0\n" for name in reversed(TEST_IDS))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = make_config(tmp_path, metric="log_loss")
    make_sample(config, WIDE)
    return config


@pytest.fixture
def table(config: Config) -> FoldTable:
    return make_folds(config, pets())


@pytest.fixture
def truth_NC(table: FoldTable) -> np.ndarray:
    return np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]


def read(config: Config, name: str = "ensemble.json") -> dict:
    return json.loads((config.run_dir / name).read_text())


def numbers(path: Path) -> np.ndarray:
    return read_text_table(path)[list(CLASSES)].astype(float).to_numpy()


def with_members(config: Config, *members: str, blender: str = "mean") -> Config:
    changed = config.ensemble.model_copy(update={"members": list(members), "blender": blender})
    return config.model_copy(update={"run": "blend", "ensemble": changed})


def test_one_run_gives_four_variants(config: Config, table: FoldTable, truth_NC: np.ndarray) -> None:
    make_run(config, table, truth_NC)
    assert ensemble.run(config) == config.run_dir / "submission.csv"
    report = read(config)
    assert list(report["variants"]) == VARIANTS
    assert (report["blender"], report["members"], report["submitted"]) == ("mean", ["pets"], "tta")
    assert report["weights"] == read(config, "weights.json") == {"pets": 1.0}
    score.run(config)
    scored = read(config, "scores.json")["variants"]
    for name in ("plain", "tta"):
        assert report["variants"][name]["mean"] == pytest.approx(scored[name]["mean"])
        assert report["variants"][name]["pooled"] == pytest.approx(scored[name]["pooled"])
    assert [report["variants"][name]["alpha"] for name in VARIANTS] == [0, 0, 0.001, 0.001]
    submissions = config.run_dir / "submissions"
    assert (submissions / "tta.csv").read_bytes() == (config.run_dir / "submission.csv").read_bytes()
    assert read_text_table(submissions / "plain.csv").columns.tolist() == ["id", "eel", "cat", "dog"]
    assert read_text_table(submissions / "plain.csv")["id"].tolist() == TEST_IDS[::-1].tolist()
    plain, smoothed = numbers(submissions / "plain.csv"), numbers(submissions / "plain_smoothed.csv")
    sure = plain.max(1) > 0.9
    np.testing.assert_allclose(smoothed[sure], plain[sure] * 0.999 + 0.001 / 3)
    np.testing.assert_array_equal(smoothed[~sure], plain[~sure])
    np.testing.assert_array_equal(numbers(config.run_dir / "blend.csv")[::-1], numbers(submissions / "tta.csv"))
    blend_oof = read_text_table(config.run_dir / "blend_oof.csv")
    assert blend_oof.columns.tolist() == ["id", *CLASSES]
    np.testing.assert_allclose(numbers(config.run_dir / "blend_oof.csv"), numbers(config.run_dir / "oof.csv"))


def test_equal_variants_are_written_and_named(
    tmp_path: Path, table: FoldTable, truth_NC: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(tmp_path, tta=["identity"], submission__variant="plain_smoothed")
    make_sample(config)
    make_run(config, table, truth_NC)
    ensemble.run(config)
    found = {name: variant["equal_to"] for name, variant in read(config)["variants"].items()}
    assert found == {"plain": None, "tta": "plain", "plain_smoothed": "plain", "tta_smoothed": "plain"}
    for name in VARIANTS:
        assert (config.run_dir / "submissions" / f"{name}.csv").is_file()
    assert "same file as plain, submitted" in capsys.readouterr().out


def test_members_and_a_teammate_s_tables(
    config: Config, table: FoldTable, truth_NC: np.ndarray, tmp_path: Path
) -> None:
    other = config.model_copy(update={"run": "other", "tta": ["identity"]})
    make_run(config, table, truth_NC)
    make_run(other, table, truth_NC, seed=1)
    score.run(config)
    score.run(other)
    mate = tmp_path / "mate"
    mate.mkdir()
    oof = read_text_table(other.run_dir / "oof.csv").sample(frac=1, random_state=0)
    oof.drop(columns="target").to_csv(mate / "oof.csv", index=False)
    shutil.copy(other.run_dir / "test.csv", mate / "test.csv")
    blend = with_members(config, "pets", str(mate))
    ensemble.run(blend)
    assert read(blend)["weights"] == {"pets": 0.5, str(mate): 0.5}
    expected = (numbers(config.run_dir / "test.csv") + numbers(other.run_dir / "test.csv")) / 2
    np.testing.assert_allclose(numbers(blend.run_dir / "blend.csv"), expected, atol=1e-9)
    first = (blend.run_dir / "blend.csv").read_bytes()
    ensemble.run(with_members(config, "pets", "other"))  # the run whose tables the teammate sent, with its own tta
    np.testing.assert_allclose(numbers(blend.run_dir / "blend.csv"), expected, atol=1e-9)
    ensemble.run(with_members(config, "other", "pets"))
    np.testing.assert_allclose(numbers(blend.run_dir / "blend.csv"), expected, atol=1e-9)
    assert first.startswith(b"id,cat,dog,eel")
    assert configs.load([blend.run_dir / "config.yaml"]).ensemble.members == ["other", "pets"]
    config.run_dir.joinpath("config.yaml").write_text("as trained")
    ensemble.run(config)
    assert config.run_dir.joinpath("config.yaml").read_text() == "as trained"


def test_rank_mean_ranks_oof_inside_folds_and_test_over_the_column(tmp_path: Path) -> None:
    config = make_config(tmp_path, metric="mean_column_auc", ensemble__blender="rank_mean")
    make_sample(config, WIDE)
    table = make_folds(config, pets())
    truth_NC = np.eye(3)[[CLASSES.index(label) for label in table.targets["label"]]]
    make_run(config, table, truth_NC)
    score.run(config)
    ensemble.run(config)
    assert sorted(numbers(config.run_dir / "blend.csv")[:, 0]) == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    oof = numbers(config.run_dir / "blend_oof.csv")
    for fold in range(3):
        assert sorted(oof[table.fold == fold, 1]) == pytest.approx(np.arange(0.05, 1, 0.1))
    per_fold = read(config, "scores.json")["variants"]["tta"]["per_fold"]
    assert read(config)["variants"]["tta"]["per_fold"] == pytest.approx(per_fold)


def test_rank_mean_is_refused_where_probabilities_are_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="log_loss needs probabilities and ranks are none"):
        make_config(tmp_path, metric="log_loss", ensemble__blender="rank_mean")
    assert make_config(tmp_path, metric="accuracy", ensemble__blender="rank_mean").ensemble.blender == "rank_mean"


def test_members_that_do_not_fit_are_refused_together(
    config: Config, table: FoldTable, truth_NC: np.ndarray, tmp_path: Path
) -> None:
    make_run(config, table, truth_NC)
    other = config.model_copy(update={"run": "other"})
    make_run(other, table, truth_NC, classes=("eel", "dog", "cow"))
    elsewhere = make_config(tmp_path / "elsewhere")
    moved = make_folds(elsewhere, pets(), folds=2)
    strange = config.model_copy(update={"run": "strange"})
    make_run(strange, moved, truth_NC)
    make_run(strange, table, truth_NC, seed=3)
    found = Predictions.load(strange.run_dir / "fold1/valid.npz")
    Predictions(found.ids, found.views, found.classes, found.probs_NVC, {"fold_hash": moved.fold_hash}).save(
        strange.run_dir / "fold1/valid.npz"
    )
    score.run(config)
    mate = tmp_path / "mate"
    mate.mkdir()
    oof = read_text_table(config.run_dir / "oof.csv")
    oof["fold"] = "0"
    oof.to_csv(mate / "oof.csv", index=False)
    shutil.copy(config.run_dir / "test.csv", mate / "test.csv")
    blend = with_members(config, "pets", "other", "strange", str(mate))
    with pytest.raises(MismatchError) as error:
        ensemble.run(blend)
    text = "\n".join(error.value.lines)
    assert text.count("other/fold0/valid.npz: has the classes [eel, dog, cow]: lacks cat, has the unknown cow") == 1
    assert text.count("in any order; restore data.target and data.classes, or train anew") == 1
    assert text.count("[eel, dog, cow]") == 1, "the files of a run are not told one by one"
    assert f"fold1/valid.npz: made on folds {moved.fold_hash[:12]}, the fold table is {table.fold_hash[:12]}" in text
    assert f"{mate / 'oof.csv'}: made on folds" in text
    assert "ids '0000' and '0001' are in its folds 0 and 0, there in 0 and 1; make the member on the folds of" in text
    assert error.value.exit_code == 3
    assert not blend.run_dir.exists()


def spoil_nothing(table: pd.DataFrame) -> pd.DataFrame:
    return table


@pytest.mark.parametrize(
    ("oof_change", "test_change", "words"),
    [
        (lambda oof: oof.assign(cat="2.5"), spoil_nothing, "30 rows hold no probabilities in [0, 1]"),
        (lambda oof: oof.drop(columns="fold"), spoil_nothing, "lacks the column fold"),
        (
            lambda oof: oof.drop(index=0),
            spoil_nothing,
            "lacks 1 ids that are in the fold table (first '0000')",
        ),
        (spoil_nothing, lambda test: test.assign(cat="0.9"), "5 rows do not sum to 1"),
        (
            spoil_nothing,
            lambda test: test.drop(columns="eel").assign(eal="0"),
            "test.csv: has the classes [cat, dog, eal]: lacks eel, has the unknown eal, expected [cat, dog, eel]",
        ),
        (spoil_nothing, lambda test: test.assign(id="0900"), "has 4 ids twice"),
    ],
)
def test_wrong_tables_of_a_teammate(
    config: Config,
    table: FoldTable,
    truth_NC: np.ndarray,
    tmp_path: Path,
    oof_change: Callable[[pd.DataFrame], pd.DataFrame],
    test_change: Callable[[pd.DataFrame], pd.DataFrame],
    words: str,
) -> None:
    make_run(config, table, truth_NC)
    score.run(config)
    oof = oof_change(read_text_table(config.run_dir / "oof.csv"))
    test = test_change(read_text_table(config.run_dir / "test.csv"))
    mate = tmp_path / "mate"
    mate.mkdir()
    oof.to_csv(mate / "oof.csv", index=False)
    test.to_csv(mate / "test.csv", index=False)
    with pytest.raises(MismatchError) as error:
        ensemble.run(with_members(config, "pets", str(mate)))
    assert words in "\n".join(error.value.lines)


def test_missing_and_repeated_members(config: Config, table: FoldTable, truth_NC: np.ndarray) -> None:
    make_run(config, table, truth_NC)
    with pytest.raises(InputError) as error:
        ensemble.run(with_members(config, "pets", "gone", "pets"))
    assert len(error.value.lines) == 2


def test_one_folder_by_two_names_counts_once(config: Config, table: FoldTable, truth_NC: np.ndarray) -> None:
    run = config.model_copy(update={"run": "a"})
    make_run(run, table, truth_NC)
    with pytest.raises(InputError, match="is the folder of 'a'; name it once"):
        ensemble.run(with_members(config, "a", str(run.run_dir)))


def test_nothing_is_written_on_a_wrong_sample(config: Config, table: FoldTable, truth_NC: np.ndarray) -> None:
    make_run(config, table, truth_NC)
    make_sample(config, WIDE + "0999,0,0,0\n")
    with pytest.raises(MismatchError, match="are not predicted: 0999"):
        ensemble.run(config)
    assert not list(config.run_dir.glob("*.csv")) and not (config.run_dir / "submissions").exists()


def test_finished_and_equal_is_skipped(config: Config, table: FoldTable, truth_NC: np.ndarray) -> None:
    make_run(config, table, truth_NC)
    path = ensemble.run(config)
    written = path.stat().st_mtime_ns
    ensemble.run(config)
    assert path.stat().st_mtime_ns == written
    make_run(config, table, truth_NC, seed=4)
    ensemble.run(config)
    assert path.read_text().startswith("id,eel")


def test_command_line_without_torch(config: Config, table: FoldTable, truth_NC: np.ndarray, tmp_path: Path) -> None:
    make_run(config, table, truth_NC)
    (tmp_path / "config.yaml").write_text(dump(config))
    done = command("ensemble", "-c", tmp_path / "config.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "log_loss, OOF, mean of pets" in done.stdout


@pytest.mark.parametrize("name", ["sample.tsv", "all.zip/in/sample.csv", "sample.json"])
def test_any_kind_of_table_is_a_sample_and_what_is_handed_in_is_a_csv(
    config: Config, table: FoldTable, truth_NC: np.ndarray, tmp_path: Path, name: str
) -> None:
    make_run(config, table, truth_NC)
    expected = ensemble.run(config).read_text()
    sample, root = pd.read_csv(io.StringIO(WIDE), dtype=str), Path(config.data.root)
    sample.to_csv(root / "sample.tsv", sep="\t", index=False)
    sample.to_json(root / "sample.json", orient="records")
    with zipfile.ZipFile(root / "all.zip", "w") as archive:
        archive.writestr("in/sample.csv", WIDE)
    (root / config.data.sample_submission).unlink()
    (tmp_path / "config.yaml").write_text(dump(config))
    done = command("ensemble", "-c", tmp_path / "config.yaml", "--set", f"data.sample_submission={name}")
    assert (done.returncode, done.stderr) == (0, "")
    assert (config.run_dir / "submission.csv").read_text() == expected

"""Train variants of a tiny competition by one command, and hold the table to what the runs say."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import Cli
from synthetic import make_config, make_folds, make_run, pets

from pipeline.config.loading import load
from pipeline.errors import InputError
from pipeline.files.atomic import write_text
from pipeline.studies import ablation, ablation_table, variants
from pipeline.studies.variants import BASE
from pipeline.training import stage as train


def write_variants(folder: Path, tree: object) -> Path:
    path = folder / "ideas.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def test_every_senseless_variant_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    path = write_variants(
        tmp_path,
        {
            "base": {"train": {"lr": 1e-3}},
            "a b": {"train": {"lr": 1e-3}},
            "empty": None,
            "metric": {"metric": "f1_macro"},
            "seed": {"train": {"seed": 7}},
            "typo": {"train": {"learning_rate": 1}},
            "same": {"train": {"lr": config.train.lr}},
            "after": {"ensemble": {"blender": "geometric_mean"}},
            "good": {"train": {"lr": 1e-2}},
        },
    )
    with pytest.raises(InputError) as refused:
        variants.read(config, path, [1, 2])
    defects = refused.value.lines
    for name, words in {
        "base": "always trained",
        "a b": "expected a name",
        "empty": "found None",
        "metric": "sets metric, which must be the same",
        "seed": "the seeds are those of --seeds",
        "typo": "train.learning_rate: unknown key",
        "same": "changes nothing of the config's score",
        "after": "changes nothing of the config's score",
    }.items():
        assert [text for text in defects if f"ideas.yaml: {name}: " in text and words in text], (name, defects)
    assert len(defects) == 8, defects


def test_names_that_no_library_has_are_told_before_hours_of_training(competition: Path, tmp_path: Path) -> None:
    path = write_variants(
        tmp_path, {"net": {"model": {"name": "resnet8000"}}, "opt": {"train": {"optimizer": "adamww"}}}
    )
    with pytest.raises(InputError) as refused:
        ablation.run(load([competition / "config.yaml"]), path)
    texts = refused.value.lines
    assert [text for text in texts if "ideas.yaml: net: model.name" in text]
    assert [text for text in texts if "ideas.yaml: opt: train.optimizer" in text]
    assert not (tmp_path / "runs").exists()


def test_jobs_are_ordinary_runs_seed_by_seed(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    path = write_variants(tmp_path, {"slow": {"train": {"lr": 1e-5}}, "views": {"tta": ["identity"]}})
    jobs = variants.read(config, path, [3, 5])
    several = variants.read(make_config(tmp_path, train__seeds=[3, 5]), path, [3, 5])
    assert [job.config for job in several] == [job.config for job in jobs]
    assert [(job.variant, job.seed) for job in jobs] == [
        (name, seed) for seed in (3, 5) for name in (BASE, "slow", "views")
    ]
    assert [job.config.run for job in jobs[:3]] == ["pets-base-s3", "pets-slow-s3", "pets-views-s3"]
    assert [job.config.train.seed for job in jobs] == [3, 3, 3, 5, 5, 5]
    assert jobs[1].config.train.lr == 1e-5
    assert variants.trained(jobs[0].config) == variants.trained(jobs[2].config) != variants.trained(jobs[1].config)
    assert variants.trained(jobs[0].config) != variants.trained(jobs[3].config)


def test_leads_are_those_of_the_rows_themselves(tmp_path: Path) -> None:
    """Two seeds of noise: the lead, by hand, from each row's hit or miss; and a variant whose gain is significant."""
    config = make_config(tmp_path, metric="accuracy")
    path = write_variants(tmp_path, {"better": {"train": {"lr": 1e-2}}, "equal": {"train": {"lr": 1e-4}}})
    jobs = variants.read(config, path, [1, 2])
    folds = make_folds(config, pets(90))
    truth_NC = np.eye(3)[[(n // 3) % 3 for n in range(90)]]
    hits = {}
    for job in jobs:
        good = 2.0 if job.variant == "better" else 0.5
        made = make_run(job.config, folds, good * truth_NC, seed=job.seed, test=False)
        for fold, found in made.items():
            write_text(job.config.run_dir / f"fold{fold}" / "epochs.csv", "epoch,seconds\n1,1.5\n2,2\n")
            rows = [int(name) for name in found.ids]
            right = found.probs_NVC.mean(1).argmax(1) == truth_NC[rows].argmax(1)
            hits[job.variant, job.seed, fold] = right.mean()
    evaluator = ablation_table.Evaluator(config, folds)
    measured = {name: {} for name in (BASE, "better", "equal")}
    for job in jobs:
        measured[job.variant][job.seed] = evaluator.score(job.config)
    rows = {
        job.variant: evaluator.row(job.variant, job.changes, measured[BASE], measured[job.variant], {})
        for job in jobs[:3]
    }

    def by_hand(name: str) -> float:
        return float(np.mean([hits[name, seed, k] - hits[BASE, seed, k] for seed in (1, 2) for k in range(3)]))

    better, equal = rows["better"], rows["equal"]
    assert better.lead == pytest.approx(by_hand("better")) and better.lead > 0.1
    assert better.score == pytest.approx(np.mean([hits["better", seed, k] for seed in (1, 2) for k in range(3)]))
    assert better.verdict == "better" and better.interval.low < better.lead < better.interval.high
    assert (
        equal.lead == 0 and (equal.interval.low, equal.interval.high) == (0, 0) and equal.verdict == "not significant"
    )
    assert better.seconds == pytest.approx(3 * 3.5)
    np.testing.assert_allclose(
        better.leads_SK, [[hits["better", s, k] - hits[BASE, s, k] for k in range(3)] for s in (1, 2)]
    )
    spread, known = ablation_table.seed_spread(measured)
    variances = [
        np.var([np.mean([hits[name, s, k] for k in range(3)]) for s in (1, 2)], ddof=1)
        for name in (BASE, "better", "equal")
    ]
    assert known == 3 and spread == pytest.approx(np.sqrt(np.mean(variances)))


def test_a_lead_keeps_its_sign_where_lower_is_better(tmp_path: Path) -> None:
    config = make_config(tmp_path, metric="log_loss")
    path = write_variants(tmp_path, {"better": {"train": {"lr": 1e-2}}})
    jobs, folds = variants.read(config, path, [1]), make_folds(config, pets(90))
    truth_NC = np.eye(3)[[(n // 3) % 3 for n in range(90)]]
    measured = {}
    for job in jobs:
        make_run(job.config, folds, (2.0 if job.variant == "better" else 0.5) * truth_NC, test=False)
        measured[job.variant] = {1: ablation_table.Evaluator(config, folds).score(job.config)}
    evaluator, (_, job) = ablation_table.Evaluator(config, folds), jobs
    row = evaluator.row(job.variant, job.changes, measured[BASE], measured["better"], {})
    assert row.score < measured[BASE][1].scores_K.mean()
    assert row.lead > 0 and row.interval.low > 0 and row.verdict == "better"


def test_one_command_trains_skips_and_goes_on(
    competition: Path, cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A learning rate near 0, a view more, and one whose loss is not finite; then once more, with another seed."""
    path = write_variants(
        tmp_path,
        {
            "slow": {"train": {"lr": 1e-7, "epochs": 1}},
            "views": {"tta": ["identity", "hflip"]},
            "wild": {"train": {"lr": 1e38, "clip_grad": None, "epochs": 1, "ema": False, "optimizer": "sgd"}},
        },
    )
    command = ("ablate", "-c", competition / "config.yaml", "--variants", path)
    done = cli(*command, "--seeds", "1", "--set", "folds.n=2")
    assert done.returncode == 6 and "not finite" in done.stderr, done.stderr
    runs_dir, folder = tmp_path / "runs", tmp_path / "runs" / "shapes-ideas"
    first = pd.read_csv(folder / "ablation.csv").set_index("variant")
    assert list(first.index) == [BASE, "slow", "views", "wild"]
    assert "failed: seed 1" in first.loc["wild", "verdict"] and np.isnan(first.loc["wild", "score"])
    assert first.loc["slow", "lead"] == pytest.approx(first.loc["slow", "score"] - first.loc[BASE, "score"])
    assert first.loc["slow", "lead"] < 0, "what learns nothing must score less than what learns"
    leads = [first.loc["slow", f"lead_fold{k}"] for k in range(2)]
    assert np.mean(leads) == pytest.approx(first.loc["slow", "lead"])
    assert "weights of shapes-base-s1" in done.stdout
    assert (runs_dir / "shapes-views-s1/fold0/model.safetensors").read_bytes() == (
        runs_dir / "shapes-base-s1/fold0/model.safetensors"
    ).read_bytes()
    assert load([runs_dir / "shapes-views-s1/config.yaml"]).tta == ["identity", "hflip"]

    kept = {file: os.stat(file).st_mtime_ns for file in runs_dir.glob("shapes-*-s1/fold*/valid.npz")}
    assert len(kept) == 6
    fewer = yaml.safe_load(path.read_text())
    del fewer["wild"]
    write_variants(tmp_path, fewer)
    config = load([competition / "config.yaml"], ["folds.n=2"])
    ablation.run(config, path, [1, 2])
    assert {file: os.stat(file).st_mtime_ns for file in kept} == kept, "what was finished was made again"
    second = pd.read_csv(folder / "ablation.csv").set_index("variant")
    assert list(second["seeds"].astype(str)) == ["1 2"] * 3
    assert second.loc["slow", "lead_seed1"] == pytest.approx(first.loc["slow", "lead"])
    means = second.loc["slow", ["lead_seed1", "lead_seed2"]].astype(float).mean()
    assert second.loc["slow", "lead"] == pytest.approx(means)
    shown = (folder / "ablation.md").read_text()
    assert "`train: {lr: 1.0e-07, epochs: 1}`" in shown and "pooled over 3 variants" in shown
    assert json.loads((runs_dir / "shapes-slow-s2/stamps/train-fold0.json").read_text())["train.seed"] == 2

    own = load([runs_dir / "shapes-slow-s2/config.yaml"])
    train.run(own)  # an ordinary run, which goes on with its own config
    assert "fold 0: trained already" in capsys.readouterr().out

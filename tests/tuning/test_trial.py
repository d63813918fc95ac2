"""Hold what a trial is worth: its folds' mean, an estimate where it was pruned, a reason where it failed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from synthetic import CLASSES, make_config, make_folds, pets

from pipeline.batches.inputs import Inputs
from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.loading import dump
from pipeline.errors import MismatchError, Problem, SpaceError, TrainingError
from pipeline.files.atomic import write_text
from pipeline.files.tables import write_table
from pipeline.folds import fold_table
from pipeline.folds import stage as folds
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.metrics import METRICS
from pipeline.prediction.predictions import Predictions
from pipeline.tuning import fresh_seeds, outputs, trial, workers
from pipeline.tuning.study import default_url, opened
from pipeline.tuning.time_limit import Limit
from pipeline.tuning.trial_results import find_incumbent, fold_score
from pipeline.tuning.trial_states import kinds, ranked, reason

ROWS, EPOCHS = 180, 12
# What a label_smoothing stands for in the tests: how sure the predictions are of the truth.
SPACE = {"loss.label_smoothing": {"choice": [0.5, 0.8, 0.0, 0.1]}}
Run = Callable[..., list]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a study whose trials are as good as their label_smoothing, without training."""
    calls: list[tuple[float, int]] = []
    failing: dict[float, Exception] = {}

    def train(
        config: Config, fold_list: Sequence[int] = range(3), watch: Callable[..., None] = lambda *_: None, **_: object
    ) -> None:
        for fold in fold_list:
            train_fold(config, fold, watch)

    def train_fold(config: Config, fold: int, watch: Callable[..., None]) -> None:
        quality, folder = config.loss.label_smoothing, config.run_dir / f"fold{fold}"
        calls.append((quality, fold))
        if quality in failing:
            raise failing[quality]
        write_text(config.run_dir / "config.yaml", dump(config))
        fingerprints.stamp(config.run_dir, f"train-fold{fold}", {"images": run.images, "train.lr": 1})  # type: ignore[attr-defined]
        epochs = []
        for epoch in range(1, EPOCHS + 1):
            value = quality * (1 - math.exp(-epoch)) + 0.001 * (epoch % 2)
            epochs.append(SimpleNamespace(epoch=epoch, valid_metric=value, seconds=1.0))
            write_table(folder / "epochs.csv", pd.DataFrame([vars(one) for one in epochs]))
            watch(fold, epochs)

    def predict(config: Config, fold_list: Sequence[int] = range(3), parts: Sequence[str] = (), **_: object) -> None:
        assert tuple(parts) == ("valid",)
        for fold in fold_list:
            predict_fold(config, fold_table.read(config), fold)

    def predict_fold(config: Config, table: FoldTable, fold: int) -> None:
        rng = np.random.default_rng([fold, 7])
        numbers = rng.permutation(np.flatnonzero(table.fold == fold))
        right = rng.uniform(size=len(numbers)) < config.loss.label_smoothing + 0.1 * fold - 0.1  # fold 2 is easier
        truth = np.array([CLASSES.index(name) for name in table.targets["label"].iloc[numbers]])
        probs = np.eye(3, dtype=np.float32)[np.where(right, truth, (truth + 1) % 3)]
        meta = {"fold_hash": table.fold_hash}
        made = Predictions(table.ids[numbers], ("identity", "hflip"), CLASSES, np.stack([probs, probs], 1), meta)
        made.save(config.run_dir / f"fold{fold}" / "valid.npz")

    monkeypatch.setattr(trial.train, "run", train)
    monkeypatch.setattr(trial.predict, "run", predict)
    monkeypatch.setattr(workers, "PATIENCE", 0.0)
    monkeypatch.setattr(workers, "free_memory", lambda: None)  # nothing was trained; collecting garbage takes a second

    def run(trials: int, fails: dict[float, Exception] | None = None, **changes: object) -> list:
        failing.clear()
        failing.update(fails or {})
        settings = {"train__epochs": EPOCHS, "loss__label_smoothing": 0.8, "tune__space": SPACE, **changes}
        config = make_config(tmp_path, studies_dir=str(tmp_path / "studies"), **settings)
        if not config.folds_path.is_file():
            make_folds(config, pets(ROWS))
        with opened(config, default_url(config)) as setup:
            run.setup = setup  # type: ignore[attr-defined]
            if not setup.trials and "tune__space" not in changes:
                setup.study.enqueue_trial({"loss.label_smoothing": 0.8})
            workers.work(config, default_url(config), trials)
            # A space of four values is proposed again and again: what was tried already is left out.
            return [one for one in setup.study.trials if kinds(setup.trials)[one.number] != "skipped"]

    run.calls, run.images = calls, "those"  # type: ignore[attr-defined]
    return run


def quality(of: object) -> float:
    return float(of.params["loss.label_smoothing"])  # type: ignore[attr-defined]


def test_the_value_is_the_mean_over_folds(study: Run) -> None:
    first = study(1)[0]
    scores = [first.user_attrs["scores"][str(fold)] for fold in range(3)]
    assert first.value == pytest.approx(np.mean(scores)) and 0.6 < first.value < 0.95
    assert first.intermediate_values == dict(enumerate(scores))
    assert first.user_attrs["seconds"] == 3 * EPOCHS
    assert scores[0] < scores[2]


def test_trials_on_other_images_are_refused_until_the_first_ones_are_back(study: Run) -> None:
    study(1)
    study.images = "others"  # type: ignore[attr-defined]
    with pytest.raises(MismatchError, match=r"trained on other data(.|\n)*images: 'those' -> 'others'"):
        study(2)
    done = [one for one in study.setup.study.trials if one.state.name == "COMPLETE"]  # type: ignore[attr-defined]
    assert len(done) == 1
    folders = {path.parent.name for path in study.setup.config.study_dir.glob("trial-*/fold*")}  # type: ignore[attr-defined]
    assert folders == {done[0].user_attrs["settings"]}
    study.images = "those"  # type: ignore[attr-defined]
    assert len([one for one in study(2) if one.state.name == "COMPLETE"]) == 2


def test_a_raced_trial_has_the_incumbents_mean_and_its_paired_difference(study: Run) -> None:
    found = {quality(one): one for one in study(4, tune__epoch_rule=False)}
    best, worse = found[0.8], found[0.5]
    assert "after fold 0: behind trial-" in reason(worse) and list(worse.intermediate_values) == [0]
    paired = worse.user_attrs["scores"]["0"] - best.user_attrs["scores"]["0"]
    assert worse.value == pytest.approx(best.value + paired)
    assert worse.value != pytest.approx(worse.user_attrs["scores"]["0"])  # fold 0 is the hardest
    assert set(kinds(list(found.values())).values()) == {"complete", "pruned"}
    assert [quality(one) for one in ranked(list(found.values()), 1)] == [0.8]
    assert [fold for rate, fold in study.calls if rate == 0.5] == [0]  # type: ignore[attr-defined]


def test_the_epoch_rule_ends_a_fold(study: Run) -> None:
    found = {quality(one): one for one in study(4)}
    hopeless = found[0.0]
    assert "fold 0: curve out of reach of trial-" in reason(hopeless) and not hopeless.intermediate_values
    assert hopeless.user_attrs["seconds"] < EPOCHS
    assert hopeless.value < found[0.8].value - 0.5


def test_without_pruning_every_trial_has_all_folds(study: Run) -> None:
    found = study(4, tune__pruner="none", tune__epoch_rule=False)
    assert [len(one.intermediate_values) for one in found] == [3] * 4
    assert set(kinds(found).values()) == {"complete"}


def test_optunas_pruners_are_asked_by_fold(study: Run) -> None:
    found = {quality(one): one for one in study(4, tune__pruner="wilcoxon", tune__epoch_rule=False)}
    pruned = [one for one in found.values() if "pruned" in one.user_attrs]
    assert all(one.value < found[0.8].value for one in pruned)
    assert all(reason(one).endswith("wilcoxon") for one in pruned)


def test_two_objectives_are_score_and_time_and_never_pruned(study: Run) -> None:
    found = study(4, tune__objectives=["score", "time"])
    assert [one.values[1] for one in found] == [3 * EPOCHS] * 4
    assert set(kinds(found).values()) == {"complete"}


def test_a_subset_of_folds_is_raced_in_its_order(study: Run) -> None:
    first = study(1, tune__folds=[2, 0])[0]
    assert study.calls == [(0.8, 2), (0.8, 0)]  # type: ignore[attr-defined]
    assert sorted(first.user_attrs["scores"]) == ["0", "2"]


def test_a_failing_trial_has_its_reason_and_the_study_goes_on(study: Run) -> None:
    memory = RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
    fails = {
        0.5: TrainingError(Problem("fold 0", "the loss is not finite")),
        0.0: memory,
        0.1: AssertionError("height (33)"),
    }
    found = {quality(one): one for one in study(4, fails=fails)}
    assert reason(found[0.5]) == "fold 0: the loss is not finite"
    assert reason(found[0.0]).startswith("out of memory; lower train.batch_size")
    assert reason(found[0.1]) == "AssertionError: height (33)"
    assert list(kinds(list(found.values())).values()).count("failed") == 3 and len(found) == 4
    assert workers._reason(MemoryError()).startswith("the machine ran out of memory")


def test_nothing_but_failures_ends_the_study(study: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MOST_FAILURES", 2)
    broken = dict.fromkeys([0.5, 0.8, 0.0, 0.1], TrainingError(Problem("", "no such image")))
    with pytest.raises(TrainingError, match="2 trials in a row failed and none is finished; the last one: no such"):
        study(4, fails=broken)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), MismatchError(Problem("", "another run lies there"))])
def test_what_is_no_fault_of_the_settings_gives_the_trial_back(study: Run, stop: BaseException) -> None:
    with pytest.raises(type(stop)):
        study(1, fails={0.8: stop})  # type: ignore[dict-item]
    found = study(1)
    assert list(kinds(found).values()) == ["retried", "complete"]
    assert quality(found[0]) == quality(found[1]) == 0.8


def test_a_database_that_is_away_fails_no_trial(study: Run) -> None:
    from optuna.exceptions import StorageInternalError
    from sqlalchemy import create_engine, text

    with pytest.raises(SpaceError, match="server closed the connection"):
        study(1, fails={0.8: StorageInternalError("server closed the connection")})
    engine = create_engine(default_url(study.setup.config))  # type: ignore[attr-defined]
    with engine.begin() as connection:  # its last heartbeat was long ago
        connection.execute(text("UPDATE trial_heartbeats SET heartbeat = '2000-01-01 00:00:00'"))
    engine.dispose()
    found = study(1)
    assert list(kinds(found).values()) == ["retried", "complete"] and quality(found[1]) == 0.8


def test_a_trial_whose_worker_was_taken_for_dead_goes_on(study: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a computer's sleep: somebody else has failed the trial while it ran."""
    from optuna.trial import TrialState

    slept: list[int] = []

    def asleep(config: Config, table: FoldTable, fold: int) -> float:
        if not slept:
            slept.append(fold)
            study.setup.study.tell(0, state=TrialState.FAIL)  # type: ignore[attr-defined]
        return fold_score(config, table, fold)

    monkeypatch.setattr(trial, "fold_score", asleep)
    found = study(1)
    assert list(kinds(found).values()) == ["retried", "complete"] and quality(found[1]) == 0.8


def test_the_incumbent_is_read_over_its_own_views(study: Run) -> None:
    study(1)
    setup = study.setup  # type: ignore[attr-defined]
    others = replace(setup, config=setup.config.model_copy(update={"tta": ["identity"]}))
    incumbent = find_incumbent(others)
    assert incumbent is not None and incumbent.config.tta == ["identity", "hflip"]
    assert incumbent.scores[0] == fold_score(incumbent.config, setup.table, 0)


def test_fresh_seeds_and_folds_are_trained_once_each(study: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inputs, "competition", lambda *_: None)
    monkeypatch.setattr(folds, "run", lambda config, competition: make_folds(config, pets(ROWS)))
    for seeds, others in ((1, None), (3, None), (3, 7), (3, 7)):
        study(1, tune__fresh_seeds=seeds, tune__fresh_folds=others)
        setup = study.setup  # type: ignore[attr-defined]
        fresh_seeds.run(setup)
    assert study.calls == [(0.8, fold) for _ in range(5) for fold in range(3)]  # type: ignore[attr-defined]
    lines = fresh_seeds.summary(setup)
    assert "the best of 1: optimistic" in lines[1] and "3 fresh seeds" in lines[2]
    assert lines[3].startswith("  fresh folds, seed 7")
    tables = sorted(path.name for path in setup.config.study_dir.glob("f*"))
    assert len([name for name in tables if name.endswith("-f7")]) == 1 and "folds-7" in tables


def test_the_winner_is_not_trained_again_where_no_time_is_left(
    study: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study(1)
    setup = study.setup  # type: ignore[attr-defined]
    calls = len(study.calls)  # type: ignore[attr-defined]
    monkeypatch.setattr(fresh_seeds, "fold_seconds", lambda _: 10.0)
    fresh_seeds.run(setup, Limit.of(20))
    assert len(study.calls) == calls and "no time is left to train the winner again" in capsys.readouterr().out  # type: ignore[attr-defined]
    assert "not trained again yet" in fresh_seeds.summary(setup)[-1]
    fresh_seeds.run(setup, Limit.of(3600))
    assert len(study.calls) > calls  # type: ignore[attr-defined]


def test_no_importance_is_drawn_where_all_trials_score_alike_and_it_is_said(study: Run) -> None:
    space = {"train.weight_decay": {"choice": [0.01, 0.02]}}
    study(2, tune__space=space, tune__pruner="none", tune__epoch_rule=False, tune__sampler="random")
    setup = study.setup  # type: ignore[attr-defined]
    assert "importance.png" not in {path.name for path in outputs.write(setup)}
    assert any("importance.png is not drawn: the 2 trials" in line for line in outputs.summary(setup))


def test_the_table_and_the_overlay_say_what_was_found(study: Run) -> None:
    study(4, tune__epoch_rule=False)
    setup = study.setup  # type: ignore[attr-defined]
    table = outputs.table(setup)
    assert table["trial"].tolist() == [0, 1, 2, 3] and table["state"].tolist().count("pruned") == 3
    assert table["value"].max() == table["value"][0] and table["loss.label_smoothing"][0] == 0.8
    written = {path.name for path in outputs.write(setup)}
    assert written == {"trials.csv", "best.yaml", "history.png", "importance.png", "slice.png"}
    text = (setup.config.study_dir / "best.yaml").read_text()
    assert "label_smoothing: 0.8" in text and "The best of 4 trials" in text
    assert any("the config's own values: the best is +0.0000 better" in line for line in outputs.summary(setup))


def test_a_metric_that_should_fall_is_minimised(study: Run) -> None:
    found = study(2, metric="log_loss", tune__pruner="none", tune__epoch_rule=False)
    assert not METRICS["log_loss"].greater_is_better
    best = ranked(found, -1)[0]
    assert best.value == min(one.value for one in found) and quality(best) == 0.8

"""Hold what a trial is worth: its folds' mean, an estimate where it was pruned, a reason where it failed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from synthetic import CLASSES, make_config, make_folds

from pipeline.contracts import foldtable
from pipeline.contracts.artifacts import Predictions, write_table, write_text
from pipeline.contracts.config import Config, dump
from pipeline.contracts.errors import MismatchError, TrainingError
from pipeline.parts.metrics import METRICS
from pipeline.stages.tune import outputs, storage, trial, worker
from pipeline.stages.tune.rows import Setup
from pipeline.stages.tune.standing import kinds, ranked, reason

ROWS, EPOCHS = 180, 12
# What a label_smoothing stands for in the tests: how sure the predictions are of the truth.
SPACE = {"loss.label_smoothing": {"choice": [0.5, 0.8, 0.0, 0.1]}}
Run = Callable[..., list]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a study whose trials are as good as their label_smoothing, without training."""
    calls: list[tuple[float, int]] = []
    failing: dict[float, Exception] = {}

    def train(config: Config, fold_list: Sequence[int], watch: Callable[..., None]) -> None:
        quality, folder = config.loss.label_smoothing, config.run_dir / f"fold{fold_list[0]}"
        calls.append((quality, fold_list[0]))
        if quality in failing:
            raise failing[quality]
        write_text(config.run_dir / "config.yaml", dump(config))
        epochs = []
        for epoch in range(1, EPOCHS + 1):
            value = quality * (1 - math.exp(-epoch)) + 0.001 * (epoch % 2)
            epochs.append(SimpleNamespace(epoch=epoch, valid_metric=value, seconds=1.0))
            write_table(folder / "epochs.csv", pd.DataFrame([vars(one) for one in epochs]))
            watch(fold_list[0], epochs)

    def predict(config: Config, fold_list: Sequence[int], parts: Sequence[str]) -> None:
        assert tuple(parts) == ("valid",)
        table, fold = foldtable.read(config), fold_list[0]
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
    monkeypatch.setattr(worker, "PATIENCE", 0.0)

    def run(trials: int, fails: dict[float, Exception] | None = None, **changes: object) -> list:
        failing.clear()
        failing.update(fails or {})
        settings = {"train__epochs": EPOCHS, "loss__label_smoothing": 0.8, "tune__space": SPACE, **changes}
        config = make_config(tmp_path, studies_dir=str(tmp_path / "studies"), **settings)
        if not config.folds_path.is_file():
            make_folds(config, pd.DataFrame({"label": [CLASSES[(n // 3) % 3] for n in range(ROWS)]}))
        table, opened = foldtable.read(config), storage.open_storage(storage.default_url(config))
        try:
            made = storage.open_study(config, opened, storage.identity(config, table))
            run.setup = Setup(config, table, made)  # type: ignore[attr-defined]
            if not made.trials:
                made.enqueue_trial({"loss.label_smoothing": 0.8})
            worker.work(config, storage.default_url(config), trials)
            # A space of four values is proposed again and again: what was tried already is left out.
            return [one for one in made.trials if kinds(made.trials)[one.number] != "skipped"]
        finally:
            storage.close(opened)

    run.calls = calls  # type: ignore[attr-defined]
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


def test_a_raced_trial_has_the_rivals_mean_and_its_paired_difference(study: Run) -> None:
    found = {quality(one): one for one in study(4, tune__epoch_rule=False)}
    best, worse = found[0.8], found[0.5]
    assert "after fold 0: behind trial-" in reason(worse) and list(worse.intermediate_values) == [0]
    paired = worse.user_attrs["scores"]["0"] - best.user_attrs["scores"]["0"]
    assert worse.value == pytest.approx(best.value + paired)
    assert worse.value != pytest.approx(worse.user_attrs["scores"]["0"])  # fold 0 is the hardest
    assert set(kinds(list(found.values())).values()) == {"complete", "pruned"}
    assert [quality(one) for one in ranked(list(found.values()), True)] == [0.8]
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


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TrainingError("fold 0: the training loss is not finite"), "fold 0: the training loss is not finite"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"), "out of memory; lower train.batch_size"),
        (MemoryError(), "out of memory; lower train.batch_size"),
        (AssertionError("Input height (33) doesn't match model (32)"), "AssertionError: Input height (33)"),
    ],
)
def test_a_failing_trial_has_its_reason_and_the_study_goes_on(study: Run, error: Exception, said: str) -> None:
    found = {quality(one): one for one in study(4, fails={0.5: error})}
    assert reason(found[0.5]).startswith(said)
    assert list(kinds(list(found.values())).values()).count("failed") == 1
    assert len(found) == 4


def test_nothing_but_failures_ends_the_study(study: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "TOO_MANY", 2)
    broken = dict.fromkeys([0.5, 0.8, 0.0, 0.1], TrainingError("no such image"))
    with pytest.raises(TrainingError, match="2 trials in a row failed and none is finished; the last one: no such"):
        study(4, fails=broken)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), MismatchError("another run lies there")])
def test_what_is_no_fault_of_the_settings_gives_the_trial_back(study: Run, stop: BaseException) -> None:
    with pytest.raises(type(stop)):
        study(1, fails={0.8: stop})  # type: ignore[dict-item]
    found = study(1)
    assert list(kinds(found).values()) == ["retried", "complete"]
    assert quality(found[0]) == quality(found[1]) == 0.8


def test_the_table_and_the_overlay_say_what_was_found(study: Run) -> None:
    study(4, tune__epoch_rule=False)
    setup = study.setup  # type: ignore[attr-defined]
    from pipeline.contracts.space import read

    space = read(setup.config)
    table = outputs.table(setup, space, setup.study.get_trials(deepcopy=False))
    assert table["trial"].tolist() == [0, 1, 2, 3] and table["state"].tolist().count("pruned") == 3
    assert table["value"].max() == table["value"][0] and table["loss.label_smoothing"][0] == 0.8
    written = {path.name for path in outputs.write(setup, space)}
    assert written == {"trials.csv", "best.yaml", "history.png", "importance.png", "slice.png"}
    text = (setup.config.study_dir / "best.yaml").read_text()
    assert "label_smoothing: 0.8" in text and "The best of 4 trials" in text
    assert any("the config's own values: the best is +0.0000 better" in line for line in outputs.summary(setup, space))


def test_a_metric_that_should_fall_is_minimised(study: Run) -> None:
    found = study(2, metric="log_loss", tune__pruner="none", tune__epoch_rule=False)
    assert not METRICS["log_loss"].greater_is_better
    best = ranked(found, False)[0]
    assert best.value == min(one.value for one in found) and quality(best) == 0.8

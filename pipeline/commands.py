"""List the commands: what each is for, which module does it, and how that is called; none is imported before."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Command(NamedTuple):
    """Say what a command is for, which module does it, and how that is called."""

    help: str
    module: str
    call: Callable[[Any, Any, argparse.Namespace], object]  # the module, the config, the command line
    config: bool = True  # it is about one config, named by -c
    measures: str = ""  # in studies/announcing.py, which says at once what


def _run(run: Any, config: Any, given: argparse.Namespace) -> None:
    if given.dry:
        from pipeline.studies.dry import describe

        print(describe(config, given.fold, given.force))
    else:
        run.run(config, given.fold, given.force)


def _predict(predict: Any, config: Any, given: argparse.Namespace) -> None:
    if given.source is None:
        predict.run(config, given.fold)
    else:
        from pipeline.prediction.new_images import predict_new

        predict_new(Path(given.source), given.test, Path(given.out or "predictions.csv"), given.set)


def _freeze(folds: Any, config: Any, given: argparse.Namespace) -> None:
    from pipeline.batches.seen import load

    folds.run(config, given.force, load(config))


def _learn(run: Any, config: Any, given: argparse.Namespace) -> None:
    from pipeline.machine import processes
    from pipeline.scoring.optimism import beside_teacher
    from pipeline.studies.distilling import write_overlay

    if processes.is_main():
        overlays = " ".join(f"-c {name}" for name in [*given.config, write_overlay(config, given.command)])
        print(f"student {config.run_dir.name}: any command takes it as {overlays}", flush=True)
    run.run(config, given.fold, given.force)
    if processes.is_main():
        print("\n".join(beside_teacher(config, given.command, given.fold is None)))


COMMANDS = {
    "run": Command("every stage, skipping what is finished", "run", _run, measures="dry"),
    "check": Command(
        "find every defect of the input and fill the image cache",
        "checking.stage",
        lambda check, config, given: check.run(config, not given.no_images, looked=given.looked),
    ),
    "folds": Command(
        "assign folds and freeze them",
        "folds.stage",
        _freeze,
    ),
    "train": Command(
        "train one model per fold",
        "training.stage",
        lambda train, config, given: train.run(config, given.fold, given.force),
    ),
    "predict": Command("predict validation and test rows with all fold models and views", "prediction.stage", _predict),
    "score": Command(
        "write out-of-fold predictions and their scores",
        "scoring.stage",
        lambda score, config, given: score.run(config, given.partial),
    ),
    "ensemble": Command(
        "blend members and write the submission", "blending.stage", lambda blend, config, _: blend.run(config)
    ),
    "report": Command("draw report.html", "report.stage", lambda report, config, _: report.run(config)),
    "verify": Command(
        "hash and compute a run again, and say VERIFIED or what does not match",
        "verifying.stage",
        lambda verify, _, given: verify.run(
            given.verified, Path(given.runs_dir), given.set, with_data=not given.no_data
        ),
        config=False,
    ),
    "tune": Command(
        "search the config with Optuna, fold by fold",
        "tuning.stage",
        lambda tune, config, given: tune.main(config, given),
    ),
    "distill": Command("train a student on labels and another run's out-of-fold predictions", "run", _learn),
    "pseudo": Command("train a student on further images that another run labels", "run", _learn),
    "ablate": Command(
        "train variants of the config, and tell which make a significant difference",
        "studies.ablation",
        lambda ablation, config, given: ablation.run(config, Path(given.variants), given.seeds or ()),
    ),
    "leaderboard": Command(
        "list runs beside their leaderboard scores; `add RUN` enters one",
        "scoring.leaderboard",
        lambda leaderboard, _, given: leaderboard.main(given),
        config=False,
    ),
    "diff": Command(
        "compare two runs: their configs, and their scores fold by fold",
        "scoring.diff",
        lambda diff, _, given: diff.run(given.runs, Path(given.runs_dir), given.set),
        config=False,
    ),
    "init": Command(
        "look at a competition's folder and write a first config",
        "starting.init",
        lambda init, _, given: init.run(given.folder, Path(given.out) if given.out else None),
        config=False,
    ),
    "summary": Command(
        "list the network's stages: shapes, parameters, multiply-adds",
        "models.summary",
        lambda summary, config, _: print("\n".join(summary.run(config))),
    ),
    "bench": Command(
        "measure where the time goes",
        "studies.bench",
        lambda bench, config, given: bench.main(config, given.json),
        measures="bench",
    ),
    "example": Command(
        "write an example competition: digits or elpv",
        "starting.example",
        lambda example, _, given: example.run(given.name, Path(given.root or f"data/{given.name}")),
        config=False,
    ),
}

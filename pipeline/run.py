"""Run every stage in order; each one skips what is finished."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.batches.inputs import Inputs
from pipeline.blending import stage as ensemble
from pipeline.checking import stage as check
from pipeline.config.config import Config
from pipeline.folds import stage as folds
from pipeline.machine import processes
from pipeline.prediction import stage as predict
from pipeline.report import stage as report
from pipeline.scoring import stage as score
from pipeline.starting import example
from pipeline.training import stage as train


def run(config: Config, only: Sequence[int] | None = None, force: bool = False) -> Path:
    """Run the pipeline and return the run's folder; with some folds only, stop after a partial score."""
    inputs = Inputs()
    stages: list[tuple[str, Callable[[], object], bool]] = [  # name, work, whether all processes take part
        ("check", lambda: check.run(config, inputs=inputs), False),
        ("folds", lambda: folds.run(config, force=False, competition=inputs.competition(config)), False),
        ("train", lambda: train.run(config, only, force, inputs=inputs), True),
        ("predict", lambda: predict.run(config, only, inputs=inputs), True),
        ("score", lambda: score.run(config, partial=only is not None), False),
    ]
    if only is None:
        stages += [
            ("ensemble", lambda: ensemble.run(config), False),
            ("report", lambda: _report(config, inputs), False),
        ]
    times = [_timed(*stage) for stage in stages]
    if processes.is_main():
        print(
            "── times " + "  ".join(f"{stage[0]} {seconds:.1f} s" for stage, seconds in zip(stages, times, strict=True))
        )
        print(f"total {sum(times):.0f} s; results in {config.run_dir}")
    return config.run_dir


def _report(config: Config, inputs: Inputs) -> None:
    """Score the held-back labels where there are any, then draw the report, which shows that score too."""
    example.held_back(config)
    report.run(config, inputs.competition(config))


def _timed(name: str, work: Callable[[], object], together: bool) -> float:
    """Do one stage's work and return its seconds; the other processes wait where only the main one works."""
    begin = time.perf_counter()
    if processes.is_main():
        print(f"── {name}", flush=True)
    if together or processes.is_main():
        work()
    processes.barrier()
    return time.perf_counter() - begin

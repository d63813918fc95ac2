"""Verify a run: hash its files, compute what follows from them again, and say VERIFIED, or what does not match."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import InputError, MismatchError, Problem
from pipeline.prediction.oof import find_run
from pipeline.verifying import data, recomputed, run_files
from pipeline.verifying.findings import Findings
from pipeline.verifying.run_files import Run

SIGNS = ("fold*/*", "stamps/*.json", "scores.json", "ensemble.json")  # of a run's folder


def run(name: str, runs_dir: Path, settings: Sequence[str] = (), *, with_data: bool = True) -> None:
    """Print a line for each thing that was verified, and VERIFIED where nothing differs.

    What is not there cannot be verified and is named behind VERIFIED: the competition's data, the fold table or
    members of a run that was copied, hashes of a run of an earlier version. `settings` say where these are now.
    Nothing is written. Raises MismatchError with all that does not match.
    """
    begin, findings = time.perf_counter(), Findings()
    folder = find_run(name, runs_dir, "verify")
    if not any(path for pattern in SIGNS for path in folder.glob(pattern)):
        raise InputError(Problem(f"verify {name}", f"{folder} holds nothing of a run", "a run's folder"))
    _verify(Run(folder, findings, tuple(settings)), with_data, set())
    seconds = time.perf_counter() - begin
    print(f"{findings.verified} verified in {seconds:.1f} s, {len(findings.problems)} do not match")
    if findings.problems:
        raise MismatchError(*findings.problems)
    but = f" but for {'; '.join(findings.absent)}" if findings.absent else ""
    print(f"VERIFIED{but}")


def _verify(one: Run, with_data: bool, seen: set[Path]) -> None:
    """Verify a run, then those that its blend is made of."""
    seen.add(one.folder.resolve())
    run_files.read_config(one)
    run_files.read_stamps(one)
    if (config := one.config) is None:
        one.findings.not_there(one.folder, "what its config says")
        return
    data.folds(one, config)
    if with_data:
        data.read(one, config)
    else:
        one.findings.not_there(config.data.root, "left out by --no-data")
        one.inputs = None
    if (table := one.table) is None:
        return
    if not one.is_blend():
        from pipeline.verifying import fold_files  # it imports torch

        fold_files.verify(one, config, table)
    for folder in recomputed.verify(one, config, table):
        if folder.resolve() not in seen:
            _verify(Run(folder, one.findings, one.settings, reader=one.reader, inputs=one.inputs), with_data, seen)

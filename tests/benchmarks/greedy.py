"""Compare the greedy search with AutoGluon's EnsembleSelection on one input, alternating, in one run.

python tests/benchmarks/greedy.py [--metric roc_auc] [--members 100] [--rows 100000] [--classes 5] [--steps 50]
    [--rounds 2] [--autogluon PYTHON | --alone] [--json]

PYTHON is the interpreter of a virtual environment with autogluon.core; without it one is made in
runs/.autogluon. Each measurement is a process of its own that loads the same float32 members. Seconds are
those of the whole fit, an evaluation is one candidate of one step, and memory is the peak above the process
before it loaded the members, in multiples of the members' size.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / "runs" / ".autogluon"  # git ignores runs/
Side = Callable[[np.ndarray, np.ndarray, str, int], list[float]]


def make(folder: Path, members: int, rows: int, classes: int) -> None:
    """Write members that share errors, as networks on one set of images do: some are better than others."""
    rng = np.random.default_rng(0)
    truth_N = rng.integers(0, classes, rows)
    shared_NC = rng.standard_normal((rows, classes), dtype=np.float32)
    probs_MNC = np.lib.format.open_memmap(folder / "probs.npy", "w+", np.float32, (members, rows, classes))
    for m in range(members):
        logits_NC = shared_NC + rng.standard_normal((rows, classes), dtype=np.float32)
        logits_NC[np.arange(rows), truth_N] += rng.uniform(0.5, 2)
        odds_NC = np.exp(logits_NC * np.float32(rng.uniform(0.5, 2)))
        probs_MNC[m] = odds_NC / odds_NC.sum(1, keepdims=True)
    probs_MNC.flush()
    np.save(folder / "truth.npy", truth_N)


def foldline(probs_MNC: np.ndarray, truth_N: np.ndarray, metric: str, steps: int) -> list[float]:
    """Return the weights that the blender `greedy` finds."""
    from pipeline.methods.blenders import BLENDERS, Objective, greedy
    from pipeline.methods.metrics import METRICS

    greedy.STEPS = steps
    targets_NC = np.eye(probs_MNC.shape[2], dtype=np.float32)[truth_N]
    objective = Objective(targets_NC, METRICS[metric], True, np.zeros(len(truth_N), np.int64))
    return list(BLENDERS["greedy"].fit(probs_MNC, objective).weights_M)


def autogluon(probs_MNC: np.ndarray, truth_N: np.ndarray, metric: str, steps: int) -> list[float]:
    """Return the weights that EnsembleSelection finds; it wants one column where there are two classes."""
    from autogluon.core.metrics import get_metric
    from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection

    kind = "binary" if probs_MNC.shape[2] == 2 else "multiclass"
    search = EnsembleSelection(ensemble_size=steps, problem_type=kind, metric=get_metric(metric, kind))
    members = [probs_NC[:, 1] if kind == "binary" else probs_NC for probs_NC in probs_MNC]
    return list(search.fit(members, truth_N).weights_)


SIDES: dict[str, Side] = {"foldline": foldline, "autogluon": autogluon}


def measure(side: str, folder: Path, metric: str, steps: int) -> None:
    """Print seconds, memory and weights of one fit as JSON."""
    small_NC, few_N = np.full((3, 8, 2), 0.5, dtype=np.float32), np.arange(8) % 2
    small_NC[:, :, 1] = np.linspace(0.1, 0.8, 24).reshape(3, 8)
    small_NC[:, :, 0] = 1 - small_NC[:, :, 1]
    SIDES[side](small_NC, few_N, metric, 2)  # imports are not timed
    before = _resident()
    probs_MNC, truth_N = np.load(folder / "probs.npy"), np.load(folder / "truth.npy")
    begun = time.perf_counter()
    weights = SIDES[side](probs_MNC, truth_N, metric, steps)
    seconds = time.perf_counter() - begun
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / probs_MNC.nbytes
    print(json.dumps({"side": side, "seconds": seconds, "memory": memory, "weights": weights}))


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return each side's best time, time per evaluation, memory and score."""
    sys.path.insert(0, str(ROOT))
    pythons = {"foldline": sys.executable}
    if not arguments.alone:
        pythons["autogluon"] = arguments.autogluon or _environment()
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in pythons}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, arguments.members, arguments.rows, arguments.classes)
        for _ in range(arguments.rounds):
            for side, python in pythons.items():
                command = [python, __file__, "--side", side, str(folder), "--metric", arguments.metric]
                env = {**os.environ, "PYTHONPATH": str(ROOT)}
                done = subprocess.run(
                    [*command, "--steps", str(arguments.steps)], env=env, stdout=subprocess.PIPE, text=True, check=True
                )
                found[side].append(json.loads(done.stdout.splitlines()[-1]))
        scores = {
            side: _score(folder, arguments.metric, np.asarray(runs[0]["weights"])) for side, runs in found.items()
        }
    evaluations = arguments.members * arguments.steps
    report: dict[str, Any] = {
        key: getattr(arguments, key) for key in ("metric", "members", "rows", "classes", "steps", "rounds")
    }
    for side, runs in found.items():
        seconds = [run["seconds"] for run in runs]
        report[side] = {
            "seconds": seconds,
            "ms_per_evaluation": min(seconds) / evaluations * 1000,
            "memory": max(run["memory"] for run in runs),
            "score": scores[side],
            "members": int((np.asarray(runs[0]["weights"]) > 0).sum()),
        }
    if "autogluon" in report:
        report["times_faster"] = min(report["autogluon"]["seconds"]) / min(report["foldline"]["seconds"])
    return report


def _score(folder: Path, metric: str, weights: list[float]) -> float:
    from pipeline.methods.blenders import BLENDERS, Fit
    from pipeline.methods.metrics import METRICS

    probs_MNC, truth_N = np.load(folder / "probs.npy", mmap_mode="r"), np.load(folder / "truth.npy")
    blend_NC = BLENDERS["mean"].apply(Fit(np.asarray(weights)), probs_MNC, True)
    return METRICS[metric].score(np.eye(probs_MNC.shape[2])[truth_N], blend_NC, True)


def _resident() -> int:
    """Return this process's memory in bytes; its peak so far must not be above it by much."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _environment() -> str:
    """Return the Python of an environment with autogluon.core, made where there is none."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "autogluon.core"], check=True)
    return str(python)


def main() -> None:
    """Run the comparison, or one measurement of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metric", default="log_loss", choices=["log_loss", "roc_auc", "accuracy"])
    for name, count in {"members": 100, "rows": 100_000, "classes": None, "steps": 50, "rounds": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--autogluon", metavar="PYTHON", help="of an environment with autogluon.core")
    parser.add_argument("--alone", action="store_true", help="measure foldline only")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        return measure(arguments.side[0], Path(arguments.side[1]), arguments.metric, arguments.steps)
    arguments.classes = arguments.classes or (2 if arguments.metric == "roc_auc" else 5)
    report = compare(arguments)
    if arguments.json:
        return print(json.dumps(report, indent=2))
    print(
        f"{arguments.metric}, {arguments.members} members × {arguments.rows:,} rows × {arguments.classes} classes, "
        f"{arguments.steps} steps"
    )
    for side in SIDES:
        if side in report:
            row = report[side]
            print(
                f"{side:<10} {min(row['seconds']):8.2f} s {row['ms_per_evaluation']:9.3f} ms an evaluation, "
                f"memory {row['memory']:.2f} × the members, score {row['score']:.7f} with {row['members']} members"
            )
    if "times_faster" in report:
        print(f"foldline is {report['times_faster']:.0f} times as fast")


if __name__ == "__main__":
    main()

"""Score and blend predictions of very many classes, and print seconds and peak memory of each command.

python tests/benchmarks/wide.py [--rows 100000] [--classes 20000] [--top 100] [--members 2] [--folds 3]
    [--metric f1_macro] [--folder DIR]

The predictions are drawn, for the validated rows and as many test rows, under two views; few classes have most
of the rows. Each command is a process of its own, whose memory is the largest that the kernel saw.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
VIEWS = ("identity", "hflip")
BLOCK = 5000  # rows drawn at once
MORE = 1.5  # times the classes kept that are candidates of a row: members keep others of them
ROW, NOISE, TRUTH = 1.5, 0.7, 4.0  # of the logits: what a row's models share, what they do not, what the truth adds


def strides(classes: int) -> np.ndarray:
    """Return steps that reach every class before they come back to one."""
    steps = np.arange(1, min(classes, 2000))
    return steps[np.gcd(steps, classes) == 1]


def draw(truth_N: np.ndarray, rows_N: np.ndarray, classes: int, top: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the most probable classes and their probabilities; the candidates of a row are the same for all seeds."""
    kept, candidates = [], max(top + 1, int(top * MORE))
    rng, step = np.random.default_rng(seed), strides(classes)
    for start in range(0, len(truth_N), BLOCK):
        truth_B, row_B = truth_N[start : start + BLOCK], rows_N[start : start + BLOCK]
        offsets = np.arange(candidates) * step[row_B % len(step)][:, None]
        columns_BE = (truth_B[:, None] + offsets) % classes  # the first is the true one, all differ
        shared_BE = np.sin(row_B[:, None] * 12.9898 + np.arange(candidates) * 78.233)
        logits_BE = ROW * shared_BE + NOISE * rng.standard_normal(columns_BE.shape)
        logits_BE[:, 0] += TRUTH * (row_B % 4 > 0)
        order_BK = np.argsort(-logits_BE, axis=1)[:, :top]
        columns_BK = np.take_along_axis(columns_BE, order_BK, axis=1)
        odds_BE = np.exp(logits_BE - logits_BE.max(1, keepdims=True))
        probs_BK = np.take_along_axis(odds_BE / odds_BE.sum(1, keepdims=True), order_BK, axis=1)
        kept.append((columns_BK.astype(np.int32), probs_BK.astype(np.float32)))
    return np.concatenate([columns for columns, _ in kept]), np.concatenate([probs for _, probs in kept])


def make(folder: Path, asked: argparse.Namespace) -> list[Path]:
    """Write folds, sample and every member's predictions; return the members' configs and the blend's."""
    from pipeline.config import loading as configs
    from pipeline.files.atomic import write_text
    from pipeline.folds import fold_table
    from pipeline.prediction.predictions import Predictions

    rng = np.random.default_rng(0)
    share_C = 1 / (np.arange(asked.classes) + 10)
    truth_N = rng.choice(asked.classes, asked.rows, p=share_C / share_C.sum())
    truth_N[: min(asked.rows, asked.classes)] = np.arange(min(asked.rows, asked.classes))  # no class without rows
    truth_N = rng.permutation(truth_N)
    names = tuple(f"species {c:05d}" for c in range(asked.classes))
    ids = np.array([f"{n:06d}" for n in range(asked.rows)])
    test_ids = np.array([f"t{n:06d}" for n in range(asked.rows)])
    tree = {
        "name": "wide",
        "runs_dir": str(folder / "runs"),
        "folds_dir": str(folder / "folds"),
        "data": {"root": str(folder), "id": "id", "image": "{id}.jpg", "target": "species"},
        "model": {"name": "test_resnet", "pretrained": False},
        "tta": list(VIEWS),
        "metric": asked.metric,
    }
    config = configs.parse(tree, "wide")
    targets = pd.DataFrame({"species": np.asarray(names)[truth_N]})
    table = fold_table.FoldTable(ids, np.full(asked.rows, ""), targets, np.arange(asked.rows) % asked.folds)
    fold_table.write(config, table, {"fold_hash": table.fold_hash})
    pd.DataFrame({"id": test_ids, "species": names[0]}).to_csv(folder / config.data.sample_submission, index=False)
    for m in range(asked.members):
        run = config.model_copy(update={"run": f"member{m}"})
        write_text(run.run_dir / "config.yaml", configs.dump(run))
        for k in range(asked.folds):
            rows = np.flatnonzero(table.fold == k)
            parts = {"valid": (ids[rows], truth_N[rows], rows), "test": (test_ids, truth_N, np.arange(asked.rows))}
            for part, (own, truth, numbers) in parts.items():
                drawn = [draw(truth, numbers, asked.classes, asked.top, m * 100 + k * 10 + v) for v in range(2)]
                top_NVK, probs_NVK = (np.stack(both, axis=1) for both in zip(*drawn, strict=True))
                meta = {"run": f"member{m}", "fold": k, "fold_hash": table.fold_hash, "task": "multiclass"}
                made = Predictions(own, VIEWS, names, probs_NVK, meta, top_NVK)
                made.save(run.run_dir / f"fold{k}" / f"{part}.npz")
    tree["ensemble"] = {"members": [f"member{m}" for m in range(asked.members)]}
    blend = configs.parse({**tree, "run": "blend"}, "wide")
    write_text(blend.run_dir / "config.yaml", configs.dump(blend))
    return [folder / "runs" / name / "config.yaml" for name in (*tree["ensemble"]["members"], "blend")]


def measure(stage: str, config: Path) -> None:
    """Run a command in a process of its own and print what it took and said."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    begin, log = time.perf_counter(), config.with_name(f"{stage}.txt")
    with log.open("w") as out:
        child = subprocess.Popen([sys.executable, "-m", "pipeline", stage, "-c", str(config)], stdout=out, env=env)
        _, status, used = os.wait4(child.pid, 0)
    seconds, code = time.perf_counter() - begin, os.waitstatus_to_exitcode(status)
    took = f"{seconds:.0f} s ({used.ru_utime + used.ru_stime:.0f} s of a core)"
    print(f"{stage} {config.parent.name}: {took}, {used.ru_maxrss / 2**20:.2f} GB, exit {code}")
    print("".join(f"  {line}\n" for line in log.read_text().splitlines()), end="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 100_000), ("classes", 20_000), ("top", 100), ("members", 2), ("folds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--metric", default="f1_macro")
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as kept:
        folder = asked.folder or Path(kept)
        begin = time.perf_counter()
        *runs, blend = make(folder, asked)
        seconds = time.perf_counter() - begin
        print(f"{asked.rows:,} rows, {asked.classes:,} classes, drawn in {seconds:.0f} s", flush=True)
        for config in runs:
            measure("score", config)
        measure("ensemble", blend)
        rows = len(pd.read_csv(folder / "runs" / "blend" / "submission.csv"))
        print(f"submission.csv: {rows:,} rows")


if __name__ == "__main__":
    main()

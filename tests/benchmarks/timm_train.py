"""Time the whole job of all folds against timm's own train.py, once per fold, on this machine.

python tests/benchmarks/timm_train.py PATH_TO_TIMM_CHECKOUT [-c configs/elpv.yaml] [--epochs 1] [--json]

Same model, size, epochs, batch size, optimizer, learning rate, label smoothing, from random weights on both
sides. Foldline: `train` and `predict` in one process, as `run` does them (one view, of validation and test rows
by every fold model), with an empty image cache that it fills in the measured time. timm: its fastest flags on a
CPU with bf16; its own validation pass after each epoch counts as its prediction of the validation rows; the test
rows, which train.py cannot predict, are left to its inference.py with --with-test and reported apart. timm drops
each epoch's last, smaller batch (so --rows needs a --set train.batch_size below the rows of a fold), and trains
without EMA, whose second validation pass would only slow it. `--timm=--no-aug` takes its augmentation away.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.competition.competition import Competition
from pipeline.competition.competition import load as load_competition
from pipeline.config.config import Config
from pipeline.config.loading import dump, load
from pipeline.files.tables import write_table
from pipeline.folds import fold_table

ROOT = Path(__file__).resolve().parents[2]
STAGES = """
import os, sys
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line sets it
from pipeline.config.loading import load
from pipeline.prediction import stage as predict
from pipeline.training import stage as train
config = load(sys.argv[1:])
train.run(config)
predict.run(config)
"""
FAST = ["--device", "cpu", "--amp", "--amp-dtype", "bfloat16", "--channels-last", "-j", "2"]


def main() -> None:
    """Run both and print their times and the ratio."""
    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="timm-train-", dir=arguments.work) as name:
        work = Path(name)
        config = prepare(arguments, work)
        laps: list[dict[str, float]] = []
        for lap in range(arguments.repeat):  # alternating, as the machine's speed drifts
            laps.append(foldline(config, work / f"ours{lap}") | timm(arguments, config, work / f"timm{lap}"))
    seconds = {key: statistics.median(times[key] for times in laps) for key in laps[0]}
    result = {
        "config": [str(path) for path in arguments.config],
        "model": config.model.name,
        "size": config.model.size_hw,
        "epochs": config.train.epochs,
        "batch_size": config.train.batch_size,
        "precision": config.train.precision,
        "repeats": arguments.repeat,
        "seconds": {key: round(value, 2) for key, value in seconds.items()},
        "ratio": round(seconds["timm_train"] / seconds["foldline"], 3),
    }
    if arguments.with_test:
        result["ratio_with_test"] = round((seconds["timm_train"] + seconds["timm_test"]) / seconds["foldline"], 3)
    print(json.dumps(result) if arguments.json else "\n".join(f"{k}: {v}" for k, v in result.items()))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("timm", type=Path, help="a checkout of timm's repository")
    parser.add_argument("-c", "--config", action="append", help="default configs/elpv.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--size", type=int)
    parser.add_argument("--rows", type=int, help="only so many training and test rows, for a trial")
    parser.add_argument("--repeat", type=int, default=1, help="laps of both; medians are reported")
    parser.add_argument("--with-test", action="store_true", help="timm predicts the test, too")
    parser.add_argument("--timm", dest="more", action="append", default=[], help="a further flag for train.py")
    parser.add_argument("--work", type=Path, help="where to put the temporary folder")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.config = arguments.config or [str(ROOT / "configs/elpv.yaml")]
    if not (arguments.timm / "train.py").is_file():
        parser.error(f"{arguments.timm / 'train.py'}: missing, expected a checkout of timm")
    return arguments


def prepare(arguments: argparse.Namespace, work: Path) -> Config:
    """Write the config that is measured and its folds; with --rows, a small copy of the data first."""
    size = [] if arguments.size is None else [f"model.size={arguments.size}"]
    same = [f"train.epochs={arguments.epochs}", "model.pretrained=false", "tta=[identity]", "train.keep=last"]
    same += ["train.warmup_epochs=0"] if arguments.epochs == 1 else []
    places = [f"folds_dir={work / 'folds'}", f"runs_dir={work / 'runs'}", f"data.cache.dir={work / 'cache'}"]
    config = load(arguments.config, [*same, *size, *places, "data.solution=null", *arguments.set])
    if arguments.rows is not None:
        root = work / "data"
        copy_rows(config, load_competition(config), arguments.rows, root)
        config = config.model_copy(update={"data": config.data.model_copy(update={"root": str(root)})})
    (work / "config.yaml").write_text(dump(config))
    call([sys.executable, "-m", "pipeline", "folds", "-c", str(work / "config.yaml")])
    return config


def copy_rows(config: Config, full: Competition, rows: int, root: Path) -> None:
    """Write a competition of a few rows, drawn over all groups."""
    rng, data = np.random.default_rng(0), config.data
    train = np.sort(rng.permutation(len(full.ids))[:rows])
    test = np.sort(rng.permutation(len(full.test_ids))[:rows])
    source = Path(data.root).absolute()
    for (path,) in [full.images[i] for i in train] + [full.test_images[i] for i in test]:
        image = Path(path)
        target = root / image.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, target)
    kept = set(full.test_ids[test].tolist())
    write_table(root / data.tables[0], full.table.iloc[train])
    write_table(root / data.sample_submission, full.sample[full.sample[data.id].isin(kept)])
    if data.test is not None:
        from pipeline.files.tables import read_text_table

        table = read_text_table(source / data.test)
        write_table(root / data.test, table[table[data.id].isin(kept)])


def foldline(config: Config, work: Path) -> dict[str, float]:
    """Train and predict all folds with an empty cache; return the seconds."""
    work.mkdir()
    config = config.model_copy(update={"runs_dir": str(work / "runs")})
    cache = config.data.cache.model_copy(update={"dir": str(work / "cache")})
    config = config.model_copy(update={"data": config.data.model_copy(update={"cache": cache})})
    (work / "config.yaml").write_text(dump(config))
    return {"foldline": call([sys.executable, "-c", STAGES, str(work / "config.yaml")])}


def timm(arguments: argparse.Namespace, config: Config, work: Path) -> dict[str, float]:
    """Run train.py once per fold, and inference.py where asked; making the folders is not timed."""
    competition, table = load_competition(config), fold_table.read(config)
    classes = work / "classes.txt"
    work.mkdir()
    classes.write_text("\n".join(f"class{c}" for c in range(len(competition.classes))))
    image_of = {name: Path(path) for name, (path,) in zip(competition.ids.tolist(), competition.images, strict=True)}
    class_of = dict(zip(competition.ids.tolist(), competition.targets_NC.argmax(1).tolist(), strict=True))
    test = work / "test"
    test.mkdir()
    for name, (path,) in zip(competition.test_ids.tolist(), competition.test_images, strict=True):
        (test / f"{name}{Path(path).suffix}").symlink_to(path)
    height, width = config.model.size_hw
    shape = ["--model", config.model.name, "--num-classes", str(len(competition.classes))]
    shape += ["--input-size", "3", str(height), str(width)]
    seconds = {"timm_train": 0.0, "timm_test": 0.0}
    for k in range(table.n):
        folder = work / f"fold{k}"
        for split, ids in (("train", table.train_ids(k)), ("validation", table.valid_ids(k))):
            for name in ids.tolist():
                place = folder / split / f"class{class_of[name]}" / f"{name}{image_of[name].suffix}"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(image_of[name])
        recipe = training_flags(config, folder, classes, work / "out", k)
        seconds["timm_train"] += call(
            [sys.executable, str(arguments.timm / "train.py"), *shape, *recipe, *FAST, *arguments.more]
        )
        if arguments.with_test:
            weights = ["--checkpoint", str(work / "out" / str(k) / "last.pth.tar")]
            data = [
                "--data-dir",
                str(test),
                "--results-dir",
                str(work / "out"),
                "-b",
                str(config.predict.batch_size),
            ]
            seconds["timm_test"] += call(
                [sys.executable, str(arguments.timm / "inference.py"), *shape, *weights, *data, *FAST]
            )
    return seconds


def training_flags(config: Config, folder: Path, classes: Path, out: Path, fold: int) -> list[str]:
    """Return train.py's flags for the recipe of the config."""
    train = config.train
    flags: dict[str, Any] = {
        "data-dir": folder,
        "train-split": "train",
        "val-split": "validation",
        "class-map": classes,
        "batch-size": train.batch_size,
        "validation-batch-size": config.predict.batch_size,
        "epochs": train.epochs,
        "warmup-epochs": min(int(train.warmup_epochs), train.epochs - 1),
        "sched": "cosine",
        "opt": train.optimizer,
        "lr": train.lr,
        "weight-decay": train.weight_decay,
        "smoothing": config.loss.label_smoothing,
        "seed": train.seed,
        "output": out,
        "experiment": fold,
        "checkpoint-hist": 1,
        "log-interval": 10**6,
    }
    if train.clip_grad is not None:
        flags["clip-grad"] = train.clip_grad
    return [text for name, value in flags.items() for text in (f"--{name}", str(value))]


def call(command: list[str]) -> float:
    """Run a command and return its seconds; show its output where it fails."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "NO_ALBUMENTATIONS_UPDATE": "1",
    }
    print("  " + " ".join(command[1:4]), file=sys.stderr, flush=True)
    begun = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-4000:]}\nended with {done.returncode}")
    return seconds


if __name__ == "__main__":
    main()

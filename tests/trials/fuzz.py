"""Mutate every kind of file that is read, and run a command that reads it: no traceback, no hang, nothing lost.

    python tests/trials/fuzz.py --trials 5000 --jobs 2 --workplace FOLDER   # one again: --seed N --trials 1

Each trial copies a prepared competition by hard links, mutates one file as its seed says, and calls the command line
in a process forked from one that has imported everything. It must end within a minute, with an exit code that tells the
kind, without a traceback, without a half-written file, and with the user's own files as they were.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workplace import environment, prepare

ALLOWED = {0, 2, 3, 4, 5, 6}
SECONDS = 60
WRITTEN_IN_PLACE = re.compile(r"\.(db|sqlite|bin)$|lock$|index|\.db-|sqlite-")
CHECK, TABLES = "check -c config.yaml", "check -c config.yaml --no-images"
SCORE, BLEND, REPORT = "score -c config.yaml", "ensemble -c config.yaml", "report -c config.yaml"
PREDICT, VERIFY = "predict -c config.yaml", "verify runs/shapes"
NEW = "predict --from runs/shapes --test shapes/test.csv --set data.cache.dir=null"
DIFF, LIST, ADD = "diff shapes blend", "leaderboard", "leaderboard add runs/shapes --private 0.5"
MEMBERS = "ensemble -c config.yaml --set run=blend2 --members shapes mate"
STUDY = "tune -c config.yaml -c space.yaml --trials 2 --report"
TRAIN, HALF = "train -c config.yaml", "train -c config.yaml -c half.yaml --fold 0"
PICTURES = "check -c pictures.yaml"
READ = [SCORE, BLEND, REPORT, VERIFY, MEMBERS]


def table(name: str, key: str = "data.train") -> list[str]:
    """Return commands that read a table of another form."""
    return [f"{TABLES} --set {key}={name}", f"folds -c config.yaml --set name=other --set {key}={name}"]


KINDS: dict[str, tuple[str, list[str], int]] = {  # kind -> files, commands that read them, weight
    "config": ("config.yaml", [TABLES, SCORE, BLEND, f"{TABLES} --set run=x", "run -c config.yaml --dry"], 6),
    "overlay": ("overlay.yaml", [f"{TABLES} -c overlay.yaml", f"{SCORE} -c overlay.yaml"], 4),
    "variants": ("variants.yaml", ["ablate -c config.yaml --variants variants.yaml"], 1),
    "space": ("space.yaml", [STUDY], 3),
    "train.csv": ("shapes/train.csv", [TABLES, "folds -c config.yaml", CHECK, SCORE, PREDICT], 6),
    "tsv": ("shapes/train.tsv", table("train.tsv"), 3),
    "json": ("shapes/train.json", table("train.json"), 3),
    "jsonl": ("shapes/train.jsonl", table("train.jsonl"), 3),
    "parquet": ("shapes/train.parquet", table("train.parquet"), 3),
    "gz": ("shapes/train_gz.csv.gz", table("train_gz.csv"), 3),
    "zip": ("shapes/train_zip.zip", table("train_zip.csv"), 3),
    "coco": ("shapes/coco.json", [f"{TABLES} --set data.train=coco.json --set data.group=null --set name=coco"], 3),
    "test.csv": ("shapes/test.csv", [TABLES, NEW, PREDICT], 3),
    "sample": ("shapes/sample_submission.csv", [TABLES, BLEND, NEW], 4),
    "extra": ("shapes/extra.csv", [f"{TABLES} -c extra.yaml"], 3),
    "images": ("shapes/images/00*.png", [CHECK, NEW], 3),
    **{ending: (f"pictures/{ending}0.{ending}", [PICTURES], 3) for ending in ("png", "jpg", "gif", "bmp", "webp")},
    **{ending: (f"pictures/{ending}0.{ending}", [PICTURES], 3) for ending in ("tiff", "npy", "dcm")},
    "images.zip": ("pictures/more.zip", [PICTURES], 3),
    "stack": ("pictures/stack.np?", ["predict --from runs/shapes --test pictures/stack.npy", PICTURES], 2),
    "fold table": ("folds/shapes.csv", ["folds -c config.yaml", TABLES, *READ, PREDICT], 4),
    "fold report": ("folds/shapes.json", ["folds -c config.yaml", TABLES, SCORE, VERIFY], 4),
    "stamps": ("runs/shapes/stamps/*.json", [*READ, PREDICT, TABLES, TRAIN], 5),
    "run config": ("runs/shapes/config.yaml", [NEW, DIFF, LIST, ADD, MEMBERS, REPORT, VERIFY, SCORE], 4),
    "env": ("runs/shapes/env.json", [REPORT, VERIFY, DIFF, LIST, NEW], 2),
    "weights": ("runs/shapes/fold0/model.safetensors", [NEW, VERIFY, PREDICT, TRAIN], 4),
    "checkpoint": ("runs/half/fold0/state/*.safetensors", [HALF], 2),
    "half stamps": ("runs/half/stamps/*.json", [HALF], 1),
    "epochs": ("runs/*/fold0/epochs.csv", [REPORT, VERIFY, HALF], 2),
    "batch": ("runs/shapes/fold0/batch.npz", [REPORT, VERIFY], 2),
    "predictions": ("runs/shapes/fold?/*.npz", [*READ, PREDICT], 5),
    "oof and test": ("runs/shapes/*.csv", [*READ, DIFF], 5),
    "scores": ("runs/shapes/scores.json", [*READ, DIFF, LIST, ADD], 4),
    "blend": ("runs/shapes/ensemble.json", [BLEND, REPORT, VERIFY, LIST, NEW], 4),
    "blend weights": ("runs/shapes/weights.json", [BLEND, REPORT, VERIFY], 2),
    "check report": ("runs/shapes/check.json", [TABLES, REPORT, VERIFY], 2),
    "ledger": ("runs/leaderboard.csv", [LIST, ADD, REPORT], 3),
    "study": ("studies/shapes.db", [STUDY], 3),
    "study files": ("studies/shapes/*.*", [STUDY, f"{TABLES} -c studies/shapes/best.yaml"], 2),
    "cache": ("cache/*/*", [CHECK, CHECK, PREDICT], 4),
    "plugin": ("mine.py", [f"{SCORE} -c plugins.yaml --set run=shapes", "check -c config.yaml -c plugins.yaml"], 3),
    "member": ("mate/*.csv", [MEMBERS], 4),
}
SHORT = ("check", "folds")  # commands that need no trained run
SPECIAL = [
    "",
    "NaN",
    "nan",
    "inf",
    "-1e999",
    "9" * 400,
    "-1",
    "0",
    "1e-400",
    "null",
    "true",
    "[]",
    "{}",
    "'",
    '"',
    '""',
    "\x00",
]
SPECIAL += [
    "\x1b[31m",
    "\ufeff",
    "\u202e",
    "é" * 50,
    "x" * 100_000,
    "../../etc/passwd",
    "=1+1",
    "a\nb",
    "a,b,c",
    "\t",
    "~",
    "*a",
    "&a",
]
VALUE = re.compile(rb"[A-Za-z0-9_.+-]+")
TEXTS = {".csv", ".tsv", ".json", ".jsonl", ".yaml", ".py", ".log"}


@dataclass(frozen=True)
class Trial:
    """Say what one seed does: which file is mutated, and which command reads it."""

    seed: int
    kind: str
    file: str
    command: str


def plan(base: Path, seed: int) -> Trial:
    """Draw a kind, a file of it and a command by the seed."""
    draw = random.Random(seed)
    kind = draw.choices(list(KINDS), [weight for *_, weight in KINDS.values()])[0]
    pattern, commands, _ = KINDS[kind]
    files = sorted(str(path.relative_to(base)) for path in base.glob(pattern) if path.is_file())
    if not files:
        return Trial(seed, kind, "", "none")
    return Trial(seed, kind, draw.choice(files), draw.choice(commands))


def mutated(content: bytes, other: bytes, text: bool, seed: int) -> bytes:
    """Return other content, as hypothesis draws it from the seed."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    found: list[bytes] = []

    def one(draw: Any, content: bytes) -> bytes:
        size = len(content)
        at, length = draw(st.integers(0, size)), draw(st.integers(1, 64) | st.integers(1, max(1, size)))
        how = draw(
            st.sampled_from(["flip", "cut", "insert", "delete", "repeat", "splice", "bytes", "value", "value", "value"])
        )
        if how == "flip" and size:
            changed = bytearray(content)
            for place in draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=8)):
                changed[place] ^= 1 << draw(st.integers(0, 7))
            return bytes(changed)
        if how == "cut":
            return content[:at]
        if how == "insert":
            return content[:at] + draw(st.binary(min_size=1, max_size=64)) + content[at:]
        if how == "delete":
            return content[:at] + content[at + length :]
        if how == "repeat":
            return content[:at] + content[at : at + length] * 2 + content[at + length :]
        if how == "splice":
            return content[:at] + other[draw(st.integers(0, len(other))) :][:length] + content[at:]
        if how == "bytes":
            return content[:at] + draw(st.binary(min_size=1, max_size=16)) + content[at + 16 :]
        places = list(VALUE.finditer(content if text else content[:4096]))
        if not places:
            return b""
        place = places[draw(st.integers(0, len(places) - 1))]
        special = draw(st.sampled_from(SPECIAL) | st.text(max_size=20)).encode("utf-8", "surrogatepass")
        return content[: place.start()] + special + content[place.end() :]

    @seeded(seed)
    @settings(
        max_examples=3, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(st.data())
    def drawn(data: Any) -> None:
        made = content
        for _ in range(data.draw(st.integers(1, 3))):
            made = one(data.draw, made)
        found.append(b"" if data.draw(st.integers(0, 40)) == 40 else made)

    drawn()
    return found[-1]


def copied(base: Path, folder: Path) -> None:
    """Copy the prepared competition: hard links, but for what is written in place."""
    for path, folders, files in os.walk(base):
        below = folder / os.path.relpath(path, base)
        for name in folders:
            (below / name).mkdir(parents=True, exist_ok=True)
        below.mkdir(exist_ok=True)
        for name in files:
            (shutil.copy2 if WRITTEN_IN_PLACE.search(name) else os.link)(f"{path}/{name}", below / name)


def own_files(folder: Path, command: str) -> dict[str, tuple[int, int, int]]:
    """Return what identifies the user's own files, which no command may change; folds are made by one alone."""
    places = ["shapes", "pictures", "mate", *([] if command.startswith("folds") else ["folds"])]
    files = [path for place in places for path in (folder / place).rglob("*") if path.is_file()]
    files += [path for path in folder.iterdir() if path.suffix in (".yaml", ".py")]
    found = {}
    for path in files:
        status = path.stat()
        found[str(path.relative_to(folder))] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def child(folder: Path, trial: Trial, output: Path) -> int:
    """Mutate and run in a forked process; return the exit code."""
    os.setsid()
    stream = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    sys.__stdout__ = sys.stdout = os.fdopen(1, "w", errors="replace")  # twice: what is replaced would be closed
    sys.__stderr__ = sys.stderr = os.fdopen(2, "w", errors="replace")
    os.chdir(folder)
    from pipeline.cli import main

    try:
        return main(trial.command.split())
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1


def write_mutated(base: Path, folder: Path, trial: Trial) -> None:
    """Replace the trial's file by a mutated one."""
    path, draw = folder / trial.file, random.Random(trial.seed + 1)
    content = path.read_bytes()
    pattern = KINDS[draw.choice(list(KINDS))][0]
    others = sorted(other for other in base.glob(pattern) if other.is_file())
    other = others[0].read_bytes() if others else b""
    changed = mutated(content, other[:1_000_000], path.suffix in TEXTS, trial.seed)
    path.unlink()
    path.write_bytes(changed)


class Running:
    """Hold a trial that runs, and judge it when it has ended."""

    def __init__(self, base: Path, trial: Trial) -> None:
        self.base, self.trial, self.begin = base, trial, time.monotonic()
        self.home = Path(tempfile.mkdtemp(prefix="trial-", dir=base.parent))
        self.folder, self.output = self.home / "work", self.home / "output"
        self.folder.mkdir()
        copied(base, self.folder)
        write_mutated(base, self.folder, trial)
        self.before = own_files(self.folder, trial.command)
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                code = child(self.folder, trial, self.output)
                sys.stdout.flush()
                sys.stderr.flush()
            except BaseException as error:
                os.write(2, repr(error).encode())
            finally:
                os._exit(code)

    def ended(self) -> tuple[int, str] | None:
        """Return exit code and what is wrong, blank where nothing is; None while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        hangs = not pid and time.monotonic() - self.begin > SECONDS
        if not pid and not hangs:
            return None
        if hangs:
            os.killpg(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        said = self.output.read_text(errors="replace") if self.output.exists() else ""
        wrong = [f"hangs for {SECONDS} s"] if hangs else [] if code in ALLOWED else [f"exit {code}"]
        wrong += [word for word in ("Traceback (most", "internal error") if word in said]
        wrong += [
            f"left {path.name}"
            for path in self.folder.rglob(".*.part")
            if not (self.base / path.relative_to(self.folder)).exists()
        ]
        after = own_files(self.folder, self.trial.command)
        wrong += [f"changed {name}" for name in self.before if self.before[name] != after.get(name)]
        text = "; ".join(wrong)
        if wrong:
            text += "\n    " + "\n    ".join(line[:300] for line in said.splitlines()[-6:])
        return code, text

    def clear(self) -> None:
        """Remove the trial's folder, and end what it may have left running."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        shutil.rmtree(self.home, ignore_errors=True)


def warm() -> None:
    """Import what commands import, once, before forking."""
    import importlib
    import pkgutil

    import pipeline

    for module in pkgutil.walk_packages(pipeline.__path__, "pipeline."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in (
        "albumentations",
        "timm",
        "optuna",
        "matplotlib.pyplot",
        "pyarrow.parquet",
        "pydicom",
        "tifffile",
        "hypothesis",
    ):
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


def run(base: Path, seeds: list[int], jobs: int) -> list[tuple[Trial, int, str]]:
    """Run a trial for each seed, some at a time; return each with its exit code and what is wrong."""
    found: list[tuple[Trial, int, str]] = []
    running: list[Running] = []
    waiting = list(reversed(seeds))
    while waiting or running:
        while waiting and len(running) < jobs:
            running.append(Running(base, plan(base, waiting.pop())))
        for one in list(running):
            if (end := one.ended()) is not None:
                found.append((one.trial, *end))
                running.remove(one)
                one.clear()
                if end[1]:
                    print(f"seed {one.trial.seed}: {one.trial.file}: {one.trial.command}: {end[1]}", flush=True)
                if len(found) % 250 == 0:
                    print(f"{len(found)} of {len(seeds)}", flush=True)
        time.sleep(0.003)
    return found


def show(found: list[tuple[Trial, int, str]]) -> str:
    """Return a table of kinds and exit codes."""
    codes = sorted({code for _, code, _ in found})
    lines = ["| kind | " + " | ".join(map(str, codes)) + " | trials | wrong |", "|---|" + "---|" * (len(codes) + 2)]
    for kind in [*KINDS, "all"]:
        own = [one for one in found if kind in (one[0].kind, "all")]
        counts = Counter(code for _, code, _ in own)
        wrong = sum(bool(text) for *_, text in own)
        lines.append(f"| {kind} | " + " | ".join(str(counts[code]) for code in codes) + f" | {len(own)} | {wrong} |")
    return "\n".join(lines)


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--trials", type=int, default=5000)
    given.add_argument("--seed", type=int, default=0, help="of the first trial; the next ones follow")
    given.add_argument("--jobs", type=int, default=2)
    given.add_argument("--workplace", type=Path, default=None, help="folder to prepare once; default: a new one")
    given.add_argument("--short", action="store_true", help="only what needs no trained run")
    given.add_argument("--kind", choices=list(KINDS), help="this kind of file alone")
    asked = given.parse_args()
    home = asked.workplace or Path(tempfile.mkdtemp(prefix="fuzz-"))
    base = home / "base"
    os.environ.update(
        {
            name: environment()[name]
            for name in (
                "OMP_NUM_THREADS",
                "OMP_WAIT_POLICY",
                "HF_HUB_OFFLINE",
                "NO_ALBUMENTATIONS_UPDATE",
                "PYTHONPATH",
            )
        }
    )
    begin = time.monotonic()
    if not (home / "prepared.json").exists():
        shutil.rmtree(base, ignore_errors=True)
        prepare(base, not asked.short)
        (home / "prepared.json").write_text(json.dumps({"seconds": time.monotonic() - begin}))
    warm()
    print(f"prepared in {time.monotonic() - begin:.0f} s", flush=True)
    begin = time.monotonic()
    seeds, seed = [], asked.seed
    while len(seeds) < asked.trials:
        one = plan(base, seed)
        if asked.kind in (None, one.kind) and not (asked.short and one.command.split()[0] not in SHORT):
            seeds.append(seed)
        seed += 1
    found = run(base, seeds, asked.jobs)
    print(show(found))
    wrong = [one for one in found if one[2]]
    seconds, seeds = time.monotonic() - begin, [one[0].seed for one in wrong]
    print(f"{len(found)} trials in {seconds:.0f} s, {len(wrong)} wrong: seeds {seeds}")
    if asked.workplace is None:
        shutil.rmtree(home, ignore_errors=True)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())

"""Kill commands at random moments, start them again, and compare what they end in with a run that nobody killed.

    python tests/trials/kills.py --kills 200 --seed 0 --jobs 2 --workplace FOLDER   # --only train,predict: these

A scenario is one command in a folder in which all before it is done. It runs once without a kill; then in fresh copies
of the folder it is killed (SIGKILL), begun again and killed again, one to four times, and at last left to end. The
moments are drawn so that most come after its first line. All files that RESULTS names must then have the same bytes.
Only kills that ended a living process count. Kills of one process leave its workers behind, as a machine would: where
they still hold the run, the next start ends with exit code 4 and is tried again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from workplace import call, competition, environment

from pipeline.config.keys import KEYS

# What must have the same bytes. Left out: logs, epochs.csv (seconds), env.json, the report's page and pictures, stamps
# (which hold the hashes of these), the cache, the study's database and its tables of times.
RESULTS = re.compile(
    r"(^folds/.*\.(csv|json)|/model\.safetensors|/(valid|test)\.npz|/(oof|test|blend|blend_oof|submission)\.csv"
    r"|/submissions/.*\.csv|/(scores|ensemble|weights|check)\.json|/best\.yaml|/config\.yaml|/predict\.yaml)$"
)
PYTHON = [sys.executable, "-m", "pipeline"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "pipeline"]
C = ["-c", "config.yaml"]
LOCKED = 4
LIMIT = 180  # seconds of one command
MOST_LATE = 5  # moments that came after the end, after which a cycle is given up
DONE: dict[str, list[list[str]]] = {  # what is done before
    "nothing": [],
    "folds": [["folds", *C]],
    "trained": [["folds", *C], ["train", *C]],
    "predicted": [["folds", *C], ["train", *C], ["predict", *C]],
    "scored": [["folds", *C], ["train", *C], ["predict", *C], ["score", *C]],
    "blended": [["folds", *C], ["train", *C], ["predict", *C], ["score", *C], ["ensemble", *C]],
}
MINUTES = ["--set", "train.checkpoint_minutes=0.0005"] if "train.checkpoint_minutes" in KEYS else []


@dataclass(frozen=True)
class Scenario:
    """Say what is done before, what is killed, and how often in comparison with others."""

    before: str
    command: list[str]
    weight: int = 2
    launcher: bool = False


SCENARIOS = {
    "check": Scenario("nothing", [*PYTHON, "check", *C]),
    "folds": Scenario("nothing", [*PYTHON, "folds", *C]),
    "train": Scenario("folds", [*PYTHON, "train", *C], 4),
    "train inside epochs": Scenario("folds", [*PYTHON, "train", *C, *MINUTES], 5),
    "train parallel": Scenario("folds", [*PYTHON, "train", *C, *MINUTES, "--set", "train.parallel_folds=2"], 4),
    "train torchrun": Scenario("folds", [*TORCHRUN, "train", *C, *MINUTES], 4, True),
    "predict": Scenario("trained", [*PYTHON, "predict", *C]),
    "predict torchrun": Scenario("trained", [*TORCHRUN, "predict", *C], 1, True),
    "score": Scenario("predicted", [*PYTHON, "score", *C]),
    "ensemble": Scenario("scored", [*PYTHON, "ensemble", *C]),
    "report": Scenario("blended", [*PYTHON, "report", *C]),
    "run": Scenario("nothing", [*PYTHON, "run", *C, *MINUTES], 4),
    "run parallel": Scenario("nothing", [*PYTHON, "run", *C, *MINUTES, "--set", "train.parallel_folds=2"], 3),
    "tune": Scenario("folds", [*PYTHON, "tune", *C, "--trials", "2"], 1),
    "distill": Scenario("scored", [*PYTHON, "distill", *C, "--from", "shapes"], 2),
    "pseudo": Scenario("scored", [*PYTHON, "pseudo", *C, "--from", "shapes", "--threshold", "0.1"], 2),
    "ablate": Scenario("folds", [*PYTHON, "ablate", *C, "--variants", "variants.yaml"], 2),
}


@dataclass
class Tally:
    """Count what a scenario's cycles found."""

    kills: int = 0
    late: int = 0
    equal: int = 0
    unequal: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reference:
    """Hold what a scenario ends in when nobody kills it, when it first says something, and how long it takes."""

    results: dict[str, bytes]
    first: float
    seconds: float


class Job:
    """Hold a command that runs in a session of its own."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.output = folder.parent / "output"
        self.stream = self.output.open("w")
        self.begin = time.monotonic()
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdout=self.stream, stderr=subprocess.STDOUT, start_new_session=True
        )

    def wait(self, seconds: float) -> int | None:
        """Return the exit code, None where it still runs after so many seconds from its begin."""
        try:
            return self.process.wait(max(0.0, self.begin + seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None

    def first_line(self) -> float:
        """Wait for its first line; return the seconds."""
        while self.process.poll() is None and not self.output.stat().st_size:
            time.sleep(0.01)
        return time.monotonic() - self.begin

    def kill(self, how: str) -> bool:
        """Kill a part of it; tell whether that lived."""
        if self.process.poll() is not None:
            return False
        victim = self.process.pid
        if how == "rank":
            children = [pid for pid in below(victim) if b"pipeline" in arguments(pid)]
            victim = random.choice(children) if children else victim
        try:
            (os.killpg if how == "all" else os.kill)(victim, signal.SIGKILL)
        except ProcessLookupError:
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)  # a launcher ends its other ranks first
        return True

    def clear(self) -> None:
        """End what is left of its session."""
        self.stream.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in in_session(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def said(self) -> str:
        return self.output.read_text(errors="replace")


def arguments(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def statuses() -> Iterator[tuple[int, list[str]]]:
    """Yield the processes there are, each with its state, parent, group, session and what follows these."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry), Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()


def below(pid: int) -> list[int]:
    """Return a process's children."""
    return [one for one, (state, parent, *_) in statuses() if int(parent) == pid and state != "Z"]


def in_session(pid: int) -> list[int]:
    """Return the processes of a session, its leader's orphans too."""
    return [one for one, status in statuses() if int(status[3]) == pid and status[0] != "Z"]


def results(folder: Path) -> dict[str, bytes]:
    """Return the files that must be equal, by their path."""
    files = (path for place in ("folds", "runs", "studies") for path in (folder / place).rglob("*") if path.is_file())
    found = {str(path.relative_to(folder)): path for path in files}
    return {name: path.read_bytes() for name, path in sorted(found.items()) if RESULTS.search(name)}


def differences(found: dict[str, bytes], wanted: dict[str, bytes]) -> list[str]:
    """Return the names of files that are not the same."""
    return [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]


class Trials:
    """Run scenarios in copies of prepared folders."""

    def __init__(self, home: Path) -> None:
        self.home, self.guard = home, threading.Lock()
        self.references: dict[str, Reference] = {}

    def base(self, name: str) -> Path:
        """Return the folder in which all is done that a scenario needs, made once."""
        folder = self.home / f"base-{name}"
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            competition(folder, epochs=5)
            tree = yaml.safe_load((folder / "config.yaml").read_text())
            tree["train"] |= {"batch_size": 2, "workers": 0}
            tree["tta"] = ["identity", "hflip"]
            tree["tune"] = {"space": {"train.lr": {"float": [1e-3, 1e-2]}}, "fresh_seeds": 0, "epochs": 2}
            (folder / "config.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
            variants = {"slow": {"train": {"lr": 0.001}}, "smooth": {"loss": {"label_smoothing": 0.1}}}
            (folder / "variants.yaml").write_text(yaml.safe_dump(variants))
            for command in DONE[name]:
                call(folder, *command)
            (folder / "done").touch()
        return folder

    def copy(self, name: str) -> Path:
        """Return a fresh copy of a scenario's folder, in a folder of its own."""
        folder = Path(tempfile.mkdtemp(prefix="cycle-", dir=self.home)) / "work"
        shutil.copytree(self.base(SCENARIOS[name].before), folder)
        return folder

    def reference(self, name: str) -> Reference | None:
        """Run a scenario without a kill, once; None where it fails even so, which is told."""
        if name not in self.references:
            folder = self.copy(name)
            job = Job(SCENARIOS[name].command, folder)
            first, code = job.first_line(), job.wait(LIMIT)
            seconds = time.monotonic() - job.begin
            job.clear()
            if code != 0:
                print(f"{name}: exit {code} without a kill\n{job.said()[-2000:]}", flush=True)
                return None
            self.references[name] = Reference(results(folder), first, seconds)
            shutil.rmtree(folder.parent)
        return self.references[name]

    def cycle(self, name: str, kills: int, seed: int, tally: Tally) -> None:
        """Kill and restart a scenario some times, let it end, and compare."""
        draw, reference = random.Random(f"{name} {seed}"), self.references[name]
        folder, scenario, done, late = self.copy(name), SCENARIOS[name], 0, 0
        code: int | None = None
        deadline, pace = time.monotonic() + 3 * LIMIT, 1.0  # what is left takes less time, as a quieter machine does
        while done < kills and late < MOST_LATE:
            how = draw.choice(["rank", "launcher", "all"] if scenario.launcher else ["one", "all"])
            early = draw.random() < 0.15
            begin, end = (0.1, reference.first) if early else (reference.first, reference.seconds)
            job = Job(scenario.command, folder)
            code = job.wait(pace * draw.uniform(begin, end))
            if code is None and job.kill(how):
                done += 1
                self.settle(job, how, draw)
                code = None
            else:
                locked = code == LOCKED or (code and "another process" in job.said())
                job.clear()
                late += not locked
                pace *= 1.0 if locked else 0.6
                if locked:
                    time.sleep(0.5)
                if code not in (0, None) and not locked:
                    break
        while time.monotonic() < deadline:
            job = Job(scenario.command, folder)
            code = job.wait(LIMIT)
            said = job.said()
            job.clear()
            if code != LOCKED and "another process" not in said:
                break
            time.sleep(0.5)
        wrong = differences(results(folder), reference.results) if code == 0 else [f"exit {code}: {said[-600:]}"]
        parts = [path.name for path in folder.rglob(".*.part")]
        wrong += [f"left {name}" for name in parts]
        with self.guard:
            tally.kills += done
            tally.late += late
            tally.equal += not wrong
            if wrong:
                kept = self.home / f"unequal-{name.replace(' ', '-')}-{seed}"
                shutil.rmtree(kept, ignore_errors=True)
                shutil.move(folder, kept)
                tally.unequal.append(f"{name}, seed {seed}, {done} kills, {kept}: {', '.join(wrong[:8])}")
                print(tally.unequal[-1], flush=True)
            print(f"{name}: {done} kills ({late} too late): {'unequal' if wrong else 'equal'}", flush=True)
        shutil.rmtree(folder.parent, ignore_errors=True)

    @staticmethod
    def settle(job: Job, how: str, draw: random.Random) -> None:
        """Leave orphans for a while, or see that they are gone, before the next start."""
        if how == "all" or draw.random() < 0.5:
            job.clear()
            deadline = time.monotonic() + 10
            while in_session(job.process.pid) and time.monotonic() < deadline:
                time.sleep(0.02)
        else:
            threading.Timer(3, job.clear).start()


def planned(names: list[str], kills: int, seed: int) -> list[tuple[str, int, int]]:
    """Return cycles, each a scenario, its kills and a seed, that hold so many kills, shared out by weight."""
    draw, cycles, left = random.Random(seed), [], kills
    while left > 0:
        for name in names:
            for _ in range(SCENARIOS[name].weight):
                count = min(left, draw.randint(1, 4))
                if count > 0:
                    cycles.append((name, count, seed * 10_000 + len(cycles)))
                left -= max(0, count)
    return cycles


def show(tallies: dict[str, Tally]) -> str:
    """Return a table of scenarios."""
    lines = ["| scenario | kills | too late | equal | unequal |", "|---|---|---|---|---|"]
    for name, one in tallies.items():
        lines.append(f"| {name} | {one.kills} | {one.late} | {one.equal} | {len(one.unequal)} |")
    every = list(tallies.values())
    sums = [sum(one.kills for one in every), sum(one.late for one in every), sum(one.equal for one in every)]
    lines.append(f"| all | {' | '.join(map(str, sums))} | {sum(len(one.unequal) for one in every)} |")
    return "\n".join(lines)


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--kills", type=int, default=200)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--jobs", type=int, default=2)
    given.add_argument("--only", default="", help="scenarios, separated by commas")
    given.add_argument("--workplace", type=Path, default=None, help="folder whose prepared parts are kept")
    asked = given.parse_args()
    names = [name for name in SCENARIOS if not asked.only or name in asked.only.split(",")]
    home = asked.workplace or Path(tempfile.mkdtemp(prefix="kills-"))
    home.mkdir(parents=True, exist_ok=True)
    begin, trials = time.monotonic(), Trials(home.resolve())
    bases = sorted({SCENARIOS[name].before for name in names})
    with ThreadPoolExecutor(asked.jobs) as pool:
        list(pool.map(trials.base, bases))
        list(pool.map(trials.reference, names))
    failed, names = len(names), [name for name in names if name in trials.references]
    failed -= len(names)
    for name in names:
        one = trials.references[name]
        print(f"{name}: {one.seconds:.1f} s, {len(one.results)} files are compared", flush=True)
    print(f"prepared in {time.monotonic() - begin:.0f} s", flush=True)
    tallies, begin = {name: Tally() for name in names}, time.monotonic()
    with ThreadPoolExecutor(asked.jobs) as pool:
        waiting = [
            pool.submit(trials.cycle, name, kills, seed, tallies[name])
            for name, kills, seed in planned(names, asked.kills, asked.seed)
        ]
        for one in waiting:
            one.result()
    print(show(tallies))
    unequal = [text for one in tallies.values() for text in one.unequal]
    print(f"{time.monotonic() - begin:.0f} s; {len(unequal)} unequal, {failed} scenarios fail without a kill")
    if asked.workplace is None and not unequal:
        shutil.rmtree(home, ignore_errors=True)
    return bool(unequal) or failed > 0


if __name__ == "__main__":
    sys.exit(main())

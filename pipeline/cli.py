"""Parse the command line, load the config, and hand both to one stage, which imports what is heavy."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands import COMMANDS

if TYPE_CHECKING:
    from pipeline.config.config import Config
    from pipeline.errors import FoldlineError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    from pipeline.files import streams
    from pipeline.machine import interruption

    streams.prepare()
    try:
        try:
            with interruption.handled():
                code = _run(argv)
        finally:
            streams.flush()  # also what argparse printed
        if argv is None and code in interruption.CODES:
            interruption.leave(code)
        return code
    except OSError as error:  # of the output alone: of all else its kind was told
        streams.silence()
        if streams.is_unread(error):
            return streams.CLOSED
        print(f"foldline: {streams.OUTPUT}: cannot be written: {error.strerror}", file=sys.stderr)
        return 5


def _run(argv: Sequence[str] | None) -> int:
    given = parser().parse_args(argv)
    # Threads that spin while they wait take the cores from loader workers and neighbours: training beside one
    # busy process was 3 times slower. It is read once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if os.environ.get("WORLD_SIZE", "1") != "1":  # each process would warn that it looks for weights without a gradient
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from pipeline.plugins import asking

    with asking(getattr(given, "trust", None)):
        return _do(given)


def _do(given: argparse.Namespace) -> int:
    # What a killed process leaves in shared memory is cleaned up, and need not be told.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    from pipeline.errors import FoldlineError
    from pipeline.files import failures, streams
    from pipeline.machine import interruption

    if "TORCHELASTIC_RUN_ID" in os.environ or getattr(given, "worker", None) is not None:
        interruption.end_with_parent()  # torchrun's launcher and `tune` are what the user ends
    command, config = COMMANDS[given.command], None
    try:
        config = _config(given) if command.config else None  # refused before anything heavy is imported
        if getattr(given, "dry", command.measures == "bench" and not given.json):
            print(getattr(import_module("pipeline.studies.announcing"), command.measures)(config), flush=True)
        command.call(import_module(f"pipeline.{command.module}"), config, given)
    except FoldlineError as error:
        return _told(error)
    except KeyboardInterrupt as error:
        return _ended(error)
    except Exception as error:
        if (number := interruption.pending()) is not None:  # as where another process has ended first
            return _ended(interruption.error(number))
        if getattr(error, "filename", None) == streams.OUTPUT:
            raise
        if (known := failures.explained(error, _own_folders(config, given))) is not None:
            return _told(known)
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 300, placeholder=" …")
        print(f"foldline: internal error: {reason}; please report it with {_log_traceback()}", file=sys.stderr)
        return 1
    return 0


def _ended(error: KeyboardInterrupt) -> int:
    from pipeline.machine import interruption, processes

    code = interruption.exit_code(error)
    if processes.is_main():
        how = "interrupted" if code == 130 else "terminated"
        print(f"foldline: {how}; the same command continues", file=sys.stderr)
    return code


def _told(error: FoldlineError) -> int:
    print("\n".join(f"foldline: {line}" for line in error.lines), file=sys.stderr)
    return error.exit_code


def _own_folders(config: Config | None, given: argparse.Namespace) -> list[Path]:
    """Return the folders that Foldline itself writes to."""
    if config is None:
        return [
            Path(getattr(given, "runs_dir", "runs")),
            *([Path(given.source)] if getattr(given, "source", "") else []),
        ]
    return [config.run_dir.parent, config.folds_path.parent, config.study_dir.parent]


def _config(given: argparse.Namespace) -> Config | None:
    """Load the config that the command line names, with what its own options set."""
    from pipeline.config.loading import load, look
    from pipeline.errors import InputError, Problem
    from pipeline.studies.distilling import student

    if given.command == "check":  # it tells what else is wrong, too
        given.looked = looked = look(given.config, given.set)
        if looked.config is None:
            raise InputError(*looked.problems)
        return looked.config
    if given.command in ("distill", "pseudo"):
        asked = {key: getattr(given, key) for key in ("weight", "threshold", "images") if hasattr(given, key)}
        return student(given.command, given.config, given.set, given.source, asked)
    if given.command == "predict" and given.source is not None:
        return None
    if not given.config:
        raise InputError(Problem("predict", "found neither -c CONFIG nor --from RUN", remedy="name one of them"))
    members = getattr(given, "members", None)
    return load(given.config, [*given.set, *([f"ensemble.members={json.dumps(members)}"] if members else [])])


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="foldline", description=__import__("pipeline").__doc__)
    parser.add_argument("--version", action="version", version=f"foldline {version('foldline')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {name: commands.add_parser(name, help=one.help, description=one.help) for name, one in COMMANDS.items()}
    for name in [name for name, one in COMMANDS.items() if one.config]:
        needed = name != "predict"
        made[name].add_argument("-c", "--config", action="append", required=needed, help="YAML; later ones overlay")
    for name in [name for name, one in COMMANDS.items() if one.config or name in ("diff", "verify")]:
        made[name].add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key")
    for name in [name for name, one in COMMANDS.items() if one.config or name == "verify"]:
        made[name].add_argument("--trust", action="store_true", help="run code of runs' folders, which you have read")
    for name in ("leaderboard", "diff", "verify"):
        made[name].add_argument("--runs-dir", default="runs", metavar="FOLDER", help="where runs lie; default runs")
    for name in ("run", "train", "predict", "distill", "pseudo"):
        made[name].add_argument("--fold", type=_folds, help="only these folds: 0,2")
    for name in ("run", "folds", "train", "distill", "pseudo"):
        made[name].add_argument("--force", action="store_true", help="replace what exists and differs")
    made["run"].add_argument("--dry", action="store_true", help="print what would run, its time and its disk space")
    made["check"].add_argument("--no-images", action="store_true", help="tables only")
    made["score"].add_argument("--partial", action="store_true", help="score the folds there are")
    made["predict"].add_argument("--from", dest="source", metavar="RUN", help="a run's folder; no config is needed")
    made["predict"].add_argument("--test", metavar="PATH", help="folder or table of new images, with --from")
    made["predict"].add_argument("--out", metavar="FILE", help="where to write the table, with --from")
    made["ensemble"].add_argument("--members", nargs="+", metavar="RUN", help="as ensemble.members: runs or folders")
    made["leaderboard"].add_argument("action", nargs="?", choices=["add"], help="enter a run, or enter it anew")
    made["leaderboard"].add_argument("entered", nargs="?", metavar="RUN", help="a run's name or folder, with add")
    made["leaderboard"].add_argument("--public", type=float, metavar="SCORE", help="its public score, with add")
    made["leaderboard"].add_argument("--private", type=float, metavar="SCORE", help="its private score, with add")
    made["leaderboard"].add_argument("--note", metavar="TEXT", help="what to remember about it, with add")
    made["diff"].add_argument("runs", nargs=2, metavar="RUN", help="a run's name or folder")
    made["verify"].add_argument("verified", metavar="RUN", help="a run's name or folder")
    made["verify"].add_argument("--no-data", action="store_true", help="leave out the competition's tables and images")
    made["tune"].add_argument("--trials", type=int, metavar="N", help="of the study in all, those there are included")
    made["tune"].add_argument("--workers", type=int, default=1, metavar="W", help="trials at a time")
    made["tune"].add_argument("--storage", metavar="URL", help="database; default SQLite at studies/NAME.db")
    made["tune"].add_argument(
        "--timeout", type=float, metavar="SECONDS", help="for all, the winner's confirmation included"
    )
    made["tune"].add_argument("--report", action="store_true", help="show the study as it stands, train nothing")
    made["tune"].add_argument("--worker", type=int, help=argparse.SUPPRESS)
    made["tune"].add_argument("--until", type=float, help=argparse.SUPPRESS)
    for name in ("distill", "pseudo"):
        made[name].add_argument("--from", dest="source", required=True, metavar="RUN", help="the teacher, a run")
    made["distill"].add_argument("--weight", type=float, metavar="W", help="of its predictions in targets; default 0.3")
    made["pseudo"].add_argument("--threshold", type=float, metavar="P", help="how sure it must be; default 0.9")
    made["pseudo"].add_argument("--images", metavar="PATH", help="folder or table without labels; default the test")
    made["ablate"].add_argument("--variants", required=True, metavar="FILE", help="YAML: name -> what differs")
    made["ablate"].add_argument("--seeds", type=_seeds, metavar="S,S", help="as 1,2; default train.seeds or train.seed")
    made["example"].add_argument("name", choices=["digits", "elpv"])
    made["example"].add_argument("--root", help="folder to write to; default data/NAME")
    made["init"].add_argument("folder", metavar="DIR", help="where the competition's files lie")
    made["init"].add_argument("--out", metavar="FILE", help="config to write; default configs/NAME.yaml")
    made["bench"].add_argument("--json", action="store_true", help="for machines")
    return parser


def _folds(text: str) -> list[int]:
    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise argparse.ArgumentTypeError(f"found '{text}', expected fold numbers such as 0,2") from None


def _seeds(text: str) -> list[int]:
    seeds = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    if len(seeds) != len(text.split(",")) or max(seeds) >= 2**32:
        raise argparse.ArgumentTypeError(f"found '{text}', expected seeds from 0 to 2**32 - 1, such as 1,2")
    return seeds


def _log_traceback() -> str:
    """Keep the traceback in a file, so that the screen shows one line."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="foldline-", suffix=".log", delete=False) as stream:
        traceback.print_exc(file=stream)
    return stream.name

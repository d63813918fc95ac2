"""Parse the command line and hand over to one stage; everything heavy is imported by the stage."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.contracts.config import Config

COMMANDS = {
    "run": "every stage, skipping what is finished",
    "check": "find every defect of the input and fill the image cache",
    "folds": "assign folds and freeze them",
    "train": "train one model per fold",
    "predict": "predict validation and test rows with all fold models and views",
    "score": "write out-of-fold predictions and their scores",
    "ensemble": "blend members and write the submission",
    "report": "draw report.html",
    "bench": "measure where the time goes",
    "example": "write an example competition: digits or elpv",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    arguments = _parser().parse_args(argv)
    # Threads that spin while they wait take the cores from loader workers and neighbours: training beside one
    # busy process was 3 times slower. It is read once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from pipeline.contracts.errors import FoldlineError

    try:
        module = "pipeline.run" if arguments.command == "run" else f"pipeline.stages.{arguments.command}"
        import_module(module).main(arguments)
    except FoldlineError as error:
        print("\n".join(f"foldline: {defect}" for defect in error.defects), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("foldline: interrupted; the same command continues", file=sys.stderr)
        return 130
    except Exception as error:
        if failure := _machine_failure(error):
            print(f"foldline: {failure}", file=sys.stderr)
            return 6
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 300, placeholder=" …")
        print(f"foldline: a bug of ours: {reason}; see {_log_traceback()}", file=sys.stderr)
        return 1
    return 0


def read_config(arguments: argparse.Namespace) -> Config:
    """Load the config that the command line names."""
    from pipeline.contracts.config import load

    return load(arguments.config, arguments.set)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="foldline", description=__import__("pipeline").__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {name: commands.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
    for name, command in made.items():
        if name == "example":
            command.add_argument("name", choices=["digits", "elpv"])
            command.add_argument("--root", help="folder to write to; default data/NAME")
            continue
        optional = name == "predict"
        command.add_argument("-c", "--config", action="append", required=not optional, help="YAML; later ones overlay")
        command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key")
    for name in ("run", "train", "predict"):
        made[name].add_argument("--fold", type=_folds, help="only these folds: 0,2")
    for name in ("run", "folds", "train"):
        made[name].add_argument("--force", action="store_true", help="replace what exists and differs")
    made["run"].add_argument("--dry", action="store_true", help="print what would run, its time and its disk space")
    made["check"].add_argument("--no-images", action="store_true", help="tables only")
    made["score"].add_argument("--partial", action="store_true", help="score the folds there are")
    made["predict"].add_argument("--from", dest="source", metavar="RUN", help="a run's folder; no config is needed")
    made["predict"].add_argument("--test", metavar="PATH", help="folder or table of new images, with --from")
    made["predict"].add_argument("--out", metavar="FILE", help="where to write the table, with --from")
    made["ensemble"].add_argument("--members", nargs="+", metavar="RUN", help="as ensemble.members: runs or folders")
    made["bench"].add_argument("--json", action="store_true", help="for machines")
    return parser


def _folds(text: str) -> list[int]:
    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise argparse.ArgumentTypeError(f"found '{text}', expected fold numbers such as 0,2") from None


def _machine_failure(error: Exception) -> str | None:
    """Return what to say where memory or a loader process is gone: torch raises bare RuntimeErrors then."""
    text = str(error)
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return "out of memory; lower train.batch_size, predict.batch_size or model.size"
    if text.startswith("DataLoader worker (pid"):
        died = text.splitlines()[0].rstrip(" .")
        return f"{died}, most often because memory ran out; lower train.workers; the same command continues"
    return None


def _log_traceback() -> str:
    """Keep the traceback in a file, so that the screen shows one line."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="foldline-", suffix=".log", delete=False) as stream:
        traceback.print_exc(file=stream)
    return stream.name

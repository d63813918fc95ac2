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
    from pipeline.config.config import Config

COMMANDS = {
    "run": "every stage, skipping what is finished",
    "check": "find every defect of the input and fill the image cache",
    "folds": "assign folds and freeze them",
    "train": "train one model per fold",
    "predict": "predict validation and test rows with all fold models and views",
    "score": "write out-of-fold predictions and their scores",
    "ensemble": "blend members and write the submission",
    "report": "draw report.html",
    "tune": "search the config with Optuna, fold by fold",
    "distill": "train a student on labels and another run's out-of-fold predictions",
    "pseudo": "train a student on further images that another run labels",
    "ablate": "train variants of the config, and tell which surely help",
    "leaderboard": "list runs beside their leaderboard scores; `add RUN` enters one",
    "diff": "compare two runs: their configs, and their scores fold by fold",
    "init": "look at a competition's folder and write a first config",
    "summary": "list the network's stages: shapes, parameters, multiply-adds",
    "bench": "measure where the time goes",
    "example": "write an example competition: digits or elpv",
}
MODULES = {
    "run": "run",
    "check": "checking.stage",
    "folds": "folds.stage",
    "train": "training.stage",
    "predict": "prediction.stage",
    "score": "scoring.stage",
    "ensemble": "blending.stage",
    "report": "report.stage",
    "tune": "tuning.stage",
    "distill": "studies.distilling",
    "pseudo": "studies.distilling",
    "ablate": "studies.ablation",
    "leaderboard": "scoring.leaderboard",
    "diff": "scoring.diff",
    "init": "starting.init",
    "summary": "models.stage",
    "bench": "studies.bench",
    "example": "starting.example",
}
WITHOUT_CONFIG = {"example", "init", "leaderboard", "diff"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    arguments = _parser().parse_args(argv)
    # Threads that spin while they wait take the cores from loader workers and neighbours: training beside one
    # busy process was 3 times slower. It is read once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from pipeline.errors import FoldlineError

    try:
        import_module(f"pipeline.{MODULES[arguments.command]}").main(arguments)
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
    from pipeline.config.config import load

    return load(arguments.config, arguments.set)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="foldline", description=__import__("pipeline").__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {name: commands.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
    for name in [name for name in COMMANDS if name not in WITHOUT_CONFIG]:
        needed = name != "predict"
        made[name].add_argument("-c", "--config", action="append", required=needed, help="YAML; later ones overlay")
    for name in [name for name in COMMANDS if name not in WITHOUT_CONFIG - {"diff"}]:
        made[name].add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key")
    for name in ("leaderboard", "diff"):
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
    made["tune"].add_argument("--trials", type=int, metavar="N", help="of the study in all, those there are included")
    made["tune"].add_argument("--workers", type=int, default=1, metavar="W", help="trials at a time")
    made["tune"].add_argument("--storage", metavar="URL", help="database; default SQLite at studies/NAME.db")
    made["tune"].add_argument("--timeout", type=float, metavar="SECONDS", help="begin no trial after this time")
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

"""Compute scores, out-of-fold tables, blends and submissions again, and compare them with the run's files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.blending import composite, members
from pipeline.blending import stage as ensemble
from pipeline.blending.member import is_run
from pipeline.competition.data_root import find_root
from pipeline.competition.sample_submission import read_sample
from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.sections.section import Affects
from pipeline.errors import InputError, Problem
from pipeline.files.atomic import read_json
from pipeline.folds.fold_table import FoldTable
from pipeline.prediction.oof import predicted_folds
from pipeline.report import stage as report
from pipeline.scoring import stage as score
from pipeline.starting import example
from pipeline.verifying.comparing import json_problems, table_problems
from pipeline.verifying.run_files import Run, as_stamped, files_of_code, is_key, plain, renamed, with_code

RESCORE, REBLEND, REDRAW = (f"run again: foldline {stage}" for stage in ("score", "ensemble", "report"))


def verify(run: Run, config: Config, table: FoldTable) -> list[Path]:
    """Verify all that follows from the prediction files; return the folders of the runs that were blended."""
    blended: list[Path] = []
    if run.place("scores.json").is_file() or run.stamp("score"):
        _scores(run, config, table)
    if run.place("ensemble.json").is_file() or run.stamp("ensemble"):
        blended = _blend(run, config, table)
    if run.place("held_back.json").is_file():
        _held_back(run, config)
    if run.stamp("report"):
        _report(run, config)
    return blended


def _scores(run: Run, config: Config, table: FoldTable) -> None:
    path = run.place("scores.json")
    with run.findings.reading(path):
        stamp = run.stamp("score")
        asked, changes = as_stamped(config, stamp, Affects.SCORE)
        there = predicted_folds(run.folder, table)
        scored = there if stamp is None else [k for k in range(table.n) if f"fold{k}/valid.npz" in stamp.fields]
        if stamp is not None:
            now = score.fields(asked, scored) | files_of_code(run, asked, Affects.SCORE)
            _inputs(run, path, stamp.fields, now, RESCORE)
        partial, (asked, names) = scored != list(range(table.n)), with_code(run, asked)
        found, oof, test = score.compute(asked, table, partial)
        _tables(run, {"oof.csv": oof, "test.csv": test}, RESCORE)
        _json(run, "scores.json", renamed(found, names), RESCORE, changes)


def _blend(run: Run, config: Config, table: FoldTable) -> list[Path]:
    """Blend again; return the members' folders that are runs."""
    found: list[Path] = []
    path, stamp = run.place("ensemble.json"), run.stamp("ensemble")
    here = {run.folder.name: run.called}  # how the run calls itself
    with run.findings.reading(path):
        asked, changes = as_stamped(config, stamp, Affects.SUBMISSION)
        try:
            every = [members.folders(asked), *composite.folders(asked).values()]
        except InputError as error:
            run.findings.not_there(path, f"its members: {error.problems[0]}")
            return found
        found += [folder for several in every for folder in several.values() if is_run(folder)]
        if asked.data.sample_submission is not None and find_root(asked.data.root) is None:
            run.findings.not_there(path, "the sample submission, which a blend needs")
            return found
        sample = read_sample(asked)
        if stamp is not None:
            now = renamed(ensemble.fields(asked, table, sample), here)
            _inputs(run, path, stamp.fields, now | files_of_code(run, asked, Affects.SUBMISSION), REBLEND)
        asked, names = with_code(run, asked)
        tables, texts = ensemble.compute(asked, table, sample)
        _tables(run, tables, REBLEND)
        for name, made in texts.items():
            _json(run, name, renamed(made, names | here), REBLEND, changes)
    return found


def _tables(run: Run, tables: Mapping[str, Any], remedy: str) -> None:
    for name, expected in tables.items():
        with run.findings.reading(run.place(name)):
            if not run.place(name).is_file():
                run.findings.differs(run.place(name), [Problem(str(run.place(name)), "missing", remedy=remedy)])
                continue
            problems = table_problems(run.place(name), expected, remedy)
            run.findings.judge(run.place(name), problems, f"{len(expected):,} rows computed again")


def _json(run: Run, name: str, expected: Any, remedy: str, changes: list[str] | None = None) -> None:
    path = run.place(name)
    with run.findings.reading(path):
        if not path.is_file():
            run.findings.differs(path, [Problem(str(path), "missing", remedy=remedy)])
            return
        whole = any(one.written for one in (run.stamps or {}).values())
        problems = json_problems(path, read_json(path), expected, remedy, whole=whole)
        asked = f", asked for with {', '.join(changes)}" if changes else ""
        run.findings.judge(path, problems, f"computed again{asked}")


def _inputs(run: Run, path: Path, old: fingerprints.Fields, new: fingerprints.Fields, remedy: str) -> None:
    """Say which of the files that a stage read are others now: its stamp holds their hashes."""
    before, now = ({_called(key): one for key, one in fields.items()} for fields in (old, plain(new)))
    wrong = False
    for key in dict.fromkeys([*before, *now]):
        if before.get(key) == now.get(key) or is_key(key):
            continue
        place = _file(run, key)
        how = "missing, and was there" if now.get(key) == "missing" else "not as it was"
        how = "not there" if before.get(key) == "missing" and key not in now else how
        found = f"{how} when {path} was made"
        run.findings.differs(place, [Problem(place, found, remedy=f"restore it, or {remedy}")])
        wrong = True
    if not wrong:
        run.findings.ok(path, "made from the files that are there")


def _called(key: str) -> str:
    """Return what a stamp calls a file, whatever the folders it lay in: the report's names begin with them."""
    if not key.startswith("file "):
        return key
    path = Path(key.removeprefix("file "))
    return f"file {path.parent.name}/{path.name}" if path.parent.name.startswith("fold") else f"file {path.name}"


def _file(run: Run, key: str) -> str:
    """Return the place of a file that a stamp's field is the hash of."""
    assert run.config is not None
    name, table = key.removeprefix("file "), run.config.folds_path
    if key == "folds" or name.removeprefix("folds/") == table.name:
        return str(table)
    if name.removeprefix("folds/") == table.with_suffix(".json").name:
        return str(table.with_suffix(".json"))
    if key == "sample":
        return str(Path(run.config.data.root) / str(run.config.data.sample_submission))
    member = name.split("/")[0]
    return str(run.folder.parent / name if (run.folder.parent / member).is_dir() else run.place(name))


def _held_back(run: Run, config: Config) -> None:
    """Score the held-back labels again."""
    path, read = run.place("held_back.json"), [str(run.place(name)) for name in ("blend.csv", "ensemble.json")]
    if any(problem.place in read for problem in run.findings.problems):
        return  # what is damaged need not be readable
    with run.findings.reading(path):
        asked, _ = as_stamped(config, run.stamp("ensemble"), Affects.SUBMISSION)
        asked, names = with_code(run, asked)
        found = example.held_back_score(asked)
        if found is None:
            run.findings.not_there(path, "the held-back labels")
            return
        _json(run, path.name, renamed(found, names), "run again: foldline run")


def _report(run: Run, config: Config) -> None:
    """Compare what the report was made from with what is there."""
    stamp = run.stamp("report")
    assert stamp is not None
    asked, _ = as_stamped(config, stamp, ~Affects.NOTHING)
    now = report.fields(asked) | files_of_code(run, asked, ~Affects.NOTHING)
    _inputs(run, run.place("report.html"), stamp.fields, now, REDRAW)

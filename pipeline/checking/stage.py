"""Find every defect of the input before any compute, and fill the image cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.batches import fold_rows
from pipeline.checking import defects
from pipeline.checking.summary import summarize
from pipeline.competition import tables
from pipeline.competition.competition import Competition
from pipeline.competition.data_root import find_root
from pipeline.competition.rows.rows import SHOWN
from pipeline.config import fingerprints
from pipeline.config.keys import affecting
from pipeline.config.sections.section import Affects
from pipeline.errors import InputError, MismatchError, Problem
from pipeline.files.atomic import write_json, write_text

if TYPE_CHECKING:
    from pipeline.batches.inputs import Inputs
    from pipeline.config.config import Config
    from pipeline.config.wrong_keys import Looked


def run(config: Config, images: bool = True, inputs: Inputs | None = None, looked: Looked | None = None) -> Path:
    """Check tables, labels, paths and, unless told otherwise, names and every image; return runs/RUN/check.json.

    Tables are read every time, as a skipped check would miss what has changed since. The image cache knows
    which files it has seen, so only new ones are decoded. With `looked`, what the config's files say, an existing fold
    table is checked too. Raises InputError with all defects, MismatchError where the fold table alone is wrong.
    """
    path, list_path = config.run_dir / "check.json", config.run_dir / "defects.txt"
    if images and inputs is None:
        from pipeline.batches.inputs import Inputs  # it imports torch

        inputs = Inputs()
    competition, findings = defects.find(config, inputs if images else None, looked)
    if competition is None:
        shown, everything = findings.problems(SHOWN), findings.problems()
        if len(everything) > len(shown) and not (looked and looked.unsure & {"name", "run", "runs_dir"}):
            write_text(list_path, "\n".join(map(str, everything)) + "\n")
            shown.append(Problem(str(list_path), f"lists all {len(everything)} defects"))
        if findings.unseen:
            hidden = Problem(
                "not looked at", "; ".join(dict.fromkeys(findings.unseen)), remedy="check again after this"
            )
            shown.append(hidden)
        raise (MismatchError if set(findings.kinds) == {defects.FOLDS} else InputError)(*shown)
    list_path.unlink(missing_ok=True)
    read = affecting(Affects.ROWS | Affects.IMAGES | Affects.FOLDS | Affects.CHECK)
    decoded: int | None = None
    skipped, seen = dict[str, str](), "not opened"
    if inputs is not None and images:
        competition, decoded, skipped, seen = _opened(config, competition, inputs)
    found = fingerprints.fields(config, read, **table_hashes(config), images=seen)
    if fingerprints.is_done(config.run_dir, "check", found, [path]):
        print(f"check {config.name}: tables and config are those of the last check{_cache_text(decoded, skipped)}")
        print("".join(f"  note: {note}\n" for note in competition.notes), end="")
        return path
    summary = summarize(config, competition, peek=images)
    write_json(path, summary)
    fingerprints.stamp(config.run_dir, "check", found, [path])
    print(_text(config, summary, decoded, skipped))
    return path


def _opened(config: Config, made: Competition, inputs: Inputs) -> tuple[Competition, int, dict[str, str], str]:
    """Return the competition with what its images, opened at each size that they are wanted at, say of themselves.

    Also how many were decoded, where data.missing is skip: which cannot be read, and why; and a digest of all.
    """
    opened = defects.open_all(config, inputs)
    every = [one for images in opened for one in (images, *images.others)]
    skipped = {path: why for one in every for path, why in one.skipped.items()}
    notes = [note for images in opened for note in images.notes]
    digests = [opened[0].digest(fold_rows.names(made)), opened[1].digest(made.test_image_ids)]
    made = replace(made, notes=(*made.notes, *notes))
    return made, sum(one.decoded for one in every), skipped, " ".join(digests)


def table_hashes(config: Config) -> dict[str, str]:
    """Return the hashes of the tables that a config reads; none without their folder."""
    root = find_root(config.data.root)
    return {} if root is None else {key: tables.digest(root, spec) for key, spec in tables_of(config).items()}


def tables_of(config: Config) -> dict[str, str]:
    """Return the tables that a config reads, below data.root, by what they are."""
    data = config.data
    return {
        **{f"train {n}" if n > 1 else "train": spec for n, spec in enumerate(data.tables, 1)},
        **({"test": data.test} if data.test is not None else {}),
        **({"sample_submission": data.sample_submission} if data.sample_submission is not None else {}),
        **{f"join {n}": join.table for n, join in enumerate(data.joins, 1)},
        **{f"extra {n}": extra.table for n, extra in enumerate(data.extra, 1)},
    }


def _text(config: Config, summary: dict[str, Any], decoded: int | None, skipped: dict[str, str]) -> str:
    groups, extra = summary["groups"], summary["extra_rows"]
    rows = f"{summary['rows']} training rows, {summary['test_rows']} test rows"
    if (summary["images"], summary["test_images"]) != (summary["rows"], summary["test_rows"]):
        rows += f" of {summary['images']} and {summary['test_images']} images"
    lines = [f"check {config.name}: {rows}{f', {extra} extra rows' if extra else ''}", f"  {_targets_text(summary)}"]
    if summary["positive"] is not None:
        lines.append(f"  {summary['positive']}")
    if groups is not None:
        rows = f"{groups['smallest']} to {groups['largest']} rows"
        lines.append(f"  {groups['count']} groups ({config.data.group or 'equal images'}) of {rows}")
    endings = ", ".join(f"{count} {ending or 'without ending'}" for ending, count in summary["endings"].items())
    sizes = ", ".join(summary["sizes"] or [])
    lines.append(f"  images: {endings}{'; ' + sizes if sizes else ''}{_cache_text(decoded, skipped)}")
    return "\n".join([*lines, *(f"  note: {note}" for note in summary["notes"])])


def _targets_text(summary: dict[str, Any]) -> str:
    if summary["values"] is not None:
        found = (
            f"{name} {value['smallest']:g} to {value['largest']:g}, mean {value['mean']:.4g}, std {value['std']:.4g}"
            for name, value in summary["values"].items()
        )
        return f"values: {'; '.join(found)}"
    counts, rare = summary["classes"], summary["rare"]
    shown = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:12])
    soft = "" if summary["soft_sums"] is None else " (soft labels, each row counted where it decides)"
    few = f"; {rare} classes have fewer rows than folds.n" if rare and len(counts) > 12 else ""
    return f"{len(counts)} classes: {shown}{', …' if len(counts) > 12 else ''}{soft}{few}"


def _cache_text(decoded: int | None, skipped: dict[str, str]) -> str:
    if decoded is None:
        return "; not opened"
    if not skipped:
        return f"; {decoded} decoded now"
    path, why = next(iter(skipped.items()))
    return f"; {decoded} decoded now; {len(skipped)} unreadable are passed over, first {path}: {why}"

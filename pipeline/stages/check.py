"""Find every defect of the input before any compute, and fill the image cache."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.contracts import fingerprint
from pipeline.contracts.artifacts import write_json, write_text
from pipeline.contracts.competition import Competition, survey
from pipeline.contracts.datafolder import find_root
from pipeline.contracts.defects import SHOWN
from pipeline.contracts.errors import InputError
from pipeline.contracts.imagepaths import Source
from pipeline.contracts.task import TASKS

if TYPE_CHECKING:
    from pipeline.contracts.config import Config

READ = (
    *(
        "data.id",
        "data.image",
        "data.test_image",
        "data.task",
        "data.target",
        "data.classes",
        "data.separator",
    ),
    *(
        "data.group",
        "data.cache.size",
        "model.size",
        "folds.stratify",
        "submission.columns",
        "submission.cell",
        "metric",
    ),
)
PEEKED = 64  # images whose headers tell the sizes and modes


def main(arguments: argparse.Namespace) -> None:
    """Check what the command line names."""
    from pipeline.cli import read_config

    run(read_config(arguments), images=not arguments.no_images)


def run(config: Config, images: bool = True) -> Path:
    """Check tables, labels, paths and, unless told otherwise, names and every image; return runs/RUN/check.json.

    Tables are read every time, as a skipped check would miss what has changed since. The image cache knows
    which files it has seen, so only new ones are decoded. Raises InputError with all defects.
    """
    path, list_path = config.run_dir / "check.json", config.run_dir / "defects.txt"
    competition, defects = survey(config)
    if images:
        from pipeline.engine import preflight  # it imports torch

        defects.add("settings", preflight.defects(config))
    if competition is None or defects.kinds:
        shown, everything = defects.lines(SHOWN), defects.lines()
        if len(everything) > len(shown):
            write_text(list_path, "\n".join(everything) + "\n")
            shown.append(f"{list_path}: lists all {len(everything)} defects")
        raise InputError(*shown)
    list_path.unlink(missing_ok=True)
    found = fingerprint.fields(config, READ, **_table_hashes(config), images=str(images))
    known = path.is_file() and fingerprint.is_done(config.run_dir, "check", found)
    decoded = _fill_cache(config, competition) if images else None
    if known:
        print(f"check {config.name}: tables and config are those of the last check{_cache_text(decoded)}")
        return path
    summary = _summarize(config, competition, peek=images)
    write_json(path, summary)
    fingerprint.stamp(config.run_dir, "check", found)
    print(_text(config, summary, decoded))
    return path


def _fill_cache(config: Config, competition: Competition) -> int:
    """Open every image once, so that all unreadable ones are told together; return how many were decoded."""
    from pipeline.engine.cache import open_config

    sources = list(dict.fromkeys([*competition.images, *competition.test_images]))
    return open_config(config, sources, "check").decoded


def _table_hashes(config: Config) -> dict[str, str]:
    data, root = config.data, find_root(config.data.root)
    tables = {"train": data.tables[0], "test": data.test, "sample_submission": data.sample_submission}
    return {key: fingerprint.file_hash(root / name) for key, name in tables.items() if root and name}


def _summarize(config: Config, competition: Competition, peek: bool) -> dict[str, Any]:
    targets_NC, task = competition.targets_NC, TASKS[config.data.task]
    labels = task.labels(targets_NC)
    count_C = np.bincount(labels, minlength=targets_NC.shape[1]) if task.exclusive else labels.sum(0)
    soft = not np.isin(targets_NC, (0, 1)).all()
    images = [*competition.images, *competition.test_images]
    groups = None
    if competition.groups is not None:
        sizes = np.unique(competition.groups, return_counts=True)[1]
        groups = {"count": len(sizes), "smallest": int(sizes.min()), "largest": int(sizes.max())}
    return {
        "rows": len(competition.ids),
        "test_rows": len(competition.test_ids),
        "classes": dict(zip(competition.classes, count_C.tolist(), strict=True)),  # rows by their decided class
        "soft_sums": _sums(targets_NC, competition.classes) if soft else None,
        "groups": groups,
        "endings": dict(Counter(os.path.splitext(path)[1] for source in images for path in source).most_common()),
        "sizes": _peek(images) if peek else None,
        "notes": [*competition.notes, *_misleading(config, targets_NC, competition.classes)],
    }


def _sums(targets_NC: np.ndarray[Any, Any], classes: tuple[str, ...]) -> dict[str, float]:
    totals_C = targets_NC.sum(0, dtype=np.float64)
    return {name: round(float(total), 3) for name, total in zip(classes, totals_C, strict=True)}


def _peek(images: list[Source]) -> dict[str, int]:
    """Read the headers of a few images, evenly spread, and count widths × heights and modes."""
    from PIL import Image

    found: Counter[str] = Counter()
    for source in images[:: max(1, len(images) // PEEKED)]:
        with Image.open(source[0]) as image:
            found[f"{image.width}×{image.height} {image.mode}"] += 1
    return dict(found.most_common(8))


def _misleading(config: Config, targets_NC: np.ndarray[Any, Any], classes: tuple[str, ...]) -> list[str]:
    """Warn where always naming the same class would score well."""
    if config.metric != "accuracy" or not TASKS[config.data.task].exclusive:
        return []
    shares = targets_NC.mean(0)
    most = int(shares.argmax())
    if shares[most] < (1 + 1 / len(classes)) / 2:
        return []
    return [f"accuracy misleads: always '{classes[most]}' scores {shares[most]:.3f}; see balanced_accuracy too"]


def _text(config: Config, summary: dict[str, Any], decoded: int | None) -> str:
    counts, groups = summary["classes"], summary["groups"]
    shown = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:12])
    soft = "" if summary["soft_sums"] is None else " (soft labels, each row counted where it decides)"
    lines = [
        f"check {config.name}: {summary['rows']} training rows, {summary['test_rows']} test rows",
        f"  {len(counts)} classes: {shown}{', …' if len(counts) > 12 else ''}{soft}",
    ]
    if groups is not None:
        rows = f"{groups['smallest']} to {groups['largest']} rows"
        lines.append(f"  {groups['count']} groups ({config.data.group}) of {rows}")
    endings = ", ".join(f"{count} {ending or 'without ending'}" for ending, count in summary["endings"].items())
    sizes = ", ".join(summary["sizes"] or [])
    lines.append(f"  images: {endings}{'; ' + sizes if sizes else ''}{_cache_text(decoded)}")
    return "\n".join([*lines, *(f"  note: {note}" for note in summary["notes"])])


def _cache_text(decoded: int | None) -> str:
    if decoded is None:
        return "; not opened"
    return f"; {decoded} decoded now"

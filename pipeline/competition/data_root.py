"""Find the folder of the competition's files."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import Problem

KAGGLE_INPUT = Path("/kaggle/input")


def find_root(root: str) -> Path | None:
    """Return the data folder: as given, or where Kaggle mounts it; None where there is none."""
    slug = Path(root).name
    for folder in (Path(root), KAGGLE_INPUT / slug, KAGGLE_INPUT / "competitions" / slug):
        if folder.is_dir():
            return folder.absolute()
    return None


def no_root(root: str) -> Problem:
    """Say that there is no data folder."""
    slug = Path(root).name
    remedy = f"make it with: foldline example {slug}" if slug in {"digits", "elpv"} else "correct data.root"
    return Problem(root, f"data.root is no folder, neither here nor under {KAGGLE_INPUT}", remedy=remedy)

"""Find the folder of the competition's files."""

from __future__ import annotations

from pathlib import Path

KAGGLE_INPUT = Path("/kaggle/input")


def find_root(root: str) -> Path | None:
    """Return the data folder: as given, or where Kaggle mounts it; None where there is none."""
    slug = Path(root).name
    for folder in (Path(root), KAGGLE_INPUT / slug, KAGGLE_INPUT / "competitions" / slug):
        if folder.is_dir():
            return folder.absolute()
    return None

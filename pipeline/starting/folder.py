"""List what lies in a competition's folder: tables, pictures, and pictures in archives that nobody unpacked."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.competition.image_paths import SUFFIXES
from pipeline.competition.tables import JSON, SEPARATORS
from pipeline.files import archives

TABLES = {*SEPARATORS, *JSON}


@dataclass(frozen=True)
class Folder:
    """Hold the files below root that matter, as relative paths."""

    root: Path
    pictures: tuple[str, ...]
    tables: tuple[str, ...]
    notes: tuple[str, ...]  # archives that cannot be read in place

    @cached_property
    def known(self) -> frozenset[str]:
        """Return the pictures as a set."""
        return frozenset(self.pictures)

    @cached_property
    def by_name(self) -> dict[str, list[str]]:
        """Return the pictures by their file names, and by those without the ending."""
        found = defaultdict(list)
        for path in self.pictures:
            name = path.rpartition("/")[2]
            found[name].append(path)
            found[os.path.splitext(name)[0]].append(path)
        return dict(found)

    @cached_property
    def widths(self) -> list[int]:
        """Return the lengths of file names that are numbers with zeros before them."""
        return sorted({len(name) for name in self.by_name if name.isdigit() and name.startswith("0") and len(name) > 1})


def look(root: Path) -> Folder:
    """List the folder; archives count where no folder of their name lies beside them."""
    pictures, tables, packed, notes = [], [], [], []
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not name.startswith((".", "__")))
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        for name in sorted(files):
            ending = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            if ending in SUFFIXES:
                pictures.append(prefix + name)
            elif ending in TABLES:
                tables.append(prefix + name)
            elif archives.NAMED.search(name) and archives.NAMED.sub("", name) not in {*names, *files}:
                packed.append(prefix + name)
    for archive in packed:
        try:
            inside = archives.members(str(root / archive))
        except (ValueError, OSError) as error:
            notes.append(str(error))
            continue
        named = [name for name in inside if os.path.splitext(name)[1].lower() in SUFFIXES]
        pictures += [f"{archive}/{name}" for name in named]
    return Folder(root, tuple(pictures), tuple(tables), tuple(notes))


def words(path: str) -> list[str]:
    """Split a path into its words in lower case: train2019.json gives train, json."""
    return [word for word in re.split(r"[^a-z]+", path.lower()) if word]


def class_folder(folder: Folder) -> str | None:
    """Return the folder whose sub-folders hold the training pictures, one per class, or None."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for path in folder.pictures:
        parts = path.split("/")
        if len(parts) >= 3:
            found["/".join(parts[:-2])][parts[-2]] += 1
    several = {top: counts for top, counts in found.items() if len(counts) > 1 and "test" not in words(top)}
    return max(several, key=lambda top: ("train" in words(top), several[top].total()), default=None)


def labels_in_names(folder: Folder) -> tuple[str, list[str]] | None:
    """Return a regular expression over paths such as train/cat.0.jpg, and its labels, or None."""
    found: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for path in folder.pictures:
        top, _, name = path.rpartition("/")
        match = re.fullmatch(r"([^\W\d][^\d]*?)([._-]?)\d+(\.\w+)", name)
        if match and "test" not in words(top):
            found[top, match[2], match[3]][match[1]] += 1
    fitting = {key: counts for key, counts in found.items() if len(counts) > 1 and min(counts.values()) > 1}
    if not fitting:
        return None
    top, between, ending = best = max(fitting, key=lambda key: ("train" in words(key[0]), fitting[key].total()))
    names = sorted(fitting[best])
    start = re.escape(f"{top}/") if top else ""
    choice = "|".join(map(re.escape, names))
    return f"re:{start}(?P<id>(?P<label>{choice}){re.escape(between)}\\d+){re.escape(ending)}", names

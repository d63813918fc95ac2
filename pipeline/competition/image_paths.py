"""Turn the config's image templates into paths that exist below the root, without a system call per image."""

from __future__ import annotations

import difflib
import operator
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.competition.rows.rows import RowProblem
from pipeline.competition.templates import fill
from pipeline.errors import Problem, Refused
from pipeline.files import archives

if TYPE_CHECKING:
    import pandas as pd

FILE, LINK, OTHER = range(3)
Listing = dict[str, int]  # name -> one of the three
Source = tuple[str, ...]  # an image's absolute paths, one per plane; () where the test names none that exists

SUFFIXES = {  # of what a folder of images may hold
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".gif"),
    *(".avif", ".heic", ".heif", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".dcm", ".dicom"),
}
ARRAYS = {".npy", ".npz"}  # images where a table or template says so; our own predictions are called so too


@dataclass(frozen=True)
class Found:
    """Hold every row's image, and the rows that have none."""

    images: list[Source]  # [I]
    absent: list[RowProblem]  # what data.missing=skip may leave out
    refused: list[RowProblem]

    def wrong(self, skip: bool) -> list[RowProblem]:
        """Return the rows without an image, in order; without the absent ones where they may be skipped."""
        return self.refused if skip else sorted([*self.absent, *self.refused], key=lambda found: found[0])


class ImagePaths:
    """Resolve templates over rows; each folder is listed once, and only links are followed."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.real = os.path.realpath(root)
        self.folders: dict[str, Listing | Problem] = {}  # or why nothing can be read there
        self.stems: dict[str, dict[str, str]] = {}

    def resolve(self, table: pd.DataFrame, templates: Sequence[str]) -> Found:
        """Return each row's image, one path per template, and what is absent or refused, by row number.

        Raises Refused where a template names no column, or one that is not there.
        """
        problems: list[Problem] = []
        planes: list[list[str]] = []
        for template in templates:
            try:
                planes.append(fill(template, table))
            except Refused as error:
                problems += error.problems
        if problems:
            raise Refused(*dict.fromkeys(problems))
        absent: list[RowProblem] = []
        refused: list[RowProblem] = []
        for row, name, why in (found for names in planes for found in self._wrong(names)):
            (absent if why.found.startswith("missing") else refused).append((row, why.below(name)))
        paths = [[f"{self.root}/{name}" for name in names] for names in planes]
        by_row = operator.itemgetter(0)
        return Found(list(zip(*paths, strict=True)), sorted(absent, key=by_row), sorted(refused, key=by_row))

    def _wrong(self, names: list[str]) -> Iterator[tuple[int, str, Problem]]:
        folders = self.folders
        for row, name in enumerate(names):
            folder, _, file = name.rpartition("/")
            listing = folders.get(folder)
            if isinstance(listing, dict) and listing.get(file) == FILE and name[0] != "/":
                continue  # nearly every row, in as few steps as there can be
            if (why := self._refuse(name)) is not None:
                yield row, name, why

    def _refuse(self, name: str) -> Problem | None:
        folder, _, file = name.rpartition("/")
        if name.startswith("/"):
            return Problem("", "is absolute", "a path below data.root", "copy the image there")
        listing = self.folders.get(folder)
        if listing is None:
            listing = self.folders[folder] = self._list(folder)
        if isinstance(listing, Problem):
            return listing
        kind = listing.get(file)
        if kind == FILE:
            return None
        if kind == LINK:
            return self._refuse_link(f"{self.root}/{name}")
        if kind == OTHER:
            return Problem("", "is no file")
        other = self._other_suffix(folder, file, listing)
        return Problem("", "missing", remedy=f"there is '{other}', correct the ending in the template" if other else "")

    def _list(self, folder: str) -> Listing | Problem:
        if ".." in folder.split("/"):
            return _leaves("", "the image")
        path = os.path.join(self.root, folder)
        if (inside := archives.split(path)) is not None:
            return self._list_archive(folder, *inside)
        try:
            with os.scandir(path) as entries:
                listing = {
                    entry.name: LINK if entry.is_symlink() else FILE if entry.is_file() else OTHER for entry in entries
                }
        except (OSError, ValueError):
            return Problem("", f"missing, there is no folder '{folder}'", remedy=self._other_folder(folder))
        real = os.path.realpath(path)
        if not self._inside(real):
            return _leaves(f": '{folder}' is a link to {real}", "the images")
        return listing

    def _list_archive(self, folder: str, archive: str, below: str) -> Listing | Problem:
        """List one folder of an archive, and remember its others, which cost nothing more."""
        if not self._inside(os.path.realpath(archive)):
            return _leaves(f": '{folder}' lies in a link", "the archive")
        try:
            members = archives.members(archive)
        except (ValueError, OSError) as error:
            return Problem("", str(error))
        top = folder[: len(folder) - len(below)].rstrip("/")
        listings: dict[str, Listing] = {}
        for member in members:
            where, _, file = member.rpartition("/")
            listings.setdefault(f"{top}/{where}" if where else top, {})[file] = FILE
        for name, listing in listings.items():
            self.folders.setdefault(name, listing)
        if folder in listings:
            return listings[folder]
        tops = sorted({member.split("/")[0] for member in members if "/" in member})
        hint = f"its folders begin with {', '.join(tops[:4])}" if tops else "its files lie in no folder"
        return Problem("", f"missing, '{top}' holds no folder '{below}'", remedy=hint)

    def _refuse_link(self, path: str) -> Problem | None:
        target = os.path.realpath(path)
        if not self._inside(target):
            return _leaves(f": it is a link to {target}", "the image")
        return None if os.path.isfile(target) else Problem("", "is a link to nothing")

    def _inside(self, real: str) -> bool:
        return real == self.real or real.startswith(self.real.rstrip("/") + "/")

    def _other_suffix(self, folder: str, file: str, listing: Listing) -> str | None:
        if folder not in self.stems:
            self.stems[folder] = {os.path.splitext(name)[0]: name for name in sorted(listing)}
        stems = self.stems[folder]
        return stems.get(file) or stems.get(os.path.splitext(file)[0])

    def _other_folder(self, folder: str) -> str:
        top = folder.split("/")[0]
        names = [entry.name for entry in os.scandir(self.root) if entry.is_dir()]
        near = difflib.get_close_matches(top, names, n=1)
        return f"did you mean '{near[0]}'?" if near and near[0] != top else ""


def _leaves(how: str, what: str) -> Problem:
    return Problem("", f"leaves data.root{how}", remedy=f"copy {what} below it")

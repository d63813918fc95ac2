"""Turn the config's image templates into paths that exist below the root, without a system call per image."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.competition.templates import fill
from pipeline.files import archives

if TYPE_CHECKING:
    import pandas as pd

FILE, LINK, OTHER = range(3)
Listing = dict[str, int]  # name -> one of the three
Source = tuple[str, ...]  # an image's absolute paths, one per plane; () where the test names none that exists

SUFFIXES = {  # of what a folder of images may hold
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".gif"),
    *(".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".dcm", ".dicom"),
}
ARRAYS = {".npy", ".npz"}  # images where a table or template says so; our own predictions are called so too


@dataclass(frozen=True)
class Resolved:
    """Hold every row's image and the defects as (row number, path: what is wrong)."""

    images: list[Source]
    absent: list[tuple[int, str]]  # what data.missing=skip may leave out
    refused: list[tuple[int, str]]


class ImagePaths:
    """Resolve templates over rows; each folder is listed once, and only links are followed."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.real = os.path.realpath(root)
        self.folders: dict[str, Listing | str] = {}  # or why nothing can be read there
        self.stems: dict[str, dict[str, str]] = {}

    def resolve(self, table: pd.DataFrame, templates: Sequence[str]) -> Resolved:
        """Return each row's image, one path per template, and what is absent or refused, by row number.

        Raises ValueError where a template names no column, or one that is not there.
        """
        problems, planes = [], []
        found = Resolved([], [], [])
        for template in templates:
            try:
                planes.append(fill(template, table))
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise ValueError("; ".join(dict.fromkeys(problems)))
        for names in planes:
            self._check(names, found)
        paths = [[f"{self.root}/{name}" for name in names] for names in planes]
        return Resolved(list(zip(*paths, strict=True)), sorted(found.absent), sorted(found.refused))

    def _check(self, names: list[str], into: Resolved) -> None:
        folders = self.folders
        for row, name in enumerate(names):
            folder, _, file = name.rpartition("/")
            listing = folders.get(folder)
            if isinstance(listing, dict) and listing.get(file) == FILE and name[0] != "/":
                continue  # nearly every row, in as few steps as there can be
            if (why := self._refuse(name)) is not None:
                kind = into.absent if why.startswith("missing") else into.refused
                kind.append((row, f"{name}: {why}"))

    def _refuse(self, name: str) -> str | None:
        folder, _, file = name.rpartition("/")
        if name.startswith("/"):
            return "is absolute, expected a path below data.root; copy the image there"
        listing = self.folders.get(folder)
        if listing is None:
            listing = self.folders[folder] = self._list(folder)
        if isinstance(listing, str):
            return listing
        kind = listing.get(file)
        if kind == FILE:
            return None
        if kind == LINK:
            return self._refuse_link(f"{self.root}/{name}")
        return "is no file" if kind == OTHER else f"missing{self._other_suffix(folder, file)}"

    def _list(self, folder: str) -> Listing | str:
        if ".." in folder.split("/"):
            return "leaves data.root; copy the image below it"
        path = os.path.join(self.root, folder)
        if (inside := archives.split(path)) is not None:
            return self._list_archive(folder, *inside)
        try:
            with os.scandir(path) as entries:
                listing = {
                    entry.name: LINK if entry.is_symlink() else FILE if entry.is_file() else OTHER for entry in entries
                }
        except (OSError, ValueError):
            return f"missing, there is no folder '{folder}'{self._other_folder(folder)}"
        real = os.path.realpath(path)
        if not self._inside(real):
            return f"leaves data.root: '{folder}' is a link to {real}; copy the images below it"
        return listing

    def _list_archive(self, folder: str, archive: str, below: str) -> Listing | str:
        """List one folder of an archive, and remember its others, which cost nothing more."""
        if not self._inside(os.path.realpath(archive)):
            return f"leaves data.root: '{folder}' lies in a link; copy the archive below it"
        try:
            members = archives.members(archive)
        except (ValueError, OSError) as error:
            return str(error)
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
        hint = f"; its folders begin with {', '.join(tops[:4])}" if tops else "; its files lie in no folder"
        return f"missing, '{top}' holds no folder '{below}'{hint}"

    def _refuse_link(self, path: str) -> str | None:
        target = os.path.realpath(path)
        if not self._inside(target):
            return f"leaves data.root: it is a link to {target}; copy the image below it"
        return None if os.path.isfile(target) else "is a link to nothing"

    def _inside(self, real: str) -> bool:
        return real == self.real or real.startswith(self.real.rstrip("/") + "/")

    def _other_suffix(self, folder: str, file: str) -> str:
        if folder not in self.stems:
            listing = self.folders[folder]
            self.stems[folder] = {os.path.splitext(name)[0]: name for name in sorted(listing)}
        other = self.stems[folder].get(file) or self.stems[folder].get(os.path.splitext(file)[0])
        return f"; there is '{other}', correct the ending in the template" if other else ""

    def _other_folder(self, folder: str) -> str:
        top = folder.split("/")[0]
        names = [entry.name for entry in os.scandir(self.root) if entry.is_dir()]
        near = difflib.get_close_matches(top, names, n=1)
        return f"; did you mean '{near[0]}'?" if near and near[0] != top else ""

"""List the folders and archives below the root, each once, and find in them the file that a name means."""

from __future__ import annotations

import difflib
import fnmatch
import os
import re
import unicodedata
from pathlib import Path

from pipeline.errors import Problem
from pipeline.files import archives

FILE, LINK, OTHER = range(3)
Listing = dict[str, int]  # name -> one of the three

SUFFIXES = {  # of what a folder of images may hold
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".gif"),
    *(".avif", ".heic", ".heif", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".dcm", ".dicom"),
}
ARRAYS = {".npy", ".npz"}  # images where a table or template says so; our own predictions are called so too
FLOAT = re.compile(r"(^|/)(\d+)\.0(?=$|\.[A-Za-z]\w*$)")  # an id that a merge has made a float: 1000.0.jpg


class Folders:
    """Hold what lies below a root; links that lead out of it are followed where the config says so."""

    def __init__(self, root: Path, follow_links: bool = False) -> None:
        self.root, self.follow_links = str(root), follow_links
        self.real = os.path.realpath(root)
        self.listings: dict[str, Listing | Problem] = {}  # or why nothing can be read there
        self._stems: dict[str, dict[str, list[str]]] = {}
        self._matching: dict[str, list[str]] = {}
        self._holders: dict[str, dict[str, list[str]]] = {}

    def has(self, folder: str, file: str) -> bool:
        """Tell whether a listed folder has a plain file of this name, in as few steps as there can be."""
        listing = self.listings.get(folder)
        return isinstance(listing, dict) and listing.get(file) == FILE

    def refuse(self, name: str) -> Problem | None:
        """Return why a path below the root is no image, or None."""
        folder, _, file = name.rpartition("/")
        listing = self.listing(folder)
        if isinstance(listing, Problem):
            return listing
        kind = listing.get(file)
        if kind == FILE:
            return None
        if kind == LINK:
            return self._refuse_link(f"{self.root}/{name}")
        return Problem("", "is no file" if kind == OTHER else "missing")

    def listing(self, folder: str) -> Listing | Problem:
        """Return a folder's files, or why nothing can be read there."""
        if folder not in self.listings:
            self.listings[folder] = self._list(folder)
        return self.listings[folder]

    def like(self, folder: str, file: str) -> list[str]:
        """Return the files in a folder whose name differs by its ending or its Unicode form alone."""
        listing = self.listing(folder)
        if isinstance(listing, Problem):
            return []
        if folder not in self._stems:
            stems = self._stems[folder] = {}
            for name in sorted(listing):
                stem, ending = os.path.splitext(name)
                if not ending or ending.lower() in SUFFIXES | ARRAYS:
                    stems.setdefault(unicodedata.normalize("NFC", stem), []).append(name)
        stems, whole = self._stems[folder], unicodedata.normalize("NFC", file)
        stem, found = whole, list(stems.get(whole, []))
        while os.path.splitext(stem)[1].lower() in SUFFIXES | ARRAYS:  # an id and the template may both carry one
            stem = os.path.splitext(stem)[0]
            found += stems.get(stem, [])
        same = [name for name in found if unicodedata.normalize("NFC", name).lower() == whole.lower()]
        return same if len(same) == 1 else found

    def is_ambiguous(self, folder: str) -> bool:
        """Tell whether a folder holds several files of one stem, such as pictures and their masks."""
        return any(len(names) > 1 for names in self._stems.get(folder, {}).values())

    def matching(self, pattern: str) -> list[str]:
        """Return the folders below the root that a pattern with `*` names; a `*` stays within one name."""
        if pattern not in self._matching:
            found = [""]
            for part in pattern.split("/"):
                found = [f"{above}/{name}" if above else name for above in found for name in self._below(above, part)]
            self._matching[pattern] = found
        return self._matching[pattern]

    def holders(self, pattern: str, file: str) -> list[str]:
        """Return the folders that a pattern names and that hold a plain file of this name; each is listed once."""
        if pattern not in self._holders:
            held = self._holders[pattern] = dict[str, list[str]]()
            for folder in self.matching(pattern):
                listing = self.listing(folder)
                for name, kind in listing.items() if isinstance(listing, dict) else ():
                    if kind == FILE:
                        held.setdefault(name, []).append(folder)
        return self._holders[pattern].get(file, [])

    def other_folder(self, folder: str) -> str:
        """Return a remedy for a folder that is not there."""
        top = folder.split("/")[0]
        names = [entry.name for entry in os.scandir(self.root) if entry.is_dir()]
        near = difflib.get_close_matches(top, names, n=1)
        return f"did you mean '{near[0]}'?" if near and near[0] != top else ""

    def _below(self, folder: str, part: str) -> list[str]:
        if "*" not in part:
            return [part]
        with os.scandir(os.path.join(self.root, folder)) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() or archives.NAMED.search(entry.name))
        return fnmatch.filter(names, part)

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
            return Problem("", f"missing, there is no folder '{folder}'", remedy=self.other_folder(folder))
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
            self.listings.setdefault(name, listing)
        if folder in listings:
            return listings[folder]
        tops = sorted({member.split("/")[0] for member in members if "/" in member})
        hint = f"its folders begin with {', '.join(tops[:4])}" if tops else "its files lie in no folder"
        return Problem("", f"missing, '{top}' holds no folder '{below}'", remedy=hint)

    def _refuse_link(self, path: str) -> Problem | None:
        target = os.path.realpath(path)
        if not self._inside(target):
            return _leaves(f": it is a link to {target}", "the image")
        if os.path.isfile(target):
            return None
        there = "what is no file" if os.path.exists(target) else "nothing"
        return Problem("", "is a loop of links" if os.path.islink(target) else f"is a link to {there}")

    def _inside(self, real: str) -> bool:
        return self.follow_links or real == self.real or real.startswith(self.real.rstrip("/") + "/")


def _leaves(how: str, what: str) -> Problem:
    return Problem(
        "", f"leaves data.root{how}", remedy=f"data.follow_links: true follows links; or copy {what} below it"
    )

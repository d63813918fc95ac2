"""Turn the config's image templates into paths that exist below the root, without a system call per image."""

from __future__ import annotations

import operator
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.competition import image_stacks
from pipeline.competition.image_folders import ARRAYS, FLOAT, SUFFIXES, Folders
from pipeline.competition.rows.rows import RowProblem
from pipeline.competition.templates import fill
from pipeline.errors import Problem, Refused, some

if TYPE_CHECKING:
    import pandas as pd

ENDING, FORM = "with another ending", "in another Unicode form"
BACKSLASHES, NUMBER = "with slashes for backslashes", "as whole numbers"

Source = tuple[str, ...]  # an image's absolute paths, one per plane; () where the test names none that exists


@dataclass(frozen=True)
class Found:
    """Hold every row's image, the rows that have none, and how those were found that are called otherwise."""

    images: list[Source]  # [I]
    absent: list[RowProblem]  # what data.missing=skip may leave out
    refused: list[RowProblem]
    notes: tuple[str, ...] = ()

    def wrong(self, skip: bool) -> list[RowProblem]:
        """Return the rows without an image, in order; without the absent ones where they may be skipped."""
        return self.refused if skip else sorted([*self.absent, *self.refused], key=lambda found: found[0])


class ImagePaths:
    """Resolve templates over rows; only links and names that lead nowhere are looked at one by one.

    Such a name may still mean one file and no other: with another ending or none, in another Unicode form, with
    backslashes, below the root under a path of another machine, as a number that a merge has made a float.
    """

    def __init__(self, root: Path, follow_links: bool = False) -> None:
        self.root, self.folders = str(root), Folders(root, follow_links)
        self.stacks = image_stacks.Stacks(self.root, self._file)

    def resolve(self, table: pd.DataFrame, templates: Sequence[str]) -> Found:
        """Return each row's image, one path per template, and what is absent or refused, by row number.

        A `*` in a template's folder means any folder that holds the file. Raises Refused where a template names
        no column, or one that is not there.
        """
        problems: list[Problem] = []
        planes: list[list[str]] = []
        for template in templates:
            if (wrong := image_stacks.hint(template)) is not None:
                problems.append(wrong)
                continue
            try:
                planes.append(fill(template, table))
            except Refused as error:
                problems += error.problems
        if problems:
            raise Refused(*dict.fromkeys(problems))
        absent, refused = list[RowProblem](), list[RowProblem]()
        ways, first = Counter[str](), dict[str, str]()
        for names, template in zip(planes, templates, strict=True):
            says = os.path.splitext(template)[1].lower() in SUFFIXES | ARRAYS
            stacked = image_stacks.is_stack(template)
            for row, name in self._unknown(names, "*" in template or stacked):
                found = self.stacks.find(name) if stacked else self._find(name, "*" in template)
                if isinstance(found, Problem):
                    (absent if found.found.startswith("missing") else refused).append((row, found.below(name)))
                    continue
                names[row], way = found
                if way and (says or way != ENDING):
                    ways[way] += 1
                    first.setdefault(way, f"'{name}' as '{names[row]}'")
        paths = [[f"{self.root}/{name}" for name in names] for names in planes]
        by_row = operator.itemgetter(0)
        notes = tuple(f"{count} images are found {way}, first {first[way]}" for way, count in ways.items())
        return Found(list(zip(*paths, strict=True)), sorted(absent, key=by_row), sorted(refused, key=by_row), notes)

    def _unknown(self, names: list[str], several: bool) -> Iterator[tuple[int, str]]:
        """Yield the rows whose name is not plainly a file's."""
        for row, name in enumerate(names):
            folder, _, file = name.rpartition("/")
            if several or not self.folders.has(folder, file) or name[0] == "/":
                yield row, name

    def _find(self, name: str, several: bool) -> tuple[str, str] | Problem:
        """Return the path below the root that a name means and how it was found, '' as it stands; or why none is."""
        if several:
            return self._in_one_of(name)
        told = Problem("", "is absolute", "a path below data.root") if name.startswith("/") else None
        for meant, way in self._meanings(name):
            found = self._file(meant)
            if not isinstance(found, Problem):
                return found[0], way or found[1]
            if told is None and not found.found.startswith("missing"):
                return found
            told = found if told is None or (found.remedy and not told.remedy) else told
        return told if told is not None and told.remedy else self._hint(name, told or Problem("", "missing"))

    def _file(self, name: str) -> tuple[str, str] | Problem:
        """Return a file, or the one that is called so but for its ending or Unicode form, with how it was found."""
        refused = self.folders.refuse(name)
        folder, _, file = name.rpartition("/")
        if refused is None:
            return name, ""
        if not refused.found.startswith("missing") or not (like := self.folders.like(folder, file)):
            return refused
        if len(like) > 1:
            found = f"missing, but {some(like)} are there"
            return Problem("", found, remedy="name the ending of the images in the template")
        same = os.path.splitext(file)[1].lower() == os.path.splitext(like[0])[1].lower()
        if not same and self.folders.is_ambiguous(folder):  # masks, perhaps, that lie beside their images
            return Problem("", "missing", remedy=f"there is '{like[0]}', correct the ending in the template")
        other = f"{folder}/{like[0]}" if folder else like[0]
        same = unicodedata.normalize("NFC", file) == unicodedata.normalize("NFC", like[0])
        return self.folders.refuse(other) or (other, FORM if same else ENDING)

    def _in_one_of(self, name: str) -> tuple[str, str] | Problem:
        """Return the one file of this name in the folders that a pattern names."""
        pattern, _, file = name.rpartition("/")
        below = self.folders.matching(pattern)
        if not below:
            return Problem("", f"missing, there is no folder '{pattern}'", remedy=self.folders.other_folder(pattern))
        plainly = self.folders.holders(pattern, file)
        found = {folder: self._find(f"{folder}/{file}", False) for folder in plainly or below}
        there = {folder: one for folder, one in found.items() if not isinstance(one, Problem)}
        if len(there) > 1:
            return Problem("", f"lies in several folders: {some(sorted(there))}", "one")
        return next(iter(there.values()), Problem("", f"missing in {some(below)}"))

    def _meanings(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield the paths that a name can stand for below the root, as it stands at first, and how."""
        plain = name.replace("\\", "/")
        if not name.startswith("/"):
            yield name, ""
            if plain != name:
                yield plain, BACKSLASHES
            if (whole := FLOAT.sub(r"\1\2", plain)) != plain:
                yield whole, NUMBER
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        if not parts or ".." in parts:
            return
        if plain.startswith("/") or not os.path.isdir(os.path.join(self.root, parts[0])):
            for count in range(0 if plain.startswith(("/", "./")) else 1, len(parts)):
                yield "/".join(parts[count:]), f"leaving out '{'/'.join(parts[:count])}/'"

    def _hint(self, name: str, told: Problem) -> Problem:
        """Add what the file is called that a number with other zeros before it names."""
        folder, _, file = name.rpartition("/")
        stem, ending = os.path.splitext(file)
        listing = self.folders.listing(folder)
        if stem.isdigit() and isinstance(listing, dict):
            for width in range(len(stem.lstrip("0")) or 1, 13):
                if (other := stem.lstrip("0").zfill(width) + ending) in listing:
                    how = f"write {{column:0{width}}}" if width > len(stem) else "the table has zeros before it"
                    return Problem("", told.found, remedy=f"there is '{other}'; {how}")
        return told

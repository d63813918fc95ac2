"""Turn the config's image template into paths that exist below the root, without a system call per image."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

FILE, LINK, OTHER = range(3)
Listing = dict[str, int]  # name -> one of the three


class ImagePaths:
    """Resolve templates over rows; each folder is listed once, and only links are followed."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.real = os.path.realpath(root)
        self.folders: dict[str, Listing | str] = {}  # or why nothing can be read there
        self.stems: dict[str, dict[str, str]] = {}

    def resolve(self, table: pd.DataFrame, template: str) -> tuple[list[str], list[tuple[int, str]]]:
        """Return each row's absolute path, and the defects as (row number, path: what is wrong).

        Only `{column}` is replaced, so a cell cannot reach into our objects as str.format would allow.
        Raises ValueError where the template names no column, or one that is not there.
        """
        literals, columns = parse(template, [str(column) for column in table.columns])
        cells = [table[column].tolist() for column in columns]
        paths, defects = [], []
        for row, values in enumerate(zip(*cells, strict=True)):
            name = literals[0] + "".join([value + text for value, text in zip(values, literals[1:], strict=True)])
            if (why := self._refuse(name)) is not None:
                defects.append((row, f"{name}: {why}"))
            paths.append(f"{self.root}/{name}")
        return paths, defects

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


def parse(template: str, columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split `a/{x}.png` into its literals ['a/', '.png'] and columns ['x']; raise ValueError otherwise."""
    literals, wanted = re.split(r"\{[^{}]*\}", template), re.findall(r"\{([^{}]*)\}", template)
    if any(brace in text for text in literals for brace in "{}"):
        raise ValueError(f"found '{template}', its braces do not pair; expected {{column}} as in images/{{id}}.png")
    if not wanted:
        raise ValueError(f"found '{template}', it names no column; expected {{column}} as in images/{{id}}.png")
    unknown = [name for name in dict.fromkeys(wanted) if name not in columns]
    if unknown:
        raise ValueError("; ".join(f"'{{{name}}}' is no column{nearest(name, columns)}" for name in unknown))
    return literals, wanted


def nearest(name: str, names: Sequence[str], most: int = 12) -> str:
    """Return a hint: the name that was probably meant, or what there is."""
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; there are: {', '.join(names[:most]) or 'none'}{', …' if len(names) > most else ''}"

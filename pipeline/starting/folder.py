"""List what lies in a competition's folder: tables, pictures, arrays, pictures and tables in archives, descriptions."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.competition.image_folders import ARRAYS, SUFFIXES
from pipeline.competition.image_paths import Found, ImagePaths
from pipeline.competition.tables import is_table
from pipeline.files import archives

if TYPE_CHECKING:
    import pandas as pd

TEXTS = {".md", ".txt"}
MAGIC = (  # how the files of pictures begin, whatever they are called
    *(b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP"),
    *(rb"RIFF....WEBP", rb"....ftyp(avif|heic|mif1)"),
)
IS_PICTURE = re.compile(b"|".join(part if b"...." in part else re.escape(part) for part in MAGIC), re.DOTALL)


@dataclass(frozen=True)
class Folder:
    """Hold the files below root that matter, as relative paths."""

    root: Path
    pictures: tuple[str, ...]  # where there are none: the arrays
    tables: tuple[str, ...]
    texts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # archives that cannot be read in place
    links: tuple[str, ...] = ()  # folders that are links out of the root

    @cached_property
    def by_name(self) -> dict[str, list[str]]:
        """Return the pictures by their file names, and by those without the ending."""
        found = defaultdict(list)
        for path in self.pictures:
            name = composed(path.rpartition("/")[2])
            found[name].append(path)
            if (stem := os.path.splitext(name)[0]) != name:
                found[stem].append(path)
        return dict(found)

    @cached_property
    def widths(self) -> list[int]:
        """Return the lengths of file names that are numbers with zeros before them."""
        return sorted({len(name) for name in self.by_name if name.isdigit() and name.startswith("0") and len(name) > 1})

    @cached_property
    def paths(self) -> ImagePaths:
        """Return what finds pictures as `check` will: only what it reaches counts."""
        return ImagePaths(self.root, follow_links=bool(self.links))

    def resolve(self, table: pd.DataFrame, template: str) -> Found:
        """Return the pictures of the rows by a template; raise Refused where it names no column of the table."""
        return self.paths.resolve(table, [template])

    def count(self, table: pd.DataFrame, template: str) -> int:
        """Return how many rows have a picture by a template; raise as `resolve`."""
        found = self.resolve(table, template)
        return len(table) - len({row for row, _ in (*found.absent, *found.refused)})


def look(root: Path) -> Folder:
    """List the folder; archives count where no folder of their name lies beside them, links to folders are followed."""
    plain: dict[tuple[str, str], list[str]] = defaultdict(list)  # files by their folder and ending
    packed, notes, links, real = list[str](), list[str](), dict[str, str](), os.path.realpath(root)
    for folder, names, files in os.walk(root, followlinks=True):
        names[:] = sorted(
            name for name in names if not name.startswith((".", "__")) and _is_new(folder, name, real, links)
        )
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        for name in sorted(name for name in files if not name.startswith(".") and not _is_pipe(folder, name)):
            ending = os.path.splitext(name)[1].lower()
            if archives.NAMED.search(name):
                if archives.NAMED.sub("", name) not in {*names, *files}:
                    packed.append(prefix + name)
            else:
                plain[prefix, ending].append(prefix + name)
    pictures, arrays, tables, texts = list[str](), list[str](), list[str](), list[str]()
    for (_, ending), paths in plain.items():
        if is_table(paths[0]):
            tables += paths
        elif ending in SUFFIXES or (ending not in ARRAYS | TEXTS and _is_picture(root / paths[0])):
            pictures += paths
        else:
            (arrays if ending in ARRAYS else texts if ending in TEXTS else []).extend(paths)
    for archive in packed:
        try:
            inside = [f"{archive}/{name}" for name in archives.members(str(root / archive)) if not _is_hidden(name)]
        except (ValueError, OSError) as error:
            notes.append(str(error))
            continue
        pictures += _ending(inside, SUFFIXES)
        arrays += _ending(inside, ARRAYS)
        tables += filter(is_table, inside)
    return Folder(root, tuple(pictures or arrays), tuple(tables), tuple(texts), tuple(notes), tuple(links))


def _is_new(folder: str, name: str, root: str, links: dict[str, str]) -> bool:
    """Tell whether a folder is no link to what is walked through already; remember links that lead out of the root."""
    path = os.path.join(folder, name)
    if not os.path.islink(path):
        return True
    real = os.path.realpath(path)
    if any(f"{real}/".startswith(f"{one}/") or f"{one}/".startswith(f"{real}/") for one in (root, *links.values())):
        return False
    links[path] = real
    return True


def _is_pipe(folder: str, name: str) -> bool:
    """Tell whether it is a named pipe or a socket: reading that would wait for ever."""
    try:
        mode = os.stat(os.path.join(folder, name)).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _is_picture(path: Path) -> bool:
    """Tell by its first bytes whether a file is a picture; of files that end alike in one folder the first is asked."""
    try:
        with path.open("rb") as stream:
            return IS_PICTURE.match(stream.read(16)) is not None
    except OSError:
        return False


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "__")) for part in path.split("/"))


def _ending(paths: Sequence[str], endings: set[str]) -> list[str]:
    return [path for path in paths if os.path.splitext(path)[1].lower() in endings]


def composed(name: str) -> str:
    """Return a name with each accent and its letter as one character, as some systems store and others do not."""
    return unicodedata.normalize("NFC", name)


def words(path: str) -> list[str]:
    """Split a path into its words in lower case: train2019.json and trainImages give train."""
    return [word for word in re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path).lower()) if word]

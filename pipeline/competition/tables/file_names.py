"""Make tables of files' names: a folder whose sub-folders are the classes, a template, a regular expression."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.competition.image_folders import ARRAYS, SUFFIXES
from pipeline.competition.templates import split
from pipeline.errors import Problem, Refused, nearest, some
from pipeline.files import archives

if TYPE_CHECKING:
    import pandas as pd

REGULAR = "re:"
HIDDEN = (".", "__MACOSX")
LITTER = {"Thumbs.db", "desktop.ini"}


class Missing(Refused):
    """Say that a table's file or folder is not there."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(Problem("", found, remedy=remedy))


def is_listing(spec: str) -> bool:
    """Tell whether a table's name can only be a pattern of files' names."""
    return spec.startswith(REGULAR) or "{" in spec


def read(root: Path, spec: str, labelled: bool = True) -> tuple[pd.DataFrame, list[str]]:
    """Return one row per file, and notes: its fields or label, `path` below root and `file`, the path's last part.

    A field of the pattern that is called path or file comes first. Of a folder of classes the first folder below it
    is the label; where the folders in it might as well be, that is asked if `labelled`. Raises Missing where the
    folder is not there, Refused where nothing matches.
    """
    import pandas as pd

    columns, pattern = _pattern(root, spec)
    found: list[list[str]] = [[] for _ in columns]
    paths = []
    for path, match in _matches(root, spec, pattern):
        paths.append(path)
        for cells, text in zip(found, [match[name] for name in pattern.groupindex] or match.groups(), strict=True):
            cells.append(text or "")
    if not paths:
        example = next(iter(_candidates(root, spec)), None)
        if example is None:
            raise Refused(Problem("", "holds no file"))
        what = "matches no file" if is_listing(spec) else "holds no image"
        raise Refused(Problem("", what, remedy=f"there is '{example}'"))
    fields = dict(zip(columns, found, strict=True))
    table = pd.DataFrame({"path": paths, "file": [path.rpartition("/")[2] for path in paths], **fields}, dtype=str)
    return table, [] if is_listing(spec) else [*_deeper(table, spec, labelled), *_passed_over(root, spec, paths)]


def _deeper(table: pd.DataFrame, spec: str, labelled: bool) -> list[str]:
    """Say which folders lie in the classes' own; refuse where these could be the classes."""
    first = spec.strip("/").count("/") + 1
    inner = {path: parts[first + 1] for path in table["path"] if len(parts := path.split("/")) > first + 2}
    if not inner or not labelled:
        return []
    below: dict[str, set[str]] = {}
    for path, label in zip(table["path"], table["label"], strict=True):
        below.setdefault(label, set()).update({inner[path]} if path in inner else ())
    names = sorted(set(inner.values()))
    if len(inner) == len(table) and sum(map(len, below.values())) == len(names) > len(below):
        found = f"has folders in its folders, such as '{next(iter(inner))}': which of both are the classes?"
        top, deep = (f"{spec.strip('/')}/{parts}" for parts in ("{label}/{part}/{file}", "{group}/{label}/{file}"))
        raise Refused(Problem("", found, remedy=f"write the template {top} or {deep}"))
    return [
        f"the folders in the classes' own ({some(names)}) are no labels; a template such as a/{{b}}/{{c}} names them"
    ]


def _passed_over(root: Path, spec: str, paths: list[str]) -> list[str]:
    """Count the files of a folder of classes that are no images by their names."""
    taken = set(paths)
    other = [path for path in _candidates(root, spec) if path not in taken and path.rpartition("/")[2] not in LITTER]
    return [f"{len(other)} files are passed over, as no images by their endings, first {other[0]}"] if other else []


def names(root: Path, spec: str) -> list[str]:
    """Return the paths below root that a listing consists of."""
    return [path for path, _ in _matches(root, spec, _pattern(root, spec)[1])]


def _pattern(root: Path, spec: str) -> tuple[list[str], re.Pattern[str]]:
    """Return the columns and the expression, a group for each, that matches whole paths below root."""
    if spec.startswith(REGULAR):
        try:
            pattern = re.compile(spec.removeprefix(REGULAR))
        except re.error as error:
            raise Refused(Problem("", f"is no regular expression: {error}")) from None
        if not pattern.groupindex:
            raise Refused(Problem("", "has no groups", "named groups, as in re:train/(?P<label>[^/.]+)[^/]*"))
        return list(pattern.groupindex), pattern
    if "{" not in spec:
        return ["label"], re.compile(f"{re.escape(spec.strip('/'))}/(?:([^/]+)/(?:.+/)?)?[^/]+")
    literals, fields = split(spec)
    if not all(fields):
        raise Refused(Problem("", "has empty braces", "names of new columns as in train/{label}.{number}.jpg"))
    text, seen = re.escape(literals[0]), dict[str, int]()
    for name, literal in zip(fields, literals[1:], strict=True):
        text += f"\\{seen[name]}" if name in seen else "([^/]+?)"
        seen.setdefault(name, len(seen) + 1)
        text += f"(?:){re.escape(literal)}"  # so that digits do not prolong the group's number
    return list(seen), re.compile(text)


def _matches(root: Path, spec: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, re.Match[str]]]:
    plain = not is_listing(spec)
    for path in _candidates(root, spec):
        if plain and os.path.splitext(path)[1].lower() not in SUFFIXES | ARRAYS:
            continue
        if (match := pattern.fullmatch(path)) is not None:
            yield path, match


def _candidates(root: Path, spec: str) -> Iterator[str]:
    """Yield the paths below root, sorted, that may belong to the listing."""
    if spec.startswith(REGULAR):
        for name in walk(str(root)):
            yield name
            if archives.NAMED.search(name) and (name in spec or re.escape(name) in spec):
                yield from (f"{name}/{member}" for member in sorted(archives.members(str(root / name))))
        return
    folder = (spec.partition("{")[0].rpartition("/")[0] if "{" in spec else spec).strip("/")
    inside = archives.split(f"{root}/{folder}")
    if inside is not None:
        archive, below = inside
        top = folder.removesuffix(below).rstrip("/")
        yield from sorted(f"{top}/{name}" for name in archives.members(archive) if name.startswith(below))
        return
    if not (root / folder).is_dir():
        here = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() or archives.NAMED.search(entry.name))
        raise Missing(f"missing, there is no folder '{folder}'", nearest(folder.split("/")[0], here))
    depth = spec.count("/") - folder.count("/") - bool(folder) if "{" in spec else None
    for name in walk(str(root / folder), depth):
        yield f"{folder}/{name}" if folder else name


def walk(folder: str, depth: int | None = None, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the files below a folder in a fixed order, as paths below it, without hidden ones.

    A link to a folder that it lies in, of those `above`, is passed over: it would lead round and round.
    """
    above |= {os.path.realpath(folder)}
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(HIDDEN))
    for name, is_folder in found:
        if not is_folder:
            yield name
        elif depth is None or depth > 0:
            inside = os.path.join(folder, name)
            if os.path.islink(inside) and os.path.realpath(inside) in above:
                continue
            below = walk(inside, None if depth is None else depth - 1, above)
            yield from (f"{name}/{inner}" for inner in below)

"""Name the images of a folder or archive by the config's template, which their table would have used."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.competition import image_stacks
from pipeline.competition.image_folders import SUFFIXES
from pipeline.competition.image_paths import Source
from pipeline.competition.rows.reader import NO_IMAGE
from pipeline.competition.rows.rows import SHOWN, Findings, Origin, Rows
from pipeline.competition.tables import columns
from pipeline.competition.tables.file_names import walk
from pipeline.competition.templates import BRACES
from pipeline.config.sections.data_items import Arrays
from pipeline.errors import InputError, Problem, problems_of
from pipeline.files import archives, parts

if TYPE_CHECKING:
    from pipeline.config.config import Config


def id_pattern(template: str, column: str) -> re.Pattern[str] | None:
    """Return what finds the id in a file's path: the template's last parts, down to the one that holds `{column}`.

    Other columns match anything within one name and are groups of their own: c0, c1, … by their place among the
    template's fields. None where the template does not hold the id.
    """
    parts = template.split("/")
    first = max((n for n, part in enumerate(parts) if f"{{{column}}}" in part), default=None)
    if first is None:
        return None
    text, groups = "", dict[str, str]()
    number = len(BRACES.findall("/".join(parts[:first])))
    for piece in re.split(r"(\{[^{}]*\})", "/".join(parts[first:])):
        if not re.fullmatch(r"\{[^{}]*\}", piece):
            text += re.escape(piece).replace(r"\*", "[^/]*")
            continue
        if piece in groups:
            text += f"(?P={groups[piece]})"
        else:
            groups[piece] = "id" if piece == f"{{{column}}}" else f"c{number}"
            text += f"(?P<{groups[piece]}>[^/]{'+' if groups[piece] == 'id' else '*'})"
        number += 1
    return re.compile(f"(?:^|/){text}$")


def read(folder: Path, config: Config, findings: Findings) -> tuple[Rows, list[Source]]:
    """Return a row per image and its planes; other files are counted in a note.

    Raises InputError where there is no image, or where the config's images are no files.
    """
    data, place = config.data, f"--test {folder}"
    images = data.test_image or data.image
    if isinstance(images, Arrays):
        raise InputError(Problem(place, "a folder", "a table, since data.image are numbers in its rows"))
    if data.crop is not None and data.crop.columns is not None:
        raise InputError(Problem(place, "a folder", f"a table with {', '.join(data.crop.columns)} (data.crop.columns)"))
    templates = [images] if isinstance(images, str) else images
    patterns = [(id_pattern(template, data.id), BRACES.findall(template)) for template in templates]
    planes: dict[str, dict[int, str]] = {}
    cells: dict[str, dict[str, str]] = {}
    repeated, other = [], 0
    for path in _files(folder):
        name, plane, found = _match(path, patterns, data.id)
        if name is None:
            other += 1
            continue
        first = planes.setdefault(name, {}).setdefault(plane, path)
        if first != path:
            remedy = "rename one of them, or pass a CSV"
            repeated.append(Problem(path, f"has the id '{name}' of {first}", remedy=remedy))
        cells[name] = {**found, **cells.get(name, {})}
    if not planes:
        raise InputError(Problem(place, "holds no image", "files such as .jpg or .png"))
    findings.add("ids that stand twice", repeated)
    pairs = [(name, plane) for name in planes for plane in range(len(templates))]
    lacking = [f"id '{name}' has no file for {templates[plane]}" for name, plane in pairs if plane not in planes[name]]
    findings.add(NO_IMAGE, (Problem(str(folder), text) for text in lacking))
    if findings.kinds:
        raise InputError(*findings.problems(SHOWN))
    if other:
        findings.notes.append(f"{other} files are no images and were left out")
    sources = [tuple(planes[name][n] for n in range(len(templates))) for name in planes]
    return _rows(folder, cells, config), sources


def read_stack(path: Path, config: Config, findings: Findings) -> tuple[Rows, list[Source]]:
    """Return a row for each image of an npy file; their ids are their numbers unless data.derive makes others.

    Raises InputError where the config's images are no rows of such a file.
    """
    import pandas as pd

    data, place = config.data, f"--test {path}"
    images = data.test_image or data.image
    if not isinstance(images, str) or not image_stacks.is_stack(images):
        raise InputError(Problem(place, "an array", "a folder or a table, since data.image is no row of an array"))
    try:
        shape = parts.stack(str(path)).shape
    except (OSError, ValueError) as error:
        raise InputError(Problem(place, f"cannot be read: {error}")) from None
    if len(shape) < 3:
        raise InputError(Problem(place, f"holds an array of shape {shape}", "images: N×H×W, N×H×W×C or N×C×H×W"))
    numbers = [str(number) for number in range(shape[0])]
    rows = Rows(path, pd.DataFrame({data.id: numbers}, dtype=str), (Origin(path, "image", 0),))
    return columns.derive(rows, data.derive, findings, lenient=True), [(f"{path}[{number}]",) for number in numbers]


def _rows(folder: Path, cells: dict[str, dict[str, str]], config: Config) -> Rows:
    import pandas as pd

    table = pd.DataFrame(list(cells.values()), dtype=str).fillna("")
    table[config.data.id] = list(cells)
    rows = Rows(folder, table, (Origin(folder, names=list(cells)),))
    return columns.derive(rows, config.data.derive, Findings(), lenient=True)


def _files(folder: Path) -> list[str]:
    if folder.is_dir():
        return [f"{folder}/{name}" for name in walk(str(folder))]
    try:
        return [f"{folder}/{member}" for member in sorted(archives.members(str(folder)))]
    except ValueError as error:
        raise InputError(*(one.below(f"--test {folder}") for one in problems_of(error))) from None


def _match(
    path: str, patterns: Sequence[tuple[re.Pattern[str] | None, list[str]]], column: str
) -> tuple[str | None, int, dict[str, str]]:
    """Return a file's id, the plane that it is, and the other columns that its path tells; None: no image."""
    for plane, (pattern, fields) in enumerate(patterns):
        match = pattern.search(path) if pattern else None
        if match is not None:
            found = {fields[int(group[1:])]: text for group, text in match.groupdict().items() if group != "id"}
            return match["id"], plane, {name: text for name, text in found.items() if name != column}
    stem, suffix = os.path.splitext(os.path.basename(path))
    return (stem if len(patterns) == 1 and suffix.lower() in SUFFIXES else None), 0, {}

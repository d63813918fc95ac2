"""Try what was guessed as `check` will: read the tables, find the pictures, look for damaged ones."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.competition.competition import Competition, survey
from pipeline.competition.data_root import find_root
from pipeline.competition.image_folders import ARRAYS
from pipeline.competition.rows.reader import NO_IMAGE
from pipeline.config import loading
from pipeline.errors import FoldlineError, Problem, some
from pipeline.files import archives
from pipeline.starting.kinds import Guess

FEW = 0.05  # share of the pictures that may be absent or damaged and cost their rows alone
ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}  # how files of a kind begin -> what stands at their end
OTHERS = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0c"}  # TIFF, JPEG 2000
MOST_PIXELS = 178_956_970  # of a picture that is tried: larger ones take too long and are left to `check`
TAIL = 4096  # bytes in which the end is looked for
DECODED, READ = 300, 50_000  # most pictures that are decoded, and most whose end is read


@dataclass(frozen=True)
class Outcome:
    """Hold the guesses that a trial adds, what it noted, and what `check` will refuse."""

    guesses: list[Guess]
    notes: list[str]
    problems: list[Problem]


def run(tree: dict[str, Any], place: str) -> Outcome:
    """Read the competition by these keys; where few pictures are absent or damaged, choose `data.missing: skip`."""
    root = str(find_root(tree["data"]["root"]))
    with tempfile.TemporaryDirectory() as folder:
        tree = {**tree, "data": {**tree["data"], "cache": {"dir": folder}}}
        try:
            competition, findings = survey(loading.parse(tree, place))
            problems, guesses = findings.problems(), list[Guess]()
            if set(findings.kinds) == {NO_IMAGE}:
                competition, _ = survey(loading.parse({**tree, "data": {**tree["data"], "missing": "skip"}}, place))
                absent = findings.kinds[NO_IMAGE]
                if competition is None or not _are_few_absent(len(absent), competition):
                    return Outcome([], [], [_first(absent, "set data.missing: skip to leave such rows out")])
                places = some([str(problem).removeprefix(f"{root}/") for problem in absent], 3)
                guesses = [("data.missing", "skip", f"{len(absent)} rows have no picture: {places}")]
        except FoldlineError as error:
            return Outcome([], [], list(error.problems))
        if competition is None:
            return Outcome([], [], problems)
        damaged = [_damaged(_files(images)) for images in (competition.images, competition.test_images)]
        if not any(damaged):
            return Outcome(guesses, list(competition.notes), [])
        names = [os.path.relpath(path, root) for found in damaged for path in found]
        if _are_few([len(found) for found in damaged], competition):
            guesses = [("data.missing", "skip", f"damaged: {some(names, 3)}"), *guesses]
            return Outcome(guesses, list(competition.notes), [])
        remedy = "mend the files, or set data.missing: skip, or data.truncated: decode where they end too early"
        wrong = [Problem(name, "is damaged, or no picture", remedy=remedy) for name in names]
        return Outcome(guesses, list(competition.notes), wrong)


def _are_few_absent(absent: int, competition: Competition) -> bool:
    test = sum(image == () for image in competition.test_images)
    return _are_few([absent - test, test], competition)


def _first(problems: Sequence[Problem], remedy: str) -> Problem:
    """Return one problem for all pictures that are absent."""
    found = f"{len(problems)} rows have no picture, first {problems[0]}"
    return Problem("", found, remedy="" if problems[0].remedy else remedy)


def _are_few(wrong: Iterable[int], competition: Competition) -> bool:
    totals = (len(competition.images), len(competition.test_images))
    return all(count <= FEW * total for count, total in zip(wrong, totals, strict=True))


def _files(images: Iterable[tuple[str, ...]]) -> list[str]:
    """Return the files of pictures; arrays and rows of them are left to `check`."""
    every = (path for planes in images for path in planes)
    return sorted({path for path in every if not any(ending in path.lower() for ending in ARRAYS)})


def _damaged(paths: list[str]) -> list[str]:
    """Return the pictures that cannot be decoded: of many, those whose file does not end as it should."""
    if len(paths) > DECODED:
        paths = [path for path in paths[:: max(1, len(paths) // READ)] if _is_cut(path)]
    return [path for path in paths[: 10 * DECODED] if not _opens(path)]


def _is_cut(path: str) -> bool:
    """Tell whether a JPEG or PNG lacks its end; files in archives have a checksum."""
    if archives.split(path) is not None:
        return False
    try:
        with open(path, "rb") as stream:
            start = stream.read(2)
            stream.seek(max(0, os.path.getsize(path) - TAIL))
            return start not in ENDS or ENDS[start] not in stream.read()
    except OSError:
        return True


def _opens(path: str) -> bool:
    """Tell whether a picture decodes; kinds that Pillow may not know are left to `check`."""
    from PIL import Image, UnidentifiedImageError

    try:
        inside = archives.split(path)
        content = archives.read(*inside) if inside else Path(path).read_bytes()
        if content[:4] in OTHERS or content[128:132] == b"DICM":
            return True
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MOST_PIXELS:
                return True
            image.load()
    except Image.DecompressionBombError:
        return True
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError):
        return False
    return True

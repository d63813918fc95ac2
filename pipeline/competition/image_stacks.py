"""Find images that are rows of one array file: the template `X_train.npy[{row}]`."""

from __future__ import annotations

import re
from collections.abc import Callable

from pipeline.errors import Problem
from pipeline.files import parts

IS_ROW = re.compile(r"\.np[yz](/[^/\[\]]+)?\[.*\{.*\].*$", re.IGNORECASE | re.DOTALL)
FILE = re.compile(r"(?P<file>.*\.np[yz](?:/[^/\[\]]+)?)\[(?P<row>[^\[\]]*)\]", re.IGNORECASE | re.DOTALL)

Find = Callable[[str], "tuple[str, str] | Problem"]


def is_stack(template: str) -> bool:
    """Tell whether a template names a row of an array."""
    return IS_ROW.search(template) is not None


def hint(template: str) -> Problem | None:
    """Say how one array file for all rows is named, where a template names no column."""
    if "{" in template or not template.lower().endswith((".npy", ".npz")):
        return None
    wanted = f"a row of it, '{template}[{{row}}]', with data.derive: {{row: {{count_from: 0}}}}"
    return Problem("", f"found '{template}', one file for all rows", wanted)


class Stacks:
    """Look up each array file once."""

    def __init__(self, root: str, find: Find) -> None:
        self._root, self._find = root, find
        self._known: dict[str, tuple[str, int] | Problem] = {}  # the path below the root, how many images it holds

    def find(self, name: str) -> tuple[str, str] | Problem:
        """Return the path of a row below the root, or why there is none."""
        match = FILE.fullmatch(name)
        if match is None:
            return Problem("", "names no row", "a number in brackets, as in X_train.npy[5]")
        if match["file"] not in self._known:
            self._known[match["file"]] = self._look(match["file"])
        found = self._known[match["file"]]
        if isinstance(found, Problem):
            return found
        path, count = found
        if not re.fullmatch(r"\d+", match["row"]) or int(match["row"]) >= count:
            return Problem("", f"has no row '{match['row']}'", f"a number from 0 to {count - 1}")
        return f"{path}[{int(match['row'])}]", ""

    def _look(self, name: str) -> tuple[str, int] | Problem:
        file = parts.file_of(f"{name}[0]")
        found = self._find(file)
        if isinstance(found, Problem):
            return found
        path = found[0] + name[len(file) :]
        try:
            shape = parts.stack(f"{self._root}/{path}").shape
        except (OSError, ValueError) as error:
            return Problem("", " ".join(str(error).split()))
        if len(shape) < 3:
            return Problem("", f"holds an array of shape {shape}", "images: N×H×W, N×H×W×C or N×C×H×W")
        return path, shape[0]

"""Find labels in paths: a folder per class, wherever the classes begin, and labels that begin file names."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.competition.tables import read_table
from pipeline.errors import InputError, Problem, some
from pipeline.starting.folder import Folder, words

TRAIN, TEST = {"train", "training"}, {"test", "tests", "testing", "unlabeled", "unlabelled", "pred"}
VALID = {"val", "valid", "validation"}
NO_CLASSES = {"image", "images", "img", "imgs", "mask", "masks", "data", "labels", "annotations", "pictures", "photos"}
MOST_NAMED = 40  # classes that a pattern lists by name
LOOSE = 0.1  # share of pictures that may lie beside the classes' folders
SHARED = 0.9  # of the file names that stand in every class: the same things are shown


@dataclass(frozen=True)
class Found:
    """Hold what `data.train` is, the classes, and whether the same file names stand in every class."""

    specs: list[str]
    labels: list[str]
    why: str
    paired: bool = False


def classes(folder: Folder, wanted: Iterable[str]) -> Found | None:
    """Return where the classes' folders are, or None; `wanted` are labels that the sample submission names.

    Of nested folders the uppermost are the classes, unless the sample names the innermost, or cannot tell where each
    has names of its own: then InputError asks.
    """
    paths = [path for path in folder.pictures if "/" in path and not _is_test(os.path.dirname(path))]
    top = _top(paths, "")
    below = _below(paths, top)
    names = Counter(path.partition("/")[0] for path in below if "/" in path)
    valid = _valid(folder, paths, top, set(names))
    if len(names) < 2 or {name.lower() for name in names} <= NO_CLASSES or names.total() < (1 - LOOSE) * len(below):
        return None
    inner = {os.path.dirname(path).rpartition("/")[2] for path in below if path.count("/") > 1}
    nested, by_inner = bool(inner), False
    if nested:
        by_inner = _innermost(top, names, below, inner, set(wanted))
        labels = sorted({os.path.dirname(path).rpartition("/")[2] for path in below if "/" in path})
    if not by_inner:
        labels = sorted(names)
    specs = [_spec(folder, one, labels, by_inner) for one in ([top] if valid is None else [top, valid])]
    what = "innermost folders" if by_inner else f"{len(labels)} sub-folders" if top else f"{len(labels)} folders"
    why = f"no table leads to pictures; its {what} are the labels"
    if valid:
        why += f"; those of {valid} are further rows for the folds"
    return Found(specs, labels, why, _paired(below))


def _is_test(path: str) -> bool:
    return bool(TEST & set(words(path)))


def _below(paths: Sequence[str], top: str) -> list[str]:
    prefix = f"{top}/" if top else ""
    return [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]


def _top(paths: Sequence[str], top: str) -> str:
    """Return the folder whose sub-folders are the classes: below train, and below all that is alone."""
    below = _below(paths, top)
    names = Counter(path.partition("/")[0] for path in below if "/" in path)
    deeper = {path.partition("/")[0] for path in below if path.count("/") > 1}
    named = [name for name in names if TRAIN & set(words(name)) and name in deeper]
    alone = [name for name in names if len(names) == 1 and name in deeper]
    nexts = named or alone
    if not nexts:
        return top
    best = max(nexts, key=lambda name: names[name])
    return _top(paths, f"{top}/{best}" if top else best)


def _valid(folder: Folder, paths: Sequence[str], top: str, names: set[str]) -> str | None:
    """Return the folder of validation pictures beside `top` that has no other classes, or None."""
    above, _, own = top.rpartition("/")
    beside = {path.partition("/")[0] for path in _below(paths, above) if "/" in path}
    for name in sorted(beside - {own}):
        other = f"{above}/{name}" if above else name
        theirs = {path.partition("/")[0] for path in _below(paths, other) if path.count("/") == 1}
        if VALID & set(words(name)) and theirs and theirs <= names:
            return other
    return None


def _innermost(top: str, names: Counter[str], below: Sequence[str], inner: set[str], wanted: set[str]) -> bool:
    """Tell whether the innermost of nested folders are the classes."""
    if len(wanted & inner) != len(wanted & set(names)):
        return len(wanted & inner) > len(wanted & set(names))
    over: dict[str, set[str]] = defaultdict(set)
    for path in below:
        over[os.path.dirname(path).rpartition("/")[2]].add(path.partition("/")[0])
    if wanted & set(names) or any(len(over[name]) > 1 for name in inner) or len(inner) <= len(names):
        return False
    upper, lower = some(sorted(names), 3), some(sorted(inner), 3)
    found = f"its folders are nested, and the sample submission names neither {upper} nor {lower}"
    remedy = f'set data.train: "re:{top}/(?P<label>[^/]+)/.+" where the upper ones are the classes'
    raise InputError(Problem(folder_name(top), found, "one level that is the classes", remedy))


def folder_name(top: str) -> str:
    """Return how a folder below the root is called in a message."""
    return top or "the competition's folder"


def _spec(folder: Folder, top: str, labels: Sequence[str], by_inner: bool) -> str:
    """Return what lists all pictures with their labels: the folder, else a regular expression over paths."""
    here = [path for path in folder.pictures if not top or path.startswith(f"{top}/")]
    if top and not by_inner and {path.count("/") - top.count("/") for path in here} == {2}:
        try:
            table = read_table(folder.root, top)
            if len(table) == len(here) and set(table["label"]) <= set(labels):
                return top
        except (ValueError, OSError):
            pass
    others = sorted({path.partition("/")[0] for path in here} - set(labels))
    start = re.escape(f"{top}/") if top else f"(?!(?:{'|'.join(map(re.escape, others))})/)" if others else ""
    choice = "|".join(map(re.escape, labels)) if not top and len(labels) <= MOST_NAMED else "[^/]+"
    if not top and len(labels) <= MOST_NAMED and not by_inner:
        start = ""
    bare = [os.path.splitext(path)[1].lower().lstrip(".") for path in here]
    ending = rf"\.(?i:{'|'.join(sorted(set(bare)))})" if all(bare) else ""
    if by_inner:
        return f"re:{start}(?:.+/)?(?P<label>[^/]+)/[^/]+{ending}"
    return f"re:{start}(?P<label>{choice})/.+{ending}"


def _paired(below: Sequence[str]) -> bool:
    """Tell whether the same file names stand in every class: several versions of one picture, or their numbers."""
    named: dict[str, set[str]] = defaultdict(set)
    for path in below:
        named[path.partition("/")[0]].add(path.rpartition("/")[2])
    shared, every = set.intersection(*named.values()), set.union(*named.values())
    return len(shared) >= SHARED * len(every)


def labels_in_names(folder: Folder) -> tuple[str, list[str]] | None:
    """Return a regular expression over paths such as train/cat.0.jpg, and its labels, or None."""
    found: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for path in folder.pictures:
        top, _, name = path.rpartition("/")
        match = re.fullmatch(r"([^\W\d][^\d]*?)([._-]?)\d+(\.\w+)", name)
        if match and not _is_test(top):
            found[top, match[2], match[3]][match[1]] += 1
    fitting = {key: counts for key, counts in found.items() if len(counts) > 1 and min(counts.values()) > 1}
    if not fitting:
        return None
    top, between, ending = best = max(fitting, key=lambda key: (bool(TRAIN & {*words(key[0])}), fitting[key].total()))
    names = sorted(fitting[best])
    start = re.escape(f"{top}/") if top else ""
    choice = "|".join(map(re.escape, names))
    return f"re:{start}(?P<id>(?P<label>{choice}){re.escape(between)}\\d+){re.escape(ending)}", names

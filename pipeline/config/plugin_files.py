"""Keep what a user wrote outside the package with the run that was made with it: it has to predict alone.

Wherever a config names a loss, mixer, view, metric, blender or model it may say FILE.py:function.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.keys import KEYS, plugins
from pipeline.config.sections.section import Affects
from pipeline.config.trees import at
from pipeline.errors import FoldlineError, InputError, Problem, problems_of
from pipeline.files.atomic import atomic
from pipeline.plugins import OWN, ask, ask_copy, file_of, is_asked, named, place_of, trusted, untrusted

if TYPE_CHECKING:
    from pipeline.config.config import Config

FOLDER = OWN  # of a run
MARKS = (FOLDER, "stamps", "env.json", "fold[0-9]*")  # that only a run's folder holds


def names(tree: dict[str, Any]) -> list[str]:
    """Return every FILE.py:function that a config's keys name."""
    return [name for _, name in _named(_values(tree))]


def files(found: Mapping[str, Any], run: Path | None = None) -> dict[str, list[Path]]:
    """Return section -> the files that dotted keys and their values name, in order, each once.

    With `run` they are that run's own copies, those that it has: its config may come from another machine.
    """
    held: dict[str, list[Path]] = {}
    for key, name in _named(found):
        file = place_of(name) if run is None else kept(name, run)
        section = held.setdefault(key.split(".")[0], [])
        if file is not None and file not in section:
            section.append(file)
    return {section: several for section, several in held.items() if several}


def problems(tree: dict[str, Any], strange: Collection[str] = ()) -> list[tuple[str, Problem]]:
    """Return what is wrong with the functions that a config's keys name, each with its key; they are loaded for it.

    Those that are `strange` are not: a run's config names them, which nobody trusts.
    """
    found = dict[tuple[str, Problem], None]()
    places: dict[str, Path] = {}
    for key, name in _named(_values(tree)):
        file, find = place_of(name), KEYS[key].plugin
        assert file is not None and find is not None
        try:
            if name in strange:
                raise InputError(untrusted(name))
            find(name)
        except FoldlineError as error:
            found |= {(key, one.below(key)): None for one in error.problems}
        except ValueError as error:
            found |= {(key, one.below(key)): None for one in problems_of(error)}
        other = places.setdefault(file.name, file)
        if other.resolve() != file.resolve():
            twice = f"found {other} and {file}, of which the run's folder can hold one {file.name}"
            found[key, Problem(key, twice, remedy="rename one of them")] = None
    return list(found)


def keep(config: Config, trained: bool) -> list[Path]:
    """Copy the user's files that a config names into the run's folder, as they are now; return the copies.

    After training (`trained`) those that weights depend on stay as they were then.
    """
    tree = config.model_dump(mode="json")
    fixed = {name for name in plugins() if KEYS[name].affects & Affects.TRAINING} if trained else set()
    named = [files({name: at(tree, name) for name in names}) for names in (fixed, plugins())]
    fixed_files, found = ({file for held in sections.values() for file in held} for sections in named)
    copies = []
    for file in found - fixed_files:
        if file.is_file() and file.parent != config.run_dir / FOLDER:
            copies.append(config.run_dir / FOLDER / file.name)
            with atomic(copies[-1]) as beside:
                beside.write_bytes(file.read_bytes())
    return copies


def is_run(folder: Path) -> bool:
    """Tell whether a folder is a run's, so that the configs in it may be anyone's."""
    return any(next(folder.glob(mark), None) is not None for mark in MARKS)


def kept(name: str, run: Path) -> Path | None:
    """Return a run's own copy of the file that a name leads to; None where it has none, or a link to elsewhere."""
    file, folder = file_of(name), run.resolve() / FOLDER
    if file is None or not (folder / file.name).is_file() or (folder / file.name).resolve().parent != folder:
        return None
    return run / FOLDER / file.name


def is_kept(name: str, run: Path) -> bool:
    """Tell whether the file that a name leads to is there and is what the run's own copy is."""
    file, copy = place_of(name), kept(name, run)
    try:
        return file is not None and copy is not None and file.is_file() and file.read_bytes() == copy.read_bytes()
    except OSError:
        return False


def ask_copies(tree: dict[str, Any], run: Path) -> set[str]:
    """Let a run's config name the run's own copies, but of files that are still there as they were; in place.

    With `--trust` these may run, under the names that the config gives them; returned is what may not run. Nothing
    else that stands in a run's folder, or that its config leads to, ever may. A run of several seeds has the copies of
    the runs of each.
    """
    may: list[str] = []
    seeds, whole = at(tree, "train.seeds"), run.resolve()
    runs = [run, *(whole.with_name(f"{whole.name}-s{seed}") for seed in (seeds if isinstance(seeds, list) else []))]
    for key in plugins():
        *parents, last = key.split(".")
        section = at(tree, ".".join(parents)) if parents else tree
        if isinstance(section, dict) and last in section:
            value = section[last]
            copied = [_copy(name, runs) for name in (value if isinstance(value, list) else [value])]
            section[last] = [name for name, _ in copied] if isinstance(value, list) else copied[0][0]
            may += [name for name, has in copied if has] if trusted() else []
    return {*named(tree)} - {*may}


def _copy(name: Any, runs: Sequence[Path]) -> tuple[Any, bool]:
    """Return a name as it runs where the run is trusted, and whether a run has a copy of its file; ask for it then."""
    run = next((run for run in runs if isinstance(name, str) and kept(name, run) is not None), None)
    copy = None if run is None else kept(name, run)
    if run is None or copy is None:
        return name, False
    if not (is_kept(name, run) or ask_copy(name, copy)):
        name = f"{copy}:{name.rpartition(':')[2]}"
    if trusted() and not is_asked(name):
        ask([name])
    return name, True


def _values(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: at(tree, key) for key in plugins()}


def _named(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each key, of those that may, with a FILE.py:function that it holds."""
    for key in plugins():
        value = found.get(key)
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and file_of(name) is not None:
                yield key, name

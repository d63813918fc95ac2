"""Keep what a user wrote outside the package with the run that was made with it: it has to predict alone.

Wherever a config names a loss, mixer, view, metric, blender or model it may say FILE.py:function.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.keys import KEYS, plugins
from pipeline.config.sections.section import Affects
from pipeline.config.trees import at
from pipeline.files.atomic import write_text
from pipeline.plugins import file_of

if TYPE_CHECKING:
    from pipeline.config.config import Config

FOLDER = "own"  # of a run


def files(found: Mapping[str, Any]) -> dict[str, list[Path]]:
    """Return section -> the files that dotted keys and their values name, in order, each once."""
    named: dict[str, list[Path]] = {}
    for key in plugins():
        value = found.get(key)
        for name in value if isinstance(value, list) else [value]:
            file = file_of(name) if isinstance(name, str) else None
            held = named.setdefault(key.split(".")[0], [])
            if file is not None and file not in held:
                held.append(file)
    return {section: held for section, held in named.items() if held}


def keep(config: Config, trained: bool) -> list[Path]:
    """Copy the user's files that a config names into the run's folder, as they are now; return the copies.

    After training (`trained`) those that weights depend on stay as they were then.
    """
    tree = config.model_dump(mode="json")
    fixed = {name for name in plugins() if KEYS[name].affects & Affects.TRAINING} if trained else set()
    named = [files({name: at(tree, name) for name in names}) for names in (fixed, plugins())]
    kept, found = ({file for held in sections.values() for file in held} for sections in named)
    copies = []
    for file in found - kept:
        if file.is_file() and file.parent != config.run_dir / FOLDER:
            write_text(config.run_dir / FOLDER / file.name, file.read_text(encoding="utf-8"))
            copies.append(config.run_dir / FOLDER / file.name)
    return copies


def found_again(tree: dict[str, Any], folder: Path, always: bool = False) -> None:
    """Let a run's config.yaml name the run's own copies where the files are no longer there, or always; in place."""
    for key in plugins():
        *parents, last = key.split(".")
        section = at(tree, ".".join(parents)) if parents else tree
        if not isinstance(section, dict) or last not in section:
            continue
        value = section[last]
        names = [_kept(name, folder, always) for name in (value if isinstance(value, list) else [value])]
        section[last] = names if isinstance(value, list) else names[0]


def _kept(name: Any, folder: Path, always: bool) -> Any:
    file = file_of(name) if isinstance(name, str) else None
    if file is None or (file.is_file() and not always) or not (folder / FOLDER / file.name).is_file():
        return name
    return f"{folder / FOLDER / file.name}:{name.rpartition(':')[2]}"

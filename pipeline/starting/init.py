"""Look at a competition's folder and write a first config, with the reason for every guess."""

from __future__ import annotations

from pathlib import Path

from pipeline.competition.data_root import find_root
from pipeline.errors import InputError
from pipeline.files.atomic import write_text
from pipeline.starting import writing
from pipeline.starting.folder import look
from pipeline.starting.guess import guess, name_of
from pipeline.starting.recipe import recipe


def run(place: str, out: Path | None = None) -> Path:
    """Write a first config for the competition in `place`; return its path, configs/NAME.yaml unless `out` is given.

    Raises InputError where the folder or its sample submission is missing, nothing in it can be trained on, or
    the file exists already.
    """
    root = find_root(place)
    if root is None:
        raise InputError(f"{place}: no folder, expected one with a competition's files")
    folder = look(root)
    name = name_of(folder)
    path = out or Path("configs") / f"{name}.yaml"
    if path.exists():
        raise InputError(f"{path}: exists already; remove it, or name another file with --out")
    guesses, notes = guess(folder)
    shape = next((value["shape"] for key, value, _ in guesses if key == "data.image" and isinstance(value, dict)), None)
    guesses = [("data.root", place, ""), *guesses, *recipe(folder, shape)]
    for key, value, why in guesses:
        print(f"init: {key} = {value}" + (f": {why}" if why else ""))
    for note in notes:
        print(f"init: note: {note}")
    write_text(path, writing.text(name, guesses, notes))
    print(f"init: wrote {path}; next: foldline check -c {path}")
    return path

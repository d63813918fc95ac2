"""Keep in a run's folder what it was trained with, and apart from that what it was predicted with.

`config.yaml` says how the weights were made and is written by `train`; `predict.yaml` holds the keys that prediction,
scores and submissions read, where `predict` was asked for others. A run of an earlier version has none.

Both may come from anyone, and are read without a look at the code that they name: only where a run's networks are to
predict does it run, from the run's own copies, and only with `--trust`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml

from pipeline.config import trees
from pipeline.config.config import Config
from pipeline.config.keys import KEYS
from pipeline.config.loading import dump, labels, load, parse
from pipeline.config.sections.section import Affects as A
from pipeline.files.atomic import write_text

TRAINED, PREDICTED = "config.yaml", "predict.yaml"
LATER = [  # keys that may be others when a run predicts than when it was trained
    name
    for name, key in KEYS.items()
    if not key.affects & (A.FOLDS | A.NETWORK)
    and key.affects & (A.IMAGES | A.PREDICTION | (A.NOTHING if key.affects & A.TRAINING else A.SCORE | A.SUBMISSION))
]
LEARNT = [name for name, key in KEYS.items() if key.affects & A.TRAINING]


def of_run(folder: Path, settings: Iterable[str] = ()) -> Config:
    """Return the config that a run was last predicted with, to read what it made; `settings` as `load` takes them.

    Functions of a user's own are labels in it, such as views are called by, and do not run.
    """
    return labels(files(folder), settings)


def to_predict(folder: Path, settings: Iterable[str] = ()) -> Config:
    """Return the same config with the functions of the run's own copies, so that its networks can predict.

    Raises InputError where it names code and `--trust` was not given, which says that somebody has read it.
    """
    return load(files(folder), settings, of_run=True)


def trained(folder: Path) -> Config:
    """Return the config that a run was trained with, as `of_run` reads it."""
    return labels([folder / TRAINED])


def files(folder: Path) -> list[Path]:
    """Return the files that `of_run` reads."""
    later = folder / PREDICTED
    return [folder / TRAINED, *([later] if later.is_file() else [])]


def keep_predicted(config: Config) -> list[str]:
    """Write what the run is predicted with where that is not what it was trained with; config.yaml stays as it is.

    Returns what was asked that concerns training alone, so that it changes nothing now. A folder without config.yaml
    gets one.
    """
    folder = config.run_dir
    if not (folder / TRAINED).is_file():
        write_text(folder / TRAINED, dump(config))
    then = trained(folder)
    changed = {name: one.value(config) for name, one in KEYS.items() if one.value(config) != one.value(then)}
    tree, whole = dict[str, object](), config.model_dump(mode="json")
    for name in LATER:
        if name in changed:
            trees.put(tree, name, trees.at(whole, name))
    if tree:
        write_text(folder / PREDICTED, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
    else:
        (folder / PREDICTED).unlink(missing_ok=True)
    return [
        f"{name}: trained with {KEYS[name].value(then)}, not {value}: that stays so, and in {folder / TRAINED}"
        for name, value in changed.items()
        if name in LEARNT and name not in LATER
    ]


def as_trained(config: Config) -> Config:
    """Return the config with what its run was trained with; as it is where the run's folder does not tell.

    Raises FoldlineError where config.yaml is damaged.
    """
    path = config.run_dir / TRAINED
    if not path.is_file():
        return config
    whole, then = config.model_dump(mode="json"), trained(config.run_dir).model_dump(mode="json")
    for name in LEARNT:
        trees.put(whole, name, trees.at(then, name))
    return parse(whole, str(path), found=False)

"""Keep in a run's folder what it was trained with, and apart from that what it was predicted with.

`config.yaml` says how the weights were made and is written by `train`; `predict.yaml` holds the keys that prediction,
scores and submissions read, where `predict` was asked for others. A run of an earlier version has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml

from pipeline.config import trees
from pipeline.config.config import Config
from pipeline.config.keys import KEYS
from pipeline.config.loading import dump, load, parse
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


def of_run(folder: Path, settings: Iterable[str] = (), *, kept: bool = False) -> Config:
    """Return the config that a run was last predicted with; `settings` and `kept` as `load` takes them."""
    return load(files(folder), settings, kept=kept)


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
    trained = load([folder / TRAINED])
    changed = {name: one.value(config) for name, one in KEYS.items() if one.value(config) != one.value(trained)}
    tree, whole = dict[str, object](), config.model_dump(mode="json")
    for name in LATER:
        if name in changed:
            trees.put(tree, name, trees.at(whole, name))
    if tree:
        write_text(folder / PREDICTED, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
    else:
        (folder / PREDICTED).unlink(missing_ok=True)
    return [
        f"{name}: trained with {KEYS[name].value(trained)}, not {value}: that stays so, and in {folder / TRAINED}"
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
    whole, trained = config.model_dump(mode="json"), load([path]).model_dump(mode="json")
    for name in LEARNT:
        trees.put(whole, name, trees.at(trained, name))
    return parse(whole, str(path))

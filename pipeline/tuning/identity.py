"""Say what makes two trials the same, what all trials of a study share, and that they saw the same data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import fingerprints, plugin_files
from pipeline.config.config import Config
from pipeline.config.keys import affecting, below
from pipeline.config.search_space.entries import Choice, Fixed
from pipeline.config.search_space.resolve import default, settle
from pipeline.config.search_space.space import Space
from pipeline.config.sections.section import Affects as A
from pipeline.errors import MismatchError, Problem
from pipeline.files import checksums
from pipeline.folds.fold_table import FoldTable

if TYPE_CHECKING:
    from optuna import Study

TEST_ROWS = ("data.test", "data.test_image", "data.test_where", "data.sample_submission")  # no trial is scored on them
TEACHERS = ("distill.teacher", "pseudo.teacher", "pseudo.images")  # a run's stamps tell by what these hold
KEYS = [  # that a trial's score depends on
    *(key for key in affecting(A.ROWS | A.IMAGES | A.FOLDS | A.TRAINING | A.EPOCH | A.SCORE) if key not in TEST_ROWS),
    *TEACHERS,
]
DATA_KEYS = [key for key in below("data", "distill", "pseudo") if key in KEYS]
STAMPED = ("images", "decode", "weights", "image_rows", "extra", "distill.teacher", "pseudo.teacher")


def trial_config(config: Config, found: Mapping[str, Any]) -> Config:
    """Return the config of a trial with these settings, as a run in the study's folder.

    The same settings are in the same folder, whoever proposes them and how often. Raises InputError where they do
    not fit together.
    """
    made = settle(config, found)
    fields = {**fingerprints.fields(made, KEYS), "model.pretrained": _weights(made)}
    return run_of(config, made, f"trial-{checksums.digest(fields)[:12]}")


def run_of(config: Config, made: Config, run: str, **changes: Any) -> Config:
    """Return the config `made` as a run of the study that `config` asks for."""
    return made.model_copy(update={"runs_dir": str(config.study_dir), "run": run, **changes})


def shared(config: Config, space: Space, table: FoldTable) -> fingerprints.Fields:
    """Return what all trials of a study have in common: the config but for what is searched, the space, the folds.

    Sampler, pruner, seed and rules may change while a study goes on: they decide what is tried, not what a
    value means.
    """
    hashes = {"fold_hash": table.fold_hash, "table_hash": table.table_hash}
    found = fingerprints.fields(config, affecting(A.TRAINING | A.SCORE | A.STUDY), **hashes)
    found["model.pretrained"] = _weights(config)
    searched = [f"{entry.key}." for entry in space.all()]
    found = {key: value for key, value in found.items() if not any(f"{key}.".startswith(one) for one in searched)}
    entries = config.tune.space if config.tune.space is not None else default(config)
    found |= {f"tune.space.{key}": entry for key, entry in entries.items()}
    found |= {f"tune.space's {file}": checksums.file_hash(file) for file in _files(space)}
    stored: fingerprints.Fields = json.loads(json.dumps(found))  # as the database gives it back
    return stored


def differing(place: Path, found: str, changes: list[str]) -> MismatchError:
    """Return the error for a study whose earlier trials were made otherwise, naming each difference."""
    problem = Problem(str(place), found, remedy="restore them, or name another study with tune.name:")
    return MismatchError(problem, *(Problem("", f"  {line}") for line in changes))


def hold_data(study: Study, made: Config, fold: int) -> None:
    """Note what a fold is trained on, by its stamp, or raise MismatchError where earlier trials had something else.

    Images, weights and teachers are told by no setting and no fold table. Trials are compared with those that asked
    for the same data, as a space may search, say, a teacher's weight. What the fold has of the other data is removed,
    so that the study can go on when they are restored.
    """
    stamp = fingerprints.read_stamp(made.run_dir, f"train-fold{fold}")
    found = {key: stamp.fields[key] for key in STAMPED if key in stamp.fields} if stamp else {}
    if not found:
        return
    name = f"data {checksums.digest(fingerprints.fields(made, DATA_KEYS))[:12]}"
    old = study.user_attrs.get(name)
    if old is None:
        study.set_user_attr(name, found)
    elif changes := fingerprints.differences(old, found):
        shutil.rmtree(made.run_dir / f"fold{fold}", ignore_errors=True)
        raise differing(made.run_dir, "earlier trials of the study were trained on other data", changes)


def _weights(made: Config) -> bool | str:
    """Return which weights a trial starts from: a file by what it holds, as its path may change."""
    given = made.model.pretrained
    return given if isinstance(given, bool) else checksums.file_hash(Path(given))


def _files(space: Space) -> list[Path]:
    """Return the user's own files that only values of the space name: a study with others is another one."""
    found: set[Path] = set()
    for entry in space.all():
        values = entry.values if isinstance(entry, Choice) else [entry.value] if isinstance(entry, Fixed) else []
        for value in values:
            inside = value.items() if isinstance(value, dict) else [("", value)]
            named = plugin_files.files({f"{entry.key}.{key}".rstrip("."): one for key, one in inside})
            found.update(file for held in named.values() for file in held)
    return sorted(found)

"""Hold the trials of a study to the same images, weights and teachers, which no setting and no fold table tells."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.errors import MismatchError
from pipeline.files import checksums
from pipeline.tuning.trial_names import without_places

if TYPE_CHECKING:
    from optuna import Study

STAMPED = ("images", "decode", "weights", "image_rows", "extra", "distill.teacher", "pseudo.teacher")
SECTIONS = ("data", "distill", "pseudo")


def hold(study: Study, made: Config, fold: int) -> None:
    """Note what a fold is trained on, by its stamp, or raise MismatchError where earlier trials had something else.

    Trials are compared with those that asked for the same data, as a space may search, say, a teacher's weight.
    What the fold has of the other data is removed, so that the study can go on when they are restored.
    """
    stamp = fingerprints.read_stamp(made.run_dir, f"train-fold{fold}") or {}
    found = {key: stamp[key] for key in STAMPED if key in stamp}
    if not found:
        return
    tree = without_places(made)
    name = f"data {checksums.digest({section: tree[section] for section in SECTIONS})[:12]}"
    old = study.user_attrs.get(name)
    if old is None:
        study.set_user_attr(name, found)
    elif changes := fingerprints.differences(old, found):
        shutil.rmtree(made.run_dir / f"fold{fold}", ignore_errors=True)
        lines = "\n".join(f"  {line}" for line in changes)
        raise MismatchError(
            f"{made.run_dir}: earlier trials of the study were trained on other data; restore them, or name another "
            f"study with tune.name:\n{lines}"
        )

"""Name a trial by its settings: the same settings, the same folder, whoever proposes them and how often."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.keys import plugins
from pipeline.config.search_space.resolve import settle
from pipeline.files import checksums

PLACES = ("name", "run", "runs_dir", "folds_dir", "studies_dir", "ensemble", "submission", "predict", "tune")
ELSEWHERE = {  # may differ between machines, or are no matter of validation
    "data": ("root", "cache", "solution", "test", "test_image", "sample_submission"),
    "train": ("workers", "threads"),
}


def of(config: Config, found: Mapping[str, Any]) -> Config:
    """Return the config of a trial with these settings, as a run in the study's folder.

    Raises InputError where the settings do not fit together.
    """
    made = settle(config, found)
    return named(config, made, f"trial-{digest(made)}")


def named(config: Config, made: Config, run: str, **changes: Any) -> Config:
    """Return the config `made` as a run of the study that `config` asks for."""
    return made.model_copy(update={"runs_dir": str(config.study_dir), "run": run, **changes})


def weights(made: Config) -> bool | str:
    """Return which weights a trial starts from: a file by what it holds, as its path may change."""
    given = made.model.pretrained
    return given if isinstance(given, bool) else checksums.file_hash(Path(given))


def without_places(made: Config) -> dict[str, Any]:
    """Return the config's tree without what may differ between machines."""
    tree = made.model_dump(mode="json", exclude={*PLACES})
    for section, keys in ELSEWHERE.items():
        for key in keys:
            tree[section].pop(key, None)
    return tree


def digest(made: Config) -> str:
    """Return 12 hexadecimal digits of what a trial's score depends on; of the user's own files by what they hold."""
    tree = without_places(made)
    tree["data"]["cache_size"] = made.data.cache.size
    tree["model"]["pretrained"] = weights(made)
    return checksums.digest({**tree, **own_files(made)})[:12]


def own_files(made: Config) -> fingerprints.Fields:
    """Return the hashes of the user's own files that a trial trains or scores by, named as in a run's stamps."""
    keys = tuple(key for key in plugins() if key.split(".")[0] not in PLACES)
    return {key: value for key, value in fingerprints.fields(made, keys).items() if key.endswith("'s file")}

"""Open a study in its database, and refuse one that another search was made in."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import fingerprints, plugin_files
from pipeline.config.config import Config
from pipeline.config.keys import affecting
from pipeline.config.search_space.entries import Choice, Fixed
from pipeline.config.search_space.resolve import default
from pipeline.config.search_space.resolve import read as read_space
from pipeline.config.sections.section import Affects
from pipeline.errors import InputError, MismatchError, SpaceError
from pipeline.files import checksums
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.metrics import find
from pipeline.tuning.trial_names import weights

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage

HEARTBEAT, GRACE = 20, 120  # seconds; a worker that is silent for longer is dead
BUSY = 60  # seconds that SQLite waits for another writer
ATTRIBUTE = "foldline"  # of the study: what its trials have in common


def default_url(config: Config) -> str:
    """Return the URL of the study's own SQLite file."""
    return f"sqlite:///{config.study_dir}.db"


def shown(url: str) -> str:
    """Return the URL without its password."""
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


def open_storage(url: str) -> RDBStorage:
    """Connect to the database; raise InputError where it is not there, or its driver is not installed.

    The heartbeats are recorded by the worker itself: Optuna's own thread ends for good at the first busy
    database, and the trial would then be given to somebody else while it runs.
    """
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        parsed = make_url(url)
        lite = parsed.get_backend_name() == "sqlite"
    except ArgumentError:
        raise InputError(f"--storage: found '{url}', expected a URL such as postgresql://user@host/base") from None
    if lite and parsed.database:
        try:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpaceError(f"{parsed.database}: cannot be written: {error.strerror}; choose another folder") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": BUSY}} if lite else {"pool_pre_ping": True},
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
            )
    except (ImportError, NoSuchModuleError) as error:
        remedy = "install one, for PostgreSQL with: pip install 'foldline[postgres]'"
        raise InputError(f"--storage: no driver for {shown(url)} ({error}); {remedy}") from None
    except (SQLAlchemyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"--storage: {shown(url)} cannot be opened: {reason}") from None


def close(storage: RDBStorage) -> None:
    """Close every connection to the database."""
    storage.remove_session()
    storage.engine.dispose()


def open_study(config: Config, storage: RDBStorage, found: fingerprints.Fields, create: bool = True) -> Study:
    """Create or continue the study; `found` says what its trials have in common.

    Raises MismatchError where a study of this name has another space, config or folds, naming each difference;
    InputError where there is none and none is to be created.
    """
    import optuna
    from optuna.study import StudyDirection

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = config.study_dir.name
    up = find(config.metric).greater_is_better
    directions = [StudyDirection.MAXIMIZE if up else StudyDirection.MINIMIZE, StudyDirection.MINIMIZE]
    try:
        if create:
            count = len(config.tune.objectives)
            study = optuna.create_study(
                storage=storage, study_name=name, directions=directions[:count], load_if_exists=True
            )
        else:
            study = optuna.load_study(storage=storage, study_name=name)
    except KeyError:
        raise InputError(
            f"{config.study_dir}: no study '{name}' yet; start it with: foldline tune --trials N"
        ) from None
    old = study.user_attrs.get(ATTRIBUTE)
    if old is None and create:
        study.set_user_attr(ATTRIBUTE, found)
    elif old is not None and (changes := fingerprints.differences(old, found)):
        lines = "\n".join(f"  {line}" for line in changes)
        raise MismatchError(
            f"{config.study_dir}: the study was made with other settings; restore them, or name another study "
            f"with tune.name:\n{lines}"
        )
    return study


def identity(config: Config, table: FoldTable) -> fingerprints.Fields:
    """Return what all trials have in common: the config but for what is searched, the space, the folds.

    Sampler, pruner, seed and rules may change while a study goes on: they decide what is tried, not what a
    value means.
    """
    found = fingerprints.fields(
        config,
        affecting(Affects.TRAINING | Affects.SCORE | Affects.STUDY),
        fold_hash=table.fold_hash,
        table_hash=table.table_hash,
    )
    found["model.pretrained"] = weights(config)
    searched = [entry.key for entry in read_space(config).all()]
    fixed = {
        key: value
        for key, value in found.items()
        if not any(key == one or key.startswith(f"{one}.") for one in searched)
    }
    entries = config.tune.space if config.tune.space is not None else default(config)
    space: fingerprints.Fields = {f"tune.space.{key}": entry for key, entry in entries.items()}
    space |= {f"tune.space's {file}": checksums.file_hash(file) for file in _files(config)}
    stored: fingerprints.Fields = json.loads(json.dumps({**fixed, **space}))  # as the database gives it back
    return stored


def _files(config: Config) -> list[Path]:
    """Return the user's own files that only values of the space name: a study with others is another one."""
    found: list[Path] = []
    for entry in read_space(config).all():
        for value in entry.values if isinstance(entry, Choice) else [entry.value] if isinstance(entry, Fixed) else []:
            tree = (
                {f"{entry.key}.{key}": one for key, one in value.items()}
                if isinstance(value, dict)
                else {entry.key: value}
            )
            found += [file for held in plugin_files.files(tree).values() for file in held]
    return sorted(set(found))

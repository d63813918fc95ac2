"""Open a study in its database, and refuse one that another search was made in."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.search_space import resolve
from pipeline.config.search_space.space import Space
from pipeline.errors import InputError, Problem, SpaceError
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.metrics import find
from pipeline.tuning.identity import differing, shared
from pipeline.tuning.trial_states import ranked

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

HEARTBEAT, GRACE = 5, 30  # seconds; a worker that is silent for longer is dead
BUSY = 60  # seconds that SQLite waits for another writer
ATTRIBUTE = "foldline"  # of the study: what its trials have in common
SILENT = (  # Optuna's warnings that say nothing to a user: heartbeats are sent by us, targets named by us
    "Heartbeat of storage is supposed",
    "PedAnovaImportanceEvaluator computes",
)


@dataclass(frozen=True)
class Setup:
    """Hold what all trials of a study share."""

    config: Config
    space: Space
    table: FoldTable
    study: Study
    storage: RDBStorage

    @property
    def folds(self) -> list[int]:
        """Return the folds of a trial, in the order in which they are raced."""
        return self.config.tune.folds or list(range(self.table.n))

    @property
    def direction(self) -> int:
        """Return 1 where a greater score is the better one, else −1."""
        return find(self.config.metric).direction

    @property
    def trials(self) -> list[FrozenTrial]:
        """Return the trials as they are now, not to be changed; a trial's number is its place."""
        return self.study.get_trials(deepcopy=False)

    @property
    def ranked(self) -> list[FrozenTrial]:
        """Return the trials that were scored on all their folds, the best first."""
        return ranked(self.trials, self.direction)


@contextlib.contextmanager
def opened(config: Config, url: str, create: bool = True) -> Iterator[Setup]:
    """Open the study's database and its study, created where there is none; close them afterwards.

    Raises InputError on a space that cannot be searched or a database that cannot be used, MismatchError where a
    study of this name was made with another space, config or folds.
    """
    space, table = resolve.read(config), fold_table.read(config)
    if unknown := [fold for fold in config.tune.folds or [] if fold >= table.n]:
        expected = f"numbers from 0 to {table.n - 1} as in {table.path}"
        raise InputError(Problem("tune.folds", f"found {', '.join(map(str, unknown))}", expected))
    with quiet():
        storage = open_storage(url)
        try:
            yield Setup(config, space, table, _open_study(config, space, table, storage, create), storage)
        finally:
            storage.remove_session()
            storage.engine.dispose()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep back what Optuna says of itself: that parts are experimental, or how it falls back to others."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for text in SILENT:
            warnings.filterwarnings("ignore", text, UserWarning)
        yield


def default_url(config: Config) -> str:
    """Return the URL of the study's own SQLite file."""
    return f"sqlite:///{config.study_dir}.db"


def shown(url: str) -> str:
    """Return the URL without its password."""
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


def open_storage(url: str) -> RDBStorage:
    """Connect to the database; raise InputError where it is not there, or its driver is not installed."""
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        parsed = make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
    except ArgumentError:
        raise InputError(Problem("--storage", f"found '{url}'", "a URL such as postgresql://user@host/base")) from None
    if sqlite and parsed.database:
        try:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = f"cannot be written: {error.strerror}"
            raise SpaceError(Problem(parsed.database, why, remedy="choose another folder")) from None
    try:
        with quiet():
            connect = {"connect_args": {"timeout": BUSY}} if sqlite else {"pool_pre_ping": True}
            return RDBStorage(url, engine_kwargs=connect, heartbeat_interval=HEARTBEAT, grace_period=GRACE)
    except (ImportError, NoSuchModuleError) as error:
        remedy = "install one, for PostgreSQL with: pip install 'foldline[postgres]'"
        raise InputError(Problem("--storage", f"no driver for {shown(url)} ({error})", remedy=remedy)) from None
    except (SQLAlchemyError, RuntimeError) as error:
        why = " ".join(str(error).split())[:300]
        raise InputError(Problem("--storage", f"{shown(url)} cannot be opened: {why}")) from None


def _open_study(config: Config, space: Space, table: FoldTable, storage: RDBStorage, create: bool) -> Study:
    """Create or continue the study; raise InputError where there is none and none is to be created."""
    import optuna
    from optuna.study import StudyDirection

    name = config.study_dir.name
    score = StudyDirection.MAXIMIZE if find(config.metric).greater_is_better else StudyDirection.MINIMIZE
    directions = [score, StudyDirection.MINIMIZE][: len(config.tune.objectives)]
    if create:
        study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
    else:
        try:
            study = optuna.load_study(storage=storage, study_name=name)
        except KeyError:
            remedy = "start it with: foldline tune --trials N"
            raise InputError(Problem(str(config.study_dir), f"no study '{name}' yet", remedy=remedy)) from None
    found = shared(config, space, table)
    if (old := study.user_attrs.get(ATTRIBUTE)) is None:
        study.set_user_attr(ATTRIBUTE, found)
    elif changes := fingerprints.differences(old, found):
        raise differing(config.study_dir, "the study was made with other settings", changes)
    return study

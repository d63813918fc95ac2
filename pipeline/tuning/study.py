"""Open a study in its database, and refuse one that another search was made in."""

from __future__ import annotations

import contextlib
import os
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.search_space import resolve
from pipeline.config.search_space.space import Space
from pipeline.errors import FoldlineError, InputError, LockedError, MismatchError, Problem, SpaceError, TrainingError
from pipeline.files.failures import SQLITE, reading, unwritable
from pipeline.files.locks import waiting
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.metrics import find
from pipeline.tuning.identity import differing, shared
from pipeline.tuning.trial_states import check_known, ranked

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

HEARTBEAT, GRACE = 5, 30  # seconds; a worker that is silent for longer is dead
BUSY = 60  # seconds that SQLite waits for another writer
ATTRIBUTE = "foldline"  # of the study: what its trials have in common
ATTEMPTS = 5  # to open a server's database, a second apart
RESTORE = "restore it, name another study with tune.name, or move it and the study's folder away"
POSTGRESQL: dict[str, type[FoldlineError]] = {  # by the beginning of SQLSTATE
    "53100": SpaceError,  # disk full
    "53": TrainingError,  # memory, connections
    "25006": SpaceError,  # read only
    "42501": SpaceError,  # no permission
    "58": SpaceError,  # the server's disk
    "XX": MismatchError,  # damaged data or index
    "42P01": MismatchError,  # no such table
    "42703": MismatchError,  # no such column
    "55P03": LockedError,
}
SAID: dict[type[FoldlineError], str] = {
    SpaceError: "the database cannot be written",
    MismatchError: "damaged",
    LockedError: "another process holds the database",
    TrainingError: "the database has no memory or connections left",
}
REMEDIES: dict[type[FoldlineError], str] = {
    SpaceError: "free space or let this user write it; the same command continues",
    MismatchError: RESTORE,
    LockedError: "wait for it; the same command continues",
    TrainingError: "the same command continues",
}
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
    study of this name was made with another space, config or folds or the database is damaged, SpaceError where it is
    full or cannot be written.
    """
    space, table = resolve.read(config), fold_table.read(config)
    if unknown := [fold for fold in config.tune.folds or [] if fold >= table.n]:
        expected = f"numbers from 0 to {table.n - 1} as in {table.path}"
        raise InputError(Problem("tune.folds", f"found {', '.join(map(str, unknown))}", expected))
    with quiet(), telling(url), contextlib.ExitStack() as stack:
        with waiting(_making(config, url)):  # of two that begin at once, one makes the tables
            storage = open_storage(url)
            stack.callback(storage.engine.dispose)
            stack.callback(storage.remove_session)
            study = _open_study(config, space, table, storage, create)
        study.get_trials(deepcopy=False)  # a database may be damaged in any row
        yield Setup(config, space, table, study, storage)


@contextlib.contextmanager
def telling(url: str) -> Iterator[None]:
    """Raise by its kind what a database fails with in the block: full, not writable, damaged, locked, gone."""
    try:
        yield
    except FoldlineError:
        raise
    except Exception as error:
        if (known := _failure(url, error)) is None:
            raise
        raise known from error


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
    from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, ProgrammingError, SQLAlchemyError

    try:
        parsed = make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
    except ArgumentError:
        raise InputError(Problem("--storage", f"found '{url}'", "a URL such as postgresql://user@host/base")) from None
    if sqlite and parsed.database:
        _check_file(Path(parsed.database))
    for attempt in range(ATTEMPTS):
        try:
            with quiet():
                connect = {"connect_args": {"timeout": BUSY}} if sqlite else {"pool_pre_ping": True}
                return RDBStorage(url, engine_kwargs=connect, heartbeat_interval=HEARTBEAT, grace_period=GRACE)
        except (ImportError, NoSuchModuleError) as error:
            remedy = "install one, for PostgreSQL with: pip install 'foldline[postgres]'"
            raise InputError(Problem("--storage", f"no driver for {shown(url)} ({error})", remedy=remedy)) from None
        except (SQLAlchemyError, RuntimeError) as error:
            if (known := _known(url, error)) is not None:
                raise known from error
            # A server's tables are made by one of several machines that begin at once: the others look again.
            if sqlite or attempt + 1 == ATTEMPTS or not isinstance(error, IntegrityError | ProgrammingError):
                why = " ".join(str(error).split())[:300]
                raise InputError(Problem("--storage", f"{shown(url)} cannot be opened: {why}")) from None
        time.sleep(1)
    raise AssertionError


def _making(config: Config, url: str) -> Path:
    """Return the file that is locked while a database's tables are made: beside SQLite's, which studies may share."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    with contextlib.suppress(ArgumentError):
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            path = Path(parsed.database)
            return path.with_name(f".{path.name}.lock")
    return config.study_dir / ".storage.lock"


def _check_file(path: Path) -> None:
    """Raise SpaceError or MismatchError where SQLite's file cannot be one, or is damaged."""
    import sqlite3

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpaceError(unwritable(path, error)) from None
    if not os.path.lexists(path):
        return
    with reading(path, MismatchError, "a database"):
        pass
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY)) as connection:
        if (said := connection.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
            raise MismatchError(Problem(str(path), f"damaged ({' '.join(str(said[0]).split())[:200]})", remedy=RESTORE))


def _failure(url: str, error: Exception) -> FoldlineError | None:
    """Return what a database's failure is by its kind, None where something else failed."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

    if (known := _known(url, error)) is not None:
        return known
    why, place = " ".join(str(error.__cause__ or error).split())[:200], _place(url)
    if isinstance(error, StorageInternalError | OperationalError | InterfaceError):
        return SpaceError(Problem(place, f"the database does not answer ({why})", remedy="the same command continues"))
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, SQLAlchemyError) or any(name.startswith("optuna.storages") for name in frames):
        return MismatchError(Problem(place, f"damaged ({type(error).__name__}: {why})", remedy=RESTORE))
    return None


def _known(url: str, error: BaseException | None) -> FoldlineError | None:
    """Return what SQLite's or PostgreSQL's own code says; None where there is none, or it tells nothing."""
    import sqlite3

    while error is not None:
        kind: type[FoldlineError] | None = None
        if isinstance(error, sqlite3.Error):
            kind = SQLITE.get(getattr(error, "sqlite_errorcode", -1) & 0xFF)
            damaged = str(error).startswith(("no such table", "no such column", "unsupported file format"))
            kind = MismatchError if damaged else kind
        elif state := getattr(error, "sqlstate", None):  # psycopg's
            kind = next((one for start, one in POSTGRESQL.items() if state.startswith(start)), None)
        if kind is not None:
            why = " ".join(str(error).split())[:200]
            return kind(Problem(_place(url), f"{SAID[kind]} ({why})", remedy=REMEDIES[kind]))
        error = error.__cause__ or error.__context__
    return None


def _place(url: str) -> str:
    return shown(url).removeprefix("sqlite:///")


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
            check_known(config.study_dir, [])
            remedy = "start it with: foldline tune --trials N"
            raise InputError(Problem(str(config.study_dir), f"no study '{name}' yet", remedy=remedy)) from None
    found = shared(config, space, table)
    if (old := study.user_attrs.get(ATTRIBUTE)) is None:
        study.set_user_attr(ATTRIBUTE, found)
    elif changes := fingerprints.differences(old, found):
        raise differing(config.study_dir, "the study was made with other settings", changes)
    return study

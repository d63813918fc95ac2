"""Hand out a study's trials to its workers: each settings once, as many as asked, the dead ones again."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.config import Config
from pipeline.config.search_space.space import Space, suggest
from pipeline.errors import InputError, LockedError
from pipeline.files.locks import lock
from pipeline.methods import samplers
from pipeline.tuning import trial_names
from pipeline.tuning.locks import turn
from pipeline.tuning.storage import GRACE, HEARTBEAT
from pipeline.tuning.trial_states import COUNTED, INTERRUPTED, history, kinds

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, Trial

POLL = 1.0  # seconds between looks at what the other workers do
LIVE = (*COUNTED, "running")
VAIN = 25  # proposals in a row that were tried already: the space is used up


@dataclass(frozen=True)
class Job:
    """Hold a trial and the config that it trains."""

    trial: Trial
    config: Config


class Line:
    """Stand in line for trials with the other workers of this machine, and by the database with those of others.

    SQLite gives two readers the same waiting trial, so asking is done one worker at a time, under a lock of the
    study's folder. Each worker also holds a lock of its own for life: the kernel frees it with the process, so
    that a trial killed on this machine is known at once, and elsewhere by its missing heartbeats.
    """

    def __init__(self, config: Config, space: Space, study: Study, storage: RDBStorage, worker: int) -> None:
        self.config, self.space, self.study, self.storage, self.worker = config, space, study, storage, worker
        self.id = f"{worker}-{uuid.uuid4().hex[:12]}"
        self.vain = 0  # proposals in a row that cannot be tried
        self.exhausted = False

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Be alive: trials of this worker are given to nobody else while the block runs."""
        with contextlib.ExitStack() as held:
            with turn(self.config.study_dir):  # nobody may sweep between the folder and its lock
                held.enter_context(lock(self._workers / self.id))
            yield

    @property
    def _workers(self) -> Path:
        return self.config.study_dir / "workers"

    def next(self, trials: int, until: float | None) -> Job | None:
        """Return a trial to train, or None when `trials` of them are finished or the time is over.

        While others run the last ones it waits: one of them may die.
        """
        while True:
            with turn(self.config.study_dir):
                self._revive()
                known = kinds(self.study.get_trials(deepcopy=False))
                done = sum(kind in COUNTED for kind in known.values())
                running = sum(kind == "running" for kind in known.values())
                waiting = sum(kind == "waiting" for kind in known.values())
                if done >= trials or (until is not None and time.time() >= until):
                    return None
                if done + running < trials and (waiting or not self.exhausted):
                    if (job := self._ask(trials)) is not None:
                        return job
                    continue
                if not running:
                    return None
            time.sleep(POLL)

    def finish(self, trial: Trial, values: Sequence[float]) -> None:
        """Store a result. Kept too where others took this worker for dead, as after a computer's sleep."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState, create_trial

        try:
            self._tell(trial, values)
        except (UpdateFinishedTrialError, ValueError):
            stored = self.study.get_trials(deepcopy=False)[trial.number]
            if stored.state != TrialState.FAIL:
                raise
            self.study.add_trial(
                create_trial(
                    values=list(values),
                    params=stored.params,
                    distributions=stored.distributions,
                    user_attrs=stored.user_attrs,
                    system_attrs={"retry_history": [*history(stored), trial.number]},
                    intermediate_values=stored.intermediate_values,
                )
            )

    def fail(self, trial: Trial, reason: str) -> None:
        """Let a trial fail for good: it counts, and its settings are not tried again."""
        trial.set_user_attr("reason", reason)
        self._tell(trial, None)

    def interrupt(self, trial: Trial) -> None:
        """Give a trial back: whoever comes next goes on with it, and it has not died."""
        trial.set_user_attr("skipped", INTERRUPTED)
        self._tell(trial, None)

    @contextlib.contextmanager
    def beating(self, trial: Trial) -> Iterator[None]:
        """Send heartbeats while the block runs, through a database that is busy or away for a while too."""
        from optuna.exceptions import StorageInternalError

        over = threading.Event()

        def beat() -> None:
            while not over.wait(HEARTBEAT):
                with contextlib.suppress(StorageInternalError):
                    self.storage.record_heartbeat(trial._trial_id)
            self.storage.remove_session()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _ask(self, wanted: int) -> Job | None:
        """Propose one trial; None where it cannot or need not be tried."""
        known = kinds(self.study.get_trials(deepcopy=False))
        there = {number for number, kind in known.items() if kind in LIVE}
        so_far = sum(kind not in ("retried", "waiting") for kind in known.values())
        self.study.sampler = samplers.sampler(self.config.tune.sampler, self._seed(so_far))
        trial = self.study.ask()
        self.storage.record_heartbeat(trial._trial_id)  # first: a worker without one seems alive to other machines
        trial.set_user_attr("worker", self.id)
        found = suggest(self.space, trial)
        try:
            config = trial_names.of(self.config, found)
        except InputError as error:
            self._skip(trial, f"refused: {'; '.join(error.lines)}")
            return None
        trial.set_user_attr("settings", config.run)
        trials = self.study.get_trials(deepcopy=False)  # again: another machine may have asked meanwhile
        known = kinds(trials)
        first = [other for other in trials if other.number in there or other.number < trial.number]
        before = [other for other in first if other.number != trial.number and known[other.number] in LIVE]
        same = next((other.number for other in before if other.user_attrs.get("settings") == config.run), None)
        if same is not None:
            self._skip(trial, f"the settings of trial {same}")
            return None
        if len(before) >= wanted:
            self._skip(trial, "one more than asked")
            return None
        self.vain = 0
        return Job(trial, config)

    def _seed(self, so_far: int) -> int:
        """Derive a sampler's seed: its state is in no database, and a fixed seed would repeat itself."""
        return int(np.random.SeedSequence([self.config.tune.seed, so_far, self.worker]).generate_state(1)[0])

    def _skip(self, trial: Trial, why: str) -> None:
        trial.set_user_attr("skipped", why)
        self._tell(trial, None)
        self.vain += 1
        if self.vain >= VAIN:
            self.exhausted = True
            print(f"{self.vain} proposals in a row were of no use, the last one: {why}; the space is used up")

    def _tell(self, trial: Trial, values: Sequence[float] | None) -> None:
        """Store a trial's end. The grid's sampler stops its study when all is tried, which only `optimize` allows."""
        from optuna.trial import TrialState

        try:
            self.study.tell(trial, values, TrialState.FAIL if values is None else TrialState.COMPLETE)
        except RuntimeError as error:
            if "Study.stop" not in str(error):
                raise
            self.exhausted = True

    def _revive(self) -> None:
        """Fail the trials whose workers are dead and put them in line again, with what they were given."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.storages import fail_stale_trials
        from optuna.trial import TrialState

        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._dead(trial):
                with contextlib.suppress(UpdateFinishedTrialError):
                    self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        fail_stale_trials(self.study)
        trials = self.study.get_trials(deepcopy=False)
        known = kinds(trials)
        for trial in trials:
            if known[trial.number] == "died":
                self._enqueue(trial, [*history(trial), trial.number])

    def _dead(self, trial: FrozenTrial) -> bool:
        """Tell whether no process of this machine holds the trial's worker; what others hold is not known here."""
        worker = trial.user_attrs.get("worker")
        if worker is None:  # killed between asking and saying who it is, which is done under the study's lock
            begun = trial.datetime_start
            alone = self.storage.engine.name == "sqlite"
            return alone or (begun is not None and (datetime.now() - begun).total_seconds() > GRACE)
        folder = self._workers / str(worker)
        if not folder.is_dir():
            return False
        try:
            with lock(folder):
                return True
        except LockedError:
            return False

    def _enqueue(self, trial: FrozenTrial, tried: list[int]) -> None:
        """Add the trial once more as Optuna's RetryHeartbeatStaleTrialCallback does, but without whose it was."""
        from optuna.trial import TrialState, create_trial

        marks: dict[str, Any] = {**trial.system_attrs, "retry_history": tried}
        if tried:
            marks["failed_trial"] = tried[0]
        self.study.add_trial(
            create_trial(
                state=TrialState.WAITING, params=trial.params, distributions=trial.distributions, system_attrs=marks
            )
        )

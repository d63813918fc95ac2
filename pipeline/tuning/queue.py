"""Hand out a study's trials to its workers: each settings once, as many as asked, the dead ones again."""

from __future__ import annotations

import contextlib
import copy
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.config import Config
from pipeline.config.search_space.space import suggest
from pipeline.errors import InputError
from pipeline.files.locks import waiting
from pipeline.methods import samplers
from pipeline.tuning.identity import trial_config
from pipeline.tuning.study import GRACE, HEARTBEAT, Setup
from pipeline.tuning.time_limit import Limit
from pipeline.tuning.trial_states import COUNTED, GIVEN_BACK, kinds

if TYPE_CHECKING:
    from optuna.trial import Trial

POLL = 1.0  # seconds between looks at what the other workers do
LIVE = (*COUNTED, "running")
MOST_USELESS = 25  # proposals in a row, the second half by chance: the space is used up


@dataclass(frozen=True)
class Job:
    """Hold a trial and the config that it trains."""

    trial: Trial
    config: Config


class Queue:
    """Give trials to one of a study's workers.

    Optuna's `optimize` counts trials when they are finished, so several workers would train more than asked, and its
    SQLite gives two readers the same waiting trial: here they are asked for one worker at a time, under a lock of the
    study's folder, and by their numbers where workers of other machines ask too. A worker whose heartbeats are missing
    is dead, and its trial is tried again from the last finished epoch.
    """

    def __init__(self, setup: Setup, worker: int) -> None:
        self.setup, self.study, self.worker = setup, setup.study, worker
        self.study.sampler = samplers.sampler("random", worker)  # what is tried is proposed before, see _proposed
        self.exhausted = False

    def next(self, trials: int, limit: Limit | None = None) -> Job | None:
        """Return a trial to train, or None when `trials` of them are finished or the time is over.

        While others run the last ones it waits: one of them may die.
        """
        while True:
            with waiting(self.setup.config.study_dir / ".queue.lock"):
                self._retry()
                known = kinds(self.setup.trials)
                count = Counter(known.values())
                done = sum(count[kind] for kind in COUNTED)
                if done >= trials or (limit is not None and limit.ends_trials(self.setup)):
                    return None
                if done + count["running"] < trials and (count["waiting"] or not self.exhausted):
                    if (job := self._ask(trials, known)) is not None:
                        return job
                    continue
                if not count["running"]:
                    return None
            time.sleep(POLL)

    def finish(self, trial: Trial, values: Sequence[float]) -> None:
        """Store a trial's values."""
        self._tell(trial, values)

    def fail(self, trial: Trial, reason: str) -> None:
        """Let a trial fail for good: it counts, and its settings are not tried again."""
        self._tell(trial, reason=reason)

    def give_back(self, trial: Trial) -> None:
        """Let whoever comes next go on with a trial; it has not died."""
        self._tell(trial, skipped=GIVEN_BACK)

    @contextlib.contextmanager
    def beating(self, trial: Trial) -> Iterator[None]:
        """Send heartbeats while the block runs; unlike Optuna's thread, this one outlives a busy database."""
        from optuna.exceptions import StorageInternalError

        over = threading.Event()

        def beat() -> None:
            while not over.wait(HEARTBEAT):
                with contextlib.suppress(StorageInternalError):
                    self.setup.storage.record_heartbeat(trial._trial_id)
            self.setup.storage.remove_session()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _ask(self, wanted: int, known: Mapping[int, str]) -> Job | None:
        """Propose one trial; None where it cannot or need not be tried."""
        if "waiting" not in known.values() and not self._proposed(known):
            return None
        trial = self.study.ask()
        self.setup.storage.record_heartbeat(trial._trial_id)  # first: without one it would seem to run for ever
        try:
            config = trial_config(self.setup.config, suggest(self.setup.space, trial))
        except InputError as error:
            self._skip(trial, f"refused: {'; '.join(error.lines)}")
            return None
        trial.set_user_attr("settings", config.run)
        trials = self.setup.trials  # again: another machine may have asked meanwhile
        live = {number for number, kind in kinds(trials).items() if kind in LIVE and number != trial.number}
        before = [number for number in live if number < trial.number or known.get(number) in LIVE]
        same = [number for number in before if trials[number].user_attrs.get("settings") == config.run]
        if same or len(before) >= wanted:
            self._skip(trial, f"the settings of trial {same[0]}" if same else "one more than asked")
            return None
        return Job(trial, config)

    def _proposed(self, known: Mapping[int, str]) -> bool:
        """Queue the first proposal that can be tried and was not; False, and `exhausted`, where none comes.

        A copy of the study in memory is asked, so that those of no use are stored nowhere: in the database they would
        be failed trials. Where the sampler insists on what was tried, chance proposes.
        """
        import optuna
        from optuna.trial import TrialState, create_trial

        trials, tune, study = self.setup.trials, self.setup.config.tune, self.study
        tried = {one.user_attrs.get("settings"): n for n, one in enumerate(trials) if known.get(n) in LIVE}
        so_far = sum(kind not in ("retried", "waiting") for kind in known.values())
        asked = optuna.create_study(study_name=study.study_name, directions=study.directions, pruner=study.pruner)
        asked.add_trials(one for one in trials if one.state != TrialState.WAITING)
        grid, useless = tune.sampler == "grid", ""
        for attempt in itertools.count() if grid else range(MOST_USELESS):
            name = "random" if attempt >= MOST_USELESS // 2 and not grid else tune.sampler
            asked.sampler = samplers.sampler(name, self._seed(so_far, attempt))
            trial = asked.ask()
            try:
                same = tried.get(trial_config(self.setup.config, suggest(self.setup.space, trial)).run)
            except InputError as error:
                useless = f"refused: {'; '.join(error.lines)}"
            else:
                if same is None:
                    found = asked.trials[trial.number]
                    attributes = {**found.system_attrs, "fixed_params": found.params}
                    study.add_trial(create_trial(state=TrialState.WAITING, system_attrs=attributes))
                    return True
                useless = f"the settings of trial {same}"
            try:
                asked.tell(trial, state=TrialState.FAIL)
            except RuntimeError:  # the grid's sampler stops a study in which all is tried, which `tell` refuses
                break
        self.exhausted = True
        print(f"no further proposal is of use, the last one: {useless}; the space is used up")
        return False

    def _seed(self, so_far: int, attempt: int) -> int:
        """Derive a sampler's seed: its state is in no database, and a fixed seed would repeat itself."""
        numbers = [self.setup.config.tune.seed, so_far, self.worker, *([attempt] if attempt else [])]
        return int(np.random.SeedSequence(numbers).generate_state(1)[0])

    def _skip(self, trial: Trial, why: str) -> None:
        """End a trial that another machine made useless between the proposal and the question."""
        self._tell(trial, skipped=why)

    def _tell(self, trial: Trial, values: Sequence[float] | None = None, **marks: str) -> None:
        """Store a trial's end, unless others took its worker for dead: they go on with what there is of it."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        state = TrialState.FAIL if values is None else TrialState.COMPLETE
        with contextlib.suppress(UpdateFinishedTrialError):
            for key, text in marks.items():
                trial.set_user_attr(key, text)
            self.study.tell(trial, values, state, skip_if_finished=True)

    def _retry(self) -> None:
        """Fail the trials whose workers are silent, and queue what died or was given back once more."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
        from optuna.trial import TrialState

        fail_stale_trials(self.study)
        before = datetime.now() - timedelta(seconds=GRACE)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            begun = trial.datetime_start
            if "settings" not in trial.user_attrs and begun is not None and begun < before:
                with contextlib.suppress(UpdateFinishedTrialError):  # killed before the first heartbeat
                    self.setup.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        trials = self.setup.trials
        for number, kind in kinds(trials).items():
            if kind == "died":
                again = copy.deepcopy(trials[number])
                again.user_attrs = {}  # what became of it is no matter of the next try
                RetryHeartbeatStaleTrialCallback()(self.study, again)

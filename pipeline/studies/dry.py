"""Say what `run` would do: what each stage makes anew, what is reused, and about how long and how large.

Nothing is decoded or written. Only stamps, fingerprints and files are compared, and where this run has no
epochs yet that tell how fast it trains, a few steps of the model are timed on random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.batches import fold_rows, progressive_resizing
from pipeline.batches.seen import cached
from pipeline.blending import stage as ensemble
from pipeline.competition.competition import Competition, load
from pipeline.competition.sample_submission import read_sample
from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.rules import topk_rules
from pipeline.errors import FoldlineError, MismatchError, Problem
from pipeline.folds import fold_table
from pipeline.folds import stage as folds
from pipeline.folds.fold_table import FoldTable
from pipeline.folds.rows import FoldRows
from pipeline.images.cache import lacking
from pipeline.machine.speeds import rate
from pipeline.prediction import oof
from pipeline.report import stage as report
from pipeline.scoring import stage as score
from pipeline.studies import estimate, fold_plans, throughput
from pipeline.studies.estimate import Uncached, duration
from pipeline.studies.fold_plans import FoldPlan

Lines = dict[str, list[str]]  # stage -> what to say of it
RUNS, REUSED = "runs", "reused, nothing it reads has changed"


@dataclass
class Plan:
    """Hold what a run would do: lines up to its score, those of its time and disk; its folds, where there are any."""

    config: Config
    stages: Lines = field(default_factory=dict)
    costs: Lines = field(default_factory=dict)
    table: FoldTable | None = None
    stops: bool = False
    fresh: bool = False  # something is made anew


def describe(config: Config, only: Sequence[int] | None = None, force: bool = False) -> str:
    """Return the plan as text; raises InputError where the tables are wrong, as `check` would."""
    plans = [_plan(one, only, force) for one in config.per_seed]
    last, blend = plans[-1], Lines()
    if only is None and not last.stops:
        blend = _blend(config, last.table, any(plan.fresh for plan in plans))
    if config.train.seeds is None:
        return _format(config, {**last.stages, **blend, **last.costs})
    texts = [_format(plan.config, {**plan.stages, **plan.costs}) for plan in plans]
    return "\n".join([*texts, *([_format(config, blend)] if blend else [])])


def _format(config: Config, lines: Lines) -> str:
    text = [f"{config.run_dir}: what a run would do; nothing is written now"]
    for name, found in lines.items():
        text += [f"{name if number == 0 else '':<10}{line}" for number, line in enumerate(found)]
    return "\n".join(text)


def _plan(config: Config, only: Sequence[int] | None, force: bool) -> Plan:
    """Return what one seed's run would do."""
    plan, competition = Plan(config), load(config)
    seen = cached(config, competition)
    competition = seen or competition
    trained = list(dict.fromkeys(fold_rows.sources(competition)))
    every = list(dict.fromkeys([*trained, *competition.test_images]))
    uncached: list[Uncached] = [(config, lacking(config, every))]
    uncached += [(one, lacking(one, trained)) for one in progressive_resizing.smaller(config)]
    plan.stages["check"] = [
        f"reads the tables; {len(uncached[0][1])} of {len(every)} images are to be decoded",
        *(f"{len(new)} of {len(trained)} images also at {progressive_resizing.text(one)}" for one, new in uncached[1:]),
    ]
    stage = "folds"
    try:
        plan.table = _stored_folds(config, seen)
        unknown = "" if seen else " if its images allow that, which the cache cannot tell"
        reused = plan.table and f"{config.folds_path} is reused, {plan.table.n} folds{unknown}"
        plan.stages[stage] = [reused or f"makes {config.folds_path}: {_scheme(config)}"]
        stage = "train"
        planned = fold_plans.plans(config, competition, plan.table, only, force)
    except FoldlineError as error:
        plan.stages[stage], plan.stops = _stop(error), True
        return plan
    plan.stages["train"] = [f"fold {one.number}: {one.text}" for one in planned]
    plan.stages["predict"] = [
        _views("valid", {one.number: one.valid_views for one in planned}),
        _views("test", {one.number: one.test_views for one in planned}),
        *(text for one in planned for text in one.damaged),
    ]
    plan.fresh = any(one.epochs or one.valid_views or one.test_views for one in planned)
    if plan.fresh or any(new for _, new in uncached):
        plan.costs = _costs(config, competition, planned, uncached, force)

    def scored() -> fingerprints.Fields:
        assert plan.table is not None
        every_fold = list(range(plan.table.n))
        return score.fields(config, every_fold if only is None else oof.predicted_folds(config.run_dir, plan.table))

    lines = _state(config, "score", ("scores.json", "oof.csv", "test.csv"), scored, plan.fresh)
    plan.fresh = lines != [REUSED]
    plan.stages["score"] = lines if only is None else [f"{lines[0]}; partial, and nothing after it", *lines[1:]]
    return plan


def _blend(config: Config, table: FoldTable | None, fresh: bool) -> Lines:
    """Say which of the stages that are made once of all seeds would run; each reads what the one before wrote."""

    def blended() -> fingerprints.Fields:
        assert table is not None
        return ensemble.fields(config, table, read_sample(config))

    lines = {
        "ensemble": _state(config, "ensemble", ("submission.csv", "ensemble.json", "weights.json"), blended, fresh)
    }
    if config.data.solution is not None:
        lines["held back"] = [RUNS]
    fresh = lines["ensemble"] != [REUSED]
    return lines | {"report": _state(config, "report", ("report.html",), lambda: report.fields(config), fresh)}


def _state(
    config: Config, stage: str, outputs: Sequence[str], fields: Callable[[], fingerprints.Fields], fresh: bool
) -> list[str]:
    """Say whether a cheap stage would run; `fresh`: one before it does."""
    try:
        if fresh:
            return [RUNS]
        done, damaged = fingerprints.state(config.run_dir, stage, fields(), [config.run_dir / one for one in outputs])
    except FoldlineError as error:
        return _stop(error)
    return [REUSED] if done else [RUNS, *map(str, damaged)]


def _stop(error: FoldlineError) -> list[str]:
    first, *rest = "\n".join(error.lines).splitlines()
    return [f"would stop with exit code {error.exit_code}: {first}", *rest]


def _views(kind: str, missing: dict[int, int]) -> str:
    """Say which folds lack how many views."""
    parts = []
    for count in sorted(set(missing.values()), reverse=True):
        numbers = ", ".join(str(number) for number, views in missing.items() if views == count)
        parts.append(f"folds {numbers}: " + (f"{count} view{'s' if count > 1 else ''}" if count else "reused"))
    return f"{kind}, {'; '.join(parts)}"


def _scheme(config: Config) -> str:
    """Say how folds would be made."""
    if config.folds.given is not None:
        return f"the folds of {config.folds.given}"
    return f"{config.folds.scheme}, {config.folds.n} folds"


def _stored_folds(config: Config, competition: Competition | None) -> FoldTable | None:
    """Return the stored folds, or None where there are none; raise MismatchError where they do not fit.

    Whether they fit is not known before all images were seen.
    """
    if not config.folds_path.is_file():
        return None
    table = fold_table.read(config)
    if competition is None:
        return table
    fold_table.verify(table, competition)
    made = fold_table.read_report(config)
    if made is not None and (differs := folds.differences(config, FoldRows(config, competition), made)):
        raise MismatchError(*(Problem(str(config.folds_path), f"made with {line}") for line in differs))
    return table


def _costs(
    config: Config, competition: Competition, planned: Sequence[FoldPlan], uncached: Sequence[Uncached], force: bool
) -> Lines:
    """Estimate the time from this run's epochs or a short measurement, and the disk from sizes."""
    folders = [] if force else sorted(config.run_dir.glob("fold*"))  # what is replaced may be another model
    known = [speed for folder in folders for speed in fold_plans.speeds(config, folder)]
    classes = competition.classes
    step, forward, weight_bytes = throughput.bare_model(config, classes, steps=0 if known else 2)
    speed, origin = (
        (float(np.median(known)), "as its epochs so far") if known else (step, "the model's step, just measured")
    )
    work = estimate.work(config, planned, len(competition.test_images))
    seconds = work.seconds(float("inf"), float(speed), forward)
    time = [
        f"about {duration(seconds['total'])}: "
        f"training {duration(seconds['train'])} ({rate(speed)} images/s, {origin}), "
        f"prediction {duration(seconds['predict'])} ({rate(forward)} images/s per fold and view)"
    ]
    if config.train.parallel_folds != 1:
        time.append("counted one fold after another; train.parallel_folds trains several in parallel")
    if any(new for _, new in uncached):
        time.append("decoding not counted; foldline bench measures it")
    rows = sum(bool(one.valid_views) * one.valid_rows for one in planned)
    rows += sum(bool(one.test_views) * len(competition.test_ids) for one in planned)
    most = topk_rules.kept(config, len(classes))
    cells = rows * (len(classes) if most is None else 2 * most)  # a class's number beside its probability
    trained = sum(one.epochs > 0 for one in planned)
    return {"time": time, "disk": [estimate.disk(config, uncached, weight_bytes, trained, cells)]}

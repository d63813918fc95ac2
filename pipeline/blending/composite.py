"""Compose runs that learnt one target column each into one member over the composite classes.

Columns count as independent: the probability of a combination is the product of its labels', as it is where one
network has a head for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.blending import views
from pipeline.blending.member import Member, find_runs, views_of
from pipeline.config.config import Config
from pipeline.config.run_configs import of_run
from pipeline.errors import FoldlineError, InputError, MismatchError, Problem, Refused
from pipeline.folds.fold_table import FoldTable
from pipeline.methods import heads as together
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS
from pipeline.prediction import class_order
from pipeline.prediction.oof import id_problems, read_run
from pipeline.scoring.evaluation import Evaluator, unfitted


def folders(config: Config) -> dict[str, dict[str, Path]]:
    """Return each target column's runs, name -> folder; raise InputError listing all that are missing or twice."""
    problems: list[Problem] = []
    found = {head: find_runs(names, config, _place(head), problems) for head, names in _asked(config).items()}
    if problems:
        raise InputError(*problems)
    return found


def read(config: Config, table: FoldTable, evaluator: Evaluator) -> Member:
    """Read the runs of every target column and multiply them; several runs of one column are averaged before.

    Raises MismatchError with the problems of all runs together: another fold hash, classes other than the column's
    labels, a run that learnt something else.
    """
    asked, names = folders(config), class_order.predicted(config, table)
    heads, problems = config.data.heads_of(names), list[Problem]()
    runs: dict[str, list[Member]] = {head: [] for head, _, _ in heads}
    for head, start, stop in heads:
        labels = [text.removeprefix(f"{head}=") for text in names[start:stop]]
        for folder in asked[head].values():
            try:
                runs[head].append(_read(config, table, folder, head, labels))
            except FoldlineError as error:
                problems += [one.below(_place(head), ": ") for one in error.problems]
    if problems:
        raise MismatchError(*problems)
    every = [run for several in runs.values() for run in several]
    first = every[0]
    where = f"among the test ids of {next(iter(asked[heads[0][0]]))}"
    for run in every[1:]:
        problems += id_problems(run.name, run.test_ids, first.test_ids, where)
    if problems:
        raise MismatchError(*problems)

    def products(part: str) -> dict[str, Array]:
        columns = {
            kind: [np.mean([getattr(run, part)[kind] for run in several], 0) for several in runs.values()]
            for kind in ("plain", "tta")
        }
        return {kind: together.composite(np.hstack(one), heads) for kind, one in columns.items()}

    classes = class_order.blended(config, table)
    first_three = first.ids, first.fold_N, first.test_ids
    notes = tuple(note for run in every for note in run.notes)
    oof, test, taken = products("oof"), products("test"), None
    if config.submission.variant == "auto" and not np.array_equal(oof["plain"], oof["tta"]):
        plain, tta = (unfitted(oof[kind], test[kind]) for kind in ("plain", "tta"))
        taken = views.take_whole(plain, tta, ["tta of every run"], evaluator)
    return Member("×".join(runs), classes, *first_three, oof, test, taken=taken, notes=notes)


def described(config: Config) -> list[str]:
    """Say which column comes from which runs; nothing where none are composed."""
    asked = _asked(config)
    parts = [f"{head} of {' and '.join(names)}" for head, names in asked.items()]
    return [f"{'×'.join(asked)}: the product of {', '.join(parts)}, which count as independent"] if parts else []


def _asked(config: Config) -> dict[str, list[str]]:
    asked = config.ensemble.compose or {}
    return {head: [names] if isinstance(names, str) else names for head, names in asked.items()}


def _place(head: str) -> str:
    return f"ensemble.compose.{head}"


def _read(config: Config, table: FoldTable, folder: Path, head: str, labels: Sequence[str]) -> Member:
    """Return a run's predictions of one column, its classes in the order of the labels."""
    theirs = config if folder == config.run_dir else of_run(folder)
    data, place = theirs.data, str(folder)
    learnt = ", ".join(data.targets)
    if head not in data.targets:
        raise MismatchError(Problem(place, f"learnt {learnt}", remedy=f"name a run whose data.target is {head}"))
    if not TASKS[data.task].single_label or (len(data.targets) > 1 and not data.heads):
        raise MismatchError(Problem(place, f"a {data.task} run over {learnt}", f"one label of {head} in each row"))
    made = read_run(folder, table, head=head)
    if made.kept is not None:
        remedy = "predict with --set predict.top_k=null"
        raise MismatchError(Problem(place, "keeps only the most probable classes", remedy=remedy))
    try:
        order, notes = class_order.places(made.classes, labels, class_order.RETRAIN)
    except Refused as error:
        raise MismatchError(*(problem.below(place, ": ") for problem in error.problems)) from None
    oof, test = ({kind: probs[:, order] for kind, probs in one.items()} for one in views_of(made, theirs.tta))
    said = tuple(f"{place}: {note}" for note in notes)
    return Member(place, tuple(labels), made.ids, made.fold_N, made.test_ids, oof, test, notes=said)

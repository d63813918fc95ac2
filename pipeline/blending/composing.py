"""Compose runs that learnt one target column each into one member over the composite classes.

Columns count as independent: the probability of a combination is the product of its labels', as it is where one
network has a head for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.blending.member import Member
from pipeline.competition.labels import class_names
from pipeline.config import loading as configs
from pipeline.config.config import Config
from pipeline.errors import FoldlineError, InputError, MismatchError
from pipeline.folds.fold_table import FoldTable
from pipeline.methods import heads as together
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS
from pipeline.prediction import runs
from pipeline.prediction.runs import RunPredictions


def folders(config: Config) -> dict[str, dict[str, Path]]:
    """Return each target column's runs, name -> folder; raise InputError listing all that are missing or twice."""
    defects: list[str] = []
    found: dict[str, dict[str, Path]] = {}
    for head, names in (config.ensemble.compose or {}).items():
        found[head] = {}
        for name in [names] if isinstance(names, str) else names:
            try:
                folder = runs.find(name, Path(config.runs_dir))
            except InputError as error:
                defects += [f"ensemble.compose.{head}: {text}" for text in error.lines]
                continue
            if any(folder.resolve() == other.resolve() for other in found[head].values()):
                defects.append(f"ensemble.compose.{head}: '{name}' is named twice; name it once")
            found[head][name] = folder
    if defects:
        raise InputError(*defects)
    return found


def read(config: Config, table: FoldTable) -> Member:
    """Read the runs of every target column and multiply them; several runs of one column are averaged before.

    Raises MismatchError with the defects of all runs together: another fold hash, classes other than the column's
    labels, a run that learnt something else.
    """
    asked, task = folders(config), TASKS[config.data.task]
    names = class_names(task, table.targets, config.data)
    heads = config.data.heads_of(names)
    defects: list[str] = []
    made: dict[str, list[tuple[RunPredictions, Sequence[str]]]] = {head: [] for head, _, _ in heads}
    orders: dict[str, list[list[int]]] = {head: [] for head in made}
    for head, start, stop in heads:
        labels = [text.removeprefix(f"{head}=") for text in names[start:stop]]
        for folder in asked[head].values():
            try:
                one, views, order = _read(config, table, folder, head, labels)
            except FoldlineError as error:
                defects += [f"ensemble.compose.{head}: {text}" for text in error.lines]
                continue
            made[head].append((one, views))
            orders[head].append(order)
    if defects:
        raise MismatchError(*defects)
    first = next(iter(made.values()))[0][0]
    for head, several in made.items():
        where = f"among the test ids of {next(iter(asked[next(iter(made))]))}"
        for (one, _), folder in zip(several, asked[head].values(), strict=True):
            defects += runs.id_defects(folder, one.test_ids, first.test_ids, where)
    if defects:
        raise MismatchError(*defects)

    def product(kind: str, part: str) -> Array:
        columns = [
            np.mean(
                [_probs(*one, kind, part)[:, order] for one, order in zip(made[head], orders[head], strict=True)], 0
            )
            for head in made
        ]
        return together.composite(np.hstack(columns), heads)

    try:
        classes = together.composite_names(names, heads, config.submission.composite)
    except ValueError as error:
        raise InputError(f"submission.composite: {error}") from None
    oof, test = ({kind: product(kind, part) for kind in ("plain", "tta")} for part in ("oof", "test"))
    return Member("×".join(made), classes, first.ids, first.fold_N, first.test_ids, oof, test)


def described(config: Config) -> list[str]:
    """Say which column comes from which runs; nothing where none are composed."""
    asked = config.ensemble.compose or {}
    listed = {head: [names] if isinstance(names, str) else names for head, names in asked.items()}
    parts = [f"{head} of {' and '.join(names)}" for head, names in listed.items()]
    return [f"{'×'.join(asked)}: the product of {', '.join(parts)}, which count as independent"] if parts else []


def _read(
    config: Config, table: FoldTable, folder: Path, head: str, labels: Sequence[str]
) -> tuple[RunPredictions, Sequence[str], list[int]]:
    """Return a run's predictions of one column, the views of its `tta`, and its classes' places by label."""
    own = config if folder == config.run_dir else configs.load([folder / "config.yaml"])
    data, several = own.data, len(own.data.targets) > 1
    if head not in data.targets:
        raise MismatchError(f"{folder}: learnt {', '.join(data.targets)}; name a run whose data.target is {head}")
    if not TASKS[data.task].single_label or (several and not data.heads):
        raise MismatchError(
            f"{folder}: a {data.task} run over {', '.join(data.targets)}, expected one label of {head} in each row"
        )
    made = runs.read(folder, table, head=head)
    if made.files is not None:
        raise MismatchError(f"{folder}: keeps the most probable classes alone; predict with --set predict.top_k=null")
    if sorted(made.classes) != sorted(labels):
        raise MismatchError(runs.other_classes(folder, made.classes, f"{table.path}, {head},", labels))
    return made, own.tta, [made.classes.index(label) for label in labels]


def _probs(made: RunPredictions, views: Sequence[str], kind: str, part: str) -> Array:
    chosen = ["identity"] if kind == "plain" else views
    return made.oof(chosen) if part == "oof" else made.test(chosen)

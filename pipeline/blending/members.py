"""Find the members of a blend, and read all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.blending import composite, member_tables
from pipeline.blending.member import Member, find_runs, is_run, run_member
from pipeline.config import run_configs
from pipeline.config.config import Config
from pipeline.config.rules import topk_rules
from pipeline.errors import FoldlineError, InputError, MismatchError, Problem
from pipeline.folds.fold_table import FoldTable
from pipeline.prediction.oof import id_problems, other_count, prediction_files
from pipeline.scoring.evaluation import Evaluator


def folders(config: Config) -> dict[str, Path]:
    """Return the members' folders by name; raise InputError listing those that are missing or named twice.

    A member composed of several runs is none of them, see composite.folders.
    """
    names = config.ensemble.members
    if names is None:
        return {} if config.ensemble.compose else {one.run_dir.name: one.run_dir for one in config.per_seed}
    if not names:
        expected, remedy = "runs", "null blends only this run"
        raise InputError(Problem("ensemble.members", "found an empty list", expected, remedy))
    problems: list[Problem] = []
    found = find_runs(names, config, "ensemble.members", problems)
    if problems:
        raise InputError(*problems)
    return found


def files(config: Config, table: FoldTable) -> dict[str, Path]:
    """Return the files that `read_all` reads, by the member's name and the path in its folder."""
    found = dict(folders(config))
    for several in composite.folders(config).values():
        found |= several
    return {
        f"{name}/{path.relative_to(folder)}": path
        for name, folder in found.items()
        for path in (
            [*prediction_files(folder, range(table.n)), *run_configs.files(folder)]
            if is_run(folder)
            else [folder / "oof.csv", folder / "test.csv"]
        )
    }


def read_all(
    config: Config, table: FoldTable, evaluator: Evaluator, classes: Sequence[str], uses_ranks: bool
) -> Sequence[Member]:
    """Read every member; raise MismatchError with the problems of all of them together.

    All must have the fold table's folds, the task's classes, which are brought into its order, and the same test ids.
    Rows of a teammate's tables must sum to 1 where classes exclude each other, unless ranks are blended.
    """
    problems: list[Problem] = []
    members: list[Member] = []
    sums = evaluator.single_label and not uses_ranks
    for name, folder in folders(config).items():
        try:
            if is_run(folder):
                members.append(run_member(name, folder, config, table, evaluator))
            else:
                members.append(member_tables.read(name, folder, config, table, classes, sums))
        except FoldlineError as error:
            problems += error.problems
    if config.ensemble.compose:
        try:
            members.append(composite.read(config, table, evaluator))
        except FoldlineError as error:
            problems += error.problems
    for member in members[1:]:
        first = members[0]
        counts = [topk_rules.kept_by(one.oof["tta"]) for one in (member, first)]
        if counts[0] != counts[1]:
            problems.append(other_count(member.name, counts[0], first.name, counts[1]))
        problems += id_problems(member.name, member.test_ids, first.test_ids, f"among the test ids of {first.name}")
    if problems:
        raise MismatchError(*problems)
    return members

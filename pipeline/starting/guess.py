"""Guess a whole config from a competition's folder, with a reason for every key."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.competition.image_paths import Source
from pipeline.competition.tables import read_table
from pipeline.competition.templates import fill
from pipeline.errors import InputError, Problem, some
from pipeline.starting import description, pictures, sources, targets
from pipeline.starting.class_folders import TEST
from pipeline.starting.folder import Folder, words
from pipeline.starting.kinds import Guess
from pipeline.starting.pictures import Found
from pipeline.starting.sources import Sample, Train

if TYPE_CHECKING:
    import pandas as pd

GROUPS = (  # the clearest first
    *("patient", "subject", "person", "individual", "user", "study", "location", "site", "camera", "video", "scene"),
    *("lesion", "group", "seq", "sequence", "session", "specimen", "plot", "field", "family"),
)
FEWEST_GROUPS = 10  # of which five folds can still be made
MOST_FOLDS = 20  # values of a column of folds
FOLDS = {"fold", "folds", "kfold", "split", "subset", "partition", "set", "usage"}


def guess(folder: Folder) -> tuple[list[Guess], list[str], int]:
    """Return the guesses in the order of their reading, notes on what else was seen, and the number of training rows.

    Raises InputError where there is no sample submission, no training rows or no target.
    """
    given = sources.sample(folder)
    path, sample = given.path, given.table
    sample_id = str(sample.columns[0])
    train = sources.train(folder, path, sample)
    sample = sample if train.sample is None else train.sample
    guesses: list[Guess] = list(train.guesses)
    notes = list(folder.notes)
    if folder.links:
        names = [os.path.relpath(path, folder.root) for path in folder.links]
        guesses.append(("data.follow_links", True, f"{some(names, 4)} lead out of the folder"))
    if len(given.columns) > sample.shape[1]:
        notes.append(f"{path} has an index column without a name, which is copied")
    test = _test(folder, given, sample, guesses, notes, train.numbered)
    why = f"asks for {some(list(sample.columns[1:]), 4)}" if path else "there is none: the test's ids make one"
    guesses.append(("data.sample_submission", path, why))
    id_ = _ids(train, test, sample, guesses)
    train = _without_test_rows(train, sample, id_, guesses)
    _test_pictures(folder, train, test, sample, id_, guesses)
    test_columns = [] if test is None else [str(column) for column in test.columns]
    rule = description.read(folder)
    metric = None if rule is None else rule.metric
    target = targets.find(train.table, test_columns, sample.iloc[:, 1:], [id_, sample_id], metric)
    if target is None:
        wanted = (
            f"{some(list(sample.columns[1:]), 4)} as in {path}, or a column of labels, "
            f"among {some(list(train.table.columns), 12)}"
        )
        raise InputError(Problem(str(folder.root), "no target found", wanted, "write the config by hand"))
    if path is None:  # the metric says what is asked for
        target = replace(target, guesses=[one for one in target.guesses if not one[0].startswith("submission.")])
    guesses += _together(guesses, target.guesses)
    if rule is not None:
        description.take(rule, guesses, sample, notes)
    _repeats(train.table, id_, [name for name in target.columns if name in train.table], guesses)
    _group(train, test, {id_, *target.columns}, guesses, notes)
    _own_folds(train, test_columns, {id_, *target.columns}, guesses)
    if test is not None:
        unused = [str(column) for column in train.table.columns if column not in test.columns]
        absent = [column for column in unused if column not in (*target.columns, "path", "file")]
        if absent:
            notes.append(f"absent from the test rows, so no use as input, and they may leak: {', '.join(absent[:12])}")
    return guesses, notes, len(train.table)


def _together(before: Sequence[Guess], new: Sequence[Guess]) -> list[Guess]:
    """Return the new guesses; derived columns are added to those that stand before."""
    known: dict[str, Any] = {}
    for key, value, _ in before:
        if key == "data.derive":
            known |= value
    return [(key, known | value if key == "data.derive" else value, why) for key, value, why in new]


def _without_test_rows(train: Train, sample: pd.DataFrame, id_: str, guesses: list[Guess]) -> Train:
    """Leave out training rows that are the test's: by a column that tells them apart, which `data.where` then names."""
    asked = set(sample.iloc[:, 0])
    if id_ not in train.table:
        return train
    mine_N = train.table[id_].isin(asked)
    for column in map(str, train.table.columns):
        if not mine_N.any() or mine_N.all() or column == id_ or not FOLDS & set(words(column)):
            continue
        theirs, ours = set(train.table[column][mine_N]), set(train.table[column][~mine_N])
        if not theirs & ours:
            why = f"the rows with {some(sorted(theirs))} are those of the sample submission"
            guesses.append(("data.where", {column: sorted(ours)}, why))
            return replace(train, table=train.table[~mine_N].reset_index(drop=True))
    return train


def _test(
    folder: Folder, given: Sample, sample: pd.DataFrame, guesses: list[Guess], notes: list[str], numbered: bool
) -> pd.DataFrame | None:
    """Return the test table that holds the sample's ids, or where these are the rows' numbers, as many rows."""
    asked = set(sample.iloc[:, 0])
    if given.test is not None:
        guesses.append(("data.test", given.test, "holds the test's ids"))
        return read_table(folder.root, given.test)
    for path in folder.tables:
        if path == given.path or not TEST & set(words(path)):
            continue
        try:
            table = read_table(folder.root, path)
        except (ValueError, OSError) as error:
            notes.append(f"{path}: {error}")
            continue
        if numbered and len(table) == len(sample):
            guesses.append(("data.test", path, "as many rows as the sample submission"))
            return table.assign(**{str(sample.columns[0]): sample.iloc[:, 0].to_numpy()})
        if any(asked <= set(table[column]) for column in table.columns):
            guesses.append(("data.test", path, "a column holds the ids of the sample submission"))
            return table
        notes.append(f"{path} is not used: no column of it holds the ids of the sample submission")
    guesses.append(("data.test", None, "no test table: ids come from the sample submission"))
    return None


def _ids(train: Train, test: pd.DataFrame | None, sample: pd.DataFrame, guesses: list[Guess]) -> str:
    """Choose data.id, and predict_id where several images make one prediction; return data.id."""
    sample_id, asked = str(sample.columns[0]), set(sample.iloc[:, 0])
    id_, why = train.found.column if train.found else str(train.table.columns[0]), "names the pictures"
    template = None
    if test is None:
        same = [str(column) for column in train.table.columns if str(column).lower() == sample_id.lower()]
        if same:
            id_, why = same[-1], "as in the sample submission"
    else:
        linked = [str(column) for column in test.columns if asked <= set(test[column])]
        linked.sort(key=lambda column: column.lower() != sample_id.lower())
        shared = [column for column in linked if column in train.table]
        if shared:
            id_, why = shared[0], "holds the sample submission's ids in the test table"
        else:
            template = _composed(train.table, test, linked[0])
    guesses.append(("data.id", id_, why))
    if test is not None and template is not None:
        why = f"gives '{linked[0]}' of the test table: what is predicted, of one or several images"
        guesses.append(("data.predict_id", template, why))
    if sample_id.lower() != id_.lower():
        guesses.append(("submission.id", sample_id, "the sample submission's own name for it"))
    return id_


def _composed(train: pd.DataFrame, test: pd.DataFrame, column: str) -> str | None:
    """Return the template over columns of both tables that gives a column which only the test has."""
    shared = [str(name) for name in test.columns if name in train and name != column]
    for (a, b), between in itertools.product(itertools.permutations(shared, 2), ("_", "-", "", ".")):
        template = f"{{{a}}}{between}{{{b}}}"
        if fill(template, test.head(1)) == [test[column].iloc[0]] and fill(template, test) == test[column].tolist():
            return template
    return None


def _test_pictures(
    folder: Folder, train: Train, test: pd.DataFrame | None, sample: pd.DataFrame, id_: str, guesses: list[Guess]
) -> None:
    """Choose data.test_image where data.image leads nowhere, or to the training pictures: the test's own come first."""
    if train.found is None:
        return
    rows = sample.rename(columns={sample.columns[0]: id_}).iloc[:, :1] if test is None else test
    derive = {name: how for name, how in train.found.derive.items() if how["column"] in rows and name not in rows}
    rows, own = pictures.widened(rows, derive), train.found.template
    taken = set(folder.resolve(pictures.widened(train.table, train.found.derive), own).images)
    moved = re.sub("train(ing)?", "test", own)
    reached = [_reached(folder, rows, template, id_) for template in dict.fromkeys((moved, own))]
    tried = [one for one in reached if one is not None and one.count]
    found = next((one for one in tried if one.count == one.rows and not taken & _images(folder, rows, one)), None)
    if found is None:
        tried += [one for one in [pictures.find(rows, folder, "test", [*derive, train.found.column, id_])] if one]
        free = [one for one in tried if one.derive or not taken & _images(folder, rows, one)]
        found = max(free, key=lambda one: one.count, default=None)
    if found is None:
        names = some([name for name in rows.columns if name not in derive])
        where = f"the only ones by the cells of {names} are training pictures" if tried else f"by the cells of {names}"
        place = f"{folder.root}: {rows[id_ if id_ in rows else rows.columns[0]].iloc[0]!s}"
        remedy = "correct the ids or add the files"
        raise InputError(Problem(place, f"no test pictures found, {where}", remedy=remedy))
    guesses += _together(guesses, sources.explained(found))
    if found.template != own:
        guesses.append(("data.test_image", found.template, f"reaches {found.count} pictures of {found.rows} rows"))


def _images(folder: Folder, rows: pd.DataFrame, found: Found) -> set[Source]:
    return set(folder.resolve(rows, found.template).images)


def _own_folds(train: Train, test_columns: Sequence[str], used: set[str], guesses: list[Guess]) -> None:
    """Take a column called fold that holds few whole numbers as the table's own folds."""
    for column in map(str, train.table.columns):
        values = set(train.table[column])
        named = {"fold", "folds", "kfold"} & set(words(column)) and column not in used and column not in test_columns
        if named and 2 <= len(values) <= MOST_FOLDS and all(re.fullmatch(r"-?\d+(\.0)?", value) for value in values):
            guesses[:] = [guess for guess in guesses if guess[0] != "folds.rare"]
            guesses.append(("folds.column", column, f"the table's own {len(values)} folds"))
            return


def _reached(folder: Folder, rows: pd.DataFrame, template: str, id_: str) -> Found | None:
    """Return how many rows a template reaches, None where it names a column that they do not have."""
    try:
        return Found(template, id_, folder.count(rows, template), len(rows))
    except ValueError:
        return None


def _repeats(table: pd.DataFrame, id_: str, target: list[str], guesses: list[Guess]) -> None:
    if table[id_].is_unique or any(key == "data.predict_id" for key, _, _ in guesses):
        return
    repeated = int(table[id_].duplicated().sum())
    differ = bool((table.groupby(id_)[target].nunique() > 1).any().any())
    why = f"{repeated} rows repeat an id" + (", some with other labels" if differ else " with the same label")
    guesses.append(("data.duplicates", "soft" if differ else "first", why))


def _group(train: Train, test: pd.DataFrame | None, used: set[str], guesses: list[Guess], notes: list[str]) -> None:
    """Choose the column whose rows belong together: by its name, and best where the test has values of its own."""
    table, fitting = train.table, []
    if train.paired and "file" in table and "file" not in used:
        why = "the same file names stand in every class, as of versions of one picture: they stay in one fold"
        guesses.append(("data.group", "file", why))
        return
    for column in map(str, table.columns):
        parts = [re.sub(r"(?<=[a-z])id$", "", word) for word in words(column)]
        rank = min((GROUPS.index(word) for word in parts if word in GROUPS), default=None)
        values = set(table[column])
        if rank is None or column in used or "" in values or not FEWEST_GROUPS <= len(values) < len(table):
            continue
        other = test is not None and column in test and not values & set(test[column])
        fitting.append((not other, len(values), rank, column))
    if not fitting:
        return
    known, count, _, best = min(fitting)
    why = f"{count} values for {len(table)} rows" + ("" if known else ", and the test rows have others: folds must too")
    guesses.append(("data.group", best, why))
    if others := [column for *_, column in fitting if column != best]:
        notes.append(f"other columns that may be groups: {', '.join(others)}")

"""Guess a whole config from a competition's folder, with a reason for every key."""

from __future__ import annotations

import itertools
import os
import re
from typing import TYPE_CHECKING

from pipeline.competition.tables import read_table
from pipeline.competition.templates import fill
from pipeline.errors import InputError, Problem
from pipeline.starting import pictures, sources, targets
from pipeline.starting.folder import Folder, words
from pipeline.starting.pictures import Found
from pipeline.starting.sources import Train
from pipeline.starting.targets import Guess

if TYPE_CHECKING:
    import pandas as pd

GROUPS = (  # the clearest first
    *("patient", "subject", "person", "individual", "user", "study", "location", "site", "camera", "video", "scene"),
    *("group", "seq", "sequence", "session", "specimen", "plot", "field", "family"),
)
FEWEST_GROUPS = 10  # of which five folds can still be made


def guess(folder: Folder) -> tuple[list[Guess], list[str]]:
    """Return the guesses in the order of their reading, and notes on what else was seen.

    Raises InputError where there is no sample submission, no training rows or no target.
    """
    path, sample, columns = sources.sample(folder)
    sample_id = str(sample.columns[0])
    train = sources.train(folder, path, sample_id)
    guesses: list[Guess] = list(train.guesses)
    notes = list(folder.notes)
    if len(columns) > sample.shape[1]:
        notes.append(f"{path} has an index column without a name, which is copied")
    test = _test(folder, path, sample, guesses, notes)
    guesses.append(("data.sample_submission", path, f"asks for {', '.join(map(str, sample.columns[1:5]))}"))
    id_ = _ids(train, test, sample, guesses)
    _test_pictures(folder, train, test, sample, id_, guesses)
    test_columns = [] if test is None else [str(column) for column in test.columns]
    target = targets.find(train.table, test_columns, sample.iloc[:, 1:], [id_, sample_id])
    if target is None:
        wanted = (
            f"{', '.join(map(str, sample.columns[1:5]))} as in {path}, or a column of labels, "
            f"among {', '.join(map(str, train.table.columns[:12]))}"
        )
        raise InputError(Problem(str(folder.root), "no target found", wanted, "write the config by hand"))
    guesses += target.guesses
    _repeats(train.table, id_, target.columns, guesses)
    _group(train.table, test, {id_, *target.columns}, guesses, notes)
    if test is not None:
        unused = [str(column) for column in train.table.columns if column not in test.columns]
        absent = [column for column in unused if column not in (*target.columns, "path", "file")]
        if absent:
            notes.append(f"absent from the test rows, so no use as input, and they may leak: {', '.join(absent[:12])}")
    return guesses, notes


def _test(
    folder: Folder, taken: str, sample: pd.DataFrame, guesses: list[Guess], notes: list[str]
) -> pd.DataFrame | None:
    """Return the test table that holds the sample's ids, if there is one."""
    asked = set(sample.iloc[:, 0])
    for path in folder.tables:
        if path == taken or "test" not in words(path):
            continue
        try:
            table = read_table(folder.root, path)
        except (ValueError, OSError) as error:
            notes.append(f"{path}: {error}")
            continue
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
    """Choose data.test_image where data.image leads nowhere: like it but for the folder's name, else anew."""
    if train.found is None:
        return
    rows = sample.rename(columns={sample.columns[0]: id_}).iloc[:, :1] if test is None else test
    own = train.found.template
    for template in dict.fromkeys((own, own.replace("train", "test"))):  # few test rows may all lie in one sub-folder
        try:
            count = pictures.count(rows, folder, template)
        except ValueError:  # a column that the test rows do not have
            continue
        if count == len(rows):
            found: Found | None = Found(template, id_, count, len(rows))
            break
    else:
        found = pictures.find(rows, folder, "test", [train.found.column, id_])
    if found is None:
        guesses.append(("data.test_image", f"test/{{{id_}}}.jpg", "no test picture was found: correct it"))
    elif found.template != own:
        guesses.append(("data.test_image", found.template, f"reaches {found.count} pictures of {found.rows} rows"))


def _repeats(table: pd.DataFrame, id_: str, target: list[str], guesses: list[Guess]) -> None:
    if table[id_].is_unique or any(key == "data.predict_id" for key, _, _ in guesses):
        return
    repeated = int(table[id_].duplicated().sum())
    differ = bool((table.groupby(id_)[target].nunique() > 1).any().any())
    why = f"{repeated} rows repeat an id" + (", some with other labels" if differ else " with the same label")
    guesses.append(("data.duplicates", "soft" if differ else "first", why))


def _group(
    table: pd.DataFrame, test: pd.DataFrame | None, used: set[str], guesses: list[Guess], notes: list[str]
) -> None:
    """Choose the column whose rows belong together: by its name, and best where the test has values of its own."""
    fitting = []
    for column in map(str, table.columns):
        parts = [re.sub(r"(?<=[a-z])id$", "", word) for word in words(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column))]
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


def name_of(folder: Folder) -> str:
    """Return a name for runs and folds from the folder's."""
    name = os.path.basename(os.path.realpath(folder.root))
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "competition"

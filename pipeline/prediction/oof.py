"""Join a run's predictions by id with the fold table: what score and ensemble start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.errors import FoldlineError, InputError, MismatchError, Problem, Refused, nearest, problems_of, some
from pipeline.files.tables import read_epochs
from pipeline.folds.fold_table import FoldTable
from pipeline.methods import heads as together
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.heads import Heads
from pipeline.prediction.class_order import in_order
from pipeline.prediction.predictions import Predictions


@dataclass(frozen=True)
class RunPredictions:
    """Hold a run's prediction files, joined by id; what is asked for is averaged at once to float64, or to a Top."""

    classes: tuple[str, ...]
    views: tuple[str, ...]  # those that every fold has
    folds: tuple[int, ...]
    ids: Array  # [N] str, sorted
    fold_N: Array
    test_ids: Array  # [T] str, sorted; none where no test file was read
    valid: tuple[Predictions, ...]  # each row from the model that did not see it
    tests: tuple[Predictions, ...]  # of each fold model
    notes: tuple[str, ...] = ()

    def oof(self, views: Sequence[str]) -> Array:
        """Return the mean over the views [N,C], rows sorted by id; raise MismatchError where one is not predicted."""
        self._check(views)
        order = np.argsort(np.concatenate([found.ids for found in self.valid]))
        return topk.join([found.mean(views) for found in self.valid])[order]

    def test(self, views: Sequence[str]) -> Array:
        """Return the mean over fold models and views [T,C]; raise MismatchError where a view is not predicted."""
        self._check(views)
        if self.kept is not None:  # averaging twice would leave classes out twice
            none = np.zeros((0, self.kept), np.float32)
            each = [top[np.argsort(found.ids)] for found in self.tests for top in found.tops(views)]
            return topk.mean(each or [topk.Top(none.astype(np.int32), none, len(self.classes))])
        total_TVC = np.zeros((len(self.test_ids), len(views), len(self.classes)))
        for found in self.tests:
            probs_TVC = found.probs_NVC[:, [found.views.index(view) for view in views]]
            total_TVC += probs_TVC[np.argsort(found.ids)]
        return np.asarray((total_TVC / max(len(self.tests), 1)).mean(axis=1))

    @property
    def kept(self) -> int | None:
        """Return how many classes of each row are kept, None where it is all of them."""
        return self.valid[0].kept

    def _check(self, views: Sequence[str]) -> None:
        if missing := [view for view in views if view not in self.views]:
            raise MismatchError(
                Problem("", f"views not predicted: {', '.join(missing)}", remedy="predict them with: foldline predict")
            )


def find_run(name: str, runs_dir: Path, place: str) -> Path:
    """Return the folder of a run: one in `runs_dir`, or a path; raise InputError at `place` where there is none."""
    for folder in (runs_dir / name, Path(name)):
        if folder.is_dir():
            return folder
    known = sorted(path.parent.name for path in runs_dir.glob("*/config.yaml"))
    expected = f"a run in {runs_dir}, or a path to one"
    raise InputError(Problem(place, f"found '{name}'", expected, nearest(name, known)))


def prediction_files(folder: Path, folds: Sequence[int], parts: Sequence[str] = ("valid", "test")) -> list[Path]:
    """Return the paths of the folds' prediction files, whether they exist or not."""
    return [folder / f"fold{fold}" / f"{part}.npz" for fold in folds for part in parts]


def predicted_folds(folder: Path, table: FoldTable) -> list[int]:
    """Return the folds that have validation predictions."""
    return [fold for fold in range(table.n) if (folder / f"fold{fold}" / "valid.npz").is_file()]


def train_seconds(folder: Path, folds: Sequence[int]) -> float:
    """Return how long the folds trained, from their epochs.csv: a training that was killed has its time once."""
    tables = [folder / f"fold{fold}" / "epochs.csv" for fold in folds]
    return float(sum(read_epochs(path)["seconds"].sum() for path in tables if path.is_file()))


def read_run(
    folder: Path,
    table: FoldTable,
    *,
    classes: Sequence[str] | None = None,
    composite: str | None = None,
    head: str | None = None,
    partial: bool = False,
    test: bool = True,
) -> RunPredictions:
    """Read `fold<k>/{valid,test}.npz` of every fold; of several heads the composite classes, called by the template.

    With `classes`, of heads side by side, every file is brought into their order by name. With `head` it is that head
    only, or all of a run that has no heads.

    Raises MismatchError listing every problem: files that are missing or damaged, another fold hash or class
    list, ids that are not predicted exactly once by the model that did not see them. `partial` takes the
    folds there are, and the test files there are; `test=False` reads none.
    """
    folds = predicted_folds(folder, table) if partial else list(range(table.n))
    if not folds:
        raise MismatchError(Problem(str(folder), "no fold is predicted", remedy="predict with: foldline predict"))
    test_paths = prediction_files(folder, folds, ["test"]) if test else []
    if partial:
        test_paths = [path for path in test_paths if path.is_file()]
    problems: list[Problem] = []
    notes: dict[str, None] = {}
    made = _load([*prediction_files(folder, folds, ["valid"]), *test_paths], classes, composite, head, problems, notes)
    valid = {path: one for path, one in made.items() if path not in test_paths}
    tests = {path: one for path, one in made.items() if path in test_paths}
    if problems:
        raise MismatchError(*problems)
    first_path, first = next(iter(valid.items()))
    for path, found in (valid | tests).items():
        if (other := str(found.meta.get("fold_hash"))) != table.fold_hash:
            problems.append(other_folds(path, other, table.fold_hash))
        if found.classes != first.classes:
            problems.append(other_classes(path, found.classes, first_path, first.classes))
        if found.kept != first.kept:
            problems.append(other_count(path, found.kept, first_path, first.kept))
    for fold, (path, found) in zip(folds, valid.items(), strict=True):
        problems += id_problems(path, found.ids, table.valid_ids(fold), f"in fold {fold}", known=table.ids)
    for path, found in tests.items():
        first_test, expected = next(iter(tests.items()))
        problems += id_problems(path, found.ids, expected.ids, f"in {first_test}")
    if problems:
        raise MismatchError(*problems)
    ids = np.concatenate([found.ids for found in valid.values()])
    fold_N, order = np.repeat(folds, [len(found.ids) for found in valid.values()]), np.argsort(ids)
    test_ids = [np.sort(found.ids) for found in tests.values()] or [np.asarray([], dtype=np.str_)]
    views = tuple(view for view in first.views if all(view in found.views for found in (valid | tests).values()))
    files = tuple(valid.values()), tuple(tests.values())
    joined = ids[order], fold_N[order], test_ids[0]
    return RunPredictions(first.classes, views, tuple(folds), *joined, *files, notes=tuple(notes))


def id_problems(
    path: Path | str,
    found: Array,
    expected: Array,
    where: str,
    known: Array | None = None,
    remedy: str = "predict again",
) -> list[Problem]:
    """Return what is wrong with the ids found, each kind with its first example.

    `known` are all ids of the fold table: one of them in the wrong fold was trained on.
    """
    listed, wanted = found.tolist(), set(expected.tolist())
    problems = []
    if missing := sorted(wanted - set(listed)):
        lacks = f"lacks {len(missing)} ids that are {where} (first '{missing[0]}')"
        problems.append(Problem(str(path), lacks, remedy=remedy))
    if unknown := sorted(set(listed) - wanted):
        seen = ", which its model was trained on" if known is not None and unknown[0] in known else ""
        has = f"has {len(unknown)} ids that are not {where} (first '{unknown[0]}'{seen})"
        problems.append(Problem(str(path), has, remedy=remedy))
    if twice := len(listed) - len(set(listed)):
        problems.append(Problem(str(path), f"has {twice} ids twice", "each once"))
    return problems


def other_folds(path: Path, found: str, expected: str) -> Problem:
    """Return the problem that a file was made on other folds."""
    text = f"made on folds {found[:12]}, the fold table is {expected[:12]}"
    return Problem(str(path), text, remedy="use the same folds for both")


def other_classes(path: Path | str, found: Sequence[str], other: Path | str, expected: Sequence[str]) -> Problem:
    """Return the problem that two files differ in their classes, or in the order of them."""
    lists = [f"[{some(names, 20)}]" + f" ({len(names)})" * (len(names) > 20) for names in (found, expected)]
    text = f"has the classes {lists[0]}, {other} {lists[1]}"
    return Problem(str(path), text, remedy="both need the same in one order")


def other_count(path: Path | str, found: int | None, other: Path | str, expected: int | None) -> Problem:
    """Return the problem that two files keep different numbers of classes of each row."""
    texts = ["all classes" if count is None else f"the {count} most probable classes" for count in (found, expected)]
    text = f"keeps {texts[0]} of a row, {other} {texts[1]}"
    return Problem(str(path), text, remedy="predict both with one predict.top_k")


def composed(made: Predictions, template: str | None) -> Predictions:
    """Return predictions of several heads as those of their composite classes; others as they are."""
    if not (heads := _heads(made)):
        return made
    names = together.composite_names(made.classes, heads, template)
    return replace(made, classes=names, probs_NVC=together.composite(made.probs_NVC, heads))


def _heads(made: Predictions) -> Heads:
    return tuple((str(name), int(start), int(stop)) for name, start, stop in made.meta.get("heads") or ())


def _one_head(made: Predictions, head: str) -> Predictions:
    """Return the predictions of one head, its classes called by their labels; others as they are."""
    if not (heads := _heads(made)):
        return made
    start, stop = next(((start, stop) for name, start, stop in heads if name == head), (0, 0))
    labels = tuple(text.removeprefix(f"{head}=") for text in made.classes[start:stop])
    return replace(made, classes=labels, probs_NVC=made.probs_NVC[..., start:stop])


def _load(
    paths: Sequence[Path],
    classes: Sequence[str] | None,
    composite: str | None,
    head: str | None,
    problems: list[Problem],
    notes: dict[str, None],
) -> dict[Path, Predictions]:
    made: dict[Path, Predictions] = {}
    refused: set[tuple[str, ...]] = set()  # the files of a run mostly share their classes: said once
    for path in paths:
        try:
            found = Predictions.load(path)
        except FoldlineError as error:
            problems += error.problems
            continue
        if classes is not None:
            try:
                found, said = in_order(found, classes)
            except Refused as error:
                if found.classes not in refused:
                    problems += [one.below(str(path), ": ") for one in error.problems]
                refused.add(found.classes)
                continue
            notes |= dict.fromkeys(said)
        try:
            made[path] = composed(found, composite) if head is None else _one_head(found, head)
        except ValueError as error:
            problems += [one.below("submission.composite") for one in problems_of(error)]
    return made

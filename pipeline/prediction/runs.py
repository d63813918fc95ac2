"""Join a run's predictions by id with the fold table: what score and ensemble start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.errors import FoldlineError, InputError, MismatchError
from pipeline.folds.fold_table import FoldTable
from pipeline.methods import heads as together
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.heads import Heads
from pipeline.prediction.predictions import Predictions


@dataclass(frozen=True)
class Files:
    """Hold the files of a run that keeps the most probable classes alone; they are averaged when asked for.

    Every file counts as it is: averaging twice would leave classes out twice.
    """

    valid: list[Predictions]
    tests: list[Predictions]

    def oof(self, views: Sequence[str]) -> Array:
        """Return the mean over the views, a Top whose rows are sorted by id."""
        order = np.argsort(np.concatenate([found.ids for found in self.valid]))
        return topk.join([found.mean(views) for found in self.valid])[order]

    def test(self, views: Sequence[str]) -> Array:
        """Return the mean over fold models and views."""
        if not self.tests:
            none = np.zeros((0, self.valid[0].probs_NVC.shape[2]), np.float32)
            return topk.as_array(topk.Top(none.astype(np.int32), none, len(self.valid[0].classes)))
        order, members = np.argsort(self.tests[0].ids), []
        for found in self.tests:
            own, same = np.argsort(found.ids), np.array_equal(found.ids, self.tests[0].ids)
            members += [one if same else one[own[np.argsort(order)]] for one in found.tops(views)]
        return topk.as_array(topk.mean(members)[order])


@dataclass(frozen=True)
class RunPredictions:
    """Hold a run's OOF and test probabilities, rows sorted by id."""

    classes: tuple[str, ...]
    views: tuple[str, ...]  # those that every fold has
    folds: tuple[int, ...]
    ids: Array  # [N] str
    fold_N: Array
    probs_NVC: Array  # float32; each row from the model that did not see it
    test_ids: Array  # [T] str; none where no test file was read
    test_TVC: Array  # float64, mean over the fold models
    files: Files | None = None  # instead of the two arrays, where not all classes are kept

    def oof(self, views: Sequence[str]) -> Array:
        """Return the mean over the views, [N,C] float64 or a Top; raise MismatchError where one is not predicted."""
        self._check(views)
        return self._mean(self.probs_NVC, views) if self.files is None else self.files.oof(views)

    def test(self, views: Sequence[str]) -> Array:
        """Return the same for the test, [T,C] float64 or a Top."""
        self._check(views)
        return self._mean(self.test_TVC, views) if self.files is None else self.files.test(views)

    def _check(self, views: Sequence[str]) -> None:
        missing = [view for view in views if view not in self.views]
        if missing:
            raise MismatchError(f"views not predicted: {', '.join(missing)}; predict them with: foldline predict")

    def _mean(self, probs_NVC: Array, views: Sequence[str]) -> Array:
        wanted = [self.views.index(view) for view in views]
        return np.asarray(probs_NVC[:, wanted].mean(axis=1, dtype=np.float64))


def find(name: str, runs_dir: Path) -> Path:
    """Return the folder of a run: one under `runs_dir`, or a path; raise InputError where there is none."""
    for folder in (runs_dir / name, Path(name)):
        if folder.is_dir():
            return folder
    raise InputError(f"{name}: no folder {runs_dir / name}, and no folder itself; name a run, or give its path")


def prediction_files(folder: Path, folds: Sequence[int], parts: Sequence[str] = ("valid", "test")) -> list[Path]:
    """Return the paths of the folds' prediction files, whether they exist or not."""
    return [folder / f"fold{fold}" / f"{part}.npz" for fold in folds for part in parts]


def predicted_folds(folder: Path, table: FoldTable) -> list[int]:
    """Return the folds that have validation predictions."""
    return [fold for fold in range(table.n) if (folder / f"fold{fold}" / "valid.npz").is_file()]


def train_seconds(folder: Path, folds: Sequence[int]) -> float:
    """Return how long the folds trained, from their epochs.csv: a training that was killed has its time once."""
    import pandas as pd

    tables = [folder / f"fold{fold}" / "epochs.csv" for fold in folds]
    return float(sum(pd.read_csv(path)["seconds"].sum() for path in tables if path.is_file()))


def read(
    folder: Path,
    table: FoldTable,
    *,
    composite: str | None = None,
    head: str | None = None,
    partial: bool = False,
    test: bool = True,
) -> RunPredictions:
    """Read `fold<k>/{valid,test}.npz` of every fold; of several heads the composite classes, called by the template.

    With `head` it is that head alone, or all of a run that has no heads.

    Raises MismatchError listing every defect: files that are missing or damaged, another fold hash or class
    list, ids that are not predicted exactly once by the model that did not see them. `partial` takes the
    folds there are, and the test files there are; `test=False` reads none.
    """
    folds = predicted_folds(folder, table) if partial else list(range(table.n))
    if not folds:
        raise MismatchError(f"{folder}: no fold is predicted; predict with: foldline predict")
    defects: list[str] = []
    test_paths = [path for path in prediction_files(folder, folds, ["test"]) if path.is_file() or not partial]
    valid, tests = (
        _load(paths, composite, head, defects)
        for paths in (prediction_files(folder, folds, ["valid"]), test_paths if test else [])
    )
    if defects:
        raise MismatchError(*defects)
    first_path, first = next(iter(valid.items()))
    for path, found in (valid | tests).items():
        if (other := str(found.meta.get("fold_hash"))) != table.fold_hash:
            defects.append(other_folds(path, other, table.fold_hash))
        if found.classes != first.classes:
            defects.append(other_classes(path, found.classes, first_path, first.classes))
        if found.kept != first.kept:
            defects.append(other_count(path, found.kept, first_path, first.kept))
    for fold, (path, found) in zip(folds, valid.items(), strict=True):
        defects += id_defects(path, found.ids, table.valid_ids(fold), f"in fold {fold}", known=table.ids)
    for path, found in tests.items():
        first_test, expected = next(iter(tests.items()))
        defects += id_defects(path, found.ids, expected.ids, f"in {first_test}")
    if defects:
        raise MismatchError(*defects)
    views = tuple(view for view in first.views if all(view in found.views for found in (valid | tests).values()))
    ids, fold_N, order = _rows(list(valid.values()), folds)
    if first.kept is not None:
        files, none = Files(list(valid.values()), list(tests.values())), np.zeros((0, len(views), 0))
        test_ids = np.sort(files.tests[0].ids) if files.tests else np.asarray([], dtype=np.str_)
        return RunPredictions(first.classes, views, tuple(folds), ids, fold_N, none, test_ids, none, files)
    probs_NVC = np.concatenate([_of(found, views) for found in valid.values()])[order]
    test_ids, test_TVC = _average(list(tests.values()), views, len(first.classes))
    return RunPredictions(first.classes, views, tuple(folds), ids, fold_N, probs_NVC, test_ids, test_TVC)


def id_defects(path: Path, found: Array, expected: Array, where: str, known: Array | None = None) -> list[str]:
    """Return what is wrong with the ids found, each kind with its first example.

    `known` are all ids of the fold table: one of them in the wrong fold was trained on.
    """
    listed, wanted = found.tolist(), set(expected.tolist())
    defects = []
    if missing := sorted(wanted - set(listed)):
        defects.append(f"{path}: lacks {len(missing)} ids that are {where} (first '{missing[0]}'); predict again")
    if unknown := sorted(set(listed) - wanted):
        seen = ", which its model was trained on" if known is not None and unknown[0] in known else ""
        what = f"{len(unknown)} ids that are not {where} (first '{unknown[0]}'{seen})"
        defects.append(f"{path}: has {what}; predict again")
    if len(set(listed)) != len(listed):
        defects.append(f"{path}: has {len(listed) - len(set(listed))} ids twice, expected each once")
    return defects


def other_folds(path: Path, found: str, expected: str) -> str:
    """Return the defect that a file was made on other folds."""
    return f"{path}: made on folds {found[:12]}, the fold table is {expected[:12]}; use the same folds for both"


def other_classes(path: Path, found: Sequence[str], other: Path | str, expected: Sequence[str]) -> str:
    """Return the defect that two files differ in their classes, or in the order of them."""
    return f"{path}: has the classes {_some(found)}, {other} {_some(expected)}; both need the same in one order"


def other_count(path: Path | str, found: int | None, other: Path | str, expected: int | None) -> str:
    """Return the defect that two files keep different numbers of classes of each row."""
    texts = ["all classes" if count is None else f"the {count} most probable classes" for count in (found, expected)]
    return f"{path}: keeps {texts[0]} of a row, {other} {texts[1]}; predict both with one predict.top_k"


def _some(names: Sequence[str], most: int = 20) -> str:
    return "[" + ", ".join(names[:most]) + (f", … {len(names)} in all]" if len(names) > most else "]")


def composed(made: Predictions, template: str | None) -> Predictions:
    """Return predictions of several heads as those of their composite classes; others as they are."""
    if not (heads := _heads(made)):
        return made
    names = together.composite_names(made.classes, heads, template)
    return replace(made, classes=names, probs_NVC=together.composite(made.probs_NVC, heads))


def _heads(made: Predictions) -> Heads:
    return tuple((str(name), int(start), int(stop)) for name, start, stop in made.meta.get("heads") or ())


def _alone(made: Predictions, head: str) -> Predictions:
    """Return the predictions of one head, its classes called by their labels; others as they are."""
    if not (heads := _heads(made)):
        return made
    start, stop = next(((start, stop) for name, start, stop in heads if name == head), (0, 0))
    labels = tuple(text.removeprefix(f"{head}=") for text in made.classes[start:stop])
    return replace(made, classes=labels, probs_NVC=made.probs_NVC[..., start:stop])


def _load(
    paths: Sequence[Path], composite: str | None, head: str | None, defects: list[str]
) -> dict[Path, Predictions]:
    made = {}
    for path in paths:
        try:
            found = Predictions.load(path)
            made[path] = composed(found, composite) if head is None else _alone(found, head)
        except FoldlineError as error:
            defects += error.lines
        except ValueError as error:
            defects.append(f"submission.composite: {error}")
    return made


def _of(found: Predictions, views: Sequence[str]) -> Array:
    return found.probs_NVC[:, [found.views.index(view) for view in views]]


def _rows(valid: list[Predictions], folds: list[int]) -> tuple[Array, Array, Array]:
    """Return ids and folds sorted by id, and the order that sorts the files' rows."""
    ids = np.concatenate([found.ids for found in valid])
    fold_N = np.repeat(folds, [len(found.ids) for found in valid])
    order = np.argsort(ids)
    return ids[order], fold_N[order], order


def _average(tests: list[Predictions], views: Sequence[str], classes: int) -> tuple[Array, Array]:
    if not tests:
        return np.asarray([], dtype=np.str_), np.zeros((0, len(views), classes))
    test_ids = np.sort(tests[0].ids)
    total_TVC = np.zeros((len(test_ids), len(views), classes))
    for found in tests:
        total_TVC += _of(found, views)[np.argsort(found.ids)]
    return test_ids, total_TVC / len(tests)

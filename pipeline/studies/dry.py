"""Say what `run` would do: what each stage makes anew, what is reused, and about how long and how large.

Nothing is decoded or written. Only stamps, fingerprints and files are compared, and where this run has no
epochs yet that tell how fast it trains, a few steps of the model are timed on random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.batches import fold_rows, progressive_resizing
from pipeline.competition.competition import Competition, load
from pipeline.competition.image_paths import Source
from pipeline.competition.sample_submission import read_sample
from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.rules import topk_rules
from pipeline.errors import FoldlineError, MismatchError
from pipeline.files.artifacts import Predictions
from pipeline.folds import fold_table
from pipeline.folds.fold_table import FoldTable
from pipeline.folds.rows import FoldRows
from pipeline.images.cache import ImageSet, lacking, open_config
from pipeline.methods.arrays import Array
from pipeline.prediction import runs
from pipeline.studies import effort
from pipeline.studies.effort import Effort, duration
from pipeline.training.distillation import Lessons

Lines = list[str]
RUNS, REUSED = "runs", "reused, nothing it reads has changed"
BLENDED = ("ensemble", "held back", "report")  # made once of all seeds


@dataclass(frozen=True)
class FoldState:
    """Say what is left to do for one fold; `views` are those that its valid and test rows still lack."""

    number: int
    train_images: int
    valid_images: int
    valid_rows: int
    epochs: int  # left to train
    text: str
    valid_views: int
    test_views: int


def describe(config: Config, only: Sequence[int] | None = None, force: bool = False) -> str:
    """Return the plan as text; raises InputError where the tables are wrong, as `check` would."""
    if config.train.seeds is None:
        return _format(config, _plan(config, only, force)[0])
    blend: dict[str, Lines] = {}
    texts, table, fresh = [], None, False
    for one in config.per_seed:
        lines, table, changed = _plan(one, only, force)
        fresh = fresh or changed
        texts.append(_format(one, {name: found for name, found in lines.items() if name not in BLENDED}))
        if "ensemble" in lines:
            blend = _closing(config, table, only, fresh)
    return "\n".join([*texts, *([_format(config, blend)] if blend else [])])


def _plan(config: Config, only: Sequence[int] | None, force: bool) -> tuple[dict[str, Lines], FoldTable | None, bool]:
    """Return what each stage of one run would do, its folds where they are made, and whether anything is new."""
    competition = load(config)
    paths = list(dict.fromkeys([*fold_rows.sources(competition), *competition.test_images]))
    missing: list[effort.Lack] = [(config, lacking(config, paths))]
    lines = {"check": [f"reads the tables; {len(missing[0][1])} of {len(paths)} images are to be decoded"]}
    trained = list(dict.fromkeys(fold_rows.sources(competition)))
    for one in progressive_resizing.smaller(config):
        missing.append((one, lacking(one, trained)))
        lines["check"].append(
            f"{len(missing[-1][1])} of {len(trained)} images also at {progressive_resizing.text(one)}"
        )
    table: FoldTable | None = None
    stage = "folds"
    try:
        table = _folds(config, competition)
        makes = f"makes {config.folds_path}: {config.folds.scheme}, {config.folds.n} folds"
        lines["folds"] = [f"{config.folds_path} is reused, {table.n} folds" if table else makes]
        stage = "train"
        states = _states(config, competition, table, only, force)
    except FoldlineError as error:
        lines[stage] = _stop(error)
        return lines, table, True
    lines["train"] = [f"fold {state.number}: {state.text}" for state in states]
    lines["predict"] = [
        _views("valid", {state.number: state.valid_views for state in states}),
        _views("test", {state.number: state.test_views for state in states}),
    ]
    fresh = any(state.epochs or state.valid_views or state.test_views for state in states)
    lines |= _closing(config, table, only, fresh)
    missing = [(one, sources) for one, sources in missing if sources]
    if fresh or missing:
        lines |= _costs(config, competition, states, missing, force)
    return lines, table, fresh


def _format(config: Config, lines: dict[str, Lines]) -> str:
    text = [f"{config.run_dir}: what a run would do; nothing is written now"]
    for name, found in lines.items():
        text += [f"{name if number == 0 else '':<10}{line}" for number, line in enumerate(found)]
    return "\n".join(text)


def _stop(error: FoldlineError) -> Lines:
    first, *rest = [line for defect in error.lines for line in defect.splitlines()]
    return [f"would stop with exit code {error.exit_code}: {first}", *rest]


def _folds(config: Config, competition: Competition) -> FoldTable | None:
    """Return the stored folds, or None where there are none; raise MismatchError where they do not fit."""
    if not config.folds_path.is_file():
        return None
    from pipeline.folds import stage as folds

    table = fold_table.read(config)
    fold_table.verify(table, competition)
    report = fold_table.read_report(config)
    if report is not None and (differs := folds.differences(config, FoldRows(config, competition), report)):
        raise MismatchError(*(f"{config.folds_path}: made with {line}" for line in differs))
    return table


def _states(
    config: Config, competition: Competition, table: FoldTable | None, only: Sequence[int] | None, force: bool
) -> list[FoldState]:
    lessons = None if table is None else Lessons(config, competition, table)
    learnt = competition if lessons is None else lessons.competition
    sizes = _sizes(config, learnt, table)
    train_set, test_set = _known(config, fold_rows.sources(learnt)), _known(config, competition.test_images)
    digest = train_set.digest(fold_rows.names(learnt)) if train_set else None
    found: list[FoldState] = []
    defects: Lines = []
    for number, ((train, valid), (train_images, valid_images)) in enumerate(sizes):
        if only is not None and number not in only:
            continue
        try:
            epochs, text = _training(config, table, lessons, number, digest, force)
        except MismatchError as error:
            defects += error.lines
            continue
        text = text or f"{epochs} epochs on {train} rows{_more(config, train, train_images)}"
        valid_views = test_views = len(config.views)
        if table is not None and not epochs:
            folder, ids = (
                config.run_dir / f"fold{number}",
                fold_table.row_numbers(competition.ids, table.valid_ids(number)),
            )
            chosen = fold_rows.image_numbers(competition.rows_I, competition.image_ids, ids)
            names_I, owners_I = competition.image_ids[chosen], competition.ids[competition.rows_I[chosen]]
            valid_set = train_set.take(chosen) if train_set else None
            valid_views -= _kept(config, folder, "valid", names_I, owners_I, valid_set)
            owners_J = competition.test_ids[competition.test_rows_J]
            test_views -= _kept(config, folder, "test", competition.test_image_ids, owners_J, test_set)
        found.append(FoldState(number, train_images, valid_images, valid, epochs, text, valid_views, test_views))
    if defects:
        raise MismatchError(*defects)
    return found


Sizes = tuple[int, int]  # of a fold: to train on, to validate


def _sizes(config: Config, learnt: Competition, table: FoldTable | None) -> list[tuple[Sizes, Sizes]]:
    """Return how many ids, then how many images each fold has; the extra ones are images alone."""
    every = len(fold_rows.sources(learnt))
    if table is None:
        own = len(learnt.images)
        by_id, by_image = effort.fold_sizes(config, len(learnt.ids)), effort.fold_sizes(config, own, every - own)
        return list(zip(by_id, by_image, strict=True))
    found = []
    for fold in range(table.n):
        train, valid = table.train_ids(fold, config.train.subset, config.train.seed), table.valid_ids(fold)
        numbers = fold_rows.train_numbers(learnt, table, fold, train)
        validated = np.isin(learnt.ids, valid)[learnt.rows_I]
        found.append(((len(train), len(valid)), (len(numbers), int(validated.sum()))))
    return found


def _more(config: Config, rows: int, images: int) -> str:
    """Say how many images the rows have, where it is another number; not all that may be labelled will be."""
    return "" if images == rows else f", {'at most ' if config.pseudo.teacher is not None else ''}{images} images"


def _known(config: Config, sources: Sequence[Source]) -> ImageSet | None:
    """Open the images where the cache holds them all."""
    if config.data.cache.dir is None or lacking(config, sources):
        return None
    return open_config(config, sources, progress=False)


def _training(
    config: Config,
    table: FoldTable | None,
    lessons: Lessons | None,
    number: int,
    images: str | None,
    force: bool,
) -> tuple[int, str | None]:
    """Return the epochs left and what to say about them, None for a fold from its beginning."""
    from pipeline.training import stage as train

    folder, epochs = config.run_dir / f"fold{number}", config.train.epochs
    if table is None or lessons is None:
        return epochs, None
    old = fingerprints.read_stamp(config.run_dir, f"train-fold{number}") or {}
    digest = str(old.get("images")) if images is None else images
    new = train.fields(config, table, digest, lessons.hashes)
    if (differs := train.difference(config, number, new)) is not None:
        if not force:
            raise MismatchError(differs)
        return epochs, f"{epochs} epochs; what it holds is replaced"
    finished = (folder / "model.safetensors").is_file()
    unknown = " if its images have not changed, which the cache cannot tell" if images is None else ""
    if finished:
        return 0, f"trained already, reused{unknown}"
    done = len(_speeds(config, folder)) if (folder / "state" / "last.safetensors").is_file() else 0
    return epochs - done, f"goes on after epoch {done} of {epochs}{unknown}" if done else None


def _speeds(config: Config, folder: Path) -> list[float]:
    """Return the training speed of each epoch that the fold has finished, images/s of the model's size."""
    path = folder / "epochs.csv"
    if not path.is_file():
        return []
    import pandas as pd

    speeds = pd.read_csv(path)["images_per_second"]
    return [float(speed) * progressive_resizing.share(config, epoch) for epoch, speed in enumerate(speeds)]


def _kept(config: Config, folder: Path, kind: str, names_I: Array, owners_I: Array, images: ImageSet | None) -> int:
    """Return how many of the wanted views are predicted already, with these weights and images."""
    path = folder / f"{kind}.npz"
    if not path.is_file():
        return 0
    from pipeline.models.network import Setting
    from pipeline.prediction import stage as predict

    if images is None:
        try:
            have: Sequence[str] = Predictions.load(path).views
        except MismatchError:
            have = ()
    else:
        digest = predict.image_digest(images, names_I, owners_I)
        print_ = predict.fingerprint_of(config, Setting.of(config), predict.weights_hash(folder), digest)
        have = list(predict.kept_views(path, print_, predict.owned(owners_I)[0]))
    return sum(view in have for view in config.views)


def _views(kind: str, lack: dict[int, int]) -> str:
    """Say which folds lack how many views."""
    parts = []
    for count in sorted(set(lack.values()), reverse=True):
        folds = ", ".join(str(number) for number, views in lack.items() if views == count)
        what = f"{count} view{'s' if count > 1 else ''}" if count else "reused"
        parts.append(f"folds {folds}: {what}")
    return f"{kind}, {'; '.join(parts)}"


def _closing(config: Config, table: FoldTable | None, only: Sequence[int] | None, fresh: bool) -> dict[str, Lines]:
    """Say which of the cheap stages would run; each reads what the one before wrote."""
    from pipeline.blending import stage as ensemble
    from pipeline.report import stage as report
    from pipeline.scoring import stage as score

    folder = config.run_dir

    def state(stage: str, outputs: Sequence[str], fields: Callable[[], fingerprints.Fields]) -> Lines:
        nonlocal fresh
        try:
            fresh = fresh or not (
                fingerprints.is_done(folder, stage, fields()) and all((folder / name).is_file() for name in outputs)
            )
        except FoldlineError as error:
            fresh = True
            return _stop(error)
        return [RUNS if fresh else REUSED]

    def scored() -> fingerprints.Fields:
        assert table is not None
        return score.fields(config, list(range(table.n)) if only is None else runs.predicted_folds(folder, table))

    def blended() -> fingerprints.Fields:
        assert table is not None
        return ensemble.fields(config, table, read_sample(config))

    lines = {}
    if config.train.seeds is None:
        lines["score"] = state("score", ("scores.json", "oof.csv", "test.csv"), scored)
    if only is not None:
        return {"score": [f"{lines['score'][0]}; partial, and nothing after it"]}
    lines["ensemble"] = state("ensemble", ("submission.csv", "ensemble.json", "weights.json"), blended)
    lines |= {} if config.data.solution is None else {"held back": [RUNS]}
    lines["report"] = state("report", ("report.html",), lambda: report.fields(config))
    return lines


def _costs(
    config: Config, competition: Competition, states: Sequence[FoldState], missing: Sequence[effort.Lack], force: bool
) -> dict[str, Lines]:
    """Estimate the time from this run's epochs or a short measurement, and the disk from sizes."""
    from pipeline.studies import measure

    folders = [] if force else sorted(config.run_dir.glob("fold*"))  # what is replaced may be another model
    known = [speed for folder in folders for speed in _speeds(config, folder)]
    quick = measure.quick(config, competition.classes, steps=0 if known else 2)
    speed = float(np.median(known)) if known else quick.train
    tests, planned = len(competition.test_images), config.train.epochs
    work = Effort(
        decode=0,
        train=sum(effort.epochs(config, planned - state.epochs) * state.train_images for state in states),
        validate=sum(state.epochs * state.valid_images for state in states),
        predict=sum(state.valid_views * state.valid_images + state.test_views * tests for state in states),
    )
    seconds = work.seconds(effort.Speeds(float("inf"), speed, quick.forward))
    origin = "as its epochs so far" if known else "the model's step, just measured"
    time = [
        f"about {duration(seconds['total'])}: training {duration(seconds['train'])} ({speed:.0f} images/s, {origin}), "
        f"prediction {duration(seconds['predict'])} ({quick.forward:.0f} images/s per fold and view)"
    ]
    if config.train.parallel_folds != 1:
        time.append("counted one fold after another; train.parallel_folds trains several at once")
    if missing:
        time.append("decoding not counted; foldline bench measures it")
    asked = len(competition.test_ids)
    rows = sum(bool(state.valid_views) * state.valid_rows + bool(state.test_views) * asked for state in states)
    new = sum(state.epochs > 0 for state in states)
    most = topk_rules.kept(config, len(competition.classes))
    cells = len(competition.classes) if most is None else 2 * most  # a class's number beside its probability
    disk = effort.disk(config, missing, quick.weight_bytes, new, rows * cells)
    return {"time": time, "disk": [disk]}

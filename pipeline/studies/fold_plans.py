"""Say what is left to do for each fold, by stamps, fingerprints and files alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.batches import fold_rows, progressive_resizing
from pipeline.competition.competition import Competition
from pipeline.competition.image_paths import Source
from pipeline.config.config import Config
from pipeline.errors import MismatchError, Problem
from pipeline.files.tables import read_epochs
from pipeline.folds import fold_table
from pipeline.folds import stage as folds
from pipeline.folds.fold_table import FoldTable
from pipeline.images.cache import ImageSet, lacking, open_config
from pipeline.methods.arrays import Array
from pipeline.models.network import Setting
from pipeline.prediction import stage as predict
from pipeline.prediction.predictions import load_whole
from pipeline.studies import estimate
from pipeline.studies.estimate import FoldWork
from pipeline.training import kept_folds
from pipeline.training import stage as train
from pipeline.training.teaching.distillation import Teachers


@dataclass(frozen=True)
class FoldPlan(FoldWork):
    """Hold what is left to do for one fold, and what to say of its training."""

    number: int
    valid_rows: int
    text: str
    damaged: tuple[str, ...] = ()  # predictions that are made again for this


def plans(
    config: Config, competition: Competition, table: FoldTable | None, only: Sequence[int] | None, force: bool
) -> list[FoldPlan]:
    """Return the wanted folds' plans; raise MismatchError for those that were trained with other settings."""
    if table is None:
        return [plan for plan in _before_folds_are_made(config, competition) if only is None or plan.number in only]
    teachers = Teachers(config, competition, table)
    learnt = teachers.competition
    images, tests = (_cached(config, some) for some in (fold_rows.sources(learnt), competition.test_images))
    known = teachers.hashed(table, images) if images else None
    owners_J = competition.test_ids[competition.test_rows_J]
    found: list[FoldPlan] = []
    problems: list[Problem] = []
    for number in (fold for fold in range(table.n) if only is None or fold in only):
        try:
            epochs, text = _training(config, table, teachers, number, known, force)
        except MismatchError as error:
            problems += error.problems
            continue
        train_ids = table.train_ids(number, config.train.subset, config.train.seed)
        train_images = len(fold_rows.train_numbers(learnt, table, number, train_ids, images))
        valid_rows = fold_table.row_numbers(competition.ids, table.valid_ids(number))
        valid_I = fold_rows.image_numbers(competition.rows_I, competition.image_ids, valid_rows)
        valid_views = test_views = len(config.views)
        damaged: list[str] = []
        if not epochs:
            names_I, owners_I = competition.image_ids[valid_I], competition.ids[competition.rows_I[valid_I]]
            path = config.run_dir / f"fold{number}" / "valid.npz"
            valid = names_I, owners_I, images.take(valid_I) if images else None
            valid_views -= _kept_views(config, path, *valid, damaged.append)
            test = competition.test_image_ids, owners_J, tests
            test_views -= _kept_views(config, path.with_name("test.npz"), *test, damaged.append)
        text = text or _from_the_beginning(config, len(train_ids), train_images)
        work = (train_images, len(valid_I), epochs, valid_views, test_views)
        found.append(FoldPlan(*work, number, len(valid_rows), text, tuple(damaged)))
    if problems:
        raise MismatchError(*problems)
    return found


def _before_folds_are_made(config: Config, competition: Competition) -> list[FoldPlan]:
    labelled, every = len(competition.images), len(fold_rows.sources(competition))
    table = folds.of_column(config, competition)
    by_id = estimate.fold_sizes(config, len(competition.ids), table=table)
    by_image = estimate.fold_sizes(config, labelled, every - labelled, table)
    left = (config.train.epochs, len(config.views), len(config.views))
    return [
        FoldPlan(*images, *left, number, valid_rows, _from_the_beginning(config, train_rows, images[0]))
        for number, ((train_rows, valid_rows), images) in enumerate(zip(by_id, by_image, strict=True))
    ]


def _from_the_beginning(config: Config, rows: int, images: int) -> str:
    most = "at most " if config.pseudo.teacher is not None else ""  # not all that may be labelled will be
    return f"{config.train.epochs} epochs on {rows} rows" + ("" if images == rows else f", {most}{images} images")


def _cached(config: Config, sources: Sequence[Source]) -> ImageSet | None:
    """Open the images where the cache holds them all."""
    if config.data.cache.dir is None or lacking(config, sources):
        return None
    return open_config(config, sources, progress=False)


def _training(
    config: Config,
    table: FoldTable,
    teachers: Teachers,
    number: int,
    known: tuple[str, dict[str, str]] | None,
    force: bool,
) -> tuple[int, str]:
    """Return the epochs left and what to say about them, blank for a fold from its beginning."""
    folder, epochs = config.run_dir / f"fold{number}", config.train.epochs
    stamp = kept_folds.stamp_of(config, number)
    stamped = stamp.fields if stamp else {}
    equal = {key: str(value) for key, value in stamped.items() if key == "equal_extra"}
    new = train.fields(config, table, *(known or (str(stamped.get("images")), teachers.hashes | equal)))
    if (differs := kept_folds.difference(config, number, new)) is not None:
        if not force:
            raise MismatchError(differs)
        return epochs, f"{epochs} epochs; what it holds is replaced"
    unknown = " if its images have not changed, which the cache cannot tell" if known is None else ""
    if (folder / "model.safetensors").is_file():
        return 0, f"trained already, reused{unknown}"
    done = len(speeds(config, folder)) if [*folder.glob("state/*.safetensors")] else 0
    return epochs - done, f"goes on after epoch {done} of {epochs}{unknown}" if done else ""


def speeds(config: Config, folder: Path) -> list[float]:
    """Return the training speed of each epoch that the fold has finished, images/s of the model's size."""
    if not (path := folder / "epochs.csv").is_file():
        return []
    try:
        speeds = read_epochs(path)["images_per_second"]
    except MismatchError:  # what it costs is measured instead
        return []
    return [float(speed) * progressive_resizing.share(config, epoch) for epoch, speed in enumerate(speeds)]


def _kept_views(
    config: Config, path: Path, names_I: Array, owners_I: Array, images: ImageSet | None, say: Callable[[str], None]
) -> int:
    """Return how many of the wanted views are predicted already, with these weights and, where known, these images."""
    have: Sequence[str] = ()
    if images is not None and path.is_file():
        weights, digest = predict.weights_hash(path.parent), predict.image_digest(images, names_I, owners_I)
        fingerprint = predict.fingerprint_of(config, Setting.of(config), weights, digest)
        have = list(predict.kept_views(path, fingerprint, predict.owned(owners_I)[0], say))
    elif (found := load_whole(path, say)) is not None:
        have = found.views
    return sum(view in have for view in config.views)

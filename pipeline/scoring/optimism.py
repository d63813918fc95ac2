"""Compare a student with its teacher, and measure by held-back labels how far its out-of-fold score overstates it.

A row's soft label comes from a model that did not train on it, but the model of another fold did train on the rows that
this fold validates, so a little of their labels comes back through the soft targets. Held-back rows know none of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.competition.data_root import find_root
from pipeline.competition.labels import encode_targets
from pipeline.files.tables import read_text_table, texts
from pipeline.folds import fold_table
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import find
from pipeline.methods.resampling import Resamples, bootstrap, interval, mean_of_folds, resample
from pipeline.methods.tasks import TASKS
from pipeline.prediction.oof import prediction_files, read_run
from pipeline.prediction.predictions import Predictions
from pipeline.scoring import diff
from pipeline.scoring.scores import truth
from pipeline.training.teaching import teacher

if TYPE_CHECKING:
    from pipeline.config.config import Config
    from pipeline.folds.fold_table import FoldTable

ROUNDS = 400


def beside_teacher(config: Config, command: str, whole: bool = True) -> list[str]:
    """Return the paired difference of a student to its teacher out of fold, with what held-back rows say of it.

    Of the folds that both have where the student has some alone (`whole=False`).
    """
    lines = []
    for one in config.per_seed:
        lines += diff.between([teacher.folder_of(one, command), one.run_dir], one)
        if command == "distill" and whole and (text := measured(one)) is not None:
            lines.append(text)
    return lines


def measured(config: Config) -> str | None:
    """Return the student's lead over its teacher out of fold and on held-back rows, and the difference of the two.

    On held-back rows each fold's model is scored by itself: their mean would be better than any model out of fold is.
    None where no labels are held back (data.solution), or targets have heads.
    """
    data, name, root = config.data, config.distill.teacher, find_root(config.data.root)
    if name is None or data.solution is None or data.heads or root is None or not (root / data.solution).is_file():
        return None
    table, folder = fold_table.read(config), teacher.folder_of(config, "distill")
    views = {folder: teacher.config_of(folder).tta, config.run_dir: config.tta}
    made = {place: read_run(place, table, test=False) for place in views}
    first, rng = made[folder], np.random.default_rng(config.ensemble.seed)
    groups_N = table.groups[fold_table.row_numbers(table.ids, first.ids)]
    oof = [run.oof(views[place]) for place, run in made.items()]
    drawn = resample(first.fold_N, groups_N, rng, ROUNDS)
    inside, inside_R = _lead(config, truth(config, table, first.ids, first.classes), [oof], drawn)
    held_TC, ids = _held(config, root / data.solution, first.classes)
    models = [_tests(place, table, ids, views[place]) for place in views]
    drawn = resample(np.zeros(len(ids)), None, rng, ROUNDS)
    outside, outside_R = _lead(config, held_TC, [list(pair) for pair in zip(*models, strict=True)], drawn)
    between = interval(inside_R - outside_R, len(ids))
    return (
        f"{config.metric}, student over teacher: out of fold {inside:+.4f}, single models on {len(ids)} held-back "
        f"rows {outside:+.4f}: out of fold it is optimistic by {inside - outside:+.4f} "
        f"(90 % interval {between.low:+.4f} to {between.high:+.4f})"
    )


def _lead(config: Config, targets_NC: Array, pairs: list[list[Array]], drawn: Resamples) -> tuple[float, Array]:
    """Return by how much the second of each pair is better, the mean over the pairs, and the same of resamples [R]."""
    metric, single_label = find(config.metric), TASKS[config.data.task].single_label
    leads, leads_R = [], []
    for pair in pairs:
        one, other = (mean_of_folds(metric, targets_NC, probs_NC, single_label, drawn.fold_N) for probs_NC in pair)
        one_R, other_R = (bootstrap(metric, targets_NC, probs_NC, single_label, drawn) for probs_NC in pair)
        leads.append(metric.direction * (other - one))
        leads_R.append(metric.direction * (other_R - one_R))
    return float(np.mean(leads)), np.asarray(np.mean(leads_R, axis=0))


def _held(config: Config, path: Path, classes: tuple[str, ...]) -> tuple[Array, Array]:
    """Return held-back targets and their ids."""
    table = read_text_table(path)
    targets_TC, wrong = encode_targets(TASKS[config.data.task], table, config.data, classes)
    right_T = np.ones(len(table), dtype=bool)
    right_T[[row for row, _ in wrong]] = False
    return targets_TC[right_T], texts(table[config.data.id])[right_T]


def _tests(folder: Path, table: FoldTable, ids: Array, views: list[str]) -> list[Array]:
    """Return what each fold's model says of these test rows, [T,C]."""
    made = [Predictions.load(path) for path in prediction_files(folder, range(table.n), ["test"])]
    return [found.mean(views)[fold_table.row_numbers(found.ids, ids)] for found in made]

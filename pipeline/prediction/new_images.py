"""Predict new images from a run's folder alone: its config, its fold weights and their class list.

Nothing else is needed: no training data, no fold table, no network. Every image is decoded once, ahead of the
networks, however many folds and views there are; batches are those of the stage `predict`, so the same images
give the same numbers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pipeline.batches.rows import Images, Rows
from pipeline.competition.image_paths import Source
from pipeline.competition.rows import skipping
from pipeline.competition.rows.new_images import NewImages, find
from pipeline.competition.rows.rows import SHOWN
from pipeline.competition.sample_submission import asked_ids, read_sample
from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.rules import decisions, topk_rules
from pipeline.config.run_configs import of_run, to_predict
from pipeline.errors import InputError, MismatchError, Problem
from pipeline.files import prediction_tables
from pipeline.files.tables import write_table
from pipeline.images import remarks
from pipeline.images.cache import decode_config
from pipeline.images.remarks import Remark
from pipeline.machine import devices, processes
from pipeline.machine.processes import cores
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.heads import composite, composite_names
from pipeline.methods.topk import Top
from pipeline.models import network
from pipeline.models.network import Setting
from pipeline.models.outputs import Output, pool
from pipeline.prediction.predictor import Predictor
from pipeline.prediction.topk_predictor import pool_tops
from pipeline.prediction.unanswered import fill
from pipeline.submission import filling

if TYPE_CHECKING:
    import pandas as pd

AHEAD = 3  # batches decoded while the networks work


def predict_new(source: Path, test: str | None, out: Path, settings: list[str]) -> Path:
    """Write the mean over the run's folds and the views of `tta`: id and one column per class; return the path.

    Views that the run's submission left out (`submission.variant: auto`) are left out here too.
    Of a run of several seeds these are the mean over all of them, which must lie beside it; random views are drawn
    by `train.seed`.
    `test` is a folder of images or a table of ids; None means the run's own test below data.root. Where a
    sample submission lies beside the test or below data.root, submission.csv is written beside `out`.
    Raises InputError listing every unreadable image, MismatchError where folds, ids or values do not fit.
    """
    begin = time.perf_counter()
    if not (source / "config.yaml").is_file():
        raise InputError(Problem(f"--from {source}", "has no config.yaml", "a run's folder such as runs/NAME"))
    config, labels = to_predict(source, settings), of_run(source, settings)
    if out.name == "submission.csv" or out.is_dir():
        wanted = "expected a file for the table of probabilities, such as predictions.csv"
        raise InputError(Problem(f"--out {out}", wanted))
    called = dict(zip(labels.tta, config.tta, strict=False))  # own views: as predictions call them -> the run's copies
    fingerprints.require(source, "ensemble.json")
    views = [called.get(view, view) for view in decisions.views_of_run(source, labels) or labels.tta]
    new = find(config, test)
    devices.prepare(config.train, processes.count())
    predictor, meta, count = _predictor(source, config)
    classes, heads = tuple(meta["classes"]), predictor.outputs[0].heads
    probs_NC, notes = _average(predictor, new, views, len(classes))
    if left_out := [view for view in config.tta if view not in views]:
        notes.append(f"{', '.join(left_out)}: left out, as in {source / 'submission.csv'} (submission.variant: auto)")
    if heads:
        classes = composite_names(classes, heads, config.submission.composite)
    if not topk.finite(probs_NC):
        found, remedy = "its predictions hold NaN or infinity", "use --set train.precision=fp32"
        raise MismatchError(Problem(str(source), found, remedy=remedy))
    as_blended = config.model_copy(update={"tta": labels.tta})
    decided_NC = decisions.of_run(source, as_blended, classes, probs_NC)
    filled, why_not = _submission(config, new, classes, probs_NC, decided_NC)
    if processes.is_main():
        write_table(out, prediction_tables.table([new.ids], ["id"], probs_NC, classes))
        notes += [*new.notes, f"written: {out}", f"no submission.csv: {why_not}"]
        if filled is not None:
            write_table(out.with_name("submission.csv"), filled)
            notes[-1] = f"written: {out.with_name('submission.csv')}"
        seconds = time.perf_counter() - begin
        print(f"{len(new.ids)} images, {count}, views {', '.join(views)}, {seconds:.1f} s")
        print("\n".join(notes))
    return out


def _predictor(source: Path, config: Config) -> tuple[Predictor, dict[str, Any], str]:
    """Load every fold's network; return also the meta of the first one, and how many there are, as text.

    Raises MismatchError where the networks do not belong together.
    """
    seeds = config.train.seeds or ()
    paths = [
        path
        for folder in (source, *(source.with_name(f"{source.resolve().name}-s{seed}") for seed in seeds))
        for path in sorted(folder.glob("fold*/model.safetensors"), key=lambda path: (len(path.parent.name), path))
    ]
    if not paths:
        found, remedy = "holds no fold<k>/model.safetensors", "train it, or copy the whole folder"
        raise InputError(Problem(f"--from {source}", found, remedy=remedy))
    setting, remedy = Setting.of(config), "put one run's folds into the folder"
    loaded = [network.load(path, config, setting) for path in paths]
    first = loaded[0][1]
    problems = [
        Problem(str(path), f"its {key} differ from those of {paths[0]}", remedy=remedy)
        for path, (_, meta) in zip(paths, loaded, strict=True)
        for key in ("classes", "fold_hash")
        if meta[key] != first[key]
    ]
    if problems:
        raise MismatchError(*problems)
    whole = max(len(seeds), 1) * first["folds"] if "folds" in first else len(paths)  # older weights do not know it
    count = f"{len(paths)} fold models" if len(paths) == whole else f"{len(paths)} of {whole} fold models"
    return Predictor.of(config, setting, loaded), first, count


def _average(predictor: Predictor, new: NewImages, views: Sequence[str], width: int) -> tuple[Array, list[str]]:
    """Return the mean over networks, then views, [N,C] float64, and a note on images that were skipped.

    Of very many classes the most probable ones, a Top, taken from the mean over networks and views of each image.
    """
    config, outputs, count = predictor.config, predictor.outputs, topk_rules.kept(predictor.config, width)
    several = not np.array_equal(new.rows_J, np.arange(len(new.ids)))  # then a row's images need not come together
    several |= config.data.missing == "skip" and bool(outputs[0].heads)  # each head has a mean of its own

    def keep(found: list[Tensor], _: Array) -> list[Tensor]:
        if several and count is None:
            return found
        mean_NC = _mean([probs_NVC.cpu().numpy() for probs_NVC in found], outputs)
        if count is None:
            return [torch.from_numpy(mean_NC)]
        best = topk.top(mean_NC, count)
        return [torch.from_numpy(best.columns_NK), torch.from_numpy(best.values_NK)]

    images = _Stream(config, new.images)
    here = config.model_copy(update={"train": config.train.model_copy(update={"workers": 0})})  # threads decode
    rows = Rows(images, new.image_ids)
    found = replace(predictor, config=here).collect(rows, views, keep, progress="predict")
    here_J, answered, notes = _answered(images, new)
    rows_H, all_rows = np.searchsorted(answered, new.rows_J[here_J]), len(new.ids)
    notes += remarks.notes(np.asarray(images.remarks, np.uint8), images.given, "images")
    if count is not None:
        tops = pool_tops(Top(found[0][here_J], found[1][here_J], width), rows_H, len(answered))
        return fill(tops, answered, all_rows), notes
    if not several:
        return fill(found[0][here_J], answered, all_rows), notes
    pooled = [
        fill(pool(probs_IVC[here_J], rows_H, len(answered), config.data.pool, output.blocks), answered, all_rows)
        for probs_IVC, output in zip(found, outputs, strict=True)
    ]
    return _mean(pooled, outputs), notes


def _answered(images: _Stream, new: NewImages) -> tuple[Array, Array, list[str]]:
    """Return which images could be read, which rows they answer, and what to say about the others.

    Raises InputError where too few rows are left.
    """
    gathered = processes.gather((sorted(images.absent), images.skipped))
    absent = sorted({number for numbers, _ in gathered for number in numbers})
    skipped = [problem for _, problems in gathered for problem in problems]
    here_J = np.delete(np.arange(len(new.images)), absent)
    answered, notes = np.unique(new.rows_J[here_J]), []
    if skipped:
        notes.append(f"{len(skipped)} images cannot be read, first {skipped[0]}")
    if len(lost := np.delete(new.ids, answered)):
        first = Problem("", f"'{lost[0]}'")
        if problems := skipping.too_many("test", "rows", len(lost), len(new.ids), first):
            raise InputError(*problems)
        text = f"{len(lost)} rows have no readable image, first '{lost[0]}'"
        notes.append(f"{text}: each is answered by the mean prediction of the others")
    return here_J, answered, notes


def _mean(found: Sequence[Array], outputs: Sequence[Output]) -> Array:
    """Return the mean over the networks, then the views, [N,C] float64; of heads, of their composite classes."""
    made = [
        composite(probs_NVC, output.heads) if output.heads else probs_NVC
        for probs_NVC, output in zip(found, outputs, strict=True)
    ]
    folds_NVC = sum(probs_NVC.astype(np.float64) for probs_NVC in made) / len(made)
    return np.asarray(np.asarray(folds_NVC).mean(axis=1))


class _Stream(Images):
    """Give each image once, in order; threads decode some of them in advance.

    Unreadable ones are mid-gray and `absent` where `data.missing` is skip. Otherwise the first of them ends the
    prediction: only others are looked for then, and InputError names them all. Of several processes each has its
    share of the images.
    """

    def __init__(self, config: Config, sources: Sequence[Source]) -> None:
        self.config, self.sources = config, sources
        self.decoded = self._decoded(sources[processes.rank() :: processes.count()])
        self.skipped: list[Problem] = []
        self.given: list[Source] = []  # so far, with what decoding took for granted
        self.remarks: list[int] = []
        self.absent: set[int] = set()

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int, /) -> Array:
        image = next(self.decoded)
        if not isinstance(image, Problem):
            self.given.append(self.sources[index])
            self.remarks.append(int(image[1]))
            self.absent |= set() if self.sources[index] else {index}
            return image[0]
        if self.config.data.missing == "skip":
            self.skipped.append(image)
            self.absent.add(index)
            return decode_config(self.config, ())[0]
        problems = [image, *(one for one in self.decoded if isinstance(one, Problem))]
        problems = [replace(one, remedy=_remedy(one.found)) for one in problems]
        more = len(problems) - SHOWN
        raise InputError(*problems[:SHOWN], *[Problem("", f"… and {more} more unreadable images")][: max(0, more)])

    def _decoded(self, sources: Sequence[Source]) -> Iterator[tuple[Array, Remark] | Problem]:
        def one(source: Source) -> tuple[Array, Remark] | Problem:
            try:
                return decode_config(self.config, source)
            except ValueError as error:
                return Problem(", ".join(source), str(error))

        with ThreadPoolExecutor(cores(), "decode") as threads:
            pending: deque[Future[tuple[Array, Remark] | Problem]] = deque()
            try:
                for source in sources:
                    pending.append(threads.submit(one, source))
                    if len(pending) > AHEAD * self.config.predict.batch_size:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                threads.shutdown(cancel_futures=True)


def _remedy(reason: str) -> str:
    remedy = "replace the file or leave it out"
    return f"{remedy}; --set data.truncated=decode reads it as far as it goes" if "is truncated" in reason else remedy


def _submission(
    config: Config, new: NewImages, classes: Sequence[str], probs_NC: Array, decided_NC: Array | None
) -> tuple[pd.DataFrame | None, str]:
    """Return the sample submission filled in, or None and why.

    A sample beside the images that asks for some of them must fit all of them; others belong to other tests.
    """
    if config.data.sample_submission is None:
        return filling.build(read_sample(config), config, classes, new.ids, probs_NC, decided_NC), ""
    if new.sample is None:
        return None, "there is no sample submission beside the test or below data.root"
    sample = new.sample.table
    try:
        return filling.build(sample, config, classes, new.ids, probs_NC, decided_NC), ""
    except MismatchError as error:
        if new.sample_is_its_own and set(new.ids.tolist()) & set(asked_ids(sample, config)):
            raise
        return None, f"{new.sample.path} asks for other ids: {error.lines[0]}"

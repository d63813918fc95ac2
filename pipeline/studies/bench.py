"""Measure where the time goes: decoding, input, the bare model step, the training loop, prediction."""

from __future__ import annotations

import json
import time
from typing import Any

from pipeline.batches import fold_rows, progressive_resizing
from pipeline.batches.rows import Rows
from pipeline.competition.competition import load
from pipeline.config.config import Config
from pipeline.folds.stage import of_column
from pipeline.images.cache import open_config
from pipeline.machine import devices, processes
from pipeline.machine.speeds import rate
from pipeline.models.network import Setting
from pipeline.studies import estimate, throughput
from pipeline.studies.estimate import FoldWork, duration

IMAGES = 1024  # of the competition that are measured
PREDICT_SECONDS = 3.0  # of one pass over all folds and views


def main(config: Config, as_json: bool) -> None:
    """Measure and print, for a reader or for machines."""
    found = run(config, quiet=as_json)
    print(json.dumps(found) if as_json else "\n".join(_text(found)))


def run(config: Config, quiet: bool = False, seconds: float = 24.0) -> dict[str, Any]:
    """Measure and return plain values: environment, images per second, ratios, the estimated time of the job.

    Weights are random, so nothing is downloaded. What is decoded on the way stays in the image cache.
    """
    begin = time.perf_counter()

    def say(what: str) -> None:
        if not quiet:
            print(f"measuring: {what} …", flush=True)

    competition, views = load(config), config.views
    threads, classes = devices.prepare(config.train, processes.count()), competition.classes
    chosen = throughput.evenly_spread(len(competition.images), IMAGES)
    sources, ids = [competition.images[n] for n in chosen], competition.image_ids[chosen]
    say(f"decoding {len(sources)} originals")
    decode = throughput.decoding(config, sources)
    images = open_config(config, sources, "bench", progress=not quiet)
    rows = Rows(images, ids, competition.targets_NC[competition.rows_I[chosen]])
    say("cached reading + augmentation, then the training step and loop in turn")
    reading = throughput.reading(config, rows)
    step = throughput.training(config, rows, classes, seconds)
    say("prediction")
    forward = throughput.forward(config, rows, classes)
    labelled, tests = len(competition.images), len(competition.test_images)
    every = len(fold_rows.sources(competition))
    sizes = estimate.fold_sizes(config, labelled, every - labelled, of_column(config, competition))
    few = max(4, min(64, len(sources), round(PREDICT_SECONDS * forward / (len(sizes) * len(views)))))
    uncached = {"cache": config.data.cache.model_copy(update={"dir": None})}  # every access decodes
    plain = config.model_copy(update={"data": config.data.model_copy(update=uncached)})
    originals = Rows(open_config(plain, sources[:few], progress=False), ids[:few])
    predict = throughput.predicting(config, originals, classes, len(sizes))
    folds = [FoldWork(*size, config.train.epochs, len(views), len(views)) for size in sizes]
    decoded = every * (1 + len(progressive_resizing.smaller(config))) + tests
    return {
        "environment": {**devices.describe(), "threads": threads, "setting": str(Setting.of(config))},
        "config": {
            "name": config.name,
            "model": config.model.name,
            "size": list(config.model.size_hw),
            "batch_size": config.train.batch_size,
            "epochs": config.train.epochs,
            "folds": len(sizes),
            "views": views,
        },
        "images_per_second": {
            "decode": decode,
            "read_and_augment": reading,
            "bare_step": step.speeds[0],
            "training_loop": step.speeds[1],
            "forward": forward,
            "predict_one_pass": predict.speeds[1],
            "predict_decoding_each_time": predict.speeds[0],
        },
        "loop_to_step": step.ratio,
        "loop_to_step_rounds": step.rounds,
        "one_pass_to_each_time": predict.ratio,
        "estimate_seconds": estimate.work(config, folds, tests, decoded).seconds(decode, step.speeds[1], forward),
        "measured_in_seconds": time.perf_counter() - begin,
    }


def _text(found: dict[str, Any]) -> list[str]:
    config, environment, estimated = found["config"], found["environment"], found["estimate_seconds"]
    size, rounds = "×".join(map(str, config["size"])), " ".join(f"{one:.2f}" for one in found["loop_to_step_rounds"])
    listed = {
        "decode": ("decoding originals, all cores", ""),
        "read_and_augment": ("cached reading + augmentation", "in one process"),
        "bare_step": ("bare model step", ""),
        "training_loop": ("training loop", f"{found['loop_to_step']:.2f} of the step ({rounds})"),
        "forward": ("prediction, one network and view", ""),
        "predict_decoding_each_time": (
            "prediction, decoding each time",
            f"{config['folds']} folds × {len(config['views'])} views",
        ),
        "predict_one_pass": ("prediction, one pass", f"{found['one_pass_to_each_time']:.1f} times as fast"),
    }
    parts = {"check": "first decoding", "train": "training", "predict": "prediction"}
    listed_parts = ", ".join(f"{text} {duration(estimated[key])}" for key, text in parts.items())
    return [
        f"{config['name']}: {config['model']} at {size}, batch {config['batch_size']}; {environment['setting']}, "
        f"{environment['threads']} threads, {environment['cpu']}",
        f"{'images/s':>45}",
        *(
            f"{what:<36}{rate(found['images_per_second'][key]):>9}  {more}".rstrip()
            for key, (what, more) in listed.items()
        ),
        f"the whole job: about {duration(estimated['total'])} ({listed_parts})",
    ]

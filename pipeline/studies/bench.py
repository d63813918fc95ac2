"""Measure where the time goes: decoding, input, the bare model step, the training loop, prediction."""

from __future__ import annotations

import json
import time
from typing import Any

from pipeline.batches import fold_rows, progressive_resizing
from pipeline.batches.loader import Rows
from pipeline.competition.competition import load
from pipeline.config.config import Config
from pipeline.images.cache import open_config
from pipeline.machine import devices, processes
from pipeline.models.network import Setting
from pipeline.studies import effort, measure
from pipeline.studies.effort import Speeds, duration

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
    competition = load(config)
    threads = devices.prepare(config.train, processes.count())
    chosen = measure.spread(len(competition.images), IMAGES)
    sources, ids = [competition.images[n] for n in chosen], competition.image_ids[chosen]
    decode = measure.decoding(config, sources)
    images = open_config(config, sources, "bench", progress=not quiet)
    some, classes = Rows(images, ids, competition.targets_NC[competition.rows_I[chosen]]), competition.classes
    reading = measure.reading(config, some)
    step = measure.training(config, some, classes, seconds)
    forward = measure.forward(config, some, classes)
    own, tests, every = len(competition.images), len(competition.test_images), len(fold_rows.sources(competition))
    sizes = effort.fold_sizes(config, own, every - own)
    passes = len(sizes) * len(config.views)
    few = max(4, min(64, len(sources), round(PREDICT_SECONDS * forward / passes)))
    originals = Rows(measure.Originals(config, sources[:few]), ids[:few])
    predict = measure.predicting(config, originals, classes, len(sizes))
    decoded = every * (1 + len(progressive_resizing.smaller(config))) + tests
    work = effort.whole(config, sizes, tests, decoded)
    return {
        "environment": {**devices.describe(), "threads": threads, "setting": str(Setting.of(config))},
        "config": {
            "name": config.name,
            "model": config.model.name,
            "size": list(config.model.size_hw),
            "batch_size": config.train.batch_size,
            "epochs": config.train.epochs,
            "folds": len(sizes),
            "views": config.views,
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
        "loop_to_step_rounds": [b / a for a, b in zip(step.first, step.second, strict=True)],
        "one_pass_to_each_time": predict.ratio,
        "estimate_seconds": work.seconds(Speeds(decode, step.speeds[1], forward)),
        "measured_in_seconds": time.perf_counter() - begin,
    }


def _text(found: dict[str, Any]) -> list[str]:
    config, speed, estimate = found["config"], found["images_per_second"], found["estimate_seconds"]
    environment = found["environment"]
    size, views = "×".join(map(str, config["size"])), len(config["views"])
    rounds = " ".join(f"{ratio:.2f}" for ratio in found["loop_to_step_rounds"])
    return [
        f"{config['name']}: {config['model']} at {size}, batch {config['batch_size']}; {environment['setting']}, "
        f"{environment['threads']} threads, {environment['cpu']}",
        f"{'images/s':>45}",
        f"{'decoding originals, all cores':<36}{speed['decode']:9.1f}",
        f"{'cached reading + augmentation':<36}{speed['read_and_augment']:9.1f}  in one process",
        f"{'bare model step':<36}{speed['bare_step']:9.1f}",
        f"{'training loop':<36}{speed['training_loop']:9.1f}  {found['loop_to_step']:.2f} of the step ({rounds})",
        f"{'prediction, one network and view':<36}{speed['forward']:9.1f}",
        f"{'prediction, decoding each time':<36}{speed['predict_decoding_each_time']:9.2f}  "
        f"{config['folds']} folds × {views} views",
        f"{'prediction, one pass':<36}{speed['predict_one_pass']:9.2f}  "
        f"{found['one_pass_to_each_time']:.1f} times as fast",
        f"the whole job: about {duration(estimate['total'])} (first decoding {duration(estimate['check'])}, "
        f"training {duration(estimate['train'])}, prediction {duration(estimate['predict'])})",
    ]

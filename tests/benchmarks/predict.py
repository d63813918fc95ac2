"""Compare one pass of prediction over all folds and views with decoding once per fold and view.

    python tests/benchmarks/predict.py [--count 48] [--folds 5] [--model resnet10t] [--size 64] [--json]

Makes photographs of 2048x1365 in a temporary folder and predicts them from the files with the engine's own
code: in one pass, and in a pass of its own for every fold and view, each measured whole. Wanted: 4 times.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from input import make_photographs

from pipeline.config.config import Config
from pipeline.config.loading import parse

CLASSES = ("a", "b", "c", "d")


def compare(config: Config, paths: list[Path], folds: int, rounds: int = 1) -> dict[str, float]:
    """Return images/s of both ways, their ratio, and the largest difference of their probabilities."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported
    from pipeline.batches.rows import Rows
    from pipeline.config.sections.data_items import Cache
    from pipeline.images.cache import open_images
    from pipeline.machine import devices
    from pipeline.models import network
    from pipeline.models.network import Setting
    from pipeline.prediction.predictor import Predictor

    devices.prepare(config.train)
    setting = Setting.of(config)
    networks = [network.build(config, CLASSES, setting, fold, fresh=False)[0] for fold in range(folds)]
    normalize = network.normalize(networks[0], setting)
    images = open_images(paths, config.model.size_hw, Cache(dir=None), progress=False)  # every access decodes
    rows = Rows(images, np.array([path.stem for path in paths]))

    def run(chosen: list[int], views: list[str]) -> list[np.ndarray]:
        return Predictor([networks[fold] for fold in chosen], config, setting, normalize).predict(rows, views)

    run([0], ["identity"])
    once, each = [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        together = np.stack(run(list(range(folds)), config.views))
        once.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        apart = [[run([fold], [view])[0][:, 0] for view in config.views] for fold in range(folds)]
        each.append(time.perf_counter() - begin)
    apart_FVNC = np.stack([np.stack(views) for views in apart])
    return {
        "one_pass": len(paths) / float(np.median(once)),
        "each_time": len(paths) / float(np.median(each)),
        "ratio": float(np.median(np.array(each) / np.array(once))),
        "difference": float(np.abs(together.swapaxes(1, 2) - apart_FVNC).max()),
    }


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--model", default="resnet10t")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    config = parse(
        {
            "name": "photographs",
            "data": {"root": ".", "image": "{id}.jpg", "target": "label"},
            "model": {"name": arguments.model, "pretrained": False, "size": arguments.size},
            "metric": "accuracy",
            "tta": ["d4"],
        },
        place="predict.py",
    )
    with tempfile.TemporaryDirectory() as folder:
        found = compare(config, make_photographs(Path(folder), arguments.count), arguments.folds)
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{arguments.count} photographs, {arguments.folds} folds x {len(config.views)} views, {arguments.model}")
    print(f"decoding each time {found['each_time']:8.2f} images/s")
    print(f"one pass           {found['one_pass']:8.2f} images/s, {found['ratio']:.1f}x, wanted 4x")
    print(f"largest difference of the probabilities {found['difference']:.1e}")


if __name__ == "__main__":
    main()

"""Prepare a tiny competition with every kind of file that Foldline reads, trained, predicted, blended and tuned."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from conftest import write_competition  # noqa: E402

PLUGIN = """
def neat(targets_NC, probs_NC, weights_RN, single_label):
    import numpy as np
    right_N = targets_NC.argmax(1) == probs_NC.argmax(1)
    return (weights_RN * right_N).sum(1) / weights_RN.sum(1)

neat.greater_is_better = True

def brighter(images_BCHW):
    return images_BCHW + 0.1
"""


def environment() -> dict[str, str]:
    """Return the environment of a command: this tree's package, one thread, no network."""
    found = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    return {**found, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}


def call(folder: Path, *arguments: str) -> None:
    """Run a command in a folder; raise with what it said where it fails."""
    command = [sys.executable, "-m", "pipeline", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
        )


def competition(folder: Path, epochs: int = 1) -> None:
    """Write the competition of the tests with a config of paths relative to the folder: 2 folds, no workers."""
    root = write_competition(folder)
    tree = yaml.safe_load((root / "config.yaml").read_text())
    tree |= {"runs_dir": "runs", "folds_dir": "folds", "studies_dir": "studies", "folds": {"n": 2}}
    tree["data"] |= {"root": "shapes", "cache": {"dir": "cache"}}
    tree["train"] |= {"epochs": epochs, "workers": 0}
    (root / "config.yaml").unlink()
    (folder / "config.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))


def prepare(folder: Path, trained: bool = True) -> None:
    """Write and, where it is to be trained, run all that the fuzz run mutates."""
    folder.mkdir(parents=True)
    competition(folder)
    _tables(folder / "shapes")
    _pictures(folder)
    (folder / "mine.py").write_text(PLUGIN)
    overlays = {
        "overlay": {"train": {"lr": 0.01}, "tta": ["identity"]},
        "plugins": {"metric": "mine.py:neat", "tta": ["mine.py:brighter"]},
        "space": {"tune": {"space": {"train.lr": {"float": [1e-4, 1e-2]}}, "fresh_seeds": 0}},
        "variants": {"slower": {"train": {"lr": 0.001}}, "none": {"mix": {"kind": "none"}}},
        "extra": {"data": {"extra": [{"table": "extra.csv", "image": "images/{image_id}.png"}]}},
        "half": {"run": "half", "train": {"epochs": 40}},
    }
    for name, tree in overlays.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree))
    if not trained:
        return
    call(folder, "run", "-c", "config.yaml")
    call(folder, "check", "-c", "pictures.yaml")
    call(folder, "leaderboard", "add", "runs/shapes", "--public", "0.5")
    call(folder, "tune", "-c", "config.yaml", "-c", "space.yaml", "--trials", "2")
    mate = folder / "mate"
    mate.mkdir()
    for name in ("oof.csv", "test.csv"):
        shutil.copy(folder / "runs/shapes" / name, mate / name)
    call(folder, "ensemble", "-c", "config.yaml", "--set", "run=blend", "--members", "shapes", "mate")
    _half(folder)


def _half(folder: Path) -> None:
    """Leave a training that was killed after some epochs, with its checkpoints."""
    command = [sys.executable, "-m", "pipeline", "train", "-c", "config.yaml", "-c", "half.yaml", "--fold", "0"]
    with subprocess.Popen(command, cwd=folder, env=environment(), stdout=-3, stderr=-3) as job:
        state = folder / "runs/half/fold0/state"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not list(state.glob("*.safetensors")) and job.poll() is None:
            time.sleep(0.01)
        time.sleep(0.3)  # some epochs more
        job.send_signal(signal.SIGKILL)
    if not list(state.glob("*.safetensors")):
        raise RuntimeError(f"no checkpoint in {state}")


def _tables(root: Path) -> None:
    """Write the training table in every form that is read."""
    import pandas as pd

    train = pd.read_csv(root / "train.csv", dtype=str)
    train.to_csv(root / "train.tsv", sep="\t", index=False)
    train.to_json(root / "train.json", orient="records")
    train.to_json(root / "train.jsonl", orient="records", lines=True)
    train.to_parquet(root / "train.parquet")
    (root / "train_gz.csv.gz").write_bytes(gzip.compress((root / "train.csv").read_bytes()))
    with zipfile.ZipFile(root / "train_zip.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(root / "train.csv", "train_zip.csv")
    names = sorted(set(train["label"]))
    coco = {
        "images": [{"id": n, "file_name": f"images/{name}.png"} for n, name in enumerate(train["image_id"])],
        "annotations": [
            {"id": n, "image_id": n, "category_id": names.index(label)} for n, label in enumerate(train["label"])
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names)],
    }
    (root / "coco.json").write_text(json.dumps(coco))
    train.head(6)[["image_id", "label"]].to_csv(root / "extra.csv", index=False)


def _pictures(folder: Path) -> None:
    """Write one picture in every form, with a table, a stack of pictures, and a config."""
    import pydicom
    import tifffile
    from PIL import Image
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    root = folder / "pictures"
    root.mkdir()
    rng = np.random.default_rng(0)
    lines = ["file,label"]
    for n, ending in enumerate(("png", "jpg", "gif", "bmp", "webp", "tiff", "npy", "dcm")):
        for k in range(2):
            pixels = rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)
            path = root / f"{ending}{k}.{ending}"
            lines.append(f"{path.name},{'ab'[(n + k) % 2]}")
            if ending == "npy":
                np.save(path, pixels)
            elif ending == "tiff":
                tifffile.imwrite(path, pixels)
            elif ending == "dcm":
                meta = FileMetaDataset()
                meta.TransferSyntaxUID = ExplicitVRLittleEndian
                meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
                meta.MediaStorageSOPInstanceUID = f"1.2.{k + 1}"
                data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
                data.Rows, data.Columns, data.SamplesPerPixel = 20, 24, 1
                data.PhotometricInterpretation = "MONOCHROME2"
                data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
                data.PixelData = pixels[..., 0].tobytes()
                data.save_as(path, enforce_file_format=True)
            else:
                Image.fromarray(pixels).save(path)
    (root / "train.csv").write_text("\n".join(lines) + "\n")
    pixels = rng.integers(0, 255, (4, 20, 24), dtype=np.uint8)
    np.save(root / "stack.npy", pixels)
    np.savez(root / "stack.npz", pixels)
    with zipfile.ZipFile(root / "more.zip", "w") as archive:
        for k in range(2):
            archive.write(root / f"png{k}.png", f"png{k}.png")
    tree = {
        "name": "pictures",
        "runs_dir": "runs",
        "folds_dir": "folds",
        "data": {
            "root": "pictures",
            "test": None,
            "id": "file",
            "image": "{file}",
            "target": "label",
            "sample_submission": "sample.csv",
            "test_image": "more.zip/{file}.png",
            "duplicates_by_content": "keep",
            "cache": {"dir": "picture_cache"},
        },
        "folds": {"n": 2},
        "model": {"name": "test_resnet", "pretrained": False, "size": 32},
        "train": {"workers": 0},
    }
    (root / "sample.csv").write_text("file,label\npng0,a\npng1,a\n")
    (folder / "pictures.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))

"""Memory that runs out while images are decoded names the image, never the batch size; so do loader workers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from PIL import Image

from pipeline.cli import main
from pipeline.config.sections.data_items import Cache
from pipeline.errors import InputError, TrainingError
from pipeline.images import decoding
from pipeline.images.cache import open_images

LIMITED = """
import resource, sys
from pathlib import Path
import pipeline.checking.preflight
from pipeline.cli import main
used = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmSize" in line).split()[1])
limit = 1024 * used + 300 * 10**6
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(sys.argv[1:]))
"""
OUT = "OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 3221225472 bytes\n"


def test_decoding_without_memory_through_the_command_line(competition: Path) -> None:
    Image.new("L", (14_000, 14_000)).save(competition / "images/0007.png", compress_level=1)  # twice 0.2 GB
    command = [sys.executable, "-c", LIMITED, "check", "-c", str(competition / "config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if line.startswith("foldline: ")]
    assert done.returncode == 6 and len(said) == 1 and "Traceback" not in done.stderr, done.stderr
    assert "0007.png: memory ran out while it was decoded" in said[0] and "batch" not in said[0]
    assert "free memory, or store it smaller" in said[0]


@pytest.mark.parametrize("error", [cv2.error(OUT), MemoryError(), cv2.error("std::bad_alloc")])
@pytest.mark.parametrize("cached", [True, False])
def test_every_library_that_runs_out_names_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, cached: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    path = tmp_path / "a.png"
    Image.effect_noise((30, 20), 90).save(path)
    cache = Cache(dir=str(tmp_path / "cache") if cached else None)
    monkeypatch.setattr(decoding.cv2, "resize", fail)
    with pytest.raises(TrainingError, match=r"a\.png: memory ran out while it was decoded"):
        open_images([path], (8, 8), cache, progress=False)
    monkeypatch.undo()
    images = open_images([path], (8, 8), cache, progress=False)
    monkeypatch.setattr(decoding.cv2, "resize", fail)
    if not cached:
        with pytest.raises(TrainingError, match=r"a\.png: memory ran out"):
            images[0]


def test_other_errors_of_opencv_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise cv2.error("OpenCV(5.0.0) resize.cpp:1: error: (-215:Assertion failed) !dsize.empty()")

    Image.effect_noise((30, 20), 90).save(tmp_path / "a.png")
    monkeypatch.setattr(decoding.cv2, "resize", fail)
    with pytest.raises(cv2.error):
        open_images([tmp_path / "a.png"], (8, 8), Cache(dir=None), progress=False)


def test_what_a_loader_worker_finds_is_said_on_its_line() -> None:
    """Torch would raise an error whose text is the worker's traceback."""
    from torch.utils.data import Dataset

    from pipeline.batches import loader
    from pipeline.errors import Problem

    class Failing(Dataset[loader.Batch]):
        def __getitem__(self, of: int) -> loader.Batch:
            raise InputError(Problem("a.png", "cannot be read: No such file; it was readable when the job began"))

    with pytest.raises(InputError) as caught:
        list(loader._load(Failing(), range(3), workers=1, pin=False))
    assert caught.value.lines == ["a.png: cannot be read: No such file; it was readable when the job began"]


def test_a_full_shared_memory_is_told_from_a_full_disk(
    competition: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno

    from pipeline.files import memory
    from pipeline.folds import stage

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stage, "run", fail)
    for little, code, words in ((1 << 62, 6, "shared memory (/dev/shm) ran out"), (0, 5, "cannot be written")):
        monkeypatch.setattr(memory, "LITTLE", little)
        assert main(["folds", "-c", str(competition / "config.yaml")]) == code
        assert words in capsys.readouterr().err


SHM = """
mount -t tmpfs -o size=200k tmpfs /dev/shm || exit 99
exec "$@"
"""


def test_a_tiny_shared_memory_through_the_command_line(competition: Path) -> None:
    """Needs a mount namespace; where the machine gives none it is skipped."""
    options = ["--set", "train.workers=2", "--set", "train.epochs=1", "--set", "model.size=224", "--fold", "0"]
    config = str(competition / "config.yaml")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here")
    assert main(["folds", "-c", config]) == 0
    pipeline = [sys.executable, "-m", "pipeline", "train", "-c", config, *options]
    command = ["unshare", "-m", "bash", "-c", SHM, "sh", *pipeline]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    if done.returncode == 99:
        pytest.skip("nothing can be mounted here")
    said = [line for line in done.stderr.splitlines() if line.startswith("foldline: ")]
    assert done.returncode == 6 and len(said) == 1 and "Traceback" not in done.stderr, done.stderr
    assert "shared memory (/dev/shm) ran out" in said[0] and "lower train.workers" in said[0]

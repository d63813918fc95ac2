"""The cache: nothing decoded twice, every defect listed, whole after a kill, one store for many processes."""

from __future__ import annotations

import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config.config import Config
from pipeline.config.sections.data_items import Cache
from pipeline.errors import InputError, MismatchError, SpaceError
from pipeline.images import cache as cache_module
from pipeline.images import filling as fill_module
from pipeline.images.cache import ImageSet, open_images, size_for
from pipeline.images.decoding import decode
from pipeline.images.store import Store

SIZE = (12, 16)
IDS = [f"{n:02d}" for n in range(24)]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """24 files: colour, gray and 16-bit gray in turn, all different."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    found = []
    for i in range(24):
        gray = rng.integers(0, 65536, (20, 30), dtype=np.uint16)
        pixels = {
            0: rng.integers(0, 256, (20, 30, 3), dtype=np.uint8),
            1: (gray >> 8).astype(np.uint8),
            2: gray,
        }[i % 3]
        found.append(folder / f"{i:02d}.png")
        Image.fromarray(pixels).save(found[-1])
    return found


def opened(paths: list[Path], cache_dir: Path | None, **options: float) -> ImageSet:
    return open_images(paths, SIZE, Cache(dir=None if cache_dir is None else str(cache_dir), **options), progress=False)


def digest(images: ImageSet) -> str:
    return images.digest(map(str, range(len(images))))


def assert_right(images: ImageSet, paths: list[Path]) -> None:
    assert len(images) == len(paths)
    for number, path in enumerate(paths):
        expected = decode(path, SIZE)
        assert images[number].dtype == expected.dtype and (images[number] == expected).all(), path


def test_second_open_reads_no_file(paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(paths, tmp_path / "cache")
    assert first.decoded == len(paths)
    assert_right(first, paths)
    monkeypatch.setattr(fill_module, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    second = opened(paths[::-1], tmp_path / "cache")
    assert second.decoded == 0 and second.digest(IDS[::-1]) == first.digest(IDS)
    assert_right(second, paths[::-1])


def test_images_are_fresh_and_at_the_sources_depth(paths: list[Path], tmp_path: Path) -> None:
    images = opened(paths, tmp_path / "cache")
    assert [images[n].dtype.name for n in range(3)] == ["uint8", "uint8", "uint16"]
    before = images[0].copy()
    images[0][:] = 0
    assert (images[0] == before).all() and images[1].flags.writeable


def test_gray_is_stored_with_one_channel_even_where_the_file_has_three(tmp_path: Path) -> None:
    gray = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    Image.fromarray(np.dstack([gray] * 3)).save(tmp_path / "a.png")
    images = opened([tmp_path / "a.png"], tmp_path / "cache")
    assert images[0].shape == (*SIZE, 3)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.bin")) == SIZE[0] * SIZE[1]


def test_equal_pixels_are_stored_once(paths: list[Path], tmp_path: Path) -> None:
    """A copied file is not decoded again; another file of the same pixels takes no further room."""
    copy = tmp_path / "copy.png"
    copy.write_bytes(paths[0].read_bytes())
    Image.open(paths[0]).save(tmp_path / "same.bmp")
    files = [paths[0], copy, tmp_path / "same.bmp"]
    images = opened(files, tmp_path / "cache")
    assert images.decoded == 2
    assert_right(images, files)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.bin")) == SIZE[0] * SIZE[1] * 3


def test_moved_images_are_not_decoded_again(paths: list[Path], tmp_path: Path) -> None:
    first = opened(paths, tmp_path / "cache")
    moved = tmp_path / "moved"
    paths[0].parent.rename(moved)
    images = opened([moved / path.name for path in paths], tmp_path / "cache")
    assert images.decoded == 0 and digest(images) == digest(first)
    assert_right(images, [moved / path.name for path in paths])


def test_changed_file_is_decoded_again(paths: list[Path], tmp_path: Path) -> None:
    before = opened(paths, tmp_path / "cache")
    Image.new("RGB", (30, 20), "red").save(paths[3])
    after = opened(paths, tmp_path / "cache")
    assert after.decoded == 1 and digest(after) != digest(before)
    assert_right(after, paths)


def test_take_and_digest(paths: list[Path], tmp_path: Path) -> None:
    for cache_dir in (tmp_path / "cache", None):
        images = opened(paths, cache_dir)
        some = images.take([5, 0, 5])
        assert_right(some, [paths[5], paths[0], paths[5]])
        assert some.digest("abc") == opened([paths[5], paths[5], paths[0]], cache_dir).digest("acb")
        assert some.digest("abc") != images.take([0, 5]).digest("ab")
    assert digest(opened(paths, None)) == digest(images)


def test_the_digest_tells_who_shows_what(paths: list[Path], tmp_path: Path) -> None:
    """Two ids that swap their images are other data; rows in another order are not."""
    images = opened(paths[:3], tmp_path / "cache")
    assert images.digest("abc") == images.take([2, 0, 1]).digest("cab")
    assert images.digest("abc") != images.digest("bac")
    assert images.digest("abc") != images.digest("abd")


def test_pickle_is_small_and_works(paths: list[Path], tmp_path: Path) -> None:
    images = opened(paths, tmp_path / "cache")
    assert images[0].any()
    packed = pickle.dumps(images)
    assert len(packed) < 4000
    assert_right(pickle.loads(packed), paths)


def test_without_a_folder_every_access_decodes(paths: list[Path], tmp_path: Path) -> None:
    images = opened(paths, None)
    assert_right(images, paths)
    assert opened(paths, None).decoded == 0  # checked by this process already
    Image.new("RGB", (30, 20), "red").save(paths[0])
    assert (images[0] == (255, 0, 0)).all()
    paths[0].unlink()
    with pytest.raises(InputError, match="was readable when the job began"):
        images[0]


@pytest.mark.parametrize("cached", [True, False])
def test_every_unreadable_image_is_listed(paths: list[Path], tmp_path: Path, cached: bool) -> None:
    cache_dir = tmp_path / "cache" if cached else None
    whole = paths[5].read_bytes()
    paths[1].write_bytes(b"")
    paths[5].write_bytes(whole[:100])
    paths[7].write_bytes(whole[:100])
    paths[9].write_text("no image")
    paths[11].unlink()
    for _ in range(2):
        with pytest.raises(InputError) as caught:
            opened([*paths, paths[1]], cache_dir)
        reasons = ["zero bytes", "truncated", "truncated", "not an image", "No such file"]
        assert len(caught.value.lines) == 5
        for defect, number, reason in zip(caught.value.lines, (1, 5, 7, 9, 11), reasons, strict=True):
            assert defect.startswith(f"{paths[number]}: ") and reason in defect and "replace the file" in defect
    good = [path for n, path in enumerate(paths) if n not in {1, 5, 7, 9, 11}]
    images = opened(good, cache_dir)
    assert images.decoded == 0  # the readable ones were kept
    assert_right(images, good)


def test_too_large_is_said_before_anything_is_written(paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"24 images at 12x16 need about .* raise data.cache.max_gb"):
        opened(paths, tmp_path / "cache", max_gb=1e-9)
    assert not list((tmp_path / "cache").rglob("*.bin"))


def test_limit_holds_when_the_estimate_was_too_low(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill_module, "_check_space", lambda *arguments: 4000.0)
    with pytest.raises(SpaceError, match="need about"):
        opened(paths, tmp_path / "cache")
    monkeypatch.undo()
    images = opened(paths, tmp_path / "cache")
    assert 0 < images.decoded < len(paths)  # what was finished was kept
    assert_right(images, paths)


def test_unwritable_folder_is_a_space_error(paths: list[Path]) -> None:
    for folder in (Path("/proc/nowhere"), paths[0]):
        with pytest.raises(SpaceError, match="cannot be written"):
            opened(paths, folder)


def store(tmp_path: Path) -> Path:
    folder = Store.at(str(tmp_path / "cache"), SIZE).folder
    assert folder is not None
    return folder


@pytest.mark.parametrize("damage", ["garbage", "empty", "half", "no index", "no data", "cut data"])
def test_damaged_store_is_remade(paths: list[Path], tmp_path: Path, damage: str) -> None:
    old = opened(paths, tmp_path / "cache")
    before = old[0]
    index, data = store(tmp_path) / "index.sqlite", next(store(tmp_path).glob("uint8x3-*.bin"))
    if damage == "garbage":
        index.write_bytes(b"\xff" * 5000)
    elif damage == "empty":
        index.write_bytes(b"")
    elif damage == "half":
        index.write_bytes(index.read_bytes()[: index.stat().st_size // 2])
    elif damage == "cut data":
        data.write_bytes(data.read_bytes()[:-1])
    else:
        (index if damage == "no index" else data).unlink()
    images = opened(paths, tmp_path / "cache")
    assert 0 < images.decoded <= len(paths)
    assert_right(images, paths)
    assert_right(opened(paths, tmp_path / "cache"), paths)
    if damage != "cut data":
        assert (old[0] == before).all()  # an open set keeps its mapping of the old file


def test_set_of_a_remade_store_reads_no_wrong_pixels(paths: list[Path], tmp_path: Path) -> None:
    stale = pickle.loads(pickle.dumps(opened(paths, tmp_path / "cache")))
    (store(tmp_path) / "index.sqlite").unlink()
    opened(paths[::-1], tmp_path / "cache")
    with pytest.raises(MismatchError, match="remade"):
        stale[0]


FILLER = """
import sys, time
from pathlib import Path
from pipeline.config.sections.data_items import Cache
from pipeline.images import filling as fill
from pipeline.images.cache import open_images
fill.COMMIT_SECONDS = 0.01
decode = fill.decode_files
def slow(*arguments):
    time.sleep(float(sys.argv[2]))
    return decode(*arguments)
fill.decode_files = slow
paths = sorted(Path(sys.argv[3]).glob("*.png"))
print("decoded", open_images(paths, (12, 16), Cache(dir=sys.argv[1]), workers=2, progress=False).decoded)
"""


def filler(tmp_path: Path, folder: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FILLER, str(tmp_path / "cache"), str(seconds), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_filling_keeps_what_is_finished(paths: list[Path], tmp_path: Path) -> None:
    process = filler(tmp_path, paths[0].parent, 0.05)
    index = store(tmp_path) / "index.sqlite"
    while process.poll() is None and stored(index) < 4:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    images = opened(paths, tmp_path / "cache")
    assert 0 < images.decoded <= len(paths) - 4
    assert_right(images, paths)


def stored(index: Path) -> int:
    """Return how many contents a store's index holds, as another process sees it."""
    try:
        connection = sqlite3.connect(f"file:{index}?mode=ro", uri=True)
        count = int(connection.execute("SELECT count(*) FROM contents").fetchone()[0])
        connection.close()
        return count
    except sqlite3.Error:
        return 0


def test_two_processes_fill_one_store(paths: list[Path], tmp_path: Path) -> None:
    processes = [filler(tmp_path, paths[0].parent, 0.02) for _ in range(2)]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sum(int(out.split()[-1]) for out, _ in outputs) == len(paths)
    images = opened(paths, tmp_path / "cache")
    assert images.decoded == 0
    assert_right(images, paths)


def test_progress_is_shown_by_the_main_process_alone(
    paths: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(dir=str(tmp_path / "cache"))
    open_images(paths[:4], SIZE, cache, label="training images")
    shown = capsys.readouterr().err
    assert "training images: 4 files at 12x16, about 0.000 GB" in shown and "4/4" in shown
    monkeypatch.setenv("RANK", "1")
    open_images(paths, SIZE, cache, label="training images")
    assert capsys.readouterr().err == ""


def test_empty_list(tmp_path: Path) -> None:
    images = opened([], tmp_path / "cache")
    assert len(images) == 0 and len(images.digest([])) == 64 and images.decoded == 0


def test_size_for_takes_the_models_size_unless_told() -> None:
    tree = {
        "name": "a",
        "data": {"root": ".", "image": "{id}.png", "target": "y"},
        "model": {"name": "resnet18", "size": [64, 96]},
    }
    assert size_for(Config.model_validate(tree)) == (64, 96)
    for size, expected in ((128, (128, 128)), ([40, 50], (40, 50))):
        tree["data"]["cache"] = {"size": size}  # type: ignore[index]
        assert cache_module.size_for(Config.model_validate(tree)) == expected

"""Damage to a filled cache is found when images are opened to train on or to predict, and mended from the files."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config.config import Config
from pipeline.errors import InputError, MismatchError
from pipeline.images import filling, verifying
from pipeline.images import index as sql
from pipeline.images.cache import ImageSet, open_config
from pipeline.images.decoding import decode
from pipeline.images.store import Store, Writer

SIZE = (12, 16)
BYTES = SIZE[0] * SIZE[1] * 3
OLD = """
DROP TABLE files;
CREATE TABLE files (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, hash BLOB NOT NULL) WITHOUT ROWID;
ALTER TABLE contents DROP COLUMN proof;
"""

MENDER = """
import sys
import time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_cache_verified as here
folder = Path(sys.argv[2])
paths = sorted((folder / "images").glob("*.png"))
images = here.opened(folder, paths)
here.assert_right(images, paths)
print(images.decoded)
"""


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """12 files: colour, and 16-bit gray in turn."""
    (tmp_path / "images").mkdir()
    rng, found = np.random.default_rng(0), []
    for i in range(12):
        colour, gray = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8), rng.integers(0, 65536, (20, 30), np.uint16)
        found.append(tmp_path / f"images/{i:02d}.png")
        Image.fromarray(gray if i % 2 else colour).save(found[-1])
    return found


def config(tmp_path: Path) -> Config:
    data = {"root": str(tmp_path), "image": "{id}.png", "target": "y", "cache": {"dir": str(tmp_path / "cache")}}
    return Config.model_validate({"name": "a", "data": data, "model": {"name": "resnet18", "size": list(SIZE)}})


def opened(tmp_path: Path, paths: list[Path]) -> ImageSet:
    return verifying.open_verified(config(tmp_path), [(str(path),) for path in paths], "training images")


def folder(tmp_path: Path) -> Path:
    found = Store.at(str(tmp_path / "cache"), SIZE).folder
    assert found is not None
    return found


def data(tmp_path: Path) -> Path:
    return next(folder(tmp_path).glob("uint8x3-*.bin"))


def index(tmp_path: Path, script: str) -> None:
    connection = sqlite3.connect(folder(tmp_path) / "index.sqlite")
    connection.executescript(script)
    connection.close()


def flip(path: Path, at: int, count: int = 1) -> None:
    content = bytearray(path.read_bytes())
    for place in range(at, at + count):
        content[place] ^= 1
    path.write_bytes(content)


def assert_right(images: ImageSet, paths: list[Path]) -> None:
    for number, path in enumerate(paths):
        assert (images[number] == decode(path, SIZE)).all(), path


def swap(one: str) -> str:
    """Return SQL that lets the first two rows of colour point to each other's slots."""
    return f"UPDATE {one} SET slot = 1 - slot WHERE kind = 1 AND slot < 2"


DAMAGE: dict[str, tuple[Callable[[Path], None], int]] = {  # and how many images are decoded again
    "one bit": (lambda folder: flip(data(folder), 2 * BYTES + 5), 1),
    "zeroed page": (
        lambda folder: data(folder).write_bytes(bytes(4 * BYTES) + data(folder).read_bytes()[4 * BYTES :]),
        4,
    ),
    "last slot": (lambda folder: flip(data(folder), 6 * BYTES - 1), 1),
    "all pixels": (lambda folder: flip(data(folder), 0, 6 * BYTES), 6),
    "rows swapped": (lambda folder: index(folder, swap("contents")), 2),
    "slots swapped": (lambda folder: index(folder, swap("slots")), 0),
    "wrong kind": (lambda folder: index(folder, "UPDATE contents SET kind = 2 WHERE kind = 1 AND slot = 3"), 1),
    "kind of no image": (lambda folder: index(folder, "UPDATE contents SET kind = 9 WHERE kind = 1 AND slot = 3"), 1),
    "slot below zero": (lambda folder: index(folder, "UPDATE contents SET slot = -2 WHERE kind = 1 AND slot = 3"), 1),
    "slot of no image": (lambda folder: index(folder, "UPDATE contents SET slot = 99 WHERE kind = 1 AND slot = 3"), 1),
    "a slot that is text": (lambda folder: index(folder, "UPDATE contents SET slot = 'a' WHERE kind = 1"), 6),
    "remark": (lambda folder: index(folder, "UPDATE contents SET remark = 3 WHERE kind = 1 AND slot = 3"), 1),
    "remark of no kind": (
        lambda folder: index(folder, "UPDATE contents SET remark = 300 WHERE kind = 1 AND slot = 3"),
        1,
    ),
    "proofs lost": (lambda folder: index(folder, "UPDATE contents SET proof = NULL"), 12),
    "contents emptied": (lambda folder: index(folder, "DELETE FROM contents"), 12),
    "files emptied": (lambda folder: index(folder, "DELETE FROM files"), 0),
    "tables gone": (lambda folder: index(folder, "DROP TABLE contents"), 12),
    "index emptied": (lambda folder: (folder_index(folder)).write_bytes(b""), 12),
    "truncated data": (lambda folder: data(folder).write_bytes(data(folder).read_bytes()[:-BYTES]), 12),
}


def folder_index(tmp_path: Path) -> Path:
    return folder(tmp_path) / "index.sqlite"


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_damaged_is_decoded_again_and_said(
    paths: list[Path], tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = opened(tmp_path, paths)
    damage, count = DAMAGE[kind]
    damage(tmp_path)
    capsys.readouterr()
    images = opened(tmp_path, paths)
    said = capsys.readouterr().err
    assert images.decoded == count
    assert_right(images, paths)
    assert images.digest(map(str, range(12))) == first.digest(map(str, range(12)))
    assert not len(verifying.differing(images)[0])
    if kind in {"one bit", "zeroed page", "rows swapped"}:
        assert f"{folder(tmp_path)}: {count} of 12 images are not as they were decoded; they are decoded again" in said
        assert f"first {paths[4 if kind == 'one bit' else 0]}" in said
    if kind in {"tables gone", "index emptied", "truncated data"}:
        assert f"{folder(tmp_path)}: this image cache is damaged or cut; it is made anew from the images" in said
    assert opened(tmp_path, paths).decoded == 0 and capsys.readouterr().err == ""


def test_a_damaged_slot_is_not_written_again(paths: list[Path], tmp_path: Path) -> None:
    """A set that is open may have it mapped; the last slot is the one that would be."""
    opened(tmp_path, paths)
    flip(data(tmp_path), 5 * BYTES)
    before = data(tmp_path).read_bytes()
    stale = open_config(config(tmp_path), [(str(path),) for path in paths])
    wrong = stale[10].copy()
    images = opened(tmp_path, paths)
    assert data(tmp_path).read_bytes()[: 6 * BYTES] == before and data(tmp_path).stat().st_size == 7 * BYTES
    assert (stale[10] == wrong).all() and (images[10] == decode(paths[10], SIZE)).all()


def test_equal_pixels_are_not_taken_from_a_damaged_slot(paths: list[Path], tmp_path: Path) -> None:
    opened(tmp_path, paths)
    flip(data(tmp_path), 0)
    Image.open(paths[0]).save(tmp_path / "same.bmp")  # another content of the same pixels
    for _ in range(2):
        images = open_config(config(tmp_path), [(str(tmp_path / "same.bmp"),)])
        assert_right(images, [tmp_path / "same.bmp"])
    assert_right(opened(tmp_path, paths), paths)


def test_two_processes_mend_once(paths: list[Path], tmp_path: Path) -> None:
    opened(tmp_path, paths)
    flip(data(tmp_path), 0, 6 * BYTES)
    command = [sys.executable, "-c", MENDER, str(Path(__file__).parent), str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [one.communicate() for one in both]
    assert sum(int(out) for out, _ in outputs) == 6, outputs


def test_a_source_that_is_gone_is_named(paths: list[Path], tmp_path: Path) -> None:
    images = opened(tmp_path, paths)
    flip(data(tmp_path), 0)
    paths[0].unlink()
    with pytest.raises(InputError, match=r"00\.png: cannot be read: No such file"):
        verifying.verified(images, config(tmp_path), [(str(path),) for path in paths])


def test_a_disk_that_keeps_nothing_is_named(paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = Writer.add

    def broken(writer: Writer, content: bytes, image: np.ndarray, remark: int) -> None:
        add(writer, content, image, remark)
        writer.commit()
        flip(data(tmp_path), data(tmp_path).stat().st_size - 1)

    monkeypatch.setattr(filling.Writer, "add", broken)
    with pytest.raises(MismatchError, match="gives back other bytes than were written; check disk and memory"):
        opened(tmp_path, paths[:1])


def test_a_cache_of_an_earlier_version_is_read_once_more_and_not_decoded(paths: list[Path], tmp_path: Path) -> None:
    opened(tmp_path, paths)
    index(tmp_path, OLD)
    images = opened(tmp_path, paths)
    assert images.decoded == 0
    assert_right(images, paths)
    index(tmp_path, swap("contents"))  # its rows are proven from now on
    assert opened(tmp_path, paths).decoded == 2


def test_an_index_of_an_earlier_version_takes_no_join(paths: list[Path], tmp_path: Path) -> None:
    """SQLite joins such tables row by row: 60,000 rows took minutes."""
    opened(tmp_path, paths)
    rows = "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
    index(tmp_path, OLD)
    key = "CAST(printf('%033d', i) AS BLOB)"
    index(tmp_path, f"INSERT INTO slots {rows} SELECT {key}, 3, i FROM n")  # kind 3 of 16-bit gray: slots 100 and on
    index(tmp_path, f"INSERT INTO contents {rows} SELECT substr({key}, 2), 3, i, 0 FROM n")
    with contextlib.closing(sqlite3.connect(folder(tmp_path) / "index.sqlite")) as connection:
        begin = time.process_time()
        sql.tidy(connection)
        assert time.process_time() - begin < 5
        assert connection.execute("SELECT count(*) FROM contents WHERE proof IS NULL").fetchone() == (0,)


def test_the_command_line_mends_and_says_so(competition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` opens the images as `train` does."""
    from pipeline.cli import main

    command = ["check", "-c", str(competition / "config.yaml")]
    assert main(command) == 0
    (pixels,) = (path for path in competition.parent.rglob("*.bin"))
    flip(pixels, 5)
    capsys.readouterr()
    assert main(command) == 0
    assert "1 of 48 images are not as they were decoded; they are decoded again" in capsys.readouterr().err
    assert main(command) == 0
    assert "not as they were" not in capsys.readouterr().err

"""The cache for images of any channels: planes, windows, archives, images that are not there."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.competition.image_paths import Source
from pipeline.config.sections.data_items import Cache
from pipeline.errors import InputError
from pipeline.images import cache as cache_module
from pipeline.images import filling as fill_module
from pipeline.images.cache import ImageSet, open_images
from pipeline.images.decoding import decode
from pipeline.images.read_as import ReadAs
from pipeline.images.store import Store

SIZE = (12, 16)
RNG = np.random.default_rng(0)


def opened(sources: list[Source], cache_dir: Path | None, **options: object) -> ImageSet:
    cache = Cache(dir=None if cache_dir is None else str(cache_dir))
    return open_images(sources, SIZE, cache, progress=False, **options)


@pytest.fixture
def planes(tmp_path: Path) -> list[Source]:
    """Four images of two planes each, gray files that two images share in turn."""
    names = []
    for n in range(5):
        names.append(str(tmp_path / f"{n}.png"))
        Image.fromarray(RNG.integers(0, 256, (20, 30), dtype=np.uint8)).save(names[-1])
    return [(names[n], names[n + 1]) for n in range(4)]


@pytest.mark.parametrize("cached", [True, False])
def test_planes_are_read_side_by_side(planes: list[Source], tmp_path: Path, cached: bool) -> None:
    images = opened(planes, tmp_path / "cache" if cached else None, how=ReadAs(2))
    again = pickle.loads(pickle.dumps(opened(planes, tmp_path / "cache" if cached else None, how=ReadAs(2))))
    for number, source in enumerate(planes):
        expected = decode(source, SIZE, ReadAs(2))
        assert images[number].shape == (*SIZE, 2) and (images[number] == expected).all()
        assert (again[number] == expected).all()


def test_a_second_open_reads_no_file_unless_one_plane_changed(
    planes: list[Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(planes, tmp_path / "cache", how=ReadAs(2))
    assert first.decoded == 4
    with monkeypatch.context() as patch:
        patch.setattr(fill_module, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
        assert opened(planes, tmp_path / "cache", how=ReadAs(2)).digest("abcd") == first.digest("abcd")
    Image.new("L", (30, 20), 7).save(planes[0][1])
    later = opened(planes, tmp_path / "cache", how=ReadAs(2))
    assert later.decoded == 2 and later.digest("abcd") != first.digest("abcd")  # two images hold that file
    assert (later[1][..., 0] == 7).all()


def test_the_order_of_planes_is_part_of_the_content(planes: list[Source], tmp_path: Path) -> None:
    one, other = planes[0], planes[0][::-1]
    images = opened([one, other], tmp_path / "cache", how=ReadAs(2))
    assert (images[0] == images[1][..., ::-1]).all() and not (images[0] == images[1]).all()
    assert images.take([0]).digest("a") != images.take([1]).digest("a")


def test_channels_and_windows_have_stores_and_digests_of_their_own(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.linspace(-40, 0, 600, dtype=np.float32).reshape(20, 30))
    source = (str(tmp_path / "a.npy"),)
    options = [ReadAs(window=(-40, 0)), ReadAs(window=(-20, 0)), ReadAs(1, (-40, 0))]
    sets = [opened([source], tmp_path / "cache", how=one) for one in options]
    assert len({images.digest("a") for images in sets}) == 3
    assert [images[0].shape[2] for images in sets] == [3, 3, 1]
    for images, one in zip(sets, options, strict=True):
        assert images[0].dtype == np.uint16 and (images[0] == decode(source, SIZE, one)).all()
    folders = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert folders == ["12x16-v2-c1-w-40_0", "12x16-v2-w-20_0", "12x16-v2-w-40_0"]
    usual = Store.at("c", SIZE).folder
    assert usual is not None and usual.name == "12x16-v2"


def test_one_channel_keeps_its_axis(tmp_path: Path) -> None:
    colour = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(colour).save(tmp_path / "a.png")
    images = opened([(str(tmp_path / "a.png"),)], tmp_path / "cache", how=ReadAs(1))
    assert images[0].shape == (*SIZE, 1) and (images[0] == decode(tmp_path / "a.png", SIZE, ReadAs(1))).all()


@pytest.mark.parametrize("cached", [True, False])
def test_an_image_that_is_not_there_is_mid_gray(planes: list[Source], tmp_path: Path, cached: bool) -> None:
    images = opened([planes[0], (), planes[1]], tmp_path / "cache" if cached else None, how=ReadAs(2))
    assert images.absent_N.tolist() == [False, True, False] and images.skipped == {}
    assert (images[1] == 128).all() and images[1].shape == (*SIZE, 2) and images[1].dtype == np.uint8
    some = images.take([1, 2])
    assert (some[0] == 128).all() and (some[1] == images[2]).all()
    assert len(opened([()], tmp_path / "cache")) == 1


@pytest.mark.parametrize("cached", [True, False])
def test_skip_passes_over_unreadable_files_and_lists_them(planes: list[Source], tmp_path: Path, cached: bool) -> None:
    whole = Path(planes[0][0]).read_bytes()
    Path(planes[0][0]).write_bytes(whole[:60])
    os.unlink(planes[3][1])
    cache_dir = tmp_path / "cache" if cached else None
    with pytest.raises(InputError) as caught:
        opened(planes, cache_dir, how=ReadAs(2))
    assert len(caught.value.lines) == 2
    images = opened(planes, cache_dir, how=ReadAs(2), skip=True)
    assert list(images.skipped) == [", ".join(planes[0]), ", ".join(planes[3])]
    assert "truncated" in images.skipped[", ".join(planes[0])]
    assert images.absent_N.tolist() == [True, False, False, True]
    assert (images[0] == 128).all() and (images[3] == 128).all()
    assert (images[1] == decode(planes[1], SIZE, ReadAs(2))).all()
    before = images.digest("abcd")
    Path(planes[0][0]).write_bytes(whole)
    later = opened(planes, cache_dir, how=ReadAs(2), skip=True)
    assert (later[0] == decode(planes[0], SIZE, ReadAs(2))).all() and later.digest("abcd") != before


def test_members_of_an_archive_are_cached_by_the_archives_status(tmp_path: Path) -> None:
    def pack(level: int) -> None:
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
            for n in range(3):
                Image.new("L", (30, 20), level + n).save(tmp_path / "a.png")
                file.write(tmp_path / "a.png", f"{n}.png")

    pack(10)
    sources = [(f"{tmp_path}/x.zip/{n}.png",) for n in range(3)]
    images = opened(sources, tmp_path / "cache")
    assert images.decoded == 3 and [int(images[n][0, 0, 0]) for n in range(3)] == [10, 11, 12]
    assert opened(sources, tmp_path / "cache").decoded == 0
    pack(100)
    os.utime(tmp_path / "x.zip", ns=(1, 1))
    later = opened(sources, tmp_path / "cache")
    assert later.decoded == 3 and [int(later[n][0, 0, 0]) for n in range(3)] == [100, 101, 102]
    with pytest.raises(InputError, match=r"x\.zip/9\.png: missing in x\.zip"):
        opened([(f"{tmp_path}/x.zip/9.png",)], tmp_path / "cache")


def replaced(path: Path, by: bytes) -> None:
    """Put another file in a file's place, of the same size and times."""
    status = path.stat()
    assert len(by) == status.st_size
    beside = path.with_name("beside")
    beside.write_bytes(by)
    os.replace(beside, path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def plain(level: int) -> bytes:
    return b"P5 30 20 255\n" + bytes([level]) * 600


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("in_place", [True, False])
def test_a_file_replaced_with_the_same_size_and_time_is_seen(tmp_path: Path, cached: bool, in_place: bool) -> None:
    cache_dir, path = tmp_path / "cache" if cached else None, tmp_path / "a.pgm"
    path.write_bytes(plain(7))
    before = opened([(str(path),)], cache_dir)
    assert int(before[0][0, 0, 0]) == 7
    if in_place:
        status = path.stat()
        path.write_bytes(plain(9))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        replaced(path, plain(9))
    later = opened([(str(path),)], cache_dir)
    assert int(later[0][0, 0, 0]) == 9 and later.digest("a") != before.digest("a")


def test_an_archive_replaced_with_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    def packed(level: int, other: bool) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as file:
            for name in ("b.pgm", "a.pgm") if other else ("a.pgm", "b.pgm"):  # at another place, too
                file.writestr(zipfile.ZipInfo(name), plain(level if name == "a.pgm" else 0))
        return stream.getvalue()

    path = tmp_path / "x.zip"
    path.write_bytes(packed(7, False))
    sources = [(f"{path}/a.pgm",)]
    assert int(opened(sources, tmp_path / "cache")[0][0, 0, 0]) == 7
    replaced(path, packed(9, True))
    assert int(opened(sources, tmp_path / "cache")[0][0, 0, 0]) == 9


def test_a_stack_replaced_with_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    def stacked(level: int) -> bytes:
        stream = io.BytesIO()
        np.savez(stream, x=np.full((2, 20, 30), level, np.uint8))
        return stream.getvalue()

    path = tmp_path / "x.npz"
    path.write_bytes(stacked(7))
    assert int(opened([(f"{path}[1]",)], tmp_path / "cache")[0][0, 0, 0]) == 7
    replaced(path, stacked(9))
    assert int(opened([(f"{path}[1]",)], tmp_path / "cache")[0][0, 0, 0]) == 9


def test_inodes_beyond_what_sqlite_holds_are_folded(
    planes: list[Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "identity", lambda status: (status.st_size, 5, 6, 2**64 - 3))
    assert opened(planes, tmp_path / "cache", how=ReadAs(2)).decoded == 4
    assert opened(planes, tmp_path / "cache", how=ReadAs(2)).decoded == 0


def test_a_read_only_cache_serves_contents_that_lie_elsewhere_now(
    planes: list[Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that is mounted as a data set cannot note the new paths, ctimes and inodes of files beside it."""
    filled = opened(planes, tmp_path / "cache", how=ReadAs(2))
    (tmp_path / "mounted").mkdir()
    moved = [tuple(str(Path(name).rename(tmp_path / "mounted" / Path(name).name)) for name in planes[0])]
    before = {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    monkeypatch.setattr(fill_module.os, "access", lambda *_: False)
    monkeypatch.setattr(fill_module, "locked", lambda folder: pytest.fail(f"{folder} was locked"))
    images = opened(moved, tmp_path / "cache", how=ReadAs(2))
    assert images.decoded == 0 and (images[0] == filled[0]).all()
    assert images.digest(["a"]) == filled.take([0]).digest(["a"])
    assert {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()} == before

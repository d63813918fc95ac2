"""The part of a picture that counts, and pictures laid beside each other: the same pixels in every way of reading."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.config.sections.data_items import Cache
from pipeline.images import layout
from pipeline.images.cache import open_images
from pipeline.images.decoding import decode, decode_source, resize
from pipeline.images.read_as import ReadAs
from pipeline.images.remarks import Remark

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
MIDDLE = ReadAs(center=0.5)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


def test_the_centre_is_a_share_of_each_side(picture: str) -> None:
    assert (decode(picture, None, MIDDLE) == RGB[10:30, 15:45]).all()
    assert (decode(picture, (8, 8), MIDDLE) == resize(RGB[10:30, 15:45], (8, 8))).all()
    assert (decode(picture, None, ReadAs(center=1.0)) == RGB).all()


@given(st.integers(1, 50), st.integers(1, 50), st.floats(0.001, 1))
def test_a_centre_has_its_size_and_lies_in_the_middle(height: int, width: int, share: float) -> None:
    rows, columns = np.mgrid[:height, :width]
    found = layout.center(np.dstack([rows, columns]), share)
    assert found.shape[:2] == (max(1, round(height * share)), max(1, round(width * share)))
    for axis, side in ((0, height), (1, width)):
        before, after = found[..., axis].min(), side - 1 - found[..., axis].max()
        assert 0 <= after - before <= 1


def test_a_large_jpeg_is_reduced_for_its_centre_only(tmp_path: Path) -> None:
    """The centre of a picture that is decoded at a smaller scale is that of the whole one."""
    large = np.asarray(Image.fromarray(RGB[:6, :9]).resize((1216, 800), Image.Resampling.BICUBIC))
    Image.fromarray(large).save(tmp_path / "a.jpg", quality=95)
    full = resize(decode(tmp_path / "a.jpg", None)[200:600, 304:912], (50, 76))
    assert np.abs(decode(tmp_path / "a.jpg", (50, 76), MIDDLE).astype(int) - full).mean() < 1


@pytest.mark.parametrize(
    "box, margin, rows, columns, clipped",
    [
        ("5,10,20,8", 0.0, slice(10, 18), slice(5, 25), False),
        ("5,10,20,8", 0.25, slice(8, 20), slice(0, 30), False),
        ("5.5,10.2,1,1", 0.0, slice(10, 12), slice(5, 7), False),
        ("-5,30,20,20", 0.0, slice(30, 40), slice(0, 15), True),
        ("50,0,10,40", 0.5, slice(0, 40), slice(45, 60), False),
        ("", 0.5, slice(0, 40), slice(0, 60), False),
    ],
)
def test_boxes(picture: str, box: str, margin: float, rows: slice, columns: slice, clipped: bool) -> None:
    pixels, remark = decode_source((f"{picture}#xywh={box}",), None, ReadAs(margin=margin))
    assert (pixels == RGB[rows, columns]).all() and pixels.shape == RGB[rows, columns].shape
    assert remark == (Remark.CLIPPED if clipped else Remark.NONE)


@pytest.mark.parametrize("box", ["60,0,5,5", "0,-9,5,5", "-5,0,5,5"])
def test_a_box_beside_the_picture_is_refused(picture: str, box: str) -> None:
    with pytest.raises(ValueError, match="lies outside the picture of 40x60"):
        decode((f"{picture}#xywh={box}",), (8, 8))


def test_a_box_is_cut_from_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "PNG", exif=exif)
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    assert (decode((f"{tmp_path}/a.png#xywh=0,10,7,5",), None) == np.rot90(RGB, -1)[10:15, :7]).all()


@pytest.mark.parametrize("cached", [True, False])
def test_boxes_of_one_file_are_images_of_their_own_in_the_cache(tmp_path: Path, picture: str, cached: bool) -> None:
    sources = [(f"{picture}#xywh={box}",) for box in ("0,0,10,10", "20,20,10,10", "", "55,0,10,10")]
    cache = Cache(dir=str(tmp_path / "cache") if cached else None)
    for _ in range(2):
        images = open_images(sources, (8, 8), cache, progress=False, label="training images")
        for number, cut in enumerate([RGB[:10, :10], RGB[20:30, 20:30], RGB, RGB[:10, 55:]]):
            assert (images[number] == resize(cut, (8, 8))).all()
        (note,) = images.notes
        assert note.startswith("1 of 4 training images have a box that leaves the picture")
    assert images.take([0]).digest(["a"]) != images.take([1]).digest(["a"])
    wider = open_images(sources, (8, 8), cache, how=ReadAs(margin=0.5), progress=False)
    assert (wider[0] == resize(RGB[:15, :15], (8, 8))).all() and (images[0] == resize(RGB[:10, :10], (8, 8))).all()
    whole = open_images([picture], (8, 8), cache, progress=False)
    assert (whole[0] == images[2]).all() and whole.digest(["a"]) == images.take([2]).digest(["a"])


@pytest.mark.parametrize(
    "panels, count, cells",
    [
        ("row", 3, [(0, 0, 10, 6), (0, 6, 10, 7), (0, 13, 10, 7)]),
        ("column", 2, [(0, 0, 5, 20), (5, 0, 5, 20)]),
        ("grid", 4, [(0, 0, 5, 10), (0, 10, 5, 10), (5, 0, 5, 10), (5, 10, 5, 10)]),
        ("grid", 3, [(0, 0, 5, 10), (0, 10, 5, 10), (5, 0, 5, 10)]),
        ("grid", 2, [(0, 0, 10, 10), (0, 10, 10, 10)]),
    ],
)
def test_panels_are_resized_into_their_cells(
    tmp_path: Path, panels: str, count: int, cells: list[tuple[int, int, int, int]]
) -> None:
    pictures = [RGB[: 40 - 3 * n, : 60 - 5 * n] for n in range(count)]
    for n, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
    found = decode(tuple(str(tmp_path / f"{n}.png") for n in range(count)), (10, 20), ReadAs(panels=panels))
    assert found.shape == (10, 20, 3)
    covered = np.zeros((10, 20), bool)
    for pixels, (top, left, height, width) in zip(pictures, cells, strict=True):
        place = (slice(top, top + height), slice(left, left + width))
        assert (found[place] == resize(pixels, (height, width))).all()
        covered[place] = True
    assert (found[~covered] == 128).all()


def test_panels_of_other_kinds_meet_at_one_depth_and_as_many_channels(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    deep = RGB[..., 0].astype(np.uint16) * 250
    Image.fromarray(deep).save(tmp_path / "b.png")
    source = (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    found = decode(source, None, ReadAs(panels="column"))
    assert found.dtype == np.uint16 and found.shape == (80, 60, 3)
    assert (found[:40] == RGB.astype(int) * 257).all() and (found[40:] == deep[..., None]).all()
    assert decode(source, None, ReadAs(1, panels="row")).shape == (40, 120, 1)
    assert decode((*source, source[0]), None, ReadAs(panels="grid"))[40:, 60:].min() == 128 * 257


def test_what_is_cut_and_laid_out_has_stores_and_digests_of_its_own(tmp_path: Path, picture: str) -> None:
    cache = Cache(dir=str(tmp_path / "cache"))
    ways = [ReadAs(), MIDDLE, ReadAs(center=0.25), ReadAs(panels="row"), ReadAs(margin=0.1)]
    sets = [
        open_images([(picture, picture)[: 1 + (way.panels == "row")]], (8, 8), cache, how=way, progress=False)
        for way in ways
    ]
    assert len({images.digest(["a"]) for images in sets}) == len(ways)
    assert len({images.store.folder for images in sets}) == len(ways)
    assert ReadAs(truncated=True).name == ReadAs().name == ""

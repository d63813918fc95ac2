"""Images of any channels: arrays, planes in several files, TIFF samples and pages, floats by their window."""

from __future__ import annotations

import gc
import io
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.images import arrays
from pipeline.images.arrays import to_depth
from pipeline.images.decoding import decode, resize
from pipeline.images.read_as import ReadAs

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
PLANES = RNG.integers(0, 256, (20, 30, 16), dtype=np.uint8)


def picture(path: Path, pixels: np.ndarray) -> str:
    Image.fromarray(pixels).save(path)
    return str(path)


def array(path: Path, values: np.ndarray) -> str:
    np.save(path, values)
    return str(path)


@pytest.mark.parametrize("ending", ["png", "tif", "bmp", "gif"])
def test_one_channel_is_gray(tmp_path: Path, ending: str) -> None:
    source = picture(tmp_path / f"a.{ending}", PLANES[..., 0])
    assert (decode(source, None, ReadAs(1)) == PLANES[..., :1]).all()


def test_colour_becomes_gray_by_its_brightness(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png", RGB)
    expected = np.asarray(Image.fromarray(RGB).convert("L"), dtype=int)
    assert np.abs(decode(source, None, ReadAs(1))[..., 0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_four_channels_keep_alpha(tmp_path: Path, ending: str) -> None:
    source = str(tmp_path / f"a.{ending}")
    whole = PLANES[..., :4] | 1  # WebP may drop the colour where nothing is seen
    Image.fromarray(whole).save(source, **({"lossless": True} if ending == "webp" else {}))
    assert (decode(source, None, ReadAs(4)) == whole).all()


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_four_channels_of_sixteen_bits(tmp_path: Path, ending: str) -> None:
    deep = PLANES[..., :4].astype(np.uint16) * 251
    cv2.imwrite(str(tmp_path / f"a.{ending}"), deep)
    assert (decode(str(tmp_path / f"a.{ending}"), None, ReadAs(4)) == deep[..., [2, 1, 0, 3]]).all()


@pytest.mark.parametrize("count", [2, 4, 16])
def test_gray_files_are_planes(tmp_path: Path, count: int) -> None:
    source = tuple(picture(tmp_path / f"{c}.png", PLANES[..., c]) for c in range(count))
    assert (decode(source, None, ReadAs(count)) == PLANES[..., :count]).all()


def test_colour_files_are_three_planes_each(tmp_path: Path) -> None:
    source = (picture(tmp_path / "a.png", RGB), picture(tmp_path / "b.png", RGB[::-1].copy()))
    assert (decode(source, None, ReadAs(6)) == np.dstack([RGB, RGB[::-1]])).all()


def test_the_third_of_two_planes_is_their_mean(tmp_path: Path) -> None:
    source = tuple(picture(tmp_path / f"{c}.png", PLANES[..., c]) for c in range(2))
    found = decode(source, None, ReadAs(3))
    assert (found[..., :2] == PLANES[..., :2]).all()
    assert np.abs(found[..., 2] - PLANES[..., :2].mean(2)).max() <= 0.5


def test_planes_of_different_depth_meet_at_sixteen_bits(tmp_path: Path) -> None:
    deep = PLANES[..., 1].astype(np.uint16) * 250
    source = (picture(tmp_path / "a.png", PLANES[..., 0]), picture(tmp_path / "b.png", deep))
    found = decode(source, None, ReadAs(2))
    assert (found == np.dstack([PLANES[..., 0].astype(int) * 257, deep])).all()


def test_planes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    one, other = picture(tmp_path / "a.png", PLANES[..., 0]), picture(tmp_path / "b.png", PLANES[:9, :, 0])
    with pytest.raises(ValueError, match="2 files for 5 channels"):
        decode((one, other), (8, 8), ReadAs(5))
    with pytest.raises(ValueError, match="different sizes: 20x30, 9x30"):
        decode((one, other), None, ReadAs(2))
    assert decode((one, other), (8, 8), ReadAs(2)).shape == (8, 8, 2)
    with pytest.raises(ValueError, match="1 channel, expected 4"):
        decode(one, None, ReadAs(4))


def test_no_path_is_mid_gray() -> None:
    found = decode((), (4, 6), ReadAs(5))
    assert found.shape == (4, 6, 5) and found.dtype == np.uint8 and (found == 128).all()


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_arrays_with_channels_first_or_last(tmp_path: Path, first: bool, channels: int, dtype: str) -> None:
    values = PLANES[..., :channels].astype(dtype) * (257 if dtype == "uint16" else 1)
    source = array(tmp_path / "a.npy", values.transpose(2, 0, 1) if first else values)
    found = decode(source, None, ReadAs(channels))
    assert found.dtype == dtype and (found == values).all()
    np.savez_compressed(tmp_path / "a.npz", values, np.zeros(3))
    assert (decode(tmp_path / "a.npz", None, ReadAs(channels)) == values).all()


def test_an_array_of_two_axes_is_gray(tmp_path: Path) -> None:
    source = array(tmp_path / "a.npy", PLANES[..., 0])
    assert (decode(source, None) == PLANES[..., :1]).all() and decode(source, None).shape == (20, 30, 3)
    assert (decode(array(tmp_path / "b.npy", PLANES[None, ..., :2]), None, ReadAs(2)) == PLANES[..., :2]).all()


def test_floats_are_scaled_by_the_window(tmp_path: Path) -> None:
    values = np.linspace(-45, 35, 20 * 30).reshape(20, 30).astype(np.float32)
    source = array(tmp_path / "a.npy", values)
    found = decode(source, None, ReadAs(1, (-40, 0)))[..., 0]
    assert found.dtype == np.uint16
    assert np.abs(found / 65535 - ((values + 40) / 40).clip(0, 1)).max() < 1e-5
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert (decode(tmp_path / "a.tif", None, ReadAs(1, (-40, 0)))[..., 0] == found).all()
    with pytest.raises(ValueError, match=r"32-bit float pixels from -45 to 35, .* data\.window=\[-45, 35\]"):
        decode(source, None, ReadAs(1))


@given(st.floats(-1e3, 1e3), st.floats(0.1, 1e3), st.sampled_from(["float32", "float64", "int16", "int32"]))
def test_a_window_keeps_the_order_of_values(low: float, width: float, dtype: str) -> None:
    values = np.sort(np.random.default_rng(0).uniform(-1500, 1500, 50)).astype(dtype)
    found = to_depth(values, (low, low + width)).astype(int)
    assert (np.diff(found) >= 0).all()
    assert (found[values <= low] == 0).all() and (found[values >= low + width] == 65535).all()


def test_a_window_stretches_sixteen_bits_and_leaves_eight() -> None:
    twelve = np.array([[0, 2048, 4095]], np.uint16)
    assert to_depth(twelve, (0, 4095)).tolist() == [[0, 32776, 65535]]
    assert to_depth(twelve, None) is twelve
    assert (to_depth(RGB, (0, 4095)) == RGB).all()
    assert to_depth(np.array([[True, False]]), None).tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((4, 4), np.nan, np.float32), "NaN or infinite"),
        (np.zeros((4, 4, 4, 4), np.uint8), r"shape \(4, 4, 4, 4\), expected HxW"),
        (np.zeros((30, 40, 50), np.uint8), "at most 16 channels"),
        (np.zeros((0, 4), np.uint8), "expected HxW"),
        (np.array([["a"]]), "expected numbers"),
        (np.zeros((4, 4), np.int64), r"64-bit integer pixels from 0 to 0, .*data\.window"),
        (np.zeros((9, 9, 5), np.uint8), "5 channels, expected 3; set data.channels"),
    ],
)
def test_arrays_that_are_no_images_are_refused(tmp_path: Path, values: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode(array(tmp_path / "a.npy", values), None)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_damaged_arrays_are_refused(tmp_path: Path, name: str) -> None:
    stream = io.BytesIO()
    (np.save if name == "a.npy" else np.savez)(stream, PLANES)
    for share in (0.01, 0.5, 0.99):
        (tmp_path / name).write_bytes(stream.getvalue()[: int(len(stream.getvalue()) * share)])
        with pytest.raises(ValueError, match="damaged or truncated"):
            decode(tmp_path / name, None, ReadAs(16))
    (tmp_path / "b.npy").write_bytes(b"")
    np.save(tmp_path / "b.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        decode(tmp_path / "b.npy", None)


@pytest.mark.parametrize("channels", [2, 5, 16])
@pytest.mark.parametrize("planar", ["contig", "separate", "pages"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_samples_and_pages(tmp_path: Path, channels: int, planar: str, dtype: str) -> None:
    values = PLANES[..., :channels].astype(dtype)
    path, options = tmp_path / "a.tif", {"photometric": "minisblack"}
    if planar == "contig":
        tifffile.imwrite(path, values, planarconfig="contig", **options)
    elif planar == "separate":
        tifffile.imwrite(path, values.transpose(2, 0, 1), planarconfig="separate", **options)
    else:
        tifffile.imwrite(path, values.transpose(2, 0, 1), **options)
    found = decode(path, None, ReadAs(channels, (0, 255) if dtype == "float32" else None))
    assert found.dtype == ("uint16" if dtype == "float32" else dtype)
    assert (found == values * (257 if dtype == "float32" else 1)).all()


def test_truncated_tiff_samples_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES, photometric="minisblack", planarconfig="contig")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="damaged or truncated"):
        decode(path, None, ReadAs(16))


def test_a_tiff_of_two_colour_pages_has_six_channels(tmp_path: Path) -> None:
    pages = [Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert (decode(tmp_path / "a.tif", None, ReadAs(6)) == np.dstack([RGB, RGB[::-1]])).all()
    assert (decode(tmp_path / "a.tif", None) == RGB).all()  # three channels are the first page's


def test_a_jpeg_2000_is_read(tmp_path: Path) -> None:
    assert (decode(picture(tmp_path / "a.jp2", RGB), None) == RGB).all()


def test_members_of_archives_are_read(tmp_path: Path) -> None:
    one, other = picture(tmp_path / "a.png", PLANES[..., 0]), picture(tmp_path / "b.png", PLANES[..., 1])
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.write(one, "in/a.png")
        file.write(other, "in/b.png", compress_type=zipfile.ZIP_DEFLATED)
    inside = (f"{tmp_path}/x.zip/in/a.png", f"{tmp_path}/x.zip/in/b.png")
    assert (decode(inside, (8, 9), ReadAs(2)) == decode((one, other), (8, 9), ReadAs(2))).all()
    with pytest.raises(ValueError, match=r"missing in x\.zip"):
        decode(f"{tmp_path}/x.zip/in/c.png", None)
    with pytest.raises(ValueError, match="Not a directory"):
        decode(f"{one}/c.png", None)


@pytest.mark.parametrize("channels", [1, 2, 5, 16])
@pytest.mark.parametrize("size_hw", [(8, 9), (40, 50), (8, 50)])
def test_resize_treats_every_plane_alike(channels: int, size_hw: tuple[int, int]) -> None:
    found = resize(PLANES[..., :channels], size_hw)
    assert found.shape == (*size_hw, channels)
    for c in range(channels):
        alone = resize(np.ascontiguousarray(PLANES[..., c]), size_hw)
        assert np.abs(found[..., c].astype(int) - alone).max() <= 1


def test_threads_read_arrays_at_once() -> None:
    """Python 3.11's ast counts its depth for all threads together, and fails where one is interrupted in it."""
    content, before, switch = io.BytesIO(), gc.get_threshold(), sys.getswitchinterval()
    np.save(content, np.arange(4, dtype=np.uint8).reshape(2, 2))

    class Ring:
        """Hand the interpreter to another thread where it is collected."""

        def __init__(self) -> None:
            self.own = self

        def __del__(self) -> None:
            time.sleep(0)

    def one(_: int) -> int:
        Ring()
        return int(arrays.read(content.getvalue(), 1)[0][1, 1])

    gc.set_threshold(3)
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(one, range(10000))) == {3}
    finally:
        gc.set_threshold(*before)
        sys.setswitchinterval(switch)

"""Every kind of file decodes to what its pixels say, and damage is refused."""

from __future__ import annotations

import io
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from pipeline.files import bounds
from pipeline.images.decoding import decode, decode_files, resize
from pipeline.images.pictures import upright

RNG = np.random.default_rng(0)
SMOOTH = cv2.resize(RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8), (96, 64), interpolation=cv2.INTER_CUBIC)
DEEP = RNG.integers(0, 65536, (20, 30, 3), dtype=np.uint16)


def decode_bytes(content: bytes, size_hw: tuple[int, int] | None) -> np.ndarray:
    return decode_files([content], [None], size_hw)[0]


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def write_cv2(path: Path, pixels: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), pixels)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_lossless_colour_is_exact(tmp_path: Path, name: str) -> None:
    assert (decode(save(tmp_path / name, Image.fromarray(SMOOTH)), None) == SMOOTH).all()


@pytest.mark.parametrize("name, options", [("a.jpg", {"quality": 95}), ("a.webp", {"quality": 95})])
def test_lossy_colour_is_near(tmp_path: Path, name: str, options: dict[str, int]) -> None:
    pixels = decode(save(tmp_path / name, Image.fromarray(SMOOTH), **options), None)
    assert np.abs(pixels.astype(int) - SMOOTH).mean() < 3


@pytest.mark.parametrize("mode", ["L", "1", "LA", "RGBA", "P"])
def test_pillow_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(SMOOTH).convert(mode)
    pixels = decode(save(tmp_path / "a.png", image), None)
    assert pixels.shape == SMOOTH.shape and pixels.dtype == np.uint8
    assert (pixels == np.asarray(image.convert("RGB"))).all()


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return what a viewer shows, in whole numbers: the colour's share and white's."""
    top = np.iinfo(colour.dtype).max
    share = alpha[..., None].astype(float) / top
    return np.rint(colour * share + top * (1 - share)).astype(colour.dtype)


def test_transparent_palette_is_shown_on_white(tmp_path: Path) -> None:
    image = Image.frombytes("P", (2, 2), bytes([0, 1, 2, 1]))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    path = save(tmp_path / "a.png", image, transparency=bytes([0, 128, 255]))
    expected = [[[255, 255, 255], [127, 255, 127]], [[0, 0, 255], [127, 255, 127]]]
    assert decode(path, None).tolist() == expected


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_transparency_is_shown_on_white(tmp_path: Path, name: str) -> None:
    alpha = RNG.integers(1, 256, SMOOTH.shape[:2], dtype=np.uint8)
    path = save(tmp_path / name, Image.fromarray(np.dstack([SMOOTH, alpha])), **{"lossless": True})
    assert (decode(path, None) == on_white(SMOOTH, alpha)).all()


@pytest.mark.parametrize("alpha", [0, 128, 255])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_of_one_value_leaves_the_stored_colours(tmp_path: Path, mode: str, alpha: int) -> None:
    image = Image.fromarray(SMOOTH).convert(mode)
    image.putalpha(alpha)
    found = decode(save(tmp_path / "a.png", image), None)
    assert (found == np.asarray(Image.fromarray(SMOOTH).convert(mode[:-1]).convert("RGB"))).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk(tmp_path: Path, name: str) -> None:
    flat = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    pixels = decode(save(tmp_path / name, Image.fromarray(flat).convert("CMYK")), None)
    assert np.abs(pixels.astype(int) - flat).max() < 12


def test_cmyk_jpeg_without_adobes_marker_is_not_inverted() -> None:
    flat = Image.fromarray(np.full((16, 16, 3), (200, 40, 90), np.uint8)).convert("CMYK")
    stream = io.BytesIO()
    flat.save(stream, "JPEG")
    content = stream.getvalue()
    start = content.index(b"\xff\xee")
    length = int.from_bytes(content[start + 2 : start + 4], "big")
    plain = content[:start] + content[start + 2 + length :]
    assert b"Adobe" not in plain
    # The same numbers, now meaning ink as it is and not its inverse.
    ink = 255 - np.asarray(flat, dtype=int)
    inks = Image.frombytes("CMYK", flat.size, ink.astype(np.uint8).tobytes())
    expected = np.asarray(inks.convert("RGB"), dtype=int)
    assert np.abs(decode_bytes(plain, None).astype(int) - expected).max() < 12


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_stay(tmp_path: Path, name: str, channels: int) -> None:
    pixels = np.dstack([DEEP, DEEP[..., :1]])[..., :channels]
    path = write_cv2(tmp_path / name, pixels.squeeze())
    found = decode(path, None)
    expected = np.repeat(DEEP[..., :1], 3, 2) if channels == 1 else DEEP[..., ::-1]
    if name == "a.png" and channels == 4:  # OpenCV calls the fourth band of its TIFF nothing, so that it is no alpha
        expected = on_white(expected, DEEP[..., 0])
    assert found.dtype == np.uint16 and (found == expected).all()


def test_sixteen_bits_of_little_and_big_endian_and_32_bit_integers(tmp_path: Path) -> None:
    gray = DEEP[..., 0]
    for mode, dtype in (("I;16", "<u2"), ("I;16B", ">u2"), ("I", "<i4")):
        image = Image.frombytes(mode, (30, 20), gray.astype(dtype).tobytes())
        found = decode(save(tmp_path / "a.tif", image), None)
        assert found.dtype == np.uint16 and (found[..., 1] == gray).all(), mode


@pytest.mark.parametrize("pixels", [np.full((4, 4), 70000, np.int32), np.full((4, 4), -1, np.int32)])
def test_wide_integers_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"32-bit integer pixels from .*, expected 8 or 16 bits"):
        decode(save(tmp_path / "a.tif", Image.fromarray(pixels)), None)


def test_floats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="32-bit float"):
        decode(save(tmp_path / "a.tif", Image.fromarray(np.ones((4, 4), np.float32))), None)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp", "png16", "png16gray", "tif16", "tif16gray"])
def test_exif_orientation(tmp_path: Path, kind: str, orientation: int) -> None:
    """The stored pixels are turned as the tag says; Pillow's own 8-bit reading is the yardstick."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    eight = (DEEP >> 8).astype(np.uint8)
    options: dict[str, object] = {"exif": exif}
    path = tmp_path / f"a.{kind[:3] if kind != 'webp' else kind}"
    expected = upright(DEEP if "16" in kind else eight, orientation)
    if kind == "tif16":
        content = tiff16(DEEP, orientation)
        path.write_bytes(content)
    elif kind == "png16":
        plain = cv2.imencode(".png", DEEP[..., ::-1])[1].tobytes()
        stream = io.BytesIO()
        Image.fromarray(eight).save(stream, "PNG", exif=exif)
        other = stream.getvalue()
        at = other.index(b"eXIf") - 4
        chunk = other[at : at + 12 + int.from_bytes(other[at : at + 4], "big")]
        path.write_bytes(plain[:33] + chunk + plain[33:])
    elif kind in {"png16gray", "tif16gray"}:
        Image.fromarray(DEEP[..., 0]).save(path, **options)
        expected = np.repeat(upright(DEEP[..., 0], orientation)[..., None], 3, 2)
    else:
        options |= {"lossless": True} if kind == "webp" else {"quality": 100, "subsampling": 0} if kind == "jpg" else {}
        source = SMOOTH if kind == "jpg" else eight
        Image.fromarray(source).save(path, **options)
        expected = upright(source, orientation)
    found = decode(path, None)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert np.abs(found.astype(int) - expected).mean() < (3 if kind == "jpg" else 0.5)


def tiff16(pixels: np.ndarray, orientation: int) -> bytes:
    """Write a plain little-endian RGB TIFF of 16 bits with an orientation tag."""
    height, width = pixels.shape[:2]
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, None),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, None),
        (274, 3, 1, orientation),
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, pixels.nbytes),
    ]
    bits_at = 8 + 2 + 12 * len(entries) + 4
    values = {258: bits_at, 273: bits_at + 6}
    table = b"".join(
        tag.to_bytes(2, "little")
        + kind.to_bytes(2, "little")
        + count.to_bytes(4, "little")
        + (values.get(tag) if value is None else value).to_bytes(4, "little")
        for tag, kind, count, value in entries
    )
    head = b"II*\0" + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little") + table + bytes(4)
    return head + np.array([16] * 3, "<u2").tobytes() + pixels.astype("<u2").tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_agrees_with_pillow(orientation: int) -> None:
    image = Image.fromarray(SMOOTH)
    image.getexif()[0x0112] = orientation
    assert (upright(SMOOTH, orientation) == np.asarray(ImageOps.exif_transpose(image))).all()


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_animations_give_their_first_frame(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if name == "a.webp" else {}
    path = save(tmp_path / name, frames[0], save_all=True, append_images=frames[1:], **options)
    assert (decode(path, None) == (255, 0, 0)).all()


FORMATS = {
    "jpg": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "bmp": ("BMP", {}),
    "tif": ("TIFF", {}),
    "lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "gif": ("GIF", {}),
}


@pytest.mark.parametrize("kind", [*FORMATS, "png16", "tif16"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("size_hw", [None, (8, 8)])
def test_truncated_files_are_refused(kind: str, share: float, size_hw: tuple[int, int] | None) -> None:
    if kind.endswith("16"):
        content = cv2.imencode(f".{kind[:3]}", DEEP)[1].tobytes()
    else:
        name, options = FORMATS[kind]
        stream = io.BytesIO()
        Image.fromarray(SMOOTH).save(stream, name, **options)
        content = stream.getvalue()
    decode_bytes(content, size_hw)
    with pytest.raises(ValueError, match=r"damaged|truncated"):
        decode_bytes(content[: int(len(content) * share)], size_hw)


def test_truncation_is_refused_though_another_library_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    stream = io.BytesIO()
    Image.fromarray(SMOOTH).save(stream, "JPEG")
    with pytest.raises(ValueError, match="truncated"):
        decode_bytes(stream.getvalue()[:-200], None)


def test_no_image_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    for name, reason in {
        "empty.jpg": "zero bytes",
        "page.jpg": r"not an image \(it begins with b'<html>",
        "missing.jpg": "No such file",
        ".": "is a folder",
    }.items():
        with pytest.raises(ValueError, match=reason):
            decode(tmp_path / name, (8, 8))


def test_pixel_bombs_are_refused_and_large_images_do_not_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    Image.fromarray(SMOOTH).save(stream, "PNG")
    monkeypatch.setattr(bounds, "FREE", 100)
    assert (decode_bytes(stream.getvalue(), None) == SMOOTH).all()  # it grows as pictures do
    monkeypatch.setattr(bounds, "RATIO", 1)
    with pytest.raises(ValueError, match="a picture of 96×64 pixels, which takes"):
        decode_bytes(stream.getvalue(), None)


def test_warning_filters_survive_many_threads() -> None:
    stream = io.BytesIO()
    Image.fromarray(SMOOTH).save(stream, "PNG")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: decode_bytes(stream.getvalue(), (8, 8)), range(200)))
    assert list(warnings.filters) == before


@pytest.mark.parametrize("orientation", [1, 6])
def test_reduced_decoding_is_as_good_as_full(orientation: int) -> None:
    """A large JPEG decoded at reduced scale differs little from the full one shrunk, and is faster."""
    large = cv2.resize(SMOOTH, (1200, 800), interpolation=cv2.INTER_CUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(large).save(stream, "JPEG", quality=95, exif=exif)
    size_hw = (100, 150) if orientation == 1 else (150, 100)
    full = resize(decode_bytes(stream.getvalue(), None), size_hw)
    reduced = decode_bytes(stream.getvalue(), size_hw)
    assert reduced.shape == (*size_hw, 3)
    assert np.abs(reduced.astype(int) - full).mean() < 1.0


def test_reduced_decoding_never_goes_below_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("pipeline.images.decoding.resize", lambda pixels, size_hw: seen.append(pixels.shape) or pixels)
    stream = io.BytesIO()
    Image.fromarray(cv2.resize(SMOOTH, (999, 333))).save(stream, "JPEG")
    for size_hw in [(41, 124), (42, 125), (84, 84), (167, 100), (333, 999), (500, 500)]:
        decode_bytes(stream.getvalue(), size_hw)
        height, width = seen.pop()[:2]
        assert (height, width) == (333, 999) or (height >= size_hw[0] and width >= size_hw[1])


@given(
    source=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    target=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    value=st.integers(0, 255),
)
def test_resize_gives_the_size_and_keeps_flat_images(
    source: tuple[int, int], target: tuple[int, int], dtype: str, value: int
) -> None:
    level = value / 255 if dtype == "float32" else value
    for shape in (source, (*source, 3)):
        result = resize(np.full(shape, level, dtype), target)
        assert result.shape == (*target, *shape[2:]) and result.dtype == dtype
        assert np.allclose(result, level, atol=1e-5)


@pytest.mark.parametrize("size_hw", [None, (16, 24)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_result_is_writable_and_in_one_piece(tmp_path: Path, mode: str, size_hw: tuple[int, int] | None) -> None:
    pixels = decode(save(tmp_path / "a.png", Image.fromarray(SMOOTH).convert(mode)), size_hw)
    assert pixels.shape == (*(size_hw or SMOOTH.shape[:2]), 3)
    assert pixels.flags.c_contiguous and pixels.flags.writeable
    assert mode == "RGB" or (pixels == pixels[..., :1]).all()


def test_torch_is_not_imported() -> None:
    code = "import sys, pipeline.images.cache; sys.exit('torch' in sys.modules)"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0

"""What a viewer shows is what is read: transparency, pages, frames, formats, files that end too early."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, features

from pipeline.config.sections.data_items import Cache
from pipeline.errors import InputError
from pipeline.images.cache import open_images
from pipeline.images.decoding import decode_files, decode_source
from pipeline.images.read_as import ReadAs
from pipeline.images.remarks import Remark

RNG = np.random.default_rng(0)
SMOOTH = cv2.resize(RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8), (96, 64), interpolation=cv2.INTER_CUBIC)
GRAY = RNG.integers(0, 256, (3, 20, 30), dtype=np.uint8)
CUT = ReadAs(truncated=True)


def of(content: bytes, how: ReadAs = ReadAs()) -> tuple[np.ndarray, Remark]:  # noqa: B008
    return decode_files([content], [None], None, how)


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()


def drawing(colour: tuple[int, int, int], mode: str) -> Image.Image:
    """A disk that is drawn in alpha alone, with a soft edge."""
    alpha = np.zeros((32, 32), np.uint8)
    cv2.circle(alpha, (16, 16), 10, 255, -1, cv2.LINE_AA)
    whole = np.dstack([np.full((32, 32, 3), colour, np.uint8), alpha])
    if mode == "LA":
        return Image.merge("LA", [Image.fromarray(np.full((32, 32), colour[0], np.uint8)), Image.fromarray(alpha)])
    return Image.fromarray(whole) if mode == "RGBA" else Image.fromarray(whole).quantize(16)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
@pytest.mark.parametrize("colour, inside, outside", [((0, 0, 0), 0, 255), ((255, 255, 255), 255, 0)])
def test_what_is_drawn_in_alpha_alone_is_seen(
    mode: str, colour: tuple[int, int, int], inside: int, outside: int
) -> None:
    pixels, remark = of(encoded(drawing(colour, mode), "PNG"))
    assert remark == Remark.ON_WHITE
    assert abs(int(pixels[16, 16].max()) - inside) < 3 and abs(int(pixels[0, 0].min()) - outside) < 3


def test_a_colour_key_is_transparency_and_one_channel_shows_it_too() -> None:
    image = Image.fromarray(SMOOTH).convert("L")
    key = int(np.asarray(image)[0, 0])
    content = encoded(image, "PNG", transparency=key)
    for channels in (1, 3):
        pixels, remark = of(content, ReadAs(channels))
        assert remark == Remark.ON_WHITE
        assert (pixels == np.where(np.asarray(image) == key, 255, np.asarray(image))).all()


def test_a_fourth_band_of_a_tiff_is_alpha_where_its_tag_says_so(tmp_path: Path) -> None:
    bands = np.dstack([SMOOTH, SMOOTH[::-1, :, 0]])
    for deep in (False, True):
        values = bands.astype(np.uint16) * 257 if deep else bands
        for extra, shown in (("unspecified", False), ("unassalpha", True)):
            tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=[extra])
            pixels, remark = of((tmp_path / "a.tif").read_bytes())
            assert (remark == Remark.ON_WHITE) == shown, (extra, deep)
            assert (pixels == values[..., :3]).all() != shown


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_gray_pages_are_channels_where_they_are_as_many(tmp_path: Path, dtype: str) -> None:
    values = GRAY.astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    content = (tmp_path / "a.tif").read_bytes()
    pixels, remark = of(content)
    assert remark == Remark.PAGES and pixels.dtype == dtype and (pixels == values.transpose(1, 2, 0)).all()
    pixels, remark = of(content, ReadAs(1))
    assert remark == Remark.FIRST_PAGE and (pixels == values[0]).all()
    tifffile.imwrite(tmp_path / "b.tif", np.concatenate([values, values[:2]]), photometric="minisblack")
    pixels, remark = of((tmp_path / "b.tif").read_bytes())
    assert remark == Remark.FIRST_PAGE and (pixels == values[0]).all()


def test_pages_of_colour_or_of_other_sizes_are_named(tmp_path: Path) -> None:
    colour = [Image.fromarray(SMOOTH)] * 3
    assert of(encoded(colour[0], "TIFF", save_all=True, append_images=colour[1:]))[1] == Remark.FIRST_PAGE
    sizes = [Image.fromarray(GRAY[n, : 20 - n]) for n in range(3)]
    assert of(encoded(sizes[0], "TIFF", save_all=True, append_images=sizes[1:]))[1] == Remark.FIRST_PAGE


def test_a_preview_beside_a_picture_is_no_page(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(GRAY[0], photometric="minisblack")
        file.write(GRAY[0, ::2, ::2], photometric="minisblack", subfiletype=1)
    pixels, remark = of((tmp_path / "a.tif").read_bytes())
    assert remark == Remark.NONE and (pixels == GRAY[0]).all()


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG"])
def test_animations_are_named(name: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime")]
    assert of(encoded(frames[0], name, save_all=True, append_images=frames[1:]))[1] == Remark.FIRST_FRAME
    assert of(encoded(frames[0], name))[1] == Remark.NONE


def test_an_npz_of_several_arrays_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", GRAY[0], GRAY[1])
    pixels, remark = of((tmp_path / "a.npz").read_bytes())
    assert remark == Remark.FIRST_FRAME and (pixels == GRAY[0]).all()


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
@pytest.mark.parametrize("new", [b"", b"(((", b"\x00"])
def test_an_array_with_a_damaged_header_is_named(new: bytes) -> None:
    """numpy parses headers as Python, whose errors of parsing are no ValueError."""
    stream = io.BytesIO()
    np.save(stream, np.zeros((4, 4, 3), np.uint8))
    for old in (b"}", b"(4", b"'descr'"):
        with pytest.raises(ValueError, match="damaged or truncated"):
            decode_files([stream.getvalue().replace(old, new.ljust(len(old)), 1)], [None], (4, 4), ReadAs())


def test_avif_is_read_under_any_name() -> None:
    content = encoded(Image.fromarray(SMOOTH), "AVIF", quality=95)
    pixels, remark = of(content)
    assert remark == Remark.NONE and np.abs(pixels.astype(int) - SMOOTH).mean() < 3
    with pytest.raises(ValueError, match=r"damaged|truncated"):
        of(content[: len(content) // 2])


@pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1", b"mif1\0\0\0\0heic", b"msf1\0\0\0\0hevc"])
def test_heic_is_named(brands: bytes) -> None:
    with pytest.raises(ValueError, match=r"a HEIC picture, .* convert it"):
        of((8 + len(brands)).to_bytes(4) + b"ftyp" + brands + bytes(100))


def test_lab_is_shown_as_colour(tmp_path: Path) -> None:
    """White, black and a red of CIELAB (D50), whose values in sRGB are known; a and b are signed in a TIFF."""
    lab = np.array([[[255, 0, 0], [0, 0, 0], [138, 80, 67]]], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", lab, photometric="cielab")
    found = of((tmp_path / "a.tif").read_bytes())[0][0].astype(int)
    assert np.abs(found - [[255, 255, 255], [0, 0, 0], [254, 0, 0]]).max() < 12, found


@pytest.mark.parametrize(
    "name, options", [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("BMP", {}), ("TIFF", {})]
)
def test_truncated_files_are_read_as_far_as_they_go(name: str, options: dict[str, object]) -> None:
    content = encoded(Image.fromarray(SMOOTH), name, **options)
    whole = of(content, CUT)
    assert whole[1] == Remark.NONE
    part = content[: len(content) * 9 // 10]
    with pytest.raises(ValueError, match="truncated"):
        of(part)
    pixels, remark = of(part, CUT)
    assert remark == Remark.TRUNCATED and pixels.shape == SMOOTH.shape
    there = slice(None) if options else slice(32, None) if name == "BMP" else slice(0, 32)  # BMP begins at the bottom
    assert np.abs(pixels[there].astype(int) - whole[0][there]).mean() < 5
    assert decode_files([part], [None], (8, 8), CUT)[0].shape == (8, 8, 3)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "BMP"])
def test_what_ends_before_its_first_pixel_is_refused_all_the_same(name: str) -> None:
    content = encoded(Image.fromarray(SMOOTH), name)
    begin = {"JPEG": content.find(b"\xff\xda") + 13, "PNG": content.find(b"IDAT") + 6, "BMP": 54}[name]
    for cut in (begin, 10):
        with pytest.raises(ValueError, match=r"damaged|truncated"):
            of(content[:cut], CUT)


@pytest.mark.parametrize("cached", [True, False])
def test_the_cache_keeps_what_was_remarked_and_refuses_again(tmp_path: Path, cached: bool) -> None:
    content = encoded(Image.fromarray(SMOOTH), "JPEG")
    (tmp_path / "a.jpg").write_bytes(content[:-60])
    drawing((0, 0, 0), "RGBA").save(tmp_path / "b.png")
    sources = [(str(tmp_path / "a.jpg"),), (str(tmp_path / "b.png"),)]
    cache = Cache(dir=str(tmp_path / "cache") if cached else None)
    for _ in range(2):
        images = open_images(sources, (16, 16), cache, how=CUT, progress=False, label="test images")
        assert [note.split(": ")[0].split(" (")[0] for note in images.notes] == [
            "1 of 2 test images have transparency and are shown on white, as a viewer does",
            "1 of 2 test images are truncated and read as far as they go",
        ]
        assert images.notes[1].endswith(f": {sources[0][0]}")
        assert (images[0] == decode_source(sources[0], (16, 16), CUT)[0]).all()
        with pytest.raises(InputError, match=r"a\.jpg: damaged or truncated.*data\.truncated=decode"):
            open_images(sources, (16, 16), cache, progress=False)


def test_digests_of_pictures_that_were_always_read_so_are_those_of_old(tmp_path: Path) -> None:
    """Runs of 0.1.0 know them: the SHA-256 over sorted ids and hashes of the contents."""
    Image.fromarray(SMOOTH).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(encoded(drawing((0, 0, 0), "RGBA"), "PNG"))
    cache = Cache(dir=None)
    old, new = (open_images([tmp_path / name], (8, 8), cache, progress=False) for name in ("a.png", "b.png"))
    for images, name, same in ((old, "a.png", True), (new, "b.png", False)):
        content = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        known = hashlib.sha256(json.dumps(["id", content]).encode()).hexdigest()
        assert (images.digest(["id"]) == known) is same

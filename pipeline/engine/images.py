"""Decode image files: one contract for training and prediction.

The result is always RGB, upright (EXIF orientation 1-8 applied), the first frame of an animation, at the
source's depth (uint8 or uint16). Transparency is dropped, the stored colours are kept. Gray is repeated
over the three channels. Pillow reads everything; OpenCV reads 16-bit colour, which Pillow cuts to 8 bits.
A damaged or truncated file is refused, never padded.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageChops, ImageFile, ImageOps, UnidentifiedImageError

Array = np.ndarray[Any, np.dtype[Any]]

DECODE_VERSION = 1  # raised when the same file would give other pixels; part of a cache's name
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "DIB", "WEBP", "GIF", "PPM", "JPEG2000")
ORIENTATION = 0x0112  # EXIF and TIFF tag
BITS_PER_SAMPLE = 258  # TIFF tag

cv2.setNumThreads(0)  # its own threads fight the loader's
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # damaged files are raised below


def decode(path: Path, size_hw: tuple[int, int] | None) -> Array:
    """Read an image file as HxWx3 uint8 or uint16, resized to exactly `size_hw`; None keeps its own size.

    Raises ValueError with the reason where the file is missing, empty, truncated or no image.
    """
    return rgb(decode_bytes(read_bytes(path), size_hw))


def read_bytes(path: Path | str) -> bytes:
    """Return a file's content; raise ValueError with the reason where there is none."""
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if not content:
        raise ValueError("empty file (zero bytes)")
    return content


def decode_bytes(content: bytes, size_hw: tuple[int, int] | None) -> Array:
    """Decode a file's content as `decode` does, but leave gray images as HxW."""
    try:
        with _quiet():
            image = _open(content)
            deep = _is_deep_colour(image, content)
            if size_hw is not None and image.format in {"JPEG", "MPO"}:
                turned = image.getexif().get(ORIENTATION, 1) in {5, 6, 7, 8}
                image.draft(None, size_hw if turned else size_hw[::-1])
            pixels = _deep_pixels(image, content) if deep else _pixels(image)
    except Image.DecompressionBombError:
        raise ValueError(f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; store it smaller") from None
    except (OSError, SyntaxError, EOFError, cv2.error, OverflowError, MemoryError) as error:
        raise ValueError(f"damaged or truncated: {' '.join(str(error).split())}") from None
    return pixels if size_hw is None else resize(pixels, size_hw)


def resize(image: Array, size_hw: tuple[int, int]) -> Array:
    """Resize HxW or HxWxC to exactly `size_hw` without keeping the aspect.

    A side that shrinks is averaged over areas (no aliasing), one that grows is interpolated bicubically;
    OpenCV's INTER_AREA alone would turn linear as soon as one side grows.
    """
    height, width = image.shape[:2]
    small = (min(height, size_hw[0]), min(width, size_hw[1]))
    if small != (height, width):
        image = cv2.resize(image, small[::-1], interpolation=cv2.INTER_AREA)
    if small != tuple(size_hw):
        image = cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
        if image.dtype == np.float32:
            image = image.clip(0, 1)  # the integer types saturate by themselves
    return image


def rgb(image: Array) -> Array:
    """Return HxWx3, writable and in one piece of memory; gray HxW is repeated."""
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else np.require(image, requirements=["C", "W"])


def stored_bytes(content: bytes) -> int:
    """Return the bytes per pixel that an image will take decoded, from its header: 1, 2, 3 or 6.

    An unreadable one counts as 3: the decoder says later what is wrong with it.
    """
    try:
        with _quiet():
            image = _open(content)
            if image.mode in {"1", "L", "LA", "La"}:
                return 1
            if image.mode.startswith("I"):
                return 2
            return 6 if _is_deep_colour(image, content[:64]) else 3
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 3


def _open(content: bytes) -> Image.Image:
    """Open without decoding; tell apart what is no image at all."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # other libraries switch it on, which blackens what is missing
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        known = content.startswith((b"\xff\xd8", b"\x89PNG", b"II*\0", b"MM\0*", b"BM", b"RIFF", b"GIF8"))
        if known:
            raise ValueError("damaged, truncated or of an unsupported pixel format") from None
        raise ValueError(f"not an image (it begins with {content[:12]!r})") from None


def _is_deep_colour(image: Image.Image, head: bytes) -> bool:
    """Tell whether Pillow would cut 16 bits per channel to 8."""
    if image.format == "PNG":
        return head[24] == 16 and not image.mode.startswith("I")  # IHDR's bit depth
    if image.format == "TIFF" and not image.mode.startswith(("I", "F")):
        bits = image.tag_v2.get(BITS_PER_SAMPLE, (8,))  # type: ignore[attr-defined]
        return bool(max(bits) == 16)
    if image.format == "PPM" and image.mode == "RGB":
        return head.split(maxsplit=4)[3:4] not in ([], [b"255"]) and int(head.split(maxsplit=4)[3]) > 255
    return False


def _pixels(image: Image.Image) -> Array:
    """Return HxW or HxWx3 from an opened image, upright."""
    image.load()
    source = image.format
    image = ImageOps.exif_transpose(image)
    mode = image.mode
    if mode.startswith("I"):
        return _sixteen(np.asarray(image))
    if mode == "F":
        raise ValueError("32-bit float pixels, expected 8 or 16 bits; convert the files")
    if mode in {"L", "RGB"}:
        return np.asarray(image)
    if mode == "CMYK" and source == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every CMYK JPEG for Adobe's, which are stored inverted
    if mode in {"1", "LA", "La"}:
        return np.asarray(image.convert("LA").getchannel(0) if mode == "La" else image.convert("L"))
    if mode in {"P", "PA"}:
        image = image.convert("RGBA")  # directly to RGB, Pillow warns about transparent palettes
    return np.asarray(image.convert("RGB"))


def _sixteen(values: Array) -> Array:
    """Return integers of a gray image as uint16; raise ValueError where they do not fit."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ValueError(f"32-bit integer pixels from {low} to {high}, expected 0 to 65535; convert the files")
    return values.astype(np.uint16)


def _deep_pixels(image: Image.Image, content: bytes) -> Array:
    """Return 16-bit colour, upright; Pillow loads it too, for it alone refuses truncated files."""
    orientation = image.getexif().get(ORIENTATION, 1)
    turned_by_opencv = image.format == "TIFF"
    image.load()
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("16-bit pixels of an unsupported layout; convert the files to plain 16-bit PNG")
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGB)
    if image.mode in {"LA", "L"} and pixels.ndim == 3:
        pixels = pixels[..., 0]
    return pixels if turned_by_opencv else upright(pixels, orientation)


def upright(pixels: Array, orientation: int) -> Array:
    """Apply EXIF orientation 1-8 to HxW or HxWxC; other values leave the image as it is."""
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


_entered = 0
_guard = threading.Lock()
_filters = warnings.catch_warnings()


@contextmanager
def _quiet() -> Iterator[None]:
    """Mute warnings of the decoders, in any number of threads at once.

    `catch_warnings` alone is not made for threads: the last to leave could restore another's filters.
    """
    global _entered, _filters
    with _guard:
        if _entered == 0:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.simplefilter("ignore")
        _entered += 1
    try:
        yield
    finally:
        with _guard:
            _entered -= 1
            if _entered == 0:
                _filters.__exit__(None, None, None)

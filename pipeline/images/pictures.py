"""Read pictures with Pillow, and with OpenCV where Pillow would cut 16 bits: JPEG, PNG, TIFF, BMP, WebP, GIF, …"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from PIL import Image, ImageChops, ImageFile, ImageOps, UnidentifiedImageError

from pipeline.images import arrays, tiffs
from pipeline.methods.arrays import Array

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "DIB", "WEBP", "GIF", "PPM", "JPEG2000")
ORIENTATION = 0x0112  # EXIF and TIFF tag
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLES, PLANAR = 258, 262, 277, 284  # TIFF tags

cv2.setNumThreads(0)  # its threads fight the loader's
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # damaged files are raised below


def read(content: bytes, size_hw: tuple[int, int] | None, channels: int) -> Array:
    """Return HxW or HxWxC as stored, upright; a JPEG is only as large as `size_hw` needs.

    One and three channels are read as gray or RGB; others are what the file holds. Raises ValueError where it is
    damaged, truncated or no image.
    """
    try:
        return _read(content, size_hw, channels)
    except Image.DecompressionBombError:
        raise ValueError(f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; store it smaller") from None
    except (OSError, SyntaxError, EOFError, cv2.error, OverflowError, MemoryError) as error:
        raise arrays.damaged(error) from None


def _read(content: bytes, size_hw: tuple[int, int] | None, channels: int) -> Array:
    try:
        image = _open(content)
    except ValueError:
        if content.startswith(tiffs.MAGIC) and channels not in (1, 3):
            return tiffs.read(content)
        raise
    deep = _is_deep_colour(image, content)
    if channels not in (1, 3) and image.format == "TIFF":
        several = getattr(image, "n_frames", 1) > 1
        if (several and deep) or _has_planes(image):
            return tiffs.read(content)
        if several:
            return _pages(image)
    if size_hw is not None and image.format in {"JPEG", "MPO"}:
        turned = image.getexif().get(ORIENTATION, 1) in {5, 6, 7, 8}
        image.draft(None, size_hw if turned else size_hw[::-1])
    return _deep_pixels(image, content, channels) if deep else _pixels(image, channels)


def _has_planes(image: Image.Image) -> bool:
    """Tell whether a TIFF holds samples that are no colours, or stores them apart, both of which Pillow misreads."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    return bool(tags.get(SAMPLES, 1) > 1 and (tags.get(PHOTOMETRIC, 1) < 2 or tags.get(PLANAR, 1) == 2))


def _pages(image: Image.Image) -> Array:
    """Return the pages of a TIFF side by side: HxWxC."""
    planes = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        planes.append(np.atleast_3d(_pixels(image.copy(), 3)))
    if len({plane.shape[:2] for plane in planes}) > 1:
        raise ValueError("pages of different sizes, expected one plane on each")
    return np.concatenate(planes, axis=2)


def depth(content: bytes) -> tuple[bool, bool]:
    """Tell from the header whether a picture has 16 bits and whether it is gray; an unreadable one is neither."""
    try:
        with quiet():
            image = _open(content)
            sixteen = image.mode.startswith("I")
            return sixteen or _is_deep_colour(image, content[:64]), sixteen or image.mode in {"1", "L", "LA", "La"}
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False, False


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


def _pixels(image: Image.Image, channels: int) -> Array:
    """Return HxW or HxWx3 from an opened image, upright; all its channels where neither one nor three are wanted."""
    image.load()
    source = image.format
    image = ImageOps.exif_transpose(image)
    mode = image.mode
    if mode.startswith("I"):  # gray of 16 bits, or of 32 that may fit into them
        values = np.asarray(image)
        return values.astype(np.uint16) if values.min() >= 0 and values.max() <= 65535 else values
    if mode in {"F", "L", "RGB"}:
        return np.asarray(image)
    if channels not in (1, 3) and mode in {"LA", "RGBA", "CMYK"}:
        return np.asarray(image)
    if mode == "CMYK" and source == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every CMYK JPEG for Adobe's, which are stored inverted
    if mode in {"1", "LA", "La"}:
        return np.asarray(image.convert("LA").getchannel(0) if mode == "La" else image.convert("L"))
    if mode in {"P", "PA"}:
        image = image.convert("RGBA")  # directly to RGB, Pillow warns about transparent palettes
    return np.asarray(image.convert("RGB"))


def _deep_pixels(image: Image.Image, content: bytes, channels: int) -> Array:
    """Return 16-bit colour, upright; Pillow loads it too, for it alone refuses truncated files."""
    orientation = image.getexif().get(ORIENTATION, 1)
    turned_by_opencv = image.format == "TIFF"
    image.load()
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("16-bit pixels of an unsupported layout; convert the files to plain 16-bit PNG")
    if pixels.ndim == 3:
        with_alpha = cv2.COLOR_BGRA2RGB if channels in (1, 3) else cv2.COLOR_BGRA2RGBA
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else with_alpha)
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
def quiet() -> Iterator[None]:
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

"""Read pictures with Pillow, and with OpenCV where Pillow would cut 16 bits: JPEG, PNG, TIFF, BMP, WebP, AVIF, …"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import cv2
import numpy as np
from PIL import Image, ImageChops, ImageFile, ImageOps, UnidentifiedImageError

from pipeline.files import bounds, memory
from pipeline.images import arrays, tiffs, transparency
from pipeline.images.remarks import Remark
from pipeline.methods.arrays import Array

AVIF = ("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()  # since Pillow 11.3
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "DIB", "WEBP", "GIF", "PPM", "JPEG2000", *AVIF)
HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis")  # brands of the ISO container that AVIF uses too
END_OF_JPEG = b"\xff\xd9"
ORIENTATION = 0x0112  # EXIF and TIFF tag
SUBFILE, BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLES, PLANAR = 254, 258, 262, 277, 284  # TIFF tags

OPENCVS_PIXELS = 1 << 30
COPIES = 3  # of the pixels that decoding makes at most
Image.MAX_IMAGE_PIXELS = None  # see _check_size

cv2.setNumThreads(0)  # its threads fight the loader's
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # damaged files are raised below


def read(
    content: bytes, size_hw: tuple[int, int] | None, channels: int, truncated: bool = False
) -> tuple[Array, Remark]:
    """Return HxW or HxWxC, upright; a JPEG is only as large as `size_hw` needs; and what was taken for granted.

    One and three channels are read as gray or RGB; others are what the file holds. Raises ValueError where it is
    damaged, no image, or truncated, unless that is to be read as far as it goes.
    """
    try:
        return _read(content, size_hw, channels, truncated)
    except (OSError, SyntaxError, EOFError, cv2.error, OverflowError, MemoryError) as error:
        if truncated and "truncated" in str(error) and content.startswith(b"\xff\xd8"):
            whole, remark = read(content + END_OF_JPEG, size_hw, channels)  # then the decoder fills up the rest
            return _something(whole), remark | Remark.TRUNCATED
        if memory.is_out(error):
            raise MemoryError(arrays.one_line(error)) from None
        raise arrays.damaged(error) from None


def _read(content: bytes, size_hw: tuple[int, int] | None, channels: int, truncated: bool) -> tuple[Array, Remark]:
    try:
        image = _open(content)
    except ValueError:
        if content.startswith(tiffs.MAGIC) and channels not in (1, 3):
            return tiffs.read(content), Remark.NONE
        raise
    deep, remark = _is_deep_colour(image, content), Remark.NONE
    if image.format == "TIFF" and channels not in (1, 3):
        several = (count := getattr(image, "n_frames", 1)) > 1
        if (several and deep) or _has_planes(image):
            return tiffs.read(content), Remark.NONE
        if several and count > channels:
            raise ValueError(f"{count} pages, expected {channels} channels; set data.channels to what all have")
        if several:
            return _pages(image), Remark.NONE
    elif image.format == "TIFF":
        pages = _page_kinds(image)
        if len(pages) > 1 and len(pages) == channels and len(set(pages)) == 1 and _is_gray(image):
            return _pages(image), Remark.PAGES
        remark = Remark.FIRST_PAGE if len(pages) > 1 else Remark.NONE
    elif image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # an MPO's second picture is a preview
        remark = Remark.FIRST_FRAME
    if size_hw is not None and image.format in {"JPEG", "MPO"}:
        turned = image.getexif().get(ORIENTATION, 1) in {5, 6, 7, 8}
        image.draft(None, size_hw if turned else size_hw[::-1])
    _check_size(image, len(content), COPIES)
    if deep:
        pixels, more = _deep_pixels(image, content, channels)
        return pixels, remark | more
    try:
        image.load()
    except OSError as error:
        if not truncated or "truncated" not in str(error) or image.format in {"JPEG", "MPO"}:
            raise
        image.tile = []  # type: ignore[attr-defined]  # what was decoded until here is there
        remark |= Remark.TRUNCATED
    pixels, more = _pixels(image, channels)
    return _something(pixels) if remark & Remark.TRUNCATED else pixels, remark | more


def _something(pixels: Array) -> Array:
    """Return what there is of a truncated picture; raise ValueError where that is nothing."""
    if pixels.min() == pixels.max():
        raise ValueError("damaged or truncated: it ends before its first pixel")
    return pixels


def _is_gray(image: Image.Image) -> bool:
    return image.mode in {"1", "L", "F"} or image.mode.startswith("I")


def _page_kinds(image: Image.Image) -> list[tuple[tuple[int, int], str]]:
    """Return size and mode of each page of a TIFF but for previews; the first page is the current one again."""
    found = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        if number == 0 or not image.tag_v2.get(SUBFILE, 0) & 1:  # type: ignore[attr-defined]
            found.append((image.size, image.mode))
    if len(found) > 1 or getattr(image, "n_frames", 1) > 1:
        image.seek(0)
    return found


def _has_planes(image: Image.Image) -> bool:
    """Tell whether a TIFF holds samples that are no colours, or stores them apart, both of which Pillow misreads."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    return bool(tags.get(SAMPLES, 1) > 1 and (tags.get(PHOTOMETRIC, 1) < 2 or tags.get(PLANAR, 1) == 2))


def _pages(image: Image.Image) -> Array:
    """Return the pages of a TIFF side by side: HxWxC."""
    planes = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        planes.append(np.atleast_3d(_pixels(image.copy(), 3)[0]))
    if len({plane.shape[:2] for plane in planes}) > 1:
        raise ValueError("pages of different sizes, expected one plane on each")
    return np.concatenate(planes, axis=2)


def depth(content: bytes) -> tuple[bool, bool]:
    """Tell from the header whether a picture has 16 bits and whether it is gray; an unreadable one is neither."""
    try:
        with quiet():
            image = _open(content)
            sixteen, several = image.mode.startswith("I"), image.format == "TIFF" and getattr(image, "n_frames", 1) > 1
            gray = (sixteen or image.mode in {"1", "L", "LA", "La"}) and not several  # pages may be channels
            return sixteen or _is_deep_colour(image, content[:64]), gray
    except (OSError, SyntaxError, ValueError):
        return False, False


def _open(content: bytes) -> Image.Image:
    """Open without decoding; tell apart what is no image at all."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # other libraries switch it on, which blackens what is missing
    if content[4:8] == b"ftyp":
        brands = {content[at : at + 4] for at in range(8, min(len(content), int.from_bytes(content[:4])), 4)}
        if brands & {*HEIC}:
            raise ValueError(
                "a HEIC picture, which Pillow does not read; convert it, as with: heif-convert FILE FILE.png"
            )
        if b"avif" in brands and not AVIF:
            raise ValueError("an AVIF picture, which Pillow reads since 11.3: pip install 'pillow>=11.3'")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        known = content.startswith((b"\xff\xd8", b"\x89PNG", b"II*\0", b"MM\0*", b"BM", b"RIFF", b"GIF8"))
        known = known or content[4:8] == b"ftyp"
        if known:
            raise ValueError("damaged, truncated or of an unsupported pixel format") from None
        raise ValueError(f"not an image (it begins with {content[:12]!r})") from None
    _check_size(image, len(content))
    return image


def _check_size(image: Image.Image, packed: int, copies: int = 1) -> None:
    """Raise ValueError where a picture takes more memory than is sensible.

    Pillow's own limit, 0.18 gigapixels, would refuse the slides of microscopes.
    """
    deep = 4 if image.mode in {"I", "F"} else 2 if image.mode.startswith("I") else 1
    size = image.width * image.height * deep * len(image.getbands())
    what = f"a picture of {image.width:,}×{image.height:,} pixels, which takes"
    bounds.check(size, packed, what, "store it smaller", copies)


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


def _pixels(image: Image.Image, channels: int) -> tuple[Array, Remark]:
    """Return HxW or HxWx3 from an opened image, upright; all its channels where neither one nor three are wanted."""
    image.load()
    source, transparent = image.format, transparency.of(image)
    image = ImageOps.exif_transpose(image)
    mode = image.mode
    if mode.startswith("I"):  # gray of 16 bits, or of 32 that may fit into them
        values = np.asarray(image)
        return values.astype(np.uint16) if values.min() >= 0 and values.max() <= 65535 else values, Remark.NONE
    if mode == "F" or (channels not in (1, 3) and mode in {"L", "RGB", "LA", "RGBA", "CMYK"}):
        return np.asarray(image), Remark.NONE
    if transparent:
        whole = np.asarray(image.convert("LA" if mode in {"1", "L", "LA", "La"} else "RGBA"))
        if channels not in (1, 3):
            return whole, Remark.NONE
        colour = whole[..., 0] if whole.shape[2] == 2 else whole[..., :3]
        pixels, shown = transparency.flatten(colour, whole[..., -1])
        return pixels, Remark.ON_WHITE if shown else Remark.NONE
    if mode == "CMYK" and source == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every CMYK JPEG for Adobe's, which are stored inverted
    if mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return np.asarray(ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")), Remark.NONE
    return np.asarray(image.convert("L" if mode in {"1", "L"} else "RGB")), Remark.NONE


def _deep_pixels(image: Image.Image, content: bytes, channels: int) -> tuple[Array, Remark]:
    """Return 16-bit colour, upright; Pillow loads it too, for it alone refuses truncated files."""
    orientation = image.getexif().get(ORIENTATION, 1)
    turned_by_opencv, remark = image.format == "TIFF", Remark.NONE
    image.load()
    if image.width * image.height > OPENCVS_PIXELS:
        raise ValueError(
            f"more than {OPENCVS_PIXELS:,} pixels of 16-bit colour, which OpenCV does not read; store it smaller"
        )
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("16-bit pixels of an unsupported layout; convert the files to plain 16-bit PNG")
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
        if pixels.shape[2] == 4 and channels in (1, 3):  # a fourth band of a TIFF need not be alpha
            shown, pixels, alpha = False, pixels[..., :3], pixels[..., 3]
            if transparency.of(image):
                pixels, shown = transparency.flatten(pixels, alpha)
            remark = Remark.ON_WHITE if shown else Remark.NONE
    if image.mode in {"LA", "L"} and pixels.ndim == 3:
        pixels = pixels[..., 0]
    return pixels if turned_by_opencv else upright(pixels, orientation), remark


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

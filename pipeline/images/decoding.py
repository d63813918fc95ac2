"""Decode images: one contract for training and prediction.

The result has the channels that are asked for, upright (EXIF orientation 1-8 applied), the first frame of an
animation, at the source's depth (uint8 or uint16). With three channels gray is repeated and what has transparency
is shown on white; one channel is gray; other numbers take what the file or files hold: RGBA, the samples or pages
of a TIFF, an array's planes, a file per plane. Pages of gray that are as many as the channels are these channels.
Pillow reads most pictures; OpenCV reads 16-bit colour, which Pillow cuts to 8 bits. A damaged or truncated file is
refused, or read as far as it goes where `data.truncated` says so. What was taken for granted is told by a Remark.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from pipeline.competition.image_paths import Source
from pipeline.errors import Problem, TrainingError
from pipeline.files import archives, bounds, memory, parts
from pipeline.files.failures import not_a_file
from pipeline.images import arrays, dicom, layout, pictures
from pipeline.images.layout import Box
from pipeline.images.read_as import USUAL, ReadAs
from pipeline.images.remarks import Remark
from pipeline.methods.arrays import Array

DECODE_VERSION = 1  # raised when every file would give other pixels; for some of them see remarks.READ_ANEW
PLANES = 3  # that are resized and warped at once: OpenCV refuses five, and rounds two and four otherwise than RGB


def decode(source: Source | Path | str, size_hw: tuple[int, int] | None, how: ReadAs = USUAL) -> Array:
    """Read an image as HxWxC uint8 or uint16, resized to exactly `size_hw`; None keeps its own size.

    A source without a path is mid-gray. Floats become uint16 by the window, the values that are black and white.
    Raises ValueError with the reason where a file is missing, empty, truncated, no image or of other channels.
    """
    return decode_source(as_source(source), size_hw, how)[0]


def decode_source(source: Source, size_hw: tuple[int, int] | None, how: ReadAs) -> tuple[Array, Remark]:
    """Read an image as `decode` does; return also what was taken for granted."""
    if not source:
        return blank(size_hw or (1, 1), how.channels), Remark.NONE
    with memory_for(source):
        pixels, remark = decode_files([read_bytes(path) for path in source], boxes(source), size_hw, how)
        return spread(pixels, how.channels), remark


@contextmanager
def memory_for(source: Source) -> Iterator[None]:
    """Name the image that was decoded when memory ran out: raise TrainingError then."""
    try:
        yield
    except (MemoryError, cv2.error) as error:
        if not memory.is_out(error):
            raise
        found = f"memory ran out while it was decoded ({arrays.one_line(error)[:200]})"
        raise TrainingError(Problem(", ".join(source), found, remedy="free memory, or store it smaller")) from None


def as_source(source: Source | Path | str) -> Source:
    """Return an image's paths, also where it is one."""
    return source if isinstance(source, tuple) else (os.fspath(source),)


def blank(size_hw: tuple[int, int], channels: int = 3) -> Array:
    """Return the mid-gray that stands for an image which is not there."""
    return np.full((*size_hw, channels), 128, np.uint8)


def read_bytes(path: Path | str) -> bytes:
    """Return the content of a file, which may lie in an archive; raise ValueError with the reason where there is none.

    A path runs through an archive as through a folder. A row of a stack is what it would be as a file of its own.
    """
    path = parts.without_box(os.fspath(path))[0]
    if (row := parts.row_of(path)) is not None:
        return parts.read_row(*row)
    try:
        if (found := not_a_file(Path(path))) is not None:  # reading a named pipe waits for ever, a device never ends
            raise ValueError(found)
        size = os.path.getsize(path)
        bounds.check(size, size, "takes", "store it smaller")
        with open(path, "rb") as stream:
            content = stream.read()
    except NotADirectoryError as error:
        inside = archives.split(path)
        if inside is None:
            raise ValueError(f"cannot be read: {error.strerror}") from None
        content = archives.read(*inside)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if not content:
        raise ValueError("empty file (zero bytes)")
    return content


def boxes(source: Source) -> list[Box | None]:
    """Return the box that each path names; None: the whole picture."""
    return [layout.box_of(parts.without_box(path)[1]) for path in source]


def decode_files(
    contents: Sequence[bytes], boxes: Sequence[Box | None], size_hw: tuple[int, int] | None, how: ReadAs = USUAL
) -> tuple[Array, Remark]:
    """Decode the content of one file as `decode_file` does, or that of several as planes or as panels.

    P planes make P channels, each read as gray, or 3P of colour; two make three with their mean as the third,
    for networks made for RGB. Panels lie beside or below each other. An image of 8 bits beside one of 16 is
    stretched to 16.
    """
    if len(contents) == 1:
        return decode_file(contents[0], size_hw, how, boxes[0])
    count, channels = len(contents), how.channels
    if how.panels != "channels":
        return _panels(contents, boxes, size_hw, how)
    each = 3 if channels == 3 * count else 1
    if each == 1 and (count, channels) != (2, 3) and channels != count:
        remedy = f"set data.channels={count}, {3 * count} for colour, or data.panels to lay them side by side"
        raise ValueError(f"{count} files for {channels} channels; {remedy}")
    planes, remark = _alike(contents, boxes, [size_hw] * count, replace(how, channels=each))
    if len({plane.shape for plane in planes}) > 1:
        raise ValueError(f"planes of different sizes: {', '.join(f'{p.shape[0]}x{p.shape[1]}' for p in planes)}")
    return _fit(np.concatenate(planes, axis=2), channels), remark


def _panels(
    contents: Sequence[bytes], boxes: Sequence[Box | None], size_hw: tuple[int, int] | None, how: ReadAs
) -> tuple[Array, Remark]:
    """Decode each file at the size of its cell, or all at the first one's own size, and lay them out."""
    count = len(contents)
    own = [None] * count if size_hw is None else [cell[2:] for cell in layout.cells(count, how.panels, size_hw)]
    pictures, remark = _alike(contents, boxes, own, how)
    if size_hw is None:
        one_hw = pictures[0].shape[:2]
        pictures, size_hw = [resize(one, one_hw) for one in pictures], layout.around(count, how.panels, one_hw)
    return layout.together(pictures, how.panels, size_hw), remark


def _alike(
    contents: Sequence[bytes], boxes: Sequence[Box | None], sizes: Sequence[tuple[int, int] | None], how: ReadAs
) -> tuple[list[Array], Remark]:
    """Decode several files to HxWxC of one depth."""
    found = [decode_file(one, size, how, box) for one, size, box in zip(contents, sizes, boxes, strict=True)]
    images, remark = [spread(pixels, how.channels) for pixels, _ in found], Remark.NONE
    for _, more in found:
        remark |= more
    if len({image.dtype for image in images}) > 1:
        images = [image if image.dtype == np.uint16 else image.astype(np.uint16) * np.uint16(257) for image in images]
    return images, remark


def decode_file(
    content: bytes, size_hw: tuple[int, int] | None, how: ReadAs = USUAL, box: Box | None = None
) -> tuple[Array, Remark]:
    """Decode a file's content as `decode` does, but leave gray images as HxW."""
    needed_hw = size_hw  # below which a JPEG is not reduced
    if size_hw is not None and how.center is not None:
        needed_hw = (math.ceil(size_hw[0] / how.center), math.ceil(size_hw[1] / how.center))
    with pictures.quiet():
        if dicom.is_dicom(content):
            pixels, remark = dicom.read(content, how.window)
        elif content.startswith(arrays.MAGIC):
            values, remark = arrays.read(content, how.channels)
            pixels = arrays.to_depth(values, how.window)
        else:
            values, remark = pictures.read(content, needed_hw if box is None else None, how.channels, how.truncated)
            pixels = arrays.to_depth(values, how.window)
    pixels = _fit(pixels, how.channels)
    if how.center is not None:
        pixels = layout.center(pixels, how.center)
    if box is not None:
        pixels, clipped = layout.box(pixels, box, how.margin)
        remark |= Remark.CLIPPED if clipped else Remark.NONE
    return pixels if size_hw is None else resize(pixels, size_hw), remark


def resize(image: Array, size_hw: tuple[int, int]) -> Array:
    """Resize HxW or HxWxC to exactly `size_hw` without keeping the aspect.

    A side that shrinks is averaged over areas (no aliasing), one that grows is interpolated bicubically;
    OpenCV's INTER_AREA alone would turn linear as soon as one side grows.
    """
    height, width = image.shape[:2]
    if image.ndim == 3 and image.shape[2] > PLANES:
        parts = [resize(image[..., at : at + PLANES], size_hw) for at in range(0, image.shape[2], PLANES)]
        return np.concatenate(parts, axis=2)
    if image.ndim == 3 and image.shape[2] == 1:  # OpenCV drops an axis of one
        return resize(image[..., 0], size_hw)[..., None]
    small = (min(height, size_hw[0]), min(width, size_hw[1]))
    if small != (height, width):
        image = cv2.resize(image, small[::-1], interpolation=cv2.INTER_AREA)
    if small != tuple(size_hw):
        image = cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
        if image.dtype == np.float32:
            image = image.clip(0, 1)  # the integer types saturate by themselves
    return image


def spread(image: Array, channels: int = 3) -> Array:
    """Return HxWxC, writable and in one piece of memory; gray HxW is repeated."""
    if image.ndim == 3:
        return np.require(image, requirements=["C", "W"])
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if channels == 3 else np.repeat(image[..., None], channels, axis=2)


def stored_bytes(contents: Sequence[bytes], how: ReadAs = USUAL) -> int:
    """Return the bytes per pixel that an image will take decoded, from its header: 1, 2, 3 or 6 for RGB and gray.

    An unreadable one counts as 8-bit colour: the decoder says later what is wrong with it.
    """
    if contents[0].startswith(arrays.MAGIC) or dicom.is_dicom(contents[0]):
        deep, gray = True, False
    else:
        deep, gray = pictures.depth(contents[0])
    return (1 + deep) * (1 if gray and len(contents) == 1 and how.channels == 3 else how.channels)


def _fit(pixels: Array, channels: int) -> Array:
    """Return HxW where it is gray and one or three channels are wanted, else HxWxC.

    Raises ValueError where the channels are others.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    found = pixels.shape[2] if pixels.ndim == 3 else 1
    if found == channels or (found, channels) == (1, 3):
        return pixels
    if (found, channels) == (3, 1):
        return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    if (found, channels) == (2, 3):
        return np.dstack([pixels, np.rint(pixels.mean(axis=2)).astype(pixels.dtype)])
    raise ValueError(f"{found} channel{'s' * (found > 1)}, expected {channels}; set data.channels to what all have")

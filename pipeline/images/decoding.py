"""Decode images: one contract for training and prediction.

The result has the channels that are asked for, upright (EXIF orientation 1-8 applied), the first frame of an
animation, at the source's depth (uint8 or uint16). With three channels transparency is dropped, the stored
colours are kept, gray is repeated; one channel is gray; other numbers take what the file or files hold: RGBA,
the samples or pages of a TIFF, an array's planes, a file per plane. Pillow reads most pictures; OpenCV reads
16-bit colour, which Pillow cuts to 8 bits. A damaged or truncated file is refused, never padded.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.competition.image_paths import Source
from pipeline.files import archives
from pipeline.images import arrays, dicom, pictures
from pipeline.images.arrays import Window
from pipeline.methods.arrays import Array

DECODE_VERSION = 1  # raised when the same file would give other pixels; part of a cache's name
PLANES = 3  # that are resized and warped at once: OpenCV refuses five, and rounds two and four otherwise than RGB


def decode(
    source: Source | Path | str, size_hw: tuple[int, int] | None, channels: int = 3, window: Window | None = None
) -> Array:
    """Read an image as HxWxC uint8 or uint16, resized to exactly `size_hw`; None keeps its own size.

    A source without a path is mid-gray. Floats become uint16 by `window`, the values that are black and white.
    Raises ValueError with the reason where a file is missing, empty, truncated, no image or of other channels.
    """
    paths = as_source(source)
    if not paths:
        return blank(size_hw or (1, 1), channels)
    return spread(decode_planes([read_bytes(path) for path in paths], size_hw, channels, window), channels)


def as_source(source: Source | Path | str) -> Source:
    """Return an image's paths, also where it is one."""
    return source if isinstance(source, tuple) else (os.fspath(source),)


def blank(size_hw: tuple[int, int], channels: int = 3) -> Array:
    """Return the mid-gray that stands for an image which is not there."""
    return np.full((*size_hw, channels), 128, np.uint8)


def read_bytes(path: Path | str) -> bytes:
    """Return the content of a file, which may lie in an archive; raise ValueError with the reason where there is none.

    A path runs through an archive as through a folder.
    """
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except NotADirectoryError as error:
        inside = archives.split(os.fspath(path))
        if inside is None:
            raise ValueError(f"cannot be read: {error.strerror}") from None
        content = archives.read(*inside)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if not content:
        raise ValueError("empty file (zero bytes)")
    return content


def decode_planes(
    contents: Sequence[bytes], size_hw: tuple[int, int] | None, channels: int = 3, window: Window | None = None
) -> Array:
    """Decode the content of one file as `decode_bytes` does, or that of several as planes side by side.

    P files make P channels, each read as gray, or 3P of colour; two make three with their mean as the third,
    for networks made for RGB. An image of 8 bits beside one of 16 is stretched to 16.
    """
    if len(contents) == 1:
        return decode_bytes(contents[0], size_hw, channels, window)
    each = 3 if channels == 3 * len(contents) else 1
    if each == 1 and (len(contents), channels) != (2, 3) and channels != len(contents):
        count = len(contents)
        raise ValueError(f"{count} files for {channels} channels; set data.channels={count}, or {3 * count} for colour")
    planes = [spread(decode_bytes(content, size_hw, each, window), each) for content in contents]
    if len({plane.shape for plane in planes}) > 1:
        raise ValueError(f"planes of different sizes: {', '.join(f'{p.shape[0]}x{p.shape[1]}' for p in planes)}")
    if len({plane.dtype for plane in planes}) > 1:
        planes = [plane if plane.dtype == np.uint16 else plane.astype(np.uint16) * np.uint16(257) for plane in planes]
    return _fit(np.concatenate(planes, axis=2), channels)


def decode_bytes(
    content: bytes, size_hw: tuple[int, int] | None, channels: int = 3, window: Window | None = None
) -> Array:
    """Decode a file's content as `decode` does, but leave gray images as HxW."""
    with pictures.quiet():
        if dicom.is_dicom(content):
            pixels = dicom.read(content, window)
        elif content.startswith(arrays.MAGIC):
            pixels = arrays.to_depth(arrays.read(content, channels), window)
        else:
            pixels = arrays.to_depth(pictures.read(content, size_hw, channels), window)
    pixels = _fit(pixels, channels)
    return pixels if size_hw is None else resize(pixels, size_hw)


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


def stored_bytes(contents: Sequence[bytes], channels: int = 3) -> int:
    """Return the bytes per pixel that an image will take decoded, from its header: 1, 2, 3 or 6 for RGB and gray.

    An unreadable one counts as 8-bit colour: the decoder says later what is wrong with it.
    """
    if contents[0].startswith(arrays.MAGIC) or dicom.is_dicom(contents[0]):
        deep, gray = True, False
    else:
        deep, gray = pictures.depth(contents[0])
    return (1 + deep) * (1 if gray and len(contents) == 1 and channels == 3 else channels)


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

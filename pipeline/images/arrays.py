"""Read images that are arrays of numbers (npy, npz), and bring any numbers to 8 or 16 bits."""

from __future__ import annotations

import io
import threading
from typing import Any

import numpy as np

from pipeline.files import bounds
from pipeline.files.parts import DAMAGED, check_npz
from pipeline.images.remarks import Remark
from pipeline.methods.arrays import Array

Window = tuple[float, float]  # the values that are black and white

MAGIC = (b"\x93NUMPY", b"PK\x03\x04")  # npy; npz is a zip file
_one_at_a_time = threading.Lock()  # numpy parses headers by ast, whose depth count threads share up to Python 3.11
MOST = 16  # channels; a longer side is height or width


def read(content: bytes, channels: int) -> tuple[Array, Remark]:
    """Return the array of an npy file, or the first of an npz file, as HxW or HxWxC, and what a reader must know.

    An array of three axes is HxWxC or CxHxW: the one that has `channels`, else the one that has few. Raises
    ValueError where it is damaged or no image.
    """
    remark = Remark.NONE
    try:
        with _one_at_a_time:
            found: Any = np.load(io.BytesIO(content), allow_pickle=False)
            if not isinstance(found, np.ndarray):
                check_npz(found, found.files[0])
            values: Array = found if isinstance(found, np.ndarray) else found[found.files[0]]
        if not isinstance(found, np.ndarray) and len(found.files) > 1:
            remark = Remark.FIRST_FRAME
    except bounds.TooLarge:
        raise
    except IndexError:
        raise ValueError("damaged or truncated: an npz file without an array") from None
    except MemoryError as error:
        raise ValueError(f"an array that does not fit into memory: {one_line(error)}") from None
    except (OSError, ValueError, *DAMAGED) as error:
        if "pickle" in str(error):
            raise ValueError("an array of Python objects, which is not read; store plain numbers") from None
        raise damaged(error) from None
    return _channels_last(values, channels), remark


def damaged(error: Exception) -> ValueError:
    """Return the refusal of a file that a library could not read."""
    return ValueError(f"damaged or truncated: {one_line(error)}")


def one_line(error: Exception) -> str:
    """Return an error's text on one line, its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def _channels_last(values: Array, channels: int) -> Array:
    """Return HxW or HxWxC."""
    shape = values.shape
    while values.ndim > 3 and values.shape[0] == 1:
        values = values[0]
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise ValueError(f"an array of shape {shape}, expected HxW, HxWxC or CxHxW")
    if values.ndim == 2:
        return values
    first, last = values.shape[0], values.shape[2]
    if last != channels and (first == channels or last > MOST):
        values, last = values.transpose(1, 2, 0), first
    if last > MOST:
        raise ValueError(f"an array of shape {shape}, expected at most {MOST} channels first or last")
    return values[..., 0] if last == 1 else values


def to_depth(values: Array, window: Window | None) -> Array:
    """Return numbers as uint8 or uint16; what is deeper than 8 bits is stretched over 16 where a window is given.

    Floats and signed or wide integers need a window: their own range would differ from image to image. Raises
    ValueError with the window that would fit.
    """
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint8 or (values.dtype == np.uint16 and window is None):
        return values
    if values.dtype.kind not in "iuf":
        raise ValueError(f"pixels of type {values.dtype}, expected numbers")
    if not np.isfinite(values).all():
        raise ValueError("pixels that are NaN or infinite, expected numbers; replace them in the files")
    if window is None:
        low, high = float(values.min()), float(values.max())
        kind = f"{values.dtype.itemsize * 8}-bit {'float' if values.dtype.kind == 'f' else 'integer'} pixels"
        raise ValueError(
            f"{kind} from {low:g} to {high:g}, expected 8 or 16 bits or a data.window: the values that are black "
            f"and white in all images, here data.window=[{low:g}, {high:g}]"
        )
    low, high = window
    return sixteen_bits((values.astype(np.float64) - low) / (high - low))


def sixteen_bits(share: Array) -> Array:
    """Return numbers between 0 and 1 as uint16; those outside are clipped."""
    levels: Array = np.rint(share.clip(0, 1) * 65535).astype(np.uint16)
    return levels

"""Read DICOM files as a viewer shows them; needs pydicom, the extra `dicom`."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from pipeline.files import bounds
from pipeline.images.arrays import Window, one_line, sixteen_bits
from pipeline.images.remarks import Remark
from pipeline.methods.arrays import Array


def is_dicom(content: bytes) -> bool:
    """Tell whether a file's content is DICOM, by the mark behind its preamble."""
    return content[128:132] == b"DICM"


def read(content: bytes, window: Window | None) -> tuple[Array, Remark]:
    """Return the first frame, HxW uint8 or uint16 (more than 8 bits stored), HxWx3 in colour; and if there are more.

    Gray values are rescaled (to Hounsfield units in CT), then cut at `window`, else at the file's first VOI
    window or by its VOI table, else at the image's own extremes; MONOCHROME1 is inverted. Rules: DICOM PS3.3
    C.11.1, C.11.2. Raises ValueError where pydicom is absent, or cannot decode the file.
    """
    try:
        import pydicom
        from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
        from pydicom.pixels.utils import pixel_array
    except ImportError:
        raise ValueError("a DICOM file, which pydicom reads; install it with: pip install 'foldline[dicom]'") from None
    try:
        file = pydicom.dcmread(io.BytesIO(content))
        samples = int(file.SamplesPerPixel) * -(-int(file.BitsAllocated) // 8)
        size, packed = int(file.Rows) * int(file.Columns) * samples, len(content)
        bounds.check(size, packed, f"a picture of {file.Columns}×{file.Rows} pixels, which takes", "store it smaller")
        pixels: Array = pixel_array(file, index=0)
        kind = str(file.PhotometricInterpretation)
        remark = Remark.FIRST_FRAME if int(file.get("NumberOfFrames") or 1) > 1 else Remark.NONE
        if kind == "PALETTE COLOR":
            return _eight_bits(apply_color_lut(pixels, file)), remark
        if pixels.ndim == 3:
            return _eight_bits(pixels), remark
        share = _share(file, np.asarray(apply_modality_lut(pixels, file)), window)
    except (bounds.TooLarge, MemoryError):
        raise
    except Exception as error:  # pydicom, its decoders and missing elements fail in many ways
        reason = one_line(error)
        need = "missing" in reason and "dependencies" in reason
        hint = "; install its decoders with: pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg" if need else ""
        raise ValueError(f"a DICOM file that cannot be decoded: {reason}{hint}") from None
    if kind == "MONOCHROME1":
        share = 1 - share
    return sixteen_bits(share) if file.BitsStored > 8 else np.rint(share * 255).astype(np.uint8), remark


def _share(file: Any, values: Array, window: Window | None) -> Array:
    """Return gray values between 0, black, and 1, white."""
    if window is not None:
        return _between(values, *window)
    if table := file.get("VOILUTSequence"):
        from pydicom.pixels.processing import apply_voi_lut

        shown: Array = np.asarray(apply_voi_lut(values, file), np.float64)
        whole: float = 2.0 ** int(table[0].LUTDescriptor[2]) - 1
        return shown / whole
    if file.get("WindowWidth") is None or file.get("WindowCenter") is None:
        return _between(values, float(values.min()), float(values.max()))
    center, width = _first(file.WindowCenter), _first(file.WindowWidth)
    function = str(file.get("VOILUTFunction") or "LINEAR")
    if function == "SIGMOID":
        curve: Array = 1 / (1 + np.exp(-4 * (values - center) / width))
        return curve
    if function == "LINEAR":
        center, width = center - 0.5, max(width - 1, 1e-6)
    return _between(values, center - width / 2, center + width / 2)


def _between(values: Array, low: float, high: float) -> Array:
    share: Array = (values.astype(np.float64) - low) / ((high - low) or 1.0)
    return share.clip(0, 1)


def _first(value: Any) -> float:
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)


def _eight_bits(pixels: Array) -> Array:
    """Return colours as they are in 8 bits; tables of 16 bits lose the lower half."""
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)

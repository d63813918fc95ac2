"""Read TIFF files of more channels than Pillow knows; needs tifffile, the extra `tiff`."""

from __future__ import annotations

import io

import numpy as np

from pipeline.files import bounds
from pipeline.images.arrays import damaged, one_line
from pipeline.methods.arrays import Array

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the latter two: BigTIFF


def read(content: bytes) -> Array:
    """Return HxW or HxWxC: the samples of a page, planar or not, or its pages where it has several of one size.

    Raises ValueError where tifffile is absent, or the file is truncated or damaged: tifffile itself would fill
    what is missing with zeros.
    """
    try:
        import tifffile
    except ImportError:
        raise ValueError(
            "a TIFF file of a layout that only tifffile reads; install it with: pip install 'foldline[tiff]'"
        ) from None
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            for page in file.pages:
                ends = (at + size for at, size in zip(page.dataoffsets, page.databytecounts, strict=True))
                if max(ends, default=0) > len(content):
                    raise ValueError("its last strip lies behind the end of the file")
            series = file.series[0]
            height, width = (series.shape[series.axes.index(axis)] for axis in "YX")
            bounds.check(
                series.nbytes, len(content), f"a TIFF of {width:,}×{height:,} pixels, which takes", "store it smaller"
            )
            values, axes = np.asarray(series.asarray()), str(series.axes)
    except (bounds.TooLarge, MemoryError):
        raise
    except Exception as error:  # a hundred kinds of damage, and compressions that need imagecodecs
        if "imagecodecs" in str(error):
            remedy = "install it with: pip install imagecodecs"
            raise ValueError(f"a compressed TIFF file: {one_line(error)}; {remedy}") from None
        raise damaged(error) from None
    places = [axes.index(axis) for axis in "YX"]
    others = [number for number in range(values.ndim) if number not in places]
    values = values.transpose([*places, *others]).reshape(*(values.shape[place] for place in places), -1)
    return values[..., 0] if values.shape[2] == 1 else values

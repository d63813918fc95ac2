"""Say how files become pixels, beside their size: channels, window, the part that is kept, how panels are laid out."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config.sections.data import Data
from pipeline.images.arrays import Window


@dataclass(frozen=True)
class ReadAs:
    """Hold what decoding depends on beside a file's content; training and prediction take it from one config."""

    channels: int = 3
    window: Window | None = None  # the values that are black and white
    truncated: bool = False  # a file that ends too early is read as far as it goes
    center: float | None = None  # the share of height and width that is kept around the centre
    margin: float = 0.0  # added on each side of a row's box, as a share of its width and height
    panels: str = "channels"  # how several files make one image

    @classmethod
    def of(cls, data: Data) -> ReadAs:
        """Return what a config asks for."""
        crop = data.crop
        return cls(
            data.in_chans,
            data.window,
            data.truncated == "decode",
            None if crop is None else crop.center,
            0.0 if crop is None else crop.margin,
            data.panels,
        )

    @property
    def name(self) -> str:
        """Name what is not the usual, in which caches and digests differ; those of old do not name what came later.

        A file that is truncated is told apart by its remark, a box by the hash of the content.
        """
        parts = [
            f"c{self.channels}" if self.channels != 3 else "",
            f"w{self.window[0]:g}_{self.window[1]:g}" if self.window else "",
            f"center{self.center:g}" if self.center is not None else "",
            f"margin{self.margin:g}" if self.margin else "",
            self.panels if self.panels != "channels" else "",
        ]
        return "-".join(filter(None, parts))


USUAL = ReadAs()

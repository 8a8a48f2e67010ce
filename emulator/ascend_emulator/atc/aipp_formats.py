"""The pixel formats of AIPP: how an image of each lies in memory.

Shapes: facts/pyacl.md §9.2 (`aclmdlGetInputDims` tells the image, `aclmdlGetInputDimsV2` the memory);
channels: facts/atc_om_soc.md §5.1 and CANN's AIPP documents, "configuration file template".
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """One format.

    Attributes:
        name: as `input_format` has it.
        channels: channels of the image.
        rows: rows in memory for each row of the image.
        depth: bytes in memory at each place of a row.
        even: axes of the image whose size must be even, "h" and "w".
        yuv: whether the channels are Y, U and V; R, G and B else.
    """

    name: str
    channels: int
    rows: Fraction
    depth: int
    even: str
    yuv: bool

    def memory_dims(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        """Shape in memory of an image of n, h, w and c; an open h or w stays open."""
        n, h, w, _ = dims
        return (n, h if h < 0 else int(h * self.rows), w, self.depth)


FORMATS = {
    entry.name: entry
    for entry in (
        PixelFormat("YUV420SP_U8", 3, Fraction(3, 2), 1, "hw", yuv=True),
        PixelFormat("XRGB8888_U8", 4, Fraction(1), 4, "", yuv=False),
        PixelFormat("RGB888_U8", 3, Fraction(1), 3, "", yuv=False),
        PixelFormat("YUV400_U8", 1, Fraction(1), 1, "", yuv=True),
        PixelFormat("ARGB8888_U8", 4, Fraction(1), 4, "", yuv=False),
        PixelFormat("YUYV_U8", 3, Fraction(1), 2, "w", yuv=True),
        PixelFormat("YUV422SP_U8", 3, Fraction(2), 1, "w", yuv=True),
        PixelFormat("AYUV444_U8", 4, Fraction(1), 4, "", yuv=True),
    )
}
"""The formats of eight bits; raw and deeper ones are not emulated."""

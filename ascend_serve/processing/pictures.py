"""From the bytes of a picture to 8-bit pixels: JPEG and PNG, by Pillow.

What is taken, and what becomes of it:

| the file | here |
| --- | --- |
| RGB, grey, palette, 1 bit | as Pillow's `convert` does it, which is what torchvision's loader does |
| transparency | dropped: the colours below it are used (as that loader does) |
| CMYK and YCCK | converted to RGB, without colour profiles |
| 16 bits a channel | the nearest of 256 levels; Pillow itself would clip grey at 255 |
| EXIF orientation | turned upright unless the processor is told not to |
| JPEG with several pictures (MPO) | the first, which phones mean |
| animated PNG | refused (400) |
| more pixels than the bound | refused (413) before they are decompressed |
| truncated or broken | refused (400): nothing is guessed |
| another format | refused (415) |

Rests on Pillow's documentation of concepts (modes), `Image.open` and `ImageOps.exif_transpose`. Decoding and resizing
release the GIL.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from ascend_serve.errors import MalformedRequest, RequestTooLarge, UnsupportedMedia
from ascend_serve.processing.geometry import Geometry

FORMATS = ("JPEG", "PNG")
FILTERS = {name.lower(): Image.Resampling[name] for name in ("NEAREST", "BILINEAR", "BICUBIC", "LANCZOS")}
"""Pillow's filters; all but `nearest` look at every source pixel below a new one (antialiasing)."""

_BEGINNINGS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation."""

_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    IndexError,
    TypeError,
    KeyError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""What Pillow's readers raise on bytes that are not what they should be."""

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def read_pixels(
    body: bytes, geometry: Geometry, *, grey: bool, resample: str, upright: bool, max_pixels: int
) -> Pixels:
    """Decode a picture, resize and crop it.

    Args:
        body: the whole file.
        geometry: sizes.
        grey: one channel of luminance (ITU-R 601) instead of three.
        resample: a key of `FILTERS`.
        upright: heed the EXIF orientation.
        max_pixels: bound on height times width of the file's picture.

    Returns:
        uint8 `[height, width, 3]` (red, green, blue), or `[height, width]` when grey.

    Raises:
        UnsupportedMedia: neither JPEG nor PNG.
        MalformedRequest: truncated or broken, or an animation.
        RequestTooLarge: more pixels than the bound, as sent or, when it is very thin, once resized.
    """
    kind = _kind(body)
    picture = _opened(body, kind, "L" if grey else "RGB", upright, max_pixels)
    height, width = geometry.resized(picture.height, picture.width)
    if height * width > max_pixels:
        raise RequestTooLarge(
            f"the {kind} is {picture.width} x {picture.height}, which the resize would make {width} x {height}: at "
            f"most {max_pixels} pixels are taken"
        )
    if (width, height) != picture.size:
        picture = picture.resize((width, height), FILTERS[resample])
    left, top, right, bottom = geometry.box(height, width)
    return np.asarray(picture, dtype=np.uint8)[top:bottom, left:right]


def _kind(body: bytes) -> str:
    """The format by the first bytes: what a client says of it is often nothing or wrong."""
    for beginning, kind in _BEGINNINGS.items():
        if body.startswith(beginning):
            return kind
    if not body:
        raise MalformedRequest(
            "the body is empty: send the bytes of a JPEG or PNG, as `curl -T picture.png` does"
        )
    raise UnsupportedMedia(
        f"the body begins with {body[:8]!r}, which is neither JPEG nor PNG: no other format is taken"
    )


def _opened(body: bytes, kind: str, mode: str, upright: bool, max_pixels: int) -> Image.Image:
    """The decoded picture, in that mode and turned upright if asked for."""
    try:
        picture = Image.open(BytesIO(body), formats=FORMATS)
        _check_size(picture, max_pixels)
        _check_frames(picture)
        picture.load()
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1) if upright else 1
    except UnidentifiedImageError as error:
        raise MalformedRequest(
            f"the {kind} cannot be read: it ends before its first row, or its head is broken"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RequestTooLarge(
            f"the {kind} has more pixels than the {max_pixels} that are taken: {error}"
        ) from error
    except _BROKEN as error:
        raise MalformedRequest(f"the {kind} cannot be read: {error}") from error
    converted = _in_mode(picture, mode)
    return converted.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else converted


def _check_size(picture: Image.Image, max_pixels: int) -> None:
    if picture.width * picture.height > max_pixels:
        raise RequestTooLarge(
            f"the picture is {picture.width} x {picture.height}; at most {max_pixels} pixels are taken"
        )


def _check_frames(picture: Image.Image) -> None:
    if picture.format == "PNG" and getattr(picture, "is_animated", False):
        raise MalformedRequest("the PNG is an animation: send one picture")


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode.startswith("I"):
        levels = np.asarray(picture).astype(np.uint32)
        return Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8)).convert(mode)
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")  # straight to RGB Pillow would guess, and warn that it does
    return picture.convert(mode)

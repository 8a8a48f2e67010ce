"""What static AIPP does to images, in numpy: for comparing a compiled model with its source.

The order is the card's: channels are swapped, images cut, colours converted, pixels normalised, borders put around
(facts: ATC §5.1). What the vendor leaves open is taken as the plainest: a chroma value holds for all pixels that it
covers, a converted colour is rounded down and kept within 0 to 255, and a normalised pixel is rounded to a half once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ascend_serve.spec.aipp import Aipp, Layout

Images = NDArray[np.uint8]
_ONE = 256
"""What stands for 1 in a conversion's matrix."""


def reference(
    section: Aipp,
    images: Images,
    shape: tuple[int, int, int, int],
    dtype: np.dtype[Any] | type = np.float32,
    layout: Layout = "NCHW",
) -> NDArray[Any]:
    """What the network gets from the images that a client sends.

    Args:
        section: of static mode, fitting the network (`aipp.misfits`).
        images: uint8, of `aipp.source_shape`.
        shape: of the network's input, without open dims.
        dtype: of the network's input: a float, or uint8, for which nothing is normalised.
        layout: how the dims of `shape` are meant.

    Returns:
        An array of that shape and dtype; floats hold values that are halves.
    """
    channels, height, width = shape[1:] if layout == "NCHW" else (shape[3], shape[1], shape[2])
    planes = _swapped(section, _planes(section, images))
    if section.crop:
        top, left = section.load_start_pos_h, section.load_start_pos_w
        tall, wide = section.crop_size_h or height, section.crop_size_w or width
        planes = planes[:, :, top : top + tall, left : left + wide]
    if section.converts:
        planes = _converted(section, planes[:, :3])
    planes = planes[:, :channels]
    normalised = planes if np.dtype(dtype) == np.uint8 else _normalised(section, planes)
    border = (
        (0, 0),
        (0, 0),
        (section.top_padding_size, section.bottom_padding_size),
        (section.left_padding_size, section.right_padding_size),
    )
    padded = np.pad(normalised, border, constant_values=np.float16(section.padding_value).astype(dtype))
    made = padded if layout == "NCHW" else padded.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(made.astype(dtype))


def _planes(section: Aipp, images: Images) -> Images:
    """The images as n, channel, height, width, with a value of each channel for each pixel."""
    if section.input_format != "YUV420SP_U8":
        planes: Images = images.transpose(0, 3, 1, 2)
        return planes
    rows = images[..., 0]
    height = rows.shape[1] * 2 // 3
    luma, by_turns = rows[:, :height], rows[:, height:]
    chroma = [by_turns[:, :, place::2].repeat(2, axis=1).repeat(2, axis=2) for place in range(2)]
    return np.stack([luma, *chroma], axis=1)


def _swapped(section: Aipp, planes: Images) -> Images:
    order = list(range(planes.shape[1]))
    if section.ax_swap_switch and len(order) == 4:
        order = [1, 2, 3, 0]
    if section.rbuv_swap_switch and len(order) > 1:
        one, other = (1, 2) if section.pixels.yuv else (0, 2)
        order[one], order[other] = order[other], order[one]
    swapped: Images = planes[:, order]
    return swapped


def _converted(section: Aipp, planes: Images) -> Images:
    colours, yuv = section.conversion, section.pixels.yuv
    values = planes.astype(np.int64)
    if yuv:
        values = values - np.array(colours.input_bias).reshape(3, 1, 1)
    # Floor division is the vendor's `>> 8`, which shifts down for numbers below zero too.
    values = np.einsum("oc,nchw->nohw", np.array(colours.matrix), values) // _ONE
    if not yuv:
        values = values + np.array(colours.output_bias).reshape(3, 1, 1)
    converted: Images = values.clip(0, 255).astype(np.uint8)
    return converted


def _normalised(section: Aipp, planes: Images) -> NDArray[np.float16]:
    channels = planes.shape[1]
    given = section.normalization
    mean, least, factor = (
        np.array([*values, *[rest] * channels][:channels], kind).astype(np.float32).reshape(channels, 1, 1)
        for values, rest, kind in zip(given, (0, 0, 1), (np.float32, np.float16, np.float16), strict=True)
    )
    # What no half can hold becomes infinite, as in any network of halves.
    with np.errstate(over="ignore"):
        return ((planes - mean - least) * factor).astype(np.float16)

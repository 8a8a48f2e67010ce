"""Image preprocessing (facts/pyacl.md §14.6)."""

from __future__ import annotations

from typing import Any

from ascend_emulator.client import handles
from ascend_emulator.client.calling import function, ret, value_ret, zero
from ascend_emulator.client.models import aipp
from ascend_emulator.client.models.aipp import IMAGE, MATRIX, SWITCH, AippSettings

__all__ = [
    "create_aipp",
    "destroy_aipp",
    "get_aipp_data_size",
    "get_aipp_type",
    "get_first_aipp_info",
    "set_aipp_ax_swap_switch",
    "set_aipp_by_input_index",
    "set_aipp_crop_params",
    "set_aipp_csc_params",
    "set_aipp_dtc_pixel_mean",
    "set_aipp_dtc_pixel_min",
    "set_aipp_input_format",
    "set_aipp_padding_params",
    "set_aipp_pixel_var_reci",
    "set_aipp_rbuv_swap_switch",
    "set_aipp_scf_params",
    "set_aipp_src_image_size",
    "set_input_aipp",
]

_START = (0, 4095)
_SCALED = (16, 4096)
_SCALED_WIDTH = (16, 1920)
_PADDING = (0, 32)
_MEAN = (0, 255)
_LEAST = (0.0, 255.0)
_RECIPROCAL = (-65504.0, 65504.0)


@function("k", zero)
def create_aipp(batch: int) -> int:
    """Settings for a batch of images; their handle alone, 0 for an empty batch."""
    return aipp.create(batch)


@function("k", ret)
def destroy_aipp(handle: int) -> int:
    """End settings."""
    handles.remove(handle, AippSettings)
    return 0


@function("k", value_ret)
def get_aipp_data_size(batch: int) -> tuple[int, int]:
    """`(bytes, ret)` of the input that takes settings of a batch."""
    return aipp.data_bytes(batch), 0


@function("kI", ret)
def set_aipp_input_format(handle: int, layout: int) -> int:
    """Set the pixel format."""
    aipp.set_input_format(handle, layout)
    return 0


@function("kbhhhhhhhhhBBBBBB", ret)
def set_aipp_csc_params(handle: int, switch: int, *values: int) -> int:
    """Set the colour conversion: a matrix of nine, three output and three input biases."""
    limits = [SWITCH, *[MATRIX] * 9]
    aipp.set_values(handle, "csc", (switch, *values), limits, switched=True)
    return 0


@function("kb", ret)
def set_aipp_rbuv_swap_switch(handle: int, switch: int) -> int:
    """Swap red and blue, or U and V."""
    aipp.set_values(handle, "rbuv_swap", (switch,), [SWITCH])
    return 0


@function("kb", ret)
def set_aipp_ax_swap_switch(handle: int, switch: int) -> int:
    """Move the fourth channel to the front."""
    aipp.set_values(handle, "ax_swap", (switch,), [SWITCH])
    return 0


@function("kii", ret)
def set_aipp_src_image_size(handle: int, width: int, height: int) -> int:
    """Set the images' size."""
    aipp.set_values(handle, "src_image_size", (width, height), [(IMAGE[0] + 1, IMAGE[1]), IMAGE])
    return 0


@function("kbiiiik", ret)
def set_aipp_scf_params(
    handle: int, switch: int, from_width: int, from_height: int, width: int, height: int, image: int
) -> int:
    """Set an image's scaling."""
    values = (switch, from_width, from_height, width, height)
    limits = [SWITCH, _SCALED, _SCALED, _SCALED_WIDTH, _SCALED]
    aipp.set_values(handle, "scf", values, limits, image=image, switched=True)
    return 0


@function("kbiiiik", ret)
def set_aipp_crop_params(
    handle: int, switch: int, left: int, top: int, width: int, height: int, image: int
) -> int:
    """Set what is cut out of an image."""
    values = (switch, left, top, width, height)
    limits = [SWITCH, _START, _START, IMAGE, IMAGE]
    aipp.set_values(handle, "crop", values, limits, image=image, switched=True)
    return 0


@function("kbiiiik", ret)
def set_aipp_padding_params(
    handle: int, switch: int, top: int, bottom: int, left: int, right: int, image: int
) -> int:
    """Set an image's padding."""
    values = (switch, top, bottom, left, right)
    aipp.set_values(handle, "padding", values, [SWITCH, *[_PADDING] * 4], image=image, switched=True)
    return 0


@function("khhhhk", ret)
def set_aipp_dtc_pixel_mean(handle: int, first: int, second: int, third: int, fourth: int, image: int) -> int:
    """Set the channels' means of an image."""
    aipp.set_values(handle, "pixel_mean", (first, second, third, fourth), [_MEAN] * 4, image=image)
    return 0


@function("kffffk", ret)
def set_aipp_dtc_pixel_min(
    handle: int, first: float, second: float, third: float, fourth: float, image: int
) -> int:
    """Set the channels' minima of an image."""
    aipp.set_values(handle, "pixel_min", (first, second, third, fourth), [_LEAST] * 4, image=image)
    return 0


@function("kffffk", ret)
def set_aipp_pixel_var_reci(
    handle: int, first: float, second: float, third: float, fourth: float, image: int
) -> int:
    """Set the channels' reciprocals of the variance of an image."""
    aipp.set_values(handle, "var_reci", (first, second, third, fourth), [_RECIPROCAL] * 4, image=image)
    return 0


@function("Ikkk", ret)
def set_input_aipp(model_id: int, dataset: int, index: int, handle: int) -> int:
    """Give settings to the input that takes them; no model here has one."""
    aipp.give_to_input(model_id, dataset, index, handle)
    return 0


@function("Ikkk", ret)
def set_aipp_by_input_index(model_id: int, dataset: int, index: int, handle: int) -> int:
    """Give settings for an image's input; no model here takes them."""
    aipp.give_by_input(model_id, dataset, index, handle)
    return 0


@function("Ik", lambda code: (0, 0, code))
def get_aipp_type(model_id: int, index: int) -> tuple[int, int, int]:
    """`(type, input with the dynamic settings, ret)`: 0 none, 1 static."""
    return (*aipp.kind_of(model_id, index), 0)


@function("Ik", lambda code: (None, code))
def get_first_aipp_info(model_id: int, index: int) -> tuple[dict[str, Any], int]:
    """`(what was compiled into an input, ret)`."""
    return aipp.info_of(model_id, index), 0

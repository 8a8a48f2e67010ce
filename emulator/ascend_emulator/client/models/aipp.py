"""Image preprocessing: the settings of dynamic AIPP, and what was compiled in (facts/pyacl.md §14.6, §15.7).

Checks and ranges are those of GE: `api/acl/acl_model/model/acl_aipp_om2.cpp` and `acl_aipp.cpp`. Models here have
static AIPP at most, so no settings can be given to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from ascend_emulator.client import datasets, handles
from ascend_emulator.client.models import registry
from ascend_emulator.codes import FAILURE, GE_AIPP_NOT_EXIST, INVALID_PARAM, Failure

if TYPE_CHECKING:
    from ascend_emulator.om import OmFile, StaticAipp

NO_INDEX = 0xFFFFFFFF
"""In place of the input that holds dynamic settings: there is none."""

SWITCH = (0, 1)
MATRIX = (-32677, 32676)
IMAGE = (1, 4096)
_WITHOUT, _STATIC = 0, 1
_HEAD_BYTES, _BATCH_BYTES = 64, 96
"""`kAippDynamicPara` without its batch, and `kAippDynamicBatchPara` (GE: common/dynamic_aipp.h)."""

_MOST_BATCHES = 1 << 32
_HALF_BYTES = 2

_FORMATS = {
    "YUV420SP_U8": 1,
    "XRGB8888_U8": 2,
    "RGB888_U8": 3,
    "YUV400_U8": 4,
    "NC1HWC0DI_FP16": 5,
    "NC1HWC0DI_S8": 6,
    "ARGB8888_U8": 7,
    "YUYV_U8": 8,
    "YUV422SP_U8": 9,
    "AYUV444_U8": 10,
    "RAW10": 11,
    "RAW12": 12,
    "RAW16": 13,
    "RAW24": 14,
}

_TOLD = {
    "cscSwitch": "csc_switch",
    "matrixR0C0": "matrix_r0c0",
    "matrixR0C1": "matrix_r0c1",
    "matrixR1C0": "matrix_r1c0",
    "matrixR1C1": "matrix_r1c1",
    "matrixR1C2": "matrix_r1c2",
    "matrixR2C2": "matrix_r2c2",
    "outputBias0": "output_bias_0",
    "outputBias1": "output_bias_1",
    "outputBias2": "output_bias_2",
    "inputBias0": "input_bias_0",
    "inputBias1": "input_bias_1",
    "inputBias2": "input_bias_2",
    "rbuvSwapSwitch": "rbuv_swap_switch",
    "axSwapSwitch": "ax_swap_switch",
    "singleLineMode": "single_line_mode",
    "srcImageSizeW": "src_image_size_w",
    "srcImageSizeH": "src_image_size_h",
    "cropSwitch": "crop",
    "loadStartPosW": "load_start_pos_w",
    "loadStartPosH": "load_start_pos_h",
    "cropSizeW": "crop_size_w",
    "cropSizeH": "crop_size_h",
    "resizeSwitch": "resize",
    "resizeOutputW": "resize_output_w",
    "resizeOutputH": "resize_output_h",
    "paddingSwitch": "padding",
    "leftPaddingSize": "left_padding_size",
    "rightPaddingSize": "right_padding_size",
    "topPaddingSize": "top_padding_size",
    "bottomPaddingSize": "bottom_padding_size",
    **{f"meanChn{channel}": f"mean_chn_{channel}" for channel in range(4)},
}
"""Key of the dict that `get_first_aipp_info` gives -> field of the `aipp_op` block. The binding leaves three of the
nine matrix elements out."""

_TOLD_REAL = {
    **{f"minChn{channel}": f"min_chn_{channel}" for channel in range(4)},
    **{f"varReciChn{channel}": f"var_reci_chn_{channel}" for channel in range(4)},
}


class AippSettings:
    """What `create_aipp` makes: settings for a whole batch, and for each image of it.

    Attributes:
        batch: images in the batch.
        values: name -> values as they were set, for the whole batch.
        images: (name, image) -> values as they were set.
    """

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.values: dict[str, tuple[float, ...]] = {}
        self.images: dict[tuple[str, int], tuple[float, ...]] = {}

    def check_image(self, image: int) -> None:
        """Refuse an image that the batch has not.

        Raises:
            Failure: 100000.
        """
        if image >= self.batch:
            text = f"EH0001: batch_index {image} is greater than or equal to batch_number {self.batch}."
            raise Failure(INVALID_PARAM, text)


def create(batch: int) -> int:
    """A handle of new settings; 0 where the batch is empty or larger than any memory."""
    return handles.add(AippSettings(batch)) if 0 < batch < _MOST_BATCHES else 0


def data_bytes(batch: int) -> int:
    """Bytes of the input that dynamic settings of a batch take.

    Raises:
        Failure: 100000, an empty batch.
    """
    if not batch:
        raise Failure(INVALID_PARAM, "EH0001: the batch size is 0, it must be greater than 0.")
    return (_HEAD_BYTES + _BATCH_BYTES * batch) & 0xFFFFFFFF


def set_values(
    handle: int,
    name: str,
    values: Sequence[float],
    limits: Sequence[tuple[float, float]],
    *,
    image: int | None = None,
    switched: bool = False,
) -> None:
    """Set one group of settings.

    Args:
        handle: of the settings.
        name: of the group.
        values: in the order of the call.
        limits: least and largest of each value; what has no limits is left out at the end.
        image: the image it is for; None: the whole batch.
        switched: whether the first value is a switch; while it is 0 the others are not looked at.

    Raises:
        Failure: 100000, no settings, no such image, or a value outside its limits.
    """
    settings = handles.get(handle, AippSettings)
    if image is not None:
        settings.check_image(image)
    looked_at = limits[:1] if switched and not values[0] else limits
    for value, (lowest, highest) in zip(values, looked_at, strict=False):
        if not lowest <= value <= highest:
            raise Failure(
                INVALID_PARAM, f"EH0001: {name} {value} is invalid, it should be in [{lowest}, {highest}]."
            )
    kept = tuple(values[:1]) if switched and not values[0] else tuple(values)
    if image is None:
        settings.values[name] = kept
    else:
        settings.images[name, image] = kept


def set_input_format(handle: int, layout: int) -> None:
    """Set the pixel format.

    Raises:
        Failure: 100000, no settings, or no such format.
    """
    settings = handles.get(handle, AippSettings)
    if layout not in _FORMATS.values():
        raise Failure(INVALID_PARAM, f"EH0001: input format {layout} is invalid, it should be in [1, 14].")
    settings.values["input_format"] = (layout,)


def give_to_input(model_id: int, dataset: int, index: int, handle: int) -> None:
    """What giving settings to an input ends with, which no model here takes.

    Raises:
        Failure: 100000 (no dataset, no settings, no such input, or one that takes none), 145003 (model).
    """
    handles.get(dataset, datasets.Dataset)
    handles.get(handle, AippSettings)
    _input_of(model_id, index)
    raise Failure(INVALID_PARAM, f"EH0001: input {index} of model {model_id} takes no dynamic AIPP settings.")


def give_by_input(model_id: int, dataset: int, index: int, handle: int) -> None:
    """As `give_to_input`, naming the image's own input.

    Raises:
        Failure: 100000 (no dataset, no settings, no such buffer or input), 145003 (model), 500001 (the input has no
            dynamic AIPP).
    """
    handles.get(handle, AippSettings)
    if index >= len(handles.get(dataset, datasets.Dataset).buffers):
        raise Failure(INVALID_PARAM, f"EH0001: the dataset has no buffer {index}.")
    _input_of(model_id, index)
    raise Failure(FAILURE, f"EH0001: input {index} of model {model_id} has no dynamic AIPP.")


def kind_of(model_id: int, index: int) -> tuple[int, int]:
    """`aclmdlInputAippType` of an input, and the input with its dynamic settings, of which there is none.

    Raises:
        Failure: 145003 (model), 100000 (no such input).
    """
    om = _input_of(model_id, index)
    return (_WITHOUT if _static(om, index) is None else _STATIC), NO_INDEX


def info_of(model_id: int, index: int) -> dict[str, Any]:
    """What was compiled into an input, with the keys of the binding.

    Raises:
        Failure: 145003 (model), 100000 (no such input), 145015 (no AIPP).
    """
    om = _input_of(model_id, index)
    aipp = _static(om, index)
    if aipp is None:
        raise Failure(GE_AIPP_NOT_EXIST, f"E19999: input {index} of model {model_id} has no AIPP.")
    settings = dict(aipp.settings)
    told: dict[str, Any] = {key: int(settings.get(name, 0)) for key, name in _TOLD.items()}
    told |= {key: float(settings.get(name, 0.0)) for key, name in _TOLD_REAL.items()}
    info = om.inputs[index]
    sources = [row[index] for row in om.gear_input_dims] or [info.physical_dims]
    layout = settings.get("input_format", 0)
    return {
        **told,
        "inputFormat": _FORMATS.get(layout, 0) if isinstance(layout, str) else int(layout),
        "srcFormat": info.format,
        "srcDatatype": info.dtype,
        "srcDimNum": len(info.dims),
        "shapeCount": len(sources),
        "aippExtend": 0,
        "outDims": [
            {
                "srcDims": _dims_dict(info.name, source),
                "srcSize": prod(source),
                "aippOutdims": _dims_dict(info.name, info.dims),
                "aippOutSize": prod(info.dims) * _HALF_BYTES if min(info.dims, default=0) >= 0 else 0,
            }
            for source in sources
        ],
    }


def _dims_dict(name: str, dims: Sequence[int]) -> dict[str, Any]:
    return {"name": name, "dimCount": len(dims), "dims": list(dims)}


def _static(om: OmFile, index: int) -> StaticAipp | None:
    return next((aipp for aipp in om.aipps if aipp.input_index == index), None)


def _input_of(model_id: int, index: int) -> OmFile:
    om = registry.get(model_id).om
    if index >= len(om.inputs):
        raise Failure(INVALID_PARAM, f"EH0001: index {index} should be smaller than {len(om.inputs)}.")
    return om

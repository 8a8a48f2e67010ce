"""What may be padded: the declaration alone, and held against a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ascend_serve.errors import ConfigError
from ascend_serve.spec.buckets import Bucket
from ascend_serve.spec.closed import parse_closed
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.padding import PaddedAxis, PaddedLength, lengths_of, padded_axes
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

SPEC = ModelSpec(
    "m",
    (
        TensorSpec("ids", DataType.INT32, (-1, -1)),
        TensorSpec("bias", DataType.FP16, (-1, 2, -1)),
        TensorSpec("keep", DataType.BOOL, (-1, -1)),
    ),
    (TensorSpec("hidden", DataType.FP32, (-1, -1, 4)),),
    Gears((1, 4)),
    tuple(
        Bucket(Gears((1, 4)), {"ids": (n,), "bias": (2, n), "keep": (n,), "hidden": (n, 4)}) for n in (16, 64)
    ),
)


def test_axes_have_fillers_of_their_inputs_dtype() -> None:
    length = PaddedLength(
        inputs={"ids": 1, "bias": 2, "keep": 1},
        values={"ids": -100, "bias": float("-inf"), "keep": 1},
        outputs={"hidden": 1},
    )
    axes = padded_axes(SPEC, [length])
    assert axes == {
        ("input", "ids"): [PaddedAxis(0, 1, np.int32(-100))],
        ("input", "bias"): [PaddedAxis(0, 2, np.float16(-np.inf))],
        ("input", "keep"): [PaddedAxis(0, 1, np.bool_(True))],
        ("output", "hidden"): [PaddedAxis(0, 1, np.float32(0))],
    }
    assert [axis.value.dtype for (axis,) in axes.values()] == [np.int32, np.float16, np.bool_, np.float32]
    assert lengths_of(SPEC, length) == [16, 64]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"inputs": {"idz": 1}}, r"padded\[0\]: model 'm' has no input 'idz'; did you mean 'ids'"),
        ({"inputs": {"ids": 1}, "outputs": {"x": 1}}, "has no output 'x'"),
        ({"inputs": {"ids": 0}}, "axis 0 of input 'ids' is the batch; gears pad it"),
        ({"inputs": {"ids": 2}}, r"input 'ids' has shape \[-1, -1\], without an axis 2"),
        (
            {"inputs": {"ids": 1, "bias": 1}},
            r"in bucket 0 its axes are not of one length: 'ids' 16, 'bias' 2",
        ),
        ({"inputs": {"ids": 1}, "outputs": {"hidden": 2}}, "not of one length: 'ids' 16, 'hidden' 4"),
        ({"inputs": {"ids": 1}, "values": {"ids": 0.5}}, "the value 0.5 for input 'ids' does not fit int32"),
        ({"inputs": {"ids": 1}, "values": {"ids": 2.0**31}}, "does not fit int32"),
        ({"inputs": {"ids": 1}, "values": {"ids": float("inf")}}, "the value inf .* does not fit int32"),
        ({"inputs": {"bias": 2}, "values": {"bias": 1e5}}, "does not fit float16"),
        ({"inputs": {"keep": 1}, "values": {"keep": 2}}, "does not fit bool"),
    ],
)
def test_what_does_not_fit_the_model_is_named(told: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        padded_axes(SPEC, [PaddedLength(**told)])


def test_an_axis_is_padded_once() -> None:
    length = PaddedLength(inputs={"ids": 1})
    with pytest.raises(ConfigError, match=r"padded\[1\]: axis 1 of input 'ids' is padded twice"):
        padded_axes(SPEC, [length, length])


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"inputs": {}}, "inputs"),
        ({"inputs": {"ids": -1}}, "greater than or equal to 0"),
        ({"inputs": {"ids": True}}, "valid integer"),
        ({"inputs": {"ids": 1}, "values": {"idz": 1}}, "'idz' is none of its inputs; did you mean 'ids'"),
        ({"inputs": {"ids": 1}, "values": {"ids": float("nan")}}, "the value for 'ids' is no number"),
        ({"inputs": {"ids": 1}, "value": {}}, "unknown key 'value'; did you mean 'values'"),
    ],
)
def test_a_declaration_is_checked_by_itself(told: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_closed(PaddedLength, told, "padded")

"""What AIPP does to images: our numpy against a known colour, and against the network that the emulated atc makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]  # has no stubs
import pytest
from ascend_emulator.atc.aipp_config import load
from ascend_emulator.atc.aipp_network import check, insert
from ascend_emulator.atc.network import Input
from ascend_emulator.dtypes import BY_ONNX
from ascend_emulator.soc import find_soc
from hypothesis import given, settings
from hypothesis import strategies as st

from ascend_serve.spec.aipp import PIXELS, Aipp, misfits, render, source_shape
from ascend_serve.spec.aipp_colours import outputs_of
from ascend_serve.spec.aipp_reference import reference

pytestmark = pytest.mark.unit

Array = np.ndarray[Any, Any]
Shape = tuple[int, int, int, int]
KINDS = {
    "float32": onnx.TensorProto.FLOAT,
    "float16": onnx.TensorProto.FLOAT16,
    "uint8": onnx.TensorProto.UINT8,
}
STANDARDS = ("JPEG", "BT-601NARROW", "BT-601WIDE", "BT-709NARROW", "BT-709WIDE")


def by_the_card(folder: Path, section: Aipp, images: Array, shape: Shape, dtype: str) -> Array:
    """The images through the operators that the emulated atc puts in front of a network."""
    file = folder / "aipp.cfg"
    file.write_text(render([section], [section.input]))
    (block,) = load(str(file), 1, resolution_gears=False)
    entry = Input(section.input, BY_ONNX[KINDS[dtype]], shape)
    check(block, entry, shape, find_soc("Ascend310P3"))
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", [section.input], ["out"], name="id")],
        "net",
        [make(section.input, KINDS[dtype], shape)],
        [make("out", KINDS[dtype], None)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    insert(model, block, entry, 17)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {section.input: images})
    return np.asarray(found)


def pictures(shape: tuple[Any, ...], seed: int) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Aipp, Shape, str, int]:
    """A sound section, the shape of the network's input and its type, and a seed for images."""
    kind = draw(st.sampled_from(sorted(PIXELS)))
    pixels = PIXELS[kind]
    said: dict[str, Any] = {"input": "image", "input_format": kind}
    said |= {name: draw(st.booleans()) for name in ("rbuv_swap_switch", "ax_swap_switch")}
    colours = "" if kind == "YUV400_U8" else draw(st.sampled_from(["", "table", "default", "hand"]))
    if colours == "table":
        said["csc_to"] = draw(st.sampled_from(outputs_of(pixels.yuv)))
        said["csc_standard"] = draw(st.sampled_from(STANDARDS))
    elif colours:
        said["csc_switch"] = True
    if colours == "hand":
        row = st.lists(st.integers(-32677, 32676) | st.integers(-300, 300), min_size=3, max_size=3)
        said["matrix"] = draw(st.lists(row, min_size=3, max_size=3))
        bias = "input_bias" if pixels.yuv else "output_bias"
        said[bias] = draw(st.lists(st.integers(0, 255), min_size=3, max_size=3))
    channels = draw(st.integers(1, 3 if colours else pixels.channels))
    side = st.integers(1, 4).map(lambda half: 2 * half)
    height, width = draw(side), draw(side)
    if draw(st.booleans()):
        said |= {"src_image_size_h": height, "src_image_size_w": width}
        if draw(st.booleans()):
            top, left = 2 * draw(st.integers(0, height // 2 - 1)), 2 * draw(st.integers(0, width // 2 - 1))
            height, width = draw(st.integers(1, height - top)), draw(st.integers(1, width - left))
            said |= {"crop": True, "load_start_pos_h": top, "load_start_pos_w": left}
            said |= {"crop_size_h": height, "crop_size_w": width}
        if draw(st.booleans()):
            borders = {side: draw(st.integers(0, 3)) for side in ("left", "right", "top", "bottom")}
            height += borders["top"] + borders["bottom"]
            width += borders["left"] + borders["right"]
            said |= {f"{side}_padding_size": size for side, size in borders.items()}
            said |= {"padding": True, "padding_value": draw(st.sampled_from([0, 7, 255]))}
    if draw(st.booleans()):
        mean = st.lists(st.floats(0, 1), min_size=channels, max_size=channels)
        std = st.lists(st.floats(0.01, 3), min_size=channels, max_size=channels)
        said["normalize"] = {"mean": draw(mean), "std": draw(std)}
    else:
        said["mean_chn"] = draw(st.lists(st.integers(0, 255), max_size=4))
        said["min_chn"] = draw(st.lists(st.floats(0, 255), max_size=4))
        said["var_reci_chn"] = draw(st.lists(st.floats(-300, 300), max_size=4))
    shape = (draw(st.integers(1, 2)), channels, height, width)
    return Aipp(**said), shape, draw(st.sampled_from(sorted(KINDS))), draw(st.integers(0, 1000))


@given(cases())
@settings(max_examples=150)
def test_the_reference_is_what_the_card_does(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[Aipp, Shape, str, int]
) -> None:
    section, shape, dtype, seed = case
    assert list(misfits(section, shape)) == []
    images = pictures(source_shape(section, shape), seed)
    wanted = reference(section, images, shape, np.dtype(dtype))
    found = by_the_card(tmp_path_factory.mktemp("aipp"), section, images, shape, dtype)
    assert (wanted.shape, wanted.dtype) == (found.shape, found.dtype)
    np.testing.assert_array_equal(wanted, found)


def test_a_known_colour_comes_out() -> None:
    """JPEG's red is Y 76, U 85, V 255 (ITU-T T.871)."""
    section = Aipp(input="image", input_format="YUV420SP_U8", csc_to="RGB", csc_standard="JPEG")
    image = np.array([[[76], [76]], [[76], [76]], [[85], [255]]], np.uint8)[None]
    red = reference(section, image, (1, 3, 2, 2))
    assert np.abs(red - np.array([254, 0, 0], np.float32).reshape(3, 1, 1)).max() <= 1


def test_training_codes_normalisation_to_half_precision() -> None:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    section = Aipp(
        input="image",
        input_format="RGB888_U8",
        normalize={"mean": tuple(mean), "std": tuple(std)},
    )
    images = pictures((2, 3, 5, 3), 1)
    found = reference(section, images, (2, 3, 5, 3), layout="NHWC")
    np.testing.assert_allclose(found, (images / 255 - mean) / std, rtol=2e-3, atol=2e-4)


def test_padding_is_not_normalised_and_has_the_networks_layout() -> None:
    section = Aipp(
        input="image",
        input_format="RGB888_U8",
        src_image_size_w=2,
        src_image_size_h=1,
        padding=True,
        left_padding_size=1,
        bottom_padding_size=1,
        padding_value=-0.5,
        mean_chn=(1, 2, 3),
    )
    image = np.array([[[[1, 2, 3], [4, 5, 6]]]], np.uint8)
    found = reference(section, image, (1, 2, 3, 3), layout="NHWC")
    border = [-0.5] * 3
    assert found.tolist() == [[[border, [0, 0, 0], [3, 3, 3]], [border, border, border]]]

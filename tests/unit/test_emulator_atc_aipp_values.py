"""Static AIPP against a reference of plain loops over pixels, written from CANN's AIPP documents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]  # has no stubs
import pytest
from ascend_emulator.atc import main
from ascend_emulator.atc.aipp_config import Block, load
from ascend_emulator.atc.aipp_network import check, image_dims, insert
from ascend_emulator.atc.network import Input
from ascend_emulator.dtypes import BY_ONNX
from ascend_emulator.om import OmFile, read_om
from ascend_emulator.soc import find_soc
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.unit

Array = np.ndarray[Any, Any]
SOC = find_soc("Ascend310P3")

CHANNELS = {
    "YUV420SP_U8": 3,
    "XRGB8888_U8": 4,
    "RGB888_U8": 3,
    "YUV400_U8": 1,
    "ARGB8888_U8": 4,
    "YUYV_U8": 3,
    "YUV422SP_U8": 3,
    "AYUV444_U8": 4,
}
YUV = {"YUV420SP_U8", "YUV400_U8", "YUYV_U8", "YUV422SP_U8", "AYUV444_U8"}
JPEG_TO_RGB = {
    **{f"matrix_r{row}c0": 256 for row in range(3)},
    "matrix_r0c1": 0,
    "matrix_r0c2": 359,
    "matrix_r1c1": -88,
    "matrix_r1c2": -183,
    "matrix_r2c1": 454,
    "matrix_r2c2": 0,
    "input_bias_0": 0,
    "input_bias_1": 128,
    "input_bias_2": 128,
}


# --- the reference --------------------------------------------------------------------------------


def raw_pixel(memory: Array, kind: str, height: int, y: int, x: int) -> list[int]:
    """The channels of one pixel of one image, as the bytes lie in memory: [rows, columns, depth]."""
    if kind == "YUV420SP_U8":
        row, pair = height + y // 2, x // 2 * 2
        return [int(memory[y, x, 0]), int(memory[row, pair, 0]), int(memory[row, pair + 1, 0])]
    if kind == "YUV422SP_U8":
        row, pair = height + y, x // 2 * 2
        return [int(memory[y, x, 0]), int(memory[row, pair, 0]), int(memory[row, pair + 1, 0])]
    if kind == "YUYV_U8":
        pair = x // 2 * 2
        return [int(memory[y, x, 0]), int(memory[y, pair, 1]), int(memory[y, pair + 1, 1])]
    return [int(value) for value in memory[y, x]]


def pixel(memory: Array, config: dict[str, Any], height: int, y: int, x: int) -> list[int]:
    kind = config["input_format"]
    values = raw_pixel(memory, kind, height, y, x)
    if config.get("ax_swap_switch") and len(values) == 4:
        values = [*values[1:], values[0]]
    if config.get("rbuv_swap_switch") and len(values) > 1:
        one, other = (1, 2) if kind in YUV else (0, 2)
        values[one], values[other] = values[other], values[one]
    if config.get("csc_switch"):
        default = (298, 516, 0, 298, -100, -208, 298, 0, 409)
        if kind != "YUV420SP_U8":
            default = (66, 129, 25, -38, -74, 112, 112, -94, -18)
        converted = []
        for row in range(3):
            total = 0
            for column in range(3):
                weight = config.get(f"matrix_r{row}c{column}", default[row * 3 + column])
                bias = config.get(f"input_bias_{column}", (16, 128, 128)[column]) if kind in YUV else 0
                total += weight * (values[column] - bias)
            total >>= 8
            if kind not in YUV:
                total += config.get(f"output_bias_{row}", (16, 128, 128)[row])
            converted.append(min(max(total, 0), 255))
        values = converted
    return values


def reference(images: Array, config: dict[str, Any], size: tuple[int, int], channels: int) -> Array:
    """What the network gets: half, n, c, h, w."""
    height, width = size
    rows = {"YUV420SP_U8": 1.5, "YUV422SP_U8": 2}.get(config["input_format"], 1)
    image_height = int(images.shape[1] / rows)
    top, left, bottom, right = (
        config.get(f"{side}_padding_size", 0) for side in ("top", "left", "bottom", "right")
    )
    out = np.full((len(images), channels, height, width), config.get("padding_value", 0), np.float16)
    for n, memory in enumerate(images):
        for y in range(height - top - bottom):
            for x in range(width - left - right):
                at = y + config.get("load_start_pos_h", 0), x + config.get("load_start_pos_w", 0)
                values = pixel(memory, config, image_height, *at)
                for channel in range(channels):
                    mean = config.get(f"mean_chn_{channel}", 0)
                    low = np.float32(np.float16(config.get(f"min_chn_{channel}", 0)))
                    scale = np.float32(np.float16(config.get(f"var_reci_chn_{channel}", 1)))
                    value = (np.float32(values[channel] - mean) - low) * scale
                    out[n, channel, y + top, x + left] = np.float16(value)
    return out


# --- what is tested -------------------------------------------------------------------------------


def write(path: Path, *configs: dict[str, Any]) -> Path:
    lines = []
    for config in configs:
        lines.append("aipp_op {")
        for name, value in {"aipp_mode": "static", **config}.items():
            lines.append(f"  {name} : {str(value).lower() if isinstance(value, bool) else value}")
        lines.append("}")
    path.write_text("\n".join(lines))
    return path


def block_of(folder: Path, config: dict[str, Any]) -> Block:
    (block,) = load(str(write(folder / "aipp.cfg", config)), 1, resolution_gears=False)
    return block


def identity(opset: int, shape: tuple[Any, ...], kind: int) -> onnx.ModelProto:
    make = onnx.helper.make_tensor_value_info
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Identity", ["x"], ["y"], name="id")],
            "net",
            [make("x", kind, shape)],
            [make("y", kind, None)],
        ),
        opset_imports=[onnx.helper.make_opsetid("", opset)],
        ir_version=8,
    )


def run(model: onnx.ModelProto, images: Array) -> Array:
    model.graph.output[0].type.tensor_type.ClearField("shape")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": images})
    found: Array = result
    return found


def preprocess(
    folder: Path,
    config: dict[str, Any],
    images: Array,
    size: tuple[int, int],
    channels: int,
    kind: int = onnx.TensorProto.FLOAT,
    opset: int = 17,
) -> Array:
    """The images through the operators that the emulator puts in front of a network."""
    block = block_of(folder, config)
    entry = Input("x", BY_ONNX[kind], (-1, channels, *size))
    check(block, entry, (len(images), channels, *size), SOC)
    model = identity(opset, ("n", channels, *size), kind)
    changed = insert(model, block, entry, opset)
    assert changed.dtype.name == "UINT8"
    assert changed.image == image_dims(block, entry.dims)
    assert changed.dims == (-1, *images.shape[1:])
    return run(model, images)


def picture(config: dict[str, Any], height: int, width: int, count: int = 2, seed: int = 0) -> Array:
    kind = config["input_format"]
    rows = {"YUV420SP_U8": height * 3 // 2, "YUV422SP_U8": height * 2}.get(kind, height)
    depth = {"YUV420SP_U8": 1, "YUV422SP_U8": 1, "YUYV_U8": 2}.get(kind, CHANNELS[kind])
    return np.random.default_rng(seed).integers(0, 256, (count, rows, width, depth), np.uint8)


@pytest.mark.parametrize("kind", CHANNELS)
@pytest.mark.parametrize("swap", [False, True])
def test_every_format_with_its_channels_swapped_or_not(tmp_path: Path, kind: str, swap: bool) -> None:
    config = {"input_format": kind, "rbuv_swap_switch": swap, "ax_swap_switch": swap}
    images = picture(config, 4, 6)
    expected = reference(images, config, (4, 6), CHANNELS[kind])
    assert np.array_equal(preprocess(tmp_path, config, images, (4, 6), CHANNELS[kind]), expected)


@pytest.mark.parametrize(
    "config",
    [
        {"input_format": "YUV420SP_U8", **JPEG_TO_RGB},
        {"input_format": "YUV420SP_U8", "rbuv_swap_switch": True},
        {"input_format": "YUYV_U8", **JPEG_TO_RGB},
        {"input_format": "YUV422SP_U8", **JPEG_TO_RGB},
        {"input_format": "RGB888_U8"},
        {
            "input_format": "RGB888_U8",
            "matrix_r0c0": 77,
            "matrix_r0c1": 150,
            "matrix_r0c2": 29,
            "output_bias_0": 0,
        },
        {"input_format": "XRGB8888_U8", "ax_swap_switch": True},
        {"input_format": "RGB888_U8", "matrix_r0c0": 32676, "matrix_r0c1": -32677, "matrix_r0c2": 32676},
    ],
)
def test_colours_are_converted(tmp_path: Path, config: dict[str, Any]) -> None:
    config = {**config, "csc_switch": True}
    images = picture(config, 6, 4)
    assert np.array_equal(
        preprocess(tmp_path, config, images, (6, 4), 3), reference(images, config, (6, 4), 3)
    )


def test_a_known_colour_comes_out(tmp_path: Path) -> None:
    """JPEG's red is Y 76, U 85, V 255."""
    config = {"input_format": "YUV420SP_U8", "csc_switch": True, **JPEG_TO_RGB}
    image = np.array([[[76], [76]], [[76], [76]], [[85], [255]]], np.uint8)[None]
    red = preprocess(tmp_path, config, image, (2, 2), 3)[0]
    assert np.abs(red - np.array([254, 0, 0], np.float32).reshape(3, 1, 1)).max() <= 1


def test_gray_is_the_first_channel_of_a_conversion(tmp_path: Path) -> None:
    config = {"input_format": "RGB888_U8", "csc_switch": True}
    images = picture(config, 3, 4)
    assert np.array_equal(
        preprocess(tmp_path, config, images, (3, 4), 1), reference(images, config, (3, 4), 1)
    )


NORMAL = {
    "mean_chn_0": 124,
    "mean_chn_1": 117,
    "mean_chn_2": 104,
    "min_chn_0": 0.3,
    "min_chn_1": 1.5,
    "var_reci_chn_0": 0.0171248,
    "var_reci_chn_1": 0.0175070,
    "var_reci_chn_2": 0.0174292,
}


def test_mean_and_variance(tmp_path: Path) -> None:
    config = {"input_format": "RGB888_U8", **NORMAL}
    images = picture(config, 4, 4)
    assert np.array_equal(
        preprocess(tmp_path, config, images, (4, 4), 3), reference(images, config, (4, 4), 3)
    )


CROP = {
    "src_image_size_w": 10,
    "src_image_size_h": 8,
    "crop": True,
    "load_start_pos_w": 2,
    "load_start_pos_h": 4,
    "crop_size_w": 5,
    "crop_size_h": 3,
}
PADDING = {
    "padding": True,
    "left_padding_size": 1,
    "right_padding_size": 2,
    "top_padding_size": 3,
    "bottom_padding_size": 0,
    "padding_value": -1.7,
}


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
@pytest.mark.parametrize("kind", ["YUV420SP_U8", "RGB888_U8", "YUYV_U8"])
def test_crop_and_padding_in_every_opset(tmp_path: Path, kind: str, opset: int) -> None:
    config = {"input_format": kind, **CROP, **PADDING, **NORMAL}
    images = picture(config, 8, 10)
    found = preprocess(tmp_path, config, images, (6, 8), 3, opset=opset)
    assert np.array_equal(found, reference(images, config, (6, 8), 3))


def test_a_crop_without_a_size_is_that_of_the_network(tmp_path: Path) -> None:
    config = {"input_format": "RGB888_U8", **CROP, "crop_size_w": 0, "crop_size_h": 0}
    images = picture(config, 8, 10)
    assert np.array_equal(
        preprocess(tmp_path, config, images, (2, 7), 3), reference(images, config, (2, 7), 3)
    )


def test_padding_without_a_crop(tmp_path: Path) -> None:
    config = {"input_format": "YUV400_U8", "src_image_size_w": 4, "src_image_size_h": 2, **PADDING}
    images = picture(config, 2, 4)
    assert np.array_equal(
        preprocess(tmp_path, config, images, (5, 7), 1), reference(images, config, (5, 7), 1)
    )


def test_a_uint8_network_gets_pixels_without_mean_and_variance(tmp_path: Path) -> None:
    config = {"input_format": "RGB888_U8", "src_image_size_w": 4, "src_image_size_h": 2, **NORMAL}
    config |= {**PADDING, "padding_value": 7}
    images = picture(config, 2, 4)
    plain = {name: value for name, value in config.items() if name not in NORMAL}
    found = preprocess(tmp_path, config, images, (5, 7), 3, kind=onnx.TensorProto.UINT8)
    assert found.dtype == np.uint8
    assert np.array_equal(found, reference(images, plain, (5, 7), 3))


def test_a_half_network_gets_halves(tmp_path: Path) -> None:
    config = {"input_format": "RGB888_U8", **NORMAL}
    images = picture(config, 2, 4)
    found = preprocess(tmp_path, config, images, (2, 4), 3, kind=onnx.TensorProto.FLOAT16)
    assert found.dtype == np.float16
    assert np.array_equal(found, reference(images, config, (2, 4), 3))


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, int], int, int]:
    """A sound configuration, the network's size, its channels, and a seed of the images."""
    kind = draw(st.sampled_from(sorted(CHANNELS)))
    small = st.integers(1, 4)
    config: dict[str, Any] = {"input_format": kind}
    config |= {name: draw(st.booleans()) for name in ("rbuv_swap_switch", "ax_swap_switch")}
    config["csc_switch"] = draw(st.booleans()) and kind != "YUV400_U8"
    height, width = 2 * draw(small), 2 * draw(small)
    if draw(st.booleans()):
        top, left = 2 * draw(st.integers(0, height // 2 - 1)), 2 * draw(st.integers(0, width // 2 - 1))
        config |= {"crop": True, "load_start_pos_h": top, "load_start_pos_w": left}
        config |= {"crop_size_h": draw(st.integers(1, height - top))}
        config |= {"crop_size_w": draw(st.integers(1, width - left))}
    tall, wide = config.get("crop_size_h", height), config.get("crop_size_w", width)
    if draw(st.booleans()):
        sizes = {side: draw(st.integers(0, 3)) for side in ("left", "right", "top", "bottom")}
        config |= {"padding": True, **{f"{side}_padding_size": size for side, size in sizes.items()}}
        config["padding_value"] = draw(st.integers(-100, 100))
        tall, wide = tall + sizes["top"] + sizes["bottom"], wide + sizes["left"] + sizes["right"]
    config |= {"src_image_size_h": height, "src_image_size_w": width}
    config |= {f"mean_chn_{channel}": draw(st.integers(0, 255)) for channel in range(4)}
    config |= {f"var_reci_chn_{channel}": draw(st.floats(-2, 2, width=16)) for channel in range(4)}
    made = 3 if config["csc_switch"] else CHANNELS[kind]
    return config, (tall, wide), draw(st.integers(1, made)), draw(st.integers(0, 99))


@settings(max_examples=60)
@given(cases())
def test_any_sound_configuration(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[dict[str, Any], tuple[int, int], int, int]
) -> None:
    config, size, channels, seed = case
    images = picture(config, config["src_image_size_h"], config["src_image_size_w"], seed=seed)
    found = preprocess(tmp_path_factory.mktemp("aipp"), config, images, size, channels)
    assert np.array_equal(found, reference(images, config, size, channels))


# --- whole models ---------------------------------------------------------------------------------

CONV = (
    '<ir_version: 8, opset_import: ["" : 17]> net (float[N,3,H,W] x, float[N,2] z)'
    " => (float[N,M,H,W] y, float[N,2] u) { y = Conv(x, w) u = Neg(z) }"
)


Configs = dict[str, Any] | list[dict[str, Any]]


@pytest.fixture
def run_atc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Compile the model with one or several blocks; gives the exit status."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    model = onnx.parser.parse_model(CONV)
    weight = rng.standard_normal((4, 3, 1, 1)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(model, tmp_path / "net.onnx")

    def call(configs: Configs, *arguments: str) -> int:
        write(tmp_path / "aipp.cfg", *(configs if isinstance(configs, list) else [configs]))
        common = ["--framework=5", "--soc_version=Ascend310P3", "--model=net.onnx", "--output=net"]
        return main([*common, "--insert_op_conf=aipp.cfg", "--precision_mode_v2=origin", *arguments])

    return call


@pytest.fixture
def compile_conv(run_atc: Callable[..., int], tmp_path: Path) -> Callable[..., OmFile]:
    def call(configs: Configs, *arguments: str) -> OmFile:
        assert run_atc(configs, *arguments) == 0
        return read_om((tmp_path / "net.om").read_bytes())

    return call


def outputs_of(network: bytes, **feed: Array) -> list[Array]:
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    results: list[Array] = session.run(None, feed)
    return results


def test_a_model_with_aipp_and_batch_gears(compile_conv: Callable[..., OmFile], tmp_path: Path) -> None:
    config = {"input_format": "YUV420SP_U8", "csc_switch": True, **CROP, **NORMAL}
    om = compile_conv(config, "--input_shape=x:-1,3,3,5;z:-1,2", "--dynamic_batch_size=1,4,2")
    image, other, hidden = om.inputs
    assert (image.dims, image.dims_v2) == ((-1, 8, 10, 3), (-1, 12, 10, 1))
    assert (image.dtype, image.format, image.size) == (4, 1, 4 * 12 * 10)
    assert (other.dims, other.dims_v2, other.dtype) == ((-1, 2), (), 0)
    assert hidden.dims == (1,)
    assert om.gear_input_dims == tuple(((n, 12, 10, 1), (n, 2)) for n in (1, 4, 2))
    assert om.gear_output_dims == tuple(((n, 4, 3, 5), (n, 2)) for n in (1, 4, 2))
    (aipp,) = om.aipps
    assert aipp.input_index == 0
    recorded = dict(aipp.settings)
    assert recorded["input_format"] == "YUV420SP_U8"
    assert recorded["crop_size_w"] == 5
    assert recorded["matrix_r0c1"] == 516
    original = (tmp_path / "net.onnx").read_bytes()
    for n in (1, 2, 4):
        images, z = picture(config, 8, 10, count=n), np.ones((n, 2), np.float32)
        features = reference(images, config, (3, 5), 3).astype(np.float32)
        found = outputs_of(om.network, x=images, z=z)
        for one, same in zip(found, outputs_of(original, x=features, z=z), strict=True):
            assert np.allclose(one, same, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["YUV420SP_U8", "RGB888_U8", "YUV422SP_U8"])
def test_a_model_with_aipp_and_image_size_gears(
    compile_conv: Callable[..., OmFile], tmp_path: Path, kind: str
) -> None:
    config = {"input_format": kind, **NORMAL}
    om = compile_conv(config, "--input_shape=x:1,3,-1,-1;z:1,2", "--dynamic_image_size=4,6;8,2")
    factor, depth = {"YUV420SP_U8": (1.5, 1), "RGB888_U8": (1, 3), "YUV422SP_U8": (2, 1)}[kind]
    assert (om.inputs[0].dims, om.inputs[0].physical_dims) == ((1, -1, -1, 3), (1, -1, -1, depth))
    assert om.gear_input_dims == (
        ((1, int(4 * factor), 6, depth), (1, 2)),
        ((1, int(8 * factor), 2, depth), (1, 2)),
    )
    original = (tmp_path / "net.onnx").read_bytes()
    for height, width in ((4, 6), (8, 2)):
        images, z = picture(config, height, width, count=1), np.ones((1, 2), np.float32)
        features = reference(images, config, (height, width), 3).astype(np.float32)
        found = outputs_of(om.network, x=images, z=z)
        assert np.allclose(found[0], outputs_of(original, x=features, z=z)[0], rtol=1e-6, atol=1e-6)


def test_two_inputs_with_an_image_each(compile_conv: Callable[..., OmFile], tmp_path: Path) -> None:
    """Blocks may stand in any order; the `.om` has them in the order of the inputs."""
    text = CONV.replace("float[N,2] z", "float[N,1,H,W] z").replace("float[N,2] u", "float[N,1,H,W] u")
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "w"))
    onnx.save(model, tmp_path / "net.onnx")
    gray = {"input_format": "YUV400_U8", "related_input_rank": 1, "mean_chn_0": 9}
    colour = {"input_format": "RGB888_U8", **NORMAL}
    om = compile_conv([gray, colour], "--input_shape=x:1,3,2,4;z:1,1,2,4")
    assert [aipp.input_index for aipp in om.aipps] == [0, 1]
    assert [tensor.physical_dims for tensor in om.inputs] == [(1, 2, 4, 3), (1, 2, 4, 1)]
    x, z = picture(colour, 2, 4, count=1), picture(gray, 2, 4, count=1)
    found = outputs_of(om.network, x=x, z=z)
    features = (
        reference(x, colour, (2, 4), 3).astype(np.float32),
        reference(z, gray, (2, 4), 1).astype(np.float32),
    )
    expected = outputs_of((tmp_path / "net.onnx").read_bytes(), x=features[0], z=features[1])
    for one, other in zip(found, expected, strict=True):
        assert np.allclose(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--input_shape=x:1,3,4,4;z:1,2", "--input_fp16_nodes=x"], "E10034"),
        (["--input_shape=x:1,3,4,4;z:1,2", "--input_format=ND"], "E10001"),
        (["--input_shape=x:1,3,4~8,4;z:1,2"], "E10052"),
        (["--input_shape=x:1,3,4,5000;z:1,2"], "E10052"),
        (["--input_shape=x:1,3,-1,-1;z:1,2", "--dynamic_image_size=4,4;4,5000"], "E10052"),
    ],
)
def test_what_does_not_go_with_aipp(
    run_atc: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    assert run_atc({"input_format": "RGB888_U8"}, *arguments) == 255
    assert f"({expected})" in capsys.readouterr().out


def test_an_input_that_is_no_image_gets_none(
    run_atc: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"input_format": "RGB888_U8", "related_input_rank": 1}
    assert run_atc(config, "--input_shape=x:1,3,4,4;z:1,2") == 255
    assert "input 'z' has 2 dimensions, an image has 4" in capsys.readouterr().out


def test_fp16_rounds_the_network_behind_the_preprocessing(compile_conv: Callable[..., OmFile]) -> None:
    config = {"input_format": "RGB888_U8", **NORMAL}
    om = compile_conv(config, "--input_shape=x:1,3,4,4;z:1,2", "--precision_mode_v2=fp16")
    images = picture(config, 4, 4, count=1)
    y, _ = outputs_of(om.network, x=images, z=np.ones((1, 2), np.float32))
    assert np.array_equal(y, y.astype(np.float16).astype(np.float32))

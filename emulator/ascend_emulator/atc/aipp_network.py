"""Static AIPP, executed for real: ONNX operators that turn an image into what the network takes.

The order is the hardware's (facts/atc_om_soc.md §5.1; CANN's AIPP documents): channels are swapped, the image
is cropped, colours are converted, mean and variance are applied, the image is padded. What the documents
leave open is decided here: chroma is repeated for the pixels it covers, the colour conversion shifts down
(`>> 8`, towards minus infinity) and clips to 0..255, the input biases hold for Y, U and V, the output biases
for R, G and B, and the normalised pixel is rounded to half once.

Everything is built of operators that mean the same in every opset, and of none that needs the size of a
batch, so that gears need nothing of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from ascend_emulator.atc.aipp_config import Block
from ascend_emulator.atc.errors import AtcError, not_emulated
from ascend_emulator.atc.network import Input, rename_reads
from ascend_emulator.dtypes import BY_ONNX
from ascend_emulator.soc import Soc

_UINT8, _FLOAT, _HALF, _DOUBLE = (
    onnx.TensorProto.UINT8,
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.DOUBLE,
)
_WIDEST = {1001: 1080, 2002: 1080}
"""Widest image after padding by NpuArch; 4096 on the others."""
_TALLEST = 4096


def _wrong(reason: str) -> AtcError:
    return AtcError("E10052", reason)


class _Builder:
    """Makes the nodes of one input; each method gives the name of the tensor it makes."""

    def __init__(self, graph: onnx.GraphProto, opset: int, stem: str) -> None:
        self._graph = graph
        self._opset = opset
        self._stem = stem
        self._taken = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
        self._taken |= {name for node in graph.node for name in (node.name, *node.input, *node.output)}
        self.nodes: list[onnx.NodeProto] = []

    def name(self, what: str) -> str:
        name = f"{self._stem}__aipp_{what}"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def constant(self, what: str, value: Any, kind: str) -> str:
        name = self.name(what)
        self._graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, kind), name))
        return name

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or self.name(operator.lower())
        self.nodes.append(onnx.helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def reshape(self, tensor: str, *dims: int) -> str:
        """0 keeps a dim, -1 takes what is left."""
        return self.node("Reshape", tensor, self.constant("shape", dims, "int64"))

    def take(self, tensor: str, axis: int, places: Sequence[int]) -> str:
        """The values at some places of an axis."""
        return self.node("Gather", tensor, self.constant("places", list(places), "int64"), axis=axis)

    def transpose(self, tensor: str, *order: int) -> str:
        return self.node("Transpose", tensor, perm=list(order))

    def cast(self, tensor: str, kind: int, output: str = "") -> str:
        return self.node("Cast", tensor, output=output, to=kind)

    def double_last(self, tensor: str) -> str:
        """Each value of the last of four axes twice, side by side."""
        apart = self.reshape(tensor, 0, 0, 0, -1, 1)
        return self.reshape(self.node("Concat", apart, apart, axis=4), 0, 0, 0, -1)

    def channels(self, planes: str, places: Sequence[int], count: int) -> str:
        """Some channels of n, c, h, w, which has `count` of them."""
        return planes if list(places) == list(range(count)) else self.take(planes, 1, places)

    def pad(self, planes: str, pads: Sequence[int], value: float) -> str:
        """Float planes with a border: `pads` as ONNX has them, for all axes."""
        if self._opset < 11:
            return self.node("Pad", planes, pads=list(pads), value=value)
        sizes = self.constant("pads", list(pads), "int64")
        return self.node("Pad", planes, sizes, self.constant("pad_value", value, "float32"))


def _planes(build: _Builder, image: str, block: Block) -> str:
    """The image as n, c, h, w, one value per channel and pixel."""
    name = block.pixels.name
    if name == "YUV420SP_U8":
        # h rows of Y, then h/2 of U and V by turns: with rows last, three chunks of h/2.
        columns = build.transpose(build.reshape(image, 0, 0, 0), 0, 2, 1)
        chunks = build.reshape(columns, 0, 0, 3, -1)
        luma = build.transpose(build.reshape(build.take(chunks, 2, (0, 1)), 0, 0, -1), 0, 2, 1)
        chroma = build.transpose(build.reshape(build.take(chunks, 2, (2,)), 0, 0, -1), 0, 2, 1)
        by_turns = build.reshape(chroma, 0, 0, -1, 2)
        wide = build.double_last(build.transpose(by_turns, 0, 3, 1, 2))
        tall = build.double_last(build.transpose(wide, 0, 1, 3, 2))
        colours = build.transpose(tall, 0, 1, 3, 2)
    elif name in ("YUV422SP_U8", "YUYV_U8"):
        if name == "YUV422SP_U8":
            columns = build.transpose(build.reshape(image, 0, 0, 0), 0, 2, 1)
            chunks = build.reshape(columns, 0, 0, 2, -1)
            luma, chroma = (
                build.transpose(build.reshape(build.take(chunks, 2, (place,)), 0, 0, -1), 0, 2, 1)
                for place in range(2)
            )
        else:
            luma, chroma = (build.reshape(build.take(image, 3, (place,)), 0, 0, 0) for place in range(2))
        by_turns = build.reshape(chroma, 0, 0, -1, 2)
        colours = build.double_last(build.transpose(by_turns, 0, 3, 1, 2))
    else:
        return build.transpose(image, 0, 3, 1, 2)
    # Y gets its axis of one channel between n and h: as the first of the rows' two halves.
    first = build.transpose(build.reshape(build.transpose(luma, 0, 2, 1), 0, 0, 1, -1), 0, 2, 3, 1)
    return build.node("Concat", first, colours, axis=1)


def _swapped(block: Block) -> list[int]:
    """The channels in the order they are worked on: the fourth last, R before B, U before V."""
    order = list(range(block.pixels.channels))
    if block.values["ax_swap_switch"] and len(order) == 4:
        order = [*order[1:], order[0]]
    if block.values["rbuv_swap_switch"] and len(order) > 1:
        one, other = (1, 2) if block.pixels.yuv else (0, 2)
        order[one], order[other] = order[other], order[one]
    return order


def _convert(build: _Builder, planes: str, block: Block) -> str:
    """Colours converted, as whole numbers 0..255 in double: sums of int16 by uint8 are exact in it."""
    pixels = build.cast(build.transpose(planes, 0, 2, 3, 1), _DOUBLE)
    if block.pixels.yuv:
        biases = build.constant("input_bias", block.numbers("input_bias_", 3), "float64")
        pixels = build.node("Sub", pixels, biases)
    matrix = np.array(block.matrix, np.float64).reshape(3, 3).T
    product = build.node("MatMul", pixels, build.constant("matrix", matrix, "float64"))
    shifted = build.node("Floor", build.node("Mul", product, build.constant("shift", 1 / 256, "float64")))
    if not block.pixels.yuv:
        biases = build.constant("output_bias", block.numbers("output_bias_", 3), "float64")
        shifted = build.node("Add", shifted, biases)
    clipped = build.node("Max", shifted, build.constant("lowest", 0, "float64"))
    clipped = build.node("Min", clipped, build.constant("highest", 255, "float64"))
    return build.transpose(clipped, 0, 3, 1, 2)


def _normalise(build: _Builder, planes: str, block: Block, channels: int) -> str:
    """`(pixel - mean - min) * var_reci` of float planes, where min and var_reci are halves, rounded to half."""

    def column(what: str, values: Sequence[float]) -> str:
        halves = np.array(values, np.float16).astype(np.float32)
        return build.constant(what, halves.reshape(1, channels, 1, 1), "float32")

    pixels = planes
    for stem in ("mean_chn_", "min_chn_"):
        pixels = build.node("Sub", pixels, column(stem, block.numbers(stem, channels)))
    pixels = build.node("Mul", pixels, column("var_reci", block.numbers("var_reci_chn_", channels)))
    return build.cast(build.cast(pixels, _HALF), _FLOAT)


def _image_size(block: Block, height: int, width: int) -> tuple[int, int]:
    """Height and width of the image: those configured, or those of the network."""
    values = block.values
    given = values["src_image_size_h"], values["src_image_size_w"]
    if values["crop"] or values["padding"]:
        if not all(given):
            raise _wrong("with crop or padding, src_image_size_w and src_image_size_h must be given")
        return given
    if given[0] not in (0, height) or given[1] not in (0, width):
        raise _wrong(
            f"an image of src_image_size {given[1]}x{given[0]} is neither cropped nor padded to the "
            f"{width}x{height} of the network"
        )
    return height, width


def _check_sizes(block: Block, height: int, width: int, soc: Soc) -> None:
    """Check the sizes against each other, as CANN's AIPP documents and its operator want them."""
    values = block.values
    rows, columns = _image_size(block, height, width)
    if not (2 <= columns <= _TALLEST and 1 <= rows <= _TALLEST):
        raise _wrong(f"an image of {columns}x{rows}: the width must be 2 to 4096, the height 1 to 4096")
    for axis, size in (("w", columns), ("h", rows)):
        if axis in block.pixels.even and size % 2:
            raise _wrong(f"src_image_size_{axis} is {size}, it must be even for {block.pixels.name}")
    tall, wide = rows, columns
    if values["crop"]:
        top, left = values["load_start_pos_h"], values["load_start_pos_w"]
        tall, wide = values["crop_size_h"], values["crop_size_w"]
        if not (tall and wide) and values["padding"]:
            raise _wrong("with padding, crop_size_w and crop_size_h must be given")
        tall, wide = tall or height, wide or width
        if top + tall > rows or left + wide > columns:
            raise _wrong(
                f"a crop of {wide}x{tall} from {left},{top} does not fit an image of {columns}x{rows}"
            )
        starts = {"h": top, "w": left}
        if soc.arch != 3510 and any(starts[axis] % 2 for axis in block.pixels.even):
            raise _wrong(f"load_start_pos_w and load_start_pos_h must be even for {block.pixels.name}")
    tall += values["top_padding_size"] + values["bottom_padding_size"]
    wide += values["left_padding_size"] + values["right_padding_size"]
    if (tall, wide) != (height, width):
        raise _wrong(f"the image becomes {wide}x{tall}, the network takes {width}x{height}")
    widest = _WIDEST.get(soc.arch, 4096)
    if values["padding"] and wide > widest:
        raise _wrong(f"the padded image is {wide} wide, {soc.name} takes up to {widest}")


def check(block: Block, entry: Input, dims: Sequence[int], soc: Soc) -> None:
    """Check a block against the input it is for, at one shape.

    Args:
        block: of the configuration.
        entry: the network's input.
        dims: its shape, without -1.
        soc: what is compiled for.

    Raises:
        AtcError: E10052.
    """
    _, channels, height, width = dims
    _check_sizes(block, height, width, soc)
    made = 3 if block.values["csc_switch"] else block.pixels.channels
    if not 0 < channels <= made:
        raise _wrong(f"input '{entry.name}' has {channels} channels, the image gives up to {made}")


def image_dims(block: Block, dims: Sequence[int]) -> tuple[int, int, int, int]:
    """The image's n, h, w and c for a network's shape of n, c, h and w, where -1 stays.

    `pixels.memory_dims` of it is the shape in memory.
    """
    n, _, height, width = dims
    values = block.values
    rows, columns = values["src_image_size_h"] or height, values["src_image_size_w"] or width
    return n, rows, columns, block.pixels.channels


def channels_first(model: onnx.ModelProto, entry: Input) -> Input:
    """Let a network that takes n, h, w and c take n, c, h and w.

    Args:
        model: the network, changed in place.
        entry: its input, of shape n, h, w and c.

    Returns:
        The input as it is then.
    """
    graph = model.graph
    value = next(value for value in graph.input if value.name == entry.name)
    dims = [
        onnx.TensorShapeProto.Dimension.FromString(dim.SerializeToString())
        for dim in value.type.tensor_type.shape.dim
    ]
    order = (0, 3, 1, 2)
    for place, axis in enumerate(order):
        value.type.tensor_type.shape.dim[place].CopyFrom(dims[axis])
    last = f"{entry.name}__channels_last"
    rename_reads(graph, entry.name, last)
    graph.node.insert(
        0, onnx.helper.make_node("Transpose", [entry.name], [last], name=last, perm=[0, 2, 3, 1])
    )
    return replace(entry, dims=tuple(entry.dims[axis] for axis in order))


def insert(model: onnx.ModelProto, block: Block, entry: Input, opset: int) -> Input:
    """Put the preprocessing in front of an input.

    Args:
        model: the network, changed in place.
        block: sound for that input, see `check`.
        entry: the input, of shape n, c, h and w.
        opset: version of the standard operators.

    Returns:
        The input as it is then: uint8, as the image lies in memory.

    Raises:
        AtcError: E10055 an input of another type than FP32, FP16 and UINT8, or one that is an output too.
    """
    graph = model.graph
    if entry.name in {output.name for output in graph.output}:
        raise not_emulated(f"AIPP for input '{entry.name}', which is an output too")
    place = [value.name for value in graph.input].index(entry.name)
    kind = graph.input[place].type.tensor_type.elem_type
    if kind not in (_FLOAT, _HALF, _UINT8):
        raise not_emulated(f"AIPP for input '{entry.name}' of type {entry.dtype.name}")
    values, (_, channels, height, width) = block.values, entry.dims
    build = _Builder(graph, opset, entry.name)
    planes, count = _planes(build, entry.name, block), block.pixels.channels
    planes = build.channels(planes, _swapped(block), count)
    if values["crop"]:
        tall, wide = values["crop_size_h"] or height, values["crop_size_w"] or width
        planes = build.take(planes, 2, range(values["load_start_pos_h"], values["load_start_pos_h"] + tall))
        planes = build.take(planes, 3, range(values["load_start_pos_w"], values["load_start_pos_w"] + wide))
    if values["csc_switch"]:
        planes, count = _convert(build, build.channels(planes, range(3), count), block), 3
    planes = build.cast(build.channels(planes, range(channels), count), _FLOAT)
    if kind != _UINT8:
        planes = _normalise(build, planes, block, channels)
    if values["padding"]:
        value = float(np.float16(values["padding_value"]))
        if kind == _UINT8 and not 0 <= value <= 255:
            raise _wrong(f"padding_value is {value:g}, it must be within [0, 255] for a UINT8 input")
        sides = ("top", "left", "bottom", "right")
        top, left, bottom, right = (values[f"{side}_padding_size"] for side in sides)
        planes = build.pad(planes, (0, 0, top, left, 0, 0, bottom, right), value)
    features = build.name("features")
    rename_reads(graph, entry.name, features)
    build.cast(planes, kind, features)
    later = list(graph.node)
    del graph.node[:]
    graph.node.extend([*build.nodes, *later])
    image = image_dims(block, entry.dims)
    memory = block.pixels.memory_dims(image)
    tensor = graph.input[place].type.tensor_type
    names = [dim.dim_param for dim in tensor.shape.dim]
    tensor.elem_type = _UINT8
    tensor.shape.ClearField("dim")
    for axis, (dim, name) in enumerate(zip(memory, (names[0], names[2], names[3], ""), strict=True)):
        if dim >= 0:
            tensor.shape.dim.add().dim_value = dim
        else:
            # Rows in memory are more than those of the image in some formats, so they get a name of their own.
            tensor.shape.dim.add().dim_param = f"{name}_in_memory" if axis == 1 else name
    return replace(entry, dtype=BY_ONNX[_UINT8], dims=memory, image=image)

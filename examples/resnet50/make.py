"""Write a full-size ResNet-50: `python examples/resnet50/make.py`.

The network of He et al. 2015 as the field runs it, with the stride of a block in its 3x3 convolution ("v1.5", as in
torchvision): 53 convolutions and a linear layer, 25,557,032 parameters. Weights are drawn from a seed, so it computes
as much as a trained one and knows nothing. `deployments/resnet50.yaml` serves it; with weights of your own it needs
no change but the path in the recipe.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
OPSET = 17
BLOCKS = (3, 4, 6, 3)
"""Blocks of each stage; every stage has twice the channels of the one before and half its height and width."""
EXPANSION = 4
"""Channels that a block gives for each channel that it computes with."""
CLASSES = 1000
EPSILON = 1e-5
BRANCH = 0.5
"""Factor of a block's branch, so that sums of random branches stay within half precision over 16 blocks."""


@dataclass(frozen=True)
class Conv:
    """A convolution with its batch normalisation; square, padded so that stride 1 keeps the size."""

    name: str
    given: int
    made: int
    side: int
    stride: int = 1

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """What is learnt, by name."""
        return {
            f"{self.name}.weight": (self.made, self.given, self.side, self.side),
            f"{self.name}.scale": (self.made,),
            f"{self.name}.bias": (self.made,),
        }


@dataclass(frozen=True)
class Block:
    """Three convolutions around which the input goes, by a fourth where it changes its shape."""

    name: str
    convs: tuple[Conv, Conv, Conv]
    around: Conv | None


def stem(width: int) -> Conv:
    """The first convolution."""
    return Conv("stem", 3, width, 7, 2)


def blocks(width: int) -> Iterator[Block]:
    """All blocks in their order, for a network whose first convolution makes `width` channels."""
    given = width
    for stage, count in enumerate(BLOCKS):
        inner = width << stage
        for number in range(count):
            name = f"stage{stage + 1}.block{number + 1}"
            stride = 2 if stage and not number else 1
            convs = (
                Conv(f"{name}.reduce", given, inner, 1),
                Conv(f"{name}.spatial", inner, inner, 3, stride),
                Conv(f"{name}.expand", inner, inner * EXPANSION, 1),
            )
            around = None if number else Conv(f"{name}.around", given, inner * EXPANSION, 1, stride)
            yield Block(name, convs, around)
            given = inner * EXPANSION


def parameters(width: int = 64) -> dict[str, tuple[int, ...]]:
    """Shapes of all that is learnt, by name."""
    convs = [stem(width)]
    features = width
    for block in blocks(width):
        convs += [*block.convs, *([block.around] if block.around else [])]
        features = block.convs[-1].made
    shapes = {name: shape for conv in convs for name, shape in conv.shapes.items()}
    return {**shapes, "classes.weight": (CLASSES, features), "classes.bias": (CLASSES,)}


class Network:
    """Nodes and weights of a graph that is being made; each method gives the name of a tensor."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._shapes = shapes
        self._random = np.random.default_rng(seed)

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add an operator that makes the tensor `name`."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def weight(self, name: str, gain: float = math.sqrt(2)) -> str:
        """Add a drawn weight, whose outputs vary `gain` times as much as its inputs (He et al. 2015b, fan in)."""
        shape = self._shapes[name]
        values = self._random.standard_normal(shape, dtype=np.float32)
        return self.constant(name, values * np.float32(gain / math.sqrt(math.prod(shape[1:]))))

    def constant(self, name: str, values: npt.NDArray[np.float32]) -> str:
        """Add a weight of these values."""
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def conv(self, source: str, conv: Conv, scale: float = 1.0) -> str:
        """Add a convolution and its normalisation by the statistics of a training that there was not."""
        weight = self.weight(f"{conv.name}.weight")
        sides = {"kernel_shape": [conv.side] * 2, "pads": [conv.side // 2] * 4, "strides": [conv.stride] * 2}
        convolved = self.node("Conv", [source, weight], f"{conv.name}.conv", **sides)
        ones, zeros = np.ones(conv.made, np.float32), np.zeros(conv.made, np.float32)
        statistics = [
            self.constant(f"{conv.name}.scale", ones * np.float32(scale)),
            self.constant(f"{conv.name}.bias", zeros),
            self.constant(f"{conv.name}.mean", zeros),
            self.constant(f"{conv.name}.variance", ones),
        ]
        return self.node("BatchNormalization", [convolved, *statistics], f"{conv.name}.norm", epsilon=EPSILON)

    def relu(self, source: str) -> str:
        """Add a rectifier."""
        return self.node("Relu", [source], f"{source}.relu")

    def block(self, source: str, block: Block) -> str:
        """Add a residual block."""
        *inner, last = block.convs
        branch = source
        for conv in inner:
            branch = self.relu(self.conv(branch, conv))
        branch = self.conv(branch, last, BRANCH)
        kept = source if block.around is None else self.conv(source, block.around, math.sqrt(0.5))
        return self.relu(self.node("Add", [branch, kept], f"{block.name}.sum"))


def make(seed: int = 50, *, side: int = 224, width: int = 64) -> onnx.ModelProto:
    """Make the network: `image` float32 `[batch, 3, side, side]` to `logits` `[batch, 1000]`.

    Args:
        seed: of the weights.
        side: height and width of a picture, in pixels.
        width: channels of the first convolution; 64 makes it ResNet-50.
    """
    network = Network(parameters(width), seed)
    found = network.relu(network.conv("image", stem(width)))
    found = network.node("MaxPool", [found], "stem.pool", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    for block in blocks(width):
        found = network.block(found, block)
    flat = network.node("Flatten", [network.node("GlobalAveragePool", [found], "pool")], "features")
    weights = network.weight("classes.weight", gain=1.0), network.constant("classes.bias", np.zeros(CLASSES))
    network.node("Gemm", [flat, *weights], "logits", transB=1)
    graph = helper.make_graph(
        network.nodes,
        "resnet50",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        network.weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def main() -> None:
    """Write the network and say what it is."""
    parser = argparse.ArgumentParser(description="Write a full-size ResNet-50 with seeded weights.")
    parser.add_argument("--out", type=Path, default=HERE / "build/resnet50.onnx", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=50, help="of the weights (default: %(default)s)")
    options = parser.parse_args()
    model = make(options.seed)
    onnx.checker.check_model(model, full_check=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, options.out)
    count = sum(math.prod(shape) for shape in parameters().values())
    size = options.out.stat().st_size / 2**20
    print(f"wrote {options.out}: {count:,} parameters, {size:.0f} MiB, seed {options.seed}")


if __name__ == "__main__":
    main()

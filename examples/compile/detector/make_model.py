"""Write the detector's network: `python examples/compile/detector/make_model.py`.

A small anchor-free detector (the FCOS family) for bright things on a dark ground, of any height and width that
divides by 8. Its weights are set by hand and not trained, so that what it has to find is known exactly:

- backbone: two strided convolutions, to `fine` (stride 4) and `coarse` (stride 8): how bright each cell is;
- neck: `coarse` is enlarged (Resize) and put beside `fine` (Concat), and a convolution makes of both whether a cell
  is part of something that is no speckle;
- heads, one for each stride: distances from a cell's centre to the left, top, right and bottom edge, each the sum of
  the bright cells that way (a convolution); and a score, high in the middle of a thing;
- the cells of both strides in one list (Reshape, Concat), as detectors of the YOLO family give them out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
OPSET = 17

REACH = 7
"""Cells that a head looks each way from its own."""

SIDES = ((0, -1), (-1, 0), (0, 1), (1, 0))
"""Steps down and to the right that lead to the left, top, right and bottom edge."""


class Network:
    """Nodes and weights of a graph that is being made; each method gives the name of a tensor."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Add an operator that makes the tensor `name`."""
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{name}_{kind}", **attributes))
        return name

    def constant(self, name: str, values: npt.ArrayLike, kind: str = "float32") -> str:
        """Add a weight."""
        self.weights.append(numpy_helper.from_array(np.array(values, kind), name))
        return name

    def conv(
        self, source: str, name: str, weight: npt.ArrayLike, bias: npt.ArrayLike, **attributes: Any
    ) -> str:
        """Add a convolution; `weight` is `[out, in, rows, columns]`."""
        tensors = self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)
        return self.node("Conv", source, *tensors, name=name, **attributes)

    def unit(self, source: str, name: str) -> str:
        """Keep values within 0 and 1."""
        return self.node("Clip", source, "zero", "one", name=name)


def head(network: Network, bright: str, thing: str, stride: int, least: float) -> tuple[str, str]:
    """Add the head of one stride.

    Args:
        network: to add to.
        bright: `[N, 1, h, w]`, 0..1: the cells.
        thing: `[N, 1, h, w]`, 0..1: whether a cell is part of something.
        stride: pixels of a cell.
        least: cells that the farthest edge is away at least; below, the finer head sees it better.

    Returns:
        Distances in pixels `[N, 4, h * w]` and scores `[N, 1, h * w]`.
    """
    name = f"head{stride}"
    rays = np.zeros((4, 1, 2 * REACH + 1, 2 * REACH + 1), np.float32)
    for side, (down, right) in enumerate(SIDES):
        rays[side, 0, REACH, REACH] = 0.5  # from the centre of its own cell to the cell's edge
        for step in range(1, REACH + 1):
            rays[side, 0, REACH + step * down, REACH + step * right] = 1
    cells = network.conv(bright, f"{name}.rays", rays, [0.0] * 4, pads=[REACH] * 4)
    # An edge that is farther than the rays reach shows as one at their end: such things are not this head's.
    far = network.node("ReduceMax", cells, name=f"{name}.far", axes=[1], keepdims=1)
    within = network.unit(
        network.conv(far, f"{name}.to_end", [[[[-2.0]]]], [2.0 * REACH + 1]), f"{name}.within"
    )
    enough = network.unit(
        network.conv(far, f"{name}.from_least", [[[[2.0]]]], [1.0 - 2.0 * least]), f"{name}.enough"
    )
    halves = network.constant(f"{name}.halves", [2, 2], "int64")
    network.nodes.append(
        helper.make_node(
            "Split",
            [cells, halves],
            [f"{name}.one", f"{name}.other"],
            name=f"{name}.opposite_Split",
            axis=1,
        )
    )
    pair = f"{name}.one", f"{name}.other"
    shorter = network.node("Min", *pair, name=f"{name}.shorter")
    longer = network.node("Max", *pair, "tiny", name=f"{name}.longer")
    # Of both axes the less central counts: 1 in the middle, 0 at an edge.
    ratio = network.node("Div", shorter, longer, name=f"{name}.ratio")
    central = network.node("ReduceMin", ratio, name=f"{name}.central", axes=[1], keepdims=1)
    score = thing
    for number, factor in enumerate((central, within, enough)):
        score = network.node("Mul", score, factor, name=f"{name}.score{number}")
    pixels = network.node(
        "Mul", cells, network.constant(f"{name}.stride", float(stride)), name=f"{name}.pixels"
    )
    listed = network.constant(f"{name}.listed", [0, 0, -1], "int64")
    return (
        network.node("Reshape", pixels, listed, name=f"{name}.distances"),
        network.node("Reshape", score, listed, name=f"{name}.scores"),
    )


def make() -> onnx.ModelProto:
    """Make the network: `image` float32 `[1, 3, height, width]`, 0..1, to `distances` and `scores` of all cells."""
    network = Network()
    for name, value in (("zero", 0.0), ("one", 1.0), ("tiny", 1e-3)):
        network.constant(name, value)
    # A pixel brighter than the middle is 1, one darker is 0.
    light = network.unit(network.conv("image", "stem", np.full((1, 3, 1, 1), 8 / 3), [-3.5]), "light")
    fine = network.conv(light, "fine", np.full((1, 1, 4, 4), 1 / 16), [0.0], strides=[4, 4])
    coarse = network.conv(fine, "coarse", np.full((1, 1, 2, 2), 1 / 4), [0.0], strides=[2, 2])
    scales = network.constant("scales", [1, 1, 2, 2])
    up = network.node(
        "Resize",
        coarse,
        "",
        scales,
        name="up",
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    both = network.node("Concat", fine, up, name="neck", axis=1)
    # A bright cell of 4 pixels that the coarse ones hardly see is a speckle.
    thing = network.unit(network.conv(both, "neck.mix", [[[[0.5]], [[1.5]]]], [-0.5]), "thing")
    small = head(network, fine, thing, 4, 0.0)
    large = head(network, coarse, coarse, 8, REACH / 2 - 0.5)
    network.node("Concat", small[0], large[0], name="distances", axis=2)
    network.node("Concat", small[1], large[1], name="scores", axis=2)
    graph = helper.make_graph(
        network.nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "height", "width"])],
        [
            helper.make_tensor_value_info("distances", TensorProto.FLOAT, [1, 4, "cells"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1, "cells"]),
        ],
        network.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Write `build/detector.onnx` beside this file."""
    path = HERE / "build/detector.onnx"
    path.parent.mkdir(exist_ok=True)
    onnx.save(make(), path)
    print(f"wrote {path.relative_to(HERE)}")


if __name__ == "__main__":
    main()

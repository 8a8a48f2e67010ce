"""Whether the inputs of a node fit each other, where ONNX's inference takes them as they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import onnx

from ascend_serve.compiling.preflight.shapes import Fault, Inferred, Shape

Known = tuple[int, ...]


def misfits(graph: onnx.GraphProto, inferred: Inferred) -> Iterator[Fault]:
    """The nodes whose inputs have shapes that are known and do not go together."""
    for node in graph.node:
        if node.op_type not in _RULES or node.domain:
            continue
        rule, ranks = _RULES[node.op_type]
        shapes = _known(list(node.input), inferred.shapes)
        after = _known(list(node.output[:1]), inferred.shapes).get(0)
        told = all(len(shapes.get(place, ())) >= rank for place, rank in enumerate(ranks))
        if told and (why := rule(node, shapes, after)):
            yield Fault(node, why)


def _known(names: list[str], shapes: dict[str, Shape]) -> dict[int, Known]:
    """Shapes by place, of those that are complete; none when one that is named is not."""
    found = {}
    for place, name in enumerate(names):
        if name:
            shape = shapes.get(name)
            if shape is None:
                return {}
            dims = tuple(dim for dim in shape if dim is not None)
            if len(dims) != len(shape):
                return {}
            found[place] = dims
    return found


def _reshape(_: onnx.NodeProto, shapes: dict[int, Known], after: Known | None) -> str:
    before = shapes[0]
    if after is None or math.prod(before) == math.prod(after):
        return ""
    return f"{list(before)} has {math.prod(before)} elements and {list(after)} has {math.prod(after)}"


def _window(_: onnx.NodeProto, shapes: dict[int, Known], after: Known | None) -> str:
    if after is None or min(after) > 0:
        return ""
    return f"its input {list(shapes[0])} is smaller than its window, so that {list(after)} is left"


def _conv(node: onnx.NodeProto, shapes: dict[int, Known], after: Known | None) -> str:
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    channels, wanted = shapes[0][1], shapes[1][1] * groups
    if channels != wanted:
        return f"its input has {channels} channels and its weights {wanted}"
    return _window(node, shapes, after)


def _channels(_: onnx.NodeProto, shapes: dict[int, Known], __: Known | None) -> str:
    channels, wanted = shapes[0][1], shapes[1][0]
    return "" if channels == wanted else f"its input has {channels} channels and its weights {wanted}"


def _recurrent(_: onnx.NodeProto, shapes: dict[int, Known], __: Known | None) -> str:
    rows = shapes[0][1]
    for place, what in ((5, "initial_h"), (6, "initial_c")):
        if place in shapes and shapes[place][1] != rows:
            return f"its input has {rows} rows and {what} {shapes[place][1]}"
    return ""


_Rule = Callable[[onnx.NodeProto, dict[int, Known], Known | None], str]
_RULES: dict[str, tuple[_Rule, tuple[int, ...]]] = {
    "AveragePool": (_window, (2,)),
    "BatchNormalization": (_channels, (2, 1)),
    "Conv": (_conv, (2, 2)),
    "InstanceNormalization": (_channels, (2, 1)),
    "MaxPool": (_window, (2,)),
    "Reshape": (_reshape, (0, 1)),
    # Layout 1, which puts rows first, is refused by ONNX's inference where it does not fit.
    "GRU": (_recurrent, (2,)),
    "LSTM": (_recurrent, (2,)),
    "RNN": (_recurrent, (2,)),
}
"""What to look at in an operator, and the least rank of its first inputs for that to be possible."""

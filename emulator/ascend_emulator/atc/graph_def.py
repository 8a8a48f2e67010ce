"""TensorFlow's `GraphDef`, as far as ATC looks at it before it parses operators: nodes, inputs, shapes, readers.

Read from the wire format, so that it needs no TensorFlow. Field numbers: tensorflow/core/framework/graph.proto,
node_def.proto, attr_value.proto, tensor_shape.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ascend_emulator.protobuf import WireError, fields, signed

_PLACEHOLDER = "Placeholder"
_NO_OUTPUT = frozenset({"NoOp", "Assert", "Const"})
"""Types that are no outputs where nothing reads them."""

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


@dataclass(frozen=True, slots=True)
class Node:
    """One node.

    Attributes:
        name: its name.
        kind: its type, such as `MatMul`.
        sources: names of the nodes it reads, those it only waits for too.
        dims: the shape that its attributes declare, -1 where open; None where they declare none.
    """

    name: str
    kind: str
    sources: tuple[str, ...]
    dims: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class GraphDef:
    """A graph.

    Attributes:
        nodes: in the file's order.
        functions: names of the functions in its library.
    """

    nodes: tuple[Node, ...]
    functions: frozenset[str]

    @property
    def placeholders(self) -> tuple[Node, ...]:
        """Its inputs, in order."""
        return tuple(node for node in self.nodes if node.kind == _PLACEHOLDER)

    @property
    def leaves(self) -> tuple[Node, ...]:
        """The nodes that compute what no other node reads, in order."""
        read = {source for node in self.nodes for source in node.sources}
        silent = {_PLACEHOLDER, *_NO_OUTPUT}
        return tuple(node for node in self.nodes if node.name not in read and node.kind not in silent)

    @property
    def calls_functions(self) -> bool:
        """Whether a node calls a function of the library."""
        return any(node.kind in _CALLS or node.kind in self.functions for node in self.nodes)


def _messages(data: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, value in fields(data):
        if number == wanted:
            if isinstance(value, int):
                raise WireError(f"field {wanted} holds a number where a message is expected")
            yield value


def _text(value: int | memoryview) -> str:
    if isinstance(value, int):
        raise WireError("a number stands where a text is expected")
    return str(value, "utf-8", "replace")


def _dims(shape: memoryview) -> tuple[int, ...] | None:
    """A `TensorShapeProto`; None for an unknown rank."""
    dims = []
    for number, value in fields(shape):
        if number == 3 and value:
            return None
        if number == 2 and isinstance(value, memoryview):
            sizes = [signed(size) for field, size in fields(value) if field == 1 and isinstance(size, int)]
            dims.append(max(sizes[-1], -1) if sizes else 0)
    return tuple(dims)


def _shape(attribute: memoryview) -> tuple[bool, tuple[int, ...] | None]:
    """Whether an entry of a node's attributes is its shape, and the shape."""
    name, dims = "", None
    for number, value in fields(attribute):
        if number == 1:
            name = _text(value)
        elif number == 2 and isinstance(value, memoryview):
            found = [_dims(shape) for shape in _messages(value, 7)]
            dims = found[-1] if found else None
    return name == "shape", dims


def _node(data: memoryview) -> Node:
    name = kind = ""
    sources: list[str] = []
    dims = None
    for number, value in fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            kind = _text(value)
        elif number == 3:
            sources.append(_text(value).lstrip("^").partition(":")[0])
        elif number == 5 and isinstance(value, memoryview):
            is_shape, found = _shape(value)
            if is_shape:
                dims = found
    if not name or not kind:
        raise WireError("a node has no name or no type")
    return Node(name, kind, tuple(sources), dims)


def parse(data: bytes) -> GraphDef:
    """Read a graph.

    Raises:
        WireError: the bytes are no GraphDef, or one without nodes.
    """
    view = memoryview(data)
    nodes = tuple(_node(node) for node in _messages(view, 1))
    if not nodes:
        raise WireError("there is no node in it")
    names: set[str] = set()
    for library in _messages(view, 2):
        for function in _messages(library, 1):
            for signature in _messages(function, 1):
                names.update(_text(value) for number, value in fields(signature) if number == 1)
    return GraphDef(nodes, frozenset(names))

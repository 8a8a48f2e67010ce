"""Writes small frozen TensorFlow graphs for tests, as protobuf bytes: no TensorFlow is needed for it."""

import numpy as np

from tests.unit.om_writer import field

FLOAT = 1
INT32 = 3
_NUMPY = {FLOAT: np.float32, INT32: np.int32}


def shape(dims):
    """A TensorShapeProto; None for an unknown rank."""
    if dims is None:
        return field(3, 1)
    return b"".join(field(2, field(1, dim)) for dim in dims)


def node(name, kind, *sources, **attributes):
    body = field(1, name) + field(2, kind) + b"".join(field(3, source) for source in sources)
    return body + b"".join(field(5, field(1, key) + field(2, value)) for key, value in attributes.items())


def placeholder(name, dims, dtype=FLOAT):
    return node(name, "Placeholder", dtype=field(6, dtype), shape=field(7, shape(dims)))


def const(name, values, dtype=FLOAT):
    array = np.asarray(values, _NUMPY[dtype])
    tensor = field(1, dtype) + field(2, shape(array.shape)) + field(4, array.tobytes())
    return node(name, "Const", dtype=field(6, dtype), value=field(8, tensor))


def matmul(name, left, right):
    no = field(5, 0)
    return node(name, "MatMul", left, right, T=field(6, FLOAT), transpose_a=no, transpose_b=no)


def relu(name, source):
    return node(name, "Relu", source, T=field(6, FLOAT))


def graph_def(*nodes, functions=()):
    library = b"".join(field(1, field(1, field(1, name))) for name in functions)
    return b"".join(field(1, each) for each in nodes) + (field(2, library) if functions else b"")


WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) - 5


def dense(rows=None):
    """relu(x @ w): x is float32 [rows, 4], -1 for open rows, and None for an unknown rank."""
    dims = None if rows is None else (rows, 4)
    return graph_def(placeholder("x", dims), const("w", WEIGHTS), matmul("fc", "x", "w"), relu("act", "fc"))

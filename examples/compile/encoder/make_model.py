"""Write the encoder's network: `python examples/compile/encoder/make_model.py`.

A text encoder built as BERT's: embeddings of words and places, two layers of self-attention with a mask, and the mean
over the words, of length 1. Batch and sequence are free. Its weights are random (seeded), so its embeddings mean
nothing; what matters here is that they have the operators and shapes of those that do.

As exporters write it for opset 16: LayerNorm and GELU are spelled out in small operators, which ATC fuses again. What
the mask adds to scores is -10,000 and not -1e9, which is minus infinity in half precision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
OPSET = 16

WORDS, PLACES = 2000, 512
HIDDEN, HEADS, INNER, LAYERS = 64, 4, 256, 2
SEED = 4
HIDDEN_BY_MASK = -1e4


class Network:
    """Nodes and weights of a graph that is being made; each method gives the name of a tensor."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(SEED)

    def node(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Add an operator that makes the tensor `name`."""
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{name}_{kind}", **attributes))
        return name

    def constant(self, name: str, values: npt.ArrayLike, kind: str = "float32") -> str:
        """Add a constant."""
        self.weights.append(numpy_helper.from_array(np.array(values, kind), name))
        return name

    def weight(self, name: str, *shape: int) -> str:
        """Add a random weight whose products keep the size of what they are multiplied with."""
        return self.constant(name, self._random.normal(0, shape[0] ** -0.5, shape))

    def linear(self, source: str, name: str, wide: int, out: int) -> str:
        """Multiply by a matrix and add a bias."""
        product = self.node(
            "MatMul", source, self.weight(f"{name}.weight", wide, out), name=f"{name}.product"
        )
        return self.node("Add", product, self.constant(f"{name}.bias", np.zeros(out)), name=name)

    def norm(self, source: str, name: str) -> str:
        """Normalise each word's features (LayerNorm)."""
        mean = self.node("ReduceMean", source, name=f"{name}.mean", axes=[-1])
        centred = self.node("Sub", source, mean, name=f"{name}.centred")
        squares = self.node("Mul", centred, centred, name=f"{name}.squares")
        variance = self.node("ReduceMean", squares, name=f"{name}.variance", axes=[-1])
        safe = self.node("Add", variance, "tiny", name=f"{name}.safe")
        unit = self.node(
            "Div", centred, self.node("Sqrt", safe, name=f"{name}.deviation"), name=f"{name}.unit"
        )
        scaled = self.node(
            "Mul", unit, self.constant(f"{name}.scale", np.ones(HIDDEN)), name=f"{name}.scaled"
        )
        return self.node("Add", scaled, self.constant(f"{name}.shift", np.zeros(HIDDEN)), name=name)

    def gelu(self, source: str, name: str) -> str:
        """Apply GELU, by the error function."""
        error = self.node("Erf", self.node("Div", source, "root_two", name=f"{name}.in"), name=f"{name}.erf")
        half = self.node("Mul", source, "half", name=f"{name}.half")
        return self.node("Mul", half, self.node("Add", error, "one", name=f"{name}.part"), name=name)


def embed(network: Network) -> str:
    """Add the embeddings of words and of their places: `[batch, seq, HIDDEN]`."""
    words = network.node("Gather", network.weight("words.table", WORDS, HIDDEN), "input_ids", name="words")
    shape = network.node("Shape", "input_ids", name="shape")
    length = network.node("Slice", shape, "first", "second", name="length")
    table = network.weight("places.table", PLACES, HIDDEN)
    places = network.node("Slice", table, "zero", length, "zero", name="places")
    return network.norm(network.node("Add", words, places, name="embedded"), "embedding")


def attend(network: Network, source: str, name: str) -> str:
    """Add self-attention over the words that the mask lets through."""

    def heads(part: str, *order: int) -> str:
        flat = network.linear(source, f"{name}.{part}", HIDDEN, HIDDEN)
        split = network.node("Reshape", flat, "heads", name=f"{name}.{part}.split")
        return network.node("Transpose", split, name=f"{name}.{part}.heads", perm=list(order))

    query, key, value = heads("query", 0, 2, 1, 3), heads("key", 0, 2, 3, 1), heads("value", 0, 2, 1, 3)
    scores = network.node("MatMul", query, key, name=f"{name}.products")
    scaled = network.node("Mul", scores, "head_scale", name=f"{name}.scaled")
    masked = network.node("Add", scaled, "hidden_by_mask", name=f"{name}.masked")
    weights = network.node("Softmax", masked, name=f"{name}.weights", axis=-1)
    mixed = network.node("MatMul", weights, value, name=f"{name}.mixed")
    turned = network.node("Transpose", mixed, name=f"{name}.turned", perm=[0, 2, 1, 3])
    joined = network.node("Reshape", turned, "joined", name=f"{name}.joined")
    return network.linear(joined, f"{name}.out", HIDDEN, HIDDEN)


def make() -> onnx.ModelProto:
    """Make the network: `input_ids` and `attention_mask`, int64 `[batch, seq]`, to `sentence`, `[batch, HIDDEN]`."""
    network = Network()
    for name, value in (
        ("tiny", 1e-5),
        ("half", 0.5),
        ("one", 1.0),
        ("root_two", 2**0.5),
        ("most_hidden", HIDDEN_BY_MASK),
        ("head_scale", (HIDDEN // HEADS) ** -0.5),
    ):
        network.constant(name, value)
    for name, numbers in (
        ("zero", [0]),
        ("first", [1]),
        ("second", [2]),
        ("mask_axes", [1, 2]),
        ("last", [2]),
        ("words_axis", [1]),
        ("heads", [0, 0, HEADS, HIDDEN // HEADS]),
        ("joined", [0, 0, HIDDEN]),
    ):
        network.constant(name, numbers, "int64")
    mask = network.node("Cast", "attention_mask", name="mask", to=TensorProto.FLOAT)
    absent = network.node("Sub", "one", mask, name="absent")
    by_head = network.node("Unsqueeze", absent, "mask_axes", name="absent_by_head")
    network.node("Mul", by_head, "most_hidden", name="hidden_by_mask")
    words = embed(network)
    for number in range(LAYERS):
        name = f"layer{number}"
        seen = network.node("Add", words, attend(network, words, f"{name}.attention"), name=f"{name}.seen")
        seen = network.norm(seen, f"{name}.seen_norm")
        inner = network.gelu(network.linear(seen, f"{name}.inner", HIDDEN, INNER), f"{name}.gelu")
        outer = network.linear(inner, f"{name}.outer", INNER, HIDDEN)
        words = network.norm(network.node("Add", seen, outer, name=f"{name}.sum"), f"{name}.norm")
    present = network.node("Unsqueeze", mask, "last", name="present")
    kept = network.node("Mul", words, present, name="kept")
    total = network.node("ReduceSum", kept, "words_axis", name="total", keepdims=0)
    count = network.node("ReduceSum", present, "words_axis", name="count", keepdims=0)
    mean = network.node("Div", total, network.node("Max", count, "one", name="counted"), name="mean")
    length = network.node("ReduceL2", mean, name="mean_length", axes=[-1])
    network.node("Div", mean, length, name="sentence")
    graph = helper.make_graph(
        network.nodes,
        "encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "seq"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("sentence", TensorProto.FLOAT, ["batch", HIDDEN])],
        network.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Write `build/encoder.onnx` beside this file."""
    path = HERE / "build/encoder.onnx"
    path.parent.mkdir(exist_ok=True)
    onnx.save(make(), path)
    print(f"wrote {path.relative_to(HERE)}")


if __name__ == "__main__":
    main()

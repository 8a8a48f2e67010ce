"""A BERT sentence encoder as an ONNX graph: `[batch, seq]` token ids and mask to `[batch, hidden]` of length 1.

The network of Devlin et al. 2019 with the head of sentence-transformers' all-* models: the mean over the tokens that
the mask lets through, scaled to length 1. Weights are named as Hugging Face's `BertModel` names them.

Written for ATC and half precision: LayerNorm and GELU are spelled out in small operators, as exporters do for opset
16, which ATC fuses again. What the mask adds to scores is -10,000 and not -1e9, which is minus infinity there. Queries
are scaled by their weights, so that products stay small, and the mean is a product with the mask by its own count, so
that nothing is summed up in half precision. Every token is of segment 0, whose row is added to those of the places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 16
HIDDEN_BY_MASK = -1e4
SHORTEST = 1e-4
"""The least length that a mean is divided by: rows without any token have a mean of length 0."""

Weights = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Shape:
    """Sizes of the network.

    Attributes:
        hidden: features of a token.
        inner: features within the feed-forward part.
        heads: of the attention; they share `hidden`.
        layers: how many there are.
        epsilon: what LayerNorm adds to a variance.
    """

    hidden: int
    inner: int
    heads: int
    layers: int
    epsilon: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """The sizes that a `config.json` tells.

        Raises:
            ValueError: the network is of another kind.
        """
        for key, known in (
            ("model_type", "bert"),
            ("hidden_act", "gelu"),
            ("position_embedding_type", "absolute"),
        ):
            if config.get(key, known) != known:
                raise ValueError(f"{key} is '{config[key]}'; this script writes '{known}' alone")
        return cls(
            hidden=config["hidden_size"],
            inner=config["intermediate_size"],
            heads=config["num_attention_heads"],
            layers=config["num_hidden_layers"],
            epsilon=config["layer_norm_eps"],
        )


class Network:
    """Nodes and weights of a graph that is being made; each method gives the name of a tensor."""

    def __init__(self, shape: Shape, weights: Weights) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._shape = shape
        self._weights = weights

    def node(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Add an operator that makes the tensor `name`."""
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{name}.{kind}", **attributes))
        return name

    def constant(self, name: str, values: npt.ArrayLike, kind: str = "float32") -> str:
        """Add a constant."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, kind), name))
        return name

    def linear(self, source: str, name: str, scale: float = 1.0) -> str:
        """Multiply by a matrix and add a bias, both of them scaled."""
        weight = self.constant(f"{name}.weight", self._weights[f"{name}.weight"].T * scale)
        bias = self.constant(f"{name}.bias", self._weights[f"{name}.bias"] * scale)
        return self.node(
            "Add", self.node("MatMul", source, weight, name=f"{name}.product"), bias, name=f"{name}.sum"
        )

    def norm(self, source: str, name: str) -> str:
        """Normalise each token's features (LayerNorm)."""
        mean = self.node("ReduceMean", source, name=f"{name}.mean", axes=[-1])
        centred = self.node("Sub", source, mean, name=f"{name}.centred")
        squares = self.node("Mul", centred, centred, name=f"{name}.squares")
        variance = self.node("ReduceMean", squares, name=f"{name}.variance", axes=[-1])
        deviation = self.node(
            "Sqrt", self.node("Add", variance, "epsilon", name=f"{name}.safe"), name=f"{name}.deviation"
        )
        unit = self.node("Div", centred, deviation, name=f"{name}.unit")
        scale, shift = (
            self.constant(f"{name}.{part}", self._weights[f"{name}.{part}"]) for part in ("weight", "bias")
        )
        return self.node(
            "Add", self.node("Mul", unit, scale, name=f"{name}.scaled"), shift, name=f"{name}.shifted"
        )

    def gelu(self, source: str, name: str) -> str:
        """Apply GELU, by the error function."""
        error = self.node("Erf", self.node("Div", source, "root_two", name=f"{name}.in"), name=f"{name}.erf")
        half = self.node("Mul", source, "half", name=f"{name}.half")
        return self.node("Mul", half, self.node("Add", error, "one", name=f"{name}.part"), name=name)

    def embed(self) -> str:
        """Add what tokens and their places are known by: `[batch, seq, hidden]`."""
        told = "embeddings.{}_embeddings.weight".format
        table = self.constant(told("word"), self._weights[told("word")])
        places = self.constant(
            told("position"), self._weights[told("position")] + self._weights[told("token_type")][0]
        )
        words = self.node("Gather", table, "input_ids", name="words")
        length = self.node(
            "Slice", self.node("Shape", "input_ids", name="shape"), "first", "second", name="length"
        )
        here = self.node("Slice", places, "zero", length, "zero", name="places")
        return self.norm(self.node("Add", words, here, name="embedded"), "embeddings.LayerNorm")

    def attend(self, source: str, name: str) -> str:
        """Add self-attention over the tokens that the mask lets through."""

        def heads(part: str, order: Sequence[int], scale: float = 1.0) -> str:
            flat = self.linear(source, f"{name}.self.{part}", scale)
            split = self.node("Reshape", flat, "heads", name=f"{name}.{part}.split")
            return self.node("Transpose", split, name=f"{name}.{part}.heads", perm=list(order))

        query = heads("query", (0, 2, 1, 3), (self._shape.hidden // self._shape.heads) ** -0.5)
        scores = self.node("MatMul", query, heads("key", (0, 2, 3, 1)), name=f"{name}.scores")
        masked = self.node("Add", scores, "hidden_by_mask", name=f"{name}.masked")
        shares = self.node("Softmax", masked, name=f"{name}.shares", axis=-1)
        mixed = self.node("MatMul", shares, heads("value", (0, 2, 1, 3)), name=f"{name}.mixed")
        turned = self.node("Transpose", mixed, name=f"{name}.turned", perm=[0, 2, 1, 3])
        joined = self.node("Reshape", turned, "joined", name=f"{name}.joined")
        return self.linear(joined, f"{name}.output.dense")

    def layer(self, source: str, name: str) -> str:
        """Add a layer: attention and a feed-forward part, each around which its input goes."""
        attended = self.attend(source, f"{name}.attention")
        seen = self.norm(
            self.node("Add", source, attended, name=f"{name}.seen"), f"{name}.attention.output.LayerNorm"
        )
        inner = self.gelu(self.linear(seen, f"{name}.intermediate.dense"), f"{name}.gelu")
        outer = self.linear(inner, f"{name}.output.dense")
        return self.norm(self.node("Add", seen, outer, name=f"{name}.all"), f"{name}.output.LayerNorm")

    def mask(self) -> None:
        """Add what the mask adds to scores, and the part that each token has in the mean."""
        present = self.node("Cast", "attention_mask", name="present", to=TensorProto.FLOAT)
        absent = self.node("Sub", "one", present, name="absent")
        by_head = self.node("Unsqueeze", absent, "head_axes", name="absent_by_head")
        self.node("Mul", by_head, "most_hidden", name="hidden_by_mask")
        count = self.node("ReduceSum", present, "tokens_axis", name="count", keepdims=1)
        part = self.node("Div", present, self.node("Max", count, "one", name="counted"), name="part")
        self.node("Unsqueeze", part, "tokens_axis", name="parts")

    def mean(self, source: str) -> str:
        """Add the mean over the tokens, of length 1."""
        mean = self.node("MatMul", "parts", source, name="mean_by_row")
        mean = self.node("Squeeze", mean, "tokens_axis", name="mean")
        length = self.node("ReduceL2", mean, name="mean_length", axes=[-1])
        return self.node(
            "Div", mean, self.node("Max", length, "shortest", name="safe_length"), name="embedding"
        )


def make(config: Mapping[str, Any], weights: Weights) -> onnx.ModelProto:
    """Make the network: `input_ids` and `attention_mask`, int64 `[batch, seq]`, to `embedding`, float32.

    Args:
        config: what Hugging Face's `config.json` says of it.
        weights: by the names that `BertModel` has for them.

    Raises:
        ValueError: a network of another kind.
        KeyError: a weight is missing.
    """
    shape = Shape.of(config)
    network = Network(shape, weights)
    for name, value in (
        ("epsilon", shape.epsilon),
        ("half", 0.5),
        ("one", 1.0),
        ("root_two", 2**0.5),
        ("most_hidden", HIDDEN_BY_MASK),
        ("shortest", SHORTEST),
    ):
        network.constant(name, value)
    for name, numbers in (
        ("zero", [0]),
        ("first", [1]),
        ("second", [2]),
        ("tokens_axis", [1]),
        ("head_axes", [1, 2]),
        ("heads", [0, 0, shape.heads, shape.hidden // shape.heads]),
        ("joined", [0, 0, shape.hidden]),
    ):
        network.constant(name, numbers, "int64")
    network.mask()
    tokens = network.embed()
    for number in range(shape.layers):
        tokens = network.layer(tokens, f"encoder.layer.{number}")
    network.mean(tokens)
    graph = helper.make_graph(
        network.nodes,
        "minilm",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "seq"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", shape.hidden])],
        network.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)

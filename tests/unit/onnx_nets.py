"""Small networks as ONNX's own text; what is declared between `<` and `>` without values becomes a weight of ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper

from ascend_serve.spec.recipe import CompileRecipe

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'

FROZEN = """net (float[1,8,2,2] image) => (float[1,10] logits)
    <float[8,8,1,1] k, int64[2] shape = {1, 32}, float[32,10] w> {
    [conv] c = Conv(image, k)
    [flat] f = Reshape(c, shape)
    [fc] logits = Gemm(f, w)
}"""
"""Exported with a batch of one, which is written into `flat`."""

CHAIN = """net (float[N,8,2,2] image) => (float[N,10] logits)
    <float[8,8,1,1] k, int64[1] zero = {0}, int64[1] rest = {-1}, float[32,10] w> {
    [conv] c = Conv(image, k)
    [shape] s = Shape(c)
    [rows] n = Gather(s, zero)
    [target] t = Concat<axis=0>(n, rest)
    [flat] f = Reshape(c, t)
    [fc] logits = Gemm(f, w)
}"""
"""The same, exported with an open batch."""


def network(text: str, header: str = HEADER) -> onnx.ModelProto:
    """A model from text, weights filled in."""
    model = onnx.parser.parse_model(header + text)
    for value in model.graph.value_info:
        kind = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        dims = [dim.dim_value for dim in kind.shape.dim]
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(dims, dtype), value.name))
    del model.graph.value_info[:]
    return model


def recipe_of(folder: Path, model: onnx.ModelProto | str, **settings: object) -> CompileRecipe:
    """A recipe for a model, which is saved into the folder."""
    path = folder / "net.onnx"
    onnx.save(network(model) if isinstance(model, str) else model, path)
    return CompileRecipe.parse({"name": "net", "source": str(path), **settings})


@st.composite
def networks(draw, channels, side):
    """A network over `image` of shape [N, channels, side, side]: convolutions, pools, a flattening, dense layers."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    nodes, weights, last = [], [], "image"
    for layer in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["Conv", "MaxPool", "Relu", "Add", "BatchNormalization"]))
        made = f"t{layer}"
        if kind == "Conv":
            wide, pad = draw(st.integers(1, 4)), draw(st.integers(0, 1))
            kernel = draw(st.integers(1, min(3, side + 2 * pad)))
            stride = draw(st.integers(1, 2))
            weights.append(
                (f"k{layer}", rng.normal(size=(wide, channels, kernel, kernel)).astype(np.float32))
            )
            attributes = {"pads": [pad] * 4, "strides": [stride] * 2, "kernel_shape": [kernel] * 2}
            nodes.append(helper.make_node(kind, [last, f"k{layer}"], [made], **attributes))
            channels, side = wide, (side + 2 * pad - kernel) // stride + 1
        elif kind == "MaxPool":
            if side < 2:
                continue
            nodes.append(helper.make_node(kind, [last], [made], kernel_shape=[2, 2], strides=[2, 2]))
            side //= 2
        elif kind == "Relu":
            nodes.append(helper.make_node(kind, [last], [made]))
        elif kind == "Add":
            nodes.append(helper.make_node(kind, [last, last], [made]))
        else:
            names = [f"{part}{layer}" for part in ("scale", "bias", "mean", "var")]
            weights += [(name, np.ones(channels, np.float32)) for name in names]
            nodes.append(helper.make_node(kind, [last, *names], [made]))
        last = made
    features = channels * side * side
    how = draw(st.sampled_from(["flatten", "zero", "minus", "chain", "size"]))
    if how == "flatten":
        nodes.append(helper.make_node("Flatten", [last], ["flat"]))
    elif how in ("zero", "minus"):
        weights.append(("to", np.array([0, -1] if how == "zero" else [-1, features], np.int64)))
        nodes.append(helper.make_node("Reshape", [last, "to"], ["flat"]))
    else:
        weights += [("first", np.array([0], np.int64)), ("feat", np.array([features], np.int64))]
        nodes.append(helper.make_node("Shape", [last], ["shape"]))
        nodes.append(helper.make_node("Gather", ["shape", "first"], ["rows"]))
        if how == "size":
            # What ONNX's inference does not carry through: a division.
            nodes.append(helper.make_node("Size", [last], ["all"]))
            nodes.append(helper.make_node("Div", ["all", "rows"], ["feat_now"]))
        nodes.append(
            helper.make_node("Concat", ["rows", "feat_now" if how == "size" else "feat"], ["to"], axis=0)
        )
        nodes.append(helper.make_node("Reshape", [last, "to"], ["flat"]))
    last = "flat"
    for layer in range(draw(st.integers(0, 2))):
        wide = draw(st.integers(1, 5))
        weights.append((f"w{layer}", rng.normal(size=(features, wide)).astype(np.float32)))
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [f"d{layer}"]))
        features, last = wide, f"d{layer}"
    return nodes, weights, last


def model_of(nodes, weights, last, batch, shape):
    """A model of a drawn network, its batch axis as given: a size, or a symbol."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, *shape[1:]])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [None, None])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model

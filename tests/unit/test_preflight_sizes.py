import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from ascend_serve.compiling.preflight import preflight
from tests.unit.onnx_nets import CHAIN, FROZEN, model_of, network, networks, recipe_of

pytestmark = pytest.mark.unit

_ERRORS = onnxruntime.capi.onnxruntime_pybind11_state
_RUN_FAILED = (_ERRORS.InvalidArgument, _ERRORS.RuntimeException, _ERRORS.Fail)
BATCHES = {"inputs": {"image": [-1, 8, 2, 2]}, "gears": [1, 4, 8]}
ROWS = {"inputs": {"x": [-1, 5, 8]}, "gears": [1, 4]}


def errors(recipe):
    return [(finding.node, finding.text) for finding in preflight(recipe).errors]


def test_a_batch_written_into_a_reshape_is_named(tmp_path):
    ((node, text),) = errors(recipe_of(tmp_path, FROZEN, **BATCHES))
    assert node == "flat"
    assert "'flat' (Reshape)" in text
    assert "[1, 32]" in text
    assert "batch 4, 8" in text
    assert "dynamic" in text


def test_the_gear_that_a_graph_was_frozen_at_works(tmp_path):
    found = preflight(recipe_of(tmp_path, FROZEN, **BATCHES | {"gears": [1]}))
    assert not found.findings
    assert found.gears[0].outputs == {"logits": (1, 10)}


def test_a_batch_computed_from_the_input_is_right(tmp_path):
    found = preflight(recipe_of(tmp_path, CHAIN, **BATCHES))
    assert not found.findings
    assert [gear.outputs["logits"] for gear in found.gears] == [(1, 10), (4, 10), (8, 10)]


@pytest.mark.parametrize("target", ["0, -1", "-1, 32", "0, 32"])
def test_a_reshape_that_keeps_the_rows_is_right(tmp_path, target):
    recipe = recipe_of(tmp_path, FROZEN.replace("[1,8,", "[N,8,").replace("1, 32", target), **BATCHES)
    assert not preflight(recipe).findings


@pytest.mark.parametrize(
    ("text", "node", "says"),
    [
        (  # all rows become one, and the next operator cannot take it
            "net (float[1,8,2,2] image) => (float[1,10] y) <int64[2] s = {1, -1}, float[32,10] w> "
            "{ [flat] f = Reshape(image, s) [fc] y = Gemm(f, w) }",
            "flat",
            "'fc' (Gemm) fails",
        ),
        (
            "net (float[1,5,8] image) => (float[1,6,8] y) <int64[3] s = {1, 1, 8}, float[1,1,8] token> "
            "{ [wide] t = Expand(token, s) [cat] y = Concat<axis=1>(t, image) }",
            "wide",
            "'wide' (Expand) has the shape [1, 1, 8]",
        ),
        (
            "net (float[1,5,8] image) => (float[1,6,8] y) <float[1,1,8] token> "
            "{ [cat] y = Concat<axis=1>(token, image) }",
            "cat",
            "'token' of shape [1, 1, 8]",
        ),
        (
            "net (float[2,5,8] image) => (float[2,6,8] y) <int64[3] r = {2, 1, 1}, float[1,1,8] token> "
            "{ [wide] t = Tile(token, r) [cat] y = Concat<axis=1>(t, image) }",
            "wide",
            "the repeats [2, 1, 1]",
        ),
        (
            "net (float[1,5,8] image) => (float[1,6,8] y) <int64[3] s = {1, 1, 8}> "
            "{ [zeros] t = ConstantOfShape(s) [cat] y = Concat<axis=1>(t, image) }",
            "zeros",
            "[1, 1, 8]",
        ),
        (
            "net (float[5,1,8] image) => (float[5,1,1,4] y) <float[1,16,8] w, float[1,16,4] r, float[1,1,4] h> "
            '{ [turn] t = Transpose<perm=[1,0,2]>(image) [rnn] y = LSTM<hidden_size=4>(t, w, r, "", "", h, h) }',
            "rnn",
            "initial_h",
        ),
    ],
)
def test_every_kind_of_constant_is_named(tmp_path, text, node, says):
    model = network(text)
    dims = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    recipe = recipe_of(tmp_path, model, inputs={"image": [-1, *dims[1:]]}, gears=[3, 7])
    ((blamed, message),) = errors(recipe)
    assert blamed == node
    assert says in message


def test_constant_sizes_of_a_resize_are_named(tmp_path):
    text = """net (float[1,8,2,2] image) => (float[1,8,4,4] y) <int64[4] sizes = {1, 8, 4, 4}> {
        [up] u = Resize(image, "", "", sizes) [out] y = Relu(u) }"""
    ((node, message),) = errors(recipe_of(tmp_path, text, **BATCHES))
    assert node == "up"
    assert "output 'y' has shape [1, 8, 4, 4] at batch 4" in message


def test_rows_put_into_one_and_taken_apart_again_are_only_warned_of(tmp_path):
    text = """net (float[1,8,2,2] image) => (float[1,32] y) <int64[3] s = {1, -1, 2}, int64[2] back = {-1, 32}> {
        [merge] m = Reshape(image, s) [soft] p = Softmax<axis=1>(m) [apart] y = Reshape(p, back) }"""
    found = preflight(recipe_of(tmp_path, text, **BATCHES))
    assert not found.errors
    assert [finding.node for finding in found.findings if "into one" in finding.text] == ["merge"]


def test_shapes_computed_with_what_onnx_does_not_propagate(tmp_path):
    # As exporters write `expand(-1, -1, 8)`: ONNX's own inference leaves Equal and Where open.
    text = """net (float[N,5,8] x) => (float[N,6,8] y)
        <float[1,1,8] token, int64[3] asked = {-1, 1, 8}, int64 less = {-1}, int64[1] zero = {0},
        int64[2] rest = {1, 8}> {
        s = Shape(x) n = Gather(s, zero)
        full = Concat<axis=0>(n, rest) e = Equal(asked, less) t = Where(e, full, asked)
        wide = Expand(token, t) y = Concat<axis=1>(wide, x) }"""
    found = preflight(recipe_of(tmp_path, text, **ROWS))
    assert not found.findings
    assert [gear.outputs["y"] for gear in found.gears] == [(1, 6, 8), (4, 6, 8)]


def test_sizes_that_never_fit_are_an_error_of_the_node(tmp_path):
    text = "net (float[N,5] x) => (float[N,3] y) <float[4,3] w> { [fc] y = MatMul(x, w) }"
    ((node, message),) = errors(recipe_of(tmp_path, text, inputs={"x": [-1, 5]}, gears=[1, 2]))
    assert node == "fc"
    assert "batch 1, 2" in message


def test_an_image_size_that_does_not_fit_is_named(tmp_path):
    text = FROZEN.replace("1, 32", "0, 32").replace("[1,8,2,2]", "[1,8,H,W]")
    recipe = recipe_of(tmp_path, text, inputs={"image": [1, 8, -1, -1]}, image_gears=[[2, 2], [4, 4]])
    ((node, message),) = errors(recipe)
    assert node == "flat"
    assert "image size 4x4" in message


def test_what_follows_an_unknown_operator_is_not_judged(tmp_path):
    header = '<ir_version: 8, opset_import: ["" : 17, "my" : 1]>\n'
    text = "net (float[N,5] x) => (float[N,3] y) <float[4,3] w> { [odd] u = my.Odd(x) [fc] y = MatMul(u, w) }"
    found = preflight(recipe_of(tmp_path, network(text, header), inputs={"x": [-1, 5]}, gears=[1, 2]))
    assert not found.errors
    assert [finding.node for finding in found.findings] == ["odd"]
    assert found.device_bytes is None


def test_an_image_smaller_than_a_window_is_named(tmp_path):
    text = "net (float[1,8,H,W] image) => (float[1,8,P,Q] y) <float[8,8,3,3] k> { [conv] y = Conv(image, k) }"
    recipe = recipe_of(tmp_path, text, inputs={"image": [1, 8, -1, -1]}, image_gears=[[3, 3], [2, 4]])
    ((node, message),) = errors(recipe)
    assert node == "conv"
    assert "image size 2x4" in message


def test_an_output_without_rows_cannot_be_batched(tmp_path):
    text = "net (float[N,5] x) => (float y, float[N,5] z) { [sum] y = ReduceSum<keepdims=0>(x) [same] z = Relu(x) }"
    batched = {"inputs": {"x": [-1, 5]}, "gears": [1, 2]}
    ((_, message),) = errors(recipe_of(tmp_path, text, **batched))
    assert "output 'y' has shape []" in message
    assert not errors(recipe_of(tmp_path, text, **batched, out_nodes=["same:0"]))


def _features(nodes, weights, channels, side, name):
    """Elements in one row of a tensor, found by running the network up to it."""
    upto = [helper.make_node("Identity", [name], ["row"])]
    model = model_of([*nodes, *upto][: len(nodes) + 1], weights, "row", 1, [0, channels, side, side])
    model.graph.output[0].type.tensor_type.ClearField("shape")
    needed = onnx.utils.Extractor(model).extract_model(["image"], ["row"])
    session = onnxruntime.InferenceSession(needed.SerializeToString(), providers=["CPUExecutionProvider"])
    return int(session.run(None, {"image": np.zeros((1, channels, side, side), np.float32)})[0].size)


@settings(max_examples=60)
@given(st.data())
def test_shapes_are_those_of_a_run(data):
    channels, side = data.draw(st.integers(1, 4)), data.draw(st.integers(4, 9))
    nodes, weights, last = data.draw(networks(channels, side))
    gears = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True))
    model = model_of(nodes, weights, last, "N", [0, channels, side, side])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with tempfile.TemporaryDirectory() as folder:
        recipe = recipe_of(Path(folder), model, inputs={"image": [-1, channels, side, side]}, gears=gears)
        found = preflight(recipe)
    assert not found.findings
    assert [gear.gear for gear in found.gears] == [(gear,) for gear in gears]
    for gear in found.gears:
        feed = np.zeros((*gear.gear, channels, side, side), np.float32)
        (answer,) = session.run(None, {"image": feed})
        assert gear.outputs[last] == answer.shape
        assert gear.output_bytes == answer.nbytes
        assert gear.input_bytes == feed.nbytes


@settings(max_examples=60)
@given(st.data())
def test_a_frozen_batch_is_an_error_exactly_when_a_run_fails(data):
    channels, side = data.draw(st.integers(1, 4)), data.draw(st.integers(4, 9))
    nodes, weights, last = data.draw(networks(channels, side))
    frozen = data.draw(st.integers(1, 4))
    (position,) = [place for place, node in enumerate(nodes) if node.output[0] == "flat"]
    source = nodes[position].input[0]
    features = data.draw(st.sampled_from([-1, _features(nodes, weights, channels, side, source)]))
    weights.append(("fixed", np.array([frozen, features], np.int64)))
    nodes[position] = helper.make_node("Reshape", [source, "fixed"], ["flat"], name="flat")
    gear = data.draw(st.integers(1, 8))
    model = model_of(nodes, weights, last, frozen, [0, channels, side, side])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model_of(nodes, weights, last, "N", [0, channels, side, side]).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    try:
        (answer,) = session.run(None, {"image": np.zeros((gear, channels, side, side), np.float32)})
        works = answer.shape[0] == gear
    except _RUN_FAILED:
        works = False
    with tempfile.TemporaryDirectory() as folder:
        recipe = recipe_of(Path(folder), model, inputs={"image": [-1, channels, side, side]}, gears=[gear])
        found = preflight(recipe)
    assert bool(found.errors) is not works
    assert all(finding.node == "flat" for finding in found.errors)

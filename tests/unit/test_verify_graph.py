import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from ascend_serve.errors import ConfigError
from ascend_serve.verifying.onnx_graph import OnnxGraph

pytestmark = pytest.mark.unit

NET = """
net (float[n,3] x, int64[n,2] ids, bool[1] choice) => (float[n,3] y, float[n,2,4] rows)
<float[9,4] table = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9}, float[1] one = {1},
 float[6,4] small = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,1,2,3,4,5,6}, int64[1] flat = {-1}>
{
  two = Add(one, one)
  a = Add(x, two)
  b = Exp(a)
  c = Neg(a)
  chosen = If (choice) <
    then_branch = yes () => (float[n,3] t) { t = Identity(b) },
    else_branch = no () => (float[n,3] e) { e = Identity(c) }>
  y = Relu(chosen)
  narrow = Cast <to = 6> (ids)
  long = Reshape(narrow, flat)
  also = Gather(small, long)
  rows = Gather(table, ids)
}
"""


def written(path, text, **kept):
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    onnx.save(model, path, **kept)
    return OnnxGraph(path)


@pytest.fixture
def graph(tmp_path):
    return written(tmp_path / "net.onnx", NET)


def test_a_graph_tells_its_ends_and_makers(graph):
    assert (graph.inputs, graph.outputs) == (("x", "ids", "choice"), ("y", "rows"))
    assert graph.node_of("b").op_type == "Exp"
    assert graph.node_of("x") is None
    assert graph.node_of("table") is None


def test_what_stands_behind_a_tensor_is_in_order_and_without_constants(graph):
    assert graph.behind("b") == ["a", "b"]
    assert graph.behind("y") == ["a", "b", "c", "chosen", "y"]  # what a body reads belongs to its operator
    assert graph.behind("rows") == ["rows"]
    assert graph.behind("two") == []
    assert graph.behind("x") == []


def test_tables_bound_the_ids_that_reach_them(graph):
    assert graph.id_limits() == {"ids": 6}


def test_the_table_s_axis_is_the_one_looked_up_in(tmp_path):
    text = (
        "net (int32[n] i) => (float[2,n] y) <float[2,3] t = {1,2,3,4,5,6}> { y = Gather <axis = 1> (t, i) }"
    )
    assert written(tmp_path / "m.onnx", text).id_limits() == {"i": 3}
    constant = """net (int32[n] i) => (float[n] y)
        { t = Constant <value = float[5] {1,2,3,4,5}> () y = Gather(t, i) }"""
    assert written(tmp_path / "c.onnx", constant).id_limits() == {"i": 5}


def test_output_names_of_a_compiled_model_are_found(tmp_path):
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {NET}')
    model.graph.node[2].name = "boom"
    onnx.save(model, tmp_path / "named.onnx")
    graph = OnnxGraph(tmp_path / "named.onnx")
    assert graph.tensor_of("boom:0") == "b"
    assert graph.tensor_of("c") == "c"
    assert graph.tensor_of("c:0") == "c"  # as a frozen SavedModel's outputs are called
    assert graph.tensor_of("c:1") is None
    assert graph.tensor_of("boom:1") is None
    assert graph.tensor_of("nothing") is None


def test_a_copy_gives_tensors_from_within_and_takes_other_shapes(tmp_path):
    text = "net (float[1,3] x) => (float[1,3] y) <float[1] two = {2}> { a = Mul(x, two) y = Exp(a) }"
    graph = written(tmp_path / "m.onnx", text)
    graph.copy(tmp_path / "copy.onnx", also=["a", "y"], shapes={"x": (-1, 3)})
    onnx.checker.check_model(tmp_path / "copy.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "copy.onnx")
    assert [value.name for value in session.get_outputs()] == ["y", "a"]
    x = np.ones((5, 3), np.float32)
    np.testing.assert_array_equal(session.run(["a"], {"x": x})[0], 2 * x)
    assert graph.outputs == OnnxGraph(tmp_path / "m.onnx").outputs == ("y",)


def test_a_copy_takes_weights_along_that_lie_outside_the_file(tmp_path):
    (tmp_path / "copies").mkdir()
    text = "net (float[2] x) => (float[2] y) <float[2] w = {2,3}> { a = Mul(x, w) y = Neg(a) }"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    weight = model.graph.initializer[0]
    weight.CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(weight), "w")
    )  # only raw bytes are kept outside
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="w.bin")
    graph = OnnxGraph(tmp_path / "m.onnx")
    assert graph.presentable(["a", "y"]) == ["a", "y"]
    graph.copy(tmp_path / "copies" / "copy.onnx", also=["a"], shapes={})
    (tmp_path / "w.bin").unlink()
    session = onnxruntime.InferenceSession(tmp_path / "copies" / "copy.onnx")
    np.testing.assert_array_equal(session.run(["a"], {"x": np.float32([1, 1])})[0], [2, 3])


def test_a_tensor_whose_type_nothing_tells_is_left_out(tmp_path):
    path = tmp_path / "m.onnx"
    odd = onnx.helper.make_node("Odd", ["x"], ["o"], domain="own")
    last = onnx.helper.make_node("Relu", ["o"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([odd, last], "g", ends[:1], ends[1:])
    imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("own", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=imports), path)
    assert OnnxGraph(path).presentable(["o", "y"]) == ["y"]


def test_no_onnx_model_is_refused_by_name(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\xff\xff\xff")
    with pytest.raises(ConfigError, match=r"m\.onnx is no ONNX model"):
        OnnxGraph(tmp_path / "m.onnx")

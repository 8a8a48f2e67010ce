"""The files that hold a model: their digests, and what ATC is given of them."""

import hashlib
import shutil

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from ascend_serve.compiling.recipes import anchored
from ascend_serve.compiling.sources import input_order, prepared_source, source_digests
from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe

pytestmark = pytest.mark.unit


def recipe(folder, source, **settings):
    return anchored(CompileRecipe.parse({"name": "net", "source": source} | settings), folder)


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def write(folder, texts):
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def network(folder, name="net.onnx", *, initializers=(), nodes=(), functions=()):
    """A network of y = x + b and whatever else, with the tensors it keeps outside."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("b", "x")]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "b"], ["y"]), *nodes],
        "net",
        values,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        list(initializers),
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=8)
    (folder / name).write_bytes(model.SerializeToString())
    return model


def outside(name, location):
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def constant(tensor):
    return helper.make_node("Constant", [], [f"{tensor.name}_out"], value=tensor)


@pytest.mark.parametrize(
    ("source", "framework"), [("net.pb", None), ("net.air", None), ("net.model", "tensorflow")]
)
def test_a_model_in_one_file(tmp_path, source, framework):
    (tmp_path / source).write_text("graph")
    assert source_digests(recipe(tmp_path, source, framework=framework)) == {"model": sha256("graph")}


def test_caffes_weights_are_a_file_of_their_own(tmp_path):
    write(tmp_path, {"net.prototxt": "layers", "net.caffemodel": "numbers"})
    made = recipe(tmp_path, "net.prototxt", weight="net.caffemodel")
    assert source_digests(made) == {"model": sha256("layers"), "weight": sha256("numbers")}
    (tmp_path / "net.caffemodel").unlink()
    with pytest.raises(ConfigError, match=r"recipe 'net': weight .*net.caffemodel does not exist"):
        source_digests(made)


def test_tensors_outside_of_an_onnx_model_wherever_they_are(tmp_path):
    branch = helper.make_graph(
        [helper.make_node("Identity", ["inner"], ["chosen"])],
        "branch",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [2])],
        [outside("inner", "parts/inner")],
    )
    choice = helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
    function = helper.make_function(
        "own", "Own", [], ["o_out"], [constant(outside("o", "function"))], [helper.make_opsetid("", 17)]
    )
    network(
        tmp_path,
        initializers=[outside("b", "weights"), outside("d", "weights")],
        nodes=[choice, constant(outside("k", "constant"))],
        functions=[function],
    )
    write(tmp_path, {"weights": "w", "parts/inner": "i", "constant": "c", "function": "f"})
    found = source_digests(recipe(tmp_path, "net.onnx"))
    assert found.pop("model") == hashlib.sha256((tmp_path / "net.onnx").read_bytes()).hexdigest()
    assert found == {
        "model/weights": sha256("w"),
        "model/parts/inner": sha256("i"),
        "model/constant": sha256("c"),
        "model/function": sha256("f"),
    }
    (tmp_path / "function").unlink()
    with pytest.raises(
        ConfigError, match=r"keeps weights in .*function, which does not exist; copy it beside"
    ):
        source_digests(recipe(tmp_path, "net.onnx"))


def test_a_model_without_tensors_outside_is_one_file(tmp_path):
    network(tmp_path)
    assert list(source_digests(recipe(tmp_path, "net.onnx"))) == ["model"]
    (tmp_path / "broken.onnx").write_bytes(b"\xff location")
    assert list(source_digests(recipe(tmp_path, "broken.onnx"))) == ["model"]


def test_a_saved_model_is_all_of_its_files_and_not_its_name(tmp_path):
    write(tmp_path / "first", {"saved_model.pb": "graph", "variables/data": "x"})
    found = source_digests(recipe(tmp_path, "first"))
    assert found == {"model/saved_model.pb": sha256("graph"), "model/variables/data": sha256("x")}
    shutil.move(tmp_path / "first", tmp_path / "second")
    assert source_digests(recipe(tmp_path, "second")) == found


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.onnx", "recipe 'net': source .*gone.onnx does not exist"),
        ("folder.onnx", "source .*folder.onnx does not exist"),
        ("gone", r"source .*gone is no SavedModel, which is a folder with a saved_model.pb"),
        ("folder", "is no SavedModel"),
        ("file", "is no SavedModel.*give `framework`"),
    ],
)
def test_a_source_that_is_not_there_is_named(tmp_path, source, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=message):
        source_digests(recipe(tmp_path, source))


def test_atc_is_given_a_file_as_it_is_and_a_saved_model_converted(tmp_path, monkeypatch):
    assert prepared_source(recipe(tmp_path, "net.onnx"), tmp_path / "scratch") == tmp_path / "net.onnx"
    python = tmp_path / "python"
    python.write_text("""#!/bin/sh\ncp "$2/net.onnx" "$5"; echo '{"inputs": [], "outputs": []}' > "$6"\n""")
    python.chmod(0o755)
    monkeypatch.setenv("ASCEND_SERVE_TENSORFLOW_PYTHON", str(python))
    model, scratch = tmp_path / "model", tmp_path / "scratch"
    model.mkdir()
    scratch.mkdir()
    network(model)
    for how, suffix, inputs in (("freeze", ".pb", ("x", "b")), ("onnx", ".onnx", ("b", "x"))):
        made = recipe(tmp_path, "model", saved_model=how, inputs={"x": [2], "b": [2]})
        source = prepared_source(made, scratch)
        assert source == scratch / f"model{suffix}"
        assert input_order(made, source) == inputs


def test_the_order_of_inputs_is_the_models_where_it_tells(tmp_path):
    network(tmp_path)
    made = recipe(tmp_path, "net.onnx", inputs={"x": [2], "b": [2]})
    assert input_order(made, tmp_path / "net.onnx") == ("b", "x")
    network(tmp_path, initializers=[numpy_helper.from_array(np.zeros(2, np.float32), "b")])
    assert input_order(made, tmp_path / "net.onnx") == ("x",)
    frozen = recipe(tmp_path, "net.pb", inputs={"x": [2], "b": [2]})
    assert input_order(frozen, tmp_path / "net.pb") == ("x", "b")

from pathlib import Path

import numpy as np
import onnx
import pytest

from ascend_serve.compiling.saved_model import Converted
from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.verifying import find_departure, reference
from ascend_serve.verifying.onnx_graph import OnnxGraph
from ascend_serve.verifying.reference import Reference, onnx_source

pytestmark = pytest.mark.unit

TEXT = "net (float16[2] x, int64[2] n) => (float16[2] y) { f = Cast <to = 10> (n) y = Mul(x, f) }"
SHAPES = {"x": (2,), "n": (2,)}


@pytest.fixture
def graph(tmp_path):
    return written(tmp_path, TEXT)


def written(folder, text):
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17, "own" : 1]> {text}')
    onnx.save(model, folder / "net.onnx")
    return OnnxGraph(folder / "net.onnx")


def test_inputs_are_made_the_sources_types(graph):
    with Reference(graph, ["y"], SHAPES) as source:
        found = source.run({"x": np.float32([1, 2]), "n": np.int32([3, 4])})
    assert found["y"].dtype == np.float16
    assert found["y"].tolist() == [3, 8]


def test_what_it_wrote_is_gone_after_closing(graph):
    with Reference(graph, ["f", "y"], SHAPES) as source:
        found = source.run({"x": np.float16([1, 2]), "n": np.int64([3, 4])})
        folder = Path(source._session._model_path).parent
        assert folder.is_dir()
    assert {name: array.tolist() for name, array in found.items()} == {"f": [3, 4], "y": [3, 8]}
    assert not folder.exists()


def test_outputs_of_unknown_names_are_matched_by_place_and_it_says_so(graph):
    with Reference(graph, ["Mul_7:0"], SHAPES) as source:
        assert source.notes == ("outputs are matched by their place, since the source has no Mul_7:0",)
        assert list(source.run({"x": np.float16([1, 2]), "n": np.int64([3, 4])})) == ["Mul_7:0"]


def test_more_outputs_of_unknown_names_are_refused(graph):
    with pytest.raises(ConfigError, match=r"'extra'\] are no tensors of .*compiled from another source"):
        Reference(graph, ["y", "extra"], SHAPES)


def test_other_inputs_are_refused(graph):
    with (
        Reference(graph, ["y"], SHAPES) as source,
        pytest.raises(ConfigError, match=r"takes \['x'\], .* takes \['n', 'x'\]"),
    ):
        source.run({"x": np.float16([1, 2])})


def test_shapes_that_do_not_go_together_are_onnxruntimes_words(tmp_path):
    graph = written(tmp_path, "net (float[n] a, float[m] b) => (float[k] y) { y = Add(a, b) }")
    with (
        Reference(graph, ["y"], {"a": (-1,), "b": (-1,)}) as source,
        pytest.raises(ConfigError, match=r"cannot run .* on a \[2\], b \[3\]: "),
    ):
        source.run({"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)})


def test_operators_that_onnxruntime_does_not_have_are_its_words(tmp_path):
    graph = written(tmp_path, "net (float[2] x) => (float[2] y) { y = own.Odd(x) }")
    with pytest.raises(ConfigError, match=r"onnxruntime cannot load .*Odd"):
        Reference(graph, ["y"], {"x": (2,)})


# --- sources of other kinds ------------------------------------------------------------------------


def recipe(**settings):
    return CompileRecipe.parse({"name": "net", "inputs": {"x": [2]}, **settings})


def test_a_saved_model_is_converted(tmp_path, monkeypatch):
    asked = []

    def convert(folder, how, signature, out, *, timeout_s):
        asked.append((folder, how, signature, out, timeout_s))
        return Converted(out / "made.onnx", ("x",), ("y",))

    monkeypatch.setattr(reference, "convert", convert)
    wanted = recipe(source=str(tmp_path / "saved"), signature="predict", timeout_s=7)
    assert onnx_source(wanted, tmp_path) == tmp_path / "made.onnx"
    assert asked == [(tmp_path / "saved", "onnx", "predict", tmp_path, 7)]


@pytest.mark.parametrize(("name", "framework"), [("m.pb", "tensorflow"), ("m.air", "mindspore")])
def test_other_frameworks_are_refused_with_the_way_out(tmp_path, name, framework):
    with pytest.raises(ConfigError, match=f"a {framework} model cannot be verified here.*ONNX export"):
        onnx_source(recipe(source=str(tmp_path / name)), tmp_path)


def test_a_source_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.onnx does not exist"):
        onnx_source(recipe(source=str(tmp_path / "gone.onnx")), tmp_path)


def test_a_frozen_graph_is_not_searched():
    with pytest.raises(ConfigError, match="search with `saved_model: onnx`"):
        find_departure(recipe(source="saved"), "Ascend310P3", "y", ())

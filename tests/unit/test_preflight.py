import json
import tempfile
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from ascend_serve.cli.preflight import command
from ascend_serve.compiling.preflight import preflight, preflight_targets
from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import resolve_soc
from tests.unit.onnx_nets import CHAIN, FROZEN, HEADER, network, recipe_of

pytestmark = pytest.mark.unit

NET = "net (float[N,4] x) => (float[N,3] y) <float[4,3] w> { [fc] h = MatMul(x, w) [act] y = Relu(h) }"
ROWS = {"inputs": {"x": [-1, 4]}, "gears": [1, 2]}
CUSTOM = '<ir_version: 8, opset_import: ["" : 17, "my" : 1]>\n'


def codes(found, severity="error"):
    return [finding.code for finding in found.findings if finding.severity == severity]


def texts(found, severity="error"):
    return " ".join(finding.text for finding in found.findings if finding.severity == severity)


def with_source(path, **settings):
    return CompileRecipe.parse({"name": "net", "source": str(path), **settings})


def test_a_right_recipe_has_no_findings(tmp_path):
    found = preflight(recipe_of(tmp_path, NET, **ROWS), resolve_soc("Ascend310P3"))
    assert found.findings == ()
    assert [(gear.gear, gear.inputs, gear.outputs) for gear in found.gears] == [
        ((1,), {"x": (1, 4)}, {"y": (1, 3)}),
        ((2,), {"x": (2, 4)}, {"y": (2, 3)}),
    ]


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (None, "E13000", "does not exist"),
        (b"", "E13015", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "E13005", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "E13005", "web page"),
        (b"PK\x03\x04archive", "E13005", "zip"),
        (b"\xff\xff no protobuf", "E13005", "no ONNX model"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "E13005", "no graph"),
    ],
)
def test_a_source_that_is_no_model(tmp_path, content, code, says):
    if content is not None:
        (tmp_path / "net.onnx").write_bytes(content)
    found = preflight(with_source(tmp_path / "net.onnx"))
    assert codes(found) == [code]
    assert says in texts(found)


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_model_is_found_wanting_or_taken_but_never_raises(data):
    content = bytearray(network(data.draw(st.sampled_from([CHAIN, FROZEN]))).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[place] = data.draw(st.integers(0, 255))
        else:
            del content[place]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        path.write_bytes(content)
        recipe = with_source(path, inputs={"image": [-1, 8, 2, 2]}, gears=[1, 4])
        found = preflight(recipe, resolve_soc("Ascend310P3"))
    assert found.errors or found.gears


def test_other_frameworks_are_looked_at_as_files(tmp_path):
    (tmp_path / "net.pb").write_bytes(b"graph")
    assert not preflight(with_source(tmp_path / "net.pb")).findings
    (tmp_path / "saved").mkdir()
    assert codes(preflight(with_source(tmp_path / "saved"))) == ["E13000"]
    (tmp_path / "net.prototxt").write_text("layer {}")
    caffe = with_source(tmp_path / "net.prototxt", weight=str(tmp_path / "net.caffemodel"))
    assert codes(preflight(caffe)) == ["E13000"]


def test_files_of_options_have_to_be_there(tmp_path):
    found = preflight(recipe_of(tmp_path, NET, **ROWS, keep_dtype=str(tmp_path / "gone.cfg")))
    assert codes(found) == ["E10410"]
    assert len(found.gears) == 2


def external(tmp_path, location="weights.bin"):
    model = network(NET)
    (weight,) = model.graph.initializer
    del weight.external_data[:]
    data = weight.raw_data
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return model, data


def test_external_data_is_looked_for_beside_the_model(tmp_path):
    model, data = external(tmp_path)
    recipe = recipe_of(tmp_path, model, **ROWS)
    assert codes(preflight(recipe)) == ["E13001"]
    (tmp_path / "weights.bin").write_bytes(data[:-1])
    assert "47 bytes where the model wants at least 48" in texts(preflight(recipe))
    (tmp_path / "weights.bin").write_bytes(data)
    assert not preflight(recipe).findings


def test_external_data_stays_in_the_folder(tmp_path):
    (tmp_path / "in").mkdir()
    model, data = external(tmp_path, "../weights.bin")
    (tmp_path / "weights.bin").write_bytes(data)
    found = preflight(recipe_of(tmp_path / "in", model, **ROWS))
    assert codes(found) == ["E13001"]
    assert "outside the model's folder" in texts(found)


def test_a_target_in_external_data_is_read(tmp_path):
    model = network(FROZEN)
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="all.bin", size_threshold=0)
    recipe = with_source(tmp_path / "net.onnx", inputs={"image": [-1, 8, 2, 2]}, gears=[1, 4])
    assert [finding.node for finding in preflight(recipe).errors] == ["flat"]


def test_a_graph_that_onnx_refuses(tmp_path):
    model = network(NET)
    model.graph.node[1].input[0] = "nowhere"
    found = preflight(recipe_of(tmp_path, model, **ROWS))
    assert "onnx.checker" in texts(found)


@pytest.mark.parametrize(("opset", "warned"), [(10, True), (11, False), (18, False), (21, True)])
def test_opsets_that_atc_documents(tmp_path, opset, warned):
    model = network(NET, HEADER.replace("17", str(opset)))
    found = preflight(recipe_of(tmp_path, model, **ROWS))
    assert not found.errors
    assert (f"opset {opset}" in texts(found, "warning")) is warned


def test_an_output_without_a_shape_is_no_fault(tmp_path):
    model = network(NET)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    found = preflight(recipe_of(tmp_path, model, **ROWS))
    assert not found.findings
    assert found.gears[1].outputs == {"y": (2, 3)}


def test_a_newer_ir_version_is_warned_of(tmp_path):
    model = network(NET)
    model.ir_version = 99
    found = preflight(recipe_of(tmp_path, model, **ROWS))
    assert not found.errors
    assert "IR version 99" in texts(found, "warning")


def test_two_versions_of_one_domain(tmp_path):
    model = network(NET)
    model.opset_import.append(helper.make_opsetid("", 16))
    assert "E16005" in codes(preflight(recipe_of(tmp_path, model, **ROWS)))


def test_a_domain_nothing_uses_is_warned_of(tmp_path):
    found = preflight(recipe_of(tmp_path, network(NET, CUSTOM), **ROWS))
    assert codes(found, "warning") == ["E16005"]


@pytest.mark.parametrize("operator", ["my.Odd", "Oddity"])
def test_operators_that_onnx_does_not_have(tmp_path, operator):
    text = f"net (float[N,4] x) => (float[N,4] y) {{ [odd] y = {operator}(x) }}"
    found = preflight(recipe_of(tmp_path, network(text, CUSTOM if "." in operator else HEADER), **ROWS))
    assert not found.errors
    assert [(finding.code, finding.node) for finding in found.findings] == [("E16002", "odd")]


def test_functions_of_the_model_are_expanded_for_shapes_and_warned_of(tmp_path):
    text = """net (float[N,4] x) => (float[N,4] y) { [call] y = my.Twice(x) }
        <domain: "my", opset_import: ["" : 17]> Twice (a) => (b) { b = Add(a, a) }"""
    found = preflight(recipe_of(tmp_path, network(text, CUSTOM), **ROWS))
    assert [(finding.code, finding.node) for finding in found.findings] == [("E16002", "call")]
    assert found.gears[1].outputs == {"y": (2, 4)}


def test_node_names_stand_once(tmp_path):
    found = preflight(recipe_of(tmp_path, NET.replace("[act]", "[fc]"), **ROWS))
    assert [(finding.code, finding.node) for finding in found.errors] == [("E13009", "fc")]
    same = preflight(recipe_of(tmp_path, NET.replace("[act]", "[x]"), **ROWS))
    assert codes(same, "warning") == ["E13009"]


def test_a_graph_without_inputs(tmp_path):
    text = "net () => (float[1] y) <float[1] w> { y = Relu(w) }"
    assert "E16001" in codes(preflight(recipe_of(tmp_path, text)))


@pytest.mark.parametrize(
    ("inputs", "code", "says"),
    [
        ({"X": [-1, 4]}, "E10016", "known: x"),
        ({"w": [-1, 3]}, "E10016", "weight of the graph"),
        ({"fc": [-1, 4]}, "E10017", "inner node"),
        ({"x": [-1, 4, 1]}, "E10049", "3 dims"),
    ],
)
def test_inputs_that_do_not_fit_the_graph(tmp_path, inputs, code, says):
    found = preflight(recipe_of(tmp_path, NET, inputs=inputs, gears=[1, 2]))
    assert codes(found)[0] == code
    assert says in texts(found)
    assert found.gears == ()


def test_open_dims_need_shapes(tmp_path):
    found = preflight(recipe_of(tmp_path, NET))
    assert codes(found) == ["E10001"]
    assert "[N, 4]" in texts(found)


def test_dims_that_the_graph_fixes_are_overridden_with_a_warning(tmp_path):
    recipe = recipe_of(tmp_path, NET.replace("[N,4]", "[1,4]"), **ROWS)
    found = preflight(recipe)
    assert not found.errors
    assert "axis 0 of 'x' is fixed to 1" in texts(found, "warning")
    assert not preflight(recipe.model_copy(update={"gears": (1,)})).findings


def test_a_range_has_to_hold_the_size_of_the_graph(tmp_path):
    text = NET.replace("[N,4]", "[8,4]")
    assert codes(preflight(recipe_of(tmp_path, text, inputs={"x": ["1~4", 4]}))) == ["E10050"]


def test_every_input_of_a_batch_has_rows(tmp_path):
    text = "net (float[N,4] x, float[4] z) => (float[N,4] y) { y = Add(x, z) }"
    found = preflight(recipe_of(tmp_path, text, **ROWS))
    assert "input 'z' has no -1 at axis 0" in texts(found)
    dims = preflight(recipe_of(tmp_path, text, inputs={"x": [-1, 4]}, dims_gears=[[1], [2]]))
    assert not dims.findings


def test_a_scalar_is_listed_when_there_are_gears(tmp_path):
    text = "net (float[N,4] x, float z) => (float[N,4] y) { y = Add(x, z) }"
    found = preflight(recipe_of(tmp_path, text, inputs={"x": [-1, 4]}, dims_gears=[[1], [2]]))
    assert "scalar" in texts(found, "warning")
    listed = recipe_of(tmp_path, text, inputs={"x": [-1, 4], "z": []}, dims_gears=[[1], [2]])
    assert not preflight(listed).findings


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.BFLOAT16])
def test_types_that_cannot_be_served(tmp_path, kind):
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", kind, [1])],
        [helper.make_tensor_value_info("y", kind, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = preflight(recipe_of(tmp_path, model))
    assert [TensorProto.DataType.Name(kind).lower() in finding.text for finding in found.errors] == [True] * 2


def test_an_output_that_is_no_tensor(tmp_path):
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_value_info("y", sequence)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert "output 'y' is no tensor" in texts(preflight(recipe_of(tmp_path, model)))


def test_shapes_that_depend_on_values(tmp_path):
    text = "net (float[N,4] x) => (int64[2,K] y) { [find] y = NonZero(x) }"
    geared = preflight(recipe_of(tmp_path, text, inputs={"x": [-1, 4]}, dims_gears=[[1], [2]]))
    assert [finding.node for finding in geared.errors] == ["find"]
    assert geared.gears[0].output_bytes is None
    static = preflight(recipe_of(tmp_path, text, inputs={"x": [2, 4]}))
    assert not static.errors
    assert [finding.node for finding in static.findings] == ["find"]


def test_shapes_of_shapes_do_not_depend_on_values(tmp_path):
    text = """net (float[N,4] x) => (float[N,4] y) { s = Shape(x) at = NonZero(s) f = Cast<to=1>(at)
        m = ReduceMax<keepdims=0>(f) y = Add(x, m) }"""
    assert not preflight(recipe_of(tmp_path, text, **ROWS)).errors


def test_branches_are_warned_of_with_gears(tmp_path):
    text = """net (float[N,4] x, bool[N] c) => (float[N,4] y) { z = Constant<value_int=0>() p = Gather(c, z)
        [fork] y = If(p) <then_branch = a () => (float[N,4] t) { t = Relu(x) },
                          else_branch = b () => (float[N,4] e) { e = Abs(x) }> }"""
    found = preflight(recipe_of(tmp_path, text, inputs={"x": [-1, 4], "c": [-1]}, gears=[1, 2]))
    assert not found.errors
    assert [finding.node for finding in found.findings] == ["fork"]


def test_outputs_that_are_not_there(tmp_path):
    found = preflight(recipe_of(tmp_path, NET, **ROWS, out_nodes=["cat:0"]))
    assert codes(found) == ["E10016"]
    assert "did you mean 'act'" in texts(found)
    chosen = preflight(recipe_of(tmp_path, NET, **ROWS, out_nodes=["fc:0"]))
    assert chosen.gears[0].outputs == {"h": (1, 3)}


@pytest.mark.parametrize(
    ("soc", "settings", "says"),
    [
        ("Ascend310P3", {"precision_mode": "allow_mix_precision_bf16"}, "no bfloat16"),
        ("Ascend910B3", {"precision_mode": "allow_mix_precision_bf16"}, ""),
        ("Ascend910B3", {"precision_mode_v2": "mixed_hif8"}, "no hif8"),
        ("Ascend950PR_9599", {"precision_mode_v2": "mixed_hif8"}, ""),
        ("Ascend310P3", {"output_type": "HIF8"}, "950 family alone"),
        ("Ascend310P3", {"core_type": "VectorCore"}, ""),
        ("Ascend910B3", {"core_type": "VectorCore"}, "310P family alone"),
        ("Ascend310B4", {"inputs": {"x": [-1, 4]}, "gears": []}, "no open shapes"),
        ("Ascend310P3", {"inputs": {"x": ["1~4", 4]}, "gears": []}, ""),
        ("Ascend035", {}, "mode 30"),
    ],
)
def test_what_a_chip_cannot_do(tmp_path, soc, settings, says):
    found = preflight(recipe_of(tmp_path, NET, **ROWS | settings), resolve_soc(soc))
    assert says in texts(found)
    assert bool(found.errors) is bool(says)


def test_caffe_is_not_for_newer_chips(tmp_path):
    for name in ("net.prototxt", "net.caffemodel"):
        (tmp_path / name).write_text("x")
    recipe = with_source(tmp_path / "net.prototxt", weight=str(tmp_path / "net.caffemodel"))
    found = preflight_targets(recipe, [resolve_soc("Ascend310P3"), resolve_soc("Ascend910B3")])
    assert not found["Ascend310P3"].findings
    assert "Caffe" in texts(found["Ascend910B3"])


@pytest.mark.parametrize("target", ["Ascend910", "Ascend910B", "Ascend310"])
def test_names_of_chips_that_mislead(tmp_path, target):
    found = preflight(recipe_of(tmp_path, NET, **ROWS, targets=[target]), resolve_soc(target))
    assert not found.errors
    assert target in texts(found, "warning")


def test_open_shapes_are_warned_of(tmp_path):
    found = preflight(recipe_of(tmp_path, NET, inputs={"x": [-1, 4]}))
    assert not found.errors
    assert "not served" in texts(found, "warning")
    assert found.gears == ()


IMAGE = "net (float[N,3,8,8] image) => (float[N,3,8,8] y) { y = Relu(image) }"
PICTURES = {"inputs": {"image": [-1, 3, 8, 8]}, "gears": [1, 2], "input_format": "NCHW"}


def test_images_have_to_fit_the_network(tmp_path):
    right = {"input": "image", "input_format": "RGB888_U8"}
    found = preflight(recipe_of(tmp_path, IMAGE, **PICTURES, aipp=[right]))
    assert not found.findings
    assert found.gears[1].input_bytes == 2 * 8 * 8 * 3
    grey = preflight(recipe_of(tmp_path, IMAGE, **PICTURES, aipp=[right | {"input_format": "YUV400_U8"}]))
    assert codes(grey) == ["E10052"]


def test_what_a_chip_refuses_of_images(tmp_path):
    wide = IMAGE.replace("8,8]", "8,1200]")
    section = {"input": "image", "input_format": "RGB888_U8", "padding": True, "left_padding_size": 8}
    section |= {"src_image_size_w": 1192, "src_image_size_h": 8}
    recipe = recipe_of(
        tmp_path, wide, inputs={"image": [-1, 3, 8, 1200]}, gears=[1, 2], aipp=[section], input_format="NCHW"
    )
    found = preflight_targets(recipe, [resolve_soc("Ascend310P3"), resolve_soc("Ascend910B3")])
    assert codes(found["Ascend310P3"]) == ["E10052"]
    assert not found["Ascend910B3"].findings


@pytest.fixture
def recipe_file(tmp_path):
    onnx.save(network(CHAIN), tmp_path / "net.onnx")

    def write(**settings):
        content = {
            "name": "net", "source": "net.onnx", "inputs": {"image": [-1, 8, 2, 2]}, "gears": [1, 4]
        }  # fmt: skip
        (tmp_path / "net.yaml").write_text(json.dumps(content | settings))
        return str(tmp_path / "net.yaml")

    return write


def test_the_command_prints_gears_and_sizes(recipe_file):
    result = CliRunner().invoke(command, [recipe_file()])
    assert result.exit_code == 0
    assert "image [4, 8, 2, 2]  logits [4, 10]" in result.output
    assert "on the card: about" in result.output
    assert "nothing stands in the way" in result.output


def test_the_command_tells_targets_apart(recipe_file):
    path = recipe_file(core_type="VectorCore")
    result = CliRunner().invoke(command, [path, "--soc", "Ascend310P3", "--soc", "Ascend910B3"])
    assert result.exit_code == 1
    assert "Ascend910B3: error: E10001: core_type" in result.output
    assert "Ascend310P3: error" not in result.output


def test_the_command_looks_at_the_name_as_it_was_given(recipe_file):
    result = CliRunner().invoke(command, [recipe_file(targets=["Ascend310P3"]), "--soc", "Ascend910"])
    assert result.exit_code == 0
    assert "warning: target Ascend910 is Ascend910A" in result.output


def test_the_command_takes_parameters(recipe_file):
    path = recipe_file(gears="${gears}", parameters={"gears": None})
    result = CliRunner().invoke(command, [path, "--set", "gears=2,6"])
    assert result.exit_code == 0, result.output
    assert "logits [6, 10]" in result.output
    refused = CliRunner().invoke(command, [path, "--set", "gears"])
    assert isinstance(refused.exception, ConfigError)
    assert "give NAME=VALUE" in str(refused.exception)


def test_the_command_writes_json(recipe_file):
    result = CliRunner().invoke(command, [recipe_file(inputs={"imgae": [-1, 8, 2, 2]}), "--json"])
    assert result.exit_code == 1
    content = json.loads(result.output)
    assert content["findings"][0]["code"] == "E10016"
    right = json.loads(CliRunner().invoke(command, [recipe_file(), "--json", "--soc", "Ascend310P3"]).output)
    assert right["gears"][1]["outputs"] == {"logits": [4, 10]}
    assert right["targets"] == {"Ascend310P3": []}

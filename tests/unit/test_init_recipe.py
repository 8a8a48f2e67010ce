import re
import struct
import tempfile
from pathlib import Path

import onnx
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from ascend_serve.cli.init_recipe import command
from ascend_serve.compiling.init_recipe import propose
from ascend_serve.compiling.preflight import preflight
from ascend_serve.compiling.recipes import load_recipe, parse_recipe
from ascend_serve.errors import ConfigError
from tests.unit.onnx_nets import CHAIN, FROZEN, model_of, network, networks

pytestmark = pytest.mark.unit


def saved(folder, text, name="net.onnx"):
    path = folder / name
    onnx.save(network(text), path)
    return path


def proposed(folder, text):
    """The proposal's settings; its recipe passes preflight and says on every line what it is for."""
    proposal = propose(saved(folder, text), folder=folder)
    lines = proposal.text.splitlines()
    for position, line in enumerate(lines):
        if not line.startswith(("#", " ", "- ")):
            assert lines[position - 1].startswith("# "), line
    (folder / "net.yaml").write_text(proposal.text)
    assert not preflight(load_recipe(folder / "net.yaml")).errors
    assert yaml.safe_load(proposal.text) == proposal.settings
    return proposal.settings


def test_an_open_batch_is_a_gear(tmp_path):
    assert proposed(tmp_path, CHAIN) == {
        "name": "net",
        "source": "net.onnx",
        "input_format": "NCHW",
        "inputs": {"image": [-1, 8, 2, 2]},
        "gears": [1, 4, 8, 16],
        "precision": "fp16",
        "targets": [],
    }


def test_a_batch_that_is_fixed_inside_stays_fixed(tmp_path):
    settings = proposed(tmp_path, FROZEN)
    assert settings["inputs"] == {"image": [1, 8, 2, 2]}
    assert "gears" not in settings
    text = " ".join((tmp_path / "net.yaml").read_text().split())
    assert "they need a graph whose axes are dynamic" in text
    assert "Gears were tried: node 'flat' (Reshape)" in text


def test_a_fixed_batch_that_nothing_depends_on_may_be_a_gear(tmp_path):
    settings = proposed(tmp_path, "net (float[1,3,8,8] image) => (float[1,3,8,8] y) { y = Relu(image) }")
    assert settings["gears"] == [1, 4, 8, 16]
    assert "exported with a fixed batch" in (tmp_path / "net.yaml").read_text()


@pytest.mark.parametrize("batch", ["N", "1"])
def test_open_height_and_width_are_image_gears(tmp_path, batch):
    text = f"net (float[{batch},3,H,W] image) => (float[{batch},3,P,Q] y) {{ y = Relu(image) }}"
    settings = proposed(tmp_path, text)
    assert settings["inputs"] == {"image": [1, 3, -1, -1]}
    assert settings["image_gears"] == [[224, 224], [448, 448]]
    text = (tmp_path / "net.yaml").read_text()
    assert "guesses" in text
    assert ("the batch is 1 here" in text) is (batch == "N")


def test_open_lengths_are_dims_gears_over_batch_and_length(tmp_path):
    text = """net (int64[B,S] ids, int64[B,S] mask) => (float[B,S,4] y) <float[100,4] table> {
        e = Gather(table, ids) m = Cast<to=1>(mask) w = Unsqueeze(m, last) y = Mul(e, w) }"""
    text = text.replace("<float[100,4] table>", "<float[100,4] table, int64[1] last = {-1}>")
    settings = proposed(tmp_path, text)
    assert settings["input_format"] == "ND"
    assert settings["inputs"] == {"ids": [-1, -1], "mask": [-1, -1]}
    assert settings["dims_gears"] == [
        [rows, length, rows, length] for rows in (1, 8) for length in (64, 128, 256)
    ]


def test_sizes_without_a_name_are_told_by_their_place(tmp_path):
    model = network("net (int64[B,S] ids) => (int64[B,S] y) { y = Abs(ids) }")
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.Clear()
    onnx.save(model, tmp_path / "net.onnx")
    assert propose(tmp_path / "net.onnx").settings["dims_gears"][0] == [1, 64]


def test_an_input_without_a_batch_gives_fixed_shapes(tmp_path):
    settings = proposed(tmp_path, "net (float[N,4] x, float[4] z) => (float[N,4] y) { y = Add(x, z) }")
    assert settings["inputs"] == {"x": [1, 4], "z": [4]}


def test_what_preflight_finds_is_told_when_nothing_helps(tmp_path):
    broken = "net (float[1,5] x) => (float[1,3] y) <float[4,3] w> { [fc] y = MatMul(x, w) }"
    proposal = propose(saved(tmp_path, broken))
    assert any("To be solved first" in note and "'fc'" in note for note in proposal.notes)


def test_an_input_of_unknown_rank_is_refused(tmp_path):
    model = network("net (float[N] x) => (float[N] y) { y = Relu(x) }")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(ConfigError, match="'x' has no rank"):
        propose(tmp_path / "net.onnx")


def test_targets_and_name_are_taken(tmp_path):
    path = saved(tmp_path, CHAIN, "my net (v2).onnx")
    assert propose(path).settings["name"] == "my_net_v2_"
    proposal = propose(path, ["Ascend310P3"], name="other")
    assert (proposal.settings["name"], proposal.settings["targets"]) == ("other", ["Ascend310P3"])
    with pytest.raises(ConfigError, match="Ascend310P9"):
        propose(path, ["Ascend310P9"])


@settings(max_examples=40)
@given(st.data())
def test_every_proposal_passes_preflight(data):
    channels, side = data.draw(st.integers(1, 4)), data.draw(st.integers(4, 9))
    drawn = data.draw(networks(channels, side))
    batch = data.draw(st.sampled_from(["N", 1, 3]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        onnx.save(model_of(*drawn, batch, [0, channels, side, side]), path)
        proposal = propose(path, folder=path.parent)
        recipe = parse_recipe(proposal.text)
        found = preflight(recipe.model_copy(update={"source": str(path)}))
    assert not found.errors
    assert recipe.gears == (1, 4, 8, 16)


def field(number, content):
    """One field of a protobuf message: a number, or bytes."""
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content & (1 << 64) - 1)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value):
    out = b""
    while value > 0x7F:
        out += struct.pack("B", value & 0x7F | 0x80)
        value >>= 7
    return out + struct.pack("B", value)


def shape(*dims):
    return b"".join(field(2, field(1, dim)) for dim in dims)


def placeholder(name, dtype, dims, op=b"Placeholder"):
    attributes = {b"dtype": field(6, dtype), b"shape": field(7, shape(*dims))}
    entries = b"".join(field(5, field(1, key) + field(2, value)) for key, value in attributes.items())
    return field(1, field(1, name) + field(2, op) + entries)


def test_a_frozen_graph_is_read_without_tensorflow(tmp_path):
    graph = placeholder(b"image", 1, (-1, 224, 224, 3)) + placeholder(b"w", 1, (3,), op=b"Const")
    (tmp_path / "net.pb").write_bytes(graph)
    settings = propose(tmp_path / "net.pb").settings
    assert settings["input_format"] == "NHWC"
    assert settings["inputs"] == {"image": [-1, 224, 224, 3]}
    assert settings["gears"] == [1, 4, 8, 16]
    (tmp_path / "net.pb").write_bytes(placeholder(b"image", 1, (-1, -1, -1, 3)))
    assert propose(tmp_path / "net.pb").settings["inputs"] == {"image": [1, -1, -1, 3]}
    (tmp_path / "ids.pb").write_bytes(placeholder(b"ids", 3, (-1, -1)))
    assert propose(tmp_path / "ids.pb").settings["dims_gears"][0] == [1, 64]


@pytest.mark.parametrize("content", [b"\xff\xff", b"", field(1, field(1, b"w") + field(2, b"Const"))])
def test_what_is_no_frozen_graph_is_refused(tmp_path, content):
    (tmp_path / "net.pb").write_bytes(content)
    with pytest.raises(ConfigError, match="no frozen TensorFlow graph"):
        propose(tmp_path / "net.pb")


def test_a_saved_model_is_read_by_its_signature(tmp_path):
    def signed(name):
        tensor = field(1, b"serving_x:0") + field(2, 1) + field(3, shape(-1, 4))
        inputs = field(1, field(1, b"x") + field(2, tensor))
        return field(2, field(5, field(1, name) + field(2, inputs)))

    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(field(1, 1) + signed(b"serving_default"))
    settings = propose(folder, folder=tmp_path).settings
    assert settings["source"] == "saved"
    assert settings["inputs"] == {"x": [-1, 4]}
    assert settings["signature"] == "serving_default"
    (folder / "saved_model.pb").write_bytes(field(1, 1) + signed(b"classify"))
    with pytest.raises(ConfigError, match="no signature 'serving_default'; its signatures: classify"):
        propose(folder)


@pytest.mark.parametrize(
    "content",
    [
        'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }',
        'input: "data"\ninput_dim: 1\ninput_dim: 3\ninput_dim: 8\ninput_dim: 8\n',
        'name: "n"\nlayer { name: "data" type: "Input" top: "data" # first\n'
        "input_param { shape: { dim: 1 dim: 3 dim: 8 dim: 8 } } }\nlayer { type: 'ReLU' top: 'y' }",
    ],
)
def test_a_caffe_net_is_read_as_text(tmp_path, content):
    (tmp_path / "net.prototxt").write_text(content)
    settings = propose(tmp_path / "net.prototxt", folder=tmp_path).settings
    assert settings["weight"] == "net.caffemodel"
    assert settings["inputs"] == {"data": [-1, 3, 8, 8]}
    (tmp_path / "net.prototxt").write_text("layer { type: 'ReLU' }")
    with pytest.raises(ConfigError, match="names no inputs"):
        propose(tmp_path / "net.prototxt")


def test_a_mindspore_model_is_compiled_as_it_is(tmp_path):
    (tmp_path / "net.air").write_bytes(b"air")
    assert "inputs" not in propose(tmp_path / "net.air").settings


def test_the_command_writes_a_file_once(tmp_path):
    saved(tmp_path, CHAIN)
    (tmp_path / "recipes").mkdir()
    arguments = [str(tmp_path / "net.onnx"), "--output", str(tmp_path / "recipes" / "net.yaml")]
    assert CliRunner().invoke(command, arguments).exit_code == 0
    recipe = load_recipe(tmp_path / "recipes" / "net.yaml")
    assert not preflight(recipe).findings
    again = CliRunner().invoke(command, arguments)
    assert isinstance(again.exception, ConfigError)
    assert "--force" in str(again.exception)
    assert CliRunner().invoke(command, [*arguments, "--force", "--soc", "Ascend310P3"]).exit_code == 0
    assert load_recipe(tmp_path / "recipes" / "net.yaml").targets == ("Ascend310P3",)


def test_a_folder_takes_a_file_named_after_the_model(tmp_path):
    saved(tmp_path, CHAIN)
    result = CliRunner().invoke(command, [str(tmp_path / "net.onnx"), "--output", f"{tmp_path}/new/recipes/"])
    assert result.exit_code == 0
    written = tmp_path / "new/recipes/net.yaml"
    assert f"wrote {written}" in result.stderr
    recipe = load_recipe(written)
    assert recipe.gears
    assert not preflight(recipe).findings


def test_what_cannot_be_written_is_named_with_the_way_out(tmp_path):
    saved(tmp_path, CHAIN)
    (tmp_path / "plain").touch()
    result = CliRunner().invoke(command, [str(tmp_path / "net.onnx"), "--output", f"{tmp_path}/plain/r.yaml"])
    assert isinstance(result.exception, ConfigError)
    assert re.search(r"cannot write .*/plain/r.yaml: .*: give another --output", str(result.exception))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("gone.onnx", r"there is no model .*gone\.onnx: give an ONNX file"),
        (".", "being no folder with saved_model.pb in it: give an ONNX"),
    ],
)
def test_what_is_no_model_is_refused_with_what_to_give(tmp_path, model, says):
    with pytest.raises(ConfigError, match=says):
        propose(tmp_path / model)


def test_the_command_prints_the_recipe(tmp_path, monkeypatch):
    saved(tmp_path, CHAIN)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, ["net.onnx"])
    assert yaml.safe_load(result.output)["source"] == "net.onnx"

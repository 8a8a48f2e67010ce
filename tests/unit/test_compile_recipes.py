import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ascend_serve.compiling.key import artifact_key
from ascend_serve.compiling.recipes import anchored, load_recipe, parse_recipe
from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import resolve_soc

pytestmark = pytest.mark.unit

SOC = resolve_soc("Ascend310P3")


def test_paths_are_relative_to_the_recipe(tmp_path):
    (tmp_path / "aipp.cfg").write_text("aipp_op {}")
    recipe = tmp_path / "net.yaml"
    recipe.write_text(
        "name: net\nsource: ../net.onnx\ninsert_op_conf: aipp.cfg\noutput: out/net\nverify: {inputs: data.npz}\n"
        "tune: {job_type: operator, tune_ops_file: ops.txt}\nextra_args: [--new_file=aipp.cfg, --new=0]\n"
    )
    loaded = load_recipe(recipe)
    assert loaded.source == f"{tmp_path}/../net.onnx"
    assert loaded.insert_op_conf == f"{tmp_path}/aipp.cfg"
    assert loaded.output == f"{tmp_path}/out/net"
    assert loaded.verify.inputs == f"{tmp_path}/data.npz"
    assert loaded.tune.tune_ops_file == f"{tmp_path}/ops.txt"
    assert loaded.extra_args == (f"--new_file={tmp_path}/aipp.cfg", "--new=0")
    assert anchored(loaded, tmp_path / "elsewhere") == loaded


def test_a_value_too_long_for_a_path_stays_as_it_is(tmp_path):
    nodes = "--new_nodes=" + ";".join(f"conv{number}:0" for number in range(100))
    recipe = CompileRecipe.parse({"name": "net", "source": "net.onnx", "extra_args": [nodes]})
    assert anchored(recipe, tmp_path).extra_args == (nodes,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not NoneType"),
        ("name: net\nname: net\nsource: s\n", "line 2: key 'name' stands twice"),
        ("name: net\nsource: s\ninputs: {x: [1], x: [2]}\n", "key 'x' stands twice"),
        ("name: [net\n", "line 2: expected"),
        ("name: net\nsource: s\ngaers: [1]\n", "did you mean 'gears'"),
        ("name: !!python/object:os.system x\n", "could not determine a constructor"),
        ("name: \0\n", "special characters"),
        ("name: 2024-13-45\n", "month must be in 1..12"),
        (f"gears: [{'9' * 5000}]\n", "integer string conversion"),
        (f"gears: {'[' * 5000}{']' * 5000}\n", "nested too deep"),
        ("{[a]: 1}\n", "line 1: found unhashable key"),
        ("? {a: b}\n: c\n", "line 1: found unhashable key"),
    ],
)
def test_bad_yaml_is_one_line_with_the_cause(text, says):
    with pytest.raises(ConfigError, match=says) as caught:
        parse_recipe(text, "net.yaml")
    assert str(caught.value).startswith("net.yaml:")
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.yaml: No such file"):
        load_recipe(tmp_path / "gone.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_recipe(tmp_path / "bytes.yaml")


@pytest.fixture
def model(tmp_path):
    """A model whose one weight lies in a file of its own."""
    folder = tmp_path / "models"
    folder.mkdir()
    weight = numpy_helper.from_array(np.eye(2, dtype=np.float32) * 3, "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [weight],
    )
    path = folder / "net.onnx"
    onnx.save(
        helper.make_model(graph),
        path,
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
        convert_attribute=True,
    )
    return path


def key_of(source, fingerprint="f", soc=SOC, influences=None, bank="", **settings):
    recipe = CompileRecipe.parse({"name": "net", "source": str(source), "inputs": {"x": [1, 2]}} | settings)
    return artifact_key(recipe, soc, fingerprint, influences or {}, bank)


def test_the_key_depends_on_everything_that_changes_the_model(model, tmp_path):
    config = tmp_path / "aipp.cfg"
    config.write_text("one")
    given = {"insert_op_conf": str(config)}
    named = {"extra_args": [f"--new_file={config}"]}
    switches = {"fusion_switch_file": str(config)}
    aipp = {"input": "x", "input_format": "RGB888_U8"}
    image = {"x": [1, 3, 8, 8]}
    keys = [
        key_of(model),
        key_of(model, fingerprint="other"),
        key_of(model, soc=resolve_soc("Ascend310P1")),
        key_of(model, influences={"TUNE_BANK_PATH": "/bank"}),
        key_of(model, name="other"),
        key_of(model, precision="fp32"),
        key_of(model, inputs={"x": [2, 2]}),
        key_of(model, inputs={"x": [-1, 2]}, gears=[2]),
        key_of(model, inputs={"x": [-1, 2]}, gears=[1, 2]),
        key_of(model, inputs={"x": [-1, 2]}, gears=[1, 4]),
        key_of(model, output_type="FP16"),
        key_of(model, inputs={"x": [-1, -1]}, dims_gears=[[1, 2], [3, 4]]),
        key_of(model, inputs={"x": [-1, -1]}, dims_gears=[[1, 2], [4, 3]]),
        key_of(model, inputs={"x": [-1, -1]}, dims_gears=[[1, 2], [4, 3]], batched=False),
        key_of(model, inputs=image),
        key_of(model, inputs=image, aipp=[aipp]),
        key_of(model, inputs=image, aipp=[aipp | {"rbuv_swap_switch": True}]),
        key_of(model, framework="tensorflow"),
        key_of(model, bank="b"),
        key_of(model, verify={}),
        key_of(model, verify={"min_cosine": 0.9}),
        key_of(model, extra_args=["--new=1"]),
        key_of(model, **given),
        key_of(model, **named),
        key_of(model, **switches),
    ]
    config.write_text("two")
    keys += [key_of(model, **given), key_of(model, **named), key_of(model, **switches)]
    weights = model.with_name("w.bin")
    weights.write_bytes(weights.read_bytes()[::-1])
    keys.append(key_of(model))
    model.write_bytes(model.read_bytes() + b"\x12\x04test")
    keys.append(key_of(model))
    assert len(set(keys)) == len(keys)


def test_the_key_does_not_depend_on_anything_else(model, tmp_path):
    key = key_of(model, inputs={"x": [1, 2], "y": [3]})
    for settings in (
        {"inputs": {"y": [3], "x": [1, 2]}},
        {"log": "debug", "timeout_s": 1, "num_cpus": 7, "memory_bytes": 0, "targets": ["Ascend910B1"]},
        {"output": "/else/where", "resources": {"cann": 1}, "node_labels": {"a": "b"}, "debug_dir": "/tmp"},
        {"op_compiler_cache_mode": "enable", "display_model_info": True, "framework": "onnx"},
    ):
        assert key_of(model, **({"inputs": {"x": [1, 2], "y": [3]}} | settings)) == key
    moved = model.parent.rename(tmp_path / "elsewhere") / model.name
    assert key_of(moved, inputs={"x": [1, 2], "y": [3]}) == key
    renamed = moved.rename(moved.with_name("other.onnx"))
    assert key_of(renamed, inputs={"x": [1, 2], "y": [3]}) == key


def test_the_order_of_gears_and_inputs_changes_no_key(model):
    gears = {"inputs": {"x": [-1, 2], "y": [-1, -1]}, "dims_gears": [[1, 1, 8], [4, 4, 16]]}
    reordered = {"inputs": {"y": [-1, -1], "x": [-1, 2]}, "dims_gears": [[4, 16, 4], [1, 8, 1]]}
    assert key_of(model, **gears) == key_of(model, **reordered)
    batch = {"inputs": {"x": [-1, 2]}}
    assert key_of(model, gears=[4, 1, 2], **batch) == key_of(model, gears=[1, 2, 4], **batch)


def test_open_shapes_are_keyed_by_their_host(model):
    opened = {"inputs": {"x": [-1, 2]}}
    keys = {key_of(model, host_env_cpu=cpu, **opened) for cpu in ("x86_64", "aarch64")}
    assert len(keys) == 2


def test_missing_files_are_named(model):
    with pytest.raises(
        ConfigError, match=r"insert_op_conf names .*gone\.cfg, which does not exist \(E10410\)"
    ):
        key_of(model, insert_op_conf=str(model.with_name("gone.cfg")))
    model.with_name("w.bin").unlink()
    with pytest.raises(ConfigError, match=r"keeps weights in .*w\.bin"):
        key_of(model)
    with pytest.raises(ConfigError, match=r"source .*gone\.onnx does not exist"):
        key_of(model.with_name("gone.onnx"))


def test_a_file_that_is_no_model_still_has_a_key(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\xff\xff location")
    assert len(key_of(broken)) == 64

"""What excludes what: the recipe refuses it before anything runs, with the code that atc ends with.

Each case says the same twice, as a recipe's keys and as options; the emulated atc is the judge of the second
(facts: ATC §1.4–1.9, §2.4).
"""

import json

import pytest

from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from tests.unit.atc_runs import NET, code, folder, refused, run, save  # noqa: F401 (fixtures)

pytestmark = pytest.mark.unit

SHAPE = ["--input_shape=x:-1,4"]
OPEN = {"inputs": {"x": [-1, 4]}}


@pytest.mark.parametrize(
    ("settings", "arguments", "expected"),
    [
        (
            OPEN | {"gears": [1, 2], "dims_gears": [[1], [2]]},
            ["--dynamic_batch_size=1,2", "--dynamic_dims=1;2"],
            "E10009",
        ),
        (
            OPEN | {"gears": [1, 2], "image_gears": [[1, 2], [2, 3]]},
            ["--dynamic_batch_size=1,2", "--dynamic_image_size=1,2;2,3"],
            "E10009",
        ),
        (
            OPEN | {"gears": [1, 2], "input_shape_range": "x:[1~2,4]"},
            ["--dynamic_batch_size=1,2", "--input_shape_range=x:[1~2,4]"],
            "E10009",
        ),
        ({"gears": [1, 2]}, ["--dynamic_batch_size=1,2", "--input_shape="], "E10004"),
        (
            {"inputs": {"x": [1, 4]}, "gears": [1, 2]},
            ["--dynamic_batch_size=1,2", "--input_shape=x:1,4"],
            "E10031",
        ),
        (
            {"inputs": {"x": [-1, -1]}, "gears": [1, 2]},
            ["--dynamic_batch_size=1,2", "--input_shape=x:-1,-1"],
            "E10018",
        ),
        (
            {"inputs": {"x": ["1~2", 4]}, "gears": [1, 2]},
            ["--dynamic_batch_size=1,2", "--input_shape=x:1~2,4"],
            "E10040",
        ),
        (
            {"inputs": {"x": [-1, 4]}, "image_gears": [[1, 2], [3, 4]]},
            ["--dynamic_image_size=1,2;3,4"],
            "E10019",
        ),
        (
            OPEN | {"image_gears": [[1, 2], [3, 4]], "input_format": "ND"},
            ["--dynamic_image_size=1,2;3,4", "--input_format=ND"],
            "E10019",
        ),
        (
            {"inputs": {"x": [2, 4]}, "dims_gears": [[1], [2]]},
            ["--dynamic_dims=1;2", "--input_shape=x:2,4"],
            "E10001",
        ),
        (OPEN | {"dims_gears": [[1, 2], [2, 3]]}, ["--dynamic_dims=1,2;2,3"], "E10003"),
        ({"inputs": {"x": [0, 4]}}, ["--input_shape=x:0,4"], "E10011"),
        (
            OPEN | {"gears": [1, 2], "precision_mode": "force_fp16", "precision_mode_v2": "fp16"},
            ["--dynamic_batch_size=1,2", "--precision_mode=force_fp16", "--precision_mode_v2=fp16"],
            "E10056",
        ),
        (
            {"inputs": {"x": [2, 4]}, "enable_compress_weight": True, "compress_weight_conf": "net.onnx"},
            ["--input_shape=x:2,4", "--enable_compress_weight=true", "--compress_weight_conf=net.onnx"],
            "E10047",
        ),
        (
            {"inputs": {"x": [2, 4]}, "modify_mixlist": "lists.json"},
            ["--input_shape=x:2,4", "--modify_mixlist=lists.json"],
            "E10001",
        ),
        (
            {"inputs": {"x": [2, 4]}, "input_format": "NHWC"},
            ["--input_shape=x:2,4", "--input_format=NHWC"],
            "E10001",
        ),
        (
            {"inputs": {"x": [2, 4]}, "output_type": "DOUBLE"},
            ["--input_shape=x:2,4", "--output_type=DOUBLE"],
            "E10001",
        ),
        (
            {"inputs": {"x": [2, 4]}, "output_type": "act:0:INT32", "out_nodes": ["act:0"]},
            ["--input_shape=x:2,4", "--output_type=act:0:INT32", "--out_nodes=act:0"],
            "E10001",
        ),
    ],
)
def test_the_recipe_refuses_what_atc_refuses(refused, folder, settings, arguments, expected):  # noqa: F811
    (folder / "lists.json").write_text(json.dumps({"black-list": {"to-add": ["Relu"]}}))
    given = arguments if any(a.startswith("--input_shape=") for a in arguments) else [*SHAPE, *arguments]
    assert code(refused(NET, *given)) == expected
    with pytest.raises(ConfigError, match=expected):
        CompileRecipe.parse({"name": "net", "source": "net.onnx"} | settings)


@pytest.mark.parametrize("framework", [{"source": "net.prototxt"}, {"source": "net", "framework": "caffe"}])
def test_caffe_needs_its_weights(run, folder, framework):  # noqa: F811
    save(folder / "net.prototxt", NET)
    status, out, _ = run("--framework=0", "--model=net.prototxt", "--output=net", "--soc_version=Ascend310P3")
    assert (status, code(out)) == (255, "E10008")
    with pytest.raises(ConfigError, match=r"needs `weight`.*E10008"):
        CompileRecipe.parse({"name": "net"} | framework)


AIPP = {"aipp": [{"input": "x", "input_format": "RGB888_U8"}]}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (OPEN | {"gears": [1], "input_hint_shape": "0:[1,3]"}, "input_hint_shape .* excludes gears"),
        (
            OPEN | {"input_fp16_nodes": ["x"], "is_input_adjust_hw_layout": [True, False]},
            "has 2 switches for 1",
        ),
        ({"out_nodes": ["a:0"], "is_output_adjust_hw_layout": [True, True]}, "2 switches for 1 out_nodes"),
        ({"is_output_adjust_hw_layout": [True]}, "1 switches for 0 out_nodes"),
        (AIPP | {"insert_op_conf": "a.cfg", "inputs": {"x": [1, 3, 8, 8]}}, "aipp and insert_op_conf"),
        (AIPP | {"inputs": {"y": [1, 3, 8, 8]}}, "aipp: 'x' is no input"),
        (AIPP | {"inputs": {"x": [1, 3, 8, 8]}, "input_fp16_nodes": ["x"]}, "E10034"),
        (AIPP | {"inputs": {"x": [1, 3, 8, 8]}, "input_format": "ND"}, "NCHW or NHWC, not ND"),
        (AIPP, "aipp needs the inputs' shapes"),
        (OPEN | {"insert_op_conf": "a.cfg", "dims_gears": [[1], [2]]}, "insert_op_conf and dims_gears"),
        ({"precision": "fp16", "precision_mode_v2": "fp16"}, "precision and precision_mode_v2 exclude"),
        ({"optypelist_for_implmode": ["Pooling"]}, "needs op_select_implmode"),
        ({"deterministic": True, "deterministic_level": 0}, "both zero, or neither"),
        ({"output_type": "FP61"}, "none of FP32, .*did you mean 'FP16'"),
        ({"output_type": "act:0:FP16"}, "'act:0' is not among out_nodes"),
        ({"op_name_map": "names.txt"}, "op_name_map is for Caffe alone"),
        (OPEN | {"input_shape_range": "x:[1~2,4]"}, "say the same twice"),
        (OPEN | {"verify": {}}, "verify needs shapes"),
        ({"tune": {"job_type": "operator"}, "op_bank_path": "b"}, "tune and op_bank_path exclude"),
        ({"tune": {"job_type": "subgraph"}, "buffer_optimize": "off_optimize"}, "buffer_optimize on"),
        ({"source": "net.air", "input_format": "ND"}, "none of NCHW, which mindspore takes"),
    ],
)
def test_other_rules_name_the_fields_and_the_way_out(settings, says):
    with pytest.raises(ConfigError, match=says) as caught:
        CompileRecipe.parse({"name": "net", "source": "net.onnx"} | settings)
    assert "\n" not in str(caught.value)


def test_all_findings_are_told_at_once():
    with pytest.raises(ConfigError, match=r"E10056.*aipp and dims_gears|aipp and dims_gears.*E10056"):
        CompileRecipe.parse(
            {"name": "net", "source": "net.onnx", "inputs": {"x": [1, 3, -1, 8]}, "dims_gears": [[8], [9]]}
            | {"precision": "fp16", "precision_mode": "force_fp16"}
            | AIPP
        )

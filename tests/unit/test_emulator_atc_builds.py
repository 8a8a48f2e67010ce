"""What the emulated `atc` makes of models, and which models it refuses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest
from ascend_emulator.gears import GearKind, Gears
from ascend_emulator.om import OmFile, read_om

from tests.unit import atc_runs
from tests.unit.atc_runs import BASE, GEARS, HEADER, NET, STATIC, Run, code, save

pytestmark = pytest.mark.unit

# Fixtures, by the names that tests ask for them.
folder, run, compile_text, refused = atc_runs.folder, atc_runs.run, atc_runs.compile_text, atc_runs.refused


def test_files_that_are_no_model(run: Run, folder: Path) -> None:
    arguments = ["--model=net.onnx", "--output=net", *BASE]
    for content, expected in [(b"", "E13015"), (b"no model at all", "E13005"), (b"\x08\x08", "E16004")]:
        (folder / "net.onnx").write_bytes(content)
        status, out, _ = run(*arguments)
        assert (status, code(out)) == (255, expected)
    assert code(run("--model=.", "--output=net", *BASE)[1]) == "E13001"


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        (HEADER + " net () => (float[1] y) { y = Constant <value = float[1] {1}> () }", [], "E16001"),
        (HEADER + " net (float[1] x) => () { y = Relu(x) }", [], "E16001"),
        (HEADER + " net (float[1] x) => (float[1] z) { y = Relu(x) }", [], "E16001"),
        (HEADER + " net (float[1] x) => (float[1] y) { y = FindMax(x) }", [], "E13010"),
        (HEADER + " net (float[1] x) => (float[1] y) { [n] a = Abs(x) [n] y = Neg(a) }", [], "E13009"),
        (
            '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>'
            " net (float[1] x) => (float[1] y) { y = com.microsoft.Gelu(x) }",
            [],
            "E13010",
        ),
        (HEADER + " net (bfloat16[1] x) => (float[1] y) { y = Cast<to = 1>(x) }", [], "E10055"),
        (HEADER + " net (int8[2] x) => (int8[2] y) { [n] y = Sign(x) [m] z = Softmax(y) }", [], "EZ3003"),
        (HEADER + " net (float[2,3] x) => (float[2,3] y) { [mm] y = MatMul(x, x) }", [], "E14001"),
        (
            HEADER + " net (float[N] x) => (int64[1,M] y) { [nz] y = NonZero(x) }",
            ["--input_shape=x:-1", "--dynamic_batch_size=1,2"],
            "E10055",
        ),
        (
            HEADER + " net (float[4] x) => (int64[1,M] y) { [nz] y = NonZero(x) }",
            ["--soc_version=Ascend310B1"],
            "E10055",
        ),
        (
            HEADER + " net (float[N,4] x) => (float[1,4] y) <int64[2] s = {1, 4}> { [rs] y = Reshape(x, s) }",
            ["--input_shape=x:-1,4", "--dynamic_batch_size=1,2"],
            "E14001",
        ),
        (
            HEADER + " net (int32[4] x) => (int32[4] y) { y = Identity(x) }",
            ["--input_fp16_nodes=x"],
            "E10055",
        ),
    ],
)
def test_models_that_are_refused(
    refused: Callable[..., str], text: str, arguments: list[str], expected: str
) -> None:
    assert code(refused(text, *arguments)) == expected


def test_the_operator_at_fault_is_named(refused: Callable[..., str]) -> None:
    text = HEADER + " net (float[N,4] x) => (float[1,4] y) <int64[2] s = {1, 4}> { [rs] y = Reshape(x, s) }"
    out = refused(text, "--input_shape=x:-1,4", "--dynamic_batch_size=1,2")
    assert "Op rs with optype Reshape" in out


def test_every_unknown_operator_is_listed(refused: Callable[..., str]) -> None:
    out = refused(HEADER + " net (float[1] x) => (float[1] y) { z = FindMax(x) y = FindMin(z) }")
    assert "ai.onnx::17::FindMax" in out
    assert "ai.onnx::17::FindMin" in out.partition("TraceBack")[2]


def test_unknown_operators_leave_the_report_of_the_pre_check(
    refused: Callable[..., str], folder: Path
) -> None:
    refused(HEADER + " net (float[1] x) => (float[1] y) { [up] z = Abs(x) [max] y = FindMax(z) }")
    report = json.loads((folder / "check_result.json").read_text())
    assert (report["result"], report["total"], report["pass"], report["fail"]) == ("failed", 2, 1, 1)
    assert report["op"] == [
        {"name": "up", "result": "success", "type": "ai.onnx::17::Abs"},
        {
            "cause": [{"code": 1, "message": "The type is not supported."}],
            "name": "max",
            "result": "failed",
            "type": "ai.onnx::17::FindMax",
        },
    ]


def test_a_shape_that_depends_on_constants_alone_is_fine(compile_text: Callable[..., OmFile]) -> None:
    text = (
        HEADER
        + " net (float[4] x) => (float[1,2] y) <float[4] c = {0, 1, 0, 1}> { i = NonZero(c) y = Gather(x, i) }"
    )
    assert compile_text(text).outputs[0].dims == (1, 2)


def test_a_static_model(compile_text: Callable[..., OmFile]) -> None:
    om = compile_text(NET, *STATIC)
    assert om.name == "net"
    assert om.toolchain.startswith("ascend-emulator ")
    assert [(t.name, t.dtype, t.format, t.dims, t.size) for t in om.inputs] == [("x", 0, 2, (2, 4), 32)]
    assert [(t.name, t.dtype, t.format, t.dims, t.size) for t in om.outputs] == [
        ("act:0:y", 0, 2, (2, 3), 24)
    ]
    assert (om.gears, om.gear_input_dims, om.gear_output_dims, om.dynamic) == (None, (), (), False)
    assert om.input_order == ("x",)
    assert om.weight_size == 4 * 3 * 2  # halves
    assert om.memory_size > 0
    assert "--soc_version=Ascend310P3" in om.atc_cmdline
    assert om.atc_cmdline.partition(" ")[0].endswith(".bin")


def test_gears_keep_the_users_order(compile_text: Callable[..., OmFile]) -> None:
    om = compile_text(NET, "--input_shape=x:-1,4", "--dynamic_batch_size=2,8,1")
    assert om.gears == Gears(GearKind.BATCH, ((2,), (8,), (1,)))
    assert om.gear_input_dims == (((2, 4),), ((8, 4),), ((1, 4),))
    assert om.gear_output_dims == (((2, 3),), ((8, 3),), ((1, 3),))
    assert [(t.name, t.dims, t.size) for t in om.inputs] == [
        ("x", (-1, 4), 128),
        ("ascend_mbatch_shape_data", (1,), 4),
    ]
    assert (om.outputs[0].dims, om.outputs[0].size) == ((8, 3), 96)


def test_gears_override_a_batch_that_the_model_fixes(compile_text: Callable[..., OmFile]) -> None:
    text = HEADER + " net (float[1,4] x) => (float[1,4] y) { y = Relu(x) }"
    om = compile_text(text, "--input_shape=x:-1,4", "--dynamic_batch_size=2,3")
    assert om.gear_output_dims == (((2, 4),), ((3, 4),))


def test_the_suffix_is_always_added(run: Run, folder: Path) -> None:
    save(folder / "net.onnx", NET)
    assert run("--model=net.onnx", "--output=net.om", *BASE, *STATIC)[0] == 0
    assert read_om((folder / "net.om.om").read_bytes()).name == "net.om"


def test_layout_follows_the_rank(compile_text: Callable[..., OmFile]) -> None:
    text = HEADER + " net (float[1,1,2,2] a, float[3] b) => (float[3] c) { s = ReduceSum(a) c = Add(s, b) }"
    text = text.replace("ReduceSum(a)", "ReduceSum<keepdims = 0>(a)")
    assert [t.format for t in compile_text(text).inputs] == [0, 2]
    assert [t.format for t in compile_text(text, "--input_format=ND").inputs] == [2, 2]


def test_scalars_types_and_several_outputs(compile_text: Callable[..., OmFile]) -> None:
    text = (
        HEADER
        + " net (int64[2] i, double s, bool[2] m) => (int64[2] a, double b, int64[2] c)"
        + " { [n1] a = Neg(i) [n2] b = Abs(s) [n3] c = Where(m, i, a) }"
    )
    om = compile_text(text)
    assert [(t.name, t.dtype, t.dims, t.size) for t in om.inputs] == [
        ("i", 9, (2,), 16),
        ("s", 11, (), 8),
        ("m", 12, (2,), 2),
    ]
    assert [(t.name, t.dtype, t.size) for t in om.outputs] == [
        ("n1:0:a", 9, 16),
        ("n2:0:b", 11, 8),
        ("n3:0:c", 9, 16),
    ]


def test_unnamed_nodes_get_a_name(compile_text: Callable[..., OmFile]) -> None:
    om = compile_text(HEADER + " net (float[2] x) => (float[2] y) { h = Relu(x) y = Neg(h) }")
    assert om.outputs[0].name == "Neg_1:0:y"


@pytest.mark.parametrize("chosen", ["fc:0;act:0", "h;y"])
def test_out_nodes_choose_and_order(compile_text: Callable[..., OmFile], chosen: str) -> None:
    om = compile_text(NET, *STATIC, f"--out_nodes={chosen}")
    assert [t.name for t in om.outputs] == ["fc:0:h", "act:0:y"]
    assert compile_text(NET, *STATIC, "--out_nodes=fc:0").outputs[0].name == "fc:0:h"


@pytest.mark.parametrize("precision", ["fp16", "origin"])
def test_half_inputs_and_outputs(compile_text: Callable[..., OmFile], precision: str) -> None:
    flags = [f"--precision_mode_v2={precision}", "--output_type=FP16", "--input_fp16_nodes=x"]
    om = compile_text(NET, *STATIC, *flags)
    assert (om.inputs[0].dtype, om.inputs[0].size) == (1, 16)
    assert (om.outputs[0].dtype, om.outputs[0].size, om.outputs[0].name) == (1, 12, "act:0:y")


def test_weights_listed_as_inputs_are_no_inputs(
    compile_text: Callable[..., OmFile], folder: Path, run: Run
) -> None:
    model = onnx.parser.parse_model(NET)
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [4, 3]))
    onnx.save(model, folder / "old.onnx")
    assert run("--model=old.onnx", "--output=old", *BASE, *STATIC)[0] == 0
    assert [t.name for t in read_om((folder / "old.om").read_bytes()).inputs] == ["x"]


def test_external_data_comes_inside(compile_text: Callable[..., OmFile], folder: Path, run: Run) -> None:
    whole = compile_text(NET, *STATIC)
    inner = folder / "inner"
    inner.mkdir()
    model = onnx.parser.parse_model(NET)
    # Only raw bytes go to a file of their own.
    weight = onnx.numpy_helper.to_array(model.graph.initializer[0])
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(model, inner / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    assert run("--model=inner/net.onnx", "--output=net", *BASE, *STATIC)[0] == 0
    assert read_om((folder / "net.om").read_bytes()).network == whole.network
    os.remove(inner / "net.data")
    status, out, _ = run("--model=inner/net.onnx", "--output=gone", *BASE, *STATIC)
    assert (status, code(out)) == (255, "E13001")


def test_the_same_model_gives_the_same_bytes(compile_text: Callable[..., OmFile], folder: Path) -> None:
    compile_text(NET, *GEARS)
    first = (folder / "net.om").read_bytes()
    compile_text(NET, *GEARS)
    assert (folder / "net.om").read_bytes() == first


def test_an_opset_past_the_documented_range_is_taken_with_a_warning(run: Run, folder: Path) -> None:
    save(folder / "net.onnx", NET.replace("17", "20"))
    status, out, _ = run("--model=net.onnx", "--output=net", *BASE, *STATIC)
    assert status == 0
    assert out.splitlines()[-1].startswith("Warning: the model is of opset 20")


def test_local_functions_are_inlined(compile_text: Callable[..., OmFile], folder: Path) -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 17, "mine" : 1]> net (float[2] x) => (float[2] y) { y = mine.twice(x) }'
        ' <domain: "mine", opset_import: ["" : 17]> twice (a) => (b) { b = Add(a, a) }'
    )
    om = compile_text(text, "--precision_mode_v2=origin")
    assert {node.op_type for node in onnx.load_model_from_string(om.network).graph.node} == {"Add"}


def test_control_flow_runs_at_origin_and_is_refused_at_half(
    refused: Callable[..., str], run: Run, folder: Path
) -> None:
    text = (
        HEADER
        + " net (bool c, float[2] x) => (float[2] y) {"
        + " y = If (c) <then_branch = g1 () => (float[2] a) { a = Neg(x) },"
        + " else_branch = g2 () => (float[2] b) { b = Identity(x) }> }"
    )
    assert code(refused(text)) == "E10055"
    assert run("--model=net.onnx", "--output=net", *BASE, "--precision_mode_v2=origin")[0] == 0


@pytest.mark.skipif(
    tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 24),
    reason="this onnxruntime dies of an integer division by zero (SIGFPE)",
)
def test_a_model_may_divide_by_an_integer_it_is_given(compile_text: Callable[..., OmFile]) -> None:
    om = compile_text(HEADER + " net (int64[2] a, int64[1] b) => (int64[2] y) { y = Div(a, b) }")
    assert om.outputs[0].dims == (2,)

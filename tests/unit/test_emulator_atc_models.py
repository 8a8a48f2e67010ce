"""Models are compiled, and the network in the `.om` is run beside the original in the ONNX runtime."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]  # has no stubs
import pytest
from ascend_emulator.atc import main
from ascend_emulator.gears import GearKind, Gears
from ascend_emulator.om import OmFile, read_om

pytestmark = pytest.mark.unit

Array = np.ndarray[Any, Any]
Compile = Callable[..., OmFile]

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
TWO = HEADER + (
    " net (float[A,4] a, float[B,C] b) => (float[A,3] y, float[C,B] t) <float[4,3] w ="
    " {1,2,3,4,5,6,7,8,9,10,11,12}> { [fc] y = MatMul(a, w) [turn] t = Transpose(b) }"
)
IMAGE = HEADER + (
    " net (float[N,3,H,W] x) => (float[N,3,P,Q] y)"
    " { [pool] p = MaxPool<kernel_shape = [2,2], strides = [2,2]>(x) [up] y = Relu(p) }"
)
ORIGIN = "--precision_mode_v2=origin"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        *(f"ASCEND_EMULATOR_{each}" for each in ("FORCE", "CANN", "COMPILE_TIME")),
        "ASCEND_WORK_PATH",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("ASCEND_HOME_PATH", "ASCEND_OPP_PATH", "ASCEND_TOOLKIT_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_atc(*arguments: str, soc: str = "Ascend310P3") -> int:
    common = ["--framework=5", f"--soc_version={soc}", "--model=net.onnx", "--output=net"]
    return main([*common, *arguments])


@pytest.fixture
def compile_text(folder: Path) -> Compile:
    def call(text: str, *arguments: str, name: str = "net") -> OmFile:
        onnx.save(onnx.parser.parse_model(text), folder / "net.onnx")
        assert run_atc(*arguments) == 0
        return read_om((folder / f"{name}.om").read_bytes())

    return call


def host_name() -> str:
    return f"net_linux_{os.uname().machine}"


def session(data: bytes) -> Any:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def assert_same(om: OmFile, folder: Path, **feed: Array) -> list[Array]:
    """The compiled network gives what the original gives."""
    found = session(om.network).run(None, feed)
    expected = session((folder / "net.onnx").read_bytes()).run(None, feed)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert np.array_equal(one, other)
    return list(found)


def numbers(*shape: int) -> Array:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


# --- gears ----------------------------------------------------------------------------------------


def test_dims_gears_run_over_the_inputs_in_the_users_order(compile_text: Compile, folder: Path) -> None:
    om = compile_text(TWO, "--input_shape=b:-1,-1;a:-1,4", "--dynamic_dims=5,6,1;2,3,7", ORIGIN)
    assert om.gears == Gears(GearKind.DIMS, ((5, 6, 1), (2, 3, 7)))
    assert om.input_order == ("b", "a")
    assert [tensor.name for tensor in om.inputs] == ["a", "b", "ascend_mbatch_shape_data"]
    assert om.inputs[-1].dims == (3,)
    assert om.inputs[-1].size == 12
    assert om.gear_input_dims == (((1, 4), (5, 6)), ((7, 4), (2, 3)))
    assert om.gear_output_dims == (((1, 3), (6, 5)), ((7, 3), (3, 2)))
    # Each tensor has the size of the gear that makes it largest, which is not the same gear for all of them.
    assert [tensor.size for tensor in om.inputs[:2]] == [7 * 4 * 4, 5 * 6 * 4]
    assert [tensor.dims for tensor in om.outputs] == [(7, 3), (6, 5)]
    assert [tensor.size for tensor in om.outputs] == [7 * 3 * 4, 6 * 5 * 4]
    for a, b in om.gear_input_dims:
        assert_same(om, folder, a=numbers(*a), b=numbers(*b))


def test_image_size_gears(compile_text: Compile, folder: Path) -> None:
    om = compile_text(IMAGE, "--input_shape=x:2,3,-1,-1", "--dynamic_image_size=4,6;8,8;", ORIGIN)
    assert om.gears == Gears(GearKind.IMAGE_SIZE, ((4, 6), (8, 8)))
    assert (om.inputs[0].dims, om.inputs[1].dims) == ((2, 3, -1, -1), (2,))
    assert om.gear_output_dims == (((2, 3, 2, 3),), ((2, 3, 4, 4),))
    for (dims,) in om.gear_input_dims:
        assert_same(om, folder, x=numbers(*dims))


def test_a_scalar_beside_dims_gears(compile_text: Compile, folder: Path) -> None:
    text = HEADER + " net (float[N] x, float s) => (float[N] y) { y = Mul(x, s) }"
    om = compile_text(text, "--input_shape=x:-1;s:", "--dynamic_dims=2;3", ORIGIN)
    assert om.gear_input_dims == (((2,), ()), ((3,), ()))
    assert_same(om, folder, x=numbers(3), s=np.array(2, np.float32))


# --- truly dynamic shapes -------------------------------------------------------------------------


def test_ranges_make_a_dynamic_model_named_for_its_host(compile_text: Compile, folder: Path) -> None:
    om = compile_text(TWO, "--input_shape=a:1~8,4;b:-1,3", ORIGIN, name=host_name())
    assert not (folder / "net.om").exists()
    assert (om.dynamic, om.host, om.gears) == (True, f"linux_{os.uname().machine}", None)
    a, b = om.inputs
    assert (a.dims, a.ranges, a.size) == ((-1, 4), ((1, 8), (4, 4)), 0)
    assert (b.dims, b.ranges, b.size) == ((-1, 3), ((1, -1), (3, 3)), 0)
    assert [tensor.dims for tensor in om.outputs] == [(-1, 3), (3, -1)]
    assert [tensor.size for tensor in om.outputs] == [0, 0]
    for rows in (1, 5):
        assert_same(om, folder, a=numbers(rows, 4), b=numbers(9, 3))


def test_bounded_ranges_tell_the_most_bytes(compile_text: Compile) -> None:
    om = compile_text(TWO, "--input_shape=a:1~8,4;b:2~5,3", ORIGIN, name=host_name())
    assert [tensor.size for tensor in om.inputs] == [8 * 4 * 4, 5 * 3 * 4]
    assert [tensor.size for tensor in om.outputs] == [8 * 3 * 4, 3 * 5 * 4]


@pytest.mark.parametrize("shape", ["--input_shape=-1,4;2,3", "--input_shape_range=[-1,4],[2,3]"])
def test_ranges_may_go_without_names(compile_text: Compile, shape: str) -> None:
    om = compile_text(TWO, shape, name=host_name())
    assert [tensor.dims for tensor in om.inputs] == [(-1, 4), (2, 3)]
    assert om.inputs[1].ranges == ()


def test_an_input_without_ranges_keeps_what_the_model_leaves_open(compile_text: Compile) -> None:
    om = compile_text(TWO, "--input_shape=a:1~8,4", name=host_name())
    assert om.inputs[1].ranges == ((1, -1), (1, -1))


def test_ranges_that_leave_nothing_open_are_a_static_model(compile_text: Compile) -> None:
    om = compile_text(TWO, "--input_shape_range=a:[2,4];b:[3,3]")
    assert (om.dynamic, om.inputs[0].ranges) == (False, ())


def test_ranges_without_names_must_be_of_every_input(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(onnx.parser.parse_model(TWO), folder / "net.onnx")
    assert run_atc("--input_shape=-1,4") == 255
    assert "(E13025)" in capsys.readouterr().out


def test_the_older_option_warns_and_wins(compile_text: Compile, capsys: pytest.CaptureFixture[str]) -> None:
    om = compile_text(
        TWO, "--input_shape=a:2,4;b:2,3", "--input_shape_range=a:[1~2,4];b:[2,3]", name=host_name()
    )
    assert om.inputs[0].dims == (-1, 4)
    assert (
        capsys.readouterr().out.splitlines()[1].startswith("WARNING: Option input_shape_range is deprecated")
    )


def test_the_host_is_another_when_asked_for(compile_text: Compile) -> None:
    om = compile_text(
        TWO,
        "--input_shape=a:1~2,4;b:1,1",
        "--host_env_os=linux",
        "--host_env_cpu=aarch64",
        name="net_linux_aarch64",
    )
    assert om.host == "linux_aarch64"


def test_the_host_goes_before_the_first_om_of_the_path(folder: Path) -> None:
    onnx.save(onnx.parser.parse_model(TWO), folder / "net.onnx")
    (folder / f"my_linux_{os.uname().machine}.om.d").mkdir()
    assert run_atc("--output=my.om.d/x", "--input_shape=a:1~2,4;b:1,1") == 0
    assert [path.name for path in (folder / f"my_linux_{os.uname().machine}.om.d").iterdir()] == ["x.om"]
    assert list((folder / "my.om.d").iterdir()) == []


@pytest.mark.parametrize("soc", ["Ascend310B1", "Ascend310B4"])
def test_the_310b_takes_no_ranges(folder: Path, soc: str, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(onnx.parser.parse_model(TWO), folder / "net.onnx")
    assert run_atc("--input_shape=a:1~2,4;b:1,1", soc=soc) == 255
    assert "E10055" in capsys.readouterr().out
    assert run_atc("--input_shape=a:-1,4;b:1,1", "--dynamic_batch_size=1,2", soc=soc) == 0


def test_an_unlucky_guess_does_not_end_the_build(
    compile_text: Compile, capsys: pytest.CaptureFixture[str]
) -> None:
    text = HEADER + (
        " net (float[N] x) => (float[7,M] y) <int64[2] s = {7, -1}> { [seven] y = Reshape(x, s) }"
    )
    om = compile_text(text, "--input_shape=x:-1", name=host_name())
    assert om.outputs[0].dims == (7, -1)
    warning = capsys.readouterr().out.splitlines()[-1]
    assert warning.startswith("Warning: the network ran at no size that was tried")
    assert "seven" in warning


@pytest.mark.parametrize(
    ("text", "dims"),
    [
        (" net (float[4] x) => (int64[1,M] y) { [nz] y = NonZero(x) }", (1, -1)),
        (" net (float[1,1] x, int64[2] s) => (float[A,B] y) { [rs] y = Expand(x, s) }", (-1, -1)),
    ],
)
def test_shapes_that_follow_values_are_dynamic(
    compile_text: Compile, text: str, dims: tuple[int, ...]
) -> None:
    om = compile_text(HEADER + text, name=host_name())
    assert om.dynamic
    assert om.outputs[0].dims == dims
    assert all(tensor.ranges == () and tensor.size for tensor in om.inputs)


# --- types of outputs -----------------------------------------------------------------------------


def test_types_of_single_outputs(compile_text: Compile) -> None:
    om = compile_text(
        TWO, "--input_shape=a:2,4;b:2,3", "--out_nodes=turn:0;fc:0", "--output_type=fc:0:FP16", ORIGIN
    )
    assert [(tensor.name, tensor.dtype) for tensor in om.outputs] == [("turn:0:t", 0), ("fc:0:y", 1)]


@pytest.mark.parametrize(
    ("kind", "dtype", "low", "high"), [("UINT8", np.uint8, 0, 255), ("INT8", np.int8, -128, 127)]
)
def test_integers_saturate(
    compile_text: Compile, kind: str, dtype: type[np.generic], low: int, high: int
) -> None:
    text = HEADER + " net (float[6] x) => (float[6] y) { y = Identity(x) }"
    om = compile_text(text, f"--output_type={kind}", ORIGIN)
    x = np.array([-1e9, -1.9, 0.2, 1.9, 100, 1e9], np.float32)
    (y,) = session(om.network).run(None, {"x": x})
    assert y.dtype == dtype
    assert y.tolist() == [low, max(low, -1), 0, 1, 100, high]


def test_integers_become_floats(compile_text: Compile) -> None:
    text = HEADER + " net (float[4] x) => (int64[1] y) { [am] y = ArgMax(x) }"
    om = compile_text(text, "--output_type=FP16")
    assert om.outputs[0].dtype == 1
    assert session(om.network).run(None, {"x": numbers(4)})[0].dtype == np.float16


# --- precision ------------------------------------------------------------------------------------

CHAIN = HEADER + (
    " net (float[4,2] x) => (float[4,3] y) <float[2,3] w = {0.1,0.2,0.3,0.4,0.5,0.6}>"
    " { [fc] h = MatMul(x, w) [act] a = Sigmoid(h) [soft] s = Softmax(a) [out] y = Mul(s, s) }"
)


def half(values: Array) -> Array:
    return values.astype(np.float16).astype(np.float32)


def test_keep_dtype_keeps_a_node_and_a_type(compile_text: Compile, folder: Path) -> None:
    (folder / "keep.cfg").write_text("out\nOpType::SoftmaxV2\n")
    om = compile_text(CHAIN, "--keep_dtype=keep.cfg")
    (y,) = session(om.network).run(None, {"x": numbers(4, 2)})
    assert not np.array_equal(y, half(y))
    everywhere = compile_text(CHAIN)
    (y,) = session(everywhere.network).run(None, {"x": numbers(4, 2)})
    assert np.array_equal(y, half(y))


def test_a_mixlist_moves_operators(compile_text: Compile, folder: Path) -> None:
    mixed = "--precision_mode_v2=mixed_float16"
    plain = compile_text(CHAIN, mixed)
    x = numbers(4, 2)
    (y,) = session(plain.network).run(None, {"x": x})
    assert not np.array_equal(y, half(y))  # Mul follows Softmax, which is black
    (folder / "mix.json").write_text('{"black-list": {"to-remove": ["SoftmaxV2"]}}')
    changed = compile_text(CHAIN, mixed, "--modify_mixlist=mix.json")
    (y,) = session(changed.network).run(None, {"x": x})
    assert np.array_equal(y, half(y))


# --- other modes ----------------------------------------------------------------------------------


def test_mode_1_of_an_om(compile_text: Compile, folder: Path) -> None:
    compile_text(TWO, "--input_shape=a:-1,4;b:1,3", "--dynamic_batch_size=1,2")
    assert main(["--mode=1", "--om=net.om", "--json=deep/net.json"]) == 0
    content = json.loads((folder / "deep" / "net.json").read_text())
    assert set(content) >= {"name", "graph", "attr"}
    assert content["name"] == "net"


def test_mode_1_of_a_model(compile_text: Compile, folder: Path) -> None:
    compile_text(TWO, "--input_shape=a:2,4;b:2,3")
    assert main(["--mode=1", "--om=net.onnx", "--json=net.json", "--framework=5"]) == 0
    content = json.loads((folder / "net.json").read_text())
    assert [node["op_type"] for node in content["node"]] == ["MatMul", "Transpose"]
    assert content["input"][0]["type"]["tensor_type"]["shape"]["dim"] == [
        {"dim_param": "A"},
        {"dim_value": 4},
    ]
    assert content["initializer"][0]["float_data"] == list(range(1, 13))
    assert "value_info" not in content


def test_mode_1_with_inferred_shapes(folder: Path) -> None:
    text = HEADER + " net (float[2] x) => (float[2] y) { a = Abs(x) y = Neg(a) }"
    model = onnx.parser.parse_model(text)
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("note", b'\x01quoted"\n'))
    onnx.save(model, folder / "net.onnx")
    arguments = ["--mode=1", "--om=net.onnx", "--json=net.json", "--framework=5"]
    assert main([*arguments, "--dump_mode=1"]) == 0
    content = json.loads((folder / "net.json").read_text())
    assert [value["name"] for value in content["value_info"]] == ["a"]
    (note,) = content["node"][0]["attribute"]
    assert note == {"name": "note", "s": '\\001quoted\\"\\n', "type": "STRING"}


def test_mode_6_and_the_same_after_a_compile(
    compile_text: Compile, capsys: pytest.CaptureFixture[str]
) -> None:
    compile_text(TWO, "--input_shape=a:2,4;b:2,3", "--display_model_info=1")
    compiled = capsys.readouterr().out.splitlines()
    assert main(["--mode=6", "--om=net.om"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert compiled == shown
    assert shown[1] == "============ Display Model Info start ============"
    assert shown[-3:] == [
        "============ Display Model Info end   ============",
        "...",
        "ATC run success, welcome to the next use.",
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--mode=6"], "E10004"),
        (["--mode=6", "--om=none.om"], "E13000"),
        (["--mode=6", "--om=net.onnx", "--framework=5"], "E10057"),
        (["--mode=6", "--om=net.onnx"], "E10041"),
        (["--mode=1"], "E10004"),
        (["--mode=1", "--om=net.onnx"], "E10004"),
        (["--mode=1", "--om=none.om", "--json=a.json"], "E13000"),
        (["--mode=1", "--om=net.onnx", "--json=a*.json"], "E10001"),
        (["--mode=1", "--om=net.onnx", "--json=a.json"], "E10041"),
        (["--mode=1", "--om=net.onnx", "--json=a.json", "--framework=1"], "E10001"),
        (["--mode=1", "--om=net.onnx", "--json=a.json", "--framework=3"], "E10055"),
        (["--mode=1", "--om=junk", "--json=a.json", "--framework=5"], "E13005"),
        (["--mode=5"], "E10004"),
        (["--mode=5", "--om=net.onnx", "--json=a.json"], "E10001"),
        (["--mode=5", "--om=graph.txt", "--json=a.json"], "E10055"),
        (
            ["--mode=7", "--framework=5", "--soc_version=Ascend310P3", "--model=net.onnx", "--output=o"],
            "E10055",
        ),
        (["--mode=3"], "E10007"),
        (["--mode=3", "--framework=5", "--soc_version=Ascend310P3"], "E10054"),
    ],
)
def test_faults_of_the_other_modes(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    onnx.save(onnx.parser.parse_model(TWO), folder / "net.onnx")
    (folder / "junk").write_bytes(b"no model")
    (folder / "graph.txt").write_text("")
    assert main(arguments) == 255
    report = capsys.readouterr().out.splitlines()[3]
    assert f"({expected})" in report


def test_mode_3_writes_its_report_and_nothing_else(folder: Path) -> None:
    onnx.save(onnx.parser.parse_model(TWO), folder / "net.onnx")
    arguments = ["--mode=3", "--framework=5", "--soc_version=Ascend310P3", "--model=net.onnx"]
    assert main([*arguments, "--check_report=deep/report.json"]) == 0
    report = json.loads((folder / "deep" / "report.json").read_text())
    assert (report["result"], report["total"], report["fail"]) == ("success", 2, 0)
    assert [operator["type"] for operator in report["op"]] == [
        "ai.onnx::17::MatMul",
        "ai.onnx::17::Transpose",
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["deep", "net.onnx"]


def test_mode_3_puts_its_report_into_the_work_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(onnx.parser.parse_model(TWO), folder / "net.onnx")
    monkeypatch.setenv("ASCEND_WORK_PATH", str(folder / "work"))
    assert main(["--mode=3", "--framework=5", "--soc_version=Ascend310P3", "--model=net.onnx"]) == 0
    assert (folder / "work" / "check_result.json").exists()


def test_mode_3_tells_operators_inside_others_too(folder: Path) -> None:
    text = HEADER + (
        " net (bool c, float[2] x) => (float[2] y) { [either] y = If (c)"
        " <then_branch = g1 () => (float[2] a) { [bad] a = FindMax(x) },"
        " else_branch = g2 () => (float[2] b) { b = Identity(x) }> }"
    )
    onnx.save(onnx.parser.parse_model(text), folder / "net.onnx")
    assert main(["--mode=3", "--framework=5", "--soc_version=Ascend310P3", "--model=net.onnx"]) == 255
    report = json.loads((folder / "check_result.json").read_text())
    assert [operator["name"] for operator in report["op"] if operator["result"] == "failed"] == ["bad"]


# --- files and time -------------------------------------------------------------------------------


def test_a_compile_leaves_nothing_but_the_om(compile_text: Compile, folder: Path) -> None:
    compile_text(TWO, "--input_shape=a:2,4;b:2,3")
    assert sorted(path.name for path in folder.iterdir()) == ["net.om", "net.onnx"]


def test_compiles_side_by_side_in_one_folder_leave_each_other_alone(folder: Path) -> None:
    onnx.save(onnx.parser.parse_model(TWO), folder / "net.onnx")
    command = [sys.executable, "-m", "ascend_emulator.atc", "--framework=5", "--soc_version=Ascend310P3"]
    runs = [
        subprocess.Popen(
            [*command, "--model=net.onnx", f"--output={name}", f"--input_shape=a:{rows},4;b:2,3"],
            stdout=subprocess.DEVNULL,
        )
        for rows, name in ((1, "one"), (2, "two"), (2, "two"))
    ]
    assert [run.wait(timeout=60) for run in runs] == [0, 0, 0]
    for rows, name in ((1, "one"), (2, "two")):
        assert read_om((folder / f"{name}.om").read_bytes()).inputs[0].dims == (rows, 4)
    assert sorted(path.name for path in folder.iterdir()) == ["net.onnx", "one.om", "two.om"]


def test_a_compile_takes_the_time_that_is_asked_for(
    compile_text: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASCEND_EMULATOR_COMPILE_TIME", "0.05,100")
    began = time.monotonic()
    compile_text(TWO, "--input_shape=a:2,4;b:2,3", ORIGIN)
    assert time.monotonic() - began >= 0.25


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_wait_ends_with_a_signal(number: signal.Signals) -> None:
    program = (
        "import signal, time; from ascend_emulator.atc.compile_time import CompileTime;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "print('waiting', flush=True); CompileTime(600).wait(0, time.monotonic())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == b"waiting\n"
        waiting.send_signal(number)
        assert waiting.wait(timeout=30) != 0

"""`atc --framework=3`: what the emulator finds in a frozen graph itself, how it calls tf2onnx, and what comes of it.

The tests of values run where ASCEND_EMULATOR_TENSORFLOW_PYTHON names an interpreter that has tensorflow and tf2onnx.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from ascend_emulator.atc import tensorflow
from ascend_emulator.atc.graph_def import parse
from ascend_emulator.om import OmFile, read_om
from ascend_emulator.protobuf import WireError
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import atc_runs
from tests.unit.atc_runs import Run, code, save
from tests.unit.graph_def_writer import (
    FLOAT,
    INT32,
    WEIGHTS,
    const,
    dense,
    graph_def,
    matmul,
    node,
    placeholder,
    relu,
)
from tests.unit.om_writer import field

pytestmark = pytest.mark.unit

# Fixtures, by the names that tests ask for them.
folder, run = atc_runs.folder, atc_runs.run

PYTHON = os.environ.get(tensorflow.VARIABLE, "")
BASE = ["--model=net.pb", "--output=net", "--framework=3", "--soc_version=Ascend310P3"]
EXACT = "--precision_mode_v2=origin"
CONVERTED = (
    '<ir_version: 8, opset_import: ["" : 17]> g (float[N,4] x) => (float[N,3] "act:0") '
    "<float[4,3] w = {1,2,3,4,5,6,7,8,9,10,11,12}> "
    '{ [fc] h = MatMul(x, w) [act] "act:0" = Relu(h) }'
)

# Stands for an interpreter with tf2onnx: it tells how it was called and gives a model that is there already.
STUB = """#!{python}
import json, os, shutil, sys
told = {{"argv": sys.argv[1:], "cwd": os.getcwd(), "log": os.environ.get("TF_CPP_MIN_LOG_LEVEL")}}
json.dump(told, open({told!r}, "w"))
{body}
"""
GIVE = "shutil.copy({model!r}, sys.argv[sys.argv.index('--output') + 1])"


@pytest.fixture
def stub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    def make(body: str = "") -> Path:
        save(folder / "converted.onnx", CONVERTED)
        body = body or GIVE.format(model=str(folder / "converted.onnx"))
        path = folder / "python"
        path.write_text(STUB.format(python=sys.executable, told=str(folder / "told.json"), body=body))
        path.chmod(0o755)
        monkeypatch.setenv(tensorflow.VARIABLE, str(path))
        return folder / "told.json"

    return make


def compiled(folder: Path, run: Run, content: bytes, *arguments: str) -> OmFile:
    (folder / "net.pb").write_bytes(content)
    status, out, _ = run(*BASE, *arguments)
    assert status == 0, out
    return read_om((folder / "net.om").read_bytes())


def refusal(folder: Path, run: Run, content: bytes, *arguments: str) -> str:
    (folder / "net.pb").write_bytes(content)
    status, out, _ = run(*BASE, *arguments)
    assert status == 255, out
    assert not (folder / "net.om").exists()
    return out


# --- the graph ------------------------------------------------------------------------------------


def test_nodes_shapes_and_readers() -> None:
    graph = parse(
        graph_def(
            placeholder("b/x", (-1, 4)),
            placeholder("any", None),
            placeholder("scalar", ()),
            const("w", WEIGHTS),
            matmul("fc", "b/x:0", "w"),
            node("side", "NoOp", "^fc"),
            relu("act", "fc"),
            node("two", "Split", "w"),
        )
    )
    assert [(each.name, each.dims) for each in graph.placeholders] == [
        ("b/x", (-1, 4)),
        ("any", None),
        ("scalar", ()),
    ]
    assert [each.sources for each in graph.nodes if each.name in ("fc", "side")] == [("b/x", "w"), ("fc",)]
    assert [each.name for each in graph.leaves] == ["act", "two"]
    assert not graph.calls_functions


def test_functions_are_found_by_their_names() -> None:
    assert parse(graph_def(node("f", "my_function"), functions=["my_function"])).calls_functions
    assert not parse(graph_def(relu("act", "x"), functions=["my_function"])).calls_functions
    assert parse(graph_def(node("f", "StatefulPartitionedCall"))).calls_functions


@given(st.binary(max_size=200))
def test_other_bytes_are_a_graph_or_a_wire_error(data: bytes) -> None:
    try:
        graph = parse(data)
    except WireError:
        return
    assert all(each.name and each.kind for each in graph.nodes)


@given(st.integers(0, len(dense(-1)) - 1))
def test_a_cut_off_graph_is_never_taken_for_the_whole(size: int) -> None:
    try:
        graph = parse(dense(-1)[:size])
    except WireError:
        return
    assert len(graph.nodes) < 4


@pytest.mark.parametrize(
    ("content", "arguments", "expected"),
    [
        (b"", [], "E13015"),
        (b"no graph at all", [], "E13005"),
        (dense(2)[:-1], [], "E13005"),
        (b"\x08\x01", [], "E13005"),  # a SavedModel, and ONNX, begin with a number
        (graph_def(node("f", "PartitionedCall")), [], "E12029"),
        (graph_def(placeholder("x", (2,)), node("v", "VariableV2")), [], "E13010"),
        (graph_def(const("w", WEIGHTS)), [], "E10055"),
        (graph_def(placeholder("x", (2,))), [], "E10001"),
        (dense(-1), [], "E10001"),
        (dense(), [], "E10001"),
        (dense(2), ["--input_shape=x:2,4,1"], "E10049"),
        (dense(2), ["--input_shape=y:2,4"], "E10016"),
        (dense(2), ["--input_shape=fc:2,4"], "E10017"),
        (dense(2), ["--input_fp16_nodes=w"], "E10017"),
        (dense(2), ["--input_shape=x:3~4,4"], "E10050"),
        (dense(2), ["--out_nodes=gone:0"], "E10016"),
        (dense(2), ["--out_nodes=act"], "E10001"),
        (dense(2), ["--input_format=NCDWH"], "E10001"),
    ],
)
def test_faults_are_found_before_tf2onnx_is_needed(
    content: bytes,
    arguments: list[str],
    expected: str,
    folder: Path,
    run: Run,
    stub: Callable[[str], Path],
) -> None:
    told = stub("sys.exit(1)")
    out = refusal(folder, run, content, *arguments)
    assert code(out) == expected
    assert not told.exists()


# --- calling tf2onnx ------------------------------------------------------------------------------


def test_without_tf2onnx_the_refusal_says_what_to_install(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(tensorflow.VARIABLE, raising=False)
    monkeypatch.setattr(tensorflow.importlib.util, "find_spec", lambda name: None)
    out = refusal(folder, run, dense(2))
    assert code(out) == "E10055"
    assert "does not emulate --framework=3 without tensorflow and tf2onnx" in out
    assert "pip install 'ascend-emulator[tensorflow]'" in out
    assert tensorflow.VARIABLE in out


def test_an_interpreter_that_has_no_tf2onnx(folder: Path, run: Run, stub: Callable[[str], Path]) -> None:
    stub("print(\"No module named 'tf2onnx'\", file=sys.stderr); sys.exit(1)")
    out = refusal(folder, run, dense(2))
    assert code(out) == "E10055"
    assert "which has no tf2onnx" in out


def test_an_interpreter_that_is_none(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tensorflow.VARIABLE, str(folder / "none"))
    out = refusal(folder, run, dense(2))
    assert code(out) == "E10055"
    assert "which cannot be run: No such file or directory" in out


@pytest.mark.parametrize(
    "body", ["print('ValueError: no such luck'); sys.exit(3)", "print('ValueError: no such luck')"]
)
def test_a_conversion_that_fails_is_told_with_its_last_lines(
    body: str, folder: Path, run: Run, stub: Callable[[str], Path]
) -> None:
    stub(body)
    out = refusal(folder, run, dense(2))
    assert code(out) == "E10055"
    assert "tf2onnx cannot convert it (ValueError: no such luck)" in out


def test_how_tf2onnx_is_called(folder: Path, run: Run, stub: Callable[[str], Path]) -> None:
    told_at = stub("")
    compiled(
        folder, run, dense(-1), "--input_shape=x:-1,4", "--dynamic_batch_size=1,2", "--out_nodes=act:0;act:0"
    )
    told = json.loads(told_at.read_text())
    *argv, target = told["argv"]
    assert argv == [
        *("-I", "-m", "tf2onnx.convert", "--graphdef", str(folder / "net.pb")),
        *("--inputs", "x:0[-1,4]", "--rename-inputs", "x", "--outputs", "act:0", "--opset", "17", "--output"),
    ]
    assert told["cwd"] != str(folder)
    assert not Path(target).exists()
    assert told["log"] == "3"


def test_what_the_om_says_of_a_tensorflow_model(folder: Path, run: Run, stub: Callable[[str], Path]) -> None:
    stub("")
    om = compiled(folder, run, dense(-1), "--input_shape=x:2,4", EXACT)
    assert om.framework == "TensorFlow"
    assert [(each.name, each.dims) for each in om.inputs] == [("x", (2, 4))]
    assert [(each.name, each.dims) for each in om.outputs] == [("act:0", (2, 3))]
    status, out, _ = run("--mode=6", "--om=net.om")
    assert status == 0
    assert "framework_type[TensorFlow]" in out


def test_operators_that_tf2onnx_leaves_as_they_are(
    folder: Path, run: Run, stub: Callable[[str], Path]
) -> None:
    stub("")
    left = CONVERTED.replace("Relu(h)", "Bucketize(h)")
    body = GIVE.format(model=str(folder / "left.onnx"))
    stub(body)
    save(folder / "left.onnx", left)
    content = graph_def(placeholder("x", (2, 4)), const("w", WEIGHTS), matmul("fc", "x", "w"))
    content += graph_def(node("act", "Bucketize", "fc"))
    out = refusal(folder, run, content)
    assert code(out) == "E13010"
    assert "Op: act, optype: Bucketize" in out
    report = json.loads((folder / "check_result.json").read_text())
    assert report["result"] == "failed"
    assert [each["name"] for each in report["op"]] == ["x", "w", "fc", "act"]
    assert [each["result"] for each in report["op"]] == ["success", "success", "success", "failed"]


def test_the_precheck_of_a_graph_needs_no_shape(folder: Path, run: Run, stub: Callable[[str], Path]) -> None:
    told_at = stub("")
    (folder / "net.pb").write_bytes(dense(-1))
    status, out, _ = run(*BASE, "--mode=3")
    assert status == 0, out
    assert json.loads((folder / "check_result.json").read_text())["total"] == 4
    assert "x:0" in json.loads(told_at.read_text())["argv"]


# --- values ---------------------------------------------------------------------------------------

real = pytest.mark.skipif(
    not PYTHON, reason=f"{tensorflow.VARIABLE} names no interpreter with tensorflow and tf2onnx"
)


def results(om: OmFile, **inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(om.network, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, inputs)
    return found


@real
def test_a_dense_layer_at_every_gear(folder: Path, run: Run) -> None:
    om = compiled(folder, run, dense(-1), "--input_shape=x:-1,4", "--dynamic_batch_size=1,3", EXACT)
    assert om.gears is not None
    assert om.gears.values == ((1,), (3,))
    for rows in (1, 3):
        x = np.linspace(-1, 1, rows * 4, dtype=np.float32).reshape(rows, 4)
        (y,) = results(om, x=x)
        np.testing.assert_allclose(y, np.maximum(x @ WEIGHTS, 0), rtol=1e-6)


@real
def test_chosen_outputs_with_their_types(folder: Path, run: Run) -> None:
    arguments = ["--input_shape=x:2,4", "--out_nodes=act:0;fc:0", "--output_type=fc:0:FP16", EXACT]
    om = compiled(folder, run, dense(), *arguments)
    assert [(each.name, each.dtype) for each in om.outputs] == [("act:0", 0), ("fc:0", 1)]
    x = np.ones((2, 4), np.float32)
    act, fc = results(om, x=x)
    assert (fc == (x @ WEIGHTS).astype(np.float16)).all()
    assert (act == np.maximum(x @ WEIGHTS, 0)).all()


@real
def test_a_range_and_an_input_that_nothing_reads(folder: Path, run: Run) -> None:
    content = graph_def(placeholder("unused", (7,))) + dense(-1)
    (folder / "net.pb").write_bytes(content)
    status, out, _ = run(*BASE, "--input_shape=x:1~8,4", EXACT)
    assert status == 0, out
    (path,) = folder.glob("net_linux_*.om")
    om = read_om(path.read_bytes())
    assert [(each.name, each.dims) for each in om.inputs] == [("unused", (7,)), ("x", (-1, 4))]


@real
def test_an_image_keeps_its_layout_and_takes_aipp(folder: Path, run: Run) -> None:
    mean = const("axes", [1, 2], INT32)
    reduce = node(
        "mean", "Mean", "image", "axes", T=field(6, FLOAT), Tidx=field(6, INT32), keep_dims=field(5, 0)
    )
    content = graph_def(placeholder("image", (-1, 8, 6, 3)), mean, reduce)
    om = compiled(folder, run, content, "--input_shape=image:2,8,6,3", EXACT)
    assert (om.inputs[0].format, om.inputs[0].dims) == (1, (2, 8, 6, 3))
    pixels = np.arange(2 * 8 * 6 * 3, dtype=np.uint8).reshape(2, 8, 6, 3)
    (y,) = results(om, image=pixels.astype(np.float32))
    (folder / "aipp.cfg").write_text("aipp_op { aipp_mode: static input_format: RGB888_U8 }")
    om = compiled(folder, run, content, "--input_shape=image:2,8,6,3", "--insert_op_conf=aipp.cfg", EXACT)
    assert (om.inputs[0].dtype, om.inputs[0].dims) == (4, (2, 8, 6, 3))
    (z,) = results(om, image=pixels)
    np.testing.assert_allclose(z, y, rtol=1e-6)
    np.testing.assert_allclose(y, pixels.astype(np.float32).mean((1, 2)), rtol=1e-6)


@real
def test_an_operator_that_tf2onnx_does_not_know(folder: Path, run: Run) -> None:
    bounds = field(1, field(4, np.array([0, 1], np.float32).tobytes()))
    odd = node("odd", "Bucketize", "x", T=field(6, FLOAT), boundaries=bounds)
    out = refusal(folder, run, graph_def(placeholder("x", (2, 4)), odd))
    assert code(out) == "E13010"
    assert "Op: odd, optype: Bucketize" in out


@real
def test_an_operator_that_tensorflow_does_not_know(folder: Path, run: Run) -> None:
    out = refusal(folder, run, graph_def(placeholder("x", (2, 4)), node("odd", "NoSuchOperator", "x")))
    assert code(out) == "E10055"
    assert "NoSuchOperator" in out

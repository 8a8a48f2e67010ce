from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest
from ascend_emulator.atc import main
from ascend_emulator.gears import GearKind, Gears
from ascend_emulator.om import OmFile, read_om

pytestmark = pytest.mark.unit

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
NET = (
    HEADER
    + " net (float[N,4] x) => (float[N,3] y) <float[4,3] w = {1,2,3,4,5,6,7,8,9,10,11,12}> {"
    + " [fc] h = MatMul(x, w) [act] y = Relu(h) }"
)
BASE = ["--framework=5", "--soc_version=Ascend310P3"]
GEARS = ["--input_shape=x:-1,4", "--dynamic_batch_size=1,2"]
STATIC = ["--input_shape=x:2,4"]

Run = Callable[..., tuple[int, str, str]]


def save(path: Path, text: str) -> Path:
    onnx.save(onnx.parser.parse_model(text), path)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ASCEND_HOME_PATH", "ASCEND_OPP_PATH", "ASCEND_TOOLKIT_HOME", "ASCEND_WORK_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name in ("FORCE", "CANN", "COMPILE_TIME"):
        monkeypatch.delenv(f"ASCEND_EMULATOR_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(arguments)
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture
def compile_text(run: Run, folder: Path) -> Callable[..., OmFile]:
    def call(text: str, *arguments: str) -> OmFile:
        save(folder / "net.onnx", text)
        status, out, _ = run("--model=net.onnx", "--output=net", *BASE, *arguments)
        assert status == 0, out
        return read_om((folder / "net.om").read_bytes())

    return call


@pytest.fixture
def refused(run: Run, folder: Path) -> Callable[..., str]:
    """Compile something that must fail; gives code and report as one text."""

    def call(text: str, *arguments: str, base: list[str] = BASE) -> str:
        save(folder / "net.onnx", text)
        status, out, _ = run("--model=net.onnx", "--output=made/net", *base, *arguments)
        assert status == 255
        assert not (folder / "made" / "net.om").exists()
        return out

    return call


def code(out: str) -> str:
    """The root code, found as the product's log reader finds it."""
    found = re.search(r"\b(E[0-9]{5}|E[A-Z][0-9]{4}|W[0-9]{5}|W[A-Z][0-9]{4})\b", out)
    assert found is not None, out
    return found[1]


# --- protocol -------------------------------------------------------------------------------------


def test_success_on_the_console(run: Run, folder: Path) -> None:
    save(folder / "net.onnx", NET)
    status, out, err = run("--model=net.onnx", "--output=out/deep/net", *BASE, *GEARS)
    assert status == 0
    assert out.splitlines() == [
        "ATC start working now, please wait for a moment.",
        "...",
        "ATC run success, welcome to the next use.",
    ]
    assert err == ""
    assert sorted(path.name for path in (folder / "out" / "deep").iterdir()) == ["net.om"]


def test_failure_on_the_console(run: Run, folder: Path) -> None:
    save(folder / "net.onnx", NET)
    status, out, err = run("--model=net.onnx", "--output=net", "--framework=5", "--soc_version=Ascend999")
    assert status == 255
    assert err == ""
    start, dots, verdict, first, *rest = out.splitlines()
    assert start == "ATC start working now, please wait for a moment."
    assert dots == "..."
    assert verdict.startswith("ATC run failed,")
    assert re.match(
        r"\[PID: \d+\] \d{4}-\d\d-\d\d-\d\d:\d\d:\d\d\.\d{3}\.\d{3} Invalid_Argument\(E20101\): Value Ascend999 ",
        first,
    )
    assert rest[0].startswith("        Solution: ")


@pytest.mark.parametrize(
    ("generation", "first"),
    [
        ("5", r"E20101: Value Ascend999 for parameter soc_version is invalid\."),
        ("7", r"E20101: \[PID: \d+\] \d{4}-\d\d-\d\d-[\d:.]+ Value Ascend999 "),
        ("8.5", r"\[PID: \d+\] \d{4}-\d\d-\d\d-[\d:.]+ Invalid_Argument\(E20101\): Value Ascend999 "),
    ],
)
def test_reports_of_older_canns(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, generation: str, first: str
) -> None:
    monkeypatch.setenv("ASCEND_EMULATOR_CANN", generation)
    save(folder / "net.onnx", NET)
    _, out, _ = run("--model=net.onnx", "--output=net", "--framework=5", "--soc_version=Ascend999")
    assert re.match(first, out.splitlines()[3])
    assert code(out) == "E20101"


def test_an_unknown_generation_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASCEND_EMULATOR_CANN", "6")
    status, out, _ = run("--help")
    assert (status, code(out)) == (255, "E10055")
    assert "5, 7, 8.5" in out


def test_parser_complaints_go_to_standard_error(run: Run) -> None:
    status, out, err = run("--nonsense=1")
    assert status == 255
    assert err == "ERROR: unknown command line flag 'nonsense'\n"
    assert "..." not in out.splitlines()
    assert "E19999: Internal Error!" in out


def test_a_value_out_of_range_fails_before_the_dots(run: Run) -> None:
    status, out, err = run("--log=loud")
    assert (status, code(out), err) == (255, "E10010", "")
    assert "..." not in out.splitlines()


def test_help(run: Run) -> None:
    status, out, _ = run("--help")
    assert status == 0
    start, usage, *_ = out.splitlines()
    assert start == "ATC start working now, please wait for a moment."
    assert usage.startswith("usage: atc <args>")
    assert "ascend-emulator" in usage


@pytest.mark.parametrize("variable", ["ASCEND_HOME_PATH", "ASCEND_OPP_PATH", "ASCEND_TOOLKIT_HOME"])
def test_it_does_not_run_where_cann_is_set_up(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    save(folder / "net.onnx", NET)
    arguments = ["--model=net.onnx", "--output=net", *BASE, *STATIC]
    monkeypatch.setenv(variable, "/usr/local/Ascend")
    status, out, _ = run(*arguments)
    assert (status, code(out)) == (255, "E10055")
    assert variable in out
    monkeypatch.setenv("ASCEND_EMULATOR_FORCE", "1")
    assert run(*arguments)[0] == 0


def test_the_module_runs_as_a_program(folder: Path) -> None:
    save(folder / "net.onnx", NET)
    command = [sys.executable, "-m", "ascend_emulator.atc", "--model=net.onnx", "--output=net", *BASE]
    done = subprocess.run([*command, *STATIC], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "ATC run success, welcome to the next use."
    bad = subprocess.run([*command, "--nonsense"], capture_output=True, text=True, timeout=60, check=False)
    assert bad.returncode == 255


def test_the_installed_script_answers_help(folder: Path) -> None:
    script = Path(sys.executable).with_name("atc")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "usage: atc" in done.stdout


def test_a_wrong_option_is_told_without_loading_onnx() -> None:
    probe = (
        "import sys; from ascend_emulator.atc import main; main(['--soc_version=x']); "
        "sys.exit(any(name in sys.modules for name in ('onnx', 'onnxruntime', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# --- checks of the options ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--auto_tune_mode=GA"], "E10001"),
        (["--deterministic_level=1"], "E10001"),
        (["--singleop=a.json"], "E10055"),
        (["--singleop=a.json", "--framework=5"], "E10001"),
        ([], "E10007"),
        (["--framework=0"], "E10008"),
        (["--framework=5", "--weight=none.bin"], "E13000"),
        (["--mode=30", *BASE], "E10055"),
        (["--framework=5", "--soc_version=Ascend035"], "E10055"),
        (["--framework=5", "--input_format=NHWC"], "E10001"),
        (["--framework=5"], "E10054"),
        (["--framework=5", "--soc_version=Ascend310P3"], "E10054"),
        (["--framework=5", "--soc_version=Ascend310P3", "--output=o"], "E10054"),
        ([*BASE, "--output=o", "--model=none.onnx"], "E13000"),
        ([*BASE, "--output=o", "--model=sp ace.onnx"], "E10001"),
        ([*BASE, "--output=o*", "--model=net.onnx"], "E10001"),
        ([*BASE, "--output=o/", "--model=net.onnx"], "E10022"),
        ([*BASE, "--output=" + "o" * 5000, "--model=net.onnx"], "E10021"),
        ([*BASE, "--output=net.onnx/o", "--model=net.onnx"], "E10001"),
        ([*BASE, "--output=" + "o" * 300, "--model=net.onnx", *STATIC], "E13004"),
    ],
)
def test_option_faults_in_order(run: Run, folder: Path, arguments: list[str], expected: str) -> None:
    save(folder / "net.onnx", NET)
    save(folder / "sp ace.onnx", NET)
    status, out, _ = run(*arguments)
    assert (status, code(out)) == (255, expected)


def test_a_model_broken_in_any_way_ends_like_every_failure(run: Run, folder: Path) -> None:
    whole = onnx.parser.parse_model(NET).SerializeToString()
    (folder / "net.onnx").write_bytes(whole.replace(b"MatMul", b"MatM\xff\xff"))
    status, out, err = run("--model=net.onnx", "--output=net", *BASE, *STATIC)
    assert (status, code(out)) == (255, "E19999")
    assert "Traceback" in err
    assert not (folder / "net.om").exists()


def test_an_operator_with_a_missing_input_is_named(run: Run, folder: Path) -> None:
    model = onnx.parser.parse_model(NET)
    del model.graph.node[1].input[:]
    onnx.save(model, folder / "net.onnx")
    status, out, _ = run("--model=net.onnx", "--output=net", *BASE, *STATIC)
    assert status == 255
    assert "act" in out
    assert "Relu" in out


def test_a_name_may_hold_what_means_an_open_axis_in_a_shape(run: Run, folder: Path) -> None:
    model = onnx.parser.parse_model(NET)
    model.graph.input[0].name = model.graph.node[0].input[0] = "in-1:a~b"
    onnx.save(model, folder / "net.onnx")
    assert run("--model=net.onnx", "--output=net", *BASE, "--input_shape=in-1:a~b:2,4")[0] == 0
    assert read_om((folder / "net.om").read_bytes()).inputs[0].dims == (2, 4)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--optypelist_for_implmode=Gelu"], "E10001"),
        (["--precision_mode=force_fp16", "--precision_mode_v2=fp16"], "E10056"),
        (["--op_precision_mode=none.ini"], "E13000"),
        (["--keep_dtype=none.cfg"], "E13000"),
        (["--modify_mixlist=net.onnx"], "E10001"),
        (["--modify_mixlist=net.onnx", "--precision_mode=force_fp16"], "E10001"),
        (["--modify_mixlist=net.onnx", "--precision_mode_v2=mixed_float16"], "E21002"),
        (["--fusion_switch_file=none.cfg"], "E21001"),
        (["--precision_mode_v2=mixed_hif8"], "E10055"),
        (["--precision_mode=allow_fp32_to_bf16"], "E10001"),
        (["--precision_mode_v2=mixed_bfloat16"], "E10001"),
        (["--input_hint_shape=0:[1,4]", "--input_shape=x:-1,4", "--dynamic_batch_size=1,2"], "E10001"),
        (["--input_shape=x:-1,4", "--dynamic_dims=1;2", "--insert_op_conf=net.onnx"], "E10001"),
        (["--insert_op_conf=none.cfg"], "E13000"),
        (["--compress_weight_conf=none.cfg"], "E13000"),
        (["--compress_weight_conf=net.onnx", "--enable_compress_weight=true"], "E10047"),
        (["--customize_dtypes=net.onnx"], "E10055"),
        (["--check_report=a*"], "E10001"),
        (["--host_env_os=windows"], "E10001"),
        (["--host_env_cpu=riscv"], "E10001"),
        (["--static_model_ops_lower_limit=-2"], "E10001"),
        (["--input_shape=x:1~4,4", "--dynamic_batch_size=1,2"], "E10040"),
        (["--dynamic_batch_size=1,2", "--dynamic_dims=1;2"], "E10009"),
        (["--dynamic_batch_size=1,2", "--input_shape_range=x:[1~2,4]"], "E10009"),
        (["--dynamic_batch_size=1,2"], "E10004"),
        (["--input_shape=x:1,4", "--dynamic_batch_size=1,2"], "E10031"),
        (["--save_original_model=yes"], "E10005"),
        (["--save_original_model=true"], "E10055"),
        (["--output_type=DOUBLE"], "E10001"),
        (["--input_shape=x:1,4", "--output_type=HIF8"], "E10055"),
        (["--input_shape=x:1,4", "--output_type=act:0:FP16"], "E10001"),
        (["--input_shape=x:1,4", "--out_nodes=fc:0", "--output_type=act:0:FP16"], "E10001"),
        (["--input_shape=x:1,4", "--out_nodes=act:0", "--output_type=act:FP16"], "E10001"),
        (["--input_shape=x:1,4", "--out_nodes=act:0", "--output_type=act:0:FP64"], "E10001"),
        (["--input_shape=x:1,4", "--is_output_adjust_hw_layout=yes"], "E10005"),
        (["--input_shape=x:1,4", "--is_output_adjust_hw_layout=true"], "E10055"),
        (["--input_shape=x:1,4", "--is_input_adjust_hw_layout=false,1"], "E10005"),
        (["--input_shape=x:1,4", "--is_input_adjust_hw_layout=true"], "E10055"),
        (["--aicore_num=9"], "E20103"),
        (["--aicore_num=eight"], "E10001"),
        (["--framework=3"], "E10055"),
        (["--input_shape=x:1~a,4"], "E10002"),
        (["--input_shape=x:4~1,4"], "E10048"),
        (["--input_shape=x:1~4,5"], "E10050"),
        (["--input_shape=z:1~4,4"], "E10016"),
        (["--input_shape=x:1~4"], "E10049"),
        (["--input_shape_range=x:1~4,4"], "E10048"),
        (["--input_shape=x:0,4"], "E10011"),
        (["--input_shape=x"], "E10002"),
        ([], "E10001"),
        (["--input_shape=z:1,4"], "E10016"),
        (["--input_shape=h:1,4"], "E10017"),
        (["--input_shape=x:1,4,1"], "E10049"),
        (["--input_shape=x:1,4", "--input_fp16_nodes=z"], "E10016"),
        (["--input_shape=x:1,4", "--out_nodes=act:7"], "E10003"),
        (["--input_shape=x:1,4", "--out_nodes=gone:0"], "E10016"),
        (["--input_shape=x:1,4", "--out_nodes=gone"], "E10016"),
        (["--input_shape=x:1,4", "--out_nodes=act:one"], "E10001"),
        (["--input_shape=x:1,4", "--out_nodes=act:0:y"], "E10001"),
        (["--input_shape=x:1,4", "--out_nodes=act:0;h"], "E10001"),
        (["--input_shape=x:-1,4", "--dynamic_batch_size=4"], "E10035"),
        (["--input_shape=x:-1,4", "--dynamic_batch_size=4,4"], "E10039"),
        (["--input_shape=x:-1,4", "--dynamic_batch_size=1,900000000000"], "E19999"),
    ],
)
def test_faults_of_a_request(refused: Callable[..., str], arguments: list[str], expected: str) -> None:
    assert code(refused(NET, *arguments)) == expected


def test_a_missing_model_tells_both_of_atcs_lines(run: Run) -> None:
    _, out, _ = run("--model=none.onnx", "--output=o", *BASE)
    assert "Path none.onnx is empty. Reason: [Error 2] No such file or directory." in out
    assert "\nTraceBack (most recent call last):\n        Value none.onnx for parameter --model" in out


def test_options_that_change_nothing_are_taken_and_recorded(
    compile_text: Callable[..., OmFile], folder: Path
) -> None:
    plain = compile_text(NET, *STATIC)
    (folder / "f.cfg").write_text("SomePass:off\n")
    (folder / "p.ini").write_text("[ByNodeName]\nfc=high_precision\n")
    harmless = [
        "--log=error",
        "--op_compiler_cache_mode=force",
        "--fusion_switch_file=f.cfg",
        "--op_precision_mode=p.ini",
        "--debug_dir=d",
        "--aicore_num=8",
    ]
    same = compile_text(NET, *STATIC, *harmless)
    assert same.network == plain.network
    assert plain.options == ()
    assert sorted(f"--{name}={value}" for name, value in same.options) == sorted(harmless)


@pytest.mark.parametrize("soc", ["Ascend310B1", "Ascend910B3"])
def test_bfloat16_is_for_the_chips_that_have_it(run: Run, folder: Path, soc: str) -> None:
    save(folder / "net.onnx", NET)
    arguments = ["--model=net.onnx", "--output=net", "--framework=5", f"--soc_version={soc}", *STATIC]
    assert run(*arguments, "--precision_mode_v2=mixed_bfloat16")[0] == 0


def test_the_alias_ascend910_is_the_first_generation(run: Run, folder: Path) -> None:
    save(folder / "net.onnx", NET)
    assert (
        run("--model=net.onnx", "--output=net", "--framework=5", "--soc_version=Ascend910", *STATIC)[0] == 0
    )
    assert read_om((folder / "net.om").read_bytes()).soc_version == "Ascend910A"


def test_attribute_names_can_be_left_plain(compile_text: Callable[..., OmFile], folder: Path) -> None:
    coded = compile_text(NET, *GEARS)
    size = (folder / "net.om").stat().st_size
    plain = compile_text(NET, *GEARS, "--enable_attr_compression=false")
    assert b"om_compress_version" not in (folder / "net.om").read_bytes()
    assert (folder / "net.om").stat().st_size != size
    assert plain.network == coded.network


# --- models ---------------------------------------------------------------------------------------


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

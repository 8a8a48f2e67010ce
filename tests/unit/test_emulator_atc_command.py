"""The emulated `atc` as a command: what it says, and which faults of its options it finds in which order."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from ascend_emulator.om import OmFile, read_om

from tests.unit import atc_runs
from tests.unit.atc_runs import BASE, GEARS, NET, STATIC, Run, code, save

pytestmark = pytest.mark.unit

# Fixtures, by the names that tests ask for them.
folder, run, compile_text, refused = atc_runs.folder, atc_runs.run, atc_runs.compile_text, atc_runs.refused

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
        (["--framework=1"], "E10055"),
        (["--framework=0"], "E10008"),
        (["--framework=0", "--weight=net.onnx"], "E10055"),
        (["--framework=3"], "E13005"),
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
